"""Views against counting, closed forms and the numbers of the references that define them."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from seedbed.core.errors import SeedbedError
from seedbed.judge.peaks import two_peaks
from seedbed.judge.views import (
    best,
    improvement,
    interquartile_mean,
    one_seed,
    pairing,
    profile,
    profile_band,
    stochastic_order,
)

A = np.random.default_rng(1).normal(1.0, 1.0, (4, 7))
B = np.random.default_rng(2).normal(0.5, 2.0, (4, 7))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_interquartile_mean_is_the_mean_of_the_middle_half():
    found = interquartile_mean(A, rng=rng())
    ordered = np.sort(A.ravel())
    assert found.mean == pytest.approx(ordered[7:21].mean()) and found.low < found.mean < found.high
    assert interquartile_mean(np.arange(8.0), rng=rng()).mean == np.mean([2, 3, 4, 5])


def test_its_interval_covers():
    hits, chance = 0, rng(5)
    for _ in range(60):
        found = interquartile_mean(chance.normal(size=(10, 10)), rng=chance)
        hits += found.low <= 0 <= found.high
    assert hits >= 60 * 0.95 - 3.5 * math.sqrt(60 * 0.95 * 0.05)


def test_a_profile_counts_runs_above():
    found = profile(A, [-10.0, 1.0, 10.0])
    assert found.tolist() == [1.0, np.mean(A > 1.0), 0.0]


def test_the_band_of_a_profile_is_that_of_its_bootstrap():
    """Of one task the share above a threshold is binomial; of seeds that agree there is no band."""
    x = np.arange(40.0)
    low, high = profile_band(x, [9.5, 29.5], rng=rng())
    for at, share in enumerate((0.75, 0.25)):
        exact = stats.binom.ppf([0.025, 0.975], 40, share) / 40
        assert np.abs([low[at], high[at]] - exact).max() <= 1.01 / 40
    low, high = profile_band([[1.0, 1.0], [2.0, 2.0]], [0.0, 1.5], rng=rng())
    assert low.tolist() == high.tolist() == [1.0, 0.5]


def test_improvement_is_mann_and_whitneys_statistic_by_task():
    expected = np.mean([stats.mannwhitneyu(x, y).statistic / 49 for x, y in zip(A, B, strict=True)])
    assert improvement(A, B) == pytest.approx(expected, rel=1e-12)
    assert improvement(A, B) + improvement(B, A) == pytest.approx(1.0)
    assert improvement([1.0, 1.0], [1.0, 0.0]) == 0.75  # two ties of four


def test_the_best_of_several():
    assert best({"a": [3.0, 3.0], "b": [1.0, 1.0]}, rng=rng()) == {"a": 1.0, "b": 0.0}
    assert best({"a": [1.0, 1.0], "b": [1.0, 1.0]}, rng=rng()) == {"a": 0.5, "b": 0.5}
    # Of three shared seeds b leads at one, by as much as a at another: every resample of them can be listed.
    a, b = np.array([1.0, 0.0, 0.2]), np.array([0.0, 1.0, 0.0])
    gains = [sum(a[list(pick)] - b[list(pick)]) for pick in product(range(3), repeat=3)]
    exact = float(np.mean([0.5 + np.sign(np.round(g, 9)) / 2 for g in gains]))
    found = best({"a": a, "b": b}, rng=rng())["a"]
    assert abs(found - exact) <= 4 * math.sqrt(exact * (1 - exact) / 2000)


def test_one_seed_each():
    found = one_seed([3.0, 1.0], [2.0, 0.0])
    assert (found.wrong, found.wrong_shared) == (0.25, 0.0)  # 1 against 2 alone is the wrong way round
    assert one_seed([1.0, 2.0], [1.0, 2.0]).wrong == 0.5


def test_what_pairing_buys():
    shared = rng(3).normal(size=200)
    found = pairing(shared + 0.1 * A.ravel()[:1], shared * 1.0)
    assert found.correlation == pytest.approx(1.0) and found.saved == pytest.approx(0.0, abs=1e-12)
    x, y = A.ravel(), B.ravel()
    found = pairing(x, y)
    assert found.correlation == pytest.approx(stats.pearsonr(x, y).statistic)
    apart = 1 - 2 * np.cov(x, y)[0, 1] / (x.var(ddof=1) + y.var(ddof=1))
    assert found.saved == pytest.approx(apart)
    assert math.isnan(pairing([1.0, 1.0], [1.0, 2.0]).correlation)


def grid_violation(x, y, step=1e-4):
    """By a fine grid of quantiles, as the reference implementation has it."""
    at = np.arange(0, 1, step)
    f = np.sort(x)[np.clip(np.ceil(len(x) * at).astype(int) - 1, 0, None)]
    g = np.sort(y)[np.clip(np.ceil(len(y) * at).astype(int) - 1, 0, None)]
    return float((np.minimum(f - g, 0) ** 2).sum() / ((f - g) ** 2).sum())


def test_stochastic_order():
    assert stochastic_order([2.0, 3.0, 4.0], [0.0, 0.5, 1.0], rng=rng()) == 0.0
    assert stochastic_order([0.0, 0.5, 1.0], [2.0, 3.0, 4.0], rng=rng()) == 1.0
    from seedbed.judge.views import _violation

    x, y = A.ravel(), B.ravel()[:20]
    assert _violation(np.sort(x), np.sort(y)) == pytest.approx(grid_violation(x, y), abs=2e-3)
    assert stochastic_order(x, y, rng=rng()) >= _violation(np.sort(x), np.sort(y))
    assert _violation(np.sort(x), np.sort(x)) == 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: interquartile_mean([[1.0, math.nan]], rng=rng()),
        lambda: profile(np.zeros((2, 2, 2)), [0.0]),
        lambda: improvement(A, A[:2]),
        lambda: best({"a": A, "b": A[:, :3]}, rng=rng()),
        lambda: one_seed([1.0], [1.0, 2.0]),
        lambda: pairing([1.0], [2.0]),
    ],
)
def test_what_does_not_go_together_is_refused(call):
    with pytest.raises(SeedbedError) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_two_groups_are_told_with_their_sizes():
    found = two_peaks([0.1, 2.3, 0.12, 0.09, 2.31, 0.1, 0.11, 0.1, 2.29, 0.1])
    assert found is not None and (found.low, found.high) == (7, 3)
    assert found.words() == "7 of 10 seeds near 0.103, 3 near 2.3"
    assert two_peaks([0.1] * 9 + [5.0]) is None  # an outlier
    assert two_peaks([0.0, 0.0, 1.0, 1.0]) is None and two_peaks([1.0] * 9) is None


@pytest.mark.parametrize("n", [6, 10, 20, 50])
@pytest.mark.parametrize("shape", ["normal", "uniform", "skewed"])
def test_one_group_is_seldom_taken_for_two(n, shape):
    source, studies = rng(n), 1000
    draw = {"normal": source.normal, "uniform": source.uniform, "skewed": source.lognormal}[shape]
    alarms = sum(two_peaks(draw(size=n)) is not None for _ in range(studies))
    assert alarms / studies <= 0.01 + 4 * math.sqrt(0.01 * 0.99 / studies)
