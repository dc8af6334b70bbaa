"""The Gaussian model: its density is torch's, its draws have its moments, and training finds the closed form."""

import numpy as np
import pytest
import torch

from seedbed.core.context import Context
from seedbed.core.noise import EvalNoise, Streams
from seedbed.data.own import from_arrays
from seedbed.evaluate.density import nll
from seedbed.evaluate.estimate import per_example
from seedbed.experiments import Experiment, Gaussian, Likelihood
from seedbed.experiments.data import Examples
from seedbed.models import gaussian
from seedbed.train.learner import Learner


def lasting() -> gaussian.Gaussian:
    model = gaussian.Gaussian(3)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def theirs(model: gaussian.Gaussian) -> torch.distributions.MultivariateNormal:
    factor = model.factor().detach()
    return torch.distributions.MultivariateNormal(model.mean.detach(), precision_matrix=factor.T @ factor)


def test_density_and_draws_are_torchs():
    model, ctx = lasting(), Context(EvalNoise([Streams(0)], "x"))
    truth, x = theirs(model), torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(model.log_prob(x, ctx), truth.log_prob(x), atol=1e-4)
    draws = model.sample(20_000, ctx).detach()
    error = truth.stddev / 20_000**0.5
    assert bool(((draws.mean(0) - truth.mean).abs() < 4.5 * error).all())
    assert torch.allclose(torch.cov(draws.T), truth.covariance_matrix, rtol=0.1, atol=0.1 * float(truth.variance.max()))


def test_training_finds_the_maximum_of_the_likelihood(monkeypatch):
    """Of columns of mixed scales, that depend on each other, in the units of the table."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) * [1.0, 1e4, 1e-3] + [40.0, -3e4, 0.0]
    data = from_arrays({"train": values}, name="csv:t.csv")
    monkeypatch.setattr(Examples, "load", lambda self, seed=None: data)
    training = Gaussian().training_on("csv:t.csv")
    experiment = Experiment(Examples("csv:t.csv"), Gaussian(), Likelihood(), training)
    experiment = experiment.with_config({"steps": 600, "batch_size": 240})
    streams = experiment.streams([0])
    learner = Learner(experiment.task(streams), streams, torch.device("cpu"))
    for _ in range(600):
        learner.advance()
    train = data.splits["train"][:].double()
    best = torch.distributions.MultivariateNormal(train.mean(0), torch.cov(train.T, correction=0))
    found = per_example(learner.stack(), nll, data.splits["train"], "train")["nll_nats"].double().mean()
    assert float(found) == pytest.approx(-best.log_prob(train).mean().item(), abs=2e-3)
