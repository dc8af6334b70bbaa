"""Monotone rational-quadratic splines (Gregory & Delbourgo 1982; Durkan et al. 2019, arXiv 1906.04032).

This is the hot path of spline flows and its tensors are small, so what counts is the number of kernels: widths and heights
are transformed together, one gather fetches all that a bin needs, and derivatives are transformed after it, two per point.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

MIN_BIN = 1e-3  # of the interval
MIN_SLOPE = 1e-3
# softplus(raw + SHIFT) + MIN_SLOPE is 1 at raw = 0: zeros give the identity, and so do the zeros padded at the two ends.
SHIFT = math.log(math.expm1(1 - MIN_SLOPE))


def _bin(u: Tensor, raw: Tensor, axis: int) -> tuple[Tensor, ...]:
    """What the bin around each point needs.

    Args:
        u: points in the unit interval, ``[*batch]``.
        raw: ``[*batch, 3 K - 1]``: K widths, K heights, K - 1 inner slopes, unconstrained.
        axis: 0 if ``u`` runs along x, 1 if along y.

    Returns:
        left edge and size along x, the same along y, slopes at the left and right edge; each ``[*batch]``.
    """
    bins = (raw.shape[-1] + 1) // 3
    # Parameters in front, points behind: kernels then run along the points, not along a handful of bins.
    raw_sizes, raw_slopes = raw.movedim(-1, 0).contiguous().split((2 * bins, bins - 1))
    logits = raw_sizes.unflatten(0, (2, bins))
    exps = (logits - logits.detach().amax(1, keepdim=True)).exp()
    sizes = exps * ((1 - bins * MIN_BIN) / exps.sum(1, keepdim=True)) + MIN_BIN
    # Which bin a point is in carries no gradient. Counting the inner edges to its left cannot run out of range.
    index = (u.detach() >= sizes.detach()[axis, :-1].cumsum(0)).sum(0, keepdim=True)
    steps = torch.arange(bins, device=raw.device).reshape(-1, *[1] * u.ndim)
    x0, y0 = (sizes * (steps < index).to(sizes.dtype)).sum(1)
    w, h = sizes.gather(1, index.expand(2, *index.shape)).squeeze(1)
    end = torch.zeros_like(raw_slopes[:1])
    slopes = torch.cat((end, raw_slopes, end)).gather(0, torch.cat((index, index + 1)))
    d0, d1 = F.softplus(slopes + SHIFT) + MIN_SLOPE
    return x0, w, y0, h, d0, d1


def _log_slope(xi: Tensor, cross: Tensor, s: Tensor, d0: Tensor, d1: Tensor, denominator: Tensor) -> Tensor:
    """log dy/dx = log [s^2 (d1 xi^2 + 2 s xi (1 - xi) + d0 (1 - xi)^2) / denominator^2]."""
    numerator = d1 * xi.square() + 2 * s * cross + d0 * (1 - xi).square()
    return (numerator * (s / denominator).square()).log()


def spline_forward(
    x: Float[Tensor, "*batch"], raw: Float[Tensor, "*batch parameters"], bound: float
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """y = spline(x) on ``[-bound, bound]``, y = x outside, and log dy/dx; each of the shape of ``x``.

    Args:
        x: ``[*batch]``.
        raw: unconstrained parameters, ``[*batch, 3 K - 1]``.
        bound: half the width of the interval.
    """
    inside = x.clamp(-bound, bound)
    u = inside / (2 * bound) + 0.5
    x0, w, y0, h, d0, d1 = _bin(u, raw, 0)
    s = h / w
    xi = (u - x0) / w
    cross = xi * (1 - xi)
    denominator = s + (d0 + d1 - 2 * s) * cross
    v = y0 + h * (s * xi.square() + d0 * cross) / denominator
    # At the ends the spline is the identity with slope 1, so the linear tails need no case of their own.
    return (v - 0.5) * (2 * bound) + (x - inside), _log_slope(xi, cross, s, d0, d1, denominator)


def spline_inverse(
    y: Float[Tensor, "*batch"], raw: Float[Tensor, "*batch parameters"], bound: float
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """x with spline(x) = y, and log dx/dy: the root in [0, 1] of a quadratic (Durkan et al. 2019, eq. 6-8)."""
    inside = y.clamp(-bound, bound)
    v = inside / (2 * bound) + 0.5
    x0, w, y0, h, d0, d1 = _bin(v, raw, 1)
    s = h / w
    curve = d0 + d1 - 2 * s
    rise = v - y0
    a = h * (s - d0) + rise * curve
    b = h * d0 - rise * curve
    c = -s * rise
    xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp_min(0).sqrt())
    cross = xi * (1 - xi)
    u = x0 + xi * w
    return (u - 0.5) * (2 * bound) + (y - inside), -_log_slope(xi, cross, s, d0, d1, s + curve * cross)
