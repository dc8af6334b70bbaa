"""Errors and gaps of a learnt Gaussian model, at parameters where they are known."""

from functools import partial

import pytest
import torch

from seedbed.core.metric import METRICS
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.gaussian_sets import gaussian_set
from seedbed.evaluate.gaussian_sets import hamiltonian_optimum
from seedbed.evaluate.one_latent import SetMeasure, optimal_sigma
from seedbed.models.gaussian_sets import flow_optimum, log_evidence, maximum_likelihood, posterior, sigma_floor
from seedbed.models.one_latent import OneLatent
from seedbed.models.tempered import TemperedLeapfrog

D, N = 4, 50
SEEDS = [Streams(s) for s in (3, 7)]
set_of = partial(gaussian_set, dimensions=D, count=N)


def learnt(streams: Streams, delta: float = 0.0, stretch: float = 1.0) -> OneLatent:
    """Of maximum likelihood, perhaps moved, and the true posterior there."""
    data, model = set_of(streams).statistics, OneLatent(D, N).double()
    best, sigma = maximum_likelihood(data)
    best, sigma = best + delta, sigma * stretch
    law = posterior(data, best, sigma.log())
    with torch.no_grad():
        model.log_sigma.copy_(sigma.log())
        model.mean.copy_(law.mean)
        model.centre.copy_(best + law.mean)
        model.log_scale.copy_(law.log_scale)
    return model


def measured(*models: OneLatent, split: str = "test") -> dict:
    stack = Stack.of(list(models), SEEDS[: len(models)], "fp64")
    return {name: (value.flatten(), unit) for name, (value, unit) in SetMeasure(set_of)(stack, split).items()}


def test_at_the_maximum_nothing_is_missing():
    found = measured(*map(learnt, SEEDS))
    for name in ("delta_from_mean", "theta_excess", "bound_gap_nats", "evidence_gap_nats"):
        torch.testing.assert_close(found[name][0], torch.zeros(2).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(found["sigma_over_optimum"][0], torch.ones(2).double())
    for i, streams in enumerate(SEEDS):
        data = set_of(streams)
        delta, sigma = maximum_likelihood(data.statistics)
        errors = [(delta - data.delta).square().sum(), (sigma - data.sigma).square().sum()]
        torch.testing.assert_close(found["delta_error"][0][i], errors[0])
        torch.testing.assert_close(found["sigma_error"][0][i], errors[1])
        torch.testing.assert_close(found["theta_error"][0][i], errors[0] + errors[1])
        torch.testing.assert_close(found["sigma_over_floor"][0][i], errors[1] / sigma_floor(data.sigma, N))
        evidence = log_evidence(data.statistics, delta, sigma.log())
        torch.testing.assert_close(found["neg_elbo_nats"][0][i], -evidence / N)


def test_away_from_it_each_gap_is_its_own():
    streams = SEEDS[0]
    model, data = learnt(streams, 0.3, 1.2), set_of(streams)
    found = {name: value[0] for name, (value, _) in measured(model).items()}
    assert found["delta_from_mean"] == pytest.approx(D * 0.09)
    best, sigma = maximum_likelihood(data.statistics)
    lost = log_evidence(data.statistics, best, sigma.log()) - log_evidence(data.statistics, best + 0.3, (1.2 * sigma).log())
    assert found["evidence_gap_nats"] == pytest.approx(float(lost)) and lost > 1
    assert abs(found["bound_gap_nats"]) < 1e-9  # its posterior is still the true one
    with torch.no_grad():
        model.log_scale += 0.5
    wide = {name: value[0] for name, (value, _) in measured(model).items()}
    kl = D * (0.5 * torch.tensor(1.0).double().exp() - 0.5 - 0.5)
    assert wide["bound_gap_nats"] == pytest.approx(float(kl), rel=0.2)
    assert wide["evidence_gap_nats"] == pytest.approx(float(lost))
    best_error, moved = (sigma - data.sigma).square().sum(), (1.2 * sigma - data.sigma).square().sum()
    assert wide["sigma_over_optimum"] == pytest.approx(float(moved / best_error))


def test_along_the_run_no_optimum_is_looked_for():
    found = measured(learnt(SEEDS[0]), split="valid")
    assert "sigma_over_optimum" not in found and "sigma_error" in found


def test_every_number_is_declared_with_its_unit():
    declared = {metric.name: metric.unit for metric in METRICS}
    for name, (_, unit) in measured(learnt(SEEDS[0])).items():
        assert declared[name] == unit != ""


@pytest.mark.parametrize("tempering", ["none", "fixed"])
def test_the_optimum_of_each_posterior(tempering):
    data = set_of(SEEDS[0]).statistics
    leapfrog = TemperedLeapfrog(D, 1, tempering)
    of = lambda *given, **named: optimal_sigma(OneLatent(D, N, *given, **named), data)
    best = maximum_likelihood(data)[1]
    for exact in (of("vb"), of("iaf", masked_hidden=(4,)), of("hvae", leapfrog)):
        torch.testing.assert_close(exact, best)
    torch.testing.assert_close(of("hvae", leapfrog, "prior"), hamiltonian_optimum(data, 1, tempering).sigma)
    layers = [TemperedLeapfrog(D, count, tempering, steps_vary="layer") for count in (1, 2)]
    torch.testing.assert_close(of("hvae", layers[0], "prior"), of("hvae", leapfrog, "prior"))  # one layer, a size for each
    shared = TemperedLeapfrog(D, 1, tempering, steps_vary="shared")
    assert of("hvae", layers[1], "prior") is None and of("hvae", shared, "prior") is None
    torch.testing.assert_close(of("planar"), (data.variance + 1).sqrt())
    torch.testing.assert_close(of("iaf", masked_hidden=(4,), compat=True), flow_optimum(data, compat=True)[1])
    torch.testing.assert_close(of("planar", compat=True), flow_optimum(data, 1.0, compat=True)[1])
