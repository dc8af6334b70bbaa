"""The two sides of a Wasserstein game (Arjovsky et al. 2017, arXiv 1701.07875; Gulrajani et al. 2017, arXiv 1704.00028)."""

from collections.abc import Callable, Sized
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.context import Context
from seedbed.core.slope import example_slope
from seedbed.core.terms import Terms
from seedbed.core.units import standard_of, standardised_for
from seedbed.distributions.numeric import full


@runtime_checkable
class Adversarial(Protocol):
    """A model that draws examples and a critic that scores them."""

    @property
    def critic(self) -> Callable[[Tensor], Tensor]:
        """``[batch, *example]`` to ``[batch, 1]``."""
        ...

    def sample(self, count: int, ctx: Context) -> Float[Tensor, "{count} *example"]:
        """``count`` examples g(z)."""
        ...


def score(model: Adversarial, x: Float[Tensor, "batch *example"]) -> Float[Tensor, "batch"]:
    """f(x) in full precision, ``[batch]``."""
    return full(model.critic(x)).squeeze(-1)


def gradient_penalty(critic: Callable[[Tensor], Tensor], x: Float[Tensor, "batch *example"]) -> Float[Tensor, "batch"]:
    """(||grad f(x)|| - 1)^2 per example, ``[batch]``; the norm is taken in at least fp32.

    Args:
        critic: f, whose output for one example depends on that example alone.
        x: where, ``[batch, *example]``.

    Raises:
        SeedbedError: for a critic in which examples see each other.
    """
    gradient = example_slope(lambda at: full(critic(at)).squeeze(-1), x, critic, "a penalty on the slope at each example")
    # The root of a sum that may be zero: its second derivative must stay finite.
    norm = (gradient.flatten(1).square().sum(-1) + 1e-12).sqrt()
    return (norm - 1).square()


def critic_utility(penalty: float = 10.0) -> Callable[[Adversarial, Tensor, Context], Terms]:
    """f(x) - f(g(z)) - penalty * (||grad f(x_hat)|| - 1)^2 with x_hat uniform on the segment from x to g(z).

    Gulrajani et al. 2017 (arXiv 1704.00028), eq. 3, with the sign of what the critic wants. A model in the units of its data
    (``core.units``) plays on standardised examples, where slopes along all axes are of one size. Parts: ``distance``
    (f(x) - f(g(z)), the estimate of the Wasserstein distance), ``gradient_penalty``.

    Args:
        penalty: its weight, lambda in the paper.
    """

    def utility(model: Adversarial, x: Float[Tensor, "batch *example"], ctx: Context) -> Terms:
        model, x = standard_of(model), standardised_for(model, x)
        fake = model.sample(len(x), ctx).to(x.dtype)
        share = ctx.noise.uniform([1] * (x.ndim - 1), batch=len(x))
        distance = score(model, x) - score(model, fake)
        excess = gradient_penalty(model.critic, torch.lerp(x, fake, share.expand_as(x)))
        return Terms(distance - penalty * excess, {"distance": distance, "gradient_penalty": excess})

    return utility


def generator_utility(model: Adversarial, x: Sized, ctx: Context) -> Terms:
    """f(g(z)): what the generator wants the critic to think, of as many draws as ``x`` has. Parts: ``score``.

    It looks at nothing else of a batch: its player needs no data (``Player(data=False)``).
    """
    model = standard_of(model)
    value = score(model, model.sample(len(x), ctx))
    return Terms(value, {"score": value})
