"""Ordered levels scored by a density: noise makes them real numbers, and what is reported are bits of the levels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Drawn
from seedbed.core.noise import Noise
from seedbed.distributions.normal import DiagonalNormal


class DequantisedNormal:
    """Levels x = 0..L-1 whose numbers y = 2 (x + u) / L - 1, u ~ U[0, 1), are Gaussian:

        log P(x) >= E_u sum_d [log N(y_d; m_d, s_d) + log(2 / L)],

    by Jensen's inequality a bound on the log-mass of all y that are x, so that it may stand beside other masses of levels (a
    density as it is may not). What the Gaussian has beyond [-1, 1] is lost: the masses of all levels sum to less than 1.
    u is drawn once for each example at an address of the noise: whoever scores an example there, for any z, sees the same.

    Theis et al. 2016 (arXiv 1511.01844), section 3.1.

    Args:
        levels: L.
        normal: of y, ``[*batch, *event]``.
        noise: where u comes from; ``None`` of a law that scores nothing.
    """

    reparameterised = False
    bound = True

    def __init__(self, levels: int, normal: DiagonalNormal, noise: Noise | None = None) -> None:
        self.levels, self.normal, self.rank, self.noise = levels, normal, normal.rank, noise

    @property
    def domain(self) -> Domain:
        """So many levels."""
        return Domain("levels", self.levels)

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """E[x] in levels but for what is lost at the ends, ``[*batch, *event]``: L (m + 1) / 2 - 1 / 2."""
        return ((self.normal.mean + 1) * (self.levels / 2) - 0.5).clamp(0, self.levels - 1)

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """The level that m falls in, ``[*batch, *event]``."""
        return self._level(self.normal.mean)

    def tempered(self, temperature: float) -> "DequantisedNormal":
        """The law of draws whose noise is multiplied by it: s is."""
        return DequantisedNormal(self.levels, self.normal.tempered(temperature), self.noise)

    def within(self, noise: Noise) -> "DequantisedNormal":
        """The law that scores with u from there."""
        return DequantisedNormal(self.levels, self.normal, noise)

    def log_prob(self, value: Float[Tensor, "*value"]) -> Float[Tensor, "*batch"]:
        """sum_d [log N(y_d; m_d, s_d) + log(2 / L)] at the u of each example, in nats, ``[*batch]``.

        Raises:
            SeedbedError: of a law without noise.
        """
        if self.noise is None:
            raise SeedbedError("a Gaussian scores levels at noise that is added; build it by models.observed.Observed")
        event = value.shape[value.ndim - self.rank :]
        batch = value.shape[-self.rank - 1] if value.ndim > self.rank else None
        u = self.noise.of_examples("dequantise").uniform(event, batch=batch)
        y = (value + u) * (2 / self.levels) - 1
        return self.normal.log_prob(y) + math.prod(event) * math.log(2 / self.levels)

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """The level that m + s epsilon falls in; beyond the ends the last, ``[samples, batch, *event]``."""
        value = self._level(self.normal.draw(noise, samples, batch).value)
        return Drawn(value, lambda: self.log_prob(value))

    def _level(self, y: Tensor) -> Tensor:
        return torch.floor((y + 1) * (self.levels / 2)).clamp(0, self.levels - 1)
