"""The Gaussian model in closed form: z ~ N(0, I_d) once per data set, x_i | z ~ N(z + Delta, diag sigma^2), i = 1..N.

All is a sum over dimensions, of N, x-bar and S alone. With a = x-bar - Delta and lambda = 1 + N/sigma^2, the precision of
p(z | D), its mean m = (N/sigma^2) a / lambda: log p(D, z) = log p(D) + log N(z; m, 1/lambda).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.data.gaussian_sets import Statistics
from seedbed.distributions.normal import HALF_LOG_2PI, DiagonalNormal


def log_evidence(
    data: Statistics, delta: Float[Tensor, "*#stack d"], log_sigma: Float[Tensor, "*#stack d"]
) -> Float[Tensor, "*stack"]:
    """log p(D) = sum_j -N/2 log 2pi - [(N-1) log s2 + log(s2 + N)]/2 - S/(2 s2) - N a^2/(2 (s2 + N)), s2 = sigma_j^2.

    Args:
        data: N, x-bar and S, ``[*stack, d]``.
        delta: Delta, ``[*stack, d]``.
        log_sigma: log sigma, ``[*stack, d]``.

    Returns:
        Nats of the whole data set, ``[*stack]``; the precision is that of what is given.

    Raises:
        SeedbedError: for parameters of another dimension.
    """
    _check(data, delta, log_sigma)
    n, s2 = data.count, (2 * log_sigma).exp()
    volume = (n - 1) * 2 * log_sigma + (s2 + n).log()
    squares = data.scatter / s2 + n * (data.mean - delta).square() / (s2 + n)
    return (-0.5 * (volume + squares) - n * HALF_LOG_2PI).sum(-1)


def log_joint(
    data: Statistics,
    delta: Float[Tensor, "*#stack d"],
    log_sigma: Float[Tensor, "*#stack d"],
    z: Float[Tensor, "*#stack d"],
) -> Float[Tensor, "*stack"]:
    """log p(D, z) = sum_j -N/2 log 2pi - N log sigma_j - [S + N (a - z)^2]/(2 sigma_j^2) + log N(z_j; 0, 1).

    Args:
        data: N, x-bar and S, ``[*stack, d]``.
        delta: Delta, ``[*stack, d]``.
        log_sigma: log sigma, ``[*stack, d]``.
        z: the latent, ``[*stack, d]``.

    Returns:
        Nats of the whole data set, ``[*stack]``.

    Raises:
        SeedbedError: for parameters, or a latent, of another dimension.
    """
    _check(data, delta, log_sigma, z)
    squares = data.scatter + data.count * (data.mean - delta - z).square()
    likelihood = -data.count * (log_sigma + HALF_LOG_2PI) - 0.5 * squares * (-2 * log_sigma).exp()
    return (likelihood - 0.5 * z.square() - HALF_LOG_2PI).sum(-1)


def posterior(data: Statistics, delta: Float[Tensor, "*#stack d"], log_sigma: Float[Tensor, "*#stack d"]) -> DiagonalNormal:
    """p(z | D) = N(N a/(sigma^2 + N), sigma^2/(sigma^2 + N)): a product over dimensions, so mean-field VB can be exact.

    Args:
        data: N, x-bar and S, ``[*stack, d]``.
        delta: Delta, ``[*stack, d]``.
        log_sigma: log sigma, ``[*stack, d]``.

    Raises:
        SeedbedError: for parameters of another dimension.
    """
    _check(data, delta, log_sigma)
    total = (2 * log_sigma).exp() + data.count
    return DiagonalNormal(data.count * (data.mean - delta) / total, log_sigma - 0.5 * total.log())


def maximum_likelihood(data: Statistics) -> tuple[Float[Tensor, "*stack d"], Float[Tensor, "*stack d"]]:
    """Delta = x-bar, and the root of N s4 + (N(N-1) - S) s2 - S N = 0, about S/(N - 1), where log p(D) is highest.

    Delta is known no better than z: |Delta - truth|^2 is about |z|^2, a chi^2 of d degrees, for every correct method.

    Args:
        data: N, x-bar and S, ``[*stack, d]``.

    Returns:
        Delta and sigma, ``[*stack, d]``, in the unit of x.
    """
    n = data.count
    half = (n * (n - 1) - data.scatter) / 2
    root = (half.square() + n**2 * data.scatter).sqrt()
    # Two forms of the positive root: neither subtracts what is nearly equal.
    small = n * data.scatter / (half.abs() + root)
    return data.mean, torch.where(half > 0, small, (half.abs() + root) / n).sqrt()


def variational_bound(
    data: Statistics,
    delta: Float[Tensor, "*#stack d"],
    log_sigma: Float[Tensor, "*#stack d"],
    mean: Float[Tensor, "*#stack d"],
    log_scale: Float[Tensor, "*#stack d"],
    *,
    compat: bool = False,
) -> Float[Tensor, "*stack"]:
    """E_q[log p(D, z)] + H(q) for q = N(mean, diag scale^2): mean-field VB, or a flow whose q is such a Gaussian.

    sum_j -N log 2pi/2 - N log sigma - [S + N((a - mean)^2 + scale^2)]/(2 sigma^2) - (mean^2 + scale^2)/2 + log scale + 1/2.

    Args:
        data: N, x-bar and S, ``[*stack, d]``.
        delta: Delta, ``[*stack, d]``.
        log_sigma: log sigma, ``[*stack, d]``.
        mean: of q, ``[*stack, d]``.
        log_scale: log of its standard deviation, ``[*stack, d]``.
        compat: as the published flows had it: sum_i (x_i - Delta)^2/sigma^2 without its 1/2, the terms of z with theirs.
            That is no bound; it is highest at sigma^2 = 2 S/N + scale^2.

    Returns:
        Nats of the whole data set, ``[*stack]``.

    Raises:
        SeedbedError: for parameters of another dimension.

    Caterini, Doucet & Sejdinovic 2018 (arXiv 1805.11328), section 5.1; its appendix for VB.
    """
    _check(data, delta, log_sigma, mean, log_scale)
    n, precision, variance = data.count, (-2 * log_sigma).exp(), (2 * log_scale).exp()
    squares = data.scatter + n * ((data.mean - delta - mean).square() + variance)
    if compat:
        squares = squares + data.scatter + n * (data.mean - delta).square()
    likelihood = -n * (log_sigma + HALF_LOG_2PI) - 0.5 * precision * squares
    return (likelihood - 0.5 * (mean.square() + variance) + log_scale + 0.5).sum(-1)


def flow_optimum(
    data: Statistics, variance: float | None = None, *, compat: bool = False
) -> tuple[Float[Tensor, "*stack d"], Float[Tensor, "*stack d"]]:
    """Delta and sigma that maximise the bound of a flow: Delta = x-bar, whatever the flow; sigma depends on its variance.

    A flow that can scale each dimension (IAF, VB) has sigma at its maximum likelihood; ``compat`` doubles S, so sigma is
    sqrt 2 times as large. A planar map moves along one direction: elsewhere the variance stays that of the base, 1, and
    sigma^2 = S/N + 1; ``compat``: 2 S/N + 1.

    Args:
        data: N, x-bar and S, ``[*stack, d]``.
        variance: of q in each dimension, in the unit of z squared; ``None`` if the flow chooses it.
        compat: with the missing 1/2 of the published flows.

    Returns:
        Delta and sigma, ``[*stack, d]``.
    """
    have = Statistics(data.count, data.mean, 2 * data.scatter) if compat else data
    if variance is None:
        return maximum_likelihood(have)
    return have.mean, (have.variance + variance).sqrt()


def parameter_errors(
    delta: Float[Tensor, "*#stack d"],
    sigma: Float[Tensor, "*#stack d"],
    true_delta: Float[Tensor, "*#stack d"],
    true_sigma: Float[Tensor, "*#stack d"],
) -> dict[str, Float[Tensor, "*stack"]]:
    """|Delta - truth|^2, |sigma - truth|^2 (of standard deviations) and their sum, as published.

    Args:
        delta: an estimate, ``[*stack, d]``.
        sigma: an estimate, ``[*stack, d]``.
        true_delta: ``[*stack, d]``.
        true_sigma: ``[*stack, d]``.

    Returns:
        ``delta``, ``sigma`` and ``theta``, ``[*stack]`` each, in the unit of x squared.
    """
    of_delta = (delta - true_delta).square().sum(-1)
    of_sigma = (sigma - true_sigma).square().sum(-1)
    return {"delta": of_delta, "sigma": of_sigma, "theta": of_delta + of_sigma}


def sigma_floor(true_sigma: Float[Tensor, "*stack d"], count: int) -> Float[Tensor, "*stack"]:
    """sum_j sigma_j^2/(2N): the mean of |sigma - truth|^2 at the maximum likelihood, for many examples.

    Args:
        true_sigma: ``[*stack, d]``.
        count: N.
    """
    return true_sigma.square().sum(-1) / (2 * count)


def best_tempered(data: Statistics) -> Float[Tensor, "*stack d"]:
    """Sigma of a Hamiltonian VAE from the prior, tempered as well as any: sigma^2 = s^2 + sigma/sqrt N, s^2 = S/N.

    No map of determinant 1 does better than a gap of sqrt lambda - 1 - log(lambda)/2 per dimension; this is its leading
    order, sqrt N/sigma, whose price is a larger sigma.

    Args:
        data: N, x-bar and S, ``[*stack, d]``.
    """
    rate = 1 / math.sqrt(data.count)
    return (rate + (rate**2 + 4 * data.variance).sqrt()) / 2


def one_step_tempered(data: Statistics, rounds: int = 200) -> Float[Tensor, "*stack d"]:
    """Sigma after one leapfrog step and one beta0 for all: sigma^2 = s^2 + beta0/2, beta0 = 2/sqrt(mean_j N/sigma_j^2).

    Args:
        data: N, x-bar and S, ``[*stack, d]``.
        rounds: of the fixed point.
    """
    variance = data.variance
    for _ in range(rounds):
        beta = 2 / (data.count / variance).mean(-1, keepdim=True).sqrt()
        variance = data.variance + beta / 2
    return variance.sqrt()


def one_step_untempered(data: Statistics) -> Float[Tensor, "*stack d"]:
    """Sigma after one leapfrog step without tempering: sigma^2 = s^2 + 11/27, at eps^2 lambda = 8/3.

    To leading order the energy at the end is (lambda/2)(1 - u^2/4 + u^3/16), u = eps^2 lambda: least, 11/27, at u = 8/3.

    Args:
        data: N, x-bar and S, ``[*stack, d]``.
    """
    return (data.variance + 11 / 27).sqrt()


def _check(data: Statistics, *others: Tensor) -> None:
    size = data.mean.shape[-1]
    for other in others:
        if other.ndim == 0 or other.shape[-1] != size:
            raise SeedbedError(
                f"the data set has {size} dimensions, parameters have {list(other.shape)}; make their last axis {size}"
            )
