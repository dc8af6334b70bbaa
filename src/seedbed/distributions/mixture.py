"""Mixtures of Gaussians."""

import math

import torch
from torch import Tensor

from seedbed.core.capabilities import Distribution
from seedbed.core.domain import REAL
from seedbed.core.noise import Noise
from seedbed.distributions.normal import DiagonalNormal
from seedbed.distributions.numeric import draw, full


class NormalMixture:
    """1/K sum_k N(mean_k, diag(scale_k)^2) over the last axis. It has no batch axis: each of its draws is an example.

    Args:
        components: with parameters ``[K, features]``.
    """

    domain = REAL

    def __init__(self, components: DiagonalNormal) -> None:
        self.components = components

    def log_prob(self, value: Tensor) -> Tensor:
        """log 1/K sum_k N(value; mean_k, scale_k) in nats, ``[*batch]``."""
        return self.components.log_prob(full(value).unsqueeze(-2)).logsumexp(-1) - math.log(len(self.components.mean))

    def rsample(self, noise: Noise, samples: int | None = None) -> Tensor:
        """``[samples, features]``, keyed by example, or ``[features]``; the choice of a component has no gradient."""
        mean, scale = self.components.mean, self.components.scale
        which = (draw(noise.uniform, (1,), samples) * len(mean)).long().clamp(max=len(mean) - 1).squeeze(-1)
        epsilon = draw(noise.normal, mean.shape[-1:], samples)
        return torch.addcmul(mean[which], scale[which], epsilon)

    def kl(self, other: Distribution) -> Tensor:
        """Has no closed form.

        Raises:
            TypeError: always.
        """
        raise TypeError("KL(NormalMixture || anything) has no closed form; use the elbo utility")
