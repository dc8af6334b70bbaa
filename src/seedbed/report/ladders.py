"""Charts of values against a whole number: samples of a bound, pictures, steps of a chain, dimensions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from seedbed.core.metric import DELTA_ERROR, ENERGY_ERROR, FID, NEG_IW, SIGMA_ERROR, THETA_ERROR, Metric
from seedbed.judge.intervals import interval
from seedbed.report.charts import Axis, Chart, Mark, Series
from seedbed.report.curves import Scale, spanning
from seedbed.report.verdicts import Family
from seedbed.report.words import number

LEAST = 3  # dimensions that make a curve
ERRORS = (THETA_ERROR, DELTA_ERROR, SIGMA_ERROR)


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


def dimension_charts(families: Sequence[Family], colour: Mapping[str, int]) -> list[Chart]:
    """What grows with the dimension: of data sets of one name that end in ``-d<dimension>``, three or more of them.

    Errors of parameters where they were measured, else what the models are compared on.
    """
    kinds: dict[str, list[tuple[int, Family]]] = {}
    for family in families:
        if found := re.fullmatch(r"(.+)-d([0-9]+)", family.group.task):
            kinds.setdefault(found[1], []).append((int(found[2]), family))
    charts = []
    for stem, sized in kinds.items():
        if len({size for size, _ in sized}) < LEAST:
            continue
        first = sized[0][1].group
        measured = [metric for metric in ERRORS if any(metric.name in run.judged for run in first.runs)]
        for metric in measured or [first.declared]:
            ladders: dict[str, dict[int, pd.Series]] = {}
            for size, family in sized:
                for run in (*family.group.runs, *family.group.strangers):
                    if len(kept := run.kept(metric.name)):
                        ladders.setdefault(run.label, {})[size] = kept
            many = {label: _common(ladder) for label, ladder in ladders.items() if len(ladder) > 1}
            chart = _rungs(stem, many, metric, "d, dimensions", f"{metric.name}, {metric.meaning},", colour, bands=True)
            charts += [chart] if chart is not None else []
    return charts


def _common(ladder: Mapping[int, pd.Series]) -> dict[int, pd.Series]:
    """The seeds that all rungs have."""
    shared = sorted(set.intersection(*(set(values.index) for values in ladder.values())))
    return {size: values.loc[shared] for size, values in ladder.items()} if shared else {}


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
    series = [_within(one, y.scale) for one in series]
    return Chart("bounds", task, f"{what} on {task} against {letter}. {' '.join(said)}", x, y, tuple(series))


def _within(one: Series, scale: Scale) -> Series:
    """The same with bands that end at 0 or below cut where a logarithmic axis begins."""
    if not scale.log:
        return one
    lowest = np.array([-np.inf, scale.low])
    return replace(
        one, marks=tuple(replace(m, points=np.maximum(m.points, lowest)) if m.role == "band" else m for m in one.marks)
    )
