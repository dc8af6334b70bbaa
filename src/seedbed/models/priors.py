"""Priors of a latent that are learnt with the model."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from seedbed.core.errors import unknown
from seedbed.core.law import Distribution
from seedbed.core.shapes import Shape, axes_of, shaped, size_of
from seedbed.distributions.mixture import NormalMixture
from seedbed.distributions.normal import DiagonalNormal, StandardNormal

PriorName = Literal["standard", "normal", "vamp"]
PRIORS = ("standard", "normal", "vamp")


class NormalPrior(nn.Module):
    """p(z) = N(mean, diag(exp(log_scale))^2), both learnt; it starts at N(0, I).

    Args:
        latents: size of z.
    """

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(2 * latents))

    def forward(self, posterior: Callable[[Tensor], DiagonalNormal]) -> Distribution:
        """The prior; it has no use for the posterior."""
        return DiagonalNormal.from_raw(self.raw)


class VampPrior(nn.Module):
    """p(z) = 1/K sum_k q(z | u_k), the posterior at K learnt inputs (Tomczak & Welling 2018, arXiv 1705.07120, eq. 9).

    Inputs of bits are kept within (0, 1) by the logistic function, where the paper cuts them off; so they keep a gradient.

    Args:
        shape: of an example.
        inputs: K.
        start: where they are drawn around, raw outputs of the likelihood: of bits the logits of their mean, 0.05 by default
            as there; of real numbers their means and log-deviations, 0 by default.
        bits: whether they are inputs of bits, and not of real numbers.
    """

    def __init__(self, shape: Shape, inputs: int = 500, start: Tensor | None = None, bits: bool = True) -> None:
        super().__init__()
        self.shape, features = axes_of(shape), size_of(shape)
        # They have to differ: inputs that start alike stay alike.
        if bits:
            around = torch.full((features,), 0.05).logit() if start is None else start.flatten()
            self.logits = nn.Parameter(around + torch.randn(inputs, features))
        else:
            mean, log_scale = torch.zeros(2, features) if start is None else start.reshape(2, features)
            self.inputs = nn.Parameter(mean + log_scale.exp() * torch.randn(inputs, features))
        self.bits = bits

    def forward(self, posterior: Callable[[Tensor], DiagonalNormal]) -> Distribution:
        """The mixture of what ``posterior`` makes of the learnt inputs."""
        inputs = torch.sigmoid(self.logits) if self.bits else self.inputs
        return NormalMixture(posterior(shaped(inputs, self.shape)))


class StandardPrior(nn.Module):
    """p(z) = N(0, I).

    Args:
        latents: size of z.
    """

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.prior = StandardNormal(latents)

    def forward(self, posterior: Callable[[Tensor], DiagonalNormal]) -> Distribution:
        """The prior; nothing about it is learnt."""
        return self.prior


def prior_named(
    name: PriorName, shape: Shape, latents: int, inputs: int = 500, start: Tensor | None = None, bits: bool = True
) -> StandardPrior | NormalPrior | VampPrior:
    """Build a prior: ``standard`` N(0, I), ``normal`` with learnt mean and scale, or ``vamp`` of learnt inputs.

    Raises:
        SeedbedError: if there is none of that name.
    """
    if name == "standard":
        return StandardPrior(latents)
    if name == "normal":
        return NormalPrior(latents)
    if name == "vamp":
        return VampPrior(shape, inputs, start, bits)
    raise unknown("prior", name, PRIORS)
