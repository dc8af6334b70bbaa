"""The units of real data: mean and standard deviation of each value over the training split."""

import math
from collections.abc import Sequence

import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.units import Units
from seedbed.data.columns import dropped, listed
from seedbed.data.source import Source


def units_of(train: Source, names: Sequence[str], name: str) -> Units:
    """Mean and standard deviation of each number of a vector, of each channel of a picture, from sums in fp64.

    Args:
        train: the training examples, which alone decide.
        names: of the numbers, for errors.
        name: of the data.

    Raises:
        SeedbedError: for numbers that are the same in all training examples, a single one, or numbers beyond fp32.
    """
    if len(train) < 2:
        raise SeedbedError(f"{name} has 1 training example; a deviation takes 2: add examples, or say standardise=no")
    rank = len(train.shape)
    over = (0,) if rank == 1 else (0, *range(2, rank + 1))
    count = len(train) * math.prod(train.shape[1:])
    mean = sum((piece.double().sum(over, keepdim=True)[0] for piece in train.pieces()), torch.zeros(())) / count
    squares = ((piece.double() - mean).square().sum(over, keepdim=True)[0] for piece in train.pieces())
    scale = (sum(squares, torch.zeros(())) / count).sqrt().float()
    for odd, what in (
        (~scale.isfinite(), "holds values beyond fp32 (3e38)"),
        (scale == 0, "is constant over its training examples"),
    ):
        if places := odd.flatten().nonzero().flatten().tolist():
            which = [str(names[i]) if rank == 1 else f"channel {i + 1}" for i in places]
            raise SeedbedError(
                f"{name} {what} in {listed(which)}; leave it out"
                + (f": ,drop={dropped(places, names)}" if rank == 1 and ":" in name else "")
            )
    return Units(mean.float(), scale)
