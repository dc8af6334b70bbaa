"""Figures of one run as PNG: draws and density beside the data, and curves with seed bands."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedbed.store.atomic import write_atomic
from seedbed.store.folder import Folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHOWN = 4  # seeds pictured; the table has them all


def draw_figures(folder: Folder) -> list[Path]:
    """Write every figure that the run's stored arrays and rows allow, and say where."""
    written = []
    for name, figure in (("samples", samples_figure(folder)), ("curves", curves_figure(folder))):
        if figure is not None:
            path = folder.path / "figures" / f"{name}.png"
            write_atomic(path, lambda temporary, f=figure: f.savefig(temporary, format="png", dpi=130))
            written.append(path)
    return written


def _figure(width: float, height: float) -> "Figure":
    # The object-oriented face: no global state, no display, safe in any process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def samples_figure(folder: Folder) -> "Figure | None":
    """Two-dimensional runs: points on top, log-density below; the data first, then the first seeds."""
    samples, density, reference = folder.arrays("samples"), folder.arrays("density"), folder.reference()
    if not samples or samples["x"].ndim != 3 or samples["x"].shape[-1] != 2 or not reference:
        return None
    seeds = folder.manifest().seeds[: len(samples["x"])][:SHOWN]
    low, high = (float(v) for v in reference["extent"])
    rows = 2 if density and "log_p" in reference else 1
    figure = _figure(2.1 * (len(seeds) + 1), 2.25 * rows + 0.35)
    figure.suptitle(folder.manifest().experiment, fontsize=10)
    axes = figure.subplots(rows, len(seeds) + 1, squeeze=False)
    for column, points in enumerate([reference["x"], *samples["x"][: len(seeds)]]):
        axis = axes[0, column]
        axis.scatter(
            points[:, 0], points[:, 1], s=0.7, linewidths=0, alpha=0.6, color="#444444" if column == 0 else COLOURS[0]
        )
        axis.set_title("data" if column == 0 else f"seed {seeds[column - 1]}", fontsize=9)
        _square(axis, low, high)
    if rows == 2:
        top = float(np.exp(reference["log_p"].max()))
        for column, log_density in enumerate([reference["log_p"], *density["log_q"][: len(seeds)]]):
            picture = np.exp(np.nan_to_num(log_density, nan=-np.inf))
            axes[1, column].imshow(picture, origin="lower", extent=(low, high, low, high), cmap="magma", vmin=0, vmax=top)
            _square(axes[1, column], low, high)
        axes[1, 0].set_ylabel("density", fontsize=9)
    axes[0, 0].set_ylabel("points", fontsize=9)
    return figure


def _square(axis: "Axes", low: float, high: float) -> None:
    axis.set(xlim=(low, high), ylim=(low, high), xticks=[], yticks=[], aspect="equal")


def curves_figure(folder: Folder) -> "Figure | None":
    """Validation curves: each seed thin, their mean thick, the band from the 10th to the 90th percentile."""
    curves: dict[str, dict[int, dict[int, float]]] = {}
    for row in folder.rows():
        if row.split == "valid" and np.isfinite(row.value):
            curves.setdefault(row.metric, {}).setdefault(row.seed, {})[row.step] = row.value
    if not curves:
        return None
    figure = _figure(4.2 * len(curves), 3.2)
    figure.suptitle(folder.manifest().experiment, fontsize=10)
    for column, (metric, seeds) in enumerate(curves.items()):
        axis = figure.add_subplot(1, len(curves), column + 1)
        steps = np.array(sorted({step for curve in seeds.values() for step in curve}))
        values = np.array([[curve.get(step, np.nan) for curve in seeds.values()] for step in steps])
        axis.plot(steps, values, color=COLOURS[0], linewidth=0.5, alpha=0.35)
        # A seed that ended early leaves nan behind: the band is over those still there.
        low, high = np.nanquantile(values, (0.1, 0.9), axis=1)
        axis.fill_between(steps, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        axis.plot(steps, np.nanmean(values, axis=1), color=COLOURS[0], linewidth=1.6)
        # The start of a curve says little and dwarfs the rest: the axis spans what the later nine tenths need.
        late = values[len(values) // 10 :]
        margin = 0.05 * float(np.nanmax(late) - np.nanmin(late)) + 1e-9
        axis.set_ylim(np.nanmin(late) - margin, np.nanmax(late) + margin)
        axis.set_xlabel("step")
        axis.set_title(f"{metric}, validation, {len(seeds)} seeds", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
