"""The first source's bar charts: a group per convergence metric, a bar per model, its standard deviation over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seedbed.core.metric import declared
from seedbed.report.curves import Floats, Scale, spanning
from seedbed.report.tables import Table

LOSSES, COUNT = ("min", "last", "first", "max"), "exceeds"
DWARFS = 4.0  # times the others, beyond which the largest loss would leave nothing to see of them


@dataclass(frozen=True)
class Bars:
    """One chart: convergence metrics of the models on one data set.

    Args:
        task: the data set.
        metric: whose validation curve.
        labels: of the models.
        losses: of ``LOSSES``, those that are drawn.
        means: over seeds that did not diverge, ``[losses, models]``.
        stds: population standard deviations, as in the source, ``[losses, models]``.
        exceeds: mean number of evaluations after the fifth above the mean of the first five, ``[models]``.
    """

    task: str
    metric: str
    labels: tuple[str, ...]
    losses: tuple[str, ...]
    means: Floats
    stds: Floats
    exceeds: Floats

    @property
    def scale(self) -> Scale:
        """The axis of the losses: logarithmic as that of curves is, else with zero on it, where a bar begins."""
        tops = self.means + self.stds
        low, high = float(np.nanmin(self.means)), float(np.nanmax(tops))
        scale = spanning(low, high, declared(self.metric))
        return scale if scale.log else Scale(min(1.05 * low, 0.0), max(1.05 * high, 0.0) or 1.0, False)

    @property
    def base(self) -> float:
        """Where bars begin."""
        return self.scale.low if self.scale.log else 0.0

    @property
    def words(self) -> str:
        """The chart in words."""
        means = (
            f"{label}: " + ", ".join(f"{name} {mean:.4g}" for name, mean in zip(self.losses, row, strict=True)) + "."
            for label, row in zip(self.labels, self.means.T, strict=True)
        )
        return f"{self.metric} on {self.task}. " + " ".join(means)


def bar_charts(table: Table) -> list[Bars]:
    """A chart per data set and metric of the convergence table."""
    charts = []
    for task, metric in dict.fromkeys((row["data"], row["metric"]) for row in table.raw):
        rows = [row for row in table.raw if row["data"] == task and row["metric"] == metric]
        found = {(row["quantity"], row["model"]): row for row in rows}
        labels = tuple(dict.fromkeys(row["model"] for row in rows if np.isfinite(found["last", row["model"]]["mean"])))
        if labels:
            charts.append(_chart(task, metric, labels, found))
    return charts


def _chart(task: str, metric: str, labels: Sequence[str], found: dict) -> Bars:
    means, stds = (
        np.array([[found[name, label][key] for label in labels] for name in (*LOSSES, COUNT)], float)
        for key in ("mean", "std")
    )
    dwarfing = float(np.nanmax(np.abs(means[-2]))) > DWARFS * float(np.nanmax(np.abs(means[:-2])))
    logarithmic = spanning(float(np.nanmin(means[:-1])), float(np.nanmax(means[:-1])), declared(metric)).log
    shown = len(LOSSES) - int(dwarfing and not logarithmic)
    return Bars(task, metric, tuple(labels), LOSSES[:shown], means[:shown], stds[:shown], means[-1])
