"""What a set of runs came to, as a table: mean, interval over seeds, spread, and how many seeds diverged."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seedbed.report.statistics import interval
from seedbed.store.folder import Folder

LOST = ("diverged", "worse_than_baseline")


@dataclass(frozen=True)
class Summary:
    """One metric of one run over its seeds.

    Args:
        experiment: its name.
        metric: with the unit in its name.
        unit: of the values.
        mean: over the seeds that did not diverge.
        low: lower end of the 95 % interval over seeds.
        high: upper end.
        std: sample standard deviation over seeds (n - 1).
        mc_se: Monte-Carlo error of the mean, from the examples, not from the seeds.
        n: examples.
        seeds: seeds that were run.
        diverged: of them, those that diverged or ended worse than their trivial baseline.
        finished: whether every seed came to its end.
        seconds: of training and evaluation, summed over groups.
    """

    experiment: str
    metric: str
    unit: str
    mean: float
    low: float
    high: float
    std: float
    mc_se: float
    n: int
    seeds: int
    diverged: int
    finished: bool
    seconds: float


def summarise(folders: Iterable[Folder], seeds: Sequence[int] | None = None) -> list[Summary]:
    """Every test metric of every run.

    Args:
        folders: runs, finished or not.
        seeds: only these; all by default.
    """
    return [row for folder in folders for row in summarise_run(folder, seeds)]


def summarise_run(folder: Folder, seeds: Sequence[int] | None = None, split: str = "test") -> list[Summary]:
    """Every metric of one run on one split, at each seed's last step."""
    frame = folder.frame()
    name = folder.manifest().experiment
    asked = set(folder.manifest().seeds if seeds is None else seeds)
    frame = frame[frame["seed"].isin(asked)]
    status = frame[frame["split"] == "status"]
    lost = set(status[status["metric"].isin(LOST)]["seed"])
    seconds = float(frame.groupby("seed")["wall_s"].max().groupby(_group_of(folder)).max().sum()) if len(frame) else 0.0
    rows = []
    for metric, part in frame[frame["split"] == split].groupby("metric", sort=False):
        last = part.sort_values("step").groupby("seed").tail(1).set_index("seed")
        kept = last[~last.index.isin(lost) & np.isfinite(last["value"])]
        rows.append(
            _row(name, str(metric), last, kept, len(asked), len(lost), status["seed"].nunique() == len(asked), seconds)
        )
    return rows


def _group_of(folder: Folder) -> dict[int, int]:
    return {seed: index for index, group in enumerate(folder.manifest().groups) for seed in group}


def _row(
    name: str, metric: str, last: pd.DataFrame, kept: pd.DataFrame, seeds: int, lost: int, finished: bool, seconds: float
) -> Summary:
    values = kept["value"].to_numpy(dtype=float)
    bounds = interval(values, rng=np.random.default_rng(0)) if len(values) else None
    return Summary(
        experiment=name,
        metric=metric,
        unit=str(last["unit"].iloc[0]),
        mean=bounds.mean if bounds else math.nan,
        low=bounds.low if bounds else math.nan,
        high=bounds.high if bounds else math.nan,
        std=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        # Seeds are evaluated on the same examples: their errors are not independent, so they are not divided by the seeds.
        mc_se=float(kept["se"].mean()) if len(kept) else math.nan,
        n=int(last["n"].iloc[0]),
        seeds=seeds,
        diverged=lost,
        finished=finished,
        seconds=seconds,
    )


def text_table(rows: Sequence[Summary]) -> str:
    """The table as aligned text."""
    if not rows:
        return "no finished seed yet"
    head = ("experiment", "metric", "mean", "95 % over seeds", "std", "seeds", "diverged")
    body = [
        (
            row.experiment,
            row.metric,
            f"{row.mean:.4f}",
            f"[{row.low:.4f}, {row.high:.4f}]",
            f"{row.std:.4f}",
            str(row.seeds) + ("" if row.finished else " (unfinished)"),
            str(row.diverged),
        )
        for row in rows
    ]
    widths = [max(len(cells[i]) for cells in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True)))
        for cells in (head, *body)
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
