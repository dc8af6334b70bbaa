"""The chain x -> z ~ q(z | x) -> x ~ p(x | z), whose stationary law is that of a model which agrees with its encoder."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.capabilities import HasChain, LatentVariable
from seedbed.core.context import Context
from seedbed.core.law import Distribution
from seedbed.core.terms import Terms
from seedbed.objectives.bounds import coupling, declares_coupling

# (model, batch or what it is asked for, ctx) -> terms.
Utility = Callable[[Any, Any, Context], Terms]


def step_of(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Distribution:
    """p(x' | z) at z ~ q(z | x): a draw of it is the next state of each chain.

    Where q(z | x) is p(z | x) the chain has the law p(x) (Geman and Geman 1984); of any pair it tends to a law of its own,
    the limiting distribution of Flach et al. (2024, arXiv 2307.09883).
    """
    return model.proposal(x, replace(ctx, through="constant")).likelihood


def with_chain(utility: Utility) -> Utility:
    """The utility, each of whose updates also moves the chains of a model that has some (``HasChain``) by a step.

    They are the last thing drawn, so that the utility's own draws are what they are without them.
    """

    def both(model: Any, batch: Any, ctx: Context) -> Terms:
        terms = utility(model, batch, ctx)
        if isinstance(model, HasChain) and model.chain in ctx.state and ctx.state.writable:
            with torch.no_grad():
                x = ctx.state[model.chain].to(ctx.noise.dtype)
                likelihood = step_of(cast(LatentVariable, model), x, ctx)
                ctx.state[model.chain] = likelihood.draw(ctx.noise).value
        return terms

    return coupling(both) if declares_coupling(utility) else both


def corrupted(utility: Utility, level: float) -> Utility:
    """The utility of examples with noise: bits flipped with probability ``level``, of real numbers N(0, level^2) added.

    Args:
        utility: of a model that scores bits or real numbers, and of a batch ``[batch, *example]``.
        level: of the noise.
    """

    def noisy(model: LatentVariable, x: Tensor, ctx: Context) -> Terms:
        if model.domain.kind == "binary":
            flips = ctx.noise.uniform(x.shape[1:], batch=len(x)) < level
            return utility(model, torch.where(flips, 1 - x, x), ctx)
        return utility(model, x + level * ctx.noise.normal(x.shape[1:], batch=len(x)), ctx)

    return coupling(noisy) if declares_coupling(utility) else noisy
