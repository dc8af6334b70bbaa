"""Affine maps and convolutions that know about the stack of seeds.

``vmap`` makes slow generic products of affine maps. Of convolutions it makes one grouped one, which costs a fifth more than
one after another (784-pixel images, three seeds, forward and backward), and lets no autocast see it.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.functorch import restack, unstack


def linear(
    x: Float[Tensor, "*batch in"], weight: Float[Tensor, "out in"], bias: Float[Tensor, "out"] | None = None
) -> Float[Tensor, "*batch out"]:
    """``x W^T + b``, as one batched product when ``x`` and the parameters are stacked over seeds.

    Args:
        x: ``[*batch, in]``.
        weight: ``[out, in]``.
        bias: ``[out]`` or ``None``.
    """
    stacks = unstack(x, weight) if bias is None else unstack(x, weight, bias)
    if stacks is None:
        return F.linear(x, weight, bias)
    (rows, w, *b), level = stacks
    seeds, *batch, features = rows.shape
    if len(batch) != 1:
        rows = rows.reshape(seeds, math.prod(batch), features)
    out = torch.baddbmm(b[0].unsqueeze(1), rows, w.mT) if b else torch.bmm(rows, w.mT)
    return restack(out if len(batch) == 1 else out.reshape(seeds, *batch, w.shape[1]), level)


def added(
    x: Float[Tensor, "batch in"], weight: Float[Tensor, "out in"], shift: Float[Tensor, "batch out"]
) -> Float[Tensor, "batch out"]:
    """``x W^T + shift``, whose shift is another for each example: one product when all are stacked over seeds."""
    stacks = unstack(x, weight, shift)
    if stacks is None:
        return F.linear(x, weight) + shift
    (rows, w, by), level = stacks
    return restack(torch.baddbmm(by, rows, w.mT), level)


def per_seed(convolve: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``convolve(x, weight, bias)``, one seed after another where all are stacked, in the precision of autocast."""
    kind = tensors[0].device.type
    if torch.is_autocast_enabled(kind):
        tensors = tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)
    stacks = unstack(*tensors)
    if stacks is None:
        return convolve(*tensors)
    rows, level = stacks
    return restack(torch.stack([convolve(*row) for row in zip(*rows, strict=True)]), level)
