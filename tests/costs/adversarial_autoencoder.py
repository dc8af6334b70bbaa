"""A two-player game: the adversarial autoencoder (Makhzani et al. 2015, arXiv 1511.05644)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.distributions.normal import StandardNormal
from seedbed.evaluate.distances import SlicedWasserstein
from seedbed.experiments import Experiment, Model, Objective, Points, Trained, Training, option
from seedbed.nets.mlp import MLP
from seedbed.train.game import Game
from seedbed.train.task import Measure


class AAE(nn.Module, HasSample):
    """x to z to x, and a judge that tells codes from draws of the prior."""

    domain = REAL

    def __init__(self, features: int, latents: int) -> None:
        super().__init__()
        self.prior = StandardNormal(latents)
        self.encoder, self.decoder = MLP(features, (32, 32), latents), MLP(latents, (32, 32), features)
        self.judge = MLP(latents, (32,), 1)

    def sample(self, count: int, ctx: Context) -> Tensor:
        return self.decoder(self.prior.draw(ctx.noise, batch=count).value)


def judging(model: AAE, x: Tensor, ctx: Context) -> Terms:
    """log D(z) + log(1 - D(encoder(x))), z ~ p(z)."""
    real = model.judge(model.prior.draw(ctx.noise, batch=len(x)).value).squeeze(-1)
    return Terms(F.logsigmoid(real) + F.logsigmoid(-model.judge(model.encoder(x)).squeeze(-1)))


def coding(model: AAE, x: Tensor, ctx: Context) -> Terms:
    """-|x - decoder(encoder(x))|^2 + log D(encoder(x))."""
    code = model.encoder(x)
    error = (x - model.decoder(code)).square().sum(-1)
    return Terms(F.logsigmoid(model.judge(code).squeeze(-1)) - error, {"error": error})


@dataclass(frozen=True, kw_only=True)
class Autoencoder(Model):
    """Encoder, decoder, judge."""

    latents: int = option(2, "size of z", least=1)
    takes: ClassVar = ("real",)

    def build(self, data: Dataset) -> AAE:
        return AAE(data.features, self.latents)


@dataclass(frozen=True, kw_only=True)
class Judged(Objective):
    """The judge first, then encoder and decoder that see its update."""

    in_nats: ClassVar = False

    def game(self, training: Training, model: Trained) -> Game:
        judge = training.player(judging, name="judge", owns=("judge",))
        return Game((judge, training.player(coding, name="coder", owns=("encoder", "decoder"))))

    def select(self, model: Trained) -> str:
        return "sw_distance"

    def measure(self, data: Dataset, model: Trained) -> Measure:
        return SlicedWasserstein(data)


experiment = Experiment(Points("moons"), Autoencoder(), Judged(), Training(steps=100))
