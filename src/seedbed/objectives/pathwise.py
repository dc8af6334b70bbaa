"""Importance weights whose gradient takes the path through z alone: sticking the landing, and doubly reparameterised."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.proposal import Proposal


def pathwise_log_weights(
    model: LatentVariable, proposal: Proposal, ctx: Context, gradient: str
) -> tuple[Float[Tensor, "samples batch"], Float[Tensor, "batch"]]:
    """The proposal's log w_k, without the score of q in their gradient, and a zero that must be added.

    Args:
        model: whose proposal it is.
        proposal: reparameterised, of several samples, of a posterior that can score any z.
        ctx: the context of the proposal.
        gradient: ``stl``, or ``dreg``, which weighs the path through z_k by the square of the weight that log w_k has in
            what is differentiated.

    Returns:
        ``[samples, batch]``, and a 0 per example, ``[batch]``, to be added to the utility made of the weights: its gradient
        tells the scale that the utility itself is differentiated at.

    Raises:
        SeedbedError: if the posterior cannot score another z than those that it drew.
    """
    log_q = proposal.log_q_at
    if log_q is None:
        raise SeedbedError(
            f"the gradient {gradient!r} needs log q(z | x) at a given z, and the posterior of {type(model).__name__} knows "
            "it of its own draws alone; use gradient='standard'"
        )
    z, zeros = proposal.z, []
    if gradient == "dreg":
        tapped = {}
        for name, value in z.items():
            tapped[name], *zero = _Squared.apply(value)
            zeros.append(zero)
        z = tapped
    score = log_q({name: value.detach() for name, value in z.items()})
    log_w = model.joint(proposal.x, z, ctx) - log_q(z) + (score - score.detach())
    return sum((each for each, _ in zeros), start=log_w), sum(
        (whole for _, whole in zeros), start=torch.zeros_like(log_w[0])
    )


class _Squared(torch.autograd.Function):
    """z as it is, with the gradient of sample k scaled by v_k.

    v_k is not known before the decoder has run on z. But it is the gradient that log w_k receives, so a 0 that is added to
    log w_k brings it back here, times the scale c of the whole utility; a 0 added to the utility brings c.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return z.clone(), z.new_zeros(z.shape[:2]), z.new_zeros(z.shape[1:2])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad_z, grad_weight, grad_utility = grads
        scale = torch.where(grad_utility == 0, 1.0, grad_utility)
        weight = grad_weight / scale
        return grad_z * weight.reshape(*weight.shape, *[1] * (grad_z.ndim - 2))
