"""A GAN with a penalised critic and a generator that remembers batch statistics; each player has settings of its own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.noise import Noise, Streams
from seedbed.data.dataset import Dataset
from seedbed.distributions.normal import StandardNormal
from seedbed.evaluate.distances import SlicedWasserstein
from seedbed.experiments.base import Experiment, option
from seedbed.nets.linear import Linear
from seedbed.nets.mlp import MLP
from seedbed.objectives.adversarial import critic_utility, generator_utility
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.optim import Adam, RMSProp
from seedbed.train.task import Task


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


@dataclass(frozen=True, kw_only=True)
class BatchNormGAN(Experiment):
    """Two critic updates to each of the generator's, whose weights alone are averaged."""

    steps: int = option(40, "updates of the generator", least=1)
    batch_size: int = option(16, "examples per update", least=1)
    eval_every: int = option(10, "steps between validations", least=1)

    def task(self, streams: list[Streams]) -> Task:
        draws = Noise([Streams(0)], "data", "witness").normal((2,), batch=192) + torch.tensor([1.0, -1.0])
        data = Dataset(
            name="blob",
            domain=REAL,
            protocol="a Gaussian",
            splits={"train": draws[:96], "valid": draws[96:144], "test": draws[144:]},
        )
        critic = Player(
            name="critic",
            owns=("critic",),
            utility=critic_utility(1.0),
            optimizer=RMSProp(lr=2 * self.lr),
            repeat=2,
            clip=0.5,
        )
        generator = Player(
            name="generator",
            owns=("generator",),
            utility=generator_utility,
            optimizer=Adam(lr=self.lr, beta1=0.5, beta2=0.9),
            ema=0.9,
        )
        return Task(
            build=GAN,
            game=Game((critic, generator)),
            data=data,
            batches=Shuffled(data.splits["train"], self.batch_size),
            steps=self.steps,
            eval_every=self.eval_every,
            measure=SlicedWasserstein(data),
            select="sw_distance",
            precision=self.precision,
        )


experiment = BatchNormGAN(lr=5e-3)
