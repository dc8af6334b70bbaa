"""The ladder VAE (Soenderby et al. 2016, arXiv 1602.02282)."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions.likelihood import GAUSSIAN, Likelihood
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.nets.mlp import MLP, Activation, activation_named
from seedbed.nets.norm import LayerNorm


class LadderVAE(nn.Module, LatentVariable):
    """A hierarchy p(x | z1) p(z1 | z2) ... p(zL) whose posterior corrects the generative pass with evidence from below.

    The deterministic bottom-up pass d_i = f_i(d_{i-1}), d_0 = x, gives a Gaussian of evidence for every z_i. One top-down
    branch, shared by model and posterior, gives the prior p(z_i | z_{i+1}); q(z_i | z_{i+1}, x) is their product (precisions
    add). What is sent down is the sample of the posterior when there is data, and of the prior when there is none.

    The paper's model of images is ``LadderVAE(784, (64, 32, 16, 8, 4), (512, 256, 128, 64, 32), BERNOULLI, "leaky_relu",
    norm=True)`` but for two things. A net from one latent down to the next is as wide here as the level that it leads to,
    there as the one that it comes from. And in place of batch norm stands layer norm: it needs no running statistics, is the
    same in training and evaluation, and keeps examples apart, so that a bound per example is one, whatever the batch.

    Args:
        shape: of an example.
        latents: size of each z_i, from the data upward.
        hidden: width at each level, from the data upward.
        likelihood: the family of p(x | z1).
        activation: of all networks.
        norm: normalise each hidden layer of all networks (``LayerNorm``).
        output_bias: where the decoder's output starts, ``[*likelihood.outputs(shape)]``, e.g. the logits of the data's mean.
    """

    def __init__(
        self,
        shape: Shape,
        latents: Sequence[int] = (4, 2),
        hidden: Sequence[int] = (64, 64),
        likelihood: Likelihood = GAUSSIAN,
        activation: Activation = "relu",
        norm: bool = False,
        output_bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not latents or len(latents) != len(hidden):
            raise SeedbedError(f"LadderVAE expects one hidden width per latent; got latents={latents}, hidden={hidden}")
        self.likelihood, self.shape = likelihood, axes_of(shape)
        self.prior = StandardNormal(latents[-1])
        self.activation = activation_named(activation)
        below = (shape, *hidden[:-1])
        self.upward = nn.ModuleList(MLP(n, (m,), m, activation, norm=norm) for n, m in zip(below, hidden, strict=True))
        self.norms = nn.ModuleList(LayerNorm(m) if norm else nn.Identity() for m in hidden)
        self.evidence = nn.ModuleList(MLP(m, (), 2 * d) for m, d in zip(hidden, latents, strict=True))
        self.downward = nn.ModuleList(
            MLP(above, (m, m), 2 * d, activation, norm=norm)
            for above, m, d in zip(latents[1:], hidden[:-1], latents[:-1], strict=True)
        )
        self.decoder = MLP(latents[0], (hidden[0], hidden[0]), likelihood.outputs(shape), activation, norm=norm)
        if output_bias is not None:
            with torch.no_grad():
                self.decoder.layers[-1].get_parameter("bias").copy_(output_bias.flatten())

    @property
    def domain(self) -> Domain:
        """The domain that p(x | z1) scores."""
        return self.likelihood.domain

    def bottom_up(self, x: Tensor) -> list[DiagonalNormal]:
        """The evidence about z1, ..., zL, each ``[batch, latents[i]]``."""
        evidence, d = [], self.likelihood.shown(x)
        for up, norm, head in zip(self.upward, self.norms, self.evidence, strict=True):
            d = self.activation(norm(up(d)))
            evidence.append(DiagonalNormal.from_raw(head(d)))
        return evidence

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """From zL down to z1."""
        top = len(self.evidence)
        evidence = None if x is None else self.bottom_up(x)
        z = yield Layer(f"z{top}", self.prior, None if evidence is None else evidence[-1])
        for i in reversed(range(top - 1)):
            prior = DiagonalNormal.from_raw(self.downward[i](z))
            z = yield Layer(f"z{i + 1}", prior, None if evidence is None else evidence[i].product(prior))
        return self.likelihood.build(self.decoder(z), len(self.shape))
