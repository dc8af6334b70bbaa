"""The Hamiltonian VAE on the Gaussian model, exactly: all it does there is linear, a 2 x 2 covariance per dimension.

With y = z - m, m the mean of p(z | D) and lambda its precision, grad U = lambda y. A leapfrog step and its tempering take
(y, rho) to A (y, rho), so (z_K, rho_K) is Gaussian if z_0 is, and the bound is what it loses in closed form:

    log p(D) - ELBO = KL( q(z_K, rho_K) || p(z | D) N(rho; 0, 1) ) = [lambda E y_K^2 + E rho_K^2]/2 - 1 - log(lambda s^2)/2

per dimension, s the standard deviation of q0: the volume s / sqrt(beta0) of the start times sqrt(beta0) is all that enters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.errors import SeedbedError, unknown
from seedbed.data.gaussian_sets import Statistics
from seedbed.models.gaussian_sets import best_tempered, log_evidence, posterior

STEPS_TRIED = 200  # values of eps^2 lambda, in (0, 4) where a leapfrog is stable, before the descent
HEATS_TRIED = 9  # values of beta0 before the descent
DESCENTS = 3
GRADIENT = 1e-6  # per example, where a descent ends: relative errors of sigma of about as much
Tempering = Literal["none", "fixed", "free"]


def fixed_tempering(beta0: Float[Tensor, ""], count: int) -> Float[Tensor, "{count}"]:
    """alpha_k = sqrt(beta_(k-1)/beta_k), 1/sqrt(beta_k) = 1/sqrt(beta0) + (1 - 1/sqrt(beta0)) k^2/K^2, ``[count]``.

    Args:
        beta0: the inverse temperature at the start, in (0, 1].
        count: K.

    Caterini, Doucet & Sejdinovic 2018 (arXiv 1805.11328).
    """
    k = torch.arange(count + 1, dtype=beta0.dtype, device=beta0.device)
    heat = beta0.rsqrt() + (1 - beta0.rsqrt()) * (k / max(count, 1)).square()
    return heat[1:] / heat[:-1]


def hamiltonian_bound(
    data: Statistics,
    delta: Float[Tensor, "*#stack d"],
    log_sigma: Float[Tensor, "*#stack d"],
    eps: Float[Tensor, "steps *each"],
    alphas: Float[Tensor, "count"],
    *,
    mean: Float[Tensor, "*#stack d"] | float = 0.0,
    log_scale: Float[Tensor, "*#stack d"] | float = 0.0,
) -> Float[Tensor, "*stack"]:
    """ELBO = E[log p(D, z_K) - rho_K^2/2 - log q0(z_0)] + d/2 of K = ``count`` tempered leapfrog steps, exactly.

    z_0 ~ q0 = N(mean, diag scale^2), the prior if not given; rho_0 ~ N(0, 1/beta0), beta0 = prod alpha_k^2.

    Args:
        data: N, x-bar and S, ``[*stack, d]``; float64 for an oracle.
        delta: Delta, ``[*stack, d]``.
        log_sigma: log sigma, ``[*stack, d]``.
        eps: step sizes in the unit of z, ``[count or 1, *stack, d]``: what is one for all may be 1, or missing.
        alphas: what the momentum is multiplied with at the end of each step, ``[count]``, in (0, 1].
        mean: of q0.
        log_scale: log of its standard deviation.

    Returns:
        Nats of the whole data set, ``[*stack]``; never more than ``log_evidence``.

    Raises:
        SeedbedError: for parameters of another dimension, or step sizes of another number of steps.

    Caterini, Doucet & Sejdinovic 2018 (arXiv 1805.11328), sections 3.2 and 5.1.
    """
    if len(eps) not in (1, len(alphas)):
        raise SeedbedError(f"{len(alphas)} leapfrog steps were given {len(eps)} step sizes; give one, or each its own")
    law = posterior(data, delta, log_sigma)
    curvature = (-2 * law.log_scale).exp()  # lambda
    shift, log_scale = mean - law.mean, torch.as_tensor(log_scale).to(curvature)
    each = eps.expand(len(alphas), *eps.shape[1:]) if len(eps) == 1 else eps
    # A, row by row: y_K = a y_0 + b rho_0, rho_K = c y_0 + d rho_0.
    one, none = torch.ones_like(curvature), torch.zeros_like(curvature)
    a, b, c, d = one, none, none, one
    for e, alpha in zip(each, alphas, strict=True):
        u = e * e * curvature
        turn, drift, pull = 1 - u / 2, e, -e * curvature * (1 - u / 4)
        a, b, c, d = turn * a + drift * c, turn * b + drift * d, alpha * (pull * a + turn * c), alpha * (pull * b + turn * d)
    start, heat = shift.square() + (2 * log_scale).exp(), alphas.prod().pow(-2)
    energy = 0.5 * (curvature * (a.square() * start + b.square() * heat) + c.square() * start + d.square() * heat)
    gap = energy - 1 - (log_scale - law.log_scale)
    return log_evidence(data, delta, log_sigma) - gap.sum(-1)


@dataclass(frozen=True)
class Optimum:
    """Where a bound is highest.

    Args:
        delta: Delta, ``[d]``.
        sigma: sigma, ``[d]``.
        eps: step size of each dimension, ``[d]``.
        alphas: of each step, ``[K]``.
        bound: nats of the whole data set.
        slope: the largest derivative that is left, per example, in units in which the bound bends by about 1.
    """

    delta: Float[Tensor, "d"]
    sigma: Float[Tensor, "d"]
    eps: Float[Tensor, "d"]
    alphas: Float[Tensor, "count"]
    bound: float
    slope: float


def hamiltonian_optimum(data: Statistics, count: int, tempering: str = "fixed", *, rounds: int = 300) -> Optimum:
    """The highest ``hamiltonian_bound`` from the prior: one step size per dimension, tempering shared, by L-BFGS in float64.

    Delta is x-bar: the bound falls with (x-bar - Delta)^2, whatever the rest. Given beta0 the dimensions are apart, so a
    descent begins at the best of many steps in each of them, and at the best few of many beta0; the best end is taken.
    Of one step it is the highest of all; of more there are many tops of nearly the same sigma, and this is a high one.

    Args:
        data: N, x-bar and S, ``[d]``.
        count: K.
        tempering: ``none``, ``fixed`` (one beta0; quadratic) or ``free`` (an alpha per step).
        rounds: iterations of L-BFGS from each start.

    Raises:
        SeedbedError: for no steps, or a tempering that there is not.
    """
    if tempering not in ("none", "fixed", "free"):
        raise unknown("tempering", tempering, ("none", "fixed", "free"))
    if count < 1:
        raise SeedbedError(f"expected at least one leapfrog step, got K = {count}; its bound is variational_bound's")
    have = data.to(torch.zeros((), dtype=torch.float64))
    starts = sorted((_Start.of(have, count, tempering, heat) for heat in _heats(have, tempering)), key=lambda s: -s.bound)
    return max((_descent(have, start, rounds) for start in starts[:DESCENTS]), key=lambda end: end.bound)


def _heats(data: Statistics, tempering: Tempering) -> list[float]:
    """Values of 1/sqrt(beta0) to begin at: around beta0 = 2/sqrt(lambda), the best for one step."""
    if tempering == "none":
        return [1.0]
    best = float(data.count / best_tempered(data).square().mean()) ** 0.25
    return [max(1.01, best * 2.0 ** (0.5 * (i - HEATS_TRIED // 2))) for i in range(HEATS_TRIED)]


@dataclass(frozen=True)
class _Start:
    """Where a descent begins: log sigma, a phase per dimension (eps sqrt(lambda) = 2 sin(phase/2)), what sets the alphas."""

    log_sigma: Tensor
    phase: Tensor
    knobs: Tensor  # none, t of 1/sqrt(beta0) = 1 + exp(t), or the logit of each alpha
    alphas: Callable[[Tensor], Tensor]
    bound: float

    @classmethod
    def of(cls, data: Statistics, count: int, tempering: Tempering, heat: float) -> "_Start":
        log_sigma = (best_tempered(data) if tempering != "none" else (data.variance + 0.3).sqrt()).log()
        heats = torch.tensor(heat, dtype=torch.float64)
        if tempering == "none":
            knobs, alphas = heats.new_zeros(0), lambda knobs: knobs.new_ones(count)
        elif tempering == "fixed":
            knobs, alphas = (heats - 1).log(), lambda knobs: fixed_tempering((1 + knobs.exp()).pow(-2), count)
        else:
            knobs, alphas = torch.logit(fixed_tempering(heats.pow(-2), count)), torch.sigmoid
        # One dimension at a time, as a stack: [tried, d, 1].
        tried = torch.linspace(0, math.pi, STEPS_TRIED + 2, dtype=torch.float64)[1:-1, None, None]
        each = Statistics(data.count, data.mean[:, None], data.scatter[:, None])
        eps = _steps(each, log_sigma[:, None], tried)[None]
        bounds, best = hamiltonian_bound(each, each.mean, log_sigma[:, None], eps, alphas(knobs)).max(0)
        return cls(log_sigma, tried[:, 0, 0][best], knobs, alphas, float(bounds.sum()))


def _steps(data: Statistics, log_sigma: Tensor, phase: Tensor) -> Tensor:
    """Eps by the angle that a step turns (y sqrt(lambda), rho) by: always where a leapfrog is stable."""
    return 2 * torch.sin(phase / 2).abs() * posterior(data, data.mean, log_sigma).scale


def _descent(data: Statistics, start: _Start, rounds: int) -> Optimum:
    count, n = len(start.alphas(start.knobs)), data.count
    # Per example the bound bends by 2 in log sigma, by K^2 sqrt(lambda)/N in a phase (tempered): in these units by about 1.
    stiff = (-start.log_sigma).exp() * (n**-0.5 if start.knobs.numel() else 1.0)
    units = (torch.tensor(1.0).double(), stiff.rsqrt() / count, stiff.sum().rsqrt())
    starts = (start.log_sigma, start.phase, start.knobs)
    leaves = [torch.zeros_like(value, requires_grad=True) for value in starts]

    def now() -> tuple[Tensor, Tensor, Tensor]:
        log_sigma, phase, knobs = (s + unit * leaf for s, unit, leaf in zip(starts, units, leaves, strict=True))
        return log_sigma, _steps(data, log_sigma, phase)[None], start.alphas(knobs)

    def closure() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        loss = -hamiltonian_bound(data, data.mean, *now()) / n
        loss.backward()
        return loss

    optimiser = torch.optim.LBFGS(
        leaves,
        max_iter=rounds,
        history_size=30,
        line_search_fn="strong_wolfe",
        tolerance_grad=GRADIENT,
        tolerance_change=0.0,
    )
    optimiser.step(closure)
    bound = -n * float(closure().detach())
    slope = max(float(leaf.grad.abs().max()) for leaf in leaves if leaf.grad is not None and leaf.numel())
    log_sigma, eps, alphas = (value.detach() for value in now())
    return Optimum(data.mean, log_sigma.exp(), eps[0], alphas, bound, slope)
