"""Ordered levels: a logistic distribution on [-1, 1], cut into as many pieces as there are levels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.domain import Domain
from seedbed.core.law import Drawn, axes, sum_event
from seedbed.core.noise import Noise
from seedbed.distributions.numeric import above_zero, full
from seedbed.distributions.scale import LEARNED, Scale

SPLIT = 2.0**12 + 1  # Dekker's constant: it cuts an fp32 number in two halves of 12 bits


def centred(x: Float[Tensor, "*shape"], levels: int) -> Float[Tensor, "*shape"]:
    """Levels 0..L-1 as the numbers of [-1, 1] that they stand for, 2 x / (L - 1) - 1."""
    return x * (2 / (levels - 1)) - 1


def nearest(y: Float[Tensor, "*shape"], levels: int) -> Float[Tensor, "*shape"]:
    """The level next to a number of [-1, 1]; of what lies outside, the lowest or highest."""
    return torch.round((y + 1) * ((levels - 1) / 2)).clamp(0, levels - 1)


def log_shares(
    x: Float[Tensor, "*#shape"], location: Float[Tensor, "*#shape"], log_scale: Float[Tensor, "*#shape"], levels: int
) -> Float[Tensor, "*#shape"]:
    """log P(x) of each level by itself, in nats (see ``DiscretisedLogistic``).

    Args:
        x: levels 0..L-1.
        location: m, on [-1, 1].
        log_scale: log s.
        levels: L.
    """
    inverse = (-log_scale).exp()
    below = F.logsigmoid(_from_location(x, location, levels) * inverse)
    above = F.logsigmoid(-_from_location(x - 1, location, levels) * inverse)
    width = torch.log(-torch.expm1(-2 / (levels - 1) * inverse))
    lowest, highest = x <= 0, x >= levels - 1
    inner = torch.where(lowest | highest, 0.0, width)
    return torch.where(highest, 0.0, below) + torch.where(lowest, 0.0, above) + inner


def mean_level(
    location: Float[Tensor, "*#shape"], log_scale: Float[Tensor, "*#shape"], levels: int
) -> Float[Tensor, "*#shape"]:
    """E[x] = sum_{k >= 1} P(x >= k), in levels."""
    inverse, total = (-log_scale).exp(), torch.zeros_like(location)
    for k in range(1, levels):
        total = total + torch.sigmoid((location - ((2 * k - 1) / (levels - 1) - 1)) * inverse)
    return total


def likeliest(
    location: Float[Tensor, "*#shape"], log_scale: Float[Tensor, "*#shape"], levels: int
) -> Float[Tensor, "*#shape"]:
    """The level of most mass: the one around m, or the lowest or highest, which take all beyond their edge."""
    inner = nearest(location, levels)
    best, most = inner, log_shares(inner, location, log_scale, levels)
    for end in (0.0, levels - 1.0):
        at = torch.full_like(inner, end)
        there = log_shares(at, location, log_scale, levels)
        best, most = torch.where(there > most, at, best), torch.maximum(there, most)
    return best


def _from_location(k: Tensor, location: Tensor, levels: int) -> Tensor:
    """e_k - m, of the edge e_k = (2 k + 2 - L) / (L - 1) between the levels k and k + 1.

    What rounding took from e_k is added: next to an edge the difference is as exact as m, however small the scale that it is
    divided by. The remainder 2 k + 2 - L - e_k (L - 1) is found without rounding: halves of e_k have no more than 12 bits.
    Edges are made from whole numbers, so that two levels have the very same one between them.
    """
    whole = 2 * k + (2 - levels)
    edge = whole / (levels - 1)
    high = edge * SPLIT
    high = high - (high - edge)
    rest = (whole - high * (levels - 1) - (edge - high) * (levels - 1)) / (levels - 1)
    return (edge - location) + rest


class DiscretisedLogistic:
    """Independent levels x = 0..L-1, each the share of a logistic distribution between the edges around it.

    With edges e_k = (2 k + 1) / (L - 1) - 1 between the levels k and k + 1, b = (e_x - m) / s and a = (e_{x-1} - m) / s,

        P(x) = sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - exp(-(b - a))),

    the lowest level takes all below its edge, the highest all above: their shares sum to 1. The product is what is computed,
    term by term in logarithms, so that no share is lost to rounding however small the scale or far the level.

    Kingma et al. 2016 (arXiv 1606.04934), section 5; its edges as in Salimans et al. 2017 (arXiv 1701.05517).

    Args:
        levels: L.
        mean: m, of the logistic distribution on [-1, 1], ``[*batch, *event]``.
        log_scale: log s, ``[*batch, *event]`` or what broadcasts to it.
        rank: axes of an event.
    """

    reparameterised = False

    def __init__(
        self, levels: int, mean: Float[Tensor, "*#shape"], log_scale: Float[Tensor, "*#shape"], rank: int = 1
    ) -> None:
        self.levels, self.rank = levels, rank
        self.location, self.log_scale = full(mean), full(log_scale)

    @classmethod
    def from_raw(
        cls, levels: int, raw: Float[Tensor, "*raw"], rank: int = 1, scale: Scale = LEARNED
    ) -> "DiscretisedLogistic":
        """Read a mean and a log-scale, ``[*batch, 2 * features, ...]``, or as ``scale`` says.

        Args:
            levels: L.
            raw: whose first event axis (features, or channels) holds both.
            rank: axes of an event.
            scale: where s comes from, and what it stays above.
        """
        return cls(levels, *scale.split(full(raw), rank), rank)

    @property
    def domain(self) -> Domain:
        """So many levels."""
        return Domain("levels", self.levels)

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """E[x] = sum_{k >= 1} P(x >= k), in levels, ``[*batch, *event]``."""
        return mean_level(self.location, self.log_scale, self.levels)

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """The likeliest level, ``[*batch, *event]``."""
        return likeliest(self.location, self.log_scale, self.levels)

    def tempered(self, temperature: float) -> "DiscretisedLogistic":
        """The law of draws whose noise is multiplied by it: s is."""
        return DiscretisedLogistic(self.levels, self.location, self.log_scale + math.log(above_zero(temperature)), self.rank)

    def log_prob(self, value: Float[Tensor, "*value"]) -> Float[Tensor, "*batch"]:
        """sum_d log P(x_d) in nats, ``[*batch]``."""
        return sum_event(log_shares(full(value), self.location, self.log_scale, self.levels), self.rank)

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """The level nearest to m + s logit(u), ``[samples, batch, *event]``."""
        event, batch, samples = axes(self.location.shape, self.rank, samples, batch)
        u = noise.uniform(event, batch=batch, samples=samples)
        value = nearest(self.location + self.log_scale.exp() * torch.logit(u), self.levels)
        return Drawn(value, lambda: self.log_prob(value))
