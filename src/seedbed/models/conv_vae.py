"""A convolutional VAE of 28 x 28 images (the fifth source's exercise in its convolutional form)."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution
from seedbed.core.shapes import axes_of
from seedbed.distributions.likelihood import BERNOULLI, Likelihood
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.models.observed import Observed, per_channel
from seedbed.nets.conv import Conv2d, ConvTranspose2d, Images
from seedbed.nets.linear import Linear

SIDE = 28


class ConvVAE(nn.Module, LatentVariable):
    """The VAE of ``models.vae`` on grey 28 x 28 images, with convolutions between ELUs.

    Encoder: 3x3 32, pool 2, 3x3 64, pool 2, 5x5 256, affine. Decoder: affine 256, 5x5 64 from one point to 5 x 5, bilinear
    x2, 3x3 32, bilinear x2, 3x3 16, 3x3 1. From one point, the source's padded convolution is a transposed one: the same map
    without 24 of 25 products with zero.

    Args:
        shape: of an example, ``[1, 28, 28]``.
        latents: size of z.
        likelihood: the family of p(x | z).
        output_bias: where the decoder's output starts, ``[parameters, 28, 28]``: at its mean, since pixels share a bias.

    Raises:
        SeedbedError: if an example is not that.
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, SIDE, SIDE),
        latents: int = 100,
        likelihood: Likelihood = BERNOULLI,
        output_bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        if axes_of(shape) != (1, SIDE, SIDE):
            raise SeedbedError(
                f"ConvVAE expects grey images [1, {SIDE}, {SIDE}]; got {list(axes_of(shape))}; use an MLP VAE"
            )
        self.likelihood = likelihood
        self.observed = Observed(likelihood)
        self.prior = StandardNormal(latents)
        self.encoder = Images(
            Conv2d(1, 32, 3),
            nn.ELU(),
            nn.AvgPool2d(2),
            Conv2d(32, 64, 3),
            nn.ELU(),
            nn.AvgPool2d(2),
            Conv2d(64, 256, 5),
            nn.ELU(),
        )
        self.head = Linear(256, 2 * latents)
        self.stem = Linear(latents, 256)
        self.decoder = Images(
            nn.ELU(),
            ConvTranspose2d(256, 64, 5),
            nn.ELU(),
            nn.UpsamplingBilinear2d(scale_factor=2),
            Conv2d(64, 32, 3, padding=2),
            nn.ELU(),
            nn.UpsamplingBilinear2d(scale_factor=2),
            Conv2d(32, 16, 3, padding=2),
            nn.ELU(),
            Conv2d(16, likelihood.outputs(shape)[0], 3, padding=2),
        )
        if output_bias is not None:
            with torch.no_grad():
                last = self.decoder.layers[-1].get_parameter("bias")
                last.copy_(per_channel(output_bias, likelihood.domain))

    @property
    def domain(self) -> Domain:
        """The domain that p(x | z) scores."""
        return self.likelihood.domain

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """One latent, ``z``."""
        z = yield Layer("z", self.prior, None if x is None else self.posterior(x))
        return self.observed(self.decoder(self.stem(z)[..., None, None]), 3, ctx)

    def posterior(self, x: Tensor) -> DiagonalNormal:
        """q(z | x), from ``[*batch, 1, 28, 28]``."""
        return DiagonalNormal.from_raw(self.head(self.encoder(self.likelihood.shown(x)).flatten(-3)))
