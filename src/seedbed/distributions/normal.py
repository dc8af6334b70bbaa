"""Gaussians with a diagonal covariance."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Drawn, axes, closed_kl, sum_event
from seedbed.core.noise import Noise
from seedbed.distributions.numeric import above_zero, full
from seedbed.distributions.scale import LEARNED, Scale

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class DiagonalNormal:
    """N(mean, diag(exp(log_scale))^2) over the event's axes.

    Args:
        mean: ``[*batch, *event]``.
        log_scale: log of the standard deviation, ``[*batch, *event]`` or what broadcasts to it.
        rank: axes of an event.
    """

    domain = REAL
    reparameterised = True

    def __init__(self, mean: Float[Tensor, "*#shape"], log_scale: Float[Tensor, "*#shape"], rank: int = 1) -> None:
        self.mean = full(mean)
        self.log_scale = full(log_scale)
        self.rank = rank

    @classmethod
    def from_raw(cls, raw: Float[Tensor, "..."], rank: int = 1, scale: Scale = LEARNED) -> "DiagonalNormal":
        """Read a mean and a log-scale, ``[*batch, 2 * features, ...]``, or as ``scale`` says.

        Args:
            raw: whose first event axis (features, or channels) holds both.
            rank: axes of an event.
            scale: where the deviations come from, and what they stay above.
        """
        return cls(*scale.split(full(raw), rank), rank)

    @property
    def scale(self) -> Float[Tensor, "..."]:
        """The standard deviation, ``[*batch, *event]``."""
        return self.log_scale.exp()

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """The mean, ``[*batch, *event]``."""
        return self.mean

    def tempered(self, temperature: float) -> "DiagonalNormal":
        """The law of draws whose noise is multiplied by it."""
        return DiagonalNormal(self.mean, self.log_scale + math.log(above_zero(temperature)), self.rank)

    def log_prob(self, value: Float[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """-sum_d [(x_d - m_d)^2 / (2 s_d^2) + log s_d + log(2 pi) / 2] in nats, ``[*batch]``."""
        u = (full(value) - self.mean) * (-self.log_scale).exp()
        return sum_event(-0.5 * u.square() - self.log_scale, self.rank) - _size(u, self.rank) * HALF_LOG_2PI

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """m + s * epsilon, ``[samples, batch, *event]``."""
        event, batch, samples = axes(self.mean.shape, self.rank, samples, batch)
        value = torch.addcmul(self.mean, self.scale, noise.normal(event, batch=batch, samples=samples))
        return Drawn(value, partial(self.log_prob, value))

    def product(self, other: "DiagonalNormal") -> "DiagonalNormal":
        """The Gaussian proportional to the product of two densities: precisions add, means are weighted by precision."""
        log_precision = torch.logaddexp(-2 * self.log_scale, -2 * other.log_scale)
        weight = torch.sigmoid(2 * (other.log_scale - self.log_scale))
        return DiagonalNormal(torch.lerp(other.mean, self.mean, weight), -0.5 * log_precision, self.rank)


class StandardNormal:
    """N(0, I). It has no batch axis: its draws are of as many examples as are asked for.

    Args:
        event: shape of an event, or the size of one that is a vector.
    """

    domain = REAL
    reparameterised = True

    def __init__(self, event: int | Sequence[int]) -> None:
        self.event = (event,) if isinstance(event, int) else tuple(event)
        self.rank = len(self.event)

    @property
    def features(self) -> int:
        """Numbers in an event."""
        return math.prod(self.event)

    @property
    def mean(self) -> Float[Tensor, "*event"]:
        """0, ``[*event]``."""
        return torch.zeros(self.event, device="cpu", dtype=torch.float32)

    def log_prob(self, value: Float[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """-sum_d [x_d^2 / 2 + log(2 pi) / 2] in nats, ``[*batch]``."""
        self.check(value)
        return -0.5 * sum_event(full(value).square(), self.rank) - self.features * HALF_LOG_2PI

    def check(self, value: Float[Tensor, "..."]) -> None:
        """Refuse what is no event of this: a density of another one would come out, without a word.

        Raises:
            SeedbedError: for values ``[*batch, *other]``.
        """
        if (found := tuple(value.shape[value.ndim - self.rank :])) != self.event:
            raise SeedbedError(
                f"StandardNormal({list(self.event)}) was given an event {list(found)}; make prior and posterior one shape"
            )

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """``[samples, batch, *event]``."""
        value = noise.normal(self.event, batch=batch, samples=samples)
        return Drawn(value, partial(self.log_prob, value))


def _size(values: Tensor, rank: int) -> int:
    return values.shape[values.ndim - rank :].numel()


@closed_kl(DiagonalNormal, StandardNormal)
def _(q: DiagonalNormal, p: StandardNormal) -> tuple[Tensor, float]:
    p.check(q.mean)
    return 0.5 * (q.mean.square() + (2 * q.log_scale).exp()) - q.log_scale, -0.5


@closed_kl(DiagonalNormal, DiagonalNormal)
def _(q: DiagonalNormal, p: DiagonalNormal) -> tuple[Tensor, float]:
    # u^2 + r^2 = ((m - m')^2 + s^2) / s'^2
    log_ratio = q.log_scale - p.log_scale
    u = (q.mean - p.mean) * (-p.log_scale).exp()
    return 0.5 * (u.square() + (2 * log_ratio).exp()) - log_ratio, -0.5


@closed_kl(StandardNormal, DiagonalNormal)
def _(q: StandardNormal, p: DiagonalNormal) -> tuple[Tensor, float]:
    return 0.5 * ((p.mean.square() + 1) * (-2 * p.log_scale).exp()) + p.log_scale, -0.5
