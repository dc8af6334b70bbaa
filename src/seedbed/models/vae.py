"""The variational autoencoder (Kingma & Welling 2014, arXiv 1312.6114; Rezende et al. 2014, arXiv 1401.4082)."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, Domain
from seedbed.core.law import Distribution
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions.likelihood import GAUSSIAN, Likelihood
from seedbed.distributions.normal import DiagonalNormal
from seedbed.models.observed import Observed
from seedbed.models.priors import PriorName, prior_named
from seedbed.nets.mlp import MLP, Activation


class VAE(nn.Module, LatentVariable):
    """p(x, z) = p(z) p(x | decoder(z)) with q(z | x) = N(z; encoder(x)), p(z) = N(0, I) unless another prior is named.

    Args:
        shape: of an example.
        latents: size of z.
        hidden: widths of the encoder; the decoder mirrors them.
        likelihood: the family of p(x | z).
        activation: of both networks.
        output_bias: where the decoder's output starts, ``[*likelihood.outputs(shape)]``, e.g. the logits of the data's mean.
        prior: ``standard``, or learnt with the model: ``normal`` or ``vamp`` (see ``models.priors``).
        pseudo_inputs: learnt inputs of ``vamp``.
        norm: normalise each hidden layer of both networks (``LayerNorm``).

    Raises:
        SeedbedError: for an unknown prior.
    """

    def __init__(
        self,
        shape: Shape,
        latents: int = 2,
        hidden: Sequence[int] = (64, 64),
        likelihood: Likelihood = GAUSSIAN,
        activation: Activation = "relu",
        output_bias: Tensor | None = None,
        prior: PriorName = "standard",
        pseudo_inputs: int = 500,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.likelihood, self.shape = likelihood, axes_of(shape)
        self.encoder = MLP(shape, hidden, 2 * latents, activation, norm=norm)
        self.decoder = MLP(latents, hidden[::-1], likelihood.outputs(shape), activation, norm=norm)
        if output_bias is not None:
            with torch.no_grad():
                self.decoder.layers[-1].get_parameter("bias").copy_(output_bias.flatten())
        self.observed = Observed(likelihood)
        # Last, so that no prior changes how the networks start.
        bits = likelihood.domain == BINARY
        start = output_bias if bits or likelihood.parameters == 2 else None  # what tells where inputs lie
        self.prior = prior_named(prior, shape, latents, pseudo_inputs, start, bits)

    @property
    def domain(self) -> Domain:
        """The domain that p(x | z) scores."""
        return self.likelihood.domain

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """One latent, ``z``."""

        def posterior(shown: Tensor) -> DiagonalNormal:
            return DiagonalNormal.from_raw(self.encoder(shown))

        z = yield Layer("z", self.prior(posterior), None if x is None else posterior(self.likelihood.shown(x)))
        return self.observed(self.decoder(z), len(self.shape), ctx)
