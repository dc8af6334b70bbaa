"""Seedbed: train deep generative models over many random seeds as one run, and know which differences are real."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from seedbed.core.errors import SeedbedError

if TYPE_CHECKING:
    from seedbed.core.context import Context
    from seedbed.runs.api import run
    from seedbed.runs.load import Run, load

__version__ = version("seedbed")
__all__ = ["Context", "Run", "SeedbedError", "__version__", "load", "run"]
_DEFERRED = {
    "Context": "seedbed.core.context",
    "Run": "seedbed.runs.load",
    "load": "seedbed.runs.load",
    "run": "seedbed.runs.api",
}


def __getattr__(name: str) -> object:
    # Deferred, so that `seedbed --help` need not import what a run needs.
    if name in _DEFERRED:
        return getattr(import_module(_DEFERRED[name]), name)
    raise AttributeError(f"module 'seedbed' has no attribute {name!r}")
