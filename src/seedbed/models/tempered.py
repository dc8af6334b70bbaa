"""Tempered leapfrogs on the energy of a model: walks in z, and what is recorded of them."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.slope import example_slope
from seedbed.distributions.leapfrog import leapfrog

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
    (Caterini et al. 2018, arXiv 1805.11328). ``none``: alpha_k = 1.

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
