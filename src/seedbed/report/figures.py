"""Figures by matplotlib: those that ``seedbed run`` leaves in a run's folder, and what they share with a paper's."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seedbed.report import pictures
from seedbed.report.canvas import moving_gif, stored_painting, strip_png
from seedbed.report.charts import Chart, Role, curves_chart
from seedbed.report.curves import curves
from seedbed.report.pictures import best_seed, chosen_seeds
from seedbed.report.pixels import Pixels, as_image
from seedbed.report.rows import Rows, rows_of
from seedbed.report.stored import StoredRun
from seedbed.report.words import short
from seedbed.store.atomic import write_atomic
from seedbed.store.folder import Folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# After Okabe and Ito's palette, its light colours darkened to a contrast of 3 on white: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#00835F", "#B0518A", "#946A00", "#3C8DC5", "#1A1A1A")
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.solid_capstyle": "round",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.parse_math": False,  # a name may hold a dollar
    "svg.fonttype": "none",
    "svg.hashsalt": "seedbed",
    "pdf.fonttype": 42,
}
# How each role of a mark looks, beside its model's colour.
LOOKS: dict[Role, dict[str, Any]] = {
    "band": {"alpha": 0.18},
    "seed": {"linewidth": 0.4, "alpha": 0.4},
    "seed lost": {"linewidth": 0.4, "alpha": 0.4, "linestyle": ":"},
    "end": {"marker": "x", "ms": 3, "mew": 0.8, "linestyle": ""},
    "mid": {"linewidth": 1.3},
    "dot": {"marker": "o", "ms": 2.2, "mew": 0, "alpha": 0.45, "linestyle": ""},
    "ci": {"linewidth": 1.6},
    "mean": {"linewidth": 1.4},
    "bar": {},
    "std": {"color": "black", "linewidth": 0.7},
    "note": {"ha": "center", "fontsize": 6},
}
ACROSS = 4  # panels of curves in a row
PATIENCE = 60.0  # seconds to wait for another process that draws
TILE, DPI = 240, 160  # pixels of a picture, and of an inch of a PNG, in which a picture is an inch and a half


def draw_figures(folder: Folder) -> list[Path]:
    """Write every figure that the run's stored arrays and rows allow, and say where.

    Raises:
        SeedbedError: if there is no run any more, or another process draws them for long.
    """
    with folder.working("figures", f"drawing the figures of {folder}", wait=PATIENCE):
        return _drawn(folder)


def _drawn(folder: Folder) -> list[Path]:
    run, written = StoredRun.read(folder.path), []
    with house_style():
        for name, drawn in KINDS.items():
            if (figure := drawn(run)) is not None:
                path = folder.path / "figures" / f"{name}.png"
                write_atomic(path, lambda temporary, f=figure: f.savefig(temporary, format="png", dpi=DPI))
                written.append(path)
    best = best_seed(run, next(iter(run.judged), ""))
    if best is not None and (painting := stored_painting(run, best)) is not None:
        for name, content in (("canvas.png", strip_png(painting)), ("canvas.gif", moving_gif(painting))):
            path = folder.path / "figures" / name
            write_atomic(path, lambda temporary, c=content: temporary.write_bytes(c))
            written.append(path)
    return written


@contextmanager
def house_style() -> Iterator[None]:
    """Fonts, lines and colours of every figure, for as long as it is drawn and saved, whatever else was set or chosen."""
    matplotlib = _matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # but for the backend, which is the caller's
        matplotlib.rcParams.update(STYLE)
        yield


def _matplotlib() -> ModuleType:
    """matplotlib, which refuses to be imported where ``MPLBACKEND`` names what another environment has."""
    named = os.environ.pop("MPLBACKEND", None) if "matplotlib" not in sys.modules else None
    try:
        return import_module("matplotlib")
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named


def new_figure(width: int | float, height: int | float, layout: "Literal['constrained'] | None" = "constrained") -> "Figure":
    """An empty figure in inches: no global state, no display, safe in any process."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _figure_class()(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


@cache
def _figure_class() -> "type[Figure]":
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that a notebook shows although no backend of matplotlib's was chosen there."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            with house_style():
                self.savefig(buffer, format="png", dpi=DPI)
            return buffer.getvalue()

    return ShownFigure


def samples_figure(run: StoredRun) -> "Figure | None":
    """What the run's arrays show, a row each: the data, then the best, the median and the worst seed."""
    chosen = chosen_seeds(run, next(iter(run.judged), ""))
    tiles = run_tiles(run, chosen)
    rows, title = list(dict.fromkeys(kind for kind, _ in tiles)), short(run.manifest.experiment, 60)
    costs = {note: cost for seed, note in chosen.items() if (cost := pictures.cost(run, seed))}
    below = {place: costs[place[1]] for place in tiles if place[1] in costs}
    return mosaic(tiles, rows, ["data", *chosen.values()], 1.5, title, below) if tiles else None


def run_tiles(run: StoredRun, chosen: Mapping[int, str]) -> dict[tuple[str, str], np.ndarray]:
    """RGB squares by what they show and by the name of the seed; those of the data under ``data``."""
    reference, tiles = run.arrays("reference"), {}
    for kind, key, stored in pictures.stored_arrays(run):
        truth = {"log_q": "log_p", "z": "", "grid": ""}.get(key, "x")
        found = {}
        for seed, note in chosen.items():
            found[note] = pictures.as_pixels(stored[run.manifest.seeds.index(seed)], reference, TILE, key)
        if truth in reference and any(pixels is not None for pixels in found.values()):
            found["data"] = pictures.as_pixels(reference[truth], reference, TILE)
        tiles |= {(kind, name): _rgb(pixels) for name, pixels in found.items() if pixels is not None}
    return tiles


def _rgb(pixels: Pixels) -> np.ndarray:
    return np.asarray(as_image(pixels).convert("RGB").resize((TILE, TILE), 2))  # 2: bilinear


def mosaic(
    tiles: Mapping[tuple[str, str], np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
    size: int | float,
    title: str = "",
    notes: Mapping[tuple[str, str], str] | None = None,
) -> "Figure":
    """Square pictures in a grid with named rows and columns: one image, so that many are drawn as fast as one.

    Args:
        tiles: RGB squares by row and column; missing ones stay white.
        rows: names from the top.
        columns: names from the left.
        size: inches of a picture.
        title: above all.
        notes: what is written below a picture, by row and column.
    """
    step = TILE + TILE // 20
    down = step + bool(notes) * TILE // 9
    sheet = np.full((len(rows) * down, len(columns) * step, 3), 255, dtype=np.uint8)
    for (row, column), tile in tiles.items():
        y, x = rows.index(row) * down, columns.index(column) * step
        sheet[y : y + TILE, x : x + TILE] = tile
        frame = (slice(y, y + TILE), [x, x + TILE - 1]), ([y, y + TILE - 1], slice(x, x + TILE))
        for edge in frame:
            sheet[edge] = 160
    left, top = 0.25, 0.28 + 0.22 * bool(title)
    width, height = size * len(columns) + left, size * down / step * len(rows) + top
    figure = new_figure(width, height, layout=None)
    axis = figure.add_axes((left / width, 0, 1 - left / width, 1 - top / height))
    axis.imshow(sheet, interpolation="none")
    axis.set_axis_off()
    for index, name in enumerate(columns):
        axis.text(index * step + TILE / 2, -TILE / 20, short(name, 20), ha="center", va="bottom")
    for index, name in enumerate(rows):
        axis.text(-TILE / 20, index * down + TILE / 2, short(name, 24), ha="right", va="center", rotation=90)
    for (row, column), note in (notes or {}).items():
        x, y = columns.index(column) * step + TILE / 2, rows.index(row) * down + TILE + TILE / 40
        axis.text(x, y, short(note, 24), ha="center", va="top", fontsize=6)
    if title:
        figure.suptitle(title, y=1 - 0.05 / height, va="top")
    return figure


def rows_figure(run: StoredRun) -> "Figure | None":
    """Pictures of data, their codes, random codes and chains in rows: of the best, the median and the worst seed."""
    chosen = chosen_seeds(run, next(iter(run.judged), ""))
    found = {note: rows for seed, note in chosen.items() if (rows := rows_of(run, seed)) is not None}
    return rows_sheet(found, short(run.manifest.experiment, 60)) if found else None


def rows_sheet(found: Mapping[str, Rows], title: str = "") -> "Figure":
    """Pictures in rows below one another, each under its name.

    Args:
        found: by name.
        title: above all.
    """
    width, left, head = 4.6, 0.95, 0.22
    tall = [(width - left) * rows.pixels[0].shape[0] / rows.pixels[0].shape[1] for rows in found.values()]
    height = sum(tall) + head * len(tall) + 0.3 * bool(title) + 0.03
    figure, top = new_figure(width, height, layout=None), height - 0.3 * bool(title)
    for (name, rows), inches in zip(found.items(), tall, strict=True):
        top -= head + inches
        axis = figure.add_axes((left / width, top / height, 1 - left / width, inches / height))
        axis.imshow(np.asarray(as_image(rows.pixels).convert("RGB")), interpolation="none", aspect="auto")
        axis.set_axis_off()
        axis.set_title(short(name, 60), loc="left", pad=2)
        for place, kind in enumerate(rows.names):
            at = 1 - (place + 0.5) / len(rows.names)
            axis.text(-0.01, at, kind, transform=axis.transAxes, ha="right", va="center", fontsize=7)
    if title:
        figure.suptitle(title, y=1 - 0.05 / height, va="top")
    return figure


def curves_figure(run: StoredRun) -> "Figure | None":
    """Validation curves: each seed thin (dashed if it diverged), the median thick, the band from 10 to 90 % of the seeds."""
    found = [curve for metric in run.metrics("valid") if (curve := curves(run, metric)) is not None]
    if not found:
        return None
    across = min(len(found), ACROSS)
    down = -(-len(found) // across)
    figure = new_figure(3.4 * across, 2.4 * down + 0.2)
    figure.suptitle(short(run.manifest.experiment, 60))
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for axis in axes[len(found) :]:
        axis.remove()
    for axis, curve in zip(axes, found, strict=False):
        draw(axis, curves_chart([curve], "step", {curve.label: 0}, curve.metric))
        axis.set_title(f"{curve.metric}, validation, {len(curve.seeds)} seed{'s' * (len(curve.seeds) > 1)}")
    return figure


def draw(axis: "Axes", chart: Chart) -> None:
    """A chart on a pair of axes: matplotlib's side of what ``svg`` does for the page."""
    for one in chart.series:
        shade, again = COLOURS[one.colour % len(COLOURS)], one.colour >= len(COLOURS)
        handle: dict[str, Any] = {"label": one.label}  # of the first mark that a legend can show
        for mark in one.marks:
            look = dict(LOOKS[mark.role])
            if mark.role == "note":
                axis.annotate(mark.text, mark.points[0], (0, 2), textcoords="offset points", **look)
            elif mark.role in ("band", "bar"):
                axis.fill(*mark.points.T, color=shade, linewidth=0, **look, **(handle if mark.role == "bar" else {}))
                handle = {} if mark.role == "bar" else handle
            else:
                style = {"linestyle": "--"} if again and mark.role in ("mid", "ci") else {}
                axis.plot(*mark.points.T, **{"color": shade, **look, **style}, **(handle if mark.role == "mid" else {}))
    for side, one in (("x", chart.x), ("y", chart.y)):
        getattr(axis, f"set_{side}scale")("log" if one.scale.log else "linear")
        ticks = one.ticks(4)
        getattr(axis, f"set_{side}ticks")([value for value, _ in ticks], [text for _, text in ticks])
        ends = one.scale.low, one.scale.high
        getattr(axis, f"set_{side}lim")(*(reversed(ends) if one.names and side == "y" else ends))
    axis.minorticks_off()
    axis.set(xlabel=chart.x.title, ylabel=chart.y.title)
    if chart.y.names:
        axis.tick_params(axis="y", length=0)
    if chart.level is not None:
        value, text = chart.level
        axis.axhline(value, color="black", linewidth=0.7, linestyle=":")
        axis.annotate(text, (0, value), (3, -2), axis.get_yaxis_transform(), "offset points", va="top", fontsize=6)
    for line, remark in enumerate(chart.y.beside):
        axis.annotate(remark, (1.01, line), xycoords=axis.get_yaxis_transform(), va="center", fontsize=6, color="#8A1C1C")


# What ``Run.figure`` shows, and ``draw_figures`` writes: each ``None`` of a run that has stored nothing for it.
KINDS: "dict[str, Callable[[StoredRun], Figure | None]]" = {
    "samples": samples_figure,
    "rows": rows_figure,
    "curves": curves_figure,
}
