"""Pictures of two-dimensional models: their draws, and their densities on a grid."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.capabilities import HasLogProb, HasSample, LatentVariable
from seedbed.core.context import Context
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.estimate import Losses, draw_samples, per_example
from seedbed.objectives.bounds import iwae

EXTENT, GRID, POINTS = 4.5, 120, 4000  # known densities are shown on [-4.5, 4.5]^2, all on 120 x 120 points, and 4000 draws
MARGIN = 0.05  # of what other data take up, on either side


def point_reference(data: Dataset) -> Mapping[str, np.ndarray]:
    """What a two-dimensional model is pictured beside: held-out points, and the true log-density on the grid."""
    out = {"x": data.splits["test"][:POINTS].cpu().numpy()}
    if data.log_density is None:
        return {**out, "extent": _extent(data).numpy()}
    out["extent"] = np.array([-EXTENT, EXTENT], dtype=np.float32)
    out["log_p"] = data.log_density(_grid(data).double()).reshape(GRID, GRID).float().numpy()
    return out


def _extent(data: Dataset) -> Float[Tensor, "axis=2 ends=2"]:
    """Where each axis begins and ends: the same for all known densities, of other data what they take up, in their units."""
    if data.log_density is not None:
        return torch.tensor([[-EXTENT, EXTENT]] * 2)
    shown = torch.cat([split[:POINTS].cpu() for split in data.splits.values()])
    low, high = shown.amin(0), shown.amax(0)
    room = torch.where(high > low, MARGIN * (high - low), 1.0)
    return torch.stack([low - room, high + room], -1)


def _grid(data: Dataset) -> Float[Tensor, "points 2"]:
    x, y = (torch.linspace(low, high, GRID) for low, high in _extent(data).tolist())
    return torch.cartesian_prod(y, x).flip(-1)  # rows are y, columns x, as pictures are stored


def point_artefacts(data: Dataset) -> Callable[[Stack], Mapping[str, Mapping[str, np.ndarray]]]:
    """Arrays for the pictures of a two-dimensional model: draws, and its log-density on a grid.

    Args:
        data: points of the plane.
    """

    def make(stack: Stack) -> Mapping[str, Mapping[str, np.ndarray]]:
        def draw(model: HasSample, count: int, ctx: Context) -> Tensor:
            return model.sample(count, ctx)

        out = {}
        if isinstance(stack.module, HasSample):
            out["samples"] = {"x": draw_samples(stack, draw, POINTS).float().cpu().numpy()}
        density = _log_density_of(stack.module)
        if density is not None:
            values = per_example(stack, density, _grid(data), "grid", chunk=max(64, 2048 // len(stack.streams)))[
                "log_density"
            ]
            out["density"] = {"log_q": values.reshape(-1, GRID, GRID).float().cpu().numpy()}
        return out

    return make


def _log_density_of(module: object) -> Losses | None:
    if isinstance(module, HasLogProb):
        return lambda model, x, ctx: {"log_density": model.log_prob(x, ctx)}
    if isinstance(module, LatentVariable):
        bound = iwae(50)  # tight enough for a picture; the numbers in tables are never taken from it
        return lambda model, x, ctx: {"log_density": bound(model, x, ctx).value}
    return None
