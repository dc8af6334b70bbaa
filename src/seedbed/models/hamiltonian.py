"""A posterior that follows Hamiltonian dynamics of the model itself (Caterini et al. 2018, arXiv 1805.11328)."""

from collections.abc import Generator, Sequence
from functools import cache

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer, drawn
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.core.law import Distribution, moved_kl
from seedbed.core.proposal import Inferred, Proposal
from seedbed.core.shapes import Shape, axes_of
from seedbed.core.slope import sees_others
from seedbed.core.slots import couples_examples
from seedbed.distributions.likelihood import BERNOULLI, Likelihood
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.models.observed import per_channel
from seedbed.models.tempered import LogDensity, TemperedLeapfrog, Trajectory
from seedbed.nets.mlp import MLP, Activation
from seedbed.nets.strided import StridedDecoder, StridedEncoder


class HamiltonianVAE(nn.Module, LatentVariable):
    """p(z) = N(0, I), p(x | decoder(z)), and z_K of K tempered leapfrog steps from z_0 ~ q_0(z | x) and a hot momentum.

    With rho_0 = gamma / sqrt(beta_0), gamma ~ N(0, I), densities of the momenta are weighed with that of z:
    log w = log p(x, z_K) + log N(rho_K; 0, I) - log q_0(z_0) - log N(gamma; 0, I). The Jacobian of the walk, beta_0^(l / 2),
    and the density of rho_0, beta_0^(l / 2) N(gamma; 0, I), cancel (Caterini et al. 2018, section 3.1). So E[w] = p(x). The
    posterior scores its own draws alone; with K = 0 it is q_0, and the model is the VAE.

    Args:
        shape: of an example.
        encoder: from x to a mean and a log-scale of q_0, ``[*batch, 2 * latents]``; ``None`` starts from the prior.
        decoder: from z ``[*batch, latents]`` to what the likelihood reads, smooth enough to differentiate twice.
        leapfrog: the walk.
        likelihood: the family of p(x | z).

    Raises:
        SeedbedError: for networks of another size than the leapfrog's, or a decoder in which examples see each other.
    """

    def __init__(
        self,
        shape: Shape,
        encoder: nn.Module | None,
        decoder: nn.Module,
        leapfrog: TemperedLeapfrog,
        likelihood: Likelihood = BERNOULLI,
    ) -> None:
        super().__init__()
        latents = leapfrog.latents
        sizes = (("encoder", "shape_out", encoder, (2 * latents,)), ("decoder", "shape_in", decoder, (latents,)))
        for what, end, net, expected in sizes:
            if (found := getattr(net, end, expected)) != expected:
                raise SeedbedError(
                    f"the {what} of a leapfrog in {latents} latents has {end} {list(expected)}, got {list(found)}; make "
                    "encoder, decoder and leapfrog of one size"
                )
        if leapfrog.count and couples_examples(decoder):
            raise SeedbedError(
                "examples see each other in the decoder (a batch norm), so that the energy of one depends on the others and "
                "its leapfrog has no Jacobian of its own; use layer or group norm there"
            )
        if leapfrog.count and _sees_others(decoder, latents):
            raise SeedbedError(
                f"what the decoder, {type(decoder).__name__}, makes of one z changes with another one of the batch, so that "
                "its leapfrog has no Jacobian of its own; look for a mean over the batch"
            )
        self.shape, self.likelihood, self.prior = axes_of(shape), likelihood, StandardNormal(latents)
        self.encoder, self.decoder, self.leapfrog = encoder, decoder, leapfrog

    @classmethod
    def of_mlps(
        cls,
        shape: Shape,
        leapfrog: TemperedLeapfrog,
        hidden: Sequence[int] = (64, 64),
        likelihood: Likelihood = BERNOULLI,
        activation: Activation = "softplus",
        output_bias: Tensor | None = None,
        norm: bool = False,
        start: str = "learned",
    ) -> "HamiltonianVAE":
        """With the networks of ``models.vae.VAE``, which start as they do there.

        Args:
            shape: of an example.
            leapfrog: the walk; it says the size of z.
            hidden: widths of the encoder; the decoder mirrors them.
            likelihood: the family of p(x | z).
            activation: of both networks.
            output_bias: where the decoder's output starts, ``[*likelihood.outputs(shape)]``.
            norm: normalise each hidden layer of both networks (``LayerNorm``).
            start: what q_0 is, learnt or the prior.

        Raises:
            SeedbedError: for an unknown start or activation.
        """
        latents = leapfrog.latents
        encoder = MLP(shape, hidden, 2 * latents, activation, norm=norm) if _learned(start) else None
        decoder = MLP(latents, hidden[::-1], likelihood.outputs(shape), activation, norm=norm)
        if output_bias is not None:
            with torch.no_grad():
                decoder.layers[-1].get_parameter("bias").copy_(output_bias.flatten())
        return cls(shape, encoder, decoder, leapfrog, likelihood)

    @classmethod
    def of_convolutions(
        cls,
        shape: Shape,
        leapfrog: TemperedLeapfrog,
        likelihood: Likelihood = BERNOULLI,
        output_bias: Tensor | None = None,
        norm: bool = False,
        start: str = "learned",
    ) -> "HamiltonianVAE":
        """With the convolutions of ``nets.strided``: the paper's, or with ``norm`` those of h-vae.

        Args:
            shape: of an example, ``[1, 28, 28]``.
            leapfrog: the walk; it says the size of z.
            likelihood: the family of p(x | z).
            output_bias: where the decoder's output starts, ``[parameters, 28, 28]``: at its mean.
            norm: normalise within each example, where h-vae's batch norms are.
            start: what q_0 is, learnt or the prior.

        Raises:
            SeedbedError: for an unknown start, or if an example is not that.
        """
        bias = None if output_bias is None else per_channel(output_bias, likelihood.domain)
        encoder = StridedEncoder(shape, 2 * leapfrog.latents, norm) if _learned(start) else None
        decoder = StridedDecoder(leapfrog.latents, axes_of(likelihood.outputs(shape)), norm, bias)
        return cls(shape, encoder, decoder, leapfrog, likelihood)

    @property
    def domain(self) -> Domain:
        """The domain that p(x | z) scores."""
        return self.likelihood.domain

    def start(self, x: Shaped[Tensor, "batch *example"], ctx: Context) -> DiagonalNormal:
        """q_0(z | x), of each example."""
        if self.encoder is not None:
            found = DiagonalNormal.from_raw(self.encoder(self.likelihood.shown(x)))
            self.leapfrog.check(found.mean)
            return found
        zero = torch.zeros(len(x), self.leapfrog.latents, dtype=ctx.noise.dtype, device=ctx.noise.device)
        return DiagonalNormal(zero, zero)

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """One latent, ``z``; without a leapfrog its posterior is q_0."""
        z = yield Layer("z", self.prior, None if x is None or self.leapfrog.count else self.start(x, ctx))
        return self.likelihood.build(self.decoder(z), len(self.shape))

    def proposal(self, x: Shaped[Tensor, "batch *example"], ctx: Context, samples: int | None = None) -> Proposal:
        """z_K, and what it weighs with the momenta on the way."""
        if not self.leapfrog.count:
            return super().proposal(x, ctx, samples)
        law = self.start(x, ctx)
        start, gamma = drawn(law, ctx, samples), drawn(self.prior, ctx, samples, len(x))
        hot = self.leapfrog.heated(gamma.value)
        *_, (z, _, rho) = self.leapfrog.walk(start.value, hot, self._log_joint(x, ctx), self.decoder)
        if ctx.through == "constant":
            z, rho = z.detach(), rho.detach()
        momenta = cache(lambda: gamma.log_prob() - self.prior.log_prob(rho))
        log_q = cache(lambda: start.log_prob() + momenta())
        layer = Inferred(
            log_ratio=lambda: self.prior.log_prob(z) - log_q(),
            log_q=log_q,
            mean=z,
            # That of q_0 is known, so that only what the walk adds to it is sampled.
            kl=lambda: moved_kl(law, self.prior, start.value, z, momenta()),
        )
        likelihood = self.likelihood.build(self.decoder(z), len(self.shape))
        return Proposal(x, {"z": z}, likelihood, {"z": layer}, None)

    def trajectory(self, x: Shaped[Tensor, "batch *example"], ctx: Context, samples: int | None = None) -> Trajectory:
        """The walks that ``proposal`` makes of the same context, recorded."""
        start, gamma = drawn(self.start(x, ctx), ctx, samples), drawn(self.prior, ctx, samples, len(x))
        rho = self.leapfrog.heated(gamma.value)
        return self.leapfrog.trajectory(start.value, rho, self._log_joint(x, ctx), self.decoder)

    def _log_joint(self, x: Tensor, ctx: Context) -> LogDensity:
        return lambda z: self.joint(x, {"z": z}, ctx)


def _learned(start: str) -> bool:
    if start not in ("learned", "prior"):
        raise unknown("start of a leapfrog", start, ("learned", "prior"))
    return start == "learned"


def _sees_others(decoder: nn.Module, latents: int) -> bool:
    first = next(decoder.parameters(), torch.zeros(()))
    at = torch.linspace(-1, 1, 3 * latents, dtype=first.dtype, device=first.device).reshape(3, latents)
    with told(f"the decoder of a leapfrog in {latents} latents", "it takes [*batch, latents]"):
        return sees_others(decoder, at)
