"""Mixtures of Gaussians."""

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.domain import REAL
from seedbed.core.law import Drawn
from seedbed.core.noise import Noise
from seedbed.distributions.normal import DiagonalNormal
from seedbed.distributions.numeric import full


class NormalMixture:
    """1/K sum_k N(mean_k, diag(scale_k)^2) over the last axis. It has no batch axis, as a prior has none.

    Args:
        components: with parameters ``[K, features]``.
    """

    domain = REAL
    rank = 1
    reparameterised = False

    def __init__(self, components: DiagonalNormal) -> None:
        self.components = components

    def log_prob(self, value: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch"]:
        """log 1/K sum_k N(value; mean_k, scale_k) in nats, ``[*batch]``."""
        return self.components.log_prob(full(value).unsqueeze(-2)).logsumexp(-1) - math.log(len(self.components.mean))

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """``[samples, batch, features]``; the choice of a component has no gradient."""
        mean, scale = self.components.mean, self.components.scale
        u = noise.uniform((1,), batch=batch, samples=samples)
        which = (u * len(mean)).long().clamp(max=len(mean) - 1).squeeze(-1)
        epsilon = noise.normal(mean.shape[-1:], batch=batch, samples=samples)
        value = torch.addcmul(mean[which], scale[which], epsilon)
        return Drawn(value, partial(self.log_prob, value))
