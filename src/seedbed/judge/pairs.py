"""Which differences between models are real: paired verdicts and corrections for a family of them.

Pure functions of numbers. Chance enters only through the generator that is passed. A metric is a loss (lower is better)
unless said otherwise, and a *gain* is always positive where the first model is better, in the metric's unit.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from seedbed.core.errors import SeedbedError
from seedbed.judge.intervals import RESAMPLED_FROM, RESAMPLED_TO, RESAMPLES, Floats, Interval, finite, interval

Outcome = Literal["better", "worse", "same", "no difference shown", "too few"]

FEWEST = 5  # shared seeds below which no verdict is given
ENUMERATED = 14  # pairs up to which every choice of signs is tried
MAX_SEEDS = 10_000  # beyond this a plan for more seeds is not a plan
SAME = 1e-12  # relative difference below which two metrics are one number that was rounded twice


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
        margin: differences below it do not matter; ``nan`` where none was declared.
        p_same: of "they differ by ``margin`` or more", adjusted likewise: the larger of two one-sided tests.
        seeds_needed: pairs at which a paired t-test (on the signs where a seed diverged) finds what was observed with 80 %
            power; ``None`` above 10 000. As uncertain as the gain itself: a plan, not a finding.
        level: confidence level of ``gain`` and of the verdict.
        outcome: better or worse need the test and the interval to agree, and so does *same*: an interval within the margin.
            What is shown to be the same within the margin is not called better or worse for being so by less.
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
    margin: float = math.nan
    p_same: float = math.nan

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
    margin: float = math.nan,
) -> Verdict:
    """Compare two models seed by seed: final metrics indexed by seed, and the seeds that diverged.

    The test fits the size of the study and is exact under its null hypothesis:

    - below 10 pairs, and above 1000, a paired t-test (Student, 1908); a sign-flip test cannot reach p < 0.05 with 5 pairs
      (2 / 2**5);
    - from 10 pairs a sign-flip permutation test of the mean (Fisher, 1935), enumerated up to 14 pairs, else Monte Carlo
      ``(1 + hits) / (1 + draws)``; assumes only that the labels may be swapped within a seed;
    - with a diverged seed in any pair the sign test (exact binomial, ties left out) of "a wins half of the seeds": such a
      seed has lost but has no size, and the mean over the rest would flatter the model that diverges.

    With a ``margin`` the same test is asked twice more, each time of one side: whether the gain is above ``-margin``, and
    whether it is below ``margin`` (Schuirmann, 1987). Where a seed diverged, nothing is shown to be the same.

    Args:
        a: the model that is judged.
        b: the model that it is judged against.
        name_a: its name.
        name_b: its name.
        unit: of the metric.
        rng: of resamples and Monte Carlo tests.
        task: what both were tried on.
        higher_is_better: of a metric that is no loss.
        diverged_a: seeds.
        diverged_b: seeds.
        level: of confidence.
        margin: the least difference that matters, in the unit.

    Raises:
        SeedbedError: for a seed with two values, a value that is not finite of a seed that is not told as diverged, or a
            margin that is not above zero.
    """
    if not (math.isnan(margin) or 0 < margin < math.inf):
        raise SeedbedError(f"the least difference that matters must be above 0 and finite, got {margin}")
    x, y = _by_seed(a, name_a, diverged_a), _by_seed(b, name_b, diverged_b)
    shared = sorted(x.keys() & y.keys())
    ours, theirs = np.array([x[s] for s in shared]), np.array([y[s] for s in shared])
    gain = (ours - theirs) * (1.0 if higher_is_better else -1.0)
    gain[np.abs(gain) <= SAME * np.maximum(np.abs(ours), np.abs(theirs))] = 0.0
    whole = np.isfinite(gain)  # values are nan exactly where a seed diverged
    sign = np.where(whole, np.sign(gain), np.isnan(theirs) * 1.0 - np.isnan(ours) * 1.0)
    wins, losses, n = int((sign > 0).sum()), int((sign < 0).sum()), len(shared)
    p_value, test = _test(gain, sign, rng) if n >= FEWEST else (math.nan, "none")
    p_same = _same(gain, margin, rng) if n >= FEWEST else math.nan
    fates = tuple(sorted(map(int, diverged_a))), tuple(sorted(map(int, diverged_b)))
    unpaired, needed = len(x.keys() ^ y.keys()), _needed(gain, sign, level)
    mean, counts = interval(gain[whole], level, rng=rng), (n, wins, losses, unpaired)
    verdict = Verdict(
        name_a, name_b, task, unit, mean, *counts, *fates, p_value, test, 1, needed, level, "too few", margin, p_same
    )
    return replace(verdict, outcome=_outcome(verdict))


def compare_family(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Judge a declared family of comparisons together: p-values are adjusted, outcomes follow; intervals stay as they are.

    Comparisons with too few seeds were not tested, so they do not count towards the size of the family.
    """
    tested = {key: v for key, v in verdicts.items() if v.n >= FEWEST}
    adjusted = step_down({key: (v.p_value, *(() if math.isnan(v.p_same) else (v.p_same,))) for key, v in tested.items()})
    out = dict(verdicts)
    for key, (p_value, *p_same) in adjusted.items():
        judged = replace(tested[key], p_value=p_value, p_same=p_same[0] if p_same else math.nan, family=len(tested))
        out[key] = replace(judged, outcome=_outcome(judged))
    return out


def step_down(pvalues: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    """Adjust p-values of which, under each key, only one null hypothesis can be true at once (Shaffer, 1986).

    ``max over j <= i of min(1, m_j p_(j))``, p-values ascending, with ``m_j`` the keys that have one not rejected before j.
    With one p-value a key these are Holm's (1979). "They are equal" and "they differ by the margin" cannot both be true, so
    asking for both costs nothing. Holds the chance of any false claim at the level, whatever the dependence between tests.

    Raises:
        SeedbedError: for a p-value that is not finite.
    """
    finite([p for each in pvalues.values() for p in each], "p-values")
    order = sorted(((p, key, at) for key, each in pvalues.items() for at, p in enumerate(each)), key=lambda entry: entry[0])
    open_ = {key: len(each) for key, each in pvalues.items()}
    adjusted, largest = {key: [0.0] * len(each) for key, each in pvalues.items()}, 0.0
    for p, key, at in order:
        largest = max(largest, min(1.0, sum(count > 0 for count in open_.values()) * p))
        adjusted[key][at] = largest
        open_[key] -= 1
    return {key: tuple(each) for key, each in adjusted.items()}


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
    alpha = 1 - v.level + SAME
    if v.p_same <= alpha and -v.margin < v.gain.low and v.gain.high < v.margin:
        return "same"
    if not v.p_value <= alpha:
        return "no difference shown"
    if v.test == "sign test":  # the interval does not see divergence: it may be silent, but must not say the opposite
        better, worse = v.wins > v.losses and not v.gain.high < 0, v.wins < v.losses and not v.gain.low > 0
    else:
        better, worse = v.gain.low > 0, v.gain.high < 0
    return "better" if better else "worse" if worse else "no difference shown"


def _same(gain: Floats, margin: float, rng: np.random.Generator) -> float:
    """p of "the mean gain is not within the margin": the larger of two one-sided tests."""
    if math.isnan(margin):
        return math.nan
    if not np.isfinite(gain).all():
        return 1.0
    return max(_above(gain + margin, rng), _above(margin - gain, rng))


def _above(x: Floats, rng: np.random.Generator) -> float:
    """One-sided p of "the mean is not above zero", by the test that fits so many pairs."""
    n = x.size
    if not np.ptp(x):
        return 0.0 if x[0] > 0 else 1.0
    if not RESAMPLED_FROM <= n <= RESAMPLED_TO:
        return float(stats.t.sf(x.mean() * math.sqrt(n) / x.std(ddof=1), n - 1))
    return _flipped(x, rng, two_sided=False)[0]


def _test(gain: Floats, sign: Floats, rng: np.random.Generator) -> tuple[float, str]:
    n = gain.size
    if not sign.any():
        return 1.0, "identical"
    if not np.isfinite(gain).all():
        wins, losses = int((sign > 0).sum()), int((sign < 0).sum())
        return float(stats.binomtest(wins, wins + losses).pvalue), "sign test"
    if not RESAMPLED_FROM <= n <= RESAMPLED_TO:
        error = float(gain.std(ddof=1)) / math.sqrt(n) if np.ptp(gain) else 0.0
        return (2 * float(stats.t.sf(abs(gain.mean()) / error, n - 1)) if error else 0.0), "paired t-test"
    p, exact = _flipped(gain, rng, two_sided=True)
    return p, "sign-flip test" if exact else "sign-flip test (Monte Carlo)"


def _flipped(x: Floats, rng: np.random.Generator, *, two_sided: bool) -> tuple[float, bool]:
    """p of a sum that is as far from zero, or as high, if signs mean nothing; and whether all of them were tried.

    ``scipy.stats.permutation_test`` does the same and takes 100 times as long over 14 pairs.
    """
    exact = x.size <= ENUMERATED
    signs = all_signs(x.size) if exact else rng.integers(0, 2, (RESAMPLES, x.size)) * 2 - 1
    sums, observed = signs @ x, float(x.sum())
    slack = SAME * float(np.abs(x).sum())  # rounding must not lose the observed arrangement itself
    if two_sided:
        hits = np.abs(sums) >= abs(observed) - slack
    else:
        hits = sums >= observed - slack
        if exact:  # the half that is not there has the opposite sums
            hits = np.concatenate([hits, -sums >= observed - slack])
    return (float(hits.mean()), True) if exact else ((1 + int(hits.sum())) / (1 + RESAMPLES), False)


@lru_cache(maxsize=8)
def all_signs(n: int) -> Floats:
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
