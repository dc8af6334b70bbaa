"""A GAN with a penalised critic and a generator that remembers batch statistics; each player has settings of its own."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.noise import Noise, Streams
from seedbed.data.dataset import Dataset
from seedbed.distributions.normal import StandardNormal
from seedbed.evaluate.distances import SlicedWasserstein
from seedbed.experiments.data import Data
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective
from seedbed.experiments.training import Training
from seedbed.nets.linear import Linear
from seedbed.nets.mlp import MLP
from seedbed.objectives.adversarial import critic_utility, generator_utility
from seedbed.train.game import Game
from seedbed.train.optim import RMSProp
from seedbed.train.task import Measure


class GAN(nn.Module, HasSample):
    """g: z to x with batch norm; f: x to a number, without."""

    domain = REAL

    def __init__(self) -> None:
        super().__init__()
        self.prior = StandardNormal(2)
        self.generator = nn.Sequential(Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), Linear(8, 2))
        self.critic = MLP(2, (8,), 1, "tanh")

    def sample(self, count: int, ctx: Context) -> Tensor:
        return self.generator(self.prior.draw(ctx.noise, batch=count).value)


@dataclass(frozen=True)
class Blob(Data):
    """A Gaussian."""

    data: str = option("blob", "data set")

    def load(self, seed: int | None = None) -> Dataset:
        draws = Noise([Streams(0)], "data", "witness").normal((2,), batch=192) + torch.tensor([1.0, -1.0])
        return Dataset(
            name="blob",
            domain=REAL,
            protocol="a Gaussian",
            splits={"train": draws[:96], "valid": draws[96:144], "test": draws[144:]},
        )


@dataclass(frozen=True, kw_only=True)
class Pair(Model):
    """Generator and critic."""

    takes: ClassVar = ("real",)
    codes: ClassVar = False

    def build(self, data: Dataset) -> GAN:
        return GAN()


@dataclass(frozen=True, kw_only=True)
class BatchNormGAN(Objective):
    """Two critic updates to each of the generator's, whose weights alone are averaged."""

    in_nats = False

    def game(self, training: Training, model: Pair) -> Game:
        critic = training.player(
            critic_utility(1.0),
            name="critic",
            owns=("critic",),
            optimizer=RMSProp(lr=2 * training.lr),
            repeat=2,
            clip=0.5,
            ema=0.0,
        )
        return Game((critic, training.player(generator_utility, name="generator", owns=("generator",), data=False)))

    def select(self, model: Pair) -> str:
        return "sw_distance"

    def measure(self, data: Dataset, model: Pair) -> Measure:
        return SlicedWasserstein(data)


settings = Training(steps=40, batch_size=16, eval_every=10, lr=5e-3, betas=(0.5, 0.9), schedule="constant", ema=0.9)
experiment = Experiment(Blob(), Pair(), BatchNormGAN(), settings)
