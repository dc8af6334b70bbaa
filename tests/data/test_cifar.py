"""CIFAR-10 in every form that it comes in, on batches of twenty images made here, and on the real files."""

import hashlib
import io
import os
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.data import cifar, entry, load
from seedbed.data.cifar import BATCHES, read_batch
from seedbed.data.files import FILES, RemoteFile, check
from seedbed.data.source import InMemory

COUNT = 20
RNG = np.random.default_rng(0)
PIXELS = {part: RNG.integers(0, 256, (COUNT, 3, 32, 32), dtype=np.uint8) for part in BATCHES}
LABELS = {part: RNG.integers(0, 10, COUNT, dtype=np.uint8) for part in BATCHES}
SPLITS = ("train", "valid", "test")


def binary(part: str) -> bytes:
    """As the authors' page describes the format."""
    return b"".join(bytes([y]) + x.tobytes() for x, y in zip(PIXELS[part], LABELS[part], strict=True))


def pickled(part: str, **changed: object) -> bytes:
    held = {"data": PIXELS[part].reshape(COUNT, -1), "labels": LABELS[part].tolist(), "batch_label": part}
    return pickle.dumps({key: value for key, value in {**held, **changed}.items() if value is not None}, protocol=2)


def arrays(part: str, **changed: np.ndarray) -> bytes:
    kept = io.BytesIO()
    np.savez_compressed(kept, **{"images": PIXELS[part].transpose(0, 2, 3, 1), "labels": LABELS[part], **changed})
    return kept.getvalue()


def archive(path: Path, form: str) -> Path:
    """All batches in one archive, in an order of their own and with a file beside them."""
    write, end = {"bin": (binary, ".bin"), "py": (pickled, "")}[form]
    with tarfile.open(path, "w:gz") as packed:
        for name, content in [("readme.html", b"about"), *((BATCHES[part] + end, write(part)) for part in BATCHES)]:
            member = tarfile.TarInfo(f"cifar-10-batches-{form}/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


def remote(path: Path, *urls: str) -> tuple[RemoteFile]:
    return (RemoteFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), urls),)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "COUNT", COUNT)


@pytest.fixture(params=["bin", "py", "npz", "bin archive", "py archive"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of batches in one form, known to ``FILES``."""
    if "archive" in request.param:
        whole = archive(tmp_path / "batches.tar.gz", request.param.split()[0])
        paths = dict.fromkeys(BATCHES, whole)
    else:
        paths = {part: tmp_path / f"{part}.{request.param}" for part in BATCHES}
        for part, path in paths.items():
            path.write_bytes({"bin": binary, "py": pickled, "npz": arrays}[request.param](part))
    for name in FILES:
        if name.startswith("cifar10"):
            monkeypatch.setitem(FILES, name, {part: remote(paths[part]) for part in FILES[name]})
    return tmp_path


def test_every_form_holds_the_arrays_that_it_was_made_of(folder: Path) -> None:
    data = load("cifar10", data_dir=folder)
    train = np.concatenate([PIXELS[f"batch{i}"] for i in range(1, 6)])
    classes = np.concatenate([LABELS[f"batch{i}"] for i in range(1, 6)])
    expected = {"train": (train[:90], classes[:90]), "valid": (train[90:], classes[90:])}
    for split, (pixels, labels) in {**expected, "test": (PIXELS["test"], LABELS["test"])}.items():
        assert np.array_equal(data.splits[split][:].numpy(), pixels) and data.labels[split].tolist() == labels.tolist()
    assert data.domain == Domain("levels", 256) and data.shape == (3, 32, 32)
    assert "levels 0..255; first 90 / last 10 training images / whole test batch: 90 / 10 / 20" in data.protocol
    assert data.checksum() == load("cifar10", seed=7, data_dir=folder).checksum()


def test_the_first_batch_alone_says_so(folder: Path) -> None:
    data = load("cifar10-batch1", data_dir=folder)
    assert np.array_equal(torch.cat([data.splits[split][:] for split in ("train", "valid")]).numpy(), PIXELS["batch1"])
    assert [len(data.splits[split]) for split in SPLITS] == [18, 2, 20]
    assert "first training batch alone (not comparable with published numbers)" in data.protocol


def test_five_bits_are_the_highest_of_eight(folder: Path) -> None:
    whole, few = load("cifar10", data_dir=folder), load("cifar10-5bit", data_dir=folder)
    assert few.domain == Domain("levels", 32) and "levels 0..31" in few.protocol
    for split in SPLITS:
        assert torch.equal(few.splits[split][:], (whole.splits[split][:] / 8).floor())
    assert few.splits["train"][:].max() == 31 and few.checksum() != whole.checksum()


def test_pictures_are_kept_as_bytes_and_gathered_as_numbers(folder: Path) -> None:
    for name in ("cifar10", "cifar10-5bit"):
        for source in load(name, data_dir=folder).splits.values():
            assert isinstance(source, InMemory) and source.examples.dtype == torch.uint8
            assert source[torch.tensor([1, 0])].dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (binary("test")[:-1], "expected 61460 bytes, 20 times a class and 3072 levels, got 61459"),
        (binary("test") + b"\0", "got 61461"),
        (b"", "got 0"),
        (b"<html>not found</html>", "got 22"),
        (
            binary("test")[: 3 * 3073] + b"\x17" + binary("test")[3 * 3073 + 1 :],
            r"expected classes 0..9, image 3 has class 23 \(byte 9219\)",
        ),
        (pickled("test", data=None), r"expected data as bytes \[20, 3072\], got nothing"),
        (pickled("test", data=PIXELS["test"]), r"got uint8 \[20, 3, 32, 32\]"),
        (
            pickled("test", data=PIXELS["test"].reshape(20, -1) / 255.0),
            r"expected data as bytes .* got float64 \[20, 3072\]",
        ),
        (pickled("test", data=PIXELS["test"].reshape(20, -1).astype(np.int16) + 1), "got int16"),
        (pickled("test", labels=[1, 2]), r"expected labels as bytes \[20\], got uint8 \[2\]"),
        (pickled("test", labels=[300] * 20), "expected labels as bytes .20., got list"),
        (pickled("test", labels=[12] * 20), r"image 0 has class 12 \(labels\)"),
        (pickled("test", labels="x"), "got str"),
        (pickle.dumps([1], 2), "expected data as bytes"),
        (pickled("test")[:-9], "is a damaged pickle"),
        (pickled("test", note=Path("x")), r"wants pathlib\S*Path at byte \d+"),
        (arrays("test", images=PIXELS["test"].transpose(0, 2, 3, 1) / np.float32(255)), "expected images .* got float32"),
        (arrays("test", images=PIXELS["test"]), r"expected images as bytes \[20, 32, 32, 3\], got uint8 \[20, 3, 32, 32\]"),
        (arrays("test", labels=LABELS["test"] + 3), r"has class 1\d \(labels\)"),
        (arrays("test")[:-30], "cannot be read"),
        (arrays("test").replace(b"images", b"pixels"), "expected images as bytes .* got nothing"),
        (arrays("test", more=np.zeros(10**7, np.uint8)), "it holds 10.* bytes, a batch of arrays about 61460"),
    ],
)
def test_what_is_no_batch_is_named_by_its_byte_or_key(content: bytes, says: str) -> None:
    with pytest.raises(SeedbedError, match=says) as caught:
        read_batch(content, "the batch")
    assert str(caught.value).startswith("the batch ") and "\n" not in str(caught.value)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "batches.tar.gz", "bin")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:2000] + b"\xff" * 99 + whole[2099:], whole[:2]):
        path.write_bytes(content)
        with pytest.raises(SeedbedError, match=rf"{path} (cannot be read|is corrupt): \S.*get the file anew"):
            list(cifar.read_batches(dict.fromkeys(BATCHES, path)))
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(SeedbedError, match=f"{path} holds no test_batch, data_batch_1"):
        list(cifar.read_batches(dict.fromkeys(("test", "batch1"), path)))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address of a server of it."""
    (tmp_path / "served").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield tmp_path / "served", f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


def test_the_archive_is_downloaded_once(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = archive(served[0] / "batches.tar.gz", "bin")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    monkeypatch.delenv("SEEDBED_DATA", raising=False)
    monkeypatch.setenv("SEEDBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(FILES, "cifar10", dict.fromkeys(BATCHES, remote(path, served[1] + path.name)))
    assert np.array_equal(load("cifar10").splits["test"][:].numpy(), PIXELS["test"])
    assert (tmp_path / "cache" / path.name).read_bytes() == path.read_bytes()
    assert capfd.readouterr().err.count("GET /") == 1


def test_without_files_one_line_says_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEEDBED_DATA", raising=False)
    monkeypatch.setenv("SEEDBED_CACHE", str(tmp_path))
    says = "run `seedbed data fetch cifar10` or set SEEDBED_DATA to a folder that holds it"
    assert check("cifar10")[1] == f"CIFAR10/cifar-10-batches-bin/data_batch_1.bin not found; {says}"


def test_real_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path(os.environ.get("SEEDBED_DATA", "."), "CIFAR10").is_dir() or check("cifar10-batch1"):
        pytest.skip("set SEEDBED_DATA to a folder with CIFAR10")
    monkeypatch.setattr(cifar, "COUNT", 10_000)
    data = load("cifar10-batch1")
    known = entry("cifar10-batch1")
    assert known is not None and (known.domain, known.shape, known.examples) == (data.domain, data.shape, data.epoch_size)
    assert [len(data.splits[split]) for split in SPLITS] == [9_000, 1_000, 10_000]
    # Written back, a batch has the checksum of the authors' own file.
    for split, stem in ((("train", "valid"), "data_batch_1"), (("test",), "test_batch")):
        pixels = torch.cat([data.splits[part][:] for part in split]).byte().flatten(1)
        labels = torch.cat([data.labels[part] for part in split]).byte()
        got = hashlib.sha256(torch.cat([labels[:, None], pixels], 1).numpy().tobytes()).hexdigest()
        assert (
            got
            == {form.name: form.sha256 for form in FILES["cifar10"]["test" if stem[0] == "t" else "batch1"]}[
                f"CIFAR10/cifar-10-batches-bin/{stem}.bin"
            ]
        )
