"""What a set of runs came to, as a table: mean, interval over seeds, spread, and how many seeds diverged."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from seedbed.judge.sentences import amount
from seedbed.report.stored import StoredRun
from seedbed.report.summary import WORSE, Summary
from seedbed.report.tables import Table
from seedbed.store.folder import Folder
from seedbed.store.table import Row


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
    manifest, rows = folder.manifest(), folder.rows() if rows is None else rows
    if seeds is not None:
        manifest = replace(manifest, groups=[[seed for seed in group if seed in seeds] for group in manifest.groups])
    asked = set(manifest.seeds)
    return StoredRun(folder, manifest, [row for row in rows if row.seed in asked]).summaries_on(split)


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
        shown = row.shown
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
