"""Distances between a model's draws and held-out examples, for models without a density."""

import math

import torch
from torch import Tensor

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.estimate import draw_samples


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 64) -> Tensor:
    """Mean over directions of the 1-Wasserstein distance between projections (Rabin et al. 2012; Bonneel et al. 2015).

    In two dimensions the directions are evenly spaced angles, so the value carries no noise of its own.

    Args:
        a: ``[*stack, n, 2]``.
        b: ``[n, 2]``, as many points.
        directions: how many angles in [0, pi).

    Returns:
        ``[*stack]``, in the data's unit.
    """
    angle = torch.arange(directions, device=a.device, dtype=a.dtype) * (math.pi / directions)
    axes = torch.stack((angle.cos(), angle.sin()))
    return ((a @ axes).sort(-2).values - (b @ axes).sort(-2).values).abs().mean((-2, -1))


class SlicedWasserstein:
    """``sw_distance`` of 10,000 draws to as many held-out points (one number per seed, so no Monte-Carlo error is given).

    Args:
        data: two-dimensional data.
        points: draws compared.
    """

    def __init__(self, data: Dataset, points: int = 10_000) -> None:
        self.data = data
        self.points = points

    def __call__(self, stack: Stack, split: str) -> dict[str, tuple[Tensor, str]]:
        """``{"sw_distance": ([seeds, 1], "data units")}``."""

        def draw(model: HasSample, count: int, ctx: Context) -> Tensor:
            return model.sample(count, ctx)

        truth = self.data.splits[split][: self.points].to(stack.device, stack.dtype)
        draws = draw_samples(stack, draw, len(truth)).to(stack.dtype)
        return {"sw_distance": (sliced_wasserstein(draws, truth)[:, None], "data units")}
