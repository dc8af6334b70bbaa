"""The long table of a run: one line per (seed, step, split, metric), only ever appended to.

Each group of seeds that trains together appends to a file of its own, so processes never write to the same file.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seedbed.core.errors import SeedbedError
from seedbed.store.atomic import clear_os_errors, make_folder, sync_folder, write_atomic

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


class DamagedTable(SeedbedError):
    """A file whose lines are not those of a table."""


class LongTable:
    """An append-only CSV file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size: int | None = None  # of the file, once this object has written to it

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows and hand them to the operating system at once.

        Raises:
            SeedbedError: if they cannot be written, or somebody else has changed the file.
        """
        with clear_os_errors(self.path):
            make_folder(self.path.parent)
            # Unbuffered: what a full disk refused must not be written after all when the file is closed.
            with open(self.path, "ab", buffering=0) as handle:
                size = handle.tell()
                self._check(size)
                data = _text(rows, header=size == 0)
                try:
                    while data:
                        data = data[handle.write(data) :]
                except OSError:
                    handle.truncate(size)  # a full disk must not leave half a line
                    raise
                self._size = handle.tell()

    def sync(self) -> None:
        """Flush what was appended to disk, before something that counts on it is written there."""
        if self.path.exists():
            with clear_os_errors(self.path), open(self.path, "rb+") as handle:
                os.fsync(handle.fileno())
            sync_folder(self.path.parent)

    def written(self) -> bytes:
        """The file as this object has written it.

        Raises:
            SeedbedError: if somebody else has changed it since.
        """
        found = self.content()
        self._check(len(found))
        return found

    def content(self) -> bytes:
        """The file as it is; nothing if it is not there.

        Raises:
            DamagedTable: if it cannot be read.
        """
        try:
            return self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            raise DamagedTable(f"cannot read the table {self.path}: {error.strerror or error}") from error

    def restore(self, content: bytes) -> None:
        """Make the file what it was, where it is not."""
        if not content:
            self.path.unlink(missing_ok=True)
        elif self.content() != content:
            write_atomic(self.path, lambda temporary: temporary.write_bytes(content))
        self._size = len(content)

    def read(self) -> list[Row]:
        """Every whole line; a line cut off by a crash is not one, and one that was written twice counts once.

        Raises:
            DamagedTable: if the lines are not those of a table.
        """
        return parsed(self.content(), self.path)

    def cut(self, step: int) -> None:
        """Drop rows beyond a checkpoint and those of an unfinished end, so that continuing writes each of them once."""
        self.put([row for row in self.read() if row.step <= step and row.split in ("train", "valid")])

    def put(self, rows: Sequence[Row]) -> None:
        """Replace all rows, in one piece; without any there is no file."""
        if rows:
            write_atomic(self.path, lambda temporary: temporary.write_bytes(_text(rows, header=True)))
        else:
            self.path.unlink(missing_ok=True)
        self._size = None

    def _check(self, size: int) -> None:
        if self._size not in (None, size):
            raise SeedbedError(
                f"another program has changed {self.path} while rows were written to it; "
                "run the same command to continue from the last checkpoint"
            )


def parsed(content: bytes, path: Path) -> list[Row]:
    """The rows of a table's bytes, see ``LongTable.read``."""
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        return []
    rows: dict[tuple[int, int, str, str], Row] = {}
    try:
        lines = csv.reader(io.StringIO(whole.decode("utf-8"), newline=""), strict=True)
        if (header := next(lines)) != list(COLUMNS):
            raise ValueError(f"its columns are {', '.join(header)[:80]}")
        for cells in lines:
            row = _row(cells)
            if not _alike(rows.setdefault((row.seed, row.step, row.split, row.metric), row), row):
                raise ValueError(f"line {lines.line_num} has another {row.metric} of seed {row.seed} at step {row.step}")
    except (ValueError, csv.Error) as error:
        raise DamagedTable(f"the table {path} is damaged ({error})") from error
    return list(rows.values())


def _alike(one: Row, other: Row) -> bool:
    """Whether two rows say the same, whenever that was; of what is no number as well."""
    return repr(replace(one, wall_s=other.wall_s)) == repr(other)


def _text(rows: Iterable[Row], *, header: bool) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerows(_cells(row) for row in rows)
    return buffer.getvalue().encode()


def _cells(row: Row) -> list[object]:
    return [repr(float(v)) if isinstance(v, float) else v for v in astuple(row)]


def _row(cells: list[str]) -> Row:
    """One line; raises ``ValueError`` if it is none of a table."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"a line has {len(cells)} cells, expected {len(COLUMNS)}")
    seed, step, split, metric, value, unit, n, se, wall = cells
    row = Row(int(seed), int(step), split, metric, float(value), unit, int(n), float(se), float(wall))
    if min(row.seed, row.step, row.n) < 0 or not split or not metric:
        raise ValueError(f"a line of seed {seed} has a negative count or no name")
    return row


def frame(rows: Iterable[Row]) -> "pd.DataFrame":
    """Rows as a data frame, sorted by seed and step."""
    import pandas as pd

    data = pd.DataFrame([astuple(row) for row in rows], columns=list(COLUMNS))
    return data.sort_values(["seed", "step"], kind="stable", ignore_index=True)
