"""Validation curves as arrays: what the page, the figures and the convergence table all start from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seedbed.core.metric import (
    DELTA_ERROR,
    ENCODER_LOSS,
    GAP,
    INFORMATION,
    INFORMATION_OF_LAYER,
    NEG_ELBO,
    SIGMA_ERROR,
    THETA_ERROR,
    Metric,
    declared,
)
from seedbed.report.stored import StoredRun
from seedbed.report.words import fate_words

Floats = NDArray[np.float64]
BAND = (0.1, 0.9)  # quantiles over seeds
PAGE_POINTS = 150  # of a curve on the page


@dataclass(frozen=True)
class Curves:
    """One validation metric of one run over its seeds.

    Args:
        label: the run's.
        metric: what was measured.
        seeds: in order.
        steps: ``[points]``, updates.
        values: ``[points, seeds]``, ``nan`` where a seed has none.
        walls: ``[points, seeds]``, seconds of training.
        lost: seeds that diverged or ended worse than their baseline.
        fates: how each seed ended, in words.
    """

    label: str
    metric: str
    seeds: tuple[int, ...]
    steps: Floats
    values: Floats
    walls: Floats
    lost: frozenset[int]
    fates: dict[int, str]

    @cached_property
    def _solid(self) -> NDArray[np.bool_]:
        """Points at which at least half of the seeds have a value: an average over fewer is of other seeds."""
        there = np.isfinite(self.values).sum(1)
        return there * 2 >= there.max(initial=1)

    @property
    def x(self) -> dict[str, Floats]:
        """The two axes of the median and the band: steps, and mean seconds of the seeds that are there."""
        with np.errstate(invalid="ignore"):
            clock = np.nansum(self.walls, 1) / np.maximum(np.isfinite(self.walls).sum(1), 1)
        return {"step": self.steps[self._solid], "time": clock[self._solid]}

    @cached_property
    def band(self) -> tuple[Floats, Floats, Floats]:
        """Lower edge, median, upper edge over seeds."""
        low, middle, high = np.nanquantile(self.values[self._solid], (BAND[0], 0.5, BAND[1]), axis=1)
        return low, middle, high

    def seed(self, index: int, axis: str) -> tuple[Floats, Floats]:
        """One seed's own curve on one axis."""
        there = np.isfinite(self.values[:, index])
        return (self.steps if axis == "step" else self.walls[:, index])[there], self.values[there, index]

    def thinned(self, points: int = PAGE_POINTS) -> "Curves":
        """At most so many points, evenly chosen, first and last among them."""
        if len(self.steps) <= points:
            return self
        kept = np.unique(np.linspace(0, len(self.steps) - 1, points).round().astype(int))
        return replace(self, steps=self.steps[kept], values=self.values[kept], walls=self.walls[kept])


def curves(run: StoredRun, metric: str | None = None) -> Curves | None:
    """A run's validation curves; by default those of its gap to the known floor, else of the first metric it measured."""
    name = metric or next(iter(run.metrics("valid")), None)
    rows = [row for row in run.rows if row.split == "valid" and row.metric == name and math.isfinite(row.value)]
    if name is None or not rows:
        return None
    seeds, steps = sorted({row.seed for row in rows}), sorted({row.step for row in rows})
    column, line = ({key: i for i, key in enumerate(keys)} for keys in (seeds, steps))
    values, walls = (np.full((len(steps), len(seeds)), np.nan) for _ in range(2))
    for row in rows:
        where = line[row.step], column[row.seed]
        values[where], walls[where] = row.value, row.wall_s
    fates = {seed: _fate(run, seed) for seed in seeds}
    return Curves(run.label, name, tuple(seeds), np.array(steps, float), values, walls, frozenset(run.lost), fates)


def _fate(run: StoredRun, seed: int) -> str:
    return fate_words(*run.fates[seed]) if seed in run.fates else "still training"


@dataclass(frozen=True)
class Scale:
    """A value axis: bounds and whether it is logarithmic."""

    low: float
    high: float
    log: bool

    def place(self, value: Floats) -> Floats:
        """Position in ``[0, 1]`` for values within the bounds; beyond them cut to just outside."""
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high, x = (np.log(v) if self.log else v for v in (self.low, self.high, np.asarray(value, float)))
            return np.asarray(np.clip(np.nan_to_num((x - low) / (high - low), nan=-0.5, neginf=-0.5), -0.5, 1.5))

    def at(self, share: float) -> float:
        """The value at a share of the way from the lower end to the upper."""
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + share * (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers within the bounds."""
        if self.log:
            tens = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8)):
                found = [d * 10.0**e for e in tens for d in digits if self.low <= d * 10.0**e <= self.high]
                if len(found) >= 3:
                    break
            return found
        raw = (self.high - self.low) / count
        size = 10.0 ** math.floor(math.log10(raw))
        size *= next(m for m in (1, 2, 2.5, 5, 10) if m * size >= raw * (1 - 1e-9))
        first, last = math.ceil(self.low / size - 1e-9), math.floor(self.high / size + 1e-9)
        return [i * size for i in range(first, last + 1)]


def value_scale(many: Sequence[Curves]) -> Scale:
    """An axis for the later nine tenths of every band: the start of a curve says little and dwarfs the rest."""
    low, high = [], []
    for one in many:
        bottom, _, top = one.band
        start = len(bottom) // 10
        kept = [i for i, seed in enumerate(one.seeds) if seed not in one.lost]
        own = one.values[len(one.steps) // 10 :, kept or slice(None)]
        low.append(min(float(bottom[start:].min()), float(np.nanmin(own)) if np.isfinite(own).any() else math.inf))
        high.append(float(top[start:].max()))
    return spanning(min(low), max(high), declared(many[0].metric))


def spanning(low: float, high: float, metric: Metric) -> Scale:
    """An axis around two values, logarithmic where zero means something and the values span a factor of eight."""
    log = low > 0 and high > 8 * low and not metric.offset
    if log:
        margin = (high / low) ** 0.04
        return Scale(low / margin, high * margin, True)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return Scale(low - margin, high + margin, False)


def curve_groups(runs: Sequence[StoredRun], metric: str | None = None) -> list[list[Curves]]:
    """The curves of runs that stand beside each other, one list per metric."""
    wanted = metric if metric and all(metric in run.metrics("valid") for run in runs) else None
    if wanted is None and all(GAP.name in run.metrics("valid") for run in runs if run.metrics("valid")):
        wanted = GAP.name
    found = [curve for run in runs if (curve := curves(run, wanted)) is not None]
    return [[c for c in found if c.metric == name] for name in dict.fromkeys(c.metric for c in found)]


def player_groups(runs: Sequence[StoredRun]) -> list[list[Curves]]:
    """The losses of both players, the decoder's first, one list per metric; none where no encoder has a loss of its own."""
    if not any(ENCODER_LOSS.name in run.metrics("valid") for run in runs):
        return []
    return _of_metrics(runs, [NEG_ELBO.name, ENCODER_LOSS.name])


def information_groups(runs: Sequence[StoredRun]) -> list[list[Curves]]:
    """What bits tell of x, all together, then by layer from the top down, one list per metric."""
    found = dict.fromkeys(metric for run in runs for metric in run.metrics("valid"))
    layers = [metric for metric in found if INFORMATION_OF_LAYER.parse(metric)]
    return _of_metrics(runs, [INFORMATION.name, *layers])


def error_groups(runs: Sequence[StoredRun]) -> list[list[Curves]]:
    """The bound and the errors of parameters whose truth is known, one list per metric; none where they are not."""
    if not any(THETA_ERROR.name in run.metrics("valid") for run in runs):
        return []
    return _of_metrics(runs, [NEG_ELBO.name, THETA_ERROR.name, DELTA_ERROR.name, SIGMA_ERROR.name])


def _of_metrics(runs: Sequence[StoredRun], metrics: Sequence[str]) -> list[list[Curves]]:
    found = [[curve for run in runs if (curve := curves(run, metric)) is not None] for metric in metrics]
    return [many for many in found if many]
