"""Discretised logistics: their shares sum to 1 at every scale, gradients are finite, moments and draws are theirs."""

import math

import pytest
import torch

from seedbed.core.domain import Domain
from seedbed.core.noise import Noise, Streams
from seedbed.distributions.likelihood import likelihood_of
from seedbed.distributions.logistic import DiscretisedLogistic, centred

SCALES = [10.0**k for k in range(-7, 4)]


def all_levels(levels: int, mean: torch.Tensor, scale: float) -> torch.Tensor:
    """log P of every level, ``[levels, *mean.shape]``."""
    law = DiscretisedLogistic(levels, mean[..., None], torch.full_like(mean[..., None], math.log(scale)))
    return torch.stack([law.log_prob(torch.full_like(mean[..., None], k)) for k in range(levels)])


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("scale", SCALES)
def test_shares_sum_to_one(levels, scale):
    """At means between the ends, on an edge, and beyond both ends; in fp32 as in fp64."""
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        mean = torch.tensor([-1.5, -1.0, -0.3217, 1 / (levels - 1) - 1, 0.0, 0.77, 1.0, 2.0], dtype=dtype)
        found = all_levels(levels, mean, scale)
        assert bool(found.isfinite().all())
        assert torch.allclose(found.logsumexp(0).exp(), torch.ones_like(mean), atol=tolerance)


@pytest.mark.parametrize("scale", [0.01, 0.3, 2.0])
def test_shares_are_differences_of_the_distribution_function(scale):
    levels, mean = 17, torch.tensor([-0.4, 0.9], dtype=torch.float64)
    edges = (torch.arange(levels - 1, dtype=torch.float64) + 0.5) / 8 - 1
    cdf = torch.sigmoid((edges[:, None] - mean) / scale)
    zero, one = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    shares = torch.cat([cdf, one]) - torch.cat([zero, cdf])
    assert torch.allclose(all_levels(levels, mean, scale).exp(), shares, atol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_gradients_are_finite_and_true(scale):
    raw = torch.tensor([-1.2, 0.2, 1.0]).requires_grad_()
    log_scale = torch.full((3,), math.log(scale), requires_grad=True)
    x = torch.tensor([[0.0, 0.0, 0.0], [100.0, 255.0, 3.0], [255.0, 200.0, 255.0]])
    DiscretisedLogistic(256, raw, log_scale).log_prob(x).sum().backward()
    assert raw.grad is not None and log_scale.grad is not None
    assert bool(raw.grad.isfinite().all()) and bool(log_scale.grad.isfinite().all())
    if 1e-3 < scale < 10:
        exact = [t.detach().double().requires_grad_() for t in (raw, log_scale)]
        assert torch.autograd.gradcheck(lambda m, s: DiscretisedLogistic(256, m, s).log_prob(x.double()), exact)


def test_mean_and_draws_are_those_of_the_shares():
    levels, n = 17, 20_000
    mean, log_scale = torch.tensor([-1.1, -0.4, 0.95]), torch.tensor([-1.0, -3.0, 0.5])
    law = DiscretisedLogistic(levels, mean.expand(n, 3), log_scale)
    shares = torch.stack([all_levels(levels, m[None], float(s.exp()))[:, 0] for m, s in zip(mean, log_scale, strict=True)])
    expected = shares.exp() @ torch.arange(float(levels))
    assert torch.allclose(law.mean[0], expected, atol=1e-3)
    drawn = law.draw(Noise([Streams(0)], "noise"))
    assert set(drawn.value.unique().tolist()) <= set(range(levels))
    error = drawn.value.std(0) / math.sqrt(n)
    assert bool(((drawn.value.mean(0) - expected).abs() < 4.5 * error).all())
    assert torch.equal(drawn.log_prob(), law.log_prob(drawn.value))


def test_it_scores_levels_of_any_number_and_shows_them_scaled():
    for levels in (3, 17, 256):
        likelihood = likelihood_of(Domain("levels", levels))
        law = likelihood.build(torch.zeros(5, 4, 2, 3), 3)
        assert (
            isinstance(law, DiscretisedLogistic)
            and law.domain == Domain("levels", levels)
            and law.mean.shape == (5, 2, 2, 3)
        )
        ends = likelihood.shown(torch.tensor([0.0, levels - 1.0]))
        assert ends.tolist() == pytest.approx([-1, 1]) and torch.equal(
            ends, centred(torch.tensor([0.0, levels - 1.0]), levels)
        )
