"""Networks whose outputs know the inputs before them alone."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seedbed.core.products import linear
from seedbed.nets.linear import Linear
from seedbed.nets.mlp import Activation, activation_named


class MaskedLinear(nn.Linear):
    """``x (M * W)^T + b``: an affine map without the entries where the mask M is 0.

    Args:
        mask: M, whether an output knows an input, ``[out, in]``.
    """

    mask: Tensor

    def __init__(self, mask: Bool[Tensor, "out in"]) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, input: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """``[*batch, in]`` to ``[*batch, out]``."""
        return linear(input, self.weight * self.mask, self.bias)


class MaskedMLP(nn.Module):
    """Heads of as many outputs as there are inputs: output i knows inputs 1..i-1, and the whole context.

    Each hidden unit has a degree, the number of inputs that it knows, and passes on to outputs that may know as many.
    Germain et al. 2015 (MADE, arXiv 1502.03509), section 4; degrees from 0, so that even the first output is told the
    context, and evenly spread, so that a hidden layer of at least as many units as inputs has all of them.

    Args:
        features: inputs.
        hidden: widths, at least one.
        heads: of ``features`` outputs each.
        context: numbers in the context, which the first hidden layer adds.
        activation: between layers.
    """

    def __init__(
        self, features: int, hidden: Sequence[int], heads: int, context: int, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.heads, self.activation = heads, activation_named(activation)
        inner = [torch.arange(width) * features // width for width in hidden]
        masks = [below <= degree[:, None] for below, degree in pairwise([torch.arange(features) + 1, *inner])]
        masks.append((inner[-1] <= torch.arange(features)[:, None]).repeat(heads, 1))
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self.context = Linear(context, hidden[0], bias=False)

    def forward(
        self, x: Float[Tensor, "*batch features"], context: Float[Tensor, "*#batch context"]
    ) -> tuple[Float[Tensor, "*batch features"], ...]:
        """Each head's outputs, ``[*batch, features]``."""
        first, *rest = self.layers
        h = first(x) + self.context(context)
        for layer in rest:
            h = layer(self.activation(h))
        return h.chunk(self.heads, -1)
