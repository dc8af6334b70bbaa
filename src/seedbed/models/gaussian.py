"""The Gaussian with a full covariance: exact, and as good as its closed form, so that whatever is worse is no model."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.capabilities import HasDataInit, HasLogProb, HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.shapes import Shape, axes_of, flat, shaped, size_of
from seedbed.distributions.normal import StandardNormal

ENOUGH = 2  # examples of a batch for each number of one, for a covariance of it to begin with


class Gaussian(nn.Module, HasLogProb, HasSample, HasDataInit):
    """p(x) = N(mean, S) with S^-1 = A^T A and A lower triangular, of positive diagonal: log p is smooth in all of them.

    Its maximum likelihood is the mean and covariance of the training examples. It starts at those of the first batch: from
    deviations alone, columns that are nearly sums of each other would take it tens of thousands of steps.

    Args:
        shape: of an example.
    """

    domain = REAL

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, size = axes_of(shape), size_of(shape)
        self.base = StandardNormal(size)
        self.mean = nn.Parameter(torch.zeros(size))
        self.lower = nn.Parameter(torch.zeros(size, size))
        self.log_diagonal = nn.Parameter(torch.zeros(size))

    def factor(self) -> Float[Tensor, "size size"]:
        """A, which makes examples white."""
        return self.lower.tril(-1) + torch.diag_embed(self.log_diagonal.exp())

    def log_prob(self, x: Float[Tensor, "..."], ctx: Context) -> Float[Tensor, "*batch"]:
        """-|A (x - mean)|^2 / 2 + sum log diag A - d log(2 pi) / 2 in nats, ``[*batch]``."""
        with torch.autocast(x.device.type, enabled=False):  # rounded to bf16, far examples would change their place
            white = (flat(x, self.shape) - self.mean) @ self.factor().mT
        return self.base.log_prob(white) + self.log_diagonal.sum()

    def sample(self, count: int, ctx: Context) -> Float[Tensor, "{count} *example"]:
        """``count`` draws mean + A^-1 z, ``[count, *shape]``."""
        z = self.base.draw(ctx.noise, batch=count).value
        with torch.autocast(z.device.type, enabled=False):
            x = torch.linalg.solve_triangular(self.factor(), z.mT, upper=False).mT + self.mean
        return shaped(x, self.shape)

    @torch.no_grad()
    def data_init(self, x: Float[Tensor, "batch *example"], ctx: Context) -> None:
        """Mean and covariance of the first batch, its deviations where it is too few for more, of one example its mean."""
        x = flat(x, self.shape).double()
        self.mean.copy_(x.mean(0))
        if len(x) == 1:
            return
        if len(x) > ENOUGH * x.shape[1]:
            factor, failed = torch.linalg.cholesky_ex(x.mT.cov())
            if not failed:
                white = torch.linalg.solve_triangular(factor, torch.eye(len(factor), dtype=x.dtype), upper=False)
                self.lower.copy_(white.tril(-1))
                self.log_diagonal.copy_(white.diagonal().log())
                return
        self.log_diagonal.copy_(-(x.std(0) + 1e-6).log())
