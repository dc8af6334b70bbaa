"""Models with a known marginal, and stacks of small ones."""

from collections.abc import Generator

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL, Domain
from seedbed.core.law import Distribution
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.models.lvae import LadderVAE
from seedbed.models.vae import VAE


class LinearGaussian(nn.Module, LatentVariable):
    """z ~ N(0, I), x | z ~ N(W z, s^2 I) with orthogonal columns; q is the exact posterior moved by (shift, widen)."""

    def __init__(self, shift: float = 0.0, widen: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.7], [1.0, -0.7], [0.5, 0.0]], dtype=torch.float64))
        self.log_s = nn.Parameter(torch.tensor(-0.4, dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor(shift, dtype=torch.float64))
        self.widen = nn.Parameter(torch.tensor(widen, dtype=torch.float64))

    @property
    def domain(self) -> Domain:
        return REAL

    def log_marginal(self, x: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.mT + (2 * self.log_s).exp() * torch.eye(3, dtype=x.dtype)
        return MultivariateNormal(torch.zeros(3, dtype=x.dtype), covariance).log_prob(x).detach()

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        q = None
        if x is not None:
            precision = 1 + self.weight.square().sum(0) * (-2 * self.log_s).exp()
            mean = x @ self.weight * (-2 * self.log_s).exp() / precision
            q = DiagonalNormal(mean + self.shift, (-0.5 * precision.log()).expand_as(mean) + self.widen)
        z = yield Layer("z", StandardNormal(2), q)
        mean = z @ self.weight.mT
        return DiagonalNormal(mean, self.log_s.expand_as(mean))


def stack_of(kind: str, seeds: int, precision: str = "fp32") -> Stack:
    builds = {
        "vae": lambda: VAE(12, 3, (16, 8), BERNOULLI, "tanh"),
        "lvae": lambda: LadderVAE(12, (4, 2), (16, 8), BERNOULLI),
    }
    streams = [Streams(seed) for seed in range(seeds)]
    modules = []
    for stream in streams:
        with stream.scoped("init"):
            modules.append(builds[kind]().to(torch.float64 if precision == "fp64" else torch.float32))
    return Stack.of(modules, streams, precision)


@pytest.fixture
def linear_gaussian():
    """``linear_gaussian(shift, widen)``: the model and its stack of one."""

    def build(shift=0.0, widen=0.0):
        model = LinearGaussian(shift, widen)
        return model, Stack.of([model], [Streams(3)], "fp64")

    return build


@pytest.fixture
def stack():
    """``stack(kind, seeds, precision)`` of small binary models."""
    return stack_of


@pytest.fixture
def binary():
    """150 binary examples of 12 pixels: more than two blocks of draws, not a whole number of them."""
    return (torch.rand(150, 12, generator=torch.Generator().manual_seed(0)) < 0.3).float()
