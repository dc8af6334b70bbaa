"""The kernel distance of two sets: unbiased for any number of pictures, so it may come out below zero."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.errors import SeedbedError

ROWS = 1024  # of a kernel matrix at once


@dataclass(frozen=True)
class Kernel:
    """The squared maximum mean discrepancy of two sets, and its standard error over pictures of both."""

    value: float
    error: float


def kernel_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Kernel:
    """``mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j)`` with ``k(a, b) = (a . b / d + 1)^3``.

    The unbiased estimate over all pairs (Binkowski et al., 2018, arXiv 1801.01401; Gretton et al., 2012). Its error is of
    first order: twice the deviation of ``mean_j k(x_i, x_j) - mean_j k(x_i, y_j)`` over i, and likewise of y, over the
    roots of their numbers.

    Raises:
        SeedbedError: for fewer than two pictures in a set.
    """
    if min(len(x), len(y)) < 2:
        raise SeedbedError(f"a kernel distance takes two pictures of each set at least, got {len(x)} and {len(y)}")
    x, y = x.double(), y.double()
    within = [(_sums(z, z) - _kernel(z, z)) / (len(z) - 1) for z in (x, y)]
    x_to_y, y_to_x = _sums(x, y) / len(y), _sums(y, x) / len(x)
    value = within[0].mean() + within[1].mean() - 2 * x_to_y.mean()
    halves = [(own - other).var() / len(own) for own, other in ((within[0], x_to_y), (within[1], y_to_x))]
    return Kernel(float(value), 2 * float((halves[0] + halves[1]).sqrt()))


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """Of each row with its like."""
    return ((a * b).sum(-1) / a.shape[-1] + 1) ** 3


def _sums(a: Tensor, b: Tensor) -> Tensor:
    """For each row of a the sum of the kernel over all rows of b."""
    return torch.cat([((part @ b.mT / a.shape[-1] + 1) ** 3).sum(1) for part in a.split(ROWS)])
