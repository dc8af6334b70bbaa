"""Figures for a paper: all data sets of a report as panels of one figure, as SVG and PDF."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedbed.report.bars import COUNT, Bars
from seedbed.report.curves import Curves, Scale, spanning
from seedbed.report.figures import COLOURS, draw_curves, house_style, mosaic, new_figure, run_tiles
from seedbed.report.pictures import chosen_seeds
from seedbed.report.stored import StoredRun
from seedbed.report.verdicts import Family
from seedbed.report.words import short
from seedbed.store.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_ROW = 4
WIDTH = 7.0  # inches: a page without its margins


def write_plates(
    families: Sequence[Family],
    charts: Sequence[tuple[str, list[Curves]]],
    bars: Sequence[Bars],
    colour: Mapping[str, int],
    folder: Path,
) -> list[Path]:
    """Write every figure that there is something for, each as SVG and PDF."""
    written = []
    with house_style():
        plates: dict[str, Figure | None] = {
            "curves-steps": curves_plate(charts, "step", colour),
            "curves-time": curves_plate(charts, "time", colour),
            "intervals": intervals_plate(families, colour),
            "convergence": bars_plate(bars, colour),
            **pictures_plates(families),
        }
        for name, figure in plates.items():
            if figure is not None:
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


def _panels(count: int, height: float, extra: float = 0.0, per_row: int = PER_ROW) -> "tuple[Figure, list]":
    across = min(per_row, count)
    down = math.ceil(count / across)
    figure = new_figure(max(WIDTH * across / per_row, 3.4), height * down + extra)
    axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def curves_plate(charts: Sequence[tuple[str, list[Curves]]], along: str, colour: Mapping[str, int]) -> "Figure | None":
    """Curves with seed bands, one panel per data set and metric, one legend for all."""
    if not charts:
        return None
    names = [short(label) for label in dict.fromkeys(one.label for _, many in charts for one in many)]
    letters = int(14 * max(WIDTH * min(PER_ROW, len(charts)) / PER_ROW, 3.4))  # that fit into a line of the legend
    columns = max(1, min(len(names), letters // (max(map(len, names)) + 5)))
    figure, axes = _panels(len(charts), 1.75, 0.15 + 0.18 * math.ceil(len(names) / columns))
    handles = {}
    for place, (axis, (task, many)) in enumerate(zip(axes, charts, strict=True)):
        draw_curves(axis, [one.thinned(100) for one in many], along, colour)
        metric = many[0].metric
        axis.set(title=short(task, 32), xlabel="step" if along == "step" else "seconds of training")
        axis.set_ylabel(metric if place % PER_ROW == 0 or metric != charts[0][1][0].metric else "")
        axis.locator_params(axis="x", nbins=4)
        axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}")
        handles |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if len(handles) > 1:
        figure.legend(handles.values(), names, loc="outside upper center", ncols=columns)
    return figure


def bars_plate(charts: Sequence[Bars], colour: Mapping[str, int]) -> "Figure | None":
    """Convergence metrics as groups of bars with standard deviations over seeds, one panel per data set and metric."""
    if not charts:
        return None
    names = list(dict.fromkeys(label for chart in charts for label in chart.labels))
    figure, axes = _panels(len(charts), 1.75, 0.35, per_row=2)
    for axis, chart in zip(axes, charts, strict=True):
        beside, scale, base = axis.twinx(), chart.scale, chart.base
        thick, last = 0.8 / len(chart.labels), len(chart.losses)
        for model, label in enumerate(chart.labels):
            at = np.arange(last + 1) - 0.4 + thick * (model + 0.5)
            shade = COLOURS[colour[label] % len(COLOURS)]
            bar = axis.bar(at[:-1], chart.means[:, model] - base, thick, bottom=base, color=shade, label=short(label))
            axis.errorbar(at[:-1], chart.means[:, model], chart.stds[:, model], fmt="none", ecolor="black", elinewidth=0.7)
            beside.bar(at[-1], chart.exceeds[model], thick, color=bar[0].get_facecolor())
        axis.set(title=short(chart.task, 32), ylabel=chart.metric, ylim=(scale.low, scale.high))
        if scale.log:
            axis.set_yscale("log")
            axis.set_yticks(scale.ticks(), [f"{v:g}" for v in scale.ticks()])
            axis.minorticks_off()
        axis.set_xticks(range(last + 1), [*chart.losses, COUNT])
        beside.set(ylabel="evaluations", ylim=(0, max(1.15 * float(np.nanmax(chart.exceeds)), 1.0)))
        beside.spines["right"].set_visible(True)
    handles = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(len(names), 5))
    return figure


def intervals_plate(families: Sequence[Family], colour: Mapping[str, int]) -> "Figure | None":
    """Every seed's test value as a dot, means with 95 % intervals, one panel per data set."""
    shown = [family for family in families if any(family.means[run.label].n for run in family.ranked)]
    if not shown:
        return None
    names = list(dict.fromkeys(run.label for family in shown for run in family.ranked))
    # Much the same models everywhere: one order of lines, named at the left only.
    shared = all(len(family.ranked) * 2 >= len(names) for family in shown)
    lines = len(names) if shared else max(len(family.ranked) for family in shown)
    figure, axes = _panels(len(shown), 0.22 * lines + 0.55)
    for place, (axis, family) in enumerate(zip(axes, shown, strict=True)):
        order = names if shared else [run.label for run in family.ranked]
        _intervals(axis, family, order, colour)
        axis.set(title=short(family.group.task, 32), xlabel=family.group.metric, ylim=(lines - 0.5, -0.5))
        axis.set_yticks(range(len(order)), [short(n) for n in order] if not shared or place % PER_ROW == 0 else [])
        axis.tick_params(axis="y", length=0)
    return figure


def _intervals(axis: "Axes", family: Family, order: Sequence[str], colour: Mapping[str, int]) -> None:
    ends: list[float] = []
    for run in family.ranked:
        line, shade, mean = order.index(run.label), COLOURS[colour[run.label] % len(COLOURS)], family.means[run.label]
        values = run.kept(family.group.metric_of(run)).to_numpy()
        spaced = line + 0.3 * np.linspace(-1, 1, max(len(values), 2))[: len(values)]
        axis.plot(values, spaced, "o", ms=2.2, mew=0, alpha=0.45, color=shade)
        axis.plot([mean.low, mean.high], [line, line], color=shade, linewidth=1.6)
        axis.plot(mean.mean, line, "|", ms=7, mew=1.4, color=shade)
        ends += [v for v in (*values, mean.low, mean.high) if math.isfinite(v)]
    scale = spanning(min(ends, default=0.0), max(ends, default=1.0), family.group.declared)
    lost = {run.label: len(run.without(family.group.metric_of(run))) for run in family.ranked}
    room = 0.4 if any(lost.values()) else 0.0  # to the right, for who is not in the picture
    axis.set_xlim(scale.low, scale.high * (scale.high / scale.low) ** room if scale.log else _beyond(scale, room))
    for label, count in lost.items():
        if count:
            where = {"ha": "right", "va": "center", "transform": axis.get_yaxis_transform()}
            axis.text(
                1,
                order.index(label),
                f"{count} {'worse' if label in family.poor else 'diverged'}",
                fontsize=6,
                color="#8A1C1C",
                **where,
            )
    if scale.log:
        axis.set_xscale("log")
        axis.set_xticks(scale.ticks(4), [f"{v:g}" for v in scale.ticks(4)])
        axis.minorticks_off()
    else:
        axis.locator_params(axis="x", nbins=4)


def _beyond(scale: Scale, share: float) -> float:
    return scale.high + share * (scale.high - scale.low)


def pictures_plates(families: Sequence[Family]) -> "dict[str, Figure | None]":
    """What the models' arrays show: a figure each, a row per data set, a column per model, each at its median seed."""
    tiles: dict[str, dict[tuple[str, str], np.ndarray]] = {}
    for family in families:
        for run in family.ranked:
            found = run_tiles(run, {_median_seed(run, family.group.metric_of(run)): run.label})
            for (kind, column), tile in found.items():
                tiles.setdefault(kind, {}).setdefault((family.group.task, column), tile)
    labels = [run.label for family in families for run in family.group.runs]
    plates: dict[str, Figure | None] = {}
    for kind, found in tiles.items():
        rows, there = list(dict.fromkeys(task for task, _ in found)), {column for _, column in found}
        columns = [label for label in dict.fromkeys(["data", *labels]) if label in there]
        size = min(1.3, (WIDTH - 0.25) / len(columns))
        plates[kind.replace(", ", "-")] = mosaic(found, rows, columns, size)
    return plates


def _median_seed(run: StoredRun, metric: str) -> int:
    notes = chosen_seeds(run, metric)
    return next((seed for seed, note in notes.items() if note.startswith("median")), next(iter(notes)))
