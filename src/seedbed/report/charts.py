"""Charts as values: what is drawn, in the units of the data. The page and a paper's figures only put it on a surface."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from seedbed.core.metric import DEAD_BELOW, ENERGY_ERROR, FID, INFORMATION_OF_UNIT, NEG_IW, Metric, declared
from seedbed.judge.intervals import interval
from seedbed.judge.views import profile, profile_band
from seedbed.report.curves import (
    Curves,
    Floats,
    Scale,
    curve_groups,
    information_groups,
    player_groups,
    spanning,
    value_scale,
)
from seedbed.report.luck import over_tasks
from seedbed.report.tables import Table
from seedbed.report.verdicts import Family
from seedbed.report.words import direction, number, short, spread

Role = Literal["band", "seed", "seed lost", "end", "mid", "dot", "ci", "mean", "bar", "std", "note"]
LOSSES, COUNT = ("min", "last", "first", "max"), "exceeds"
DWARFS = 4.0  # times the others, beyond which the largest loss would leave nothing to see of them
POINTS = 101  # of a profile
FAINT = 1e-3  # nats: where the axis of what bits tell ends
JITTER = 0.19 / 5  # of a line, that each of eleven places is from the next
TALL = 0.23  # half of the mark of a mean, in lines


@dataclass(frozen=True)
class Axis:
    """One axis: a scale with round numbers on it, or lines that have names.

    Args:
        title: beside it.
        scale: its ends.
        names: of the whole numbers from 0 on; an upright axis of names counts downwards.
        beside: a remark to each of the names, at the far end of its line.
        aside: what else the title says where there is room.
    """

    title: str
    scale: Scale
    names: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    aside: str = ""

    @classmethod
    def of(cls, title: str, scale: Scale) -> "Axis":
        """One of numbers, that says if it is logarithmic."""
        return cls(f"{title}{' (log)' if scale.log else ''}", scale)

    @classmethod
    def named(cls, names: Sequence[str], title: str = "", beside: Sequence[str] = ()) -> "Axis":
        """One line for each name."""
        return cls(title, Scale(-0.5, len(names) - 0.5, False), tuple(names), tuple(beside))

    def ticks(self, count: int) -> list[tuple[float, str]]:
        """Where something is written, and what."""
        if self.names:
            return [(float(i), short(name)) for i, name in enumerate(self.names)]
        return [(value, _tick(value)) for value in self.scale.ticks(count)]


@dataclass(frozen=True)
class Mark:
    """Something that is drawn: an area, a line, dots, or a word above a point.

    Args:
        role: what it stands for; it decides how it looks.
        points: ``[n, 2]``, in the units of the axes.
        text: what a line is, or the word.
    """

    role: Role
    points: Floats
    text: str = ""


@dataclass(frozen=True)
class Series:
    """What belongs to one model: its marks from the lowest on, and the place of its colour."""

    label: str
    colour: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Chart:
    """One chart.

    Args:
        kind: of chart: ``curves``, ``bounds``, ``bits``, ``bars``, ``intervals`` or ``profiles``.
        task: the data set.
        words: the chart in words.
        x: across.
        y: upright.
        series: one for each model.
        along: of curves, ``step`` or ``time``.
        level: a value that is marked across all of it, and what it is called.
    """

    kind: Literal["curves", "bounds", "bits", "bars", "intervals", "profiles"]
    task: str
    words: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    along: str = ""
    level: tuple[float, str] | None = None

    @property
    def labels(self) -> list[tuple[str, int]]:
        """Each model with its colour."""
        return [(one.label, one.colour) for one in self.series]

    @property
    def seeds(self) -> int:
        """Curves of single seeds."""
        return sum(mark.role.startswith("seed") for one in self.series for mark in one.marks)

    def on_lines(self, names: Sequence[str]) -> "Chart":
        """The same with the lines of an upright axis of names in another order, some of them empty."""
        moves = {name: names.index(name) - i for i, name in enumerate(self.y.names)}
        remarks = dict(zip(self.y.names, self.y.beside, strict=True))
        moved = tuple(
            replace(one, marks=tuple(replace(m, points=m.points + np.array([0.0, moves[one.label]])) for m in one.marks))
            for one in self.series
        )
        return replace(self, y=Axis.named(names, self.y.title, [remarks.get(n, "") for n in names]), series=moved)


def charts_of(families: Sequence[Family], convergence: Table, colour: Mapping[str, int]) -> dict[str, list[Chart]]:
    """Every chart of a report by the name of its figure, one for each data set that has something to show.

    Args:
        families: the runs, compared.
        convergence: its table.
        colour: a colour's place per label.
    """
    tasks = [(family.group.task, family.group.runs, family.group.metric) for family in families]
    players = [(task, many) for task, runs, _ in tasks for many in player_groups(runs)]
    shown = {(task, many[0].metric) for task, many in players}
    told = [(task, many) for task, runs, _ in tasks for many in information_groups(runs)]
    groups = [(task, many) for task, runs, metric in tasks for many in curve_groups(runs, metric)]
    groups = [(task, many) for task, many in groups if (task, many[0].metric) not in shown]
    over = {"curves": groups, "players": players, "information": told}
    return {
        "intervals": [intervals_chart(family, colour) for family in families if family.ranked],
        "bounds": [chart for family in families if (chart := bounds_chart(family, colour)) is not None],
        "fid-by-size": [chart for family in families if (chart := sizes_chart(family, colour)) is not None],
        "fid-along-chains": [chart for family in families if (chart := chains_chart(family, colour)) is not None],
        "energy-along-walks": [chart for family in families if (chart := energy_chart(family, colour)) is not None],
        "bits": [chart for family in families for chart in bits_charts(family, colour)],
        "profiles": profiles_charts(families, colour),
        **{
            f"{name}-{axis}": [curves_chart(many, along, colour, task) for task, many in found]
            for name, found in over.items()
            for axis, along in (("steps", "step"), ("time", "time"))
        },
        "convergence": bar_charts(convergence, colour),
    }


def curves_chart(many: Sequence[Curves], along: str, colour: Mapping[str, int], task: str) -> Chart:
    """Several runs' curves of one metric: every seed, the band over seeds and their median.

    Args:
        many: the curves.
        along: ``step`` or ``time``.
        colour: a colour's place per label.
        task: the data set.
    """
    thin, metric = [one.thinned() for one in many], many[0].metric
    end = max(float(np.nanmax(one.steps if along == "step" else one.walls)) for one in thin)
    x = Axis("step" if along == "step" else "seconds of training", Scale(0.0, end or 1.0, False))
    series = tuple(Series(one.label, colour[one.label], _curve_marks(one, along)) for one in thin)
    said = " ".join(
        f"{one.label}: median {number(float(one.band[1][0]))} at first, {number(float(one.band[1][-1]))} last."
        for one in thin
    )
    over = "steps" if along == "step" else "seconds"
    return Chart(
        "curves", task, f"{metric} on {task} over {over}. {said}", x, Axis.of(metric, value_scale(thin)), series, along
    )


def _curve_marks(one: Curves, along: str) -> tuple[Mark, ...]:
    at, (low, middle, high) = one.x[along], one.band
    marks = [Mark("band", np.concatenate([np.stack([at, high], 1), np.stack([at, low], 1)[::-1]]))]
    for index, seed in enumerate(one.seeds):
        line = np.stack(one.seed(index, along), 1)
        text = f"{one.label}, seed {seed}: {one.fates[seed]}, last {number(float(line[-1, 1]), 4)}"
        marks.append(Mark("seed lost" if seed in one.lost else "seed", line, text))
        if one.fates[seed].startswith("diverged"):
            marks.append(Mark("end", line[-1:]))
    return (*marks, Mark("mid", np.stack([at, middle], 1)))


def bounds_chart(family: Family, colour: Mapping[str, int]) -> Chart | None:
    """Negative importance-weighted bounds against their number of samples: every seed thin, their mean thick."""
    ladders = {run.label: run.ladder for run in (*family.group.runs, *family.group.strangers) if len(run.ladder) > 1}
    return _rungs(family.group.task, ladders, NEG_IW, "k, samples", "The negative bound", colour)


def sizes_chart(family: Family, colour: Mapping[str, int]) -> Chart | None:
    """Frechet distances against the number of pictures, which they fall with, since they are biased."""
    ladders = {run.label: run.by_size for run in (*family.group.runs, *family.group.strangers) if len(run.by_size) > 1}
    return _rungs(family.group.task, ladders, FID, "n, pictures of each side", "The Frechet distance", colour)


def chains_chart(family: Family, colour: Mapping[str, int]) -> Chart | None:
    """Frechet distances against the steps of chains x -> z -> x that the pictures come from."""
    ladders = {run.label: run.by_step for run in (*family.group.runs, *family.group.strangers) if len(run.by_step) > 1}
    return _rungs(family.group.task, ladders, FID, "n, steps of the chain", "The Frechet distance", colour, bands=True)


def energy_chart(family: Family, colour: Mapping[str, int]) -> Chart | None:
    """Errors of the energy against the leapfrogs that made them."""
    runs = (*family.group.runs, *family.group.strangers)
    ladders = {run.label: run.by_leapfrog for run in runs if len(run.by_leapfrog) > 1}
    return _rungs(family.group.task, ladders, ENERGY_ERROR, "n, leapfrogs", "The energy's error", colour, bands=True)


def bits_charts(family: Family, colour: Mapping[str, int]) -> list[Chart]:
    """What every bit of a layer tells, most first, in each seed, and the mean of these orders; without what tells nothing.

    A chart for each layer and side: of x under the encoder (``q``), and of the layers above under the model (``p``).
    """
    runs, charts = [*family.group.runs, *family.group.strangers], []
    for layer, side in dict.fromkeys(key for run in runs for key in run.bits):
        tables = {run.label: np.sort(run.bits[layer, side].to_numpy())[:, ::-1] for run in runs if (layer, side) in run.bits}
        tables = {label: table[np.isfinite(table).all(1)] for label, table in tables.items()}
        tables = {label: table for label, table in tables.items() if table.size}
        if not any((table > 0).any() for table in tables.values()):
            continue
        most, series, said = max(table.shape[1] for table in tables.values()), [], []
        for label, table in tables.items():
            at = np.arange(1.0, table.shape[1] + 1)
            lines = [Mark("seed", np.stack([at, row], 1)) for row in table]
            series.append(Series(label, colour[label], (*lines, Mark("mid", np.stack([at, table.mean(0)], 1)))))
            dead = number(float((table < DEAD_BELOW).sum(1).mean()))
            said.append(f"{label}: {number(float(table.sum(1).mean()), 4)} nats in all, {dead} of {len(at)} bits dead.")
        top = spanning(FAINT, max(float(table.max()) for table in tables.values()), INFORMATION_OF_UNIT).high
        what = "told of x" if side == "q" else "told from above"
        x = Axis(f"bits of {layer} under {side}", Scale(1.0, float(max(most, 2)), False), aside=", the most first")
        y = Axis.of(f"nats {what}", Scale(FAINT, max(top, 2 * DEAD_BELOW), True))
        words = f"Nats {what} by each bit of {layer} under {side} on {family.group.task}. {' '.join(said)}"
        charts.append(
            Chart("bits", family.group.task, words, x, y, tuple(series), level=(DEAD_BELOW, f"dead below {DEAD_BELOW:g}"))
        )
    return charts


def _rungs(
    task: str,
    ladders: Mapping[str, Mapping[int, pd.Series]],
    metric: Metric,
    across: str,
    what: str,
    colour: Mapping[str, int],
    *,
    bands: bool = False,
) -> Chart | None:
    """Values of each seed by a whole number, by model, perhaps with the intervals of their means; ``None`` without any."""
    series, said, letter = [], [], across[0]
    for label, ladder in ladders.items():
        ks = np.array(sorted(ladder), float)
        rows = np.stack([ladder[int(k)].to_numpy() for k in ks], 1)
        lines = [Mark("seed", np.stack([ks, row], 1)) for row in rows]
        if bands and len(rows) > 1:
            found = [interval(column, rng=np.random.default_rng(0), within=metric.range) for column in rows.T]
            ends = [(k, one.high) for k, one in zip(ks, found, strict=True)]
            ends += [(k, one.low) for k, one in zip(ks[::-1], found[::-1], strict=True)]
            lines.insert(0, Mark("band", np.array(ends)))
        series.append(Series(label, colour[label], (*lines, Mark("mid", np.stack([ks, rows.mean(0)], 1)))))
        ends = [*zip(ks, rows.mean(0), strict=True)] if len(ks) < 8 else [(ks[at], rows[:, at].mean()) for at in (0, -1)]
        said.append(f"{label}: {', '.join(f'{number(float(mean), 4)} at {letter} = {k:g}' for k, mean in ends)}.")
    if not series:
        return None
    # A band may end at 0, which a logarithmic axis cannot show.
    points = np.concatenate([mark.points for one in series for mark in one.marks if mark.role != "band"])
    x = Axis.of(across, Scale(float(points[:, 0].min()), float(points[:, 0].max()), True))
    y = Axis.of(metric.name, spanning(float(points[:, 1].min()), float(points[:, 1].max()), metric))
    return Chart("bounds", task, f"{what} on {task} against {letter}. {' '.join(said)}", x, y, tuple(series))


def intervals_chart(family: Family, colour: Mapping[str, int]) -> Chart:
    """One line per run: a dot for each seed's test value, the mean and its 95 % interval, how many seeds diverged."""
    group, metric, series, remarks, said = family.group, family.group.declared, [], [], []
    for line, run in enumerate(family.ranked):
        mean, values = family.means[run.label], run.kept(group.metric_of(run)).to_numpy()
        places = line + JITTER * (np.arange(len(values), dtype=float) * 5 % 11 - 5)  # spreads neighbours without chance
        marks = [Mark("dot", np.stack([values.astype(float), places], 1))] if len(values) else []
        if mean.n > 1 and math.isfinite(mean.low + mean.high):
            marks.append(Mark("ci", np.array([[mean.low, line], [mean.high, line]])))
        if mean.n:
            marks.append(Mark("mean", np.array([[mean.mean, line - TALL], [mean.mean, line + TALL]])))
        series.append(Series(run.label, colour[run.label], tuple(marks)))
        lost = len(run.without(group.metric_of(run)))
        word = f"{lost} {'worse' if run.label in family.poor else 'diverged'}"  # than its baseline, as the table says
        remarks.append(word if lost else "")
        said.append(f"{run.label}: {spread(mean)}, {word}.")
    ends = [mark.points[:, 0] for one in series for mark in one.marks] or [np.array([0.0, 1.0])]
    scale = spanning(float(np.concatenate(ends).min()), float(np.concatenate(ends).max()), metric)
    x = replace(Axis.of(group.metric, scale), aside=f", test, {direction(metric)}")
    y = Axis.named([run.label for run in family.ranked], beside=remarks)
    words = f"{group.metric} on {group.task}, mean and 95 % interval over seeds. {' '.join(said)}"
    return Chart("intervals", group.task, words, x, y, tuple(series))


def profiles_charts(families: Sequence[Family], colour: Mapping[str, int]) -> list[Chart]:
    """Over several data sets, the share of each model's runs that is better than a value, with its band; at most one."""
    sign, tables = over_tasks(families)
    if not tables:
        return []
    metric = families[0].group.declared
    ends = sign * np.concatenate([table.ravel() for table in tables.values()])
    scale = spanning(float(ends.min()), float(ends.max()), metric)
    at = np.array([scale.at(share) for share in np.linspace(0, 1, POINTS)])
    series = []
    for label, table in tables.items():
        low, high = profile_band(table, sign * at, rng=np.random.default_rng(0))
        band = Mark("band", np.concatenate([np.stack([at, high], 1), np.stack([at, low], 1)[::-1]]))
        series.append(Series(label, colour[label], (band, Mark("mid", np.stack([at, profile(table, sign * at)], 1)))))
    task = f"all {len(families)} data sets"
    words = f"Share of all runs better than each {families[0].group.metric} over {task}, by model, with 95 % bands."
    x = replace(Axis.of(families[0].group.metric, scale), aside=f", {direction(metric)}")
    return [Chart("profiles", task, words, x, Axis("share of runs that is better", Scale(0.0, 1.0, False)), tuple(series))]


def bar_charts(table: Table, colour: Mapping[str, int]) -> list[Chart]:
    """The first source's bar charts, one per data set and metric of the convergence table.

    A group of bars per metric, a bar per model, its population standard deviation over seeds. At the right, on a scale of
    its own, the count that has no unit: evaluations after the fifth above the mean of the first five.
    """
    charts = []
    for task, metric in dict.fromkeys((row["data"], row["metric"]) for row in table.raw):
        rows = [row for row in table.raw if row["data"] == task and row["metric"] == metric]
        found = {(row["quantity"], row["model"]): row for row in rows}
        labels = list(dict.fromkeys(row["model"] for row in rows if np.isfinite(found["last", row["model"]]["mean"])))
        if labels:
            charts.append(_bars(task, metric, labels, found, colour))
    return charts


def _bars(task: str, metric: str, labels: Sequence[str], found: Mapping[tuple[str, str], Any], colour: Mapping) -> Chart:
    means, stds = (
        np.array([[found[name, label][key] for label in labels] for name in (*LOSSES, COUNT)], float)
        for key in ("mean", "std")
    )
    whole = spanning(float(np.nanmin(means[:-1])), float(np.nanmax(means[:-1])), declared(metric))
    dwarfing = float(np.nanmax(np.abs(means[-2]))) > DWARFS * float(np.nanmax(np.abs(means[:-2])))
    losses = LOSSES[: len(LOSSES) - int(dwarfing and not whole.log)]
    means, stds, counts = means[: len(losses)], stds[: len(losses)], means[-1]
    low, high = float(np.nanmin(means)), float(np.nanmax(means + stds))
    scale = spanning(low, high, declared(metric))
    if not scale.log:
        scale = Scale(min(1.05 * low, 0.0), max(1.05 * high, 0.0) or 1.0, False)
    base, most, thick = scale.low if scale.log else 0.0, max(1.15 * float(np.nanmax(counts)), 1.0), 0.8 / len(labels)
    series = []
    for model, label in enumerate(labels):
        left, marks = np.arange(len(losses) + 1) - 0.4 + thick * model, []
        for place, (mean, std) in enumerate(zip(means[:, model], stds[:, model], strict=True)):
            marks.append(_bar(float(left[place]), thick, base, mean))
            middle = float(left[place]) + thick / 2
            marks.append(Mark("std", np.array([[middle, mean - std], [middle, mean + std]])))
        top = scale.at(float(counts[model]) / most)
        marks.append(_bar(float(left[-1]), thick, scale.low, top))
        text = number(float(counts[model]), 2)
        series.append(Series(label, colour[label], (*marks, Mark("note", np.array([[left[-1] + thick / 2, top]]), text))))
    said = " ".join(
        f"{label}: {', '.join(f'{name} {mean:.4g}' for name, mean in zip(losses, row, strict=True))}."
        for label, row in zip(labels, means.T, strict=True)
    )
    x = Axis.named([*losses, COUNT], "validation")
    return Chart("bars", task, f"{metric} on {task}. {said}", x, Axis.of(metric, scale), tuple(series))


def _bar(left: float, thick: float, base: float, top: float) -> Mark:
    return Mark("bar", np.array([[left, base], [left, top], [left + thick, top], [left + thick, base]]))


def _tick(value: int | float) -> str:
    if abs(value) >= 1000 and value == round(value):
        return f"{value / 1000:g}k".replace("-", "\N{MINUS SIGN}")
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")
