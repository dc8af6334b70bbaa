"""The long table of a run: one line per (seed, step, split, metric), only ever appended to.

Each group of seeds that trains together appends to a file of its own, so processes never write to the same file.
"""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from seedbed.store.atomic import clear_os_errors, sync_folder, write_atomic

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One measured number.

    Args:
        seed: the run's seed.
        step: updates done when it was measured.
        split: ``train``, ``valid`` or ``test``; ``status`` for a seed's fate.
        metric: name with its unit, e.g. ``neg_elbo_nats``.
        value: the mean over examples.
        unit: e.g. ``nats``.
        n: examples averaged.
        se: Monte-Carlo standard error of ``value`` over those examples, never over seeds.
        wall_s: seconds of training so far, over all interruptions.
    """

    seed: int
    step: int
    split: str
    metric: str
    value: float
    unit: str
    n: int
    se: float
    wall_s: float


COLUMNS = tuple(f.name for f in fields(Row))


class LongTable:
    """An append-only CSV file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows and hand them to the operating system at once."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if not self.path.exists():
            writer.writerow(COLUMNS)
        writer.writerows(_cells(row) for row in rows)
        with clear_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what a full disk refused must not be written after all when the file is closed.
            with open(self.path, "ab", buffering=0) as handle:
                size, data = handle.tell(), buffer.getvalue().encode()
                try:
                    while data:
                        data = data[handle.write(data) :]
                except OSError:
                    handle.truncate(size)  # a full disk must not leave half a line
                    raise

    def sync(self) -> None:
        """Flush what was appended to disk, before something that counts on it is written there."""
        if self.path.exists():
            with clear_os_errors(self.path), open(self.path, "rb+") as handle:
                os.fsync(handle.fileno())
            sync_folder(self.path.parent)

    def read(self) -> list[Row]:
        """Every whole line; a line cut off by a crash is not one."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        return [_row(cells) for cells in csv.reader(whole[1:]) if len(cells) == len(COLUMNS)]

    def cut(self, step: int) -> None:
        """Drop rows beyond a checkpoint and those of an unfinished end, so that continuing writes each of them once."""
        kept = [row for row in self.read() if row.step <= step and row.split in ("train", "valid")]
        self.path.unlink(missing_ok=True) if not kept else self._rewrite(kept)

    def _rewrite(self, rows: list[Row]) -> None:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(row) for row in rows)
        write_atomic(self.path, lambda temporary: temporary.write_text(buffer.getvalue(), encoding="utf-8"))


def _cells(row: Row) -> list[object]:
    return [repr(float(v)) if isinstance(v, float) else v for v in astuple(row)]


def _row(cells: list[str]) -> Row:
    seed, step, split, metric, value, unit, n, se, wall = cells
    return Row(int(seed), int(step), split, metric, float(value), unit, int(n), float(se), float(wall))


def frame(rows: Iterable[Row]) -> "pd.DataFrame":
    """Rows as a data frame, sorted by seed and step."""
    import pandas as pd

    data = pd.DataFrame([astuple(row) for row in rows], columns=list(COLUMNS))
    return data.sort_values(["seed", "step"], kind="stable", ignore_index=True)
