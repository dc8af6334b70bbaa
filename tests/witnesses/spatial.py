"""RGB images in their own shape, with latents that are maps: no pixel is laid out flat on the way."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal

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
from seedbed.experiments.data import Data
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective
from seedbed.experiments.training import Training
from seedbed.nets.conv import Conv2d
from seedbed.objectives.bounds import elbo_kl, iwae
from seedbed.train.game import Game
from seedbed.train.task import Measure

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


@dataclass(frozen=True)
class Stripes(Data):
    """Bits that grow likelier to the right."""

    data: str = option("stripes", "data set")

    def load(self, seed: int | None = None) -> Dataset:
        draws = Noise([Streams(0)], "data", "witness").uniform(SHAPE, batch=96)
        draws = (draws < torch.linspace(0.1, 0.9, 8)).float()
        return Dataset(
            name="stripes",
            domain=BINARY,
            protocol="bits that grow likelier to the right",
            splits={"train": draws[:48], "valid": draws[48:64], "test": draws[64:]},
        )


@dataclass(frozen=True, kw_only=True)
class Spatial(Model):
    """A convolutional VAE of colour images of bits."""

    takes: ClassVar = ("binary",)
    pictures_only: ClassVar = True
    has_baseline: ClassVar = False

    def build(self, data: Dataset) -> SpatialVAE:
        return SpatialVAE()


@dataclass(frozen=True, kw_only=True)
class Bound(Objective):
    """One of three."""

    bound: Literal["elbo_kl", "iwae", "dreg"] = option("elbo_kl", "what is maximised")

    def game(self, training: Training, model: Spatial) -> Game:
        return Game((training.player({"elbo_kl": elbo_kl, "iwae": iwae(3), "dreg": iwae(3, "dreg")}[self.bound]),))

    def select(self, model: Spatial) -> str:
        return "neg_elbo_nats"

    def measure(self, data: Dataset, model: Spatial) -> Measure:
        return DensityMeasure(data, elbo_loss, "neg_elbo_nats")


settings = Training(steps=24, batch_size=16, eval_every=8, lr=1e-2, schedule="constant", ema=0.9)
experiment = Experiment(Stripes(), Spatial(), Bound(), settings)
dreg = Experiment(Stripes(), Spatial(), Bound(bound="dreg"), settings)
