"""Coverage, error rates, hand-computed examples and parity of the statistics that decide which differences are real."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from seedbed.core.errors import SeedbedError
from seedbed.judge import pairs
from seedbed.judge.intervals import interval
from seedbed.judge.pairs import compare, compare_family, seeds_needed, step_down
from seedbed.judge.sentences import sentence, share_sentence
from seedbed.judge.shares import variance_shares

STUDIES = 2000
Z = 4.0  # about 30 statistical assertions below: z corrected for their number at 1 in 500


def rng(seed=0):
    return np.random.default_rng(seed)


def within(share, expected, n):
    return abs(share - expected) <= Z * math.sqrt(expected * (1 - expected) / n)


def versus(a, b, **options):
    a, b = (v if isinstance(v, pd.Series) else pd.Series(v, dtype=float) for v in (a, b))
    given = {"name_a": "spline-flow", "name_b": "flow", "unit": "nats", "rng": rng(), **options}
    return compare(a, b, **given)


# ---------------------------------------------------------------------------------------------------------------- intervals


def coverage(draw, true_mean, n):
    source, chance = rng(n), rng(1)
    hits = 0
    for _ in range(STUDIES):
        found = interval(draw(source, n), rng=chance, resamples=999)
        hits += found.low <= true_mean <= found.high
    return hits / STUDIES


@pytest.mark.parametrize("n", [5, 10, 20])
def test_95_percent_intervals_cover_normal_means_95_percent_of_the_time(n):
    assert abs(coverage(lambda g, n: g.normal(3.0, 0.05, n), 3.0, n) - 0.95) <= 0.02


def test_coverage_on_skewed_data_stays_near_the_level():
    # log-normal with sigma 0.5 (skewness 1.75), the shape of a loss with a few worse seeds
    found = coverage(lambda g, n: np.exp(0.5 * g.normal(size=n)), math.exp(0.125), 20)
    assert 0.91 <= found <= 0.97


def test_below_ten_values_the_interval_is_students():
    x = rng().normal(size=7)
    low, high = stats.t.interval(0.9, 6, x.mean(), stats.sem(x))
    found = interval(x, 0.9, rng=rng())
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert (found.n, found.method) == (7, "student-t")


def test_student_interval_by_hand():
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0], rng=rng())  # s = sqrt(2.5), t(4) = 2.776445
    assert found.mean == 3.0
    assert found.high - 3.0 == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)


def test_bca_by_its_formula():
    """Efron (1987); Efron and Tibshirani (1993, 14.10), at levels widened as Hesterberg (2015, 5.2) has it."""
    x = np.exp(0.5 * rng(3).normal(size=12))
    found = interval(x, rng=rng(5), resamples=1999)
    spread = np.ptp(x)
    means = stats.bootstrap(((x - x.mean()) / spread,), np.mean, n_resamples=1999, rng=rng(5)).bootstrap_distribution
    without = (x.sum() - x) / 11
    lean = ((without.mean() - without) ** 3).sum() / (6 * ((without.mean() - without) ** 2).sum() ** 1.5)
    shift = stats.norm.ppf((means < 0).mean())
    ends = math.sqrt(12 / 11) * stats.t.ppf([0.025, 0.975], 11)
    levels = stats.norm.cdf(shift + (shift + ends) / (1 - lean * (shift + ends)))
    low, high = x.mean() + spread * np.quantile(means, levels)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-3)
    assert found.method == "bca, widened"


@pytest.mark.parametrize("shape", ["skewed", "two peaks", "an outlier"])
def test_no_interval_leaves_the_range_of_its_data(shape):
    source = rng(2)
    draw = {
        "skewed": lambda: np.exp(source.normal(size=12)),
        "two peaks": lambda: source.normal(size=12) * 0.01 + source.integers(0, 2, 12),
        "an outlier": lambda: np.r_[source.normal(size=11) * 0.1, 5.0],
    }[shape]
    for _ in range(50):
        x = draw()
        found = interval(x, rng=rng(), resamples=999)
        assert x.min() <= found.low <= found.mean <= found.high <= x.max()


def test_many_values_have_students_interval():
    x = np.exp(rng().normal(size=1001))
    found = interval(x, rng=rng())
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 1000, x.mean(), stats.sem(x)), rel=1e-12)


def test_bootstrap_interval_moves_and_scales_with_the_data():
    x = np.exp(rng(3).normal(size=15))
    plain, moved = interval(x, rng=rng()), interval(100 - 2 * x, rng=rng())
    assert (moved.high, moved.low) == pytest.approx((100 - 2 * plain.low, 100 - 2 * plain.high), rel=1e-9)


def test_bootstrap_interval_leans_towards_the_long_tail():
    found = interval(np.exp(rng(3).normal(size=30)), rng=rng())
    assert found.high - found.mean > 1.2 * (found.mean - found.low)


@pytest.mark.parametrize("n", [2, 9, 10, 50])
def test_constant_data_have_an_interval_of_no_width(n):
    found = interval([0.1] * n, rng=rng())
    assert (found.mean, found.low, found.high, found.method) == (0.1, 0.1, 0.1, "constant")


def test_one_value_has_no_bounds_and_none_has_no_mean():
    one, none = interval([2.0], rng=rng()), interval([], rng=rng())
    assert (one.mean, one.n) == (2.0, 1) and math.isnan(one.low) and math.isnan(one.high)
    assert none.n == 0 and math.isnan(none.mean)


def test_values_that_are_not_finite_are_an_error_not_a_smaller_sample():
    with pytest.raises(SeedbedError, match="1 of 3 values are not finite"):
        interval([1.0, math.nan, 2.0], rng=rng())


def test_the_same_generator_gives_the_same_interval():
    x = rng().normal(size=20)
    assert interval(x, rng=rng(7)) == interval(x, rng=rng(7))


# ----------------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("tail", ["normal", "skewed"])
def test_two_equal_models_are_told_apart_in_at_most_5_percent_of_studies(n, tail, monkeypatch):
    # Fewer resamples only, for speed; seeds share a component, as paired seeds do.
    monkeypatch.setattr(pairs, "interval", partial(interval, resamples=499))
    monkeypatch.setattr(pairs, "RESAMPLES", 499)
    monkeypatch.setattr(pairs, "_needed", lambda *_: None)
    source, studies, found = rng(n), 1000, {"better": 0, "worse": 0}
    for _ in range(studies):
        shared, a, b = source.normal(size=(3, n))
        if tail == "skewed":
            a, b = np.exp(0.7 * a), np.exp(0.7 * b)
        outcome = versus(shared + a, shared + b, rng=source).outcome
        if outcome in found:
            found[outcome] += 1
    error = sum(found.values()) / studies
    assert error <= 0.05 + Z * math.sqrt(0.05 * 0.95 / studies)
    assert error >= 0.01  # a verdict that never comes is no verdict either


def test_no_verdict_below_five_shared_seeds():
    found = versus([1.0, 1.1, 1.2, 1.3], [2.0, 2.1, 2.3, 2.2])
    assert found.outcome == "too few" and math.isnan(found.p_value) and found.wins == 4
    assert sentence(found) == "spline-flow against flow: too few seeds: 4; about 5 needed"


def test_too_few_seeds_say_how_many_the_observed_difference_needs():
    found = versus([0.0, 0.0, 0.0], [1.0, -1.0, 1.0])  # effect 0.333 / 1.155 = 0.289
    assert found.seeds_needed == seeds_needed(1 / 3 / math.sqrt(4 / 3)) == 97
    assert "too few seeds: 3; about 97 needed" in sentence(found)


def test_five_seeds_by_hand():
    found = versus([1.0, 1.0, 1.0, 1.0, 1.0], [1.1, 1.2, 1.3, 1.4, 1.5], task="checkerboard")
    assert found.gain.mean == pytest.approx(0.3)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.3 / math.sqrt(0.025 / 5), 4))  # t = 4.243, p = 0.0132
    assert (found.wins, found.losses, found.ties, found.improvement, found.outcome) == (5, 0, 0, 1.0, "better")
    assert sentence(found) == "spline-flow beats flow on checkerboard: 5 of 5 seeds, 0.30 nats [0.10, 0.50]"


def test_seeds_are_paired_by_their_number_not_their_place():
    a = pd.Series({4: 1.4, 0: 1.0, 2: 1.2, 1: 1.1, 3: 1.3, 9: 7.0})
    b = pd.Series({0: 2.0, 1: 2.1, 2: 2.2, 3: 2.3, 4: 2.4})
    found = versus(a, b)
    assert found.gain.mean == pytest.approx(1.0) and found.gain.low == pytest.approx(1.0)
    assert (found.n, found.unpaired) == (5, 1)
    other = versus(b, a)  # the stranger on the other side, and its seeds in no order
    assert other.gain.mean == pytest.approx(-1.0) and other.gain.high == pytest.approx(-1.0)
    assert (other.n, other.unpaired) == (5, 1)
    assert sentence(found).endswith("; seeds without a partner left out: 1")


def test_swapping_the_models_mirrors_the_verdict():
    b = rng(1).normal(3, 0.05, 12)
    a = b - 0.09 + rng(2).normal(0, 0.03, 12)
    one, two = versus(a, b), versus(b, a)
    assert (one.outcome, two.outcome) == ("better", "worse")
    assert (two.gain.low, two.gain.mean, two.gain.high) == pytest.approx((-one.gain.high, -one.gain.mean, -one.gain.low))
    assert one.p_value == two.p_value and one.improvement == 1 - two.improvement


def test_higher_is_better_turns_the_verdict():
    a, b = [0.9, 0.91, 0.92, 0.9, 0.93], [0.8, 0.82, 0.8, 0.81, 0.8]
    assert versus(a, b).outcome == "worse"
    assert versus(a, b, higher_is_better=True).outcome == "better"


@pytest.mark.parametrize("n", [5, 9])
def test_small_studies_agree_with_scipys_paired_t_test(n):
    a, b = rng(n).normal(size=(2, n))
    found = versus(a, b)
    assert found.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-10)
    assert found.test == "paired t-test"


@pytest.mark.parametrize("n", [10, 12])
def test_larger_studies_agree_with_scipys_exact_sign_flip_test(n):
    a, b = rng(n).normal([[0.0], [0.6]], 1, (2, n))
    exact = stats.permutation_test((b - a,), np.mean, permutation_type="samples", n_resamples=2**n)
    found = versus(a, b)
    assert found.p_value == pytest.approx(exact.pvalue, abs=1e-12)
    assert found.test == "sign-flip test"


def test_many_seeds_use_random_sign_flips_that_agree_with_the_t_test():
    a, b = rng(4).normal([[0.0], [0.45]], 1, (2, 40))
    p = stats.ttest_rel(a, b).pvalue
    assert 0.01 < p < 0.2
    # the two tests differ by O(1/n) as well; a fifth of p covers that for 40 normal pairs
    assert abs(versus(a, b).p_value - p) <= Z * math.sqrt(p * (1 - p) / 9999) + 0.2 * p


def flipped(gain):
    """The p-value of all sign flips by counting, in whole numbers so that nothing is rounded."""
    n = len(gain)
    sums = np.zeros(1, dtype=np.int64)
    for g in gain:
        sums = np.concatenate([sums + g, sums - g])
    assert len(sums) == 2**n
    return float((np.abs(sums) >= abs(sum(gain))).mean())


@pytest.mark.parametrize(("n", "least"), [(10, 2 / 2**10), (14, 2 / 2**14), (40, 1 / 10_000)])
def test_the_least_p_value_of_a_permutation_test_is_one_arrangement_and_its_mirror_or_one_draw(n, least):
    """All seeds agree by far: no other choice of signs does as well, and a p-value of 0 would be no p-value."""
    found = versus(np.zeros(n), 1.0 + np.arange(n))
    assert found.p_value == pytest.approx(least, rel=1e-12)
    assert found.outcome == "better" and 0 < compare_family({"only": found})["only"].p_value < 0.05


@pytest.mark.parametrize(
    "gain", [[3, 1, -2, 5, 4, -1, 2, 2, 6, -3, 1, 4], [1] * 9 + [-1] * 3, [7, 7, 7, 7, 7, 7, 7, 7, 7, -2]]
)
def test_arrangements_as_extreme_as_the_seen_one_count_even_after_rounding(gain):
    """Tenths, of which many sums are equal but for their last bit."""
    found = versus(np.zeros(len(gain)), np.array(gain) / 10)
    assert found.test == "sign-flip test" and found.p_value == pytest.approx(flipped(gain), abs=1e-12)


@pytest.mark.parametrize("gain", [[3, 1, -2, 5, 4, -1, 2, 2, 6, -3, 1, 4, -2, -1, 3, -4], [1] * 13 + [-1] * 5])
def test_random_sign_flips_agree_with_all_of_them(gain):
    found, exact = versus(np.zeros(len(gain)), np.array(gain) / 10), flipped(gain)
    assert 0.02 < exact < 0.2 and found.test == "sign-flip test (Monte Carlo)"
    assert abs(found.p_value - exact) <= Z * math.sqrt(exact * (1 - exact) / 9999) + 1e-4
    assert found.p_value * 10_000 == pytest.approx(round(found.p_value * 10_000), abs=1e-9)  # the seen one is one of them


def test_equal_numbers_are_ties_even_after_rounding():
    b = rng().normal(3, 0.05, 10)
    found = versus(b * (1 + 1e-15), b)
    assert (found.outcome, found.ties, found.improvement, found.p_value) == ("no difference shown", 10, 0.5, 1.0)


def test_a_verdict_never_contradicts_its_interval():
    source = rng(11)
    for _ in range(200):
        found = versus(source.normal(0, 1, 12), source.gamma(1, 1, 12) - 0.3, rng=source)
        assert found.outcome != "better" or found.gain.low > 0
        assert found.outcome != "worse" or found.gain.high < 0


# ------------------------------------------------------------------------------------------------------------ diverged seeds


def test_a_diverged_seed_loses_and_is_shown():
    a, b = pd.Series(np.linspace(1.0, 1.9, 10)), pd.Series(np.linspace(1.5, 2.4, 10))
    b[3], b[7] = math.nan, 0.1  # one left no number, the other a number that flatters it
    found = versus(a, b, diverged_b={3, 7}, task="moons")
    assert (found.wins, found.losses, found.ties, found.gain.n) == (10, 0, 0, 8)
    assert found.gain.mean == pytest.approx(0.5)
    assert found.p_value == pytest.approx(2 / 2**10) and found.test == "sign test"
    assert sentence(found) == (
        "spline-flow beats flow on moons: 10 of 10 seeds, 0.500 nats [0.500, 0.500]; flow diverged at 2 (seed 3, 7); "
        "the mean is over the 8 pairs without divergence, a diverged seed counts as a loss"
    )


def test_pairs_in_which_both_diverged_are_left_out_of_the_sign_test():
    a, b = np.linspace(1.0, 1.9, 10), np.linspace(1.5, 2.4, 10)
    found = versus(a, b, diverged_a={0, 4}, diverged_b={0, 4})
    assert (found.wins, found.losses, found.ties, found.test) == (8, 0, 2, "sign test")
    assert found.p_value == pytest.approx(2 / 2**8)


def test_a_plan_for_the_sign_test_is_at_least_what_it_takes_when_all_agree():
    """Five seeds that all agree have p = 2 / 2^5: the sign test decides from six."""
    found = versus(np.full(5, 1.0), np.arange(2.0, 7.0), diverged_b={3})
    assert (found.wins, found.test, found.outcome) == (5, "sign test", "no difference shown")
    assert found.seeds_needed == 6


def test_a_model_that_diverges_often_is_not_better_however_good_the_rest():
    a, b = np.full(12, 1.0), np.full(12, 2.0)
    found = versus(a, b, diverged_a=range(7))
    assert found.gain.mean == 1.0 and found.improvement == pytest.approx(5 / 12)
    assert found.outcome == "no difference shown"
    assert versus(a, b, diverged_a=range(12)).outcome == "worse"


def test_divergence_of_both_is_a_tie_and_seeds_that_left_nothing_still_count():
    a = pd.Series({0: 1.0, 1: 1.1, 2: 1.2, 3: 1.3})
    found = versus(a, a + 1, diverged_a={4, 5}, diverged_b={4})
    assert (found.n, found.wins, found.losses, found.ties, found.unpaired) == (5, 4, 0, 1, 1)
    assert found.improvement == 0.9


def test_when_signs_and_sizes_disagree_no_difference_is_claimed():
    # a wins 15 of 20 because b diverged 12 times; where both are sound b is better by far
    b = np.r_[np.full(12, np.nan), np.full(3, 1.01), np.linspace(-2.1, -1.9, 5)]
    found = versus(np.ones(20), b, diverged_b=range(12))
    assert (found.wins, found.losses) == (15, 5) and found.p_value < 0.05
    assert found.gain.high < 0
    assert found.outcome == "no difference shown"


def test_an_undeclared_divergence_is_an_error():
    with pytest.raises(SeedbedError, match=r"flow: the metric is not finite at seeds \[1\]"):
        versus([1.0] * 5, [1.0, math.inf, 1.0, 1.0, 1.0])


def test_a_seed_listed_twice_is_an_error():
    with pytest.raises(SeedbedError, match="more than one value"):
        versus(pd.Series([1.0, 2.0], index=[0, 0]), [1.0, 2.0])


# ------------------------------------------------------------------------------------------------------------------ families


def holm(p_values):
    """One p-value a comparison: what Shaffer's steps come to then."""
    return {key: p for key, (p,) in step_down({key: (p,) for key, p in p_values.items()}).items()}


def test_holm_by_hand():
    # ascending 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; the last may not fall below 0.06
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(found) == ["a", "b", "c", "d"]
    assert list(found.values()) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_holm_holds_the_error_of_the_whole_family():
    source, studies = rng(8), 2000
    wrong = sum(min(holm(dict(zip("abcdef", p, strict=True))).values()) <= 0.05 for p in source.random((studies, 6)))
    assert within(wrong / studies, 1 - (1 - 0.05 / 6) ** 6, studies)  # independent and all null: known exactly


def test_a_family_withdraws_a_verdict_that_does_not_survive_it():
    x = np.zeros(6)
    weak = versus(x, np.array([0.1, 0.5, 0.2, 0.6, -0.1, 0.4]))
    assert weak.outcome == "better" and 0.025 < weak.p_value < 0.05
    strong, few = versus(x, np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95])), versus(x[:3], x[:3] + 1)
    found = compare_family({"weak": weak, "strong": strong, "few": few, "none": versus(x, rng().normal(size=6))})
    assert {k: v.outcome for k, v in found.items()} == {
        "weak": "no difference shown",
        "strong": "better",
        "few": "too few",
        "none": "no difference shown",
    }
    assert found["strong"].family == 3 and found["strong"].p_value == pytest.approx(3 * strong.p_value)
    assert "Holm over 3 comparisons" in sentence(found["weak"])
    assert found["few"] == few


# ------------------------------------------------------------------------------------------------------------- seeds needed


def test_seeds_needed_match_published_power_tables():
    # Cohen's d of 0.2, 0.5 and 0.8, two-sided 5 %, 80 % power (G*Power 3.1, "difference between two dependent means")
    assert [seeds_needed(d) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]
    assert (seeds_needed(math.inf), seeds_needed(0.0), seeds_needed(1e-4)) == (5, None, None)


def test_the_promised_power_is_reached():
    effect, studies = 0.8, STUDIES
    x = rng(3).normal(effect, 1, (studies, seeds_needed(effect)))
    power = float((stats.ttest_1samp(x, 0, axis=1).pvalue <= 0.05).mean())
    assert power >= 0.8 - Z * math.sqrt(0.16 / studies)


# ----------------------------------------------------------------------------------------------------------- variance shares


def test_shares_by_hand():
    found = variance_shares({"init": [0.0, 2.0], "order": [1.0, 1.0]}, [0.0, 2.0, 4.0], rng=rng())
    assert (found.shares["init"].mean, found.shares["order"].mean, found.shares["order"].high) == (1.0, 0.0, 0.0)
    assert found.together.mean == pytest.approx(4 / 2)
    thirds = variance_shares({"init": [0.0, 2.0], "order": [0.0, 1.0, 2.0]}, [1.0, 1.0], rng=rng())
    assert thirds.shares["init"].mean == pytest.approx(2 / 3) and thirds.together.mean == 0.0


def test_shares_cover_the_truth():
    source, studies, hits = rng(2), 300, np.zeros(2)
    for _ in range(studies):
        init, order, noise = source.normal(size=(3, 20)) * np.sqrt([[0.5], [0.3], [0.0]])
        found = variance_shares(
            {"init": init, "order": order, "noise": noise}, source.normal(size=20), rng=source, resamples=499
        )
        hits += [
            found.shares["init"].low <= 0.5 / 0.8 <= found.shares["init"].high,
            found.together.low <= 1 / 0.8 <= found.together.high,
        ]
    # percentile bootstrap of a variance ratio: 0.91 to 0.94 at 20 seeds (see the docstring), hence the lower level
    assert (np.abs(hits / studies - 0.92) <= Z * math.sqrt(0.92 * 0.08 / studies)).all()


def test_share_sentence_answers_in_one_line():
    source = rng(4)
    arms = {"init": source.normal(0, 0.8, 30), "order": source.normal(0, 0.3, 30)}
    found = variance_shares(arms, source.normal(size=30), rng=rng(), diverged={"init": 2, "order": 0})
    text = share_sentence("vae", "8gaussians", "neg_elbo_nats", found)
    init = found.shares["init"]
    start = f"For vae on 8gaussians, initialisation makes {100 * init.mean:.0f} % [{100 * init.low:.0f}, "
    assert text.startswith(start) and "of the seed variance of neg_elbo_nats, data order" in text
    assert f"varied together, {found.together.mean:.2g} [" in text and text.endswith("; diverged seeds left out: 2 of init.")


def test_a_metric_that_does_not_vary_has_no_shares():
    found = variance_shares({"init": [1.0, 1.0]}, [1.0, 1.0], rng=rng())
    assert share_sentence("vae", "moons", "nll_nats", found) == "For vae on moons, nll_nats does not vary over seeds."
    with pytest.raises(SeedbedError, match="at least 2 values; got fewer for init"):
        variance_shares({"init": [1.0]}, [1.0, 2.0], rng=rng())


# ---------------------------------------------------------------------------------------------------------------- sentences


def test_a_difference_that_few_seeds_undo_is_not_called_shown_and_the_sentence_says_why():
    gains = [0.2, 1.3, -0.2, 2.5, 1.6, 0.4, 1.4, 1.6, -0.3, -2.0, 1.9, 1.1, 1.6]
    verdict = versus(np.zeros(13), gains)
    assert verdict.p_value < 0.05 and verdict.outcome == "no difference shown" and verdict.gain.low < 0
    assert sentence(verdict).endswith("p = 0.032, but some seeds lie so far off that the interval of the mean holds zero")


def test_within_a_margin_two_are_the_same_by_two_tests_of_one_side():
    """Parity with SciPy's one-sided t-tests below ten pairs and permutation tests from ten."""
    for n, seed in ((7, 1), (12, 2)):
        a, b = rng(seed).normal(0, 0.1, (2, n))
        found = versus(a, b, margin=0.3)
        gain = b - a
        for_ = lambda x: stats.ttest_1samp(x, 0, alternative="greater").pvalue
        if n >= 10:
            for_ = lambda x: (
                stats.permutation_test(
                    (x,), np.mean, permutation_type="samples", n_resamples=2 ** len(x), alternative="greater"
                ).pvalue
            )
        assert found.p_same == pytest.approx(max(for_(gain + 0.3), for_(0.3 - gain)), abs=1e-12)
        assert found.outcome == "same" and f"are the same within 0.3 nats: {found.gain.mean:.2f}"[:38] in sentence(found)
        assert versus(a, b, margin=0.01).outcome == "no difference shown"
        assert "nor that they are the same within 0.01 nats" in sentence(versus(a, b, margin=0.01))
        assert versus(b, a, margin=0.3).p_same == pytest.approx(found.p_same, abs=1e-12)


def test_what_is_the_same_within_the_margin_is_not_better_for_being_so_by_less():
    gains = 0.05 + rng(3).normal(0, 0.01, 8)
    assert versus(np.zeros(8), gains).outcome == "better"
    assert versus(np.zeros(8), gains, margin=0.2).outcome == "same"
    assert versus(np.zeros(8), gains, margin=0.051).outcome == "better"  # nor is it shown to be within so little


def test_a_seed_that_diverged_is_the_same_as_none():
    found = versus(pd.Series(np.zeros(8)), pd.Series(np.zeros(7)), margin=1.0, diverged_b=[7])
    assert found.p_same == 1.0 and found.outcome != "same"


@pytest.mark.parametrize("margin", [0.0, -1.0, math.inf])
def test_a_margin_is_above_zero(margin):
    with pytest.raises(SeedbedError, match="must be above 0 and finite"):
        versus(np.zeros(5), np.ones(5), margin=margin)


@pytest.mark.parametrize("n", [7, 12])
def test_at_a_difference_of_the_margin_few_are_called_the_same(n, monkeypatch):
    monkeypatch.setattr(pairs, "interval", partial(interval, resamples=199))
    monkeypatch.setattr(pairs, "_needed", lambda *_: None)
    source, studies = rng(n), 1000
    called = sum(versus(np.zeros(n), source.normal(0.5, 0.4, n), margin=0.5).outcome == "same" for _ in range(studies))
    assert called / studies <= 0.05 + Z * math.sqrt(0.05 * 0.95 / studies)


def test_other_outcomes_in_plain_words():
    a, b = np.array([1.0, 1.2, 1.1, 1.3, 1.2]), np.array([1.1, 1.1, 1.2, 1.2, 1.2])
    text = sentence(versus(a, b, task="moons"))
    assert text.startswith("no difference shown between spline-flow and flow on moons: spline-flow better at 2 of 5 seeds")
    assert "with 1 tied" in text and text.endswith("more than 10000 seeds needed to show one of this size")
    lost = sentence(versus(np.full(5, 2.0), [1.0, 1.1, 0.9, 1.0, 1.0]))
    assert lost.startswith("spline-flow loses to flow: better at 0 of 5 seeds, 1.00 nats [0.91, 1.09] worse")


def test_a_bound_that_is_not_zero_is_not_printed_as_zero():
    gains = np.array([0.001, 0.021, 0.061, 0.031, 0.05, 0.002, 0.055])
    found = versus(np.zeros(7), gains)
    assert found.outcome == "better" and " [0.0" in sentence(found)
    assert float(sentence(found).split("[")[1].split(",")[0]) > 0


def test_an_interval_ends_where_its_metric_does():
    """Within a range the mean lies there too; values outside of it say that the range is wrong, and nothing is cut."""
    shares = [0.0, 0.0, 0.0, 0.1]
    plain = interval(shares, rng=rng())
    cut = interval(shares, rng=rng(), within=(0.0, 1.0))
    assert plain.low < 0 and (cut.low, cut.high, cut.mean) == (0.0, plain.high, plain.mean)
    mirrored = interval([1 - x for x in shares], rng=rng(), within=(0.0, 1.0))
    assert (mirrored.low, mirrored.high) == (pytest.approx(1 - plain.high), 1.0)
    assert interval([-0.1, *shares], rng=rng(), within=(0.0, 1.0)) == interval([-0.1, *shares], rng=rng())
    for few in ([], [0.5]):
        assert math.isnan(interval(few, rng=rng(), within=(0.0, 1.0)).low)
