"""Runs as a report sees them: what was stored, under short names, grouped by what may be compared with what."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seedbed.core.errors import SeedbedError
from seedbed.report.summary import LOST
from seedbed.store.folder import Folder
from seedbed.store.manifest import FILE, Manifest
from seedbed.store.table import COLUMNS, Row

GAP = "gap_nats"
HIGHER_IS_BETTER = ("precision", "recall", "density", "coverage", "recognised_share")
_REPLACED = re.compile(r"\.replaced-\d{8}-\d{6}$")  # a run that `--again` moved aside


def higher_is_better(metric: str) -> bool:
    """Whether a metric is declared so; all others are losses."""
    return metric.split("@")[0] in HIGHER_IS_BETTER


def find_runs(root: Path) -> list[Path]:
    """Every run folder at or below a folder, in the order of their paths; runs that were moved aside are passed over."""
    found = []
    for folder, below, files in os.walk(root):
        if FILE in files:
            found.append(Path(folder))
            below.clear()
        below[:] = [name for name in below if not _REPLACED.search(name)]
    return sorted(found)


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder, read once.

    Args:
        folder: where it is stored.
        manifest: what it was.
        rows: its whole table, as far as it has come.
        label: its name among the runs it stands beside.
    """

    folder: Folder
    manifest: Manifest
    rows: list[Row] = field(repr=False)
    label: str = ""

    @classmethod
    def read(cls, path: Path) -> "Run":
        """Read one run folder.

        Raises:
            SeedbedError: if it is none, or its manifest or table is damaged.
        """
        folder = Folder(path)
        manifest = folder.manifest()
        try:
            return cls(folder, manifest, folder.rows())
        except (ValueError, OSError, UnicodeError) as error:
            raise SeedbedError(f"the table of {path} is damaged ({error}); restore it or run again with --again") from error

    @property
    def data(self) -> str:
        """Name of the data set."""
        return str(self.manifest.data.get("name") or self.manifest.config.get("data") or "data")

    @property
    def model(self) -> str:
        """The experiment's name without study and data set."""
        return (
            self.manifest.experiment.split("/", 2)[-1]
            if self.manifest.experiment.count("/") >= 2
            else self.manifest.experiment
        )

    @property
    def vary(self) -> str:
        """What differs between its seeds."""
        return str(self.manifest.config.get("vary", "model"))

    @property
    def steps(self) -> int:
        """Updates declared."""
        return int(self.manifest.config.get("steps", 0))

    @cached_property
    def fates(self) -> dict[int, tuple[str, int]]:
        """How and at which step each seed ended; seeds that still train have none."""
        return {row.seed: (row.metric, int(row.value)) for row in self.rows if row.split == "status"}

    @cached_property
    def lost(self) -> tuple[int, ...]:
        """Seeds that diverged or ended worse than their trivial baseline."""
        return tuple(sorted(seed for seed, (fate, _) in self.fates.items() if fate in LOST))

    def ended(self, fate: str) -> list[int]:
        """Seeds that met one fate."""
        return sorted(seed for seed, (met, _) in self.fates.items() if met == fate)

    @property
    def finished(self) -> bool:
        """Whether every seed came to its end."""
        return self.fates.keys() >= set(self.manifest.seeds)

    @cached_property
    def progress(self) -> float:
        """Share of the training that is done, over all seeds."""
        reached = {seed: 0 for seed in self.manifest.seeds}
        for row in self.rows:
            reached[row.seed] = self.steps if row.split == "status" else max(reached.get(row.seed, 0), row.step)
        return sum(reached.values()) / max(1, len(reached) * self.steps)

    @cached_property
    def seconds(self) -> float:
        """Seconds of training and evaluation, summed over the groups of seeds."""
        walls: dict[int, float] = {}
        for row in self.rows:
            walls[row.seed] = max(walls.get(row.seed, 0.0), row.wall_s)
        return sum(max((walls.get(seed, 0.0) for seed in group), default=0.0) for group in self.manifest.groups)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The long table."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
        return pd.DataFrame(columns, columns=list(COLUMNS))

    def metrics(self, split: str) -> list[str]:
        """What was measured on a split, the gap to the known floor first."""
        return sorted((metric for where, metric in self._units if where == split), key=lambda metric: metric != GAP)

    @cached_property
    def _units(self) -> dict[tuple[str, str], str]:
        return {(row.split, row.metric): row.unit for row in self.rows}

    def unit(self, metric: str) -> str:
        """The unit of a metric, ``""`` if it was not measured."""
        return self._units.get(("test", metric)) or self._units.get(("valid", metric), "")

    def final(self, metric: str) -> pd.Series:
        """The last test value of each seed that has one, lost seeds included."""
        values = {row.seed: row.value for row in self.rows if row.split == "test" and row.metric == metric}
        return pd.Series(values, dtype=float).sort_index()

    def without(self, metric: str) -> tuple[int, ...]:
        """Seeds that count as diverged on a metric: those lost, and those whose test value is not finite."""
        values = self.final(metric)
        return tuple(sorted({*self.lost, *(int(s) for s in values.index[~np.isfinite(values)])}))


@dataclass(frozen=True)
class Group:
    """Runs on one data set under one protocol: the family within which every pair may be compared.

    Args:
        task: the data set, with what else sets the group apart where that is needed.
        runs: labelled apart.
        metric: the test metric that they are compared on; ``""`` before there is one.
        strangers: runs of the same data set that did not measure it.
    """

    task: str
    runs: list[Run]
    metric: str
    strangers: list[Run] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """Unit of the metric."""
        return next((unit for run in self.runs if (unit := run.unit(self.metric))), "")


def differences(a: Run, b: Run) -> list[str]:
    """Why two runs may not be compared: what of data and protocol differs, in words; empty if they may."""
    found = []
    for name, said in (("name", "data"), ("protocol", "protocol"), ("checksum", "checksum of the data")):
        x, y = a.manifest.data.get(name), b.manifest.data.get(name)
        if x and y and x != y:
            found.append(f"{said}: {str(x)[:80]!r} against {str(y)[:80]!r}")
    # A protocol that differs explains the checksum that differs with it.
    found = found[:1] if a.data != b.data else [f for f in found if not f.startswith("checksum")] or found
    return found + ([f"what varies over seeds: {a.vary} against {b.vary}"] if a.vary != b.vary else [])


def grouped(runs: Sequence[Run], metric: str | None = None) -> list[Group]:
    """Runs by data set, protocol and what varies over seeds, in order of appearance, labelled apart within each.

    Args:
        runs: any.
        metric: the test metric of all groups; by default the gap to the known floor where every run of a group has it, else
            the first that all have in common, else the first of each run, which splits the group.
    """
    parts: list[list[Run]] = []
    for run in runs:
        home = next(
            (part for part in parts if not any(differences(run, other) or run.data != other.data for other in part)), None
        )
        home.append(run) if home is not None else parts.append([run])
    names = Counter(part[0].data for part in parts)
    out = []
    for part in parts:
        task = part[0].data if names[part[0].data] == 1 else _long_name(part, parts)
        out += _by_metric(task, labelled(part), metric)
    return out


def _long_name(part: list[Run], parts: list[list[Run]]) -> str:
    run, rivals = part[0], [p[0] for p in parts if p is not part and p[0].data == part[0].data]
    name = run.data
    if any(run.vary != rival.vary for rival in rivals):
        name += f", varying {run.vary}"
    protocols = {str(r.manifest.data.get("protocol", "")) for r in rivals}
    if protocols - {own := str(run.manifest.data.get("protocol", ""))}:
        name += f" ({own.removeprefix(run.data).strip(', ')})"
    return name


def _by_metric(task: str, runs: list[Run], metric: str | None) -> list[Group]:
    measured = [run for run in runs if run.metrics("test")]
    common = [m for m in (measured[0].metrics("test") if measured else []) if all(m in r.metrics("test") for r in measured)]
    keys = [metric or (common or run.metrics("test") or [""])[0] for run in runs]
    first = next((key for key in keys if key), "")  # a run without a number waits beside the others
    groups = []
    for name in dict.fromkeys(key or first for key in keys):
        members = [run for run, key in zip(runs, keys, strict=True) if (key or first) == name]
        strangers = [run for run in members if run.metrics("test") and name not in run.metrics("test")]
        groups.append(Group(task, [run for run in members if run not in strangers], name, strangers))
    return groups


def labelled(runs: Iterable[Run]) -> list[Run]:
    """The same runs with labels told apart: the model, then the settings that differ, then the folder's name."""
    runs = list(runs)
    named = [replace(run, label=run.model) for run in runs]
    namings: list[Callable[[Run, list[Run]], str]] = [_by_settings, lambda run, _: run.folder.path.name, _by_path]
    for naming in namings:
        counts = Counter(run.label for run in named)
        named = [
            run
            if counts[run.label] == 1
            else replace(run, label=_extended(run, naming(run, [r for r in named if r.label == run.label])))
            for run in named
        ]
    return named


def _extended(run: Run, note: str) -> str:
    return f"{run.model} ({note})" if note else run.label


def _by_settings(run: Run, twins: list[Run]) -> str:
    differing = settings_that_differ(twins)
    return ", ".join(f"{key}={shown(run.manifest.config.get(key))}" for key in differing) if len(differing) <= 3 else ""


def _by_path(run: Run, _: list[Run]) -> str:
    return str(run.folder.path)


def settings_that_differ(runs: Sequence[Run]) -> list[str]:
    """Declared fields whose values are not the same in all runs that have them, in order of declaration."""
    keys = list(dict.fromkeys(key for run in runs for key in run.manifest.config))
    absent = object()
    return [k for k in keys if len({shown(run.manifest.config.get(k, absent)) for run in runs}) > 1]


def shown(value: Any) -> str:
    """A setting as one types it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
