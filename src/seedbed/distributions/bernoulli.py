"""Independent coins."""

import torch
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.capabilities import Distribution
from seedbed.core.domain import BINARY
from seedbed.core.noise import Noise
from seedbed.distributions.numeric import draw, full

# Logits at once of many samples of the same value: 2 MiB, what stays in a core's cache from one operation to the next.
TILE = 1 << 19


class Bernoulli:
    """Independent Bernoulli variables over the last axis, p = logistic(logits).

    Args:
        logits: ``[*batch, features]``.
    """

    domain = BINARY

    def __init__(self, logits: Tensor) -> None:
        self.logits = full(logits)

    @property
    def mean(self) -> Tensor:
        """The probability of a 1, ``[*batch, features]``."""
        return torch.sigmoid(self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """sum_d [x_d l_d - log(1 + exp l_d)] in nats, ``[*batch]``; finite for every logit."""
        if torch.is_grad_enabled():
            # Two sums, not one over a difference: a third less memory traffic.
            return (value * self.logits).sum(-1) - F.softplus(self.logits).sum(-1)
        centred = value - 0.5
        if value.ndim >= self.logits.ndim:
            return _log_prob(centred, self.logits)
        samples = max(1, TILE // self.logits[0].numel())
        return torch.cat([_log_prob(centred, logits) for logits in self.logits.split(samples)])

    def rsample(self, noise: Noise, samples: int | None = None) -> Tensor:
        """A draw of 0s and 1s (it carries no gradient), ``[*batch, features]`` or ``[samples, *batch, features]``."""
        mean = self.mean
        return (draw(noise.uniform, mean.shape, samples) < mean).to(mean.dtype)

    def kl(self, other: Distribution) -> Tensor:
        """KL(self || other) = sum_d [p_d (l_d - l'_d) + log(1 + exp l'_d) - log(1 + exp l_d)] in nats, ``[*batch]``.

        Raises:
            TypeError: if ``other`` is not a Bernoulli.
        """
        if not isinstance(other, Bernoulli):
            raise TypeError(f"KL(Bernoulli || {type(other).__name__}) is not defined")
        terms = self.mean * (self.logits - other.logits) + F.softplus(other.logits) - F.softplus(self.logits)
        return terms.sum(-1)


def _log_prob(centred: Tensor, logits: Tensor) -> Tensor:
    """sum_d [(x_d - 1/2) l_d - |l_d| / 2 + log sigmoid |l_d|]: the same, at half the price where no gradient is asked for.

    The logarithm is that of a product: 64 factors of 1/2 to 1 are far from the smallest number.
    """
    size = logits.abs()
    total = (centred * logits).sum(-1) - 0.5 * size.sum(-1)
    factors = size.sigmoid_()
    whole = factors.shape[-1] // 64 * 64
    return total + factors[..., :whole].unflatten(-1, (-1, 64)).prod(-1).log().sum(-1) + factors[..., whole:].prod(-1).log()
