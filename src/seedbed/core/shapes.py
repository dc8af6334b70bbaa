"""Shapes of examples, and their axes laid out as one."""

import math
from collections.abc import Sequence

from torch import Tensor

# An example's axes; a number n means (n,), as in NumPy.
Shape = int | Sequence[int]


def axes_of(shape: Shape) -> tuple[int, ...]:
    """A shape as a tuple: (n,) of a number n."""
    return (shape,) if isinstance(shape, int) else tuple(shape)


def size_of(shape: Shape) -> int:
    """Numbers in an example."""
    return math.prod(axes_of(shape))


def flat(x: Tensor, shape: Shape) -> Tensor:
    """``[*batch, *shape]`` to ``[*batch, size]``; a vector stays as it is."""
    rank = len(axes_of(shape))
    return x if rank == 1 else x.flatten(-rank)


def shaped(x: Tensor, shape: Shape) -> Tensor:
    """``[*batch, size]`` to ``[*batch, *shape]``; a vector stays as it is."""
    sizes = axes_of(shape)
    return x if len(sizes) == 1 else x.unflatten(-1, sizes)
