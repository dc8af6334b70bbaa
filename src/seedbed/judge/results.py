"""Somebody's table of results, long or wide, as one frame: a value of each model, task, metric and seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seedbed.core.errors import SeedbedError
from seedbed.core.metric import Better, Metric
from seedbed.judge.columns import Columns, assigned, metric_of, seed_columns

MOSTLY = 0.5  # share of a column that is numbers from which on it was meant to be of numbers
KEYS = ["model", "task", "metric", "seed"]
_WORDS = {"", "nan", "na", "n/a", "none", "null", "-", "inf", "-inf", "+inf", "infinity", "-infinity", "failed", "diverged"}
# pandas' stubs take a column for anything that a frame can give, so inside this file frames and columns are `Any`.
Frame = Any


@dataclass(frozen=True)
class Results:
    """What a table, or several, came to.

    Args:
        frame: ``model, task, metric, seed, step, value, n, se``, a row for each value; ``value`` is not finite where a seed
            has failed, ``n`` counts the examples of a mean and ``se`` is its standard error over them.
        metrics: by name what each is.
        says: what was taken for what, a line each.
        source: where it came from.
    """

    frame: pd.DataFrame
    metrics: Mapping[str, Metric]
    says: Sequence[str]
    source: str


def results(
    tables: Mapping[str, pd.DataFrame],
    *,
    told: Mapping[str, Sequence[str]] | None = None,
    better: Mapping[str, Better] | None = None,
) -> Results:
    """Tables of results by where each came from, tidied and joined.

    A long table has a line for each value; a wide one has a column for each seed, each metric, or, where it names seeds but
    no model, each model. Without a column of models a table of several is one model, by its name. Of several steps of a
    seed the last one counts. Cells that are blank were not run; those that say nan or inf have failed.

    Args:
        tables: cells as they were read, text or numbers.
        told: columns by role.
        better: which way, by metric or, under ``""``, of all.

    Raises:
        SeedbedError: for a table in which seeds, models or numbers cannot be told, or two values of one seed.
    """
    parts, says = [], []
    for source, given_table in tables.items():
        table: Frame = given_table.reset_index(drop=True)
        table.columns = pd.Index([str(name).strip() for name in table.columns])
        if doubled := table.columns[table.columns.duplicated()].tolist():
            raise SeedbedError(f"{source} has two columns of the name {doubled[0]!r}; rename one")
        if table.empty:
            raise SeedbedError(f"{source} has no rows; there is nothing to compare")
        part, words = _tidied(source, table, told or {}, alone=len(tables) == 1)
        parts.append(part)
        says.append(words)
    frame: Frame = pd.concat(parts, ignore_index=True)
    source = ", ".join(tables)
    frame = _seeds_as_numbers(frame, says)
    frame = _one_value_each(_averaged(frame), source)
    failed = int((~np.isfinite(frame["value"].to_numpy())).sum())
    if failed:
        says.append(f"{failed} value{'s' if failed > 1 else ''} not finite: such a seed counts as diverged")
    given: dict[str, Better] = dict(better or {})
    everywhere = given.pop("", None)
    bounds: Frame = frame[np.isfinite(frame["value"])].groupby("metric")["value"].agg(["min", "max"])
    metrics = {}
    for name in dict.fromkeys(frame["metric"]):
        low, high = (float(bounds.at[name, what]) for what in ("min", "max")) if name in bounds.index else (np.nan, np.nan)
        metrics[name] = metric_of(name, given.pop(name) if name in given else everywhere, low, high)
    if given:
        raise SeedbedError(f"no metric {next(iter(given))!r} in {source}; it has {', '.join(metrics)}")
    return Results(frame, metrics, says, source)


def _tidied(source: str, table: Frame, told: Mapping[str, Sequence[str]], *, alone: bool) -> tuple[Frame, str]:
    columns = assigned(list(table.columns), told)
    roles, rest = dict(columns.roles), list(columns.rest)
    out, words = pd.DataFrame(index=table.index), columns.words(source)
    for role in ("model", "task", "metric", "seed", "example"):
        if role in roles:
            out[role] = _joined(table, roles[role], role, source)
    if "step" in roles:
        out["step"] = _numbers(table[roles["step"][0]], roles["step"][0], source)
    if "value" in roles:
        measured = {roles["value"][0]: table[roles["value"][0]]}
        across = "metric" if "metric" not in roles else ""
    elif "seed" not in roles:
        seeds = seed_columns(rest)
        if not seeds:
            raise _no_seeds(source, columns)
        measured, across = {name: table[name] for name in seeds}, "seed"
        words += f", a column each of {len(seeds)} seeds"
    else:
        for name in rest:
            if not _is_number(table[name]) and _parsed(table[name].astype(str).str.strip()).notna().mean() >= MOSTLY:
                _numbers(table[name], name, source)  # says which cell is none
        measured = {name: table[name] for name in rest if _is_number(table[name])}
        if not measured:
            raise SeedbedError(f"no column of numbers in {source} beside {words}; name it with --columns value=COLUMN")
        across = "metric" if "model" in roles or not alone else "model"
        words += f", a column each of {len(measured)} {across}{'s' if len(measured) > 1 else ''}: {', '.join(measured)}"
    if "model" not in roles and across != "model":
        if alone and "metric" not in roles and across == "metric":
            raise SeedbedError(f"no column of models in {source} ({words}); name it with --columns model=COLUMN")
        out["model"] = Path(source).stem
    parts = []
    for name, cells in measured.items():
        part = out.copy()
        if across:
            part[across] = seed_columns(rest)[name] if across == "seed" else name
        part["value"] = _numbers(cells, name, source)
        # A blank cell is a run that there is none of.
        parts.append(part[(cells.astype(str).str.strip() != "").to_numpy() & cells.notna().to_numpy() | _failed(cells)])
    frame = pd.concat(parts, ignore_index=True)
    spare = [name for name in rest if name not in measured and not _is_number(table[name])]
    if "task" not in frame and len(spare) == 1 and frame.duplicated([n for n in frame.columns if n != "value"]).any():
        # What else would tell one line from another?
        again, words = _tidied(source, table, {**told, "task": spare}, alone=alone)
        return again, words
    for name, value in (("task", Path(source).stem), ("metric", "value"), ("step", 0.0)):
        if name not in frame:
            frame[name] = value
    if frame.empty:
        raise SeedbedError(f"{source} has no value at all in {', '.join(measured)}; there is nothing to compare")
    return frame, words


def _joined(table: Frame, columns: Sequence[str], role: str, source: str) -> Frame:
    """Cells of a role as text, of several columns joined by a blank."""
    text = table[columns[0]].astype(str).str.strip()
    for column in columns[1:]:
        text = text + " " + table[column].astype(str).str.strip()
    blank = table[columns[0]].isna() | (text == "")
    if blank.any():
        raise SeedbedError(f"{source}, line {int(np.argmax(blank.to_numpy())) + 2}: no {role} in {columns[0]!r}; fill it in")
    return text


def _failed(cells: Frame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Of a column of numbers those that say that they are none; of text it shows itself."""
    return cells.isna().to_numpy() if cells.dtype.kind == "f" else np.zeros(len(cells), dtype=bool)


def _is_number(cells: Frame) -> bool:
    if cells.dtype.kind in "biuf":
        return True
    text = cells.astype(str).str.strip().str.lower()
    text = text[~text.isin(_WORDS)]
    return bool(len(text)) and bool(_parsed(text).notna().all())


def _numbers(cells: Frame, name: str, source: str) -> Frame:
    """Cells as numbers; ``nan`` of those that are blank or say that they have failed.

    Raises:
        SeedbedError: for any other text, with its line.
    """
    if cells.dtype.kind in "biuf":
        return cells.astype(float)
    text = cells.astype(str).str.strip()
    found = _parsed(text.str.rstrip("%"))
    wrong = found.isna() & ~text.str.lower().isin(_WORDS)
    if wrong.any():
        at = int(np.argmax(wrong.to_numpy()))
        raise SeedbedError(f"{source}, line {at + 2}: {text.iloc[at][:60]!r} in column {name!r} is no number; mend it")
    return found.astype(float)


def _parsed(text: Frame) -> Frame:
    """Text as numbers, ``nan`` where it is none."""
    return pd.to_numeric(text, errors="coerce")


def _no_seeds(source: str, columns: Columns) -> SeedbedError:
    there = ", ".join(columns.rest[:8]) + (" and more" if len(columns.rest) > 8 else "")
    return SeedbedError(
        f"no column of seeds in {source} (of {there or 'those that have another role'}); name it with --columns "
        "seed=COLUMN: without seeds no difference can be told from luck"
    )


def _seeds_as_numbers(frame: Frame, says: list[str]) -> Frame:
    """Seeds as whole numbers; names of runs in the order of their names."""
    numbers = _parsed(frame["seed"])
    if numbers.notna().all() and (numbers == numbers.round()).all() and (numbers.abs() < 2**53).all():
        return frame.assign(seed=numbers.astype("int64"))
    split = frame["seed"].astype(str).str.extract(r"^(.*?)(\d+)$")
    if split[0].notna().all() and split[0].nunique() == 1:  # fold_0, fold_1
        return frame.assign(seed=split[1].astype("int64"))
    names = sorted(frame["seed"].astype(str).unique())
    says.append(f"seeds are names, in order: {', '.join(names[:3])}{'...' if len(names) > 3 else ''}")
    return frame.assign(seed=frame["seed"].astype(str).map({name: at for at, name in enumerate(names)}))


def _averaged(frame: Frame) -> Frame:
    """A table with a line for each example: the mean over them, with its standard error."""
    if "example" not in frame:
        return frame.assign(n=1, se=0.0)
    by = [*KEYS, "step"]
    if (twice := frame.duplicated([*by, "example"])).any():
        row = frame[twice].iloc[0]
        raise SeedbedError(f"{_named(row)}: example {row['example']} has two values; keep one, or name a column of tasks")
    found = frame.groupby(by, sort=False)["value"].agg(["mean", "count", "sem", "size"]).reset_index()
    whole = found["count"] == found["size"]  # a mean over what is left after failures would hide them
    value = found["mean"].where(whole, np.nan)
    return found[by].assign(value=value, n=found["size"], se=found["sem"].fillna(0.0))


def _one_value_each(frame: Frame, source: str) -> Frame:
    """The frame in order, after refusing two values of one seed at one step."""
    by = [*KEYS, "step"]
    if (twice := frame.duplicated(by)).any():
        row = frame[twice].iloc[0]
        count = int((frame[KEYS] == row[KEYS]).all(axis=1).sum())
        raise SeedbedError(
            f"{source}: {_named(row)} has {count} values; keep one, or name the column that tells them apart, e.g. "
            "--columns task=COLUMN or --columns model=COLUMN+COLUMN"
        )
    return frame.sort_values([*KEYS, "step"], kind="stable", ignore_index=True) if (frame["step"] != 0).any() else frame


def _named(row: Frame) -> str:
    return f"{row['model']} at seed {row['seed']} on {row['task']} ({row['metric']})"
