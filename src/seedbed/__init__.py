"""Seedbed: train deep generative models over many random seeds as one run, and know which differences are real."""

from importlib.metadata import version
from typing import TYPE_CHECKING

from seedbed.core.errors import SeedbedError

if TYPE_CHECKING:
    from seedbed.core.context import Context
    from seedbed.experiments.run import Run, load, run

__version__ = version("seedbed")
__all__ = ["Context", "Run", "SeedbedError", "__version__", "load", "run"]


def __getattr__(name: str) -> object:
    # Deferred, so that `seedbed --help` need not import what a run needs.
    if name == "Context":
        from seedbed.core.context import Context

        return Context
    if name in ("Run", "load", "run"):
        from seedbed.experiments import run as module

        return getattr(module, name)
    raise AttributeError(f"module 'seedbed' has no attribute {name!r}")
