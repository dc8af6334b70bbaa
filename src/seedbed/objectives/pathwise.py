"""Importance weights whose gradient takes the path through z alone: sticking the landing, and doubly reparameterised."""

from typing import Any

import torch
from torch import Tensor

from seedbed.core.capabilities import Latents, LatentVariable, posterior_of
from seedbed.core.noise import Noise


def pathwise_log_weights(
    model: LatentVariable, x: Tensor, noise: Noise, samples: int, squared: bool
) -> tuple[Tensor, Tensor]:
    """log w_k as ``log_weights`` gives them, without the score of q in their gradient, and a zero that must be added.

    Args:
        model: with reparameterised posteriors.
        x: ``[batch, *example]``.
        noise: the draws.
        samples: how many z_k ~ q(z | x).
        squared: weigh the path through z_k by the square of the weight that log w_k has in what is differentiated.

    Returns:
        ``[samples, batch]``, and a 0 per example, ``[batch]``, to be added to the utility made of the weights: its gradient
        tells the scale that the utility itself is differentiated at.
    """
    z, layers, _ = model.posterior(x, noise, samples)

    def log_q(at: Latents) -> Tensor:
        # A single layer's posterior depends on x alone, so it need not be computed again.
        return posterior_of(layers[0]).log_prob(at[layers[0].name]) if len(layers) == 1 else model.log_posterior(x, at)

    zeros = []
    if squared:
        tapped = {}
        for name, value in z.items():
            tapped[name], *zero = _Squared.apply(value)
            zeros.append(zero)
        z = tapped
    score = log_q({name: value.detach() for name, value in z.items()})
    log_w = model.joint(x, z) - log_q(z) + (score - score.detach())
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
        return z.clone(), z.new_zeros(z.shape[:-1]), z.new_zeros(z.shape[1:-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad_z, grad_weight, grad_utility = grads
        scale = torch.where(grad_utility == 0, 1.0, grad_utility)
        return grad_z * (grad_weight / scale).unsqueeze(-1)
