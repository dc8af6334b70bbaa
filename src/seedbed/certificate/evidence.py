"""log p(x) where there are few latents: by a sum over all, or an integral over a grid; and means held against it."""

import math
from typing import Any

import torch
from torch import Tensor

from seedbed.certificate.check import Finding, quantile
from seedbed.certificate.subject import DRAWS, FEW, Subject, Utility, proposal_of, value_of
from seedbed.certificate.sums import Grid, points_of
from seedbed.core.context import Context
from seedbed.core.domain import BINARY
from seedbed.core.proposal import Latents
from seedbed.core.shapes import axes_of


class Space:
    """Several latents laid out as one vector.

    Args:
        shapes: of each latent, without leading axes.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.sizes = [math.prod(shape) for shape in shapes.values()]
        self.size = sum(self.sizes)

    @classmethod
    def of(cls, z: Latents) -> "Space":
        """Of draws ``[samples, batch, *latent]``."""
        return cls({name: tuple(value.shape[2:]) for name, value in z.items()})

    def join(self, z: Latents) -> Tensor:
        """``[samples, batch, size]``."""
        return torch.cat([value.reshape(*value.shape[:2], -1) for value in z.values()], -1)

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """The way back."""
        parts = zip(self.shapes.items(), flat.split(self.sizes, -1), strict=True)
        return {name: part.reshape(*flat.shape[:-1], *axes_of(shape)) for (name, shape), part in parts}


class Evidence:
    """log p(x) of a few examples by a sum over all z, or an integral over a grid of them.

    Args:
        joint: log p(x, z) at every z, ``[points, batch]``.
        log_q: log q(z | x) there; ``None`` of a posterior that cannot say.
        grid: of the points; ``None`` where they are all that there are.
    """

    def __init__(self, joint: Tensor, log_q: Tensor | None, grid: Grid | None) -> None:
        self.joint, self.log_q, self.grid = joint, log_q, grid
        self.log_p, self.slack = (joint.logsumexp(0), torch.zeros(())) if grid is None else grid.log_integral(joint)

    def log_sum(self, log_f: Tensor) -> Tensor:
        """log of the sum, or the integral, of f over z."""
        return log_f.logsumexp(0) if self.grid is None else self.grid.log_integral(log_f)[0]

    def mean(self, f: Tensor) -> Tensor:
        """The mean of f over q(z | x)."""
        assert self.log_q is not None, "asked of a posterior that can be scored"
        q = (self.log_q + (0.0 if self.grid is None else self.grid.log_volume)).exp()
        return torch.where(q > 0, q * f, 0.0).sum(0)


def evidence(subject: Subject) -> Evidence | None:
    """p(x) of the first examples; ``None`` where that is not known.

    There may be too many latents, densities too sharp for a grid, or p(x | z) no more than a bound.
    """
    if subject.bounded:
        return None
    x = subject.x[0, :FEW]

    def look(model: Any, x: Tensor, ctx: Context) -> Evidence | None:
        proposal = proposal_of(model, x, ctx, min(256, subject.passes))
        space = Space.of(proposal.z)
        every, grid = None, None
        if proposal.real and space.size <= 2 and subject.passes == DRAWS:
            grid = Grid.around(space.join(proposal.z))
            every = grid.points
        elif all(not layer.real for layer in proposal.layers.values()):
            points = points_of(BINARY, (space.size,))
            every = None if points is None else points[:, None].expand(-1, len(x), -1)
        if every is None:
            return None
        z = space.split(every)
        found = Evidence(model.joint(x, z, ctx), None if proposal.log_q_at is None else proposal.log_q_at(z), grid)
        return None if bool((found.slack > 2e-3).any()) else found

    return subject.inside(look, x, address=("evidence",))


def means(subject: Subject, bound: Utility, count: int, name: str) -> Tensor:
    """A bound of the first examples at ``count`` independent draws, ``[count, FEW]``."""
    x = subject.x[0, :FEW].repeat(count, *[1] * len(subject.example))
    return subject.call(value_of(bound), x, address=("bounds", name))[0].view(count, FEW)


def at_most(values: Tensor, limit: Tensor, limit_error: Tensor, slack: Tensor, words: str) -> Finding:
    """The mean over draws, ``[draws, batch]``, is no more than a limit that has an error of its own."""
    z = quantile(values.shape[1])
    error = (values.var(0) / len(values) + limit_error.square()).sqrt()
    excess, tolerance = (values.mean(0) - limit).clamp(min=0.0), z * error + slack + 1e-6
    at = int((excess / tolerance).argmax())
    return Finding(float(excess[at]), float(tolerance[at]), words, z)


def mean_is(values: Tensor, truth: Tensor, slack: Tensor | float, words: str) -> Finding:
    """The mean over draws, ``[draws, batch]``, is a known one."""
    z = quantile(values.shape[1])
    deviation = (values.mean(0) - truth).abs()
    tolerance = z * values.std(0) / len(values) ** 0.5 + slack
    at = int((deviation / tolerance).argmax())
    return Finding(float(deviation[at]), float(tolerance[at]), words, z)


def relative(one: Tensor, other: Tensor) -> float:
    """The largest difference, in units of the numbers' size; what is infinite in both does not differ."""
    one, other = one.detach(), other.detach()
    gap = torch.where(one == other, torch.zeros_like(one), one - other).abs()
    return float(gap.max() / torch.where(one.isfinite(), one, 0.0).abs().mean().clamp(min=1.0))
