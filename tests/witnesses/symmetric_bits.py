"""Two players, bits, and a module that both networks reach: symmetric learning of a two-layer model of binary latents."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import BINARY
from seedbed.core.noise import Noise, Streams
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.evaluate.density import DensityMeasure
from seedbed.experiments.data import Data
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective
from seedbed.experiments.training import Training
from seedbed.nets.linear import Linear
from seedbed.objectives.bounds import elbo
from seedbed.train.game import Game
from seedbed.train.optim import SGD
from seedbed.train.task import Measure

TOP, BELOW, PIXELS = 2, 3, 6


class Ladder(nn.Module, LatentVariable):
    """p(z0) p(z1 | z0) p(x | z1) and q(z0 | x) q(z1 | z0, x): the map from z0 to z1 is one module in both."""

    smooth = False

    def __init__(self) -> None:
        super().__init__()
        down = Linear(TOP, BELOW)
        self.encoder = nn.ModuleDict({"top": Linear(PIXELS, TOP), "up": Linear(PIXELS, BELOW), "down": down})
        self.decoder = nn.ModuleDict({"down": down, "out": Linear(BELOW, PIXELS)})
        self.prior = nn.Parameter(torch.zeros(TOP))

    @property
    def domain(self):
        return BINARY

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Bernoulli]:
        q = None if x is None else Bernoulli(self.encoder["top"](x))
        z0 = yield Layer("z0", Bernoulli(self.prior), q)
        down = self.decoder["down"](z0)
        q = None if x is None else Bernoulli(self.encoder["up"](x) + self.encoder["down"](z0))
        z1 = yield Layer("z1", Bernoulli(down), q)
        return Bernoulli(self.decoder["out"](z1))


def decoder_utility(model: Ladder, x: Tensor, ctx: Context) -> Terms:
    """log p(x, z) at z ~ q(z | x), which is a constant."""
    z = model.proposal(x, replace(ctx, through="constant")).z
    value = model.joint(x, z, ctx)
    return Terms(value, {"log_joint": value})


def encoder_utility(model: Ladder, x: Tensor, ctx: Context) -> Terms:
    """log q(z | x) at (x, z) ~ p, which is a constant."""
    z, likelihood = model.generate(len(x), replace(ctx, through="constant"))
    proposal = model.proposal(likelihood.draw(ctx.noise).value, replace(ctx, through="constant"))
    assert proposal.log_q_at is not None
    value = proposal.log_q_at(z)
    return Terms(value, {"log_posterior": value})


def losses(model: Ladder, x: Tensor, ctx: Context) -> dict[str, Tensor]:
    return {"neg_elbo_nats": -elbo(model, x, ctx).value}


@dataclass(frozen=True)
class Coins(Data):
    """Six independent coins."""

    data: str = option("bits", "data set")

    def load(self, seed: int | None = None) -> Dataset:
        shares = torch.tensor([0.9, 0.8, 0.2, 0.1, 0.7, 0.3])
        draws = Noise([Streams(0)], "data", "witness").bernoulli(shares.expand(160, PIXELS))
        return Dataset(
            name="bits",
            domain=BINARY,
            protocol="six independent coins",
            splits={"train": draws[:96], "valid": draws[96:128], "test": draws[128:]},
        )


@dataclass(frozen=True, kw_only=True)
class Bits(Model):
    """Two layers of them."""

    takes: ClassVar = ("binary",)
    has_baseline: ClassVar = False

    def build(self, data: Dataset) -> Ladder:
        return Ladder()


@dataclass(frozen=True, kw_only=True)
class SymmetricBits(Objective):
    """The decoder wants log p at the encoder's draws, the encoder log q at the decoder's."""

    def game(self, training: Training, model: Bits) -> Game:
        # `decoder.down` is `encoder.down` as well: the longer prefix says whose it is.
        decoder = training.player(decoder_utility, name="decoder", owns=("decoder", "encoder.down", "prior"))
        encoder = training.player(encoder_utility, name="encoder", owns=("encoder",), optimizer=SGD(lr=0.1), clip=1.0)
        return Game((decoder, encoder), simultaneous=True)

    def select(self, model: Bits) -> str:
        return "neg_elbo_nats"

    def measure(self, data: Dataset, model: Bits) -> Measure:
        return DensityMeasure(data, losses, "neg_elbo_nats")


settings = Training(steps=40, batch_size=16, eval_every=10, lr=1e-2, schedule="constant")
experiment = Experiment(Coins(), Bits(), SymmetricBits(), settings)
