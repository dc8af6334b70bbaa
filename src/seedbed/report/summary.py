"""What a set of runs came to, as a table: mean, interval over seeds, spread, and how many seeds diverged."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from seedbed.core.metric import Metric, declared
from seedbed.judge.intervals import Interval, interval
from seedbed.judge.sentences import amount
from seedbed.report.tables import Table
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest
from seedbed.store.table import Row

LOST = ("diverged", "worse_than_baseline")
WORSE = "worse than baseline"


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
        values: of each seed in their order; none of one that diverged.
        n: examples.
        seeds: seeds that were run.
        diverged: of them, those that diverged, ended worse than their trivial baseline or in no finite number.
        finished: whether every seed came to its end.
        seconds: of training and evaluation, summed over groups.
        poor: where no seed counts, the mean over the finite values of those that ended worse than their trivial baseline.
    """

    experiment: str
    metric: str
    unit: str
    mean: float
    low: float
    high: float
    std: float
    mc_se: float
    values: tuple[float | None, ...]
    n: int
    seeds: int
    diverged: int
    finished: bool
    seconds: float
    poor: Interval | None = None

    @property
    def interval(self) -> Interval:
        """The mean and its bounds; of one value where there are none."""
        return Interval(self.mean, self.low, self.high, 2 if math.isfinite(self.low) else 1, "")


def summarise(folders: Iterable[Folder], seeds: Sequence[int] | None = None) -> list[Summary]:
    """Every test metric of every run.

    Args:
        folders: runs, finished or not.
        seeds: only these; all by default.
    """
    return [row for folder in folders for row in summarise_run(folder, seeds)]


def summarise_run(
    folder: Folder, seeds: Sequence[int] | None = None, split: str = "test", rows: Sequence[Row] | None = None
) -> list[Summary]:
    """Every metric of one run on one split, at each seed's last step; of ``rows`` if they were read already."""
    rows = folder.rows() if rows is None else rows
    return summarised(rows, folder.manifest(), lambda metric: declared(metric, folder.declarations()), seeds, split)


def summarised(
    rows: Sequence[Row],
    manifest: Manifest,
    known: Callable[[str], Metric],
    seeds: Sequence[int] | None = None,
    split: str = "test",
) -> list[Summary]:
    """The same of rows that were read, each metric being what ``known`` says."""
    asked = set(manifest.seeds if seeds is None else seeds)
    rows = [row for row in rows if row.seed in asked]
    fates = {row.seed: row.metric for row in rows if row.split == "status"}
    lost = {seed for seed, fate in fates.items() if fate in LOST}
    walls = [max((row.wall_s for row in rows if row.seed in set(group)), default=0.0) for group in manifest.groups]
    last: dict[str, dict[int, Row]] = {}
    for row in rows:
        if row.split == split:
            last.setdefault(row.metric, {})[row.seed] = row
    out = []
    for metric, by_seed in last.items():
        # A seed that ended in no finite number is lost as well: left out of the mean, and counted.
        without = lost | {seed for seed, row in by_seed.items() if not math.isfinite(row.value)}
        kept = [row for seed, row in by_seed.items() if seed not in without]
        values = np.array([row.value for row in kept])
        within = known(metric).range
        bounds = interval(values, rng=np.random.default_rng(0), within=within) if len(kept) else None
        worse = [row.value for seed, row in by_seed.items() if fates.get(seed) == LOST[1] and math.isfinite(row.value)]
        poor = interval(worse, rng=np.random.default_rng(0), within=within) if worse and not kept else None
        some = next(iter(by_seed.values()))
        out.append(
            Summary(
                experiment=manifest.experiment,
                metric=metric,
                unit=some.unit,
                mean=bounds.mean if bounds else math.nan,
                low=bounds.low if bounds else math.nan,
                high=bounds.high if bounds else math.nan,
                std=float(values.std(ddof=1)) if len(kept) > 1 else math.nan,
                # Seeds are evaluated on the same examples, so their errors are not independent: not divided by the seeds.
                mc_se=float(np.mean([row.se for row in kept])) if kept else math.nan,
                values=tuple(None if seed in without else by_seed[seed].value for seed in sorted(by_seed)),
                n=some.n,
                seeds=len(asked),
                diverged=len(without),
                finished=set(fates) == asked,
                seconds=sum(walls),
                poor=poor,
            )
        )
    return out


def text_table(rows: Sequence[Summary]) -> str:
    """The table as aligned text."""
    if not rows:
        return "no finished seed yet"
    text = runs_table(rows).text()
    return f"{text}\n\n{_DIVERGED}" if any(row.diverged for row in rows) else text


def runs_table(rows: Sequence[Summary]) -> Table:
    """A line for each test metric of each run."""
    head = ["experiment", "metric", "mean", "95 % over seeds", "std", "seeds", "diverged"]
    body = []
    for row in rows:
        shown = row.poor or row.interval
        mean, _, bounds = amount(shown, "").partition(" [")
        cells = [
            row.experiment,
            row.metric,
            (mean if math.isfinite(shown.mean) else "none") + (f" {WORSE}" if row.poor else ""),
            f"[{bounds}" if math.isfinite(shown.low) else "",
            f"{row.std:.2g}" if math.isfinite(row.std) else "",
            str(row.seeds) + ("" if row.finished else " (unfinished)"),
            str(row.diverged),
        ]
        body.append(cells)
    return Table("runs", "", head, body, words=2)


_DIVERGED = (
    "diverged: seeds that ended in no finite number, or worse than a trivial model (after very few steps all may);\n"
    "they are counted here, and left out of the means; a mean over nothing but such seeds says so"
)
