"""A posterior that follows Hamiltonian dynamics of the model itself (Caterini et al. 2018, arXiv 1805.11328)."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer, drawn
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.core.law import Distribution, moved_kl
from seedbed.core.proposal import Inferred, Proposal
from seedbed.core.shapes import Shape, axes_of
from seedbed.core.slope import example_slope, sees_others
from seedbed.core.slots import couples_examples
from seedbed.distributions.leapfrog import leapfrog
from seedbed.distributions.likelihood import BERNOULLI, Likelihood
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.nets.conv import channel_start
from seedbed.nets.mlp import MLP, Activation
from seedbed.nets.strided import StridedDecoder, StridedEncoder

Tempering = Literal["none", "fixed", "free"]
StepsVary = Literal["shared", "unit", "layer"]
LogDensity = Callable[[Tensor], Tensor]
# After each step: where it is, its momentum, and that as it goes on, ``[*batch, latents]`` each.
Walk = Iterator[tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Trajectory:
    """Where a tempered leapfrog went, its start included.

    Args:
        positions: z_0..z_K, ``[K + 1, *batch, latents]``.
        momenta: rho_0..rho_K, each cooled, ``[K + 1, *batch, latents]``.
        energies: H = U(z) + |rho|^2 / 2 there, in nats, ``[K + 1, *batch]``.
        errors: what each leapfrog step changed H by before its momentum was cooled, in nats, ``[K, *batch]``: 0 but for the
            size of the step.
    """

    positions: Float[Tensor, "points *batch latents"]
    momenta: Float[Tensor, "points *batch latents"]
    energies: Float[Tensor, "points *batch"]
    errors: Float[Tensor, "steps *batch"]

    @classmethod
    def of(
        cls,
        position: Float[Tensor, "*batch latents"],
        momentum: Float[Tensor, "*batch latents"],
        log_density: LogDensity,
        walk: Walk,
    ) -> "Trajectory":
        """A walk from a position and a momentum, while it goes.

        Args:
            position: z_0.
            momentum: rho_0.
            log_density: -U of z, ``[*batch]``.
            walk: what comes after each step, see ``walked``.
        """

        def energy(z: Tensor, rho: Tensor) -> Tensor:
            return 0.5 * rho.square().sum(-1) - log_density(z)

        positions, momenta, energies, errors = [position], [momentum], [energy(position, momentum)], []
        for z, kept, cooled in walk:
            before_cooling = energy(z, kept)
            errors.append(before_cooling - energies[-1])
            positions.append(z)
            momenta.append(cooled)
            energies.append(before_cooling + 0.5 * (cooled.square() - kept.square()).sum(-1))
        none = energies[0].new_zeros(0, *energies[0].shape)
        return cls(
            torch.stack(positions), torch.stack(momenta), torch.stack(energies), torch.stack(errors) if errors else none
        )


def walked(
    position: Float[Tensor, "*batch latents"],
    momentum: Float[Tensor, "*batch latents"],
    log_density: LogDensity,
    of: object,
    steps: Iterable[Tensor],
    factors: Iterable[Tensor | float],
) -> Walk:
    """After each leapfrog step where it is, its momentum, and that times its factor; K + 1 gradients of U in all.

    Args:
        position: z_0.
        momentum: rho_0.
        log_density: -U of z, ``[*batch]``.
        of: the network that it goes through.
        steps: sizes.
        factors: as many, of the momenta.

    Raises:
        SeedbedError: for a network in which examples see each other.
    """

    def force(z: Tensor) -> tuple[Tensor, ...]:
        return (example_slope(log_density, z, of, "a leapfrog"),)

    slope = None
    for step, factor in zip(steps, factors, strict=True):
        # One at a time, since each has a size of its own; the gradient that ends a step begins the next.
        position, kept, slope = leapfrog(position, momentum, force, step, 1, first=slope)
        momentum = factor * kept
        yield position, kept, momentum


class TemperedLeapfrog(nn.Module):
    """K leapfrog steps of U(z) = -log p(x, z), the momentum times alpha_k after each; sizes and factors are learnt.

    rho_0 ~ N(0, I / beta_0) with beta_0 = prod_k alpha_k^2: hot momenta leave where they start, and cool on the way. A step
    keeps volume, and a factor changes that of ``latents`` momenta: the whole map has the Jacobian beta_0^(latents / 2).

    ``free``: every alpha_k in (0, 1) is learnt. ``fixed``: beta_0 alone is, and the root of the temperature falls
    quadratically, 1 / sqrt(beta_k) = 1 / sqrt(beta_0) + (1 - 1 / sqrt(beta_0)) k^2 / K^2, alpha_k = sqrt(beta_k-1 / beta_k)
    (Caterini et al. 2018, section 3.2). ``none``: alpha_k = 1.

    Args:
        latents: size of z.
        count: K, leapfrog steps.
        tempering: how momenta cool.
        temperature: 1 / beta_0 that it starts from, above 1; without tempering it has no say.
        step_size: that every step starts from.
        step_size_most: the largest one, eps_max: eps = eps_max sigmoid(raw).
        steps_vary: one step size for all, for each ``unit`` of z, or in each ``layer`` (step) for each unit.

    Raises:
        SeedbedError: for K < 0, step sizes or a temperature out of range, or an unknown kind of either.
    """

    def __init__(
        self,
        latents: int,
        count: int,
        tempering: str = "free",
        temperature: float = 2.0,
        step_size: float = 0.05,
        step_size_most: float = 0.5,
        steps_vary: str = "unit",
    ) -> None:
        super().__init__()
        if latents < 1 or count < 0:
            raise SeedbedError(f"a leapfrog takes 0 steps or more in 1 latent or more, got {count} steps in {latents}")
        if tempering not in get_args(Tempering):
            raise unknown("tempering", tempering, get_args(Tempering))
        if steps_vary not in get_args(StepsVary):
            raise unknown("way for step sizes to vary", steps_vary, get_args(StepsVary))
        if not 0 < step_size < step_size_most < math.inf:
            raise SeedbedError(
                f"step sizes lie between 0 and their largest, got step_size={step_size}, step_size_most={step_size_most}; "
                "start below the largest"
            )
        if tempering != "none" and not 1 < temperature < math.inf:
            raise SeedbedError(
                f"a temperature 1 / beta_0 is finite and above 1, got {temperature}; choose tempering none to stay at 1"
            )
        self.latents, self.count, self.tempering, self.step_size_most = latents, count, tempering, step_size_most
        if not count:
            return
        shape = {"shared": (), "unit": (latents,), "layer": (count, latents)}[steps_vary]
        share = step_size / step_size_most
        self.raw_steps = nn.Parameter(torch.full(shape, math.log(share / (1 - share))))
        if tempering == "fixed":
            self.raw_heat = nn.Parameter(torch.tensor(math.log(math.sqrt(temperature) - 1)))
        elif tempering == "free":
            alpha = temperature ** (-0.5 / count)
            self.raw_factors = nn.Parameter(torch.full((count,), math.log(alpha / (1 - alpha))))

    @property
    def step_sizes(self) -> Float[Tensor, "steps ..."]:
        """eps of each step, ``[K]`` or ``[K, latents]``."""
        if not self.count:
            return torch.zeros(0)
        sizes = self.step_size_most * torch.sigmoid(self.raw_steps)
        return sizes if sizes.ndim == 2 else sizes.expand(self.count, *sizes.shape)

    @property
    def factors(self) -> Float[Tensor, "steps"]:
        """alpha_k, ``[K]``."""
        if not self.count:
            return torch.ones(0)
        if self.tempering == "none":
            return self.raw_steps.new_ones(self.count)
        if self.tempering == "free":
            return torch.sigmoid(self.raw_factors)
        hot = 1 + self.raw_heat.exp()
        share = torch.linspace(0, 1, self.count + 1, dtype=hot.dtype, device=hot.device)
        heat = hot + (1 - hot) * share.square()
        return heat[1:] / heat[:-1]

    @property
    def beta(self) -> Float[Tensor, ""]:
        """beta_0 = prod_k alpha_k^2, the inverse temperature of the first momentum."""
        return self._cooled.square()

    def heated(self, unit: Float[Tensor, "*batch latents"]) -> Float[Tensor, "*batch latents"]:
        """The first momentum, N(0, I / beta_0), of one that is N(0, I)."""
        return unit / self._cooled

    @property
    def _cooled(self) -> Float[Tensor, ""]:
        """prod_k alpha_k, by logarithms: the gradient of ``prod`` is computed in another way where it is recorded."""
        return self.factors.log().sum().exp()

    def check(self, position: Float[Tensor, "..."]) -> None:
        """Refuse positions ``[*batch, other]``.

        Raises:
            SeedbedError: for positions of another size than the latents'.
        """
        if position.shape[-1] != self.latents:
            raise SeedbedError(
                f"a leapfrog in {self.latents} latents was given positions {list(position.shape)}; make "
                "encoder, decoder and leapfrog of one size"
            )

    def walk(
        self,
        position: Float[Tensor, "*batch latents"],
        momentum: Float[Tensor, "*batch latents"],
        log_density: LogDensity,
        of: object,
    ) -> Iterator[tuple[Float[Tensor, "*batch latents"], Float[Tensor, "*batch latents"], Float[Tensor, "*batch latents"]]]:
        """After each step where it is, its momentum, and that cooled. K + 1 gradients of U in all, differentiable through.

        Args:
            position: z_0.
            momentum: rho_0, hot.
            log_density: -U of z, ``[*batch]``.
            of: the network that it goes through.

        Raises:
            SeedbedError: for positions of another size, or a network in which examples see each other.
        """
        self.check(position)
        yield from walked(position, momentum, log_density, of, self.step_sizes, self.factors)

    def trajectory(
        self,
        position: Float[Tensor, "*batch latents"],
        momentum: Float[Tensor, "*batch latents"],
        log_density: LogDensity,
        of: object,
    ) -> Trajectory:
        """The same walk, recorded: to be looked at, and for the error of its energy.

        Raises:
            SeedbedError: as ``walk`` does.
        """
        return Trajectory.of(position, momentum, log_density, self.walk(position, momentum, log_density, of))


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
        bias = None if output_bias is None else channel_start(output_bias, likelihood.domain == BINARY)
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
