"""Data sets by name. Importing this package imports neither torch nor scikit-learn: a loader imports what it needs."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed.core.ambient import plain
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.numbers import SEED_MOST, shown, whole

if TYPE_CHECKING:
    from torch.utils.data import Dataset as TorchDataset

    from seedbed.data.dataset import Dataset

_TOYS = ("8gaussians", "swissroll", "circles", "rings", "moons", "pinwheel", "2spirals", "checkerboard", "line", "cos")
_EPOCH = 51_200  # points of a density that count as one pass through it


def _lazy(module: str, function: str, *arguments: str | int | float) -> "Callable[..., Dataset]":
    """A loader whose module is imported when it is first called."""

    def loader(seed: int = 0, **options: object) -> "Dataset":
        return getattr(import_module(f"{__name__}.{module}"), function)(*arguments, seed=seed, **options)

    return loader


@dataclass(frozen=True)
class Entry:
    """What a registered data set is, known before any of its files is read.

    Args:
        load: its loader.
        domain: what one number of an example is, in training.
        shape: of one example.
        examples: of one epoch.
        seeded: whether the seed of the data decides anything: a split, or the draws of a density.
        density: whether it stands for a density of the plane, of which any number of points can be drawn.
    """

    load: "Callable[..., Dataset]"
    domain: Domain
    shape: tuple[int, ...]
    examples: int
    seeded: bool = False
    density: bool = False


_BYTES, _SQUARE = Domain("levels", 256), (1, 28, 28)
_FIVE, _COLOUR = Domain("levels", 32), (3, 32, 32)
_ENTRIES: dict[str, Entry] = {
    **{name: Entry(_lazy("toy", "toy_dataset", name), REAL, (2,), _EPOCH, seeded=True, density=True) for name in _TOYS},
    "digits": Entry(_lazy("digits", "digits_dataset"), Domain("levels", 17), (1, 8, 8), 1257, seeded=True),
    "digits-binary": Entry(_lazy("digits", "digits_binary_dataset"), BINARY, (1, 8, 8), 1257, seeded=True),
    "mnist": Entry(_lazy("mnist", "images", "mnist"), _BYTES, _SQUARE, 50_000),
    "mnist-threshold": Entry(_lazy("mnist", "images", "mnist-threshold", "threshold"), BINARY, _SQUARE, 50_000),
    "mnist-threshold-0.4375": Entry(
        _lazy("mnist", "images", "mnist-threshold-0.4375", "threshold", 0.4375), BINARY, _SQUARE, 50_000
    ),
    "mnist-epoch": Entry(_lazy("mnist", "images", "mnist-epoch", "epoch"), BINARY, _SQUARE, 50_000),
    "mnist-dynamic": Entry(_lazy("mnist", "images", "mnist-dynamic", "batch"), BINARY, _SQUARE, 50_000),
    "mnist-static": Entry(_lazy("mnist", "static", "mnist-static"), BINARY, _SQUARE, 50_000),
    "fashion-mnist": Entry(_lazy("mnist", "images", "fashion-mnist"), _BYTES, _SQUARE, 50_000),
    "fashion-mnist-share": Entry(_lazy("mnist", "images", "fashion-mnist-share", "share"), REAL, _SQUARE, 50_000),
    "fashion-mnist-dynamic": Entry(_lazy("mnist", "images", "fashion-mnist-dynamic", "batch"), BINARY, _SQUARE, 50_000),
    "omniglot": Entry(_lazy("omniglot", "omniglot", "omniglot"), _BYTES, _SQUARE, 22_000),
    "omniglot-threshold": Entry(_lazy("omniglot", "omniglot", "omniglot-threshold", "threshold"), BINARY, _SQUARE, 22_000),
    "omniglot-epoch": Entry(_lazy("omniglot", "omniglot", "omniglot-epoch", "epoch"), BINARY, _SQUARE, 22_000),
    "omniglot-dynamic": Entry(_lazy("omniglot", "omniglot", "omniglot-dynamic", "batch"), BINARY, _SQUARE, 22_000),
    "caltech101-silhouettes": Entry(_lazy("matlab", "silhouettes"), BINARY, _SQUARE, 4_100),
    "frey-faces": Entry(_lazy("matlab", "frey_faces"), _BYTES, (1, 28, 20), 1_565, seeded=True),
    "cifar10": Entry(_lazy("cifar", "images", "cifar10"), _BYTES, _COLOUR, 45_000),
    "cifar10-5bit": Entry(_lazy("cifar", "images", "cifar10-5bit", 5, 5), _FIVE, _COLOUR, 45_000),
    "cifar10-batch1": Entry(_lazy("cifar", "images", "cifar10-batch1", 1), _BYTES, _COLOUR, 9_000),
    "cifar10-batch1-5bit": Entry(_lazy("cifar", "images", "cifar10-batch1-5bit", 1, 5), _FIVE, _COLOUR, 9_000),
    "svhn": Entry(_lazy("matlab", "house_numbers", "svhn"), _BYTES, _COLOUR, 68_257),
    "svhn-extra": Entry(_lazy("matlab", "house_numbers", "svhn-extra"), _BYTES, _COLOUR, 604_388),
    "celeba-64": Entry(_lazy("celeba", "faces"), _BYTES, (3, 64, 64), 162_770),
    "iris": Entry(_lazy("bundled", "table", "iris"), REAL, (4,), 120, seeded=True),
    "wine": Entry(_lazy("bundled", "table", "wine"), REAL, (13,), 144, seeded=True),
    "breast-cancer": Entry(_lazy("bundled", "table", "breast-cancer"), REAL, (30,), 457, seeded=True),
    "diabetes": Entry(_lazy("bundled", "table", "diabetes"), REAL, (10,), 354, seeded=True),
}
DATA: "dict[str, Callable[..., Dataset]]" = {name: entry.load for name, entry in _ENTRIES.items()}


# Data of one's own: by a name that begins so, options behind (see ``own.own``), or given a name by ``register``.
OWN = ("folder", "array", "csv")
_REGISTERED: set[str] = set()


def names() -> list[str]:
    """Every registered data set."""
    return list(DATA)


def entry(name: str) -> Entry | None:
    """What a data set is, without loading it; ``None`` of data of one's own, which have to be read to know.

    Raises:
        SeedbedError: if there is no such data set.
    """
    if not _known(name):
        raise _no_set(name)
    return _ENTRIES.get(name)


def _known(name: object) -> bool:
    """Whether something is the name of a data set."""
    return isinstance(name, str) and (name in DATA or is_own(name))


def _no_set(name: object) -> SeedbedError:
    """The error for a name of no data set, which may be a path that lacks its kind."""
    if not isinstance(name, str) or not os.path.exists(name):
        return unknown("data set", name, DATA)
    path = Path(name)
    kind = "folder" if path.is_dir() else "csv" if path.suffix.lower() in (".csv", ".tsv", ".parquet") else "array"
    return SeedbedError(f"unknown data set {name!r}; for the {'folder' if path.is_dir() else 'file'} say {kind}:{name}")


def is_own(name: str) -> bool:
    """Whether a name stands for data of one's own: ``csv:FILE``, ``array:FILE``, ``folder:PATH``, or what was registered."""
    return isinstance(name, str) and (name in _REGISTERED or has_path(name))


def has_path(name: str) -> bool:
    """Whether a name says where data of one's own are, as ``array:FILE`` does."""
    return ":" in name and name.partition(":")[0] in OWN


def rooted(name: str) -> str:
    """The name of data of one's own in one spelling, its path from the root: ``array:./x.npy`` is ``array:/here/x.npy``.

    Any other name stays as it is.
    """
    if not has_path(name):
        return name
    kind, _, rest = name.partition(":")
    path, comma, options = rest.partition(",")
    return f"{kind}:{os.path.abspath(os.path.expanduser(path))}{comma}{options}"


_PLACES: "ContextVar[Mapping[str, str]]" = ContextVar("_PLACES")


@contextmanager
def found_at(places: "Mapping[str, str]") -> Iterator[None]:
    """While inside, some data are read from elsewhere: by the name that is asked for, the one that they have now."""
    outside = _PLACES.set({**_PLACES.get({}), **places})
    try:
        yield
    finally:
        _PLACES.reset(outside)


def is_table(name: str) -> bool:
    """Whether a name stands for a table: columns of real numbers, few of them, and no density that draws at will."""
    known = _ENTRIES.get(name)
    real = known is not None and known.domain == REAL and len(known.shape) == 1 and not known.density
    return real or name.startswith("csv:")


_LOADED: "ContextVar[dict[tuple[str, int, str], Dataset] | None]" = ContextVar("_LOADED", default=None)


@contextmanager
def loaded_once() -> Iterator[None]:
    """While inside, a data set that is asked for again is the one that was loaded before."""
    if _LOADED.get() is not None:
        yield
        return
    outside = _LOADED.set({})
    try:
        yield
    finally:
        _LOADED.reset(outside)


@plain()
def load(name: str, seed: int = 0, **options: object) -> "Dataset":
    """Load a data set by name.

    Args:
        name: one of ``names()``, or ``csv:FILE``, ``array:FILE`` or ``folder:PATH``.
        seed: the data seed (draws of a toy set, split of a fixed one); not the model's seed.
        options: whatever else that set's loader takes, e.g. ``train_size`` of a toy set.

    Raises:
        SeedbedError: if there is no such data set.
    """
    if not isinstance(name, str):
        raise SeedbedError(f"data must be the name of a data set, got {shown(name)}")
    if not _known(name):
        raise _no_set(name)
    seed = whole("the seed of the data", seed, 0, SEED_MOST)
    loaded, key = _LOADED.get(), (name, seed, repr(sorted(options.items())))
    if (place := _PLACES.get({}).get(name, name)) != name:
        return replace(load(place, seed, **options), name=name)
    if loaded is not None and key in loaded:
        return loaded[key]
    found = (DATA[name] if name in DATA else _lazy("own", "own", name))(seed=seed, **options)
    if loaded is not None:
        loaded[key] = found
    return found


def register(name: str, train: "TorchDataset[Any]", **options: Any) -> None:
    """Give a ``torch.utils.data.Dataset`` a name, for ``load`` and for the ``data`` field of any experiment in this process.

    For worker processes and the command line do it in the file of your own experiment, which they execute.

    Args:
        name: a new name, or one registered here before, which it replaces.
        train: the examples; see ``own.from_torch``, which reads them when the name is loaded.
        options: of ``own.from_torch``: ``valid``, ``test``, ``binarise``.

    Raises:
        SeedbedError: if the name is that of another data set.
    """
    if not isinstance(name, str) or not name:
        raise SeedbedError(f"the name of a data set is a word, got {name!r}; choose one of your own")
    if name not in _REGISTERED and (name in DATA or is_own(name)):
        raise SeedbedError(f"{name!r} is the name of another data set; choose one of your own")

    def loader(seed: int = 0) -> "Dataset":
        return import_module(f"{__name__}.own").from_torch(train, name=name, seed=seed, **options)

    _REGISTERED.add(name)
    DATA[name] = loader
