"""How numbers, runs and lists read in a report."""

import math
from collections.abc import Sequence

from seedbed.core.metric import Metric
from seedbed.judge.intervals import Interval
from seedbed.judge.sentences import amount
from seedbed.report.groups import Group
from seedbed.report.stored import StoredRun
from seedbed.report.summary import WORSE, Summary

NONE = "\N{EN DASH}"  # where a number does not exist
CROSS = "\N{MULTIPLICATION SIGN}"  # marks a seed that diverged or ended worse than its baseline


def spread(x: Interval) -> str:
    """``0.09 [0.07, 0.11]``; a dash where there is no finite value."""
    if not x.n or not math.isfinite(x.mean):
        return NONE
    return " ".join(amount(x, "").split()) if x.n > 1 else f"{number(x.mean)} [one seed]"


def mean_words(found: Summary) -> str:
    """The mean of a run with its interval, and whether no seed of it is better than a trivial model."""
    return f"{spread(found.shown)} {WORSE}" if found.poor else spread(found.interval)


def number(value: int | float, digits: int = 3) -> str:
    """A number to so many significant digits, a dash for none."""
    if not math.isfinite(value):
        return NONE
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.{digits}g}"


def duration(seconds: int | float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def listed(names: Sequence[str], most: int = 6) -> str:
    """``a, b and c``; of a long list the first and how many others."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} others"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def lost_words(run: StoredRun, metric: str) -> str:
    """How many seeds are left out of the mean and why, e.g. ``2 (1 worse than baseline)``."""
    count, worse = len(run.without(metric)), len(run.ended("worse_than_baseline"))
    return f"{count} ({worse} {WORSE})" if worse else str(count)


def seeds_words(run: StoredRun) -> str:
    """How many seeds, and how many of them are done where not all are."""
    done, asked = len(run.fates), len(run.manifest.seeds)
    return str(asked) if done == asked else f"{done} of {asked} done"


def direction(metric: Metric) -> str:
    """Which way is better."""
    return "higher is better" if metric.better == "higher" else "lower is better"


def metric_words(groups: Sequence[Group]) -> str:
    """The metrics that groups are compared on, with their direction."""
    found = {group.metric: direction(group.declared) for group in groups if group.metric}
    return ", ".join(f"{name} ({way})" for name, way in found.items()) or "no metric yet"


def kind_words(group: Group) -> str:
    """Which runs' numbers are exact and which are bounds, where a group has both; else nothing."""
    if not group.mixed:
        return ""
    kinds: dict[str, dict[str, list[str]]] = {}
    for run in group.runs:
        if (metric := group.metric_of(run)) in run.judged:
            kinds.setdefault(group.kind_of(run), {}).setdefault(metric, []).append(run.label)
    whose = lambda kind: " and ".join(f"of {listed(who)} ({metric})" for metric, who in kinds[kind].items())
    exact, bounds = whose("exact"), whose("upper bound")
    return f"On {group.task} the numbers {exact} are exact, those {bounds} upper bounds on {group.declared.of}."


def fate_words(fate: str, step: int) -> str:
    """How a seed ended."""
    return fate.replace("_", " ") + (f" at step {step}" if fate in ("diverged", "stopped_early") else "")


def short(label: str, most: int = 24) -> str:
    """A name that fits into a figure."""
    return label if len(label) <= most else f"{label[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
