"""Closed forms of the Gaussian model against full covariances, quadrature, autodiff and the published tables."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import MultivariateNormal

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data.gaussian_sets import Statistics, gaussian_set, true_parameters
from seedbed.models.gaussian_sets import (
    best_tempered,
    flow_optimum,
    log_evidence,
    log_joint,
    maximum_likelihood,
    one_step_tempered,
    one_step_untempered,
    parameter_errors,
    posterior,
    sigma_floor,
    variational_bound,
)

DIMENSIONS = (25, 50, 100, 200, 300, 400)
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def small(count: int = 4, dimensions: int = 3):
    """A data set, and parameters that are not the truth."""
    drawn = gaussian_set(Streams(2), dimensions, count)
    delta = drawn.delta + torch.linspace(-1, 0.7, dimensions, dtype=torch.float64)
    return drawn, delta, torch.linspace(-0.8, 0.3, dimensions, dtype=torch.float64)


def exact_set(dimensions: int, count: int = 10_000) -> tuple[Statistics, torch.Tensor, torch.Tensor]:
    """Statistics that are their own means, so that estimates show their bias alone."""
    delta, sigma = true_parameters(dimensions)
    return Statistics(count, delta, (count - 1) * sigma.square()), delta, sigma


def sigma_errors(estimate) -> list[float]:
    found = []
    for d in DIMENSIONS:
        data, delta, sigma = exact_set(d)
        found.append(float(parameter_errors(delta, estimate(data), delta, sigma)["sigma"]))
    return found


def test_log_evidence_is_that_of_the_full_normal():
    drawn, delta, log_sigma = small()
    rows, variance = drawn.rows(), (2 * log_sigma).exp()
    total = 0.0
    for j in range(3):  # N correlated numbers
        covariance = torch.ones(4, 4).double() + variance[j] * torch.eye(4).double()
        total += MultivariateNormal(delta[j].expand(4), covariance).log_prob(rows[:, j])
    close(log_evidence(drawn.statistics, delta, log_sigma), total)


def test_log_joint_is_a_sum_over_rows_and_integrates_to_the_evidence():
    drawn, delta, log_sigma = small()
    z = torch.tensor([0.2, -0.4, 1.1], dtype=torch.float64)
    likelihood = torch.distributions.Normal(z + delta, log_sigma.exp()).log_prob(drawn.rows()).sum()
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
    close(log_joint(drawn.statistics, delta, log_sigma, z), likelihood + prior)
    law = posterior(drawn.statistics, delta, log_sigma)
    close(
        log_joint(drawn.statistics, delta, log_sigma, z) - law.log_prob(z), log_evidence(drawn.statistics, delta, log_sigma)
    )
    line = torch.linspace(-9, 9, 4001, dtype=torch.float64)[:, None]  # one dimension at a time
    one = Statistics(4, drawn.statistics.mean[:1], drawn.statistics.scatter[:1])
    heights = log_joint(one, delta[:1], log_sigma[:1], line)
    close(heights.logsumexp(0) + math.log(18 / 4000), log_evidence(one, delta[:1], log_sigma[:1]))


def test_gradients_are_those_of_differences():
    drawn, delta, log_sigma = small()
    leaves = [delta.requires_grad_(), log_sigma.requires_grad_(), drawn.z.clone().requires_grad_()]
    assert torch.autograd.gradcheck(lambda a, b: log_evidence(drawn.statistics, a, b), leaves[:2])
    assert torch.autograd.gradcheck(lambda a, b, z: log_joint(drawn.statistics, a, b, z), leaves)


@pytest.mark.parametrize(
    ("count", "times"), [(2, 1.0), (3, 40.0), (50, 1.0), (10_000, 1.0)]
)  # 40: S > N(N - 1), the other root
def test_maximum_likelihood_is_where_the_gradient_vanishes(count, times):
    data = gaussian_set(Streams(7), 6, count).statistics
    data = Statistics(count, data.mean, data.scatter * times)
    delta, sigma = (value.requires_grad_() for value in maximum_likelihood(data))
    log_sigma = sigma.log()
    slopes = torch.autograd.grad(log_evidence(data, delta, log_sigma), (delta, log_sigma))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-8 * count
    value = log_evidence(data, delta, log_sigma)
    for step in (-0.1, 0.1):
        assert value > log_evidence(data, delta + step, log_sigma)
        assert value > log_evidence(data, delta, log_sigma + step)


def test_errors_of_the_maximum_likelihood_reach_the_floor():
    d, count, seeds = 25, 10_000, 60
    errors = []
    for seed in range(seeds):
        drawn = gaussian_set(Streams(seed), d, count)
        errors.append(parameter_errors(*maximum_likelihood(drawn.statistics), drawn.delta, drawn.sigma))
    _, sigma = true_parameters(d)
    floor = float(sigma_floor(sigma, count))
    found = {name: torch.stack([error[name] for error in errors]) for name in ("delta", "sigma", "theta")}
    for name, truth in (("delta", d + 2 * floor), ("sigma", floor)):
        standard_error = float(found[name].std()) / math.sqrt(seeds)
        assert abs(float(found[name].mean()) - truth) < 4 * standard_error
    close(found["theta"], found["delta"] + found["sigma"])


def test_evidence_at_the_truth_is_about_what_the_study_says():
    for d, nats in zip(DIMENSIONS, (-7.50e4, -1.379e5, -2.639e5, -5.16e5, -7.68e5, -1.020e6), strict=True):
        data, delta, sigma = exact_set(d)
        assert float(log_evidence(data, delta, sigma.log())) == pytest.approx(nats, rel=2e-3)


def test_the_variational_bound_is_an_expectation_and_tight_at_the_posterior():
    drawn, delta, log_sigma = small()
    data = drawn.statistics
    law = posterior(data, delta, log_sigma)
    close(variational_bound(data, delta, log_sigma, law.mean, law.log_scale), log_evidence(data, delta, log_sigma))
    mean, log_scale = torch.tensor([0.3, -0.2, 0.9]).double(), torch.tensor([-0.5, 0.2, 0.1]).double()
    bound = variational_bound(data, delta, log_sigma, mean, log_scale)
    gap = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_scale.exp()), torch.distributions.Normal(law.mean, law.scale)
    )
    close(log_evidence(data, delta, log_sigma) - bound, gap.sum())


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("variance", [None, 1.0])
def test_flow_optima_are_where_the_gradient_vanishes(compat, variance):
    data = gaussian_set(Streams(1), 5, 40).statistics
    delta, sigma = (value.requires_grad_() for value in flow_optimum(data, variance, compat=compat))
    log_sigma = sigma.log()
    law = posterior(data, delta, log_sigma)  # where a = 0, of both
    log_scale = law.log_scale if variance is None else torch.full((5,), 0.5 * math.log(variance)).double()
    wanted = [value.detach().requires_grad_() for value in (delta, log_sigma, law.mean, log_scale)]
    bound = variational_bound(data, *wanted, compat=compat)
    slopes = torch.autograd.grad(bound, wanted[:3] if variance else wanted)
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-8 * data.count
    bound_of = lambda *three: variational_bound(data, *three, wanted[3], compat=compat)
    curves = torch.autograd.functional.hessian(bound_of, tuple(wanted[:3]))
    flat = torch.cat([torch.cat([part.detach() for part in row], 1) for row in curves])
    assert float(torch.linalg.eigvalsh(flat).max()) < 0


def test_published_columns_of_the_flows_are_the_optimum_of_what_they_maximised():
    iaf = sigma_errors(lambda data: flow_optimum(data, compat=True)[1])
    assert iaf == pytest.approx([1.14, 2.13, 4.11, 8.09, 12.07, 16.05], rel=0.005)  # predicted
    assert iaf == pytest.approx([1.14, 2.16, 4.18, 8.18, 12.21, 16.33], rel=0.03)  # published
    planar = sigma_errors(lambda data: flow_optimum(data, 1.0, compat=True)[1])
    assert planar == pytest.approx([15.7, 31.6, 63.3, 126.6, 189.9, 253.3], rel=0.005)
    right = sigma_errors(lambda data: flow_optimum(data, 1.0)[1])
    assert right == pytest.approx([12.7, 25.7, 51.7, 103.7, 155.8, 207.8], rel=0.005)


def test_predictions_of_the_hamiltonian_solve_their_equations():
    data, _, _ = exact_set(25)
    best = best_tempered(data)
    close(best.square(), data.variance + best / 100)
    shared = one_step_tempered(data)
    beta = 2 / (10_000 / shared.square()).mean().sqrt()
    close(shared.square(), data.variance + beta / 2)
    close(one_step_untempered(data).square() - data.variance, torch.full((25,), 11 / 27, dtype=torch.float64))
    for found in (best, shared):  # about floor + d/(4N): here without the floor
        excess = (found - data.variance.sqrt()).square().sum()
        assert 0.8 < float(excess) * 4 * 10_000 / 25 < 1.25
    published = [3.9, 8.0, 16.1, 32.3, 48.6]  # of one untempered step, d = 25 to 300
    assert sigma_errors(one_step_untempered)[:5] == pytest.approx(published, rel=0.01)


def test_another_dimension_is_refused():
    data = gaussian_set(Streams(0), 4, 10).statistics
    five = torch.zeros(5).double()
    for call in (log_evidence, posterior):
        with pytest.raises(SeedbedError, match=r"4 dimensions, parameters have \[5\]"):
            call(data, five, five)
    with pytest.raises(SeedbedError, match="make their last axis 4"):
        variational_bound(data, five, five, five, five)
    with pytest.raises(SeedbedError, match=r"have \[5\]"):
        log_joint(data, five, five, five)


def test_stacks_of_data_sets_are_one_call():
    sets = [gaussian_set(Streams(seed), 3, 9).statistics for seed in range(4)]
    stack = Statistics(9, torch.stack([s.mean for s in sets]), torch.stack([s.scatter for s in sets]))
    delta, sigma = maximum_likelihood(stack)
    close(log_evidence(stack, delta, sigma.log()), torch.stack([log_evidence(s, *maximum_likelihood_logs(s)) for s in sets]))


def maximum_likelihood_logs(data):
    delta, sigma = maximum_likelihood(data)
    return delta, sigma.log()
