"""Data sets by name. Importing this package imports neither torch nor scikit-learn: a loader imports what it needs."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from seedbed.core.errors import SeedbedError, unknown

if TYPE_CHECKING:
    from torch.utils.data import Dataset as TorchDataset

    from seedbed.data.dataset import Dataset

_TOYS = ("8gaussians", "swissroll", "circles", "rings", "moons", "pinwheel", "2spirals", "checkerboard", "line", "cos")


def _lazy(module: str, function: str, *arguments: str) -> "Callable[..., Dataset]":
    """A loader whose module is imported when it is first called."""

    def loader(seed: int = 0, **options: object) -> "Dataset":
        return getattr(import_module(f"{__name__}.{module}"), function)(*arguments, seed=seed, **options)

    return loader


DATA: "dict[str, Callable[..., Dataset]]" = {
    **{name: _lazy("toy", "toy_dataset", name) for name in _TOYS},
    "digits": _lazy("digits", "digits_dataset"),
    "digits-binary": _lazy("digits", "digits_binary_dataset"),
    "mnist": _lazy("mnist", "images", "mnist"),
    "mnist-threshold": _lazy("mnist", "images", "mnist-threshold", "threshold"),
    "mnist-epoch": _lazy("mnist", "images", "mnist-epoch", "epoch"),
    "mnist-dynamic": _lazy("mnist", "images", "mnist-dynamic", "batch"),
    "mnist-static": _lazy("mnist", "static", "mnist-static"),
    "fashion-mnist": _lazy("mnist", "images", "fashion-mnist"),
    "fashion-mnist-dynamic": _lazy("mnist", "images", "fashion-mnist-dynamic", "batch"),
    "omniglot": _lazy("omniglot", "omniglot", "omniglot"),
    "omniglot-threshold": _lazy("omniglot", "omniglot", "omniglot-threshold", "threshold"),
    "omniglot-epoch": _lazy("omniglot", "omniglot", "omniglot-epoch", "epoch"),
    "omniglot-dynamic": _lazy("omniglot", "omniglot", "omniglot-dynamic", "batch"),
    "caltech101-silhouettes": _lazy("matlab", "silhouettes"),
    "frey-faces": _lazy("matlab", "frey_faces"),
}


# Data of one's own: by a name that begins so, options behind (see ``own.own``), or given a name by ``register``.
OWN = ("folder", "array")
_REGISTERED: set[str] = set()


def names() -> list[str]:
    """Every registered data set."""
    return list(DATA)


def is_own(name: str) -> bool:
    """Whether a name stands for data of one's own: ``folder:PATH``, ``array:FILE``, or what ``register`` was given."""
    return name in _REGISTERED or (":" in name and name.partition(":")[0] in OWN)


def load(name: str, seed: int = 0, **options: object) -> "Dataset":
    """Load a data set by name.

    Args:
        name: one of ``names()``, or ``folder:PATH`` or ``array:FILE``.
        seed: the data seed (draws of a toy set, split of a fixed one); not the model's seed.
        options: whatever else that set's loader takes, e.g. ``train_size`` of a toy set.

    Raises:
        SeedbedError: if there is no such data set.
    """
    if name in DATA:
        return DATA[name](seed=seed, **options)
    if is_own(name):
        return _lazy("own", "own", name)(seed=seed, **options)
    raise unknown("data set", name, DATA)


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
    if name not in _REGISTERED and (name in DATA or is_own(name)):
        raise SeedbedError(f"{name!r} is the name of another data set; choose one of your own")

    def loader(seed: int = 0) -> "Dataset":
        return import_module(f"{__name__}.own").from_torch(train, name=name, seed=seed, **options)

    _REGISTERED.add(name)
    DATA[name] = loader
