"""A bound: the variational Renyi bound (Li & Turner 2016, arXiv 1602.02311), and its place in an experiment."""

import math
from dataclasses import dataclass

from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.evaluate.density import DensityMeasure, elbo_loss
from seedbed.experiments import VAE, Experiment, Objective, Points, Trained, Training, option
from seedbed.objectives.bounds import Bound, differentiable
from seedbed.train.game import Game
from seedbed.train.task import Measure


def renyi(alpha: float, k: int) -> Bound:
    """1 / (1 - alpha) log 1/k sum_k w_k^(1 - alpha), eq. 10 there: the IWAE at alpha = 0, the ELBO as alpha goes to 1."""

    def bound(model: LatentVariable, x: Tensor, ctx: Context) -> Terms:
        log_w = differentiable(model.proposal(x, ctx, k), ctx, "renyi").log_w
        raised = (1 - alpha) * log_w
        value = log_w.mean(0) if alpha == 1 else (raised.logsumexp(0) - math.log(k)) / (1 - alpha)
        return Terms(value, {"renyi": value, "elbo": log_w.mean(0)})

    return bound


@dataclass(frozen=True, kw_only=True)
class Renyi(Objective):
    """The Renyi bound, judged by the ELBO."""

    alpha: float = option(0.5, "order of the divergence", least=0.0)
    k: int = option(5, "samples per example", least=1)

    def game(self, training: Training, model: Trained) -> Game:
        return Game((training.player(renyi(self.alpha, self.k)),))

    def select(self, model: Trained) -> str:
        return "neg_elbo_nats"

    def measure(self, data: Dataset, model: Trained) -> Measure:
        return DensityMeasure(data, elbo_loss, self.select(model))


experiment = Experiment(Points("moons"), VAE(latents=2, hidden=(16,)), Renyi(), Training(steps=100))
