"""Cross-entropy of grey values, as if they were probabilities: a density that is worth less than it seems."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.domain import Domain
from seedbed.core.law import Drawn, axes, sum_event
from seedbed.core.noise import Noise
from seedbed.distributions.numeric import above_zero, full


class GreyBernoulli:
    """Levels k = 0..L-1 as shares y = k / (L - 1), scored by the cross-entropy that is of bits:

        log P(k) >= sum_d [y_d log p_d + (1 - y_d) log(1 - p_d)] - log L,    p = sigmoid(logits).

    p^y (1 - p)^(1 - y) integrates to less than 1 over y in [0, 1] (to 1/2 at p = 1/2), and is nowhere above 1. Read as a
    density of y and spread over L levels it is less than a law: its masses sum to less than 1, and what it scores is never
    below log2 L bits, those of a uniform code. It is here to be warned against: its gradient is that of a widespread loss.
    Draws are black or white, since they are the Bernoulli's; grey is its mean alone.

    Loaiza-Ganem, Cunningham 2019 (arXiv 1907.06845), whose factor would make a density of it.

    Args:
        levels: L.
        logits: of p, ``[*batch, *event]``.
        rank: axes of an event.
    """

    reparameterised = False
    bound = True

    def __init__(self, levels: int, logits: Float[Tensor, "*shape"], rank: int = 1) -> None:
        self.levels, self.logits, self.rank = levels, full(logits), rank

    @property
    def domain(self) -> Domain:
        """So many levels."""
        return Domain("levels", self.levels)

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """(L - 1) p, ``[*batch, *event]``."""
        return torch.sigmoid(self.logits) * (self.levels - 1)

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """Black or white, whichever is likelier, ``[*batch, *event]``."""
        return (self.logits > 0).to(self.logits.dtype) * (self.levels - 1)

    def tempered(self, temperature: float) -> "GreyBernoulli":
        """The law of draws whose logistic noise is multiplied by it: logits are divided."""
        return GreyBernoulli(self.levels, self.logits / above_zero(temperature), self.rank)

    def log_prob(self, value: Float[Tensor, "*value"]) -> Float[Tensor, "*batch"]:
        """sum_d [y_d l_d - log(1 + exp l_d)] - D log L in nats, ``[*batch]``."""
        y = full(value) / (self.levels - 1)
        size = math.prod(self.logits.shape[self.logits.ndim - self.rank :])
        return sum_event(y * self.logits - F.softplus(self.logits), self.rank) - size * math.log(self.levels)

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """Black and white, through which no gradient goes, ``[samples, batch, *event]``."""
        p = torch.sigmoid(self.logits)
        event, batch, samples = axes(p.shape, self.rank, samples, batch)
        value = (noise.uniform(event, batch=batch, samples=samples) < p).to(p.dtype) * (self.levels - 1)
        return Drawn(value, lambda: self.log_prob(value))
