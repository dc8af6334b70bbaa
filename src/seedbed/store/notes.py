"""The notes beside evaluations: how their rows came about, an entry for each group of seeds."""

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from seedbed.core.errors import SeedbedError
from seedbed.core.metric import Metric
from seedbed.store.atomic import write_atomic
from seedbed.store.schema import Check, is_list, is_number, is_table, is_text, mismatch


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a note by their group's seeds; none if it is not there.

    Raises:
        SeedbedError: if it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not is_table(found, is_table):
        raise _damaged(path, "its entries must be objects")
    for entry in found.values():
        metrics = entry.get("metrics", [])
        wrong = next(filter(None, map(_wrong, metrics)), "") if is_list(metrics, is_table) else "metrics must be objects"
        if wrong:
            raise _damaged(path, wrong)
    return found


def add(path: Path, group: Sequence[int], entry: dict[str, Any]) -> None:
    """Write an entry, the others as they are.

    Raises:
        SeedbedError: if the note is damaged, or cannot be written.
    """
    text = json.dumps({**read(path), ",".join(map(str, group)): entry}, indent=1)
    write_atomic(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def declared(path: Path) -> list[Metric]:
    """Metrics that a note declares, see ``read``."""
    return [Metric(**one) for entry in read(path).values() for one in entry.get("metrics", ())]


def _wrong(metric: dict[str, Any]) -> str:
    known = {entry.name: entry.default for entry in fields(Metric)}
    if unknown := sorted(metric.keys() - known.keys()):
        return f"unknown entry {unknown[0]!r} of a metric"
    if missing := [name for name, default in known.items() if default is MISSING and name not in metric]:
        return f"{missing[0]} of a metric is missing"
    return mismatch(metric, _METRIC)


def _damaged(path: Path, why: str) -> SeedbedError:
    return SeedbedError(f"{path} is damaged ({why}); delete it and its .csv, and evaluate again")


_TEXT: tuple[str, Check] = ("a text", is_text)
_BOUND: tuple[str, Check] = ("a number or null", lambda value: value is None or is_number(value))
_METRIC: dict[str, tuple[str, Check]] = {
    **dict.fromkeys(("name", "unit", "meaning", "kind", "of", "beside"), _TEXT),
    "better": ("lower, higher or null", lambda value: value in ("lower", "higher", None)),
    "low": _BOUND,
    "high": _BOUND,
    "offset": ("true or false", lambda value: isinstance(value, bool)),
}
