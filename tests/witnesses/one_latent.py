"""One latent for a whole data set, which every seed has of its own, as it has its own truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.law import kl
from seedbed.core.noise import Noise, Streams
from seedbed.core.stack import Stack
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.experiments.data import Data
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective
from seedbed.experiments.training import Training
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game
from seedbed.train.task import Measure

POINTS, FEATURES = 32, 2


class OneLatent(nn.Module, HasSample):
    """z ~ N(0, I), x_n ~ N(z, I) for all n; q(z) = N(m, s^2), with no network: the data are one example."""

    domain = REAL

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(0.1 * torch.randn(FEATURES))
        self.log_scale = nn.Parameter(torch.zeros(FEATURES))

    @property
    def q(self) -> DiagonalNormal:
        return DiagonalNormal(self.mean, self.log_scale)

    def sample(self, count: int, ctx: Context) -> Tensor:
        """The posterior predictive: every draw has a z of its own."""
        z = self.q.draw(ctx.noise, batch=count).value
        return z + ctx.noise.normal((FEATURES,), batch=count)


def utility(model: OneLatent, x: Tensor, ctx: Context) -> Terms:
    """N log p(x_n | z) - KL(q || p) at one z for all examples, whose mean over them is the ELBO of the data set."""
    z = model.q.draw(ctx.noise).value
    likelihood = POINTS * DiagonalNormal(z, torch.zeros_like(z)).log_prob(x)
    divergence = kl(model.q, StandardNormal(FEATURES))
    assert divergence is not None
    return Terms(likelihood - divergence, {"log_likelihood": likelihood, "kl": divergence})


def exact_elbo(model: OneLatent, x: Tensor, ctx: Context) -> Tensor:
    """E_q in closed form, in nats, ``[1]``."""
    variance = (2 * model.log_scale).exp()
    error = (x - model.mean).square().sum() + POINTS * variance.sum()
    divergence = kl(model.q, StandardNormal(FEATURES))
    assert divergence is not None
    return (-0.5 * error - 0.5 * x.numel() * math.log(2 * math.pi) - divergence)[None]


def evidence(x: Tensor) -> Tensor:
    """log p(D), exact: each coordinate of the data is N(0, I + 1 1^T)."""
    n, total = x.shape[-2], x.sum(-2)
    quadratic = x.square().sum(-2) - total.square() / (1 + n)
    return -0.5 * (quadratic + math.log(1 + n) + n * math.log(2 * math.pi)).sum(-1)


def data_of(streams: list[Streams]) -> Tensor:
    """``[seeds, points, features]``: a mean per seed, and points around it."""
    draws = [Noise([Streams(s.seed)], "data", "witness") for s in streams]
    return torch.stack([2 * d.normal((1, FEATURES)) + d.normal((POINTS, FEATURES)) for d in draws])


@dataclass(frozen=True)
class Means(Data):
    """Points around a mean of the seed's own."""

    data: str = option("means", "data set")

    def load(self, seed: int | None = None) -> Dataset:
        own = data_of([Streams(0)])[0]
        return Dataset(
            name="means",
            domain=REAL,
            protocol="32 points around a mean of the seed's own",
            splits=dict.fromkeys(("train", "valid", "test"), own),
        )

    def batches(self, data: Dataset, training: Training, streams: Sequence[Streams]) -> tuple[Shuffled, None]:
        return Shuffled(data_of(list(streams) or [Streams(0)]), training.batch_size, per_seed=True), None

    def pictured(self, data: Dataset, codes: bool) -> tuple[None, None]:
        return None, None

    def baseline(self, data: Dataset) -> float:
        return 1e4


@dataclass(frozen=True, kw_only=True)
class Mean(Model):
    """One z for all."""

    takes: ClassVar = ("real",)

    def build(self, data: Dataset) -> OneLatent:
        return OneLatent()


@dataclass(frozen=True, kw_only=True)
class WholeSet(Objective):
    """Variational Bayes of a Gaussian's mean, on minibatches."""

    def game(self, training: Training, model: Mean) -> Game:
        return Game((training.player(utility),))

    def select(self, model: Mean) -> str:
        return "gap_nats"

    def measure(self, data: Dataset, model: Mean) -> Measure:
        def measured(stack: Stack, split: str) -> dict[str, tuple[Tensor, str]]:
            x = data_of(list(stack.streams)).to(stack.device, stack.dtype)
            with torch.no_grad():
                found = stack.call(exact_elbo, x, noise=stack.noise("eval", split))
            return {"neg_elbo_nats": (-found, "nats"), "gap_nats": (evidence(x)[:, None] - found, "nats")}

        return measured


experiment = Experiment(Means(), Mean(), WholeSet(), Training(steps=40, batch_size=8, eval_every=10, lr=5e-2))
