"""Stochastic layers as in the importance-weighted autoencoder (Burda et al. 2016, arXiv 1509.00519)."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions.likelihood import BERNOULLI, Likelihood
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.models.observed import Observed
from seedbed.nets.mlp import MLP, Activation


class BottomUpVAE(nn.Module, LatentVariable):
    """p(zL) ... p(z1 | z2) p(x | z1) with q(z | x) = q(z1 | x) q(z2 | z1) ... q(zL | zL-1).

    Every conditional is a diagonal Gaussian, p(zL) is standard normal. The paper's two-layer model is
    ``BottomUpVAE(784, (100, 50), ((200, 200), (100, 100)))``; its one-layer model is ``VAE(784, 50, (200, 200))``, to which
    this one falls with one layer.

    Args:
        shape: of an example.
        latents: size of each z_i, from the data upward.
        hidden: widths of the networks between each z_i and what is below it, upward; mirrored downward.
        likelihood: the family of p(x | z1).
        activation: of all networks.
        output_bias: where the decoder's output starts, ``[*likelihood.outputs(shape)]``.
    """

    def __init__(
        self,
        shape: Shape,
        latents: Sequence[int] = (100, 50),
        hidden: Sequence[Sequence[int]] = ((200, 200), (100, 100)),
        likelihood: Likelihood = BERNOULLI,
        activation: Activation = "tanh",
        output_bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not latents or len(latents) != len(hidden):
            raise SeedbedError(
                f"BottomUpVAE expects the widths of one network per latent; got latents={latents}, hidden={hidden}"
            )
        self.likelihood, self.shape = likelihood, axes_of(shape)
        self.prior = StandardNormal(latents[-1])
        below = (shape, *latents[:-1])
        self.encoders = nn.ModuleList(
            MLP(n, widths, 2 * d, activation) for n, widths, d in zip(below, hidden, latents, strict=True)
        )
        outputs = (likelihood.outputs(shape), *(2 * d for d in latents[:-1]))
        self.decoders = nn.ModuleList(
            MLP(d, widths[::-1], n, activation) for d, widths, n in zip(latents, hidden, outputs, strict=True)
        )
        self.observed = Observed(likelihood)
        if output_bias is not None:
            with torch.no_grad():
                self.get_parameter(f"decoders.0.layers.{len(hidden[0])}.bias").copy_(output_bias.flatten())

    @property
    def domain(self) -> Domain:
        """The domain that p(x | z1) scores."""
        return self.likelihood.domain

    def inference(self, x: Tensor, ctx: Context) -> Generator[tuple[str, Distribution], Tensor, None]:
        """From z1 up to zL."""
        below = self.likelihood.shown(x)
        for i, encoder in enumerate(self.encoders):
            below = yield f"z{i + 1}", DiagonalNormal.from_raw(encoder(below))

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """From zL down to z1."""
        top = len(self.decoders)
        z = yield Layer(f"z{top}", self.prior)
        for i in reversed(range(1, top)):
            z = yield Layer(f"z{i}", DiagonalNormal.from_raw(self.decoders[i](z)))
        return self.observed(self.decoders[0](z), len(self.shape), ctx)
