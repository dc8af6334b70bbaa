"""Seedbed: train deep generative models over many random seeds as one run, and know which differences are real."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from seedbed.core.errors import SeedbedError

if TYPE_CHECKING:
    from seedbed import data, experiments
    from seedbed.certificate.certify import certify
    from seedbed.core.capabilities import HasLogProb, HasSample, LatentVariable, Layer
    from seedbed.core.context import Context
    from seedbed.experiments.data import Examples, Points
    from seedbed.experiments.experiment import Experiment
    from seedbed.experiments.training import Training
    from seedbed.report.comparison import Comparison
    from seedbed.runs.api import run
    from seedbed.runs.fit import fit
    from seedbed.runs.load import Run, compare, load

__version__ = version("seedbed")
__all__ = [
    "Comparison",
    "Context",
    "Examples",
    "Experiment",
    "HasLogProb",
    "HasSample",
    "LatentVariable",
    "Layer",
    "Points",
    "Run",
    "SeedbedError",
    "Training",
    "__version__",
    "certify",
    "compare",
    "data",
    "experiments",
    "fit",
    "load",
    "run",
]
_DEFERRED = {
    "Comparison": "seedbed.report.comparison",
    "Context": "seedbed.core.context",
    "Examples": "seedbed.experiments.data",
    "Experiment": "seedbed.experiments.experiment",
    "HasLogProb": "seedbed.core.capabilities",
    "HasSample": "seedbed.core.capabilities",
    "LatentVariable": "seedbed.core.capabilities",
    "Layer": "seedbed.core.capabilities",
    "Points": "seedbed.experiments.data",
    "Run": "seedbed.runs.load",
    "Training": "seedbed.experiments.training",
    "certify": "seedbed.certificate.certify",
    "compare": "seedbed.runs.load",
    "fit": "seedbed.runs.fit",
    "load": "seedbed.runs.load",
    "run": "seedbed.runs.api",
}
_PACKAGES = ("data", "experiments")


def __getattr__(name: str) -> object:
    # Deferred, so that `seedbed --help` need not import what a run needs.
    if name in _DEFERRED:
        return getattr(import_module(_DEFERRED[name]), name)
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'seedbed' has no attribute {name!r}; it has {', '.join(__dir__())}")


def __dir__() -> list[str]:
    # What there is to be used, not what happens to have been imported.
    return __all__
