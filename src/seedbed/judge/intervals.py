"""Means over seeds with their intervals, and shares with theirs. Pure functions of numbers."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedbed.core.errors import SeedbedError

Floats = NDArray[np.float64]
EVERYWHERE = (-math.inf, math.inf)

RESAMPLED_FROM = 10  # values from which intervals and tests stop assuming normal data
RESAMPLED_TO = 1000  # above it the mean of any values with a variance is as good as normal
RESAMPLES = 9999  # (resamples + 1) * 0.025 is whole


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
    within: tuple[float, float] = EVERYWHERE,
) -> Interval:
    """The mean with a two-sided confidence interval.

    Below 10 values, and above 1000, Student's ``m -+ t(n-1) s / sqrt(n)``, exact for normal data. Else percentiles of the
    bootstrap, corrected for bias and acceleration (BCa; Efron, "Better bootstrap confidence intervals", 1987), with their
    levels widened to ``Phi(-+ sqrt(n / (n - 1)) t(n-1))``, for the bootstrap alone is too narrow in small samples
    (Hesterberg, "What teachers should know about the bootstrap", 2015, arXiv 1411.5279). They follow the skew of the data
    and never leave their range. docs/statistics.md has how often each covers.

    The mean of values that all lie ``within`` a range does so as well: what of the interval lies beyond is cut off, which
    cannot lower its coverage.

    Args:
        values: finite, one of each seed.
        level: of confidence.
        rng: of the resamples.
        resamples: how many.
        within: the least and the largest value that the quantity can take.

    Raises:
        SeedbedError: for a value that is not finite.
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
    if not RESAMPLED_FROM <= n <= RESAMPLED_TO:
        half = float(stats.t.ppf((1 + level) / 2, n - 1)) * float(x.std(ddof=1)) / math.sqrt(n)
        return Interval(mean, mean - half, mean + half, n, "student-t")
    scale = float(np.ptp(x))  # values far from zero would lose the digits in which they differ
    low, high = _bca((x - mean) / scale, level, rng, resamples)
    return Interval(mean, mean + scale * low, mean + scale * high, n, "bca, widened")


def _bca(x: Floats, level: float, rng: np.random.Generator, resamples: int) -> tuple[float, float]:
    widened = 1 - 2 * float(stats.norm.cdf(-math.sqrt(x.size / (x.size - 1)) * stats.t.ppf((1 + level) / 2, x.size - 1)))
    block = max(1, 2_000_000 // x.size)  # bounds the memory for long arrays
    found = stats.bootstrap(
        (x,), np.mean, n_resamples=resamples, batch=block, confidence_level=widened, method="BCa", rng=rng
    ).confidence_interval
    return float(found.low), float(found.high)


def rate(count: int, n: int, level: float = 0.95) -> Interval:
    """The share of seeds that met a fate, e.g. divergence, with exact binomial bounds (Clopper and Pearson, 1934)."""
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0, "none")
    bounds = stats.binomtest(count, n).proportion_ci(level, method="exact")
    return Interval(count / n, float(bounds.low), float(bounds.high), n, "clopper-pearson")


def finite(values: ArrayLike, what: str) -> Floats:
    """The values as an array; ``SeedbedError`` if one is not finite, for nothing is left out silently."""
    x = np.asarray(values, dtype=np.float64)
    if lost := int((~np.isfinite(x)).sum()):
        raise SeedbedError(f"{what}: {lost} of {x.size} values are not finite; leave them out and show their count")
    return x
