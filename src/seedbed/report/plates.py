"""Figures for a paper: the same chart of all data sets as panels of one figure, as SVG and PDF."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seedbed.report.charts import Chart
from seedbed.report.figures import draw, house_style, mosaic, new_figure, rows_sheet, run_tiles
from seedbed.report.pictures import chosen_seeds, cost
from seedbed.report.rows import Rows, rows_of
from seedbed.report.stored import StoredRun
from seedbed.report.verdicts import Family
from seedbed.report.words import short
from seedbed.store.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_ROW = 4  # panels, and of those that are wider half as many
WIDTH, HEIGHT, LINE = 7.0, 1.75, 0.22  # inches: a page without its margins, a panel, a line of one with names


def write_plates(charts: Mapping[str, Sequence[Chart]], families: Sequence[Family], folder: Path) -> list[Path]:
    """Write every figure that there is something for, each as SVG and PDF."""
    written = []
    with house_style():
        plates = {name: plate(found) for name, found in charts.items() if found} | pictures_plates(families)
        for name, figure in plates.items():
            written += _save(figure, folder / name)
    return written


def _save(figure: "Figure", stem: Path) -> list[Path]:
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)  # once for both formats
    figure.set_layout_engine("none")
    # `savefig` would draw each twice. Undated: the same figure is the same file.
    formats = {
        ".svg": partial(FigureCanvasSVG(figure).print_svg, metadata={"Date": None}),
        ".pdf": partial(FigureCanvasPdf(figure).print_pdf, metadata={"CreationDate": None}),
    }
    for suffix, save in formats.items():
        write_atomic(stem.with_suffix(suffix), lambda path, save=save: save(str(path)))
    return [stem.with_suffix(suffix) for suffix in formats]


def plate(charts: Sequence[Chart]) -> "Figure":
    """Charts of one kind as panels; one legend for all where no line of theirs is named."""
    lines = list(dict.fromkeys(name for chart in charts for name in chart.y.names))
    # Much the same models everywhere: one order of lines, named at the left only.
    shared = len(charts) > 1 and all(len(chart.y.names) * 2 >= len(lines) for chart in charts)
    if lines and shared:
        charts = [chart.on_lines(lines) for chart in charts]
    labels = [] if lines else list(dict.fromkeys(label for chart in charts for label, _ in chart.labels))
    names = [short(label) for label in labels]
    most = PER_ROW // 2 if charts[0].kind == "bars" or (lines and not shared) else PER_ROW
    across = min(most, len(charts))
    down, width = math.ceil(len(charts) / across), max(WIDTH * across / most, 3.4)
    height = LINE * max(len(chart.y.names) for chart in charts) + 0.55 if lines else HEIGHT
    letters = int(14 * width)  # that fit into a line of the legend
    columns = max(1, min(len(names), letters // (max(map(len, names), default=0) + 5)))
    figure = new_figure(width, height * down + (0.15 + 0.18 * math.ceil(len(names) / columns)) * bool(names))
    axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    handles: dict[str, Any] = {}
    for place, axis in enumerate(axes):
        if place >= len(charts):
            axis.set_axis_off()
            continue
        draw(axis, chart := charts[place])
        axis.set(title=short(chart.task, 32))
        if place % across and chart.y.title == charts[place - 1].y.title:
            axis.set_ylabel("")
        if place % across and lines and shared:
            axis.set_yticklabels([])
        handles |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if len(handles) > 1:
        figure.legend(handles.values(), names, loc="outside upper center", ncols=columns)
    return figure


def pictures_plates(families: Sequence[Family]) -> "dict[str, Figure]":
    """What the models' arrays show: a figure each, a row per data set, a column per model, each at its median seed."""
    tiles: dict[str, dict[tuple[str, str], np.ndarray]] = {}
    costs: dict[tuple[str, str], str] = {}
    rows: dict[str, Rows] = {}
    for family in families:
        for run in family.ranked:
            seed = _median_seed(run, family.group.metric_of(run))
            if (in_rows := rows_of(run, seed)) is not None:
                rows[f"{run.label}, {family.group.task}"] = in_rows
            found = run_tiles(run, {seed: run.label})
            if said := cost(run, seed):
                costs[family.group.task, run.label] = said
            for (kind, column), tile in found.items():
                tiles.setdefault(kind, {}).setdefault((family.group.task, column), tile)
    labels = [run.label for family in families for run in family.group.runs]
    plates: dict[str, Figure] = {"rows": rows_sheet(rows)} if rows else {}
    for kind, found in tiles.items():
        tasks, there = list(dict.fromkeys(task for task, _ in found)), {column for _, column in found}
        columns = [label for label in dict.fromkeys(["data", *labels]) if label in there]
        size = min(1.3, (WIDTH - 0.25) / len(columns))
        below = {place: said for place, said in costs.items() if place in found}
        plates[kind.replace(", ", "-")] = mosaic(found, tasks, columns, size, notes=below)
    return plates


def _median_seed(run: StoredRun, metric: str) -> int:
    notes = chosen_seeds(run, metric)
    return next((seed for seed, note in notes.items() if note.startswith("median")), next(iter(notes)))
