"""Precision, recall, density and coverage: which draws lie among examples, and which examples among draws."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.errors import SeedbedError

ROWS = 1024  # of a matrix of distances at once
NEAREST = 5  # neighbours whose distance makes a ball, as of density and coverage; of precision and recall it was 3


class Manifolds(NamedTuple):
    """One number for each draw (precision, density) or each example (recall, coverage); their means are the metrics."""

    precision: Float[Tensor, "draws"]
    recall: Float[Tensor, "examples"]
    density: Float[Tensor, "draws"]
    coverage: Float[Tensor, "examples"]


def manifolds(examples: Float[Tensor, "examples d"], draws: Float[Tensor, "draws d"], nearest: int = NEAREST) -> Manifolds:
    """Of balls around each point that reach to its k-th nearest neighbour in its own set.

    Precision: draws within any ball of an example; recall: examples within any ball of a draw (Kynkaanniemi et al., 2019,
    arXiv 1904.06991). Density: ``1 / k`` times the balls of examples that a draw lies in, which is 1 on average for draws of
    the same law; coverage: examples whose ball holds a draw (Naeem et al., 2020, arXiv 2002.09797). The spread of each over
    its pictures is that with the other set held fixed: of density it is about 1.6 times less than over both.

    Raises:
        SeedbedError: for sets of no more than k points.
    """
    if min(len(examples), len(draws)) <= nearest:
        raise SeedbedError(
            f"balls of {nearest} neighbours take more pictures of each set than that, got {len(examples)} and {len(draws)}"
        )
    x, y = examples.double(), draws.double()
    reach_x, reach_y = radii(x, nearest), radii(y, nearest)
    held, inside, covered = (torch.zeros(len(z), dtype=torch.float64, device=x.device) for z in (y, x, x))
    for rows, distance in _blocks(x, y):
        among = distance <= reach_x[rows, None]
        held += among.sum(0)
        covered[rows] = among.any(1).double()
        inside[rows] = (distance <= reach_y).any(1).double()
    return Manifolds((held > 0).double(), inside, held / nearest, covered)


def radii(x: Float[Tensor, "n d"], nearest: int) -> Float[Tensor, "n"]:
    """The distance of each point to its k-th nearest neighbour among the others."""
    out = torch.empty(len(x), dtype=x.dtype, device=x.device)
    for rows, distance in _blocks(x, x):
        distance[torch.arange(len(distance)), torch.arange(rows.start, rows.stop)] = torch.inf
        out[rows] = distance.kthvalue(nearest, 1).values
    return out


def nearest_of(x: Float[Tensor, "n d"], among: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "n"], Tensor]:
    """The distance of each point to the nearest of others, and its row among them."""
    found = [distance.min(1) for _, distance in _blocks(x, among)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def _blocks(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Distances of some rows of x to all of y, with which rows they are."""
    squares = y.square().sum(1)
    for first in range(0, len(x), ROWS):
        part = x[first : first + ROWS]
        scale = part.square().sum(1)[:, None] + squares
        squared = scale - 2 * part @ y.mT
        # Below the rounding of such a difference two points are one: pictures may be there twice.
        yield slice(first, first + len(part)), torch.where(squared > 1e-12 * scale, squared, 0.0).sqrt()
