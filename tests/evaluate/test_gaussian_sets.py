"""The exact bound of the Hamiltonian VAE against the leapfrog itself, by Monte Carlo and by autodiff; its optimum."""

import math
from functools import partial

import pytest
import torch
from scipy.stats import norm

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data.gaussian_sets import Statistics, gaussian_set
from seedbed.distributions.leapfrog import leapfrog
from seedbed.evaluate.gaussian_sets import fixed_tempering, hamiltonian_bound, hamiltonian_optimum
from seedbed.models.gaussian_sets import (
    best_tempered,
    log_evidence,
    log_joint,
    maximum_likelihood,
    one_step_tempered,
    one_step_untempered,
    parameter_errors,
    posterior,
    variational_bound,
)

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
D = 3


def at(count: int):
    """Parameters that are no optimum, with a step size of its own for each step and dimension, and alphas."""
    data = gaussian_set(Streams(5), D, 6).statistics
    delta = data.mean - torch.tensor([0.5, -0.8, 0.2]).double()
    log_sigma = torch.tensor([-0.3, 0.1, 0.4]).double()
    eps = 0.05 + 0.3 * torch.rand(count, D, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    alphas = torch.linspace(0.7, 0.95, count, dtype=torch.float64)
    return data, delta, log_sigma, eps, alphas


def trajectory(data, delta, log_sigma, eps, alphas, z, unit):
    """The end of the leapfrog of -log p(D, z) itself, its slope by autodiff; one step of its own size at a time."""
    momentum = unit / alphas.prod()

    def force(z):
        z = z.requires_grad_()
        return torch.autograd.grad(log_joint(data, delta, log_sigma, z).sum(), z, create_graph=True)

    for e, alpha in zip(eps, alphas, strict=True):
        z, momentum, _ = leapfrog(z, momentum, force, e, 1, temper=lambda _, p, alpha=alpha: alpha * p)
    return z, momentum


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("learned", [False, True])
def test_the_bound_is_the_mean_over_trajectories(count, learned):
    given = at(count)
    mean = torch.tensor([0.4, -0.1, 0.3]).double() if learned else torch.zeros(D).double()
    log_scale = torch.tensor([-0.6, -0.2, 0.3]).double() if learned else torch.zeros(D).double()
    unit, gamma = torch.randn(2, 40_000, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z, momentum = trajectory(*given, mean + log_scale.exp() * unit, gamma)
    log_start = (-0.5 * unit.square() - log_scale - 0.5 * math.log(2 * math.pi)).sum(-1)
    values = (log_joint(*given[:3], z) - 0.5 * momentum.square().sum(-1) - log_start + D / 2).detach()
    exact = hamiltonian_bound(*given, mean=mean, log_scale=log_scale)
    standard_error = float(values.std()) / math.sqrt(len(values))
    assert standard_error < 0.2
    assert abs(float(values.mean() - exact)) < norm.isf(1e-4) * standard_error
    assert exact < log_evidence(*given[:3])


@pytest.mark.parametrize("count", [1, 4])
def test_the_bound_and_its_gradient_are_those_of_moments_by_autodiff(count):
    data, *leaves = at(count)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    # The map is affine: what it does to nothing and to the unit vectors of (z, rho) is all of it.
    origin = torch.zeros(D).double()
    columns = []
    for z, unit in ((origin, origin), (origin + 1, origin), (origin, origin + 1)):
        columns.append(torch.stack(trajectory(data, *leaves, z.clone(), unit)))
    shift, by_z, by_unit = columns[0], columns[1] - columns[0], columns[2] - columns[0]
    variance = by_z.square() + by_unit.square()  # of z_K and rho_K, [2, d]
    delta, log_sigma = leaves[:2]
    precision = data.count * (-2 * log_sigma).exp() + 1
    energy = 0.5 * (precision * variance[0] + variance[1] + shift[1].square()).sum()
    expected = log_joint(data, delta, log_sigma, shift[0]) - energy + D + 0.5 * D * math.log(2 * math.pi)
    found = hamiltonian_bound(data, *leaves)
    close(found, expected)
    for one, other in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True):
        close(one, other, rtol=1e-8, atol=1e-8)
    assert torch.autograd.gradcheck(lambda *leaves: hamiltonian_bound(data, *leaves), leaves)


def test_without_steps_it_is_the_variational_bound_and_tight_at_the_posterior():
    data, delta, log_sigma, _, _ = at(1)
    eps, alphas = torch.ones(1).double(), torch.ones(0).double()
    mean, log_scale = torch.tensor([0.4, -0.1, 0.3]).double(), torch.tensor([-0.6, -0.2, 0.3]).double()
    found = hamiltonian_bound(data, delta, log_sigma, eps, alphas, mean=mean, log_scale=log_scale)
    close(found, variational_bound(data, delta, log_sigma, mean, log_scale))
    law = posterior(data, delta, log_sigma)
    tight = hamiltonian_bound(data, delta, log_sigma, eps, alphas, mean=law.mean, log_scale=law.log_scale)
    close(tight, log_evidence(data, delta, log_sigma))


def test_it_falls_with_the_square_of_what_delta_misses():
    data, _, log_sigma, eps, alphas = at(4)
    far = torch.tensor([0.7, -0.2, 0.9]).double()
    values = [hamiltonian_bound(data, data.mean + far * t, log_sigma, eps, alphas) for t in (-2, -1, 0, 1, 2)]
    assert values[2] > values[1]
    close(values[0] - values[2], 4 * (values[1] - values[2]))
    close(values[1], values[3])


def test_step_sizes_and_stacks_broadcast():
    data, delta, log_sigma, eps, alphas = at(4)
    one = hamiltonian_bound(data, delta, log_sigma, torch.tensor([0.1]).double(), alphas)
    close(one, hamiltonian_bound(data, delta, log_sigma, torch.full((4, D), 0.1).double(), alphas))
    stack = Statistics(6, data.mean.expand(2, D), data.scatter.expand(2, D))
    both = hamiltonian_bound(stack, torch.stack((delta, delta + 1)), log_sigma, eps, alphas)
    close(both[1], hamiltonian_bound(data, delta + 1, log_sigma, eps, alphas))
    with pytest.raises(SeedbedError, match="4 leapfrog steps were given 3"):
        hamiltonian_bound(data, delta, log_sigma, eps[:3], alphas)
    with pytest.raises(SeedbedError, match="make their last axis 3"):
        hamiltonian_bound(data, torch.zeros(4).double(), torch.zeros(4).double(), eps[:, :1], alphas)


def test_fixed_tempering_is_quadratic_and_multiplies_to_the_start():
    beta0 = torch.tensor(0.04).double()
    alphas = fixed_tempering(beta0, 4)
    close(alphas.prod(), beta0.sqrt())
    close(1 / alphas[:2].prod(), 5 / (5 - 4 * torch.tensor(0.25).double()))
    close(fixed_tempering(beta0, 1), beta0.sqrt()[None])
    assert len(fixed_tempering(beta0, 0)) == 0


@pytest.fixture(scope="module")
def study():
    return gaussian_set(Streams(0), 25)


def sigma_error(drawn, sigma) -> float:
    return float(parameter_errors(drawn.delta, sigma, drawn.delta, drawn.sigma)["sigma"])


def test_one_tempered_step_is_where_leading_order_says(study):
    data = study.statistics
    found = hamiltonian_optimum(data, 1, rounds=150)
    torch.testing.assert_close(found.sigma, one_step_tempered(data), rtol=1e-3, atol=0)
    assert sigma_error(study, found.sigma) == pytest.approx(sigma_error(study, one_step_tempered(data)), rel=0.01)
    predicted = 2 / (data.count / found.sigma.square()).mean().sqrt()
    torch.testing.assert_close(found.alphas.square(), predicted[None], rtol=0.01, atol=0)
    precision = 1 + data.count / found.sigma.square()
    torch.testing.assert_close(found.eps.square() * precision, torch.full((25,), 2.0).double(), rtol=0.03, atol=0)
    assert found.slope < 1e-5


def test_one_untempered_step_is_where_leading_order_says(study):
    found = hamiltonian_optimum(study.statistics, 1, "none")
    torch.testing.assert_close(found.sigma, one_step_untempered(study.statistics), rtol=1e-3, atol=0)
    assert sigma_error(study, found.sigma) == pytest.approx(3.9, rel=0.01)  # published


def test_more_steps_come_nearer_to_the_best_map_of_determinant_one(study):
    data = study.statistics
    one, *more = [hamiltonian_optimum(data, count, rounds=40).bound for count in (1, 2, 4)]
    precision = 1 + data.count / best_tempered(data).square()
    gap = (precision.sqrt() - 1 - 0.5 * precision.log()).sum()
    best = log_evidence(data, data.mean, best_tempered(data).log()) - gap
    for bound in more:
        assert one < bound < best + 1e-3 * gap  # the leading order is not quite the optimum
    delta, sigma = maximum_likelihood(data)
    assert best < log_evidence(data, delta, sigma.log())


def test_the_descent_ends_where_no_direction_is_better():
    data = gaussian_set(Streams(2), 4, 100).statistics
    for tempering in ("none", "fixed", "free"):
        found = hamiltonian_optimum(data, 2, tempering)
        assert found.slope < 1e-5
        log_sigma = found.sigma.log()
        again = hamiltonian_bound(data, found.delta, log_sigma, found.eps[None], found.alphas)
        assert float(again) == pytest.approx(found.bound, rel=1e-12)
        for step in (-0.03, 0.03):
            assert hamiltonian_bound(data, found.delta, log_sigma + step, found.eps[None], found.alphas) < again
            assert hamiltonian_bound(data, found.delta, log_sigma, found.eps[None] * (1 + step), found.alphas) < again
            assert hamiltonian_bound(data, found.delta + step, log_sigma, found.eps[None], found.alphas) < again


def test_no_steps_are_refused(study):
    with pytest.raises(SeedbedError, match="got K = 0"):
        hamiltonian_optimum(study.statistics, 0)


def test_an_unknown_tempering_is_refused(study):
    with pytest.raises((SeedbedError, TypeError), match="linear"):
        hamiltonian_optimum(study.statistics, 1, "linear")
