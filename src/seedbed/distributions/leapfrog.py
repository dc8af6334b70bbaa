"""Hamiltonian trajectories: the leapfrog scheme, with or without tempering."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor


def leapfrog(
    position: Float[Tensor, "*shape"],
    momentum: Float[Tensor, "*shape"],
    force: Callable[[Tensor], tuple[Tensor, ...]],
    step: Float[Tensor, "..."] | float,
    count: int,
    *,
    first: tuple[Tensor, ...] | None = None,
    temper: Callable[[int, Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"], tuple[Tensor, ...]]:
    """``count`` steps of p += e/2 F(z); z += e p; p += e/2 F(z): reversible, and of unit Jacobian without tempering.

    The gradient is taken ``count + 1`` times, once less where the first is known.

    Args:
        position: z, ``[*batch, *latent]``.
        momentum: p, of the same shape.
        force: of z, the slope -dU/dz first, and whatever else came about with it.
        step: e, anything that broadcasts.
        count: how many.
        first: ``force(position)``, where it is known.
        temper: of the number of a step and the momentum at its end, the momentum that goes on: p times a factor.

    Returns:
        Where it ends, its momentum, and ``force`` there.

    Neal 2011 (arXiv 1206.1901), section 2.3; tempered: Caterini et al. 2018 (arXiv 1805.11328), algorithm 1.
    """
    found = force(position) if first is None else first
    if not count:
        return position, momentum, found
    momentum = momentum + 0.5 * step * found[0]
    for number in range(count):
        position = position + step * momentum
        found = force(position)
        last = number == count - 1
        if temper is None:  # the half step that ends one and the half step that begins the next, in one
            momentum = momentum + (0.5 if last else 1.0) * step * found[0]
            continue
        momentum = temper(number, momentum + 0.5 * step * found[0])
        if not last:
            momentum = momentum + 0.5 * step * found[0]
    return position, momentum, found
