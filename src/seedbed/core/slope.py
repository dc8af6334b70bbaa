"""Gradients of one example at a time."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.slots import Slots, couples_examples


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


def sees_others(net: nn.Module, at: Float[Tensor, "examples *event"]) -> bool:
    """Whether what a network makes of the first example changes with the last, as it is now: a mean over the batch does.

    Args:
        net: one in which no batch norm is.
        at: examples of its input, two or more.
    """
    other = torch.cat([at[:-1], at[-1:] + 1])
    found = []
    with torch.no_grad():
        for given in (at, other):
            with Slots(net).lent({}, Context.of(0)):
                found.append(net(given)[0])
    gap = (found[0] - found[1]).abs().max()
    return bool(gap > 1e-4 * found[0].abs().max())
