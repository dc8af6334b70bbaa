"""Ordered levels: a logistic distribution on [-1, 1], cut into as many pieces as there are levels."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.domain import Domain
from seedbed.core.law import Drawn, axes, sum_event
from seedbed.core.noise import Noise
from seedbed.distributions.numeric import full, soft_clamp


def centred(x: Float[Tensor, "*shape"], levels: int) -> Float[Tensor, "*shape"]:
    """Levels 0..L-1 as the numbers of [-1, 1] that they stand for, 2 x / (L - 1) - 1."""
    return x * (2 / (levels - 1)) - 1


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
    def from_raw(cls, levels: int, raw: Float[Tensor, "*raw"], rank: int = 1) -> "DiscretisedLogistic":
        """Read ``[*batch, 2 * features, ...]``, a mean and a log-scale, the latter kept within +-7 by a soft clamp.

        Args:
            levels: L.
            raw: whose first event axis (features, or channels) holds both.
            rank: axes of an event.
        """
        mean, log_scale = full(raw).chunk(2, -rank)
        return cls(levels, mean, soft_clamp(log_scale), rank)

    @property
    def domain(self) -> Domain:
        """So many levels."""
        return Domain("levels", self.levels)

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """E[x] = sum_{k >= 1} P(x >= k), in levels, ``[*batch, *event]``."""
        total = torch.zeros_like(self.location)
        for k in range(1, self.levels):
            total = total + torch.sigmoid((self.location - self._edge(k - 1)) * (-self.log_scale).exp())
        return total

    def log_prob(self, value: Float[Tensor, "*value"]) -> Float[Tensor, "*batch"]:
        """sum_d log P(x_d) in nats, ``[*batch]``."""
        x, inverse = full(value), (-self.log_scale).exp()
        # Edges from whole numbers: two levels have the very same one between them, whatever fp32 makes of it.
        below = F.logsigmoid((self._edge(x) - self.location) * inverse)
        above = F.logsigmoid((self.location - self._edge(x - 1)) * inverse)
        width = torch.log(-torch.expm1(-2 / (self.levels - 1) * inverse))
        lowest, highest = x <= 0, x >= self.levels - 1
        inner = torch.where(lowest | highest, 0.0, width)
        return sum_event(torch.where(highest, 0.0, below) + torch.where(lowest, 0.0, above) + inner, self.rank)

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """The level nearest to m + s logit(u), ``[samples, batch, *event]``."""
        event, batch, samples = axes(self.location.shape, self.rank, samples, batch)
        u = noise.uniform(event, batch=batch, samples=samples)
        on_interval = self.location + self.log_scale.exp() * torch.logit(u)
        value = torch.round((on_interval + 1) * ((self.levels - 1) / 2)).clamp(0, self.levels - 1)
        return Drawn(value, lambda: self.log_prob(value))

    def _edge(self, k: Tensor | int) -> Tensor | float:
        """Between the levels k and k + 1."""
        return (2 * k + 1) / (self.levels - 1) - 1
