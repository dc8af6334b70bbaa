"""Which runs may stand beside which: groups on one data set under one protocol, with labels that tell their runs apart."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from seedbed.core.metric import Metric, declared
from seedbed.report.stored import StoredRun


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
    runs: list[StoredRun]
    metric: str
    strangers: list[StoredRun] = field(default_factory=list)

    @property
    def declared(self) -> Metric:
        """What the metric is."""
        return next((run.declared(self.metric) for run in self.runs if self.metric in run.judged), declared(self.metric))

    @property
    def unit(self) -> str:
        """Unit of the metric."""
        return next((unit for run in self.runs if (unit := run.unit(self.metric))), "")


def differences(a: StoredRun, b: StoredRun) -> list[str]:
    """Why two runs may not be compared: what of data and protocol differs, in words; empty if they may."""
    found = []
    for name, said in (("name", "data"), ("protocol", "protocol"), ("checksum", "checksum of the data")):
        x, y = a.manifest.data.get(name), b.manifest.data.get(name)
        if x and y and x != y:
            found.append(f"{said}: {str(x)[:80]!r} against {str(y)[:80]!r}")
    # A protocol that differs explains the checksum that differs with it.
    found = found[:1] if a.data != b.data else [f for f in found if not f.startswith("checksum")] or found
    return found + ([f"what varies over seeds: {a.vary} against {b.vary}"] if a.vary != b.vary else [])


def grouped(runs: Sequence[StoredRun], metric: str | None = None) -> list[Group]:
    """Runs by data set, protocol and what varies over seeds, in order of appearance, labelled apart within each.

    Args:
        runs: any.
        metric: the test metric of all groups; by default the gap to the known floor where every run of a group has it, else
            the first that all have in common, else the first of each run, which splits the group.
    """
    parts: list[list[StoredRun]] = []
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


def _long_name(part: list[StoredRun], parts: list[list[StoredRun]]) -> str:
    run, rivals = part[0], [p[0] for p in parts if p is not part and p[0].data == part[0].data]
    name = run.data
    if any(run.vary != rival.vary for rival in rivals):
        name += f", varying {run.vary}"
    protocols = {str(r.manifest.data.get("protocol", "")) for r in rivals}
    if protocols - {own := str(run.manifest.data.get("protocol", ""))}:
        name += f" ({own.removeprefix(run.data).strip(', ')})"
    return name


def _by_metric(task: str, runs: list[StoredRun], metric: str | None) -> list[Group]:
    measured = [run for run in runs if run.judged]
    common = [m for m in (measured[0].judged if measured else []) if all(m in r.judged for r in measured)]
    keys = [metric or (common or run.judged or [""])[0] for run in runs]
    first = next((key for key in keys if key), "")  # a run without a number waits beside the others
    groups = []
    for name in dict.fromkeys(key or first for key in keys):
        members = [run for run, key in zip(runs, keys, strict=True) if (key or first) == name]
        strangers = [run for run in members if run.judged and name not in run.judged]
        groups.append(Group(task, [run for run in members if run not in strangers], name, strangers))
    return groups


def labelled(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """The same runs with labels told apart: the model, then the settings that differ, then the folder's name."""
    runs = list(runs)
    named = [replace(run, label=run.model) for run in runs]
    namings: list[Callable[[StoredRun, list[StoredRun]], str]] = [
        _by_settings,
        lambda run, _: run.folder.path.name,
        _by_path,
    ]
    for naming in namings:
        counts = Counter(run.label for run in named)
        named = [
            run
            if counts[run.label] == 1
            else replace(run, label=_extended(run, naming(run, [r for r in named if r.label == run.label])))
            for run in named
        ]
    return named


def _extended(run: StoredRun, note: str) -> str:
    return f"{run.model} ({note})" if note else run.label


def _by_settings(run: StoredRun, twins: list[StoredRun]) -> str:
    differing = settings_that_differ(twins)
    config = run.manifest.config
    return ", ".join(f"{k}={shown(config[k])}" for k in differing if k in config) if len(differing) <= 3 else ""


def _by_path(run: StoredRun, _: list[StoredRun]) -> str:
    return str(run.folder.path)


def settings_that_differ(runs: Sequence[StoredRun]) -> list[str]:
    """Declared fields whose values are not the same in all runs that have them, in order of declaration."""
    keys = list(dict.fromkeys(key for run in runs for key in run.manifest.config))
    absent = object()
    return [k for k in keys if len({shown(run.manifest.config.get(k, absent)) for run in runs}) > 1]


def shown(value: Any) -> str:
    """A setting as one types it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
