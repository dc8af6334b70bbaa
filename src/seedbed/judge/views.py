"""More ways to look at a table of results: over tasks, by order alone, and what a single seed would have told.

Scores are ``[tasks, seeds]`` of each model; more is better, so a loss is negated first. Pure functions of numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedbed.core.errors import SeedbedError
from seedbed.judge.intervals import Floats, Interval, finite

DRAWS = 2000  # resamples of a view


def _table(scores: ArrayLike, what: str) -> Floats:
    """Finite scores ``[tasks, seeds]``; one row of seeds is one task."""
    found = np.atleast_2d(finite(scores, what))
    if found.ndim != 2 or not found.size:
        raise SeedbedError(f"{what} must be [tasks, seeds] with a value at least, got shape {list(np.shape(scores))}")
    return found


def interquartile_mean(scores: ArrayLike, *, rng: np.random.Generator, level: float = 0.95) -> Interval:
    """The mean of the middle half of all runs, with percentiles of a bootstrap over the seeds of each task.

    ``trim_mean(scores, 25 %)`` over tasks and seeds together (Agarwal et al., 2021, arXiv 2108.13264): less moved by
    outliers than a mean, less wasteful than a median.

    Args:
        scores: ``[tasks, seeds]``, on scales that may be averaged.
        rng: of the resamples.
        level: of confidence.

    Raises:
        SeedbedError: for a score that is not finite.
    """
    x = _table(scores, "interquartile mean")
    trimmed = lambda values: float(stats.trim_mean(values.ravel(), 0.25))
    found = [trimmed(_resampled(x, rng)) for _ in range(DRAWS)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(trimmed(x), float(low), float(high), x.size, "percentile, by task")


def profile(scores: ArrayLike, thresholds: ArrayLike) -> Floats:
    """The share of runs above each threshold, ``[thresholds]``: a run-score distribution.

    ``F(t) = mean over tasks and seeds of 1[score > t]`` (Dolan and More, 2002; Agarwal et al., 2021, arXiv 2108.13264).
    A profile that lies above another everywhere is stochastically larger.
    """
    x = _table(scores, "profile")
    return (x.ravel() > np.atleast_1d(np.asarray(thresholds, dtype=float))[:, None]).mean(1)


def profile_band(
    scores: ArrayLike, thresholds: ArrayLike, *, rng: np.random.Generator, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Pointwise percentiles of the profile, ``[thresholds]`` each, by a bootstrap over the seeds of each task."""
    x = _table(scores, "profile")
    found = np.stack([profile(_resampled(x, rng), thresholds) for _ in range(DRAWS)])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def improvement(a: ArrayLike, b: ArrayLike) -> float:
    """P(a run of a scores more than a run of b), averaged over tasks; a tie is one half.

    ``mean over tasks of U(a, b) / (seeds_a seeds_b)`` with Mann and Whitney's U (1947; Agarwal et al., 2021, arXiv
    2108.13264). 0.5 says nothing; the seeds need not be shared.

    Raises:
        SeedbedError: for scores of other tasks, or one that is not finite.
    """
    x, y = _table(a, "improvement"), _table(b, "improvement")
    if len(x) != len(y):
        raise SeedbedError(f"improvement needs the same tasks, got {len(x)} and {len(y)}")
    return float(np.mean([np.sign(p[:, None] - q[None, :]).mean() / 2 + 0.5 for p, q in zip(x, y, strict=True)]))


def best(scores: Mapping[str, ArrayLike], *, rng: np.random.Generator) -> dict[str, float]:
    """The probability that each model has the best mean, if the study were made again with seeds like these.

    The share of resamples of the seeds, the same for all models since they share them, in which its mean over tasks of means
    over seeds is the largest; a tie is shared.

    Raises:
        SeedbedError: if the models do not have the same seeds and tasks.
    """
    tables = {name: _table(found, name) for name, found in scores.items()}
    shapes = {table.shape for table in tables.values()}
    if len(shapes) != 1:
        raise SeedbedError(f"the best of several needs the same tasks and seeds of all, got {sorted(shapes)}")
    stack = np.stack([*tables.values()])
    picks = rng.integers(0, stack.shape[2], (DRAWS, stack.shape[2]))
    means = stack.mean(1)[:, picks].mean(2)
    top = means >= means.max(0) - 1e-12 * np.abs(means.max(0))
    share = (top / top.sum(0)).mean(1)
    return dict(zip(tables, share.tolist(), strict=True))


@dataclass(frozen=True)
class OneSeed:
    """What a single seed of each would have told.

    Args:
        wrong: chance that it names the worse of two, by their means; a tie is one half.
        wrong_shared: the same where both are trained from one seed.
    """

    wrong: float
    wrong_shared: float


def one_seed(a: ArrayLike, b: ArrayLike) -> OneSeed:
    """How often one run of each names the wrong winner: over all pairs of seeds ``(i, j)``, and over the shared ones.

    The right one has the larger mean. Where they are equal the chance is one half.

    Args:
        a: ``[seeds]`` of one task.
        b: the same seeds of the other model.

    Raises:
        SeedbedError: for models of other seeds.
    """
    x, y = (finite(values, "one seed").ravel() for values in (a, b))
    if x.size != y.size or not x.size:
        raise SeedbedError(f"one seed each needs the same seeds of both, got {x.size} and {y.size}")
    way = np.sign(x.mean() - y.mean())
    chance = lambda differences: float((0.5 - np.sign(differences) * way / 2).mean())
    return OneSeed(chance(x[:, None] - y[None, :]), chance(x - y))


@dataclass(frozen=True)
class Pairing:
    """What it buys that two models share their seeds.

    Args:
        correlation: of their values over the seeds; ``nan`` where one does not vary.
        saved: by what the seeds of an unpaired study are to be multiplied for one that is paired: below 1 pairing helps.
    """

    correlation: float
    saved: float


def pairing(a: ArrayLike, b: ArrayLike) -> Pairing:
    """Correlation over shared seeds, and ``var(a - b) / (var(a) + var(b))``: the error of a paired over an unpaired mean.

    Args:
        a: ``[seeds]``.
        b: of the same seeds.

    Raises:
        SeedbedError: for models of other seeds, or fewer than two.
    """
    x, y = (finite(values, "pairing").ravel() for values in (a, b))
    if x.size != y.size or x.size < 2:
        raise SeedbedError(f"pairing needs two shared seeds at least, got {x.size} and {y.size}")
    apart = float(x.var(ddof=1) + y.var(ddof=1))
    if not np.ptp(x) or not np.ptp(y):
        return Pairing(float("nan"), 1.0)
    return Pairing(float(np.corrcoef(x, y)[0, 1]), float((x - y).var(ddof=1)) / apart)


def stochastic_order(a: ArrayLike, b: ArrayLike, *, rng: np.random.Generator, level: float = 0.95) -> float:
    """How far a is from being stochastically larger than b: 0 wholly, 1 the reverse, below 0.5 almost (an upper bound).

    With quantile functions ``F, G`` the violation is ``int (G - F)_+^2 dt / int (F - G)^2 dt``; to it is added the one-sided
    normal bound of its bootstrap deviation (del Barrio et al., 2018; Dror et al., 2019; Ulmer et al., 2022, arXiv
    2204.06815). Where the two are equal it is one half.

    Args:
        a: scores of all runs.
        b: the same.
        rng: of the resamples.
        level: of the bound.
    """
    x, y = (np.sort(finite(values, "stochastic order").ravel()) for values in (a, b))
    seen = _violation(x, y)
    scale = np.sqrt(x.size * y.size / (x.size + y.size))
    drawn = [_violation(np.sort(rng.choice(x, x.size)), np.sort(rng.choice(y, y.size))) for _ in range(DRAWS)]
    spread = float(np.std([scale * (value - seen) for value in drawn]))
    return float(np.clip(seen + spread / scale * stats.norm.ppf(level), 0.0, 1.0))


def _violation(x: Floats, y: Floats) -> float:
    """Of sorted samples, by steps at which either quantile function jumps: exact, not by a grid."""
    edges = np.unique(np.concatenate([np.arange(x.size + 1) / x.size, np.arange(y.size + 1) / y.size]))
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    gap = x[(middle * x.size).astype(int)] - y[(middle * y.size).astype(int)]
    whole = float((width * gap**2).sum())
    return float((width * np.minimum(gap, 0) ** 2).sum()) / whole if whole else 0.5


def _resampled(x: Floats, rng: np.random.Generator) -> Floats:
    picks: NDArray[np.int64] = rng.integers(0, x.shape[1], x.shape)
    return np.take_along_axis(x, picks, 1)
