"""An affine map that knows about the stack of seeds."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.functorch import restack, unstack


def linear(
    x: Float[Tensor, "*batch in"], weight: Float[Tensor, "out in"], bias: Float[Tensor, "out"] | None
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


class Linear(nn.Linear):
    """``torch.nn.Linear`` (same parameters, same initialisation), fast under ``vmap`` over seeds."""

    def forward(self, input: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """``[*batch, in]`` to ``[*batch, out]``."""
        return linear(input, self.weight, self.bias)
