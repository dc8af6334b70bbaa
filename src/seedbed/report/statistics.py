"""Which differences between models are real: intervals, paired verdicts and corrections.

Pure functions of numbers. Chance enters only through the generator that is passed. A metric is a loss (lower is better)
unless said otherwise, and a *gain* is always positive where the first model is better, in the metric's unit.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedbed.core.errors import SeedbedError

Floats = NDArray[np.float64]
Outcome = Literal["better", "worse", "no difference shown", "too few"]

FEWEST = 5  # shared seeds below which no verdict is given
BOOTSTRAP_FROM = 10  # values from which intervals and tests stop assuming normal data
MAX_SEEDS = 10_000  # beyond this a plan for more seeds is not a plan
RESAMPLES = 9999  # (resamples + 1) * 0.025 is whole
SAME = 1e-12  # relative difference below which two metrics are one number that was rounded twice
# With one outlier among near-equal values the resamples without it put t in the hundreds. Student's interval covers as well
# there (65 % either way at 10 % outliers, 10 values) and stays readable; skewed data meet the limit in 1 % of studies.
UNSTABLE = 4.0


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence bounds, in the unit of the data. ``method`` says how, ``n`` over how many values."""

    mean: float
    low: float
    high: float
    n: int
    method: str

    def __neg__(self) -> "Interval":
        """The interval of the negated mean."""
        return replace(self, mean=-self.mean, low=-self.high, high=-self.low)


def interval(
    values: ArrayLike,
    level: float = 0.95,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """The mean with a two-sided confidence interval.

    Below 10 values Student's ``m -+ t(n-1) s / sqrt(n)``, exact for normal data. From 10 the studentised bootstrap
    ``[m - q_high s / sqrt(n), m - q_low s / sqrt(n)]``, with ``q`` the quantiles of ``t* = sqrt(n) (m* - m) / s*`` over
    resamples (Efron, 1982; Hall, "The bootstrap and Edgeworth expansion", 1992), which follows the skew of the data. Where a
    few values make it more than 4 times wider than Student's it is unstable; Student's is given and ``method`` says so.

    The mean of values that all lie ``within`` a range does so as well: what of the interval lies beyond is cut off, which
    cannot lower its coverage.
    """
    x = finite(values, "interval")
    found = _interval(x, level, rng, resamples)
    if not x.size or x.min() < within[0] or x.max() > within[1]:
        return found
    return replace(found, low=max(found.low, within[0]), high=min(found.high, within[1]))


def _interval(x: Floats, level: float, rng: np.random.Generator, resamples: int) -> Interval:
    n, mean = x.size, float(x.mean()) if x.size else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan, n, "none")
    if np.ptp(x) == 0:
        return Interval(float(x[0]), float(x[0]), float(x[0]), n, "constant")
    error = float(x.std(ddof=1)) / math.sqrt(n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    student = Interval(mean, mean - half, mean + half, n, "student-t")
    if n < BOOTSTRAP_FROM:
        return student
    t = _bootstrap_t(x - mean, rng, resamples)
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2])
    if not (high - low) * error < UNSTABLE * 2 * half:
        return replace(student, method="student-t (bootstrap unstable)")
    return Interval(mean, mean - float(high) * error, mean - float(low) * error, n, "bootstrap-t")


def _bootstrap_t(centred: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    n, block = centred.size, max(1, 2_000_000 // centred.size)  # bounds the memory for long arrays
    parts = []
    for start in range(0, resamples, block):
        draws = centred[rng.integers(0, n, (min(block, resamples - start), n))]
        mean, spread = draws.mean(axis=1), draws.std(axis=1, ddof=1)
        # A resample of one repeated value has no spread: its t is huge (not inf: quantiles interpolate) or 0.
        parts.append(math.sqrt(n) * mean / np.maximum(spread, 1e-12 * np.abs(centred).max()))
    return np.concatenate(parts)


@dataclass(frozen=True)
class Verdict:
    """What shared seeds say about model a against model b.

    Args:
        name_a, name_b: the model that is judged, and against which.
        task: what both were tried on, e.g. a data set; may be empty.
        gain: mean paired difference in ``unit``, positive where a is better, over the pairs in which neither seed diverged.
        n: shared seeds; ``wins + losses + ties``.
        wins, losses: shared seeds at which a, or b, is better; a seed that diverged loses to one that did not.
        unpaired: seeds that only one of the two has; they take no part.
        diverged_a, diverged_b: every seed of a, of b, that diverged.
        p_value: two-sided, by ``test``, Holm-adjusted over ``family`` comparisons; ``nan`` with too few seeds.
        seeds_needed: pairs at which a paired t-test (on the signs where a seed diverged) finds what was observed with 80 %
            power; ``None`` above 10 000. As uncertain as the gain itself: a plan, not a finding.
        level: confidence level of ``gain`` and of the verdict.
        outcome: better or worse need the test and the interval to agree.
    """

    name_a: str
    name_b: str
    task: str
    unit: str
    gain: Interval
    n: int
    wins: int
    losses: int
    unpaired: int
    diverged_a: tuple[int, ...]
    diverged_b: tuple[int, ...]
    p_value: float
    test: str
    family: int
    seeds_needed: int | None
    level: float
    outcome: Outcome

    @property
    def ties(self) -> int:
        """Shared seeds at which the two are equal, or both diverged."""
        return self.n - self.wins - self.losses

    @property
    def improvement(self) -> float:
        """P(a better than b) at a shared seed, ties as one half (Agarwal et al., 2021, arXiv 2108.13264, paired form)."""
        return (self.wins + self.ties / 2) / self.n if self.n else math.nan


def compare(
    a: pd.Series,
    b: pd.Series,
    *,
    name_a: str,
    name_b: str,
    unit: str,
    rng: np.random.Generator,
    task: str = "",
    higher_is_better: bool = False,
    diverged_a: Collection[int] = (),
    diverged_b: Collection[int] = (),
    level: float = 0.95,
) -> Verdict:
    """Compare two models seed by seed: final metrics indexed by seed, and the seeds that diverged.

    The test fits the size of the study and is exact under its null hypothesis:

    - below 10 pairs a paired t-test (Student, 1908); a sign-flip test cannot reach p < 0.05 with 5 pairs (2 / 2**5);
    - from 10 pairs a sign-flip permutation test of the mean (Fisher, 1935), enumerated up to 14 pairs, else Monte Carlo
      ``(1 + hits) / (1 + draws)``; assumes only that the labels may be swapped within a seed;
    - with a diverged seed in any pair the sign test (exact binomial, ties left out) of "a wins half of the seeds": such a
      seed has lost but has no size, and the mean over the rest would flatter the model that diverges.
    """
    x, y = _by_seed(a, name_a, diverged_a), _by_seed(b, name_b, diverged_b)
    shared = sorted(x.keys() & y.keys())
    ours, theirs = np.array([x[s] for s in shared]), np.array([y[s] for s in shared])
    gain = (ours - theirs) * (1.0 if higher_is_better else -1.0)
    gain[np.abs(gain) <= SAME * np.maximum(np.abs(ours), np.abs(theirs))] = 0.0
    whole = np.isfinite(gain)  # values are nan exactly where a seed diverged
    sign = np.where(whole, np.sign(gain), np.isnan(theirs) * 1.0 - np.isnan(ours) * 1.0)
    wins, losses, n = int((sign > 0).sum()), int((sign < 0).sum()), len(shared)
    p_value, test = _test(gain, sign, rng) if n >= FEWEST else (math.nan, "none")
    fates = tuple(sorted(map(int, diverged_a))), tuple(sorted(map(int, diverged_b)))
    unpaired, needed = len(x.keys() ^ y.keys()), _needed(gain, sign, level)
    mean, counts = interval(gain[whole], level, rng=rng), (n, wins, losses, unpaired)
    verdict = Verdict(name_a, name_b, task, unit, mean, *counts, *fates, p_value, test, 1, needed, level, "too few")
    return replace(verdict, outcome=_outcome(verdict))


def compare_family(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Judge a declared family of comparisons together: p-values become Holm's, outcomes follow; intervals stay as they are.

    Comparisons with too few seeds were not tested, so they do not count towards the size of the family.
    """
    adjusted = holm({key: v.p_value for key, v in verdicts.items() if v.n >= FEWEST})
    judged = {key: replace(verdicts[key], p_value=p, family=len(adjusted)) for key, p in adjusted.items()}
    return {key: replace(judged[key], outcome=_outcome(judged[key])) if key in judged else v for key, v in verdicts.items()}


def holm(pvalues: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment (Holm, 1979): ``max over j <= i of min(1, (m - j + 1) p_(j))``, p-values ascending.

    Holds the chance of any false claim in the family at the level, whatever the dependence between the tests.
    """
    finite(list(pvalues.values()), "holm")
    adjusted, largest = {}, 0.0
    for rank, key in enumerate(sorted(pvalues, key=lambda k: pvalues[k])):
        largest = max(largest, min(1.0, (len(pvalues) - rank) * pvalues[key]))
        adjusted[key] = largest
    return {key: adjusted[key] for key in pvalues}


def seeds_needed(effect: float, power: float = 0.8, level: float = 0.95) -> int | None:
    """Pairs at which a two-sided paired t-test has ``power``, for ``effect`` = mean / standard deviation of the differences.

    Power is ``P(|T| > t_crit)`` for noncentral ``T(n - 1, effect sqrt(n))`` (Cohen, 1988). From 5 up; ``None`` above 10 000.
    """

    def reached(n: int) -> float:
        # Beyond 38 the noncentral t leaves its accurate range; the power is 1 there to every digit.
        shift, critical = min(abs(effect) * math.sqrt(n), 38.0), stats.t.ppf((1 + level) / 2, n - 1)
        return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift))

    n = FEWEST + bisect_left(range(FEWEST, MAX_SEEDS + 1), power, key=reached)
    return n if n <= MAX_SEEDS else None


def _outcome(v: Verdict) -> Outcome:
    if v.n < FEWEST:
        return "too few"
    if not v.p_value <= 1 - v.level + SAME:
        return "no difference shown"
    if v.test == "sign test":  # the interval does not see divergence: it may be silent, but must not say the opposite
        better, worse = v.wins > v.losses and not v.gain.high < 0, v.wins < v.losses and not v.gain.low > 0
    else:
        better, worse = v.gain.low > 0, v.gain.high < 0
    return "better" if better else "worse" if worse else "no difference shown"


def _test(gain: Floats, sign: Floats, rng: np.random.Generator) -> tuple[float, str]:
    n = gain.size
    if not sign.any():
        return 1.0, "identical"
    if not np.isfinite(gain).all():
        wins, losses = int((sign > 0).sum()), int((sign < 0).sum())
        return float(stats.binomtest(wins, wins + losses).pvalue), "sign test"
    if n < BOOTSTRAP_FROM:
        error = float(gain.std(ddof=1)) / math.sqrt(n) if np.ptp(gain) else 0.0
        return (2 * float(stats.t.sf(abs(gain.mean()) / error, n - 1)) if error else 0.0), "paired t-test"
    observed = abs(gain.sum()) * (1 - SAME)  # rounding must not lose the observed arrangement itself
    if n <= 14:
        return float((np.abs(_all_signs(n) @ gain) >= observed).mean()), "sign-flip test"
    hits = int((np.abs((rng.integers(0, 2, (RESAMPLES, n)) * 2 - 1) @ gain) >= observed).sum())
    return (1 + hits) / (1 + RESAMPLES), "sign-flip test (Monte Carlo)"


@lru_cache(maxsize=8)
def _all_signs(n: int) -> Floats:
    """Every choice of n signs with the first one plus; the other half mirrors it and changes no two-sided p-value."""
    codes = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)
    return 1.0 - 2.0 * (codes & 1)[:, ::-1]


def _needed(gain: Floats, sign: Floats, level: float) -> int | None:
    diverged = not np.isfinite(gain).all()
    size = sign if diverged else gain  # what the test looks at: signs alone where a seed diverged
    fewest = math.ceil(1 - math.log2(1 - level)) if diverged else FEWEST  # a sign test of n wins has p = 2 / 2**n
    if size.size < 2:
        return fewest  # nothing is known of the spread yet
    mean, spread = float(size.mean()), float(size.std(ddof=1)) if np.ptp(size) else 0.0
    needed = seeds_needed(mean / spread if spread else math.copysign(math.inf, mean) if mean else 0.0, level=level)
    return None if needed is None else max(needed, fewest)


def _by_seed(series: pd.Series, name: str, diverged: Collection[int]) -> dict[int, float]:
    """Final metric per seed; ``nan`` exactly for the diverged ones, whether or not they left a number behind."""
    if not series.index.is_unique:
        raise SeedbedError(f"{name}: some seeds have more than one value; expected one final value per seed")
    values = {int(seed): float(value) for seed, value in series.items()}  # pyright: ignore[reportArgumentType]
    if bad := sorted(seed for seed, value in values.items() if not math.isfinite(value) and seed not in diverged):
        raise SeedbedError(f"{name}: the metric is not finite at seeds {bad}; name them as diverged, do not drop them")
    return values | {int(seed): math.nan for seed in diverged}


def finite(values: ArrayLike, what: str) -> Floats:
    """The values as an array; ``SeedbedError`` if one is not finite, for nothing is left out silently."""
    x = np.asarray(values, dtype=np.float64)
    if lost := int((~np.isfinite(x)).sum()):
        raise SeedbedError(f"{what}: {lost} of {x.size} values are not finite; leave them out and show their count")
    return x
