"""Which estimators a model has."""

from collections.abc import Mapping, Sequence

from seedbed.core.capabilities import HasLogProb, HasSample, LatentVariable
from seedbed.core.errors import SeedbedError


def estimators(module: object, shape: Sequence[int]) -> dict[str, str]:
    """What can be measured of a model of examples of one shape: name and meaning."""
    found = {}
    if isinstance(module, LatentVariable):
        found["nll"] = "negative log-likelihood by importance sampling"
        if module.smooth:
            found["ais"] = "the same by annealed importance sampling, beside it"
        found["latents"] = "rate, distortion, KL per layer and unit, active units"
    elif isinstance(module, HasLogProb):
        found["nll"] = "exact negative log-likelihood"
    if isinstance(module, HasSample) and tuple(shape) == (2,):
        found["sw"] = "sliced Wasserstein distance of draws to the split"
    return found


def no_estimator(owner: str, wanted: str, known: Mapping[str, str]) -> SeedbedError:
    """The error for an estimator that a model does not have, with those that it has."""
    has = ", ".join(f"{name} ({meaning})" for name, meaning in known.items()) or "none"
    return SeedbedError(f"{owner} has no estimator {wanted!r}; it has: {has}")


def need_latents(module: object, wanted: str, shape: Sequence[int]) -> LatentVariable:
    """The model, if it has latents.

    Raises:
        SeedbedError: otherwise; it says which estimators there are.
    """
    if isinstance(module, LatentVariable):
        return module
    raise no_estimator(f"{type(module).__name__}, which has no latents,", wanted, estimators(module, shape))
