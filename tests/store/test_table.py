"""The long table: what was appended is read, nothing else."""

import errno
import io
import math
import os
from dataclasses import replace

import pytest

from seedbed.core.errors import SeedbedError
from seedbed.store import table as module
from seedbed.store.table import COLUMNS, LongTable, Row, frame


def row(seed=0, step=10, split="valid", metric="nll_nats", value=0.1, n=7):
    return Row(seed, step, split, metric, value, "nats", n, 0.25, 1.5)


def test_rows_come_back_to_the_last_bit(tmp_path):
    table = LongTable(tmp_path / "deep" / "table.csv")
    assert table.read() == []
    first = [row(value=0.1 + 0.2), row(seed=3, metric='odd,"name"', value=1e-300), row(step=15, value=math.inf)]
    second = [row(step=20, value=-math.pi)]
    table.append(first)
    table.append(second)
    assert table.read() == first + second
    table.append([row(step=30, value=math.nan)])
    assert math.isnan(table.read()[-1].value)
    lines = table.path.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 6  # one header however often it is appended to


@pytest.mark.parametrize("keep", [0, 1, 30, "last digit", "newline"])
def test_a_half_written_last_line_is_no_row(tmp_path, keep):
    table = LongTable(tmp_path / "table.csv")
    table.append([row(step=10), row(step=20)])
    text = table.path.read_text()
    table.append([row(step=30, n=123)])
    last = table.path.read_text().removeprefix(text)
    length = {"last digit": len(last) - 2, "newline": len(last) - 1}.get(keep, keep)
    table.path.write_text(text + last[:length])
    assert [r.step for r in table.read()] == [10, 20]
    table.cut(20)
    table.append([row(step=30)])
    assert [r.step for r in table.read()] == [10, 20, 30]
    assert table.path.read_text().endswith("\n")


@pytest.mark.parametrize("text", ["", "seed,st", ",".join(COLUMNS)])
def test_a_file_that_was_only_begun(tmp_path, text):
    table = LongTable(tmp_path / "table.csv")
    table.path.write_text(text)
    assert table.read() == []
    table.cut(100)
    table.append([row()])
    assert table.read() == [row()]


def test_cut_drops_what_a_checkpoint_has_not_seen(tmp_path):
    table = LongTable(tmp_path / "table.csv")
    kept = [row(step=10, split="train"), row(step=10), row(step=20)]
    table.append([*kept, row(step=30), row(step=20, split="test"), row(step=20, split="status")])
    table.cut(20)
    assert table.read() == kept  # the end of a run is written once, at its end
    table.cut(-1)
    assert not table.path.exists()
    table.cut(-1)  # nothing to cut is no error


def test_a_full_disk_leaves_whole_lines(tmp_path, no_file_beyond):
    table = LongTable(tmp_path / "table.csv")
    table.append([row(), row(step=20)])
    before = table.path.read_bytes()
    with no_file_beyond(len(before) + 100), pytest.raises(SeedbedError, match=r"cannot write .*table\.csv"):
        table.append([row(step=step) for step in range(30, 60)])
    assert table.path.read_bytes() == before
    table.append([row(step=30)])
    assert [r.step for r in table.read()] == [10, 20, 30]


class Full(io.FileIO):
    """A file on a full disk: it takes half of what it is given, then nothing."""

    taken = False

    def write(self, data):
        if self.taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.taken = True
        return super().write(data[: len(data) // 2])


def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch):
    table = LongTable(tmp_path / "table.csv")
    table.append([row()])
    before = table.path.read_bytes()
    monkeypatch.setattr(module, "open", lambda path, mode, **_: Full(path, mode), raising=False)
    with pytest.raises(SeedbedError, match=r"no space left to write .*table\.csv; .* free some space") as caught:
        table.append([row(step=20), row(step=30)])
    assert "\n" not in str(caught.value)
    assert table.path.read_bytes() == before


def test_frames_are_sorted_by_seed_and_step():
    rows = [row(seed=1, step=20), row(seed=0, step=20), row(seed=1, step=10), row(seed=0, step=20, metric="kl_nats")]
    data = frame(rows)
    assert list(data.columns) == list(COLUMNS)
    assert [tuple(r) for r in data[["seed", "step", "metric"]].itertuples(index=False)] == [
        (0, 20, "nll_nats"),
        (0, 20, "kl_nats"),
        (1, 10, "nll_nats"),
        (1, 20, "nll_nats"),
    ]
    assert frame([]).empty
    assert replace(rows[0], wall_s=0.0) != rows[0]
