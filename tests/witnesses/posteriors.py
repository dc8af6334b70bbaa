"""Posteriors that are no product of layers: a tempered leapfrog within the ELBO, and a planar flow without an inverse."""

import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.noise import Noise, Streams
from seedbed.core.proposal import Inferred, Proposal
from seedbed.core.slope import example_slope
from seedbed.data.dataset import Dataset
from seedbed.distributions.leapfrog import leapfrog
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.evaluate.density import DensityMeasure, elbo_sample_loss
from seedbed.experiments.data import Data
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective
from seedbed.experiments.training import Training
from seedbed.models.transforms import Transform
from seedbed.nets.mlp import MLP
from seedbed.objectives.bounds import elbo, iwae
from seedbed.train.game import Game
from seedbed.train.task import Measure

FEATURES, LATENTS, STEPS = 3, 2, 2


class Base(nn.Module, LatentVariable):
    """p(z) = N(0, I), p(x | z) = N(decoder(z)); what q is follows."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = StandardNormal(LATENTS)
        self.decoder = MLP(LATENTS, (6,), 2 * FEATURES, "tanh")

    @property
    def domain(self):
        return REAL

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, DiagonalNormal]:
        z = yield Layer("z", self.prior)
        return DiagonalNormal.from_raw(self.decoder(z))


class Hamiltonian(Base):
    """z_0 ~ q0(z | x), momentum p ~ N(0, I / beta_0), K tempered leapfrog steps of U = -log p(x, z)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MLP(FEATURES, (6,), 2 * LATENTS, "tanh")
        self.log_step = nn.Parameter(torch.full((LATENTS,), math.log(0.2)))
        self.raw_heat = nn.Parameter(torch.tensor(0.0))

    def proposal(self, x: Tensor, ctx: Context, samples: int | None = None) -> Proposal:
        q0 = DiagonalNormal.from_raw(self.encoder(x))
        start = q0.draw(ctx.noise, samples)
        cold = torch.sigmoid(self.raw_heat)  # sqrt(beta_0)
        unit = ctx.noise.normal((LATENTS,), batch=len(x), samples=samples)

        def force(z: Tensor) -> tuple[Tensor, ...]:
            return (example_slope(lambda z: self.joint(x, {"z": z}, ctx), z, self.decoder, "a leapfrog"),)

        heats = [1 + (1 / cold - 1) * (1 - (k / STEPS) ** 2) for k in range(STEPS + 1)]  # from 1 / cold down to 1
        z, momentum, _ = leapfrog(
            start.value,
            unit / cold,
            force,
            self.log_step.exp(),
            STEPS,
            temper=lambda k, p: p * (heats[k + 1] / heats[k]),
        )
        # The momentum shrinks by cold in all, in each of its dimensions: so does the volume. Its density at the start is
        # N(unit) cold^l, so both factors cancel.
        normal = StandardNormal(LATENTS)
        ratio = cache(lambda: self.prior.log_prob(z) + normal.log_prob(momentum) - start.log_prob() - normal.log_prob(unit))
        likelihood = DiagonalNormal.from_raw(self.decoder(z))
        layer = Inferred(log_ratio=ratio, log_q=lambda: self.prior.log_prob(z) - ratio(), mean=z)
        return Proposal(x, {"z": z}, likelihood, {"z": layer}, None)


class Planar(Transform):
    """y = x + u tanh(w x + b), u given by the encoder; its inverse has no closed form (Rezende & Mohamed 2015)."""

    invertible = False

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.8, -0.5]))
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert given is not None
        dot = (given * self.w).sum(-1, keepdim=True)
        u = given + (F.softplus(dot) - 1 - dot) * self.w / self.w.square().sum()  # u w > -1
        t = torch.tanh((x * self.w).sum(-1, keepdim=True) + self.b)
        slope = 1 + (1 - t.square()) * (u * self.w).sum(-1, keepdim=True)
        return x + u * t, slope.squeeze(-1).log()

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise AssertionError("nobody may ask for it")


class PlanarVAE(Base):
    """q(z | x): two planar maps of a Gaussian, conditioned on x. It scores its own draws alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MLP(FEATURES, (6,), 4 * LATENTS, "tanh")
        self.maps = nn.ModuleList([Planar(), Planar()])

    def proposal(self, x: Tensor, ctx: Context, samples: int | None = None) -> Proposal:
        raw, *given = self.encoder(x).split([2 * LATENTS, LATENTS, LATENTS], -1)
        start = DiagonalNormal.from_raw(raw).draw(ctx.noise, samples)
        z, log_det = start.value, torch.zeros_like(start.value[..., 0])
        for transform, u in zip(self.maps, given, strict=True):
            z, term = transform(z, u)
            log_det = log_det + term
        log_q = cache(lambda: start.log_prob() - log_det)
        layer = Inferred(log_ratio=lambda: self.prior.log_prob(z) - log_q(), log_q=log_q, mean=z)
        return Proposal(x, {"z": z}, DiagonalNormal.from_raw(self.decoder(z)), {"z": layer}, None)


@dataclass(frozen=True)
class Correlated(Data):
    """A Gaussian whose components are correlated."""

    data: str = option("correlated", "data set")

    def load(self, seed: int | None = None) -> Dataset:
        draws = Noise([Streams(0)], "data", "witness").normal((FEATURES,), batch=160)
        draws = draws + 0.8 * draws.roll(1, -1)
        return Dataset(
            name="correlated",
            domain=REAL,
            protocol="a Gaussian",
            splits={"train": draws[:96], "valid": draws[96:128], "test": draws[128:]},
        )


@dataclass(frozen=True, kw_only=True)
class Posteriors(Model):
    """A VAE whose posterior follows a map after its Gaussian."""

    posterior: Literal["leapfrog", "planar"] = option("leapfrog", "what follows q0")
    takes: ClassVar = ("real",)
    has_baseline: ClassVar = False

    def build(self, data: Dataset) -> Base:
        return {"leapfrog": Hamiltonian, "planar": PlanarVAE}[self.posterior]()


@dataclass(frozen=True, kw_only=True)
class Sampled(Objective):
    """The bound at k draws."""

    k: int = option(1, "samples of the bound", least=1)

    def game(self, training: Training, model: Posteriors) -> Game:
        return Game((training.player(elbo if self.k == 1 else iwae(self.k)),))

    def select(self, model: Posteriors) -> str:
        return "neg_elbo_nats"

    def measure(self, data: Dataset, model: Posteriors) -> Measure:
        return DensityMeasure(data, elbo_sample_loss, "neg_elbo_nats")


settings = Training(steps=40, batch_size=16, eval_every=10, lr=1e-2, schedule="constant")
leapfrogs = Experiment(Correlated(), Posteriors(), Sampled(), settings)
planar = Experiment(Correlated(), Posteriors(posterior="planar"), Sampled(k=3), settings)
