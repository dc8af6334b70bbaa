"""What an estimator needs of a model, found by looking at it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise
from seedbed.core.slots import couples_examples
from seedbed.core.stack import Stack
from seedbed.data.source import Source


@dataclass(frozen=True)
class Traits:
    """What a model's proposals are.

    Args:
        real: whether every latent is a vector of real numbers, so that one may walk in it.
        bits: whether some latent is of bits.
        scores: whether the posterior can score a z that it did not draw.
        dense: whether there is one latent alone, a vector of real numbers.
    """

    real: bool
    bits: bool
    scores: bool
    dense: bool


def traits(stack: Stack, x: Tensor | Source) -> Traits:
    """Look at one proposal.

    Args:
        stack: latent-variable models.
        x: ``[n, *example]``, of which the first is looked at.
    """
    found: list[Traits] = []

    def look(model: LatentVariable, x: Tensor, ctx: Context) -> Tensor:
        proposal = model.proposal(x, ctx)
        bits = any(not layer.real for layer in proposal.layers.values())
        dense = proposal.real and [z.ndim for z in proposal.z.values()] == [2]
        found.append(Traits(proposal.real, bits, proposal.log_q_at is not None, dense))
        return x

    noise = EvalNoise(stack.streams, "traits", device=stack.device, dtype=stack.dtype)
    with torch.no_grad():
        stack.call(look, noise=noise, shared=(x[:1].to(stack.device, stack.dtype),))
    return found[0]


def need_latents(stack: Stack, wanted: str) -> LatentVariable:
    """The model, if it has latents and its examples do not see each other: a likelihood would depend on the chunk.

    Raises:
        SeedbedError: otherwise.
    """
    module = stack.module
    if not isinstance(module, LatentVariable):
        raise cannot(f"{type(module).__name__}, which has no latents,", wanted)
    if couples_examples(module, training=False):
        raise cannot(f"{type(module).__name__}, in which examples see each other by a batch norm,", wanted)
    return module


def cannot(owner: str, wanted: str) -> SeedbedError:
    """The error for an estimator that a model does not have."""
    return SeedbedError(
        f"{owner} has no estimator {wanted!r}; `offered` of seedbed.evaluate.estimators says which there are for a stack"
    )
