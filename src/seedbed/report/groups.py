"""Which runs may stand beside which: groups on one data set under one protocol, with labels that tell their runs apart."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from seedbed.core.metric import GAP, NEG_IW, NLL_AIS, NLL_SAMPLED, SURPRISE, Metric, NumberKind, declared
from seedbed.report.stored import StoredRun


@dataclass(frozen=True)
class Group:
    """Runs on one data set under one protocol: the family within which every pair may be compared.

    Args:
        task: the data set, with what else sets the group apart where that is needed.
        runs: labelled apart.
        metric: the test metric that they are compared on, or the quantity of which each has a number of its own; ``""``
            before there is one.
        strangers: runs of the same data set that did not measure it.
        own: by label the metric of each run, where they have none in common but a quantity.
    """

    task: str
    runs: list[StoredRun]
    metric: str
    strangers: list[StoredRun] = field(default_factory=list)
    own: Mapping[str, str] = field(default_factory=dict)

    @property
    def declared(self) -> Metric:
        """What the metric is."""
        if self.own:
            return SURPRISE
        return next((run.declared(self.metric) for run in self.runs if self.metric in run.judged), declared(self.metric))

    @property
    def unit(self) -> str:
        """Unit of the metric."""
        return next((unit for run in self.runs if (unit := run.unit(self.metric_of(run)))), "")

    def metric_of(self, run: StoredRun) -> str:
        """The test metric that a run is compared by."""
        return self.own.get(run.label, self.metric)

    def kind_of(self, run: StoredRun) -> NumberKind:
        """What sort of number that is."""
        return run.declared(self.metric_of(run)).kind

    @property
    def mixed(self) -> bool:
        """Whether exact values stand beside bounds on them."""
        kinds = {self.kind_of(run) for run in self.runs if self.metric_of(run) in run.judged}
        return {"exact", "upper bound"} <= kinds


def differences(a: StoredRun, b: StoredRun) -> list[str]:
    """Why two runs may not be compared: what of data and protocol differs, in words; empty if they may."""
    found = []
    for name, said in (("name", "data"), ("protocol", "protocol"), ("checksum", "checksum of the data")):
        x, y = a.manifest.data.get(name), b.manifest.data.get(name)
        if x and y and x != y:
            found.append(f"{said}: {str(x)[:80]!r} against {str(y)[:80]!r}")
    # A protocol that differs explains the checksum that differs with it.
    found = found[:1] if a.data != b.data else [f for f in found if not f.startswith("checksum")] or found
    return found + _units(a, b) + ([f"what varies over seeds: {a.vary} against {b.vary}"] if a.vary != b.vary else [])


def _units(a: StoredRun, b: StoredRun) -> list[str]:
    """That likelihoods are of different units: a density's logarithm changes with the units of x, a mass's does not."""
    x, y = (str(run.manifest.data.get("domain", "")) for run in (a, b))
    if not x or not y or x == y:
        return []
    said = ("a density of real values" if name == "real" else f"masses of {name} values" for name in (x, y))
    remedy = "; have levels scored by a Gaussian too (--likelihood gaussian)" if "real" in (x, y) else ""
    return [f"units of their likelihoods: {' against '.join(said)}{remedy}"]


def grouped(runs: Sequence[StoredRun], metric: str | None = None) -> list[Group]:
    """Runs by data set, protocol and what varies over seeds, in order of appearance, labelled apart within each.

    Args:
        runs: any.
        metric: the test metric of all groups; by default the gap to the known floor where every run of a group has it, else
            the first that all have in common; runs that have none, but each an exact -log p(x) or a bound on it, are
            compared on that quantity; what is left is compared by the first metric of each run, which splits the group.
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
    keys, own = ({run.label: metric for run in runs}, {}) if metric else _keys([run for run in runs if run.judged])
    first = next(iter(keys.values()), "")  # a run without a number waits beside the others
    groups = []
    for name in dict.fromkeys(keys.get(run.label, first) for run in runs):
        members = [run for run in runs if keys.get(run.label, first) == name]
        by = own if name == SURPRISE.name else {}
        strangers = [run for run in members if run.judged and by.get(run.label, name) not in run.judged]
        groups.append(Group(task, [run for run in members if run not in strangers], name, strangers, by))
    return groups


def _keys(runs: Sequence[StoredRun]) -> tuple[dict[str, str], dict[str, str]]:
    """By label what each run is compared on, and where that is a quantity, its number of it."""
    shared, likely = _shared(runs), [run for run in runs if _numbers(run)]
    if shared and (len(likely) < len(runs) or {GAP.of, SURPRISE.of} & {runs[0].declared(m).of for m in shared}):
        return {run.label: shared[0] for run in runs}, {}
    keys, own = {run.label: run.judged[0] for run in runs}, {}
    if len(likely) > 1 and (among := _shared(likely)):
        keys |= {run.label: among[0] for run in likely}
    elif len(likely) > 1:
        own = _best_numbers(likely)
        keys |= dict.fromkeys(own, SURPRISE.name)
    return keys, own


def _shared(runs: Sequence[StoredRun]) -> list[str]:
    return [m for m in (runs[0].judged if runs else []) if all(m in run.judged for run in runs)]


def _numbers(run: StoredRun) -> list[str]:
    """Test metrics that are -log p(x) or a bound on it, the nearest first, of those on the most examples."""
    found = [metric for metric in run.judged if run.declared(metric).of == SURPRISE.of]
    examples = {metric: max(r.n for r in run.rows if r.split == "test" and r.metric == metric) for metric in found}
    most = max(examples.values(), default=0)

    def slack(metric: str) -> tuple[bool, int, int]:
        rung = NEG_IW.parse(metric)
        order = [NLL_SAMPLED.name, NLL_AIS.name].index(metric) if metric in (NLL_SAMPLED.name, NLL_AIS.name) else 2
        return run.declared(metric).kind != "exact", order, -int(rung["k"]) if rung else 0

    return sorted((metric for metric in found if examples[metric] == most), key=slack)


def _best_numbers(runs: Sequence[StoredRun]) -> dict[str, str]:
    """By label each run's nearest number of -log p(x).

    Bounds stand beside each other by the nearest that all of them have: of two that differ in slack alone, none is better.
    """
    best = {run.label: _numbers(run) for run in runs}
    bounded = [run for run in runs if run.declared(best[run.label][0]).kind != "exact"]
    common = [m for m in (best[bounded[0].label] if bounded else []) if all(m in best[run.label] for run in bounded)]
    return {run.label: common[0] if common and run in bounded else best[run.label][0] for run in runs}


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
    return settings_words(run, twins)


def settings_words(run: StoredRun, others: Sequence[StoredRun], most: int = 3) -> str:
    """What of a run's settings is not the same in others: ``lr=0.1, hidden=64,64``, and how many more beyond a few."""
    config = run.manifest.config
    found = [f"{k}={shown(config[k])}" for k in settings_that_differ([run, *others]) if k in config]
    return ", ".join(found) if len(found) <= most else f"{', '.join(found[: most - 1])} and {len(found) - most + 1} more"


def _by_path(run: StoredRun, _: list[StoredRun]) -> str:
    return str(run.folder)


def settings_that_differ(runs: Sequence[StoredRun]) -> list[str]:
    """Declared fields whose values are not the same in all runs that have them, in order of declaration."""
    keys = list(dict.fromkeys(key for run in runs for key in run.manifest.config))
    absent = object()
    return [k for k in keys if len({shown(run.manifest.config.get(k, absent)) for run in runs}) > 1]


def shown(value: Any) -> str:
    """A setting as one types it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
