"""Bits as the signs of real numbers, for flows (Ho et al. 2019, arXiv 1902.00275; Nielsen et al. 2020, arXiv 2007.02731)."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.domain import BINARY, REAL
from seedbed.core.law import Drawn, axes
from seedbed.core.noise import Noise
from seedbed.distributions.normal import HALF_LOG_2PI, DiagonalNormal

SMALLEST = 1e-30  # of |v|: its sign is the bit, which rounding to 0 or beyond would lose
SMALLEST_DRAW = 2.0**-25  # fp32 draws multiples of 2^-24 from U[0, 1), and 0 has no logarithm


class Exponential:
    """Exponential(1) in every component.

    Args:
        shape: ``[batch, pixels]``.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = shape

    def sizes(self, noise: Noise, samples: int | None = None) -> Float[Tensor, "*samples batch pixels"]:
        """-log u, ``[samples, batch, pixels]``."""
        return -torch.log(_uniform(noise, self.shape, samples))

    def log_prob(self, value: Float[Tensor, "*samples batch pixels"]) -> Float[Tensor, "*samples batch pixels"]:
        """-v of every component, in nats."""
        return -value


class CutNormal:
    """N(mean, scale^2) given that it is above 0, in every component.

    Args:
        mean: of the normal, at least 0, ``[batch, pixels]``.
        log_scale: the logarithm of its deviation, ``[batch, pixels]``.
    """

    def __init__(self, mean: Float[Tensor, "batch pixels"], log_scale: Float[Tensor, "batch pixels"]) -> None:
        self.mean, self.log_scale = mean, log_scale
        self.above = torch.special.ndtr(mean * (-log_scale).exp())  # the probability of it

    def sizes(self, noise: Noise, samples: int | None = None) -> Float[Tensor, "*samples batch pixels"]:
        """At the quantile 1 - u of what is above 0, ``[samples, batch, pixels]``."""
        u = _uniform(noise, self.mean.shape, samples)
        return self.mean - self.log_scale.exp() * torch.special.ndtri(u * self.above)

    def log_prob(self, value: Float[Tensor, "*samples batch pixels"]) -> Float[Tensor, "*samples batch pixels"]:
        """log N(v) - log P(above 0) of every component, in nats."""
        u = (value - self.mean) * (-self.log_scale).exp()
        return -0.5 * u.square() - self.log_scale - HALF_LOG_2PI - self.above.log()


def _uniform(noise: Noise, shape: Sequence[int], samples: int | None) -> Tensor:
    event, batch, samples = axes(shape, 1, samples, None)
    return noise.uniform(event, batch=batch, samples=samples).clamp(min=SMALLEST_DRAW)


class Dequantisation:
    """q(v | x): v_d = (2 x_d - 1) size_d for the pixels, whose signs are the bits, and what is added to them.

    Sizes of a ``CutNormal`` are far from 0 what a flow to N(0, I) makes of them for nothing, and near it have density enough
    for the weights p(v) / q(v | x) to have a variance. ``Exponential`` ones are uniform dequantisation: the same as
    (x + u) / 2 with u ~ U(0, 1), moved to the real line by the quantiles of a Laplace distribution.

    Args:
        x: bits, ``[batch, pixels]``.
        size: of the pixels' numbers.
        rest: what is added to them, ``[batch, features - pixels]``.
    """

    domain = REAL
    rank = 1
    reparameterised = True

    def __init__(self, x: Float[Tensor, "batch pixels"], size: Exponential | CutNormal, rest: DiagonalNormal) -> None:
        self.sign, self.size, self.rest = 2 * x - 1, size, rest

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """``[samples, batch, features]``."""
        size = self.size.sizes(noise, samples).clamp(min=SMALLEST)
        value = torch.cat([self.sign * size, self.rest.draw(noise, samples).value], -1)
        return Drawn(value, partial(self.log_prob, value))

    def log_prob(self, value: Float[Tensor, "*samples batch features"]) -> Float[Tensor, "*samples batch"]:
        """log q(v | x) in nats; minus infinity where a sign is not its bit's."""
        pixels = self.sign.shape[-1]
        size = self.sign * value[..., :pixels]
        log_q = self.size.log_prob(size).sum(-1) + self.rest.log_prob(value[..., pixels:])
        return torch.where((size < 0).any(-1), -torch.inf, log_q)


class Signs:
    """P(x | v) = 1 where every bit is 1[v > 0], else 0: nothing is random any more.

    Args:
        v: ``[*batch, *event]``.
        rank: axes of an event.
    """

    domain = BINARY
    reparameterised = False
    certain = True

    def __init__(self, v: Float[Tensor, "..."], rank: int = 1) -> None:
        self.v, self.rank = v, rank

    @property
    def mean(self) -> Float[Tensor, "..."]:
        """The bits."""
        return (self.v > 0).to(self.v.dtype)

    def log_prob(self, value: Float[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """0 or minus infinity; v = 0, which has no probability but in floating point, goes with either bit."""
        wrong = ((2 * value - 1) * self.v < 0).flatten(-self.rank).any(-1)
        return torch.where(wrong, -torch.inf, self.v.new_zeros(()))

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """The bits."""
        value = self.mean if samples is None or self.v.ndim > 1 + self.rank else self.mean.expand(samples, *self.v.shape)
        return Drawn(value, partial(self.log_prob, value))
