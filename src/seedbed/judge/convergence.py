"""How training went, seed by seed: convergence metrics of a validation curve, and their spread over seeds.

Curves are losses (lower is better; negate others) in the metric's own unit, steps count updates, wall time is in seconds of
training so far. Nothing here depends on where zero lies, for a nat of density has no natural zero.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from seedbed.core.errors import SeedbedError
from seedbed.judge.intervals import interval, rate

FIRST = 5  # evaluations that the source project calls the first


@dataclass(frozen=True)
class Marks:
    """What a curve is held against; losses in its own unit.

    Args:
        floor: the least possible loss (the entropy of the data); gives ``gap_min`` and ``gap_last``.
        threshold: a loss to reach; gives ``step_to_threshold`` and ``seconds_to_threshold``.
        trivial: the loss of a baseline that learned nothing; gives ``collapsed``.
        collapse_tolerance: a curve that ends within this of ``trivial``, or above it, has collapsed.
        plateau_tolerance: see ``plateau``.
        plateau_hold: see ``plateau``.
    """

    floor: float | None = None
    threshold: float | None = None
    trivial: float | None = None
    collapse_tolerance: float = 0.01
    plateau_tolerance: float = 0.01
    plateau_hold: float = 0.1


def curve_metrics(
    step: ArrayLike, value: ArrayLike, wall_s: ArrayLike | None = None, marks: Marks | None = None
) -> dict[str, float]:
    """Convergence metrics of one seed's curve over its finite points; ``nan`` where one is not defined.

    ``min``, ``max``, ``last``, ``first`` and ``exceeds`` are those of the source project (generative-convergence: smallest,
    largest and final loss; mean of the first 5; number after the 5th above ``first``). A minimum over noisy evaluations is
    optimistic, so models are better compared on ``last``. ``step_to_threshold`` and ``seconds_to_threshold`` are those of
    the first evaluation at or below the threshold, ``nan`` if there is none; ``collapsed`` is 1 or 0; ``nonfinite`` counts
    the points left out; ``area`` and ``plateau_step`` are the functions below.

    Args:
        step: updates done at each evaluation, ascending.
        value: the loss.
        wall_s: seconds of training so far. Seeds that train stacked share one clock.
        marks: what the curve is held against.
    """
    marks = marks or Marks()
    steps, losses = np.asarray(step, dtype=np.float64), np.asarray(value, dtype=np.float64)
    clock = np.full(steps.shape, math.nan) if wall_s is None else np.asarray(wall_s, dtype=np.float64)
    if not steps.shape == losses.shape == clock.shape or steps.ndim != 1:
        raise SeedbedError(
            f"a curve needs steps, values and seconds of one length; got {steps.size}, {losses.size}, {clock.size}"
        )
    if not (np.diff(steps) > 0).all():
        raise SeedbedError("a curve needs ascending steps, one value each; filter it to one split and metric")
    finite = np.isfinite(losses)
    nonfinite = float((~finite).sum())
    steps, losses, clock = steps[finite], losses[finite], clock[finite]
    if not losses.size:
        return dict.fromkeys(METRICS, math.nan) | {"nonfinite": nonfinite}
    least, last, first = float(losses.min()), float(losses[-1]), float(losses[:FIRST].mean())
    below = np.flatnonzero(losses <= marks.threshold) if marks.threshold is not None else np.array([], dtype=int)
    return {
        "min": least,
        "max": float(losses.max()),
        "last": last,
        "first": first,
        "exceeds": float((losses[FIRST:] > first).sum()),
        "gap_min": least - marks.floor if marks.floor is not None else math.nan,
        "gap_last": last - marks.floor if marks.floor is not None else math.nan,
        "step_to_threshold": float(steps[below[0]]) if below.size else math.nan,
        "seconds_to_threshold": float(clock[below[0]]) if below.size else math.nan,
        "area": area(steps, losses),
        "plateau_step": plateau(steps, losses, marks.plateau_tolerance, marks.plateau_hold),
        "collapsed": float(last >= marks.trivial - marks.collapse_tolerance) if marks.trivial is not None else math.nan,
        "nonfinite": nonfinite,
    }


METRICS = ("min", "max", "last", "first", "exceeds", "gap_min", "gap_last", "step_to_threshold", "seconds_to_threshold")
METRICS += ("area", "plateau_step", "collapsed", "nonfinite")


def area(step: ArrayLike, value: ArrayLike) -> float:
    """Mean loss over training, ``integral of the curve / (last step - first step)`` by trapezoids, in its own unit."""
    steps, losses = np.asarray(step, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if losses.size < 2:
        return float(losses[0]) if losses.size else math.nan
    return float(np.trapezoid(losses, steps) / (steps[-1] - steps[0]))


def plateau(step: ArrayLike, value: ArrayLike, tolerance: float = 0.01, hold: float = 0.1) -> float:
    """First step after which the best loss so far, ``b``, improves by no more than a share of the whole improvement.

    ``b_i - b_end <= tolerance * (first - b_end)``, with ``first`` the mean of the first 5 values. Every curve ends in such a
    step, so it counts only where it holds for at least ``hold`` of the steps; a curve that still improves gives ``nan``.
    """
    steps, losses = np.asarray(step, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if not losses.size:
        return math.nan
    best = np.minimum.accumulate(losses)
    scale = max(float(losses[:FIRST].mean() - best[-1]), 0.0)
    start = float(steps[np.flatnonzero(best - best[-1] <= tolerance * scale)[0]])
    held = steps[-1] - start
    return start if held > 0 and held >= hold * (steps[-1] - steps[0]) else math.nan


def metrics_by_seed(
    frame: pd.DataFrame, metric: str, split: str = "valid", *, diverged: Collection[int] = (), marks: Marks | None = None
) -> pd.DataFrame:
    """One row of ``curve_metrics`` per seed of a run's long table, indexed by seed, with ``diverged`` (1 or 0) beside.

    Every seed of the table and every seed declared diverged has a row, also one without a single value. A seed whose curve
    ends in a value that is not finite has diverged, whether declared or not.
    """
    rows = frame.loc[(frame["split"] == split) & (frame["metric"] == metric)].sort_values(by="step")
    if rows.empty:
        seen = sorted({f"{s}/{m}" for s, m in zip(frame["split"], frame["metric"], strict=True)})
        raise SeedbedError(f"no rows of {metric} on {split}; the table has {', '.join(seen[:12]) or 'none at all'}")
    if len(units := sorted(set(rows["unit"]))) > 1:
        raise SeedbedError(f"{metric} on {split} comes in several units: {', '.join(units)}")
    fates = {int(s) for s in diverged}
    table = {}
    for seed in sorted({int(s) for s in frame["seed"]} | fates):
        mine = rows.loc[rows["seed"] == seed]
        step, loss, clock = (np.asarray(mine[name], dtype=np.float64) for name in ("step", "value", "wall_s"))
        ended_badly = loss.size > 0 and not np.isfinite(loss[-1])
        table[seed] = curve_metrics(step, loss, clock, marks) | {"diverged": float(seed in fates or ended_badly)}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("seed")


def over_seeds(
    per_seed: pd.DataFrame, *, rng: np.random.Generator, level: float = 0.95, with_diverged: bool = False
) -> pd.DataFrame:
    """Each metric over seeds: mean and interval, the source's population standard deviation, and who is not in them.

    Columns ``mean, low, high, n, method``; ``std``, the population one (n in the denominator) of the source's error bars;
    ``missing``, seeds without a finite value (a threshold never reached); ``diverged``, seeds left out of the mean because
    they diverged. The source dropped only runs without a finite value: ``with_diverged=True``. Rows ``diverged`` and
    ``collapsed`` are rates over all seeds with a known fate, with exact binomial bounds.
    """
    fate = per_seed["diverged"] == 1
    kept = per_seed if with_diverged else per_seed.loc[~fate]
    rows = {}
    for metric in per_seed.columns:
        is_rate = metric in ("diverged", "collapsed")
        chosen = np.asarray((per_seed if is_rate else kept)[metric], dtype=np.float64)
        x = chosen[np.isfinite(chosen)]
        mean = rate(int(x.sum()), x.size, level) if is_rate else interval(x, level, rng=rng)
        left_out = len(per_seed) - chosen.size
        spread = float(x.std()) if x.size else math.nan
        rows[metric] = (mean.mean, mean.low, mean.high, mean.n, mean.method, spread, chosen.size - x.size, left_out)
    columns = ["mean", "low", "high", "n", "method", "std", "missing", "diverged"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("metric")
