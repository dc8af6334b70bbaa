"""Sums and integrals that a density is held against: all points of a small set, a grid, or draws of two densities."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seedbed.certificate.check import Finding, NotApplicableError, quantile
from seedbed.core.domain import Domain

MOST_POINTS = 4096  # of a set that is summed over
AXIS = {1: 2001, 2: 201}  # points along each axis of a grid: every second one, and every fourth, is a grid as well
FAR = 60.0  # deviations from the centre that a grid reaches
TRUSTED = 2e-2  # nats by which a grid and coarser ones may differ, else it is too coarse to say anything
ROUNDING = 1e-8


def points_of(domain: Domain, example: tuple[int, ...]) -> Tensor | None:
    """Every example that there is, ``[points, *example]``; ``None`` of real ones, or where there are too many."""
    size, levels = math.prod(example), {"binary": 2}.get(domain.kind, domain.size or 0)
    if domain.kind not in ("binary", "levels") or levels**size > MOST_POINTS:
        return None
    index = torch.arange(levels**size)
    digits = [index // levels**place % levels for place in range(size)]
    return torch.stack(digits, 1).double().view(-1, *example)


@dataclass(frozen=True)
class Grid:
    """Points in the space of an event, dense near a centre of each example, and log volumes; ``None`` beyond two axes.

    Args:
        points: ``[points, batch, size]``.
        log_volume: ``[points, batch]``.
        coarse: which points are a grid of twice the distance, and of four times, ``[points]`` each.
    """

    points: Tensor
    log_volume: Tensor
    coarse: tuple[Tensor, Tensor]

    @classmethod
    def around(cls, draws: Tensor) -> "Grid":
        """z = c + s sinh(u) with u on a regular grid, c and s the mean and deviation of ``draws``, ``[n, batch, size]``."""
        size = draws.shape[-1]
        centre, scale = draws.mean(0), draws.std(0).clamp(min=1e-6)
        reach = math.asinh(FAR)
        u = torch.linspace(-reach, reach, AXIS[size], dtype=draws.dtype)
        axes = torch.cartesian_prod(*[torch.arange(len(u))] * size).view(-1, size)
        log_step = math.log(float(u[1] - u[0]))
        volume = (u.cosh().log()[axes] + log_step).sum(-1)[:, None] + scale.log().sum(-1)
        return cls(centre + scale * u.sinh()[axes][:, None], volume, ((axes % 2 == 0).all(-1), (axes % 4 == 0).all(-1)))

    def log_integral(self, log_f: Tensor) -> tuple[Tensor, Tensor]:
        """log of the integral of f, given log f at the points, ``[points, batch]``; and how far coarser grids are off."""
        terms = log_f + self.log_volume
        whole = terms.logsumexp(0)
        half, quarter = (
            terms[rows].logsumexp(0) + self.points.shape[-1] * math.log(step)
            for rows, step in zip(self.coarse, (2, 4), strict=True)
        )
        return whole, torch.maximum((whole - half).abs(), (half - quarter).abs())


def sums_to_one(log_p: Tensor, what: str) -> Finding:
    """Sum of exp(log p) over all points, ``[points, *batch]``, against 1."""
    return Finding(
        float((log_p.logsumexp(0).exp() - 1).abs().max()), ROUNDING, f"sum of {what} over all {len(log_p)} x is 1"
    )


def integrates_to_one(log_p: Callable[[Tensor], Tensor], draws: Tensor, what: str) -> Finding | None:
    """The integral of exp(log p) over a grid against 1; ``None`` if the density is too sharp for one.

    Args:
        log_p: of ``[points, batch, size]``.
        draws: where it has its mass, ``[n, batch, size]``.
        what: in words.
    """
    grid = Grid.around(draws)
    total, slack = grid.log_integral(log_p(grid.points))
    if bool((slack > TRUSTED).any()) and bool(total.isfinite().all()):
        return None
    deviation, tolerance = (total.exp() - 1).abs(), (1e-6 + 2 * slack)
    worst = int((deviation / tolerance).nan_to_num(math.inf).argmax())
    return Finding(float(deviation[worst]), float(tolerance[worst]), f"integral of {what} over a grid is 1")


def bridge(
    log_p: Callable[[Tensor], Tensor], draws: Tensor, domain: Domain, what: str, fit: Tensor | None = None
) -> Finding:
    """Whether draws x ~ p have the normalised density p: E_r[p / (p + r)] = E_p[r / (p + r)] with a known density r.

    Both sides are bounded, in any number of dimensions (Meng & Wong 1996, "Simulating ratios of normalizing constants via a
    simple identity"). r is a Gaussian, or of bits and levels a product, fitted to one half of the draws.

    Args:
        log_p: log density of ``[n, batch, size]``, in nats, ``[n, batch]``.
        draws: of p, ``[2 n, batch, size]``.
        domain: of a component.
        what: in words.
        fit: what r is fitted to, where that is not half of the draws.

    Raises:
        NotApplicableError: if r is nowhere near p, so that nothing can be said.
    """
    if fit is None:
        fit, draws = draws.chunk(2)
    others, log_r = _reference(fit, domain)
    ratio = lambda x: (log_p(x) - log_r(x)).nan_to_num(-math.inf, math.inf, -math.inf)
    ours, theirs = torch.sigmoid(ratio(others)), torch.sigmoid(-ratio(draws))
    if bool((torch.maximum(ours.mean(0), theirs.mean(0)) < 0.01).all()):
        raise NotApplicableError(f"no simple density is near enough to {what} to hold it against")
    z = quantile(ours[0].numel())
    error = (ours.var(0) / len(ours) + theirs.var(0) / len(theirs)).sqrt()
    # What happens once in a thousand draws of bits has no variance among fewer (Bernstein's inequality bounds it).
    rare = 0.0 if domain.kind == "real" else z**2 / (3 * len(ours))
    deviation, tolerance = (ours.mean(0) - theirs.mean(0)).abs(), z * error + rare + ROUNDING
    worst = int((deviation / tolerance).argmax())
    return Finding(
        float(deviation[worst]), float(tolerance[worst]), f"draws of {what} have its density, and it is normalised", z
    )


def _reference(fit: Tensor, domain: Domain) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Draws of a known density near ``fit``, ``[n, batch, size]``, and its logarithm."""
    count, size = len(fit), fit.shape[-1]
    generator = torch.Generator().manual_seed(0)
    if domain.kind == "real":
        mean, centred = fit.mean(0), fit - fit.mean(0)
        if size <= 64:
            cov = torch.einsum("nbi,nbj->bij", centred, centred) / (count - 1)
        else:
            cov = torch.diag_embed(centred.square().mean(0))
        eye = torch.eye(size, dtype=fit.dtype)
        floor = 1e-9 * cov.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] + 1e-12
        law = torch.distributions.MultivariateNormal(mean, cov + floor * eye, validate_args=False)
        epsilon = torch.randn(count, *mean.shape, generator=generator, dtype=fit.dtype)
        return mean + torch.einsum("bij,nbj->nbi", law.scale_tril, epsilon), law.log_prob
    levels = torch.arange({"binary": 2}.get(domain.kind, domain.size or 0), dtype=fit.dtype)
    # Frequencies, smoothed: along the levels too, of which most were never drawn.
    mean, spread = fit.mean(0), fit.std(0).clamp(min=0.3)
    near = -0.5 * ((levels - mean[..., None]) / spread[..., None]).square()
    counted = torch.zeros_like(near).scatter_add_(-1, fit.movedim(0, -1).round().long(), torch.ones_like(fit.movedim(0, -1)))
    shares = counted + near.softmax(-1)
    shares = shares / shares.sum(-1, keepdim=True)
    uniform = torch.rand(count, *mean.shape, generator=generator, dtype=fit.dtype)
    others = (shares.cumsum(-1) <= uniform[..., None]).sum(-1).clamp(max=len(levels) - 1).to(fit.dtype)

    def log_r(x: Tensor) -> Tensor:
        rows = shares.log().expand(*x.shape, len(levels))
        return rows.gather(-1, x.round().long().clamp(0, len(levels) - 1)[..., None]).squeeze(-1).sum(-1)

    return others, log_r
