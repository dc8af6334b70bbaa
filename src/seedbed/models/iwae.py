"""Stochastic layers as in the importance-weighted autoencoder (Burda et al. 2016, arXiv 1509.00519)."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
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


@dataclass(frozen=True, eq=False)
class Stochastic:
    """One stochastic layer of a model that is inferred from the data upward.

    Args:
        name: of its latent.
        rank: axes of its latent.
        encoder: what is below, ``[*batch, *below]``, to the raw parameters of q(z | below).
        decoder: the latent to the raw parameters of what is below: p(x | z1), or p(z_l | z_l+1).
    """

    name: str
    rank: int
    encoder: nn.Module
    decoder: nn.Module

    def posterior(self, below: Float[Tensor, "*batch_and_below"]) -> DiagonalNormal:
        """q(z | below)."""
        return DiagonalNormal.from_raw(self.encoder(below), self.rank)


class BottomUp(nn.Module, LatentVariable):
    """p(zL) ... p(z1 | z2) p(x | z1) with q(z | x) = q(z1 | x) q(z2 | z1) ... q(zL | zL-1), whatever the networks are.

    Every conditional is a diagonal Gaussian, p(zL) is standard normal. Who builds one sets, beside what is named here,
    ``encoders`` and ``decoders``, of each layer the networks of ``Stochastic`` from the data upward, and ``observed``.

    Args:
        shape: of an example.
        codes: shape of each z_l, from the data upward.
        likelihood: the family of p(x | z1).
    """

    encoders: nn.ModuleList
    decoders: nn.ModuleList
    observed: Observed

    def __init__(self, shape: Shape, codes: Sequence[Shape], likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood, self.shape = likelihood, axes_of(shape)
        self.codes = tuple(axes_of(code) for code in codes)
        self.prior = StandardNormal(self.codes[-1])

    @property
    def stochastic(self) -> tuple[Stochastic, ...]:
        """The stochastic layers from the data upward: ``model.stochastic[1]`` is that of z2."""
        nets = zip(self.codes, self.encoders, self.decoders, strict=True)
        return tuple(Stochastic(f"z{i}", len(code), q, p) for i, (code, q, p) in enumerate(nets, 1))

    @property
    def domain(self) -> Domain:
        """The domain that p(x | z1) scores."""
        return self.likelihood.domain

    def inference(self, x: Tensor, ctx: Context) -> Generator[tuple[str, Distribution], Tensor, None]:
        """From z1 up to zL."""
        below = self.likelihood.shown(x)
        for layer in self.stochastic:
            below = yield layer.name, layer.posterior(below)

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """From zL down to z1."""
        *lower, top = self.stochastic
        z, above = (yield Layer(top.name, self.prior)), top
        for layer in reversed(lower):
            z = yield Layer(layer.name, DiagonalNormal.from_raw(above.decoder(z), layer.rank))
            above = layer
        return self.observed(above.decoder(z), len(self.shape), ctx)


class BottomUpVAE(BottomUp):
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
        if not latents or len(latents) != len(hidden):
            raise SeedbedError(
                f"BottomUpVAE expects the widths of one network per latent; got latents={latents}, hidden={hidden}"
            )
        super().__init__(shape, latents, likelihood)
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
