"""Gaussians with a full covariance, one for each example."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.domain import REAL
from seedbed.core.law import Drawn, axes, closed_kl
from seedbed.core.noise import Noise
from seedbed.distributions.normal import HALF_LOG_2PI, StandardNormal
from seedbed.distributions.numeric import full


def below_diagonal(packed: Float[Tensor, "*batch entries"], size: int) -> Float[Tensor, "*batch size size"]:
    """``size (size - 1) / 2`` numbers as the entries below a diagonal, each in a place of its own; the others are 0.

    Args:
        packed: ``[*batch, size (size - 1) / 2]``.
        size: of the matrix, at least 2.
    """
    # All but the first `side` numbers, then all of them in reverse, fill a square in whose lower triangle each stands once.
    side = size - 1
    square = torch.cat((packed[..., side:], packed.flip(-1)), -1).unflatten(-1, (side, side))
    return F.pad(square.tril(), (0, 1, 1, 0))


class TriangularNormal:
    """N(mean, L L^T) with L lower triangular, of diagonal exp(log_scale).

    Args:
        mean: ``[*batch, size]``.
        log_scale: log of L's diagonal, ``[*batch, size]``.
        below: what L has below its diagonal, 0 elsewhere, ``[*batch, size, size]``.
    """

    domain = REAL
    reparameterised = True
    rank = 1

    def __init__(
        self,
        mean: Float[Tensor, "*batch size"],
        log_scale: Float[Tensor, "*batch size"],
        below: Float[Tensor, "*batch size size"],
    ) -> None:
        self.mean, self.log_scale = full(mean), full(log_scale)
        self.factor = full(below) + torch.diag_embed(self.log_scale.exp())

    def log_prob(self, value: Float[Tensor, "*lead latents"]) -> Float[Tensor, "*batch"]:
        """log N(e; 0, I) - sum log diag L of e = L^-1 (z - m), in nats, ``[*batch]``."""
        off = (full(value) - self.mean).unsqueeze(-1)
        return self._log_prob_of(torch.linalg.solve_triangular(self.factor, off, upper=False).squeeze(-1))

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """m + L e, ``[samples, batch, size]``."""
        event, batch, samples = axes(self.mean.shape, 1, samples, batch)
        e = noise.normal(event, batch=batch, samples=samples)
        with torch.autocast(e.device.type, enabled=False):  # rounded to bf16, L e would not be the e that is scored
            value = self.mean + torch.einsum("...ij,...j->...i", self.factor, e)
        return Drawn(value, partial(self._log_prob_of, e))

    def _log_prob_of(self, e: Tensor) -> Tensor:
        return (-0.5 * e.square() - self.log_scale - HALF_LOG_2PI).sum(-1)


@closed_kl(TriangularNormal, StandardNormal)
def _(q: TriangularNormal, p: StandardNormal) -> tuple[Tensor, float]:
    p.check(q.mean)
    return 0.5 * (q.mean.square() + q.factor.square().sum(-1)) - q.log_scale, -0.5
