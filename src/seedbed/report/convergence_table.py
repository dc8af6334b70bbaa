"""The convergence table: how training went, over the seeds of every run."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from seedbed.judge.convergence import Marks, metrics_by_seed, over_seeds
from seedbed.judge.intervals import Interval, rate
from seedbed.report.curves import Curves, curve_groups
from seedbed.report.stored import StoredRun
from seedbed.report.tables import Table
from seedbed.report.verdicts import Family
from seedbed.report.words import NONE, number, spread

TABULATED = (
    "min",
    "max",
    "last",
    "first",
    "exceeds",
    "step_to_threshold",
    "seconds_to_threshold",
    "area",
    "plateau_step",
)
_FACTS = ("mean", "low", "high", "std", "n", "missing", "method")
PROGRESS = 0.95  # of its whole improvement, which the slowest model of a data set reaches at the common threshold


def threshold_of(many: Sequence[Curves]) -> float:
    """A loss that the median seed of every model reaches: where the slowest has made 95 % of its improvement."""
    marks = []
    for one in many:
        _, middle, _ = one.band
        first, last = float(middle[:5].mean()), float(middle[-1])
        marks.append(last + (1 - PROGRESS) * max(first - last, 0.0))
    return max(marks)


def convergence_table(families: Sequence[Family], threshold: float | None = None) -> Table:
    """The convergence metrics of every run on its validation curve, with intervals over seeds.

    Args:
        families: the runs, compared.
        threshold: the loss to reach; by default ``threshold_of`` the runs on one data set and metric.
    """
    body: list[list[str]] = []
    raw: list[dict[str, Any]] = []
    for family in families:
        for many in curve_groups(family.group.runs, family.group.metric):
            by_label = {run.label: run for run in family.group.runs}
            sign = -1.0 if by_label[many[0].label].declared(many[0].metric).better == "higher" else 1.0
            mark = threshold if threshold is not None else threshold_of(many) if sign > 0 else math.nan
            for one in many:
                run = by_label[one.label]
                found = _over_seeds(run, one.metric, sign, mark)
                cells = _cells(run, found)
                body.append([family.group.task, run.label, one.metric, *cells[:5], number(mark), *cells[5:]])
                common = {"data": family.group.task, "model": run.label, "metric": one.metric, "threshold": mark}
                for name, facts in found.to_dict(orient="index").items():
                    raw.append({**common, "quantity": name, **{k: facts[k] for k in _FACTS}, "diverged": len(run.lost)})
    caption = (
        "Convergence on the validation curves, means over the seeds that did not diverge with 95 % intervals: smallest, "
        "largest and final loss, mean of the first five, evaluations after the fifth above it; steps and seconds to the "
        "threshold (where the slowest model of a data set has made 95 % of its improvement), mean loss over training "
        "(area), the step from which less than 1 % of the improvement is left (plateau); share of seeds that diverged, and "
        "that ended worse than the trivial baseline (collapsed). In parentheses: seeds without the quantity. Seeds that "
        "train stacked share one clock."
    )
    losses, times = ["min", "max", "last", "first", "exceeds"], ["threshold", "steps to", "seconds to", "area", "plateau"]
    head = ["data", "model", "metric", *losses, *times, "diverged", "collapsed"]
    return Table("convergence", caption, head, body, raw, words=3).without_constant("metric")


def _over_seeds(run: StoredRun, metric: str, sign: float, mark: float) -> pd.DataFrame:
    frame = run.frame
    if sign < 0:
        frame = frame.assign(value=-frame["value"])
    marks = Marks(threshold=sign * mark if math.isfinite(mark) else None)
    per_seed = metrics_by_seed(frame, metric, diverged=run.lost, marks=marks)
    table = over_seeds(per_seed, rng=np.random.default_rng(0))
    if sign < 0:  # back to the metric's own sign, in which the smallest is the largest
        mirrored = table.loc[["max", "min", "last", "first", "area"]].set_axis(["min", "max", "last", "first", "area"])
        table.loc[mirrored.index, ["mean", "low", "high"]] = -mirrored[["mean", "high", "low"]].to_numpy()
        table.loc[mirrored.index, "std"] = mirrored["std"]
    return table


def _cells(run: StoredRun, found: pd.DataFrame) -> list[str]:
    cells = []
    for name in TABULATED:
        line = found.loc[name]
        x = Interval(float(line["mean"]), float(line["low"]), float(line["high"]), int(line["n"]), str(line["method"]))
        text = number(x.mean, 2) if name == "exceeds" else spread(x)
        missing = int(line["missing"])
        cells.append(f"{text} ({missing})" if missing and x.n else text)
    done = len(run.fates)
    for fate in ("diverged", "worse_than_baseline"):
        share = rate(len(run.ended(fate)), done)
        cells.append(f"{share.mean:.2f} [{share.low:.2f}, {share.high:.2f}]" if done else NONE)
    return cells
