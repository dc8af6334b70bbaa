"""Gaussians with a diagonal covariance."""

import math

import torch
from torch import Tensor

from seedbed.core.capabilities import Distribution
from seedbed.core.domain import REAL
from seedbed.core.noise import Noise
from seedbed.distributions.numeric import draw, full, soft_clamp

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class DiagonalNormal:
    """N(mean, diag(exp(log_scale))^2) over the last axis.

    Args:
        mean: ``[*batch, features]``.
        log_scale: log of the standard deviation, ``[*batch, features]``.
    """

    domain = REAL

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        self.mean = full(mean)
        self.log_scale = full(log_scale)

    @classmethod
    def from_raw(cls, raw: Tensor) -> "DiagonalNormal":
        """Read ``[*batch, 2 * features]`` from a network: the mean, then the log-scale, kept within +-7 by a soft clamp."""
        mean, log_scale = full(raw).chunk(2, -1)
        return cls(mean, soft_clamp(log_scale))

    @property
    def scale(self) -> Tensor:
        """The standard deviation, ``[*batch, features]``."""
        return self.log_scale.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """-sum_d [(x_d - m_d)^2 / (2 s_d^2) + log s_d + log(2 pi) / 2] in nats, ``[*batch]``."""
        u = (full(value) - self.mean) * (-self.log_scale).exp()
        return (-0.5 * u.square() - self.log_scale).sum(-1) - u.shape[-1] * HALF_LOG_2PI

    def rsample(self, noise: Noise, samples: int | None = None) -> Tensor:
        """m + s * epsilon, ``[*batch, features]`` or ``[samples, *batch, features]``."""
        return torch.addcmul(self.mean, self.scale, draw(noise.normal, self.mean.shape, samples))

    def kl(self, other: Distribution) -> Tensor:
        """KL(self || other), closed form, in nats, ``[*batch]``.

        Raises:
            TypeError: if ``other`` is not a diagonal Gaussian.
        """
        terms = self._kl_terms(other)
        return terms.sum(-1) - 0.5 * terms.shape[-1]

    def kl_per_unit(self, other: Distribution) -> Tensor:
        """The summands of ``kl``, one per component, ``[*batch, features]``."""
        return self._kl_terms(other) - 0.5

    def _kl_terms(self, other: Distribution) -> Tensor:
        if isinstance(other, StandardNormal):
            terms = 0.5 * (self.mean.square() + (2 * self.log_scale).exp()) - self.log_scale
        elif isinstance(other, DiagonalNormal):
            # u^2 + r^2 = ((m - m')^2 + s^2) / s'^2
            log_ratio = self.log_scale - other.log_scale
            u = (self.mean - other.mean) * (-other.log_scale).exp()
            terms = 0.5 * (u.square() + (2 * log_ratio).exp()) - log_ratio
        else:
            raise TypeError(f"KL(DiagonalNormal || {type(other).__name__}) has no closed form here; use the elbo utility")
        return terms

    def product(self, other: "DiagonalNormal") -> "DiagonalNormal":
        """The Gaussian proportional to the product of two densities: precisions add, means are weighted by precision."""
        log_precision = torch.logaddexp(-2 * self.log_scale, -2 * other.log_scale)
        weight = torch.sigmoid(2 * (other.log_scale - self.log_scale))
        return DiagonalNormal(torch.lerp(other.mean, self.mean, weight), -0.5 * log_precision)


class StandardNormal:
    """N(0, I) over the last axis. It has no batch axis: each of its draws is an example.

    Args:
        features: size of the last axis.
    """

    domain = REAL

    def __init__(self, features: int) -> None:
        self.features = features

    def log_prob(self, value: Tensor) -> Tensor:
        """-sum_d [x_d^2 / 2 + log(2 pi) / 2] in nats, ``[*batch]``."""
        return -0.5 * full(value).square().sum(-1) - self.features * HALF_LOG_2PI

    def rsample(self, noise: Noise, samples: int | None = None) -> Tensor:
        """``[samples, features]``, keyed by example, or ``[features]``."""
        return draw(noise.normal, (self.features,), samples)

    def kl(self, other: Distribution) -> Tensor:
        """KL(self || other), closed form, in nats; needs another diagonal Gaussian."""
        zero = other.mean.new_zeros(self.features) if isinstance(other, DiagonalNormal) else torch.zeros(self.features)
        return DiagonalNormal(zero, zero).kl(other)
