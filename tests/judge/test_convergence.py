"""Convergence metrics on curves whose answers are known by hand or by formula."""

import math

import numpy as np
import pandas as pd
import pytest

from seedbed.core.errors import SeedbedError
from seedbed.judge.convergence import METRICS, Marks, area, curve_metrics, metrics_by_seed, over_seeds, plateau, rate


def table(curves, split="valid", metric="nll_nats", unit="nats"):
    rows = [
        (seed, 10 * i, split, metric, float(v), unit, 100, 0.01, 2.0 * i)
        for seed, curve in curves.items()
        for i, v in enumerate(curve)
    ]
    return pd.DataFrame(rows, columns=["seed", "step", "split", "metric", "value", "unit", "n", "se", "wall_s"])


# ---------------------------------------------------------------------------------------------------------- the source's own


def source_metrics(losses):
    """The source's definition written down again: drop what is not a number, then five statistics."""
    x = [v for v in losses if math.isfinite(v)]
    first = sum(x[:5]) / len(x[:5])
    return {"min": min(x), "max": max(x), "last": x[-1], "first": first, "exceeds": sum(v > first for v in x[5:])}


def test_the_sources_metrics_by_hand():
    found = curve_metrics(range(8), [9.0, 7.0, 5.0, 3.0, 1.0, 6.0, 5.0, 2.0])
    wanted = {"min": 1.0, "max": 9.0, "last": 2.0, "first": 5.0, "exceeds": 1.0, "nonfinite": 0.0}
    assert {k: found[k] for k in wanted} == wanted


@pytest.mark.parametrize("seed", range(5))
def test_the_sources_metrics_on_broken_curves(seed):
    g = np.random.default_rng(seed)
    x = g.normal(3, 1, 40)
    x[g.choice(40, 6, replace=False)] = [math.nan, math.inf, -math.inf, math.nan, math.nan, 4.6e18]
    found, wanted = curve_metrics(np.arange(40), x), source_metrics(x)
    assert {k: found[k] for k in wanted} == pytest.approx(wanted)
    assert found["nonfinite"] == 5.0


def test_a_short_curve_has_a_first_but_nothing_after_it():
    found = curve_metrics([0, 1], [3.0, 5.0])
    assert (found["first"], found["exceeds"]) == (4.0, 0.0)


def test_a_curve_without_a_finite_point_is_all_nan_but_counted():
    found = curve_metrics([0, 1], [math.nan, math.inf])
    assert set(found) == set(METRICS)
    assert found["nonfinite"] == 2.0 and all(math.isnan(v) for k, v in found.items() if k != "nonfinite")


# ------------------------------------------------------------------------------------------------------------------- our own


def test_gap_and_threshold():
    found = curve_metrics([0, 10, 20, 30], [5.0, 3.0, 2.9, 3.1], [0, 1.5, 3, 4.5], Marks(floor=2.8, threshold=3.0))
    assert (found["gap_min"], found["gap_last"]) == pytest.approx((0.1, 0.3))
    assert (found["step_to_threshold"], found["seconds_to_threshold"]) == (10.0, 1.5)


def test_a_threshold_that_is_never_reached_is_nan():
    found = curve_metrics([0, 10], [5.0, 3.0], [0.0, 1.0], Marks(threshold=2.0))
    assert math.isnan(found["step_to_threshold"]) and math.isnan(found["seconds_to_threshold"])


def test_a_point_that_is_not_finite_does_not_reach_a_threshold():
    found = curve_metrics([0, 10, 20], [5.0, -math.inf, 1.0], [0, 1, 2], Marks(threshold=2.0))
    assert found["step_to_threshold"] == 20.0


def test_marks_that_were_not_given_are_nan():
    found = curve_metrics([0, 10], [5.0, 3.0])
    names = ("gap_min", "gap_last", "step_to_threshold", "seconds_to_threshold", "collapsed")
    assert all(math.isnan(found[name]) for name in names)


def test_area_is_the_mean_loss_over_uneven_steps():
    assert area([0, 1, 4], [2.0, 4.0, 1.0]) == pytest.approx((3.0 + 7.5) / 4)
    assert area([7], [3.0]) == 3.0
    steps = np.linspace(0, 10, 2001)  # integral of exp(-t) over [0, 10], trapezoid error h**2 / 12
    assert area(steps, np.exp(-steps)) == pytest.approx((1 - math.exp(-10)) / 10, abs=1e-6)


def test_an_exponential_curve_plateaus_where_the_formula_says():
    steps = np.arange(0, 1001)
    curve = 2.0 + np.exp(-steps / 50)
    scale = curve[:5].mean() - curve[-1]
    wanted = math.ceil(-50 * math.log(0.01 * scale + math.exp(-20)))
    assert plateau(steps, curve) == wanted
    assert plateau(steps, curve - 100) == wanted  # where zero lies does not matter
    assert plateau(steps, 7 * curve) == wanted


def test_a_curve_that_still_improves_has_no_plateau():
    steps = np.arange(100)
    assert math.isnan(plateau(steps, -steps))
    assert math.isnan(plateau([0], [1.0]))


def test_a_late_improvement_ends_an_early_plateau():
    curve = np.r_[np.linspace(10, 5, 10), np.full(40, 5.0), np.linspace(5, 1, 10), np.full(40, 1.0)]
    assert 55 <= plateau(np.arange(100), curve) <= 60


def test_a_plateau_is_of_the_best_so_far_and_not_of_what_comes_after_it():
    curve = np.r_[np.full(5, 10.0), 1.0, 0.0, np.linspace(1, 3, 20)]  # overfits after its best, at step 6
    assert plateau(np.arange(27), curve) == 6.0


def test_a_curve_that_only_gets_worse_is_at_its_plateau_from_the_start():
    assert plateau(np.arange(20), np.arange(20)) == 0.0


@pytest.mark.parametrize(("last", "collapsed"), [(5.0, 0.0), (5.955, 1.0), (5.96, 1.0), (7.0, 1.0)])
def test_collapse_is_ending_at_the_trivial_baseline_or_above(last, collapsed):
    assert curve_metrics([0, 1], [9.0, last], marks=Marks(trivial=5.96))["collapsed"] == collapsed


def test_a_curve_must_ascend_and_match():
    with pytest.raises(SeedbedError, match="ascending"):
        curve_metrics([0, 0], [1.0, 2.0])
    with pytest.raises(SeedbedError, match="one length"):
        curve_metrics([0, 1, 2], [1.0, 2.0])


# ---------------------------------------------------------------------------------------------------------------- over seeds


def test_one_row_per_seed_also_for_seeds_that_left_nothing():
    frame = table({0: [3, 2, 1], 1: [3, math.nan, math.nan], 2: [4, math.nan, 2]})
    frame = pd.concat([frame, table({3: [1]}, split="train")])  # not yet validated
    found = metrics_by_seed(frame.sample(frac=1, random_state=0), "nll_nats", diverged={7}, marks=Marks(floor=1.0))
    assert list(found.index) == [0, 1, 2, 3, 7] and found.index.name == "seed"
    assert found["diverged"].tolist() == [0.0, 1.0, 0.0, 0.0, 1.0]
    assert found["last"].tolist()[:3] == [1.0, 3.0, 2.0] and found["gap_last"][2] == 1.0
    assert found["nonfinite"].tolist()[:3] == [0.0, 2.0, 1.0]
    assert math.isnan(found["last"][3]) and math.isnan(found["last"][7])


def test_a_summary_names_what_the_table_has():
    with pytest.raises(SeedbedError, match="no rows of kl_nats on valid; the table has train/nll_nats"):
        metrics_by_seed(table({0: [1.0]}, split="train"), "kl_nats")


def test_mixed_units_are_an_error():
    frame = pd.concat([table({0: [1.0]}), table({1: [1.0]}, unit="bits")])
    with pytest.raises(SeedbedError, match="several units: bits, nats"):
        metrics_by_seed(frame, "nll_nats")


def test_over_seeds_by_hand():
    per_seed = metrics_by_seed(table({0: [9, 1], 1: [9, 2], 2: [9, 3], 3: [9, 90]}), "nll_nats", diverged={3})
    found = over_seeds(per_seed, rng=np.random.default_rng(0))
    last = found.loc["last"]
    assert (last["mean"], last["n"], last["diverged"], last["missing"]) == (2.0, 3, 1, 0)
    assert last["std"] == pytest.approx(math.sqrt(2 / 3))  # population, as the source
    assert last["high"] == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.loc["diverged", "mean"], found.loc["diverged", "n"]) == (0.25, 4)


def test_the_sources_means_keep_every_seed_with_a_finite_value():
    per_seed = metrics_by_seed(table({0: [3, 1], 1: [5, math.nan], 2: [math.nan, math.nan]}), "nll_nats")
    found = over_seeds(per_seed, rng=np.random.default_rng(0), with_diverged=True).loc["last"]
    assert (found["mean"], found["std"], found["n"], found["missing"], found["diverged"]) == (3.0, 2.0, 2, 1, 0)


def test_a_threshold_that_some_seeds_miss_is_counted():
    per_seed = metrics_by_seed(table({0: [3, 1], 1: [5, 4], 2: [3, 2]}), "nll_nats", marks=Marks(threshold=2.5, trivial=4.5))
    found = over_seeds(per_seed, rng=np.random.default_rng(0))
    reached = found.loc["step_to_threshold"]
    assert (reached["mean"], reached["n"], reached["missing"]) == (10.0, 2, 1)
    assert found.loc["collapsed", "mean"] == 0.0 and found.loc["gap_min", "n"] == 0


def test_a_divergence_rate_has_exact_bounds():
    none, some = rate(0, 10), rate(5, 10)
    assert none.high == pytest.approx(1 - 0.025**0.1)  # Clopper-Pearson: 0 of 10 leaves room for 31 %
    assert (some.mean, some.low, some.high) == pytest.approx((0.5, 0.1871, 0.8129), abs=1e-4)
    assert rate(0, 0).n == 0
