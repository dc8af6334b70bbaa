"""Where data files come from: a given folder, ``SEEDBED_DATA``, the cache, or a download into the cache. Torch-free."""

import errno
import gzip
import hashlib
import logging
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.temporary import temporary_file
from seedbed.data.paths import expanded

ROUNDS = 2  # passes over the mirrors
TIMEOUT = (5.0, 30.0)  # seconds to connect, seconds between bytes
MOST = 1 << 31  # bytes of one file: above the largest, 1.4 GB
LONGEST = 7200.0  # seconds of one attempt


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set.

    Args:
        name: path under a data folder, e.g. ``MNIST/raw/train-images-idx3-ubyte.gz``.
        sha256: checksum of the file as it lies there.
        urls: mirrors, tried in order; empty where nobody serves this form.
    """

    name: str
    sha256: str
    urls: tuple[str, ...] = ()


# The same content, packed or unpacked: any one of them will do, the first is preferred.
Forms = tuple[RemoteFile, ...]


def locate(forms: Forms, owner: str, data_dir: str | Path | None = None, seen: dict[Path, str] | None = None) -> Path:
    """Find one file, or download it, and verify its SHA-256: ``data_dir``, ``SEEDBED_DATA``, the cache, the mirrors.

    Args:
        forms: the file and its other forms.
        owner: the data set that needs it, named in errors.
        data_dir: a folder laid out as ``RemoteFile.name`` says.
        seen: checksums of files that were found before, to which those of this call are added: an archive of several parts
            is read once.

    Raises:
        SeedbedError: if the first copy found is another file, or nothing is found and no mirror delivers.
    """
    seen = {} if seen is None else seen
    found = _find(forms, owner, data_dir, seen)
    if found is not None:
        return found
    served = next((form for form in forms if form.urls), None)
    if served is None:
        raise SeedbedError(f"{forms[0].name} not found and not downloadable; set SEEDBED_DATA to a folder that holds it")
    path = _download(served, cache() / served.name)
    seen[path] = served.sha256
    return path


def check(name: str, data_dir: str | Path | None = None) -> list[str]:
    """What is wrong with the files of a data set, one line each; empty if all are there and verified. Downloads nothing."""
    list(_folders(data_dir))  # a folder that is none is bad input, not a file that is missing
    problems, seen = [], {}
    for forms in _parts(name).values():
        try:
            if _find(forms, name, data_dir, seen) is None:
                problems.append(f"{forms[0].name} not found; {_remedy(forms, name)}")
        except SeedbedError as error:
            problems.append(str(error))
    return problems


def fetch(name: str, data_dir: str | Path | None = None) -> list[Path]:
    """Verified paths of all files of a data set; what is found nowhere is downloaded. SeedbedError as in ``locate``."""
    return list(dict.fromkeys(locate_all(name, data_dir).values()))


def locate_all(name: str, data_dir: str | Path | None = None) -> dict[str, Path]:
    """All files of a data set by their part, as ``locate`` finds them; one that stands for several is verified once."""
    seen: dict[Path, str] = {}
    return {part: locate(forms, name, data_dir, seen) for part, forms in _parts(name).items()}


def _parts(name: str) -> Mapping[str, Forms]:
    if name not in FILES:
        raise unknown("data set with files", name, FILES)
    return FILES[name]


def cache() -> Path:
    """The folder of what is downloaded or made of data: ``SEEDBED_CACHE``, or the system's place for it."""
    if given := os.environ.get("SEEDBED_CACHE"):
        return expanded(given)
    import pooch

    return Path(pooch.os_cache("seedbed"))


def _folders(data_dir: str | Path | None) -> Iterator[Path]:
    for source, given in (("data_dir", data_dir), ("SEEDBED_DATA", os.environ.get("SEEDBED_DATA"))):
        if given:
            folder = expanded(given)
            if not os.path.isdir(folder):
                raise SeedbedError(f"{source} {str(given)!r} is not a folder; point it to one or leave it unset")
            yield folder
    yield cache()


def _find(forms: Forms, owner: str, data_dir: str | Path | None, seen: dict[Path, str]) -> Path | None:
    known = {form.sha256 for form in forms}
    for folder in _folders(data_dir):
        for form in forms:
            path = folder / form.name
            try:
                if not path.is_file():
                    continue
                got = seen[path] = seen.get(path) or _sha256(path)
                same = got in known or _unpacked_sha256(path) in known
            except OSError as error:
                raise SeedbedError(f"{path} cannot be read: {_reason(error)}") from error
            if not same:
                raise SeedbedError(f"{path} is not {_wrong(form, got)}; delete it, then {_remedy(forms, owner)}")
            return path
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpacked_sha256(path: Path) -> str:
    """SHA-256 of what a gzip file holds: the same data packed by somebody else are the same data. Empty if it is none."""
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return ""


def _download(file: RemoteFile, target: Path) -> Path:
    """Download to a temporary file beside ``target``, verify, rename; on any failure or interruption nothing remains."""
    import pooch

    get = pooch.HTTPDownloader(chunk_size=1 << 16, timeout=TIMEOUT, hooks={"response": _no_downgrade})
    failed: dict[str, str] = {}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(target, "part") as part:
            for url in sorted(file.urls, key=lambda url: urlsplit(url).scheme != "https") * ROUNDS:
                logging.getLogger(__name__).info("downloading %s", url)
                try:
                    with part.open("wb") as handle:
                        get(url, _Bounded(handle), None)
                    got = _sha256(part)
                    if got == file.sha256:
                        part.replace(target)
                        return target
                    failed[url] = f"not {_wrong(file, got)}"
                except OSError as error:  # the errors of requests are OSErrors, too
                    failed[url] = _reason(error)
    except OSError as error:
        raise SeedbedError(
            f"cannot write to the cache {target.parent}: {_reason(error)}; set SEEDBED_CACHE to another folder"
        ) from error
    reasons = "; ".join(f"{urlsplit(url).netloc}: {reason}" for url, reason in failed.items())
    raise SeedbedError(f"cannot download {file.name} ({reasons}); try again, or set SEEDBED_DATA to a folder that holds it")


class _Bounded:
    """A file that takes no more than so many bytes, and none after so long: a server may never end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left, self._until = file, MOST, time.monotonic() + LONGEST

    def write(self, content: bytes) -> int:
        """Write on; raises ``OSError`` beyond either limit."""
        self._left -= len(content)
        if self._left < 0:
            raise OSError(errno.EFBIG, f"more than {MOST >> 20} MiB")
        if time.monotonic() > self._until:
            raise OSError(errno.ETIMEDOUT, f"not done after {LONGEST / 60:g} minutes")
        return self._file.write(content)

    def flush(self) -> None:
        """Hand on what is held back."""
        self._file.flush()


def _no_downgrade(response: Any, **_: Any) -> None:
    """Refuse to be sent on from https to anything else."""
    if response.is_redirect and urlsplit(response.url).scheme == "https":
        target = urljoin(response.url, response.headers["location"])
        if urlsplit(target).scheme != "https":
            raise OSError(errno.EPERM, f"sent on to {urlsplit(target).scheme}, which is not https")


def _wrong(file: RemoteFile, got: str) -> str:
    return f"the expected file (SHA-256 expected {file.sha256[:16]}..., got {got[:16]}...)"


def _reason(error: OSError) -> str:
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code}" if response is not None else error.strerror or type(error).__name__


def _remedy(forms: Forms, owner: str) -> str:
    place = "set SEEDBED_DATA to a folder that holds it"
    return f"run `seedbed data fetch {owner}` or {place}" if any(form.urls for form in forms) else place


# The format of sha256sum: what lies under a data folder, as published or unpacked.
_SUMS = """
440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609  MNIST/raw/train-images-idx3-ubyte.gz
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  MNIST/raw/train-images-idx3-ubyte
3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c  MNIST/raw/train-labels-idx1-ubyte.gz
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  MNIST/raw/train-labels-idx1-ubyte
8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6  MNIST/raw/t10k-images-idx3-ubyte.gz
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  MNIST/raw/t10k-images-idx3-ubyte
f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6  MNIST/raw/t10k-labels-idx1-ubyte.gz
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  MNIST/raw/t10k-labels-idx1-ubyte
3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84  FashionMNIST/raw/train-images-idx3-ubyte.gz
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  FashionMNIST/raw/train-images-idx3-ubyte
a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845  FashionMNIST/raw/train-labels-idx1-ubyte.gz
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  FashionMNIST/raw/train-labels-idx1-ubyte
346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073  FashionMNIST/raw/t10k-images-idx3-ubyte.gz
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  FashionMNIST/raw/t10k-images-idx3-ubyte
67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5  FashionMNIST/raw/t10k-labels-idx1-ubyte.gz
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  FashionMNIST/raw/t10k-labels-idx1-ubyte
af247bd6075cf9adc4715459dcd5f13eaa99a2c92d8d81379a05da94770b6c0e  BinarizedMNIST/binarized_mnist_train.amat.gz
ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d  BinarizedMNIST/binarized_mnist_train.amat
533b71bc0198f4d73c54ae5fe6c96fc08dc3cf1b3fae24c5521dbc0452507e38  BinarizedMNIST/binarized_mnist_valid.amat.gz
1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2  BinarizedMNIST/binarized_mnist_valid.amat
32a3c54d03504632bf9f131b4a148c7567aa6fc87da017049b044bdc14c2a0f2  BinarizedMNIST/binarized_mnist_test.amat.gz
e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c  BinarizedMNIST/binarized_mnist_test.amat
9cb6dd77deebdda8f1084d64cde9f3308b66674bbe91d05ee35801bfa19e7549  OMNIGLOT/omniglot_28x28_area.npz
ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640  OMNIGLOT/images_background.zip
1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee  OMNIGLOT/images_evaluation.zip
eb6735e8d84b1850fabc5590124aab1755e90c9fd28123585324398405e1e42a  Caltech101Silhouettes/caltech101_silhouettes_28_split1.mat
265a83a23adb081755cd3de375509828e690324d1d60f076b8ecebc840d59c64  FreyFaces/frey_rawface.mat
f11b3e9bc3050edcf43f5db5e44f7e0a977dc70aac69f3fbb7575cc5482baff9  CIFAR10/cifar10_train_batch_1.npz
bef27f3a8bed606fe141cdaa6b5b0fe0c285ad18fd484fd27b51f91ddfad1830  CIFAR10/cifar10_test_batch.npz
c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd  CIFAR10/cifar-10-binary.tar.gz
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  CIFAR10/cifar-10-batches-bin/data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  CIFAR10/cifar-10-batches-bin/data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  CIFAR10/cifar-10-batches-bin/data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  CIFAR10/cifar-10-batches-bin/data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  CIFAR10/cifar-10-batches-bin/data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  CIFAR10/cifar-10-batches-bin/test_batch.bin
6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce  CIFAR10/cifar-10-python.tar.gz
54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd  CIFAR10/cifar-10-batches-py/data_batch_1
766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8  CIFAR10/cifar-10-batches-py/data_batch_2
0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9  CIFAR10/cifar-10-batches-py/data_batch_3
3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b  CIFAR10/cifar-10-batches-py/data_batch_4
d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154  CIFAR10/cifar-10-batches-py/data_batch_5
f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831  CIFAR10/cifar-10-batches-py/test_batch
435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8  SVHN/train_32x32.mat
cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b  SVHN/test_32x32.mat
a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3  SVHN/extra_32x32.mat
46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74  CelebA/img_align_celeba.zip
"""
_SHA256 = {name: digest for digest, name in map(str.split, _SUMS.strip().splitlines())}


def _forms(name: str, served: str, *mirrors: str) -> Forms:
    """A file gzipped and plain, of which the mirrors serve the one with the suffix ``served``."""
    urls = tuple(f"{mirror}{Path(name).name}{served}" for mirror in mirrors)
    return tuple(RemoteFile(name + end, _SHA256[name + end], urls if end == served else ()) for end in (".gz", ""))


def _idx(folder: str, *mirrors: str) -> dict[str, Forms]:
    stems = {"train": "train", "test": "t10k"}
    kinds = {"images": "idx3", "labels": "idx1"}
    return {
        f"{split}_{kind}": _forms(f"{folder}/raw/{stem}-{kind}-{rank}-ubyte", ".gz", *mirrors)
        for split, stem in stems.items()
        for kind, rank in kinds.items()
    }


_MNIST = _idx(
    "MNIST",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION = _idx(
    "FashionMNIST",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
_LAROCHELLE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
_STATIC = {k: _forms(f"BinarizedMNIST/binarized_mnist_{k}.amat", "", _LAROCHELLE) for k in ("train", "valid", "test")}


def _file(name: str, *mirrors: str) -> RemoteFile:
    return RemoteFile(name, _SHA256[name], tuple(mirror + Path(name).name for mirror in mirrors))


# Either archive is one half; the file made of both stands for each.
_LAKE = ("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",)
_OMNIGLOT = {
    part: (_file("OMNIGLOT/omniglot_28x28_area.npz"), _file(f"OMNIGLOT/images_{part}.zip", *_LAKE))
    for part in ("background", "evaluation")
}
_SILHOUETTES = {
    "split1": (
        _file("Caltech101Silhouettes/caltech101_silhouettes_28_split1.mat", "https://people.cs.umass.edu/~marlin/data/"),
    )
}
_FREY = {"faces": (_file("FreyFaces/frey_rawface.mat", "https://cs.nyu.edu/~roweis/data/"),)}

# A batch alone, binary, pickled or as arrays, or the archive of all of them, binary or pickled.
_TORONTO = "https://www.cs.toronto.edu/~kriz/"


def _batch(stem: str, *arrays: str) -> Forms:
    alone = (f"cifar-10-batches-bin/{stem}.bin", f"cifar-10-batches-py/{stem}", *arrays, "cifar-10-python.tar.gz")
    return (*(_file(f"CIFAR10/{name}") for name in alone), _file("CIFAR10/cifar-10-binary.tar.gz", _TORONTO))


_CIFAR_BATCH1 = {
    "test": _batch("test_batch", "cifar10_test_batch.npz"),
    "batch1": _batch("data_batch_1", "cifar10_train_batch_1.npz"),
}
_CIFAR = {**_CIFAR_BATCH1, **{f"batch{i}": _batch(f"data_batch_{i}") for i in range(2, 6)}}
_SVHN = {part: (_file(f"SVHN/{part}_32x32.mat", "http://ufldl.stanford.edu/housenumbers/"),) for part in ("train", "test")}
_EXTRA = {"extra": (_file("SVHN/extra_32x32.mat", "http://ufldl.stanford.edu/housenumbers/"),)}

# Data set -> part -> forms. Data sets that are not here need no files.
FILES: dict[str, Mapping[str, Forms]] = {
    **dict.fromkeys(("mnist", "mnist-threshold", "mnist-threshold-0.4375", "mnist-epoch", "mnist-dynamic"), _MNIST),
    **dict.fromkeys(("fashion-mnist", "fashion-mnist-share", "fashion-mnist-dynamic"), _FASHION),
    "mnist-static": _STATIC,
    **dict.fromkeys(("omniglot", "omniglot-threshold", "omniglot-epoch", "omniglot-dynamic"), _OMNIGLOT),
    "caltech101-silhouettes": _SILHOUETTES,
    "frey-faces": _FREY,
    **dict.fromkeys(("cifar10", "cifar10-5bit"), _CIFAR),
    **dict.fromkeys(("cifar10-batch1", "cifar10-batch1-5bit"), _CIFAR_BATCH1),
    "celeba-64": {"pictures": (_file("CelebA/img_align_celeba.zip", "https://s3.amazonaws.com/pytorch-tutorial-assets/"),)},
    "svhn": _SVHN,
    "svhn-extra": {**_SVHN, **_EXTRA},
}
