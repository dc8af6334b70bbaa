"""RGB images in their own shape, with latents that are maps: no pixel is laid out flat on the way."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import BINARY
from seedbed.core.noise import Noise, Streams
from seedbed.data.dataset import Dataset
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.evaluate.density import DensityMeasure, elbo_loss
from seedbed.evaluate.images import image_artefacts, image_reference
from seedbed.experiments.base import Experiment, option
from seedbed.nets.conv import Conv2d
from seedbed.objectives.bounds import elbo_kl, iwae
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.optim import Adam
from seedbed.train.task import Task

SHAPE, LATENT = (3, 8, 8), (2, 4, 4)


def fold(net: nn.Module, x: Tensor) -> Tensor:
    """Samples become images of the batch, and samples again."""
    return net(x.flatten(0, -4)).unflatten(0, x.shape[:-3])


class SpatialVAE(nn.Module, LatentVariable):
    """z ``[2, 4, 4]`` and x ``[3, 8, 8]``."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = StandardNormal(LATENT)
        self.encoder = nn.Sequential(Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), Conv2d(4, 4, 1))
        self.decoder = nn.Sequential(Conv2d(2, 12, 3, padding=1), nn.Tanh(), nn.PixelShuffle(2), Conv2d(3, 3, 1))

    @property
    def domain(self):
        return BINARY

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Bernoulli]:
        z = yield Layer("z", self.prior, None if x is None else DiagonalNormal.from_raw(self.encoder(x), 3))
        return Bernoulli(fold(self.decoder, z), 3)


@dataclass(frozen=True, kw_only=True)
class Spatial(Experiment):
    """A convolutional VAE of colour images of bits."""

    steps: int = option(24, "updates", least=1)
    batch_size: int = option(16, "examples per update", least=1)
    eval_every: int = option(8, "steps between validations", least=1)
    bound: Literal["elbo_kl", "iwae", "dreg"] = option("elbo_kl", "what is maximised")

    def task(self, streams: list[Streams]) -> Task:
        draws = Noise([Streams(0)], "data", "witness").uniform(SHAPE, batch=96)
        draws = (draws < torch.linspace(0.1, 0.9, 8)).float()
        data = Dataset(
            name="stripes",
            domain=BINARY,
            protocol="bits that grow likelier to the right",
            splits={"train": draws[:48], "valid": draws[48:64], "test": draws[64:]},
            image=SHAPE,
        )
        utility = {"elbo_kl": elbo_kl, "iwae": iwae(3), "dreg": iwae(3, "dreg")}[self.bound]
        return Task(
            build=SpatialVAE,
            game=Game((Player(utility=utility, optimizer=Adam(lr=self.lr), ema=0.9),)),
            data=data,
            batches=Shuffled(data.splits["train"], self.batch_size),
            steps=self.steps,
            eval_every=self.eval_every,
            measure=DensityMeasure(data, elbo_loss, "neg_elbo_nats"),
            select="neg_elbo_nats",
            precision=self.precision,
            artefacts=image_artefacts(data),
            reference=lambda: image_reference(data),
        )


experiment = Spatial(lr=1e-2)
dreg = Spatial(lr=1e-2, bound="dreg")
