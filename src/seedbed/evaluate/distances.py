"""Distances between a model's draws and held-out examples, for models without a density."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.metric import SW
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.estimate import draw_samples


def sliced_wasserstein(
    a: Float[Tensor, "*stack n features"], b: Float[Tensor, "n features"], directions: int = 64
) -> Float[Tensor, "*stack"]:
    """Mean over directions of the 1-Wasserstein distance between projections (Rabin et al. 2012; Bonneel et al. 2015).

    In two dimensions the directions are evenly spaced angles, in more they are drawn once and for all: the same for
    everybody, so that the value carries no noise of its own from seed to seed.

    Args:
        a: ``[*stack, n, features]``.
        b: ``[n, features]``, as many points.
        directions: how many: of angles in [0, pi), or of draws from the sphere.

    Returns:
        ``[*stack]``, in the data's unit.
    """
    axes = _directions(a.shape[-1], directions, a)
    return ((a @ axes).sort(-2).values - (b @ axes).sort(-2).values).abs().mean((-2, -1))


def _directions(features: int, count: int, like: Tensor) -> Tensor:
    """Unit vectors, ``[features, count]``."""
    if features == 2:
        angle = torch.arange(count, device=like.device, dtype=like.dtype) * (math.pi / count)
        return torch.stack((angle.cos(), angle.sin()))
    generator = Streams(0).generator("eval", "directions", features)
    draws = torch.randn(features, count, generator=generator, dtype=torch.float64)
    return (draws / draws.norm(dim=0)).to(like.device, like.dtype)


class SlicedWasserstein:
    """``sw_distance`` of 10,000 draws to as many held-out points (one number per seed, so no Monte-Carlo error is given).

    Args:
        data: vectors of real numbers.
        points: draws compared.
    """

    def __init__(self, data: Dataset, points: int = 10_000) -> None:
        self.data = data
        self.points = points

    def __call__(self, stack: Stack, split: str) -> dict[str, tuple[Float[Tensor, "seeds 1"], str]]:
        """``{"sw_distance": ([seeds, 1], "data units")}``."""

        def draw(model: HasSample, count: int, ctx: Context) -> Tensor:
            return model.sample(count, ctx)

        truth = self.data.splits[split][: self.points].to(stack.device, stack.dtype)
        draws = draw_samples(stack, draw, len(truth)).to(stack.dtype)
        return {SW.name: (sliced_wasserstein(draws, truth)[:, None], SW.unit)}
