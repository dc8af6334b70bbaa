"""Which estimators a model has."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from seedbed.core.capabilities import HasLogProb, HasSample, LatentVariable, Sequence
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise
from seedbed.core.slots import couples_examples
from seedbed.core.stack import Stack


@dataclass(frozen=True)
class Traits:
    """What a model's proposals are.

    Args:
        real: whether every latent is a vector of real numbers, so that one may walk in it.
        scores: whether the posterior can score a z that it did not draw.
    """

    real: bool
    scores: bool


def traits(stack: Stack, x: Tensor) -> Traits:
    """Look at one proposal.

    Args:
        stack: latent-variable models.
        x: ``[n, *example]``, of which the first is looked at.
    """
    found: list[Traits] = []

    def look(model: LatentVariable, x: Tensor, ctx: Context) -> Tensor:
        proposal = model.proposal(x, ctx)
        found.append(Traits(proposal.real, proposal.log_q_at is not None))
        return x

    noise = EvalNoise(stack.streams, "traits", device=stack.device, dtype=stack.dtype)
    with torch.no_grad():
        stack.call(look, noise=noise, shared=(x[:1].to(stack.device, stack.dtype),))
    return found[0]


def estimators(stack: Stack, x: Tensor) -> dict[str, str]:
    """What can be measured of models on examples like these: name and meaning."""
    module, found = stack.module, {}
    coupled = couples_examples(module, training=False)  # what an example is worth then depends on the chunk
    if isinstance(module, LatentVariable) and not coupled:
        found["nll"] = "negative log-likelihood by importance sampling"
        if module.smooth and traits(stack, x).real:
            found["ais"] = "the same by annealed importance sampling, beside it"
        found["latents"] = "rate, distortion, KL per layer and unit, active units"
    if isinstance(module, HasLogProb) and not coupled:
        found["nll"] = "exact negative log-likelihood"
    if isinstance(module, Sequence):
        found["nll"] = "exact negative log-likelihood per token"
    if isinstance(module, HasSample) and tuple(x.shape[1:]) == (2,):
        found["sw"] = "sliced Wasserstein distance of draws to the split"
    return found


def no_estimator(owner: str, wanted: str, known: Mapping[str, str]) -> SeedbedError:
    """The error for an estimator that a model does not have, with those that it has."""
    has = ", ".join(f"{name} ({meaning})" for name, meaning in known.items()) or "none"
    return SeedbedError(f"{owner} has no estimator {wanted!r}; it has: {has}")


def need_latents(stack: Stack, wanted: str, x: Tensor) -> LatentVariable:
    """The model, if it has latents and its examples do not see each other: a likelihood would depend on the chunk.

    Raises:
        SeedbedError: otherwise; it says which estimators there are.
    """
    module = stack.module
    if not isinstance(module, LatentVariable):
        raise no_estimator(f"{type(module).__name__}, which has no latents,", wanted, estimators(stack, x))
    if couples_examples(module, training=False):
        owner = f"{type(module).__name__}, in which examples see each other by a batch norm,"
        raise no_estimator(owner, wanted, estimators(stack, x))
    return module
