"""Multi-layer perceptrons."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.errors import unknown
from seedbed.core.shapes import Shape, axes_of, flat, shaped, size_of
from seedbed.nets.linear import Linear
from seedbed.nets.norm import LayerNorm

Activation = Literal["relu", "tanh", "silu", "gelu", "elu", "leaky_relu", "softplus"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
    "elu": F.elu,
    "leaky_relu": partial(F.leaky_relu, negative_slope=0.1),  # the ladder VAE's and the first source's
    "softplus": F.softplus,
}


def activation_named(name: str) -> Callable[[Tensor], Tensor]:
    """Look up an activation.

    Raises:
        SeedbedError: if there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


class MLP(nn.Module):
    """Affine maps with an activation between them; the last one is linear.

    Args:
        shape_in: of one input, whose axes are laid out as one.
        hidden: width of each hidden layer; empty for a single affine map.
        shape_out: of one output.
        activation: the function between layers.
        zero_last: start with a last layer of zeros, so that the output is 0.
        norm: normalise each hidden layer by itself (``LayerNorm``) before the activation.
    """

    def __init__(
        self,
        shape_in: Shape,
        hidden: Sequence[int],
        shape_out: Shape,
        activation: Activation = "relu",
        zero_last: bool = False,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.shape_in, self.shape_out = axes_of(shape_in), axes_of(shape_out)
        widths = (size_of(shape_in), *hidden, size_of(shape_out))
        self.layers = nn.ModuleList(Linear(n, m) for n, m in pairwise(widths))
        self.norms = nn.ModuleList(LayerNorm(n) if norm else nn.Identity() for n in hidden)
        self.activation = activation_named(activation)
        if zero_last:
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """``[*batch, *shape_in]`` to ``[*batch, *shape_out]``."""
        x = flat(x, self.shape_in)
        *inner, last = self.layers
        for layer, norm in zip(inner, self.norms, strict=True):
            x = self.activation(norm(layer(x)))
        return shaped(last(x), self.shape_out)
