"""Independent coins."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.domain import BINARY
from seedbed.core.law import Drawn, axes, closed_kl, sum_event
from seedbed.core.noise import Noise
from seedbed.distributions.numeric import above_zero, full

# Logits at once of many samples of the same value: 2 MiB, what stays in a core's cache from one operation to the next.
TILE = 1 << 19


class Bernoulli:
    """Independent Bernoulli variables, p = logistic(logits).

    Args:
        logits: ``[*batch, *event]``.
        rank: axes of an event.
    """

    domain = BINARY
    reparameterised = False

    def __init__(self, logits: Float[Tensor, "..."], rank: int = 1) -> None:
        self.logits = full(logits)
        self.rank = rank

    @property
    def mean(self) -> Float[Tensor, "..."]:
        """The probability of a 1, ``[*batch, *event]``."""
        return torch.sigmoid(self.logits)

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """The likelier bit, ``[*batch, *event]``."""
        return (self.logits > 0).to(self.logits.dtype)

    def tempered(self, temperature: float) -> "Bernoulli":
        """The law of draws whose logistic noise is multiplied by it: logits are divided."""
        return Bernoulli(self.logits / above_zero(temperature), self.rank)

    def log_prob(self, value: Float[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """sum_d [x_d l_d - log(1 + exp l_d)] in nats, ``[*batch]``; finite for every logit."""
        if torch.is_grad_enabled():
            # Two sums, not one over a difference: a third less memory traffic.
            return sum_event(value * self.logits, self.rank) - sum_event(F.softplus(self.logits), self.rank)
        centred, logits = value - 0.5, self.logits
        if self.rank != 1:
            centred, logits = (t.reshape(*t.shape[: t.ndim - self.rank], -1) for t in (centred, logits))
        if value.ndim >= self.logits.ndim:
            return _log_prob(centred, logits)
        samples = max(1, TILE // logits[0].numel())
        return torch.cat([_log_prob(centred, some) for some in logits.split(samples)])

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """0s and 1s, through which no gradient goes, ``[samples, batch, *event]``."""
        mean = self.mean
        event, batch, samples = axes(mean.shape, self.rank, samples, batch)
        value = (noise.uniform(event, batch=batch, samples=samples) < mean).to(mean.dtype)
        return Drawn(value, partial(self.log_prob, value))

    def surrogate(self, value: Float[Tensor, "*shape"], how: str) -> Float[Tensor, "*shape"]:
        """The bits b as they are, with a gradient in the logits l that stands for the one that they have not.

        ``st``: db/dl = p (1 - p), straight through the mean (Bengio et al. 2013, arXiv 1308.3432). ``zgr``: db/dl =
        (b (1 - p) + (1 - b) p) / 2, half of it and half of what DARN takes, the limit of Gumbel-Rao at temperature zero
        (Shekhovtsov 2023, "Cold analysis of Rao-Blackwellized straight-through Gumbel-softmax gradient estimator").
        """
        p = self.mean
        if how == "st":
            return value + (p - p.detach())
        slope = (0.5 * (value * (1 - p) + (1 - value) * p)).detach()
        return value + slope * (self.logits - self.logits.detach())


@closed_kl(Bernoulli, Bernoulli)
def _(q: Bernoulli, p: Bernoulli) -> tuple[Tensor, float]:
    return q.mean * (q.logits - p.logits) + F.softplus(p.logits) - F.softplus(q.logits), 0.0


def _log_prob(centred: Tensor, logits: Tensor) -> Tensor:
    """sum_d [(x_d - 1/2) l_d - |l_d| / 2 + log sigmoid |l_d|]: the same, at half the price where no gradient is asked for.

    The logarithm is that of a product: 64 factors of 1/2 to 1 are far from the smallest number.
    """
    size = logits.abs()
    total = (centred * logits).sum(-1) - 0.5 * size.sum(-1)
    factors = size.sigmoid_()
    whole = factors.shape[-1] // 64 * 64
    return total + factors[..., :whole].unflatten(-1, (-1, 64)).prod(-1).log().sum(-1) + factors[..., whole:].prod(-1).log()
