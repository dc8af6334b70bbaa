"""Data sets of the Gaussian model: their statistics against their laws, and their rows against the statistics."""

import math

import pytest
import torch
from scipy.stats import chi2, kstest, norm

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data.gaussian_sets import gaussian_set, statistics_of, true_parameters

LEAST = 1e-4  # of a p-value: fixed seeds, so either always or never


def test_the_truth_is_that_of_the_study():
    delta, sigma = true_parameters(5)
    torch.testing.assert_close(delta, torch.tensor([-0.4, -0.2, 0.0, 0.2, 0.4]).double())
    torch.testing.assert_close(sigma, torch.tensor([1.0, 0.325, 0.1, 0.325, 1.0]).double())
    floors = [float(true_parameters(d)[1].square().sum()) / 20_000 for d in (25, 50, 100, 200, 300, 400)]
    assert floors == pytest.approx([3.3e-4, 6.2e-4, 1.2e-3, 2.4e-3, 3.5e-3, 4.7e-3], rel=0.03)


def test_statistics_follow_their_laws():
    n, d = 7, 2000
    drawn = gaussian_set(Streams(3), d, n)
    assert kstest(drawn.z.numpy(), "norm").pvalue > LEAST
    white = (drawn.statistics.mean - drawn.z - drawn.delta) / drawn.sigma * math.sqrt(n)
    assert kstest(white.numpy(), "norm").pvalue > LEAST
    scaled = drawn.statistics.scatter / drawn.sigma.square()
    assert kstest(scaled.numpy(), chi2(n - 1).cdf).pvalue > LEAST
    for one, other in ((drawn.z, white), (white, scaled), (drawn.z, scaled)):
        assert abs(torch.corrcoef(torch.stack((one, other)))[0, 1]) < norm.isf(LEAST / 2) / math.sqrt(d)


def test_rows_have_the_statistics_and_are_normal_draws():
    drawn = gaussian_set(Streams(1), 300, 20)
    found = statistics_of(drawn.rows())
    assert found.count == 20
    torch.testing.assert_close(found.mean, drawn.statistics.mean)
    torch.testing.assert_close(found.scatter, drawn.statistics.scatter)
    white = (drawn.rows() - drawn.z - drawn.delta) / drawn.sigma  # rows of one column are independent draws of N(0, 1)
    assert kstest(white.flatten().numpy(), "norm").pvalue > LEAST
    pairs = (white[1:] * white[:-1]).sum() / math.sqrt(white[1:].numel())
    assert abs(pairs) < norm.isf(LEAST / 2)


def test_a_data_set_is_of_its_seed_and_sizes_alone():
    drawn = gaussian_set(Streams(4), 6, 30)
    torch.manual_seed(1)
    again = gaussian_set(Streams(4, varied=frozenset({"data"})), 6, 30)
    assert torch.equal(drawn.rows(), again.rows())
    assert torch.equal(drawn.statistics.scatter, again.statistics.scatter)
    other = gaussian_set(Streams(5), 6, 30)
    assert not torch.isclose(drawn.z, other.z).any()
    held = [gaussian_set(Streams(seed, varied=frozenset({"init"})), 6, 30).z for seed in (4, 5)]
    assert torch.equal(*held)


def test_batches_stand_for_the_whole_without_a_bias():
    drawn = gaussian_set(Streams(0), 4, 12)
    rows, at = drawn.rows(), torch.full((4,), 0.3, dtype=torch.float64)

    def squares(have):  # sum_i (x_i - c)^2, what a likelihood is made of
        return have.scatter + have.count * (have.mean - at).square()

    whole = squares(drawn.statistics)
    batches = torch.stack([squares(statistics_of(rows[first : first + 3], 12)) for first in range(0, 12, 3)])
    torch.testing.assert_close(batches.mean(0), whole)
    stacked = statistics_of(torch.stack((rows, rows + 1)))
    torch.testing.assert_close(stacked.mean[1], stacked.mean[0] + 1)
    assert drawn.statistics.to(rows.float()).mean.dtype == torch.float32
    torch.testing.assert_close(drawn.statistics.variance, rows.var(0, correction=0))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: gaussian_set(Streams(0), 1, 10), "got d = 1"),
        (lambda: gaussian_set(Streams(0), 5, 1), "got 1; choose count >= 2"),
        (lambda: statistics_of(torch.zeros(5, 2), 4), "got 5"),
        (lambda: statistics_of(torch.zeros(0, 2), 4), "got 0"),
    ],
)
def test_bad_sizes_are_refused(bad, message):
    with pytest.raises(SeedbedError, match=message):
        bad()
