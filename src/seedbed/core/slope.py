"""Gradients of one example at a time."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.errors import SeedbedError
from seedbed.core.slots import couples_examples


def example_slope(
    function: Callable[[Tensor], Tensor], at: Float[Tensor, "*shape"], of: object, wanted: str
) -> Float[Tensor, "*shape"]:
    """d f_i / d x_i of every example i, of the shape of ``at``: the gradient of the sum, since f_i knows x_i alone.

    Args:
        function: one value per example, ``[*batch]``.
        at: where, ``[*batch, *event]``.
        of: the network that it goes through.
        wanted: what it is for, for the error.

    Raises:
        SeedbedError: for a network in which examples see each other: the gradient of the sum is not each one's own.
    """
    if isinstance(of, nn.Module) and couples_examples(of):
        raise SeedbedError(
            f"{wanted} needs a network whose examples do not see each other; {type(of).__name__} has a batch norm: use "
            "layer or group norm there"
        )
    return torch.func.grad(lambda x: function(x).sum())(at)
