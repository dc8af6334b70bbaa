"""A flow layer: Householder reflections (Tomczak & Welling 2016, arXiv 1611.09630), and the flag that chooses them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from seedbed.data.dataset import Dataset
from seedbed.experiments import Experiment, Likelihood, Model, Points, Training, option
from seedbed.models.flow import Flow
from seedbed.models.transforms import ActNorm, AffineCoupling, Reverse, Transform


class Householder(Transform):
    """y = x - 2 v (v . x) / |v|^2, a reflection: its own inverse, log_det = 0."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.randn(features))

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        along = (x * self.v).sum(-1, keepdim=True) / self.v.square().sum()
        return x - 2 * along * self.v, x.new_zeros(())

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.forward(y)


@dataclass(frozen=True, kw_only=True)
class Turned(Model):
    """An affine coupling flow whose halves change places by another layer."""

    turn: Literal["reverse", "householder"] = option("householder", "what stands between two couplings")
    takes: ClassVar = ("real",)

    def build(self, data: Dataset) -> Flow:
        (features,) = data.shape
        turn = {"reverse": Reverse, "householder": lambda: Householder(features)}[self.turn]
        steps = ((ActNorm(features), AffineCoupling(features, (16,)), turn()) for _ in range(4))
        return Flow(features, [layer for step in steps for layer in step])


experiment = Experiment(Points("moons"), Turned(), Likelihood(), Training(steps=100, lr=5e-3))
