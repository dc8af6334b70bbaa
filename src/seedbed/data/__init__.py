"""Data sets by name. Importing this package imports neither torch nor scikit-learn: a loader imports what it needs."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from seedbed.core.errors import unknown

if TYPE_CHECKING:
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


def names() -> list[str]:
    """Every registered data set."""
    return list(DATA)


def load(name: str, seed: int = 0, **options: object) -> "Dataset":
    """Load a data set by name.

    Args:
        name: one of ``names()``.
        seed: the data seed (draws of a toy set, split of a fixed one); not the model's seed.
        options: whatever else that set's loader takes, e.g. ``train_size`` of a toy set.

    Raises:
        SeedbedError: if there is no such data set.
    """
    if name not in DATA:
        raise unknown("data set", name, DATA)
    return DATA[name](seed=seed, **options)
