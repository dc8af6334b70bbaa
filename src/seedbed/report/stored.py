"""A run as a report sees it: what was stored, read once."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seedbed.core.errors import SeedbedError, one_line
from seedbed.core.metric import (
    ENERGY_AFTER,
    FED_OF_UNIT,
    FID_AFTER,
    FID_AT,
    GAP,
    INFORMATION_OF_UNIT,
    NEG_IW,
    Metric,
    declared,
)
from seedbed.judge.intervals import interval
from seedbed.report.summary import LOST, Summary
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest
from seedbed.store.table import COLUMNS, Row

# Axes before an example's, of what is stored by the name of the artefact and the key; one of seeds less in the reference.
_LEAD = {("reference", "x"): 1, ("samples", "x"): 2, ("samples", "mean"): 2, ("reconstructions", "mean"): 2}
_LEAD |= {("traversals", "grid"): 3, ("interpolations", "grid"): 3, ("canvas", "mean"): 3}
LEAST = 8  # pixels to a side of a picture that is known by its length alone


def with_channels(name: str, arrays: Mapping[str, NDArray], *, whole: Callable[[], bool]) -> dict[str, NDArray]:
    """Arrays of a run of before artefacts had the shape of the data: grey pictures get their axis of one channel.

    Then grey pictures were ``[..., height, width]``, and square ones of whole numbers ``[..., pixels]``, of a side of 8 at
    least.

    Args:
        name: of the artefact.
        arrays: as they are stored, by their keys.
        whole: whether the examples of the data are whole numbers.
    """
    out = dict(arrays)
    for key, array in arrays.items():
        rank = array.ndim - _LEAD.get((name, key), array.ndim)
        side = math.isqrt(array.shape[-1]) if rank == 1 else 0
        if rank == 2:
            out[key] = np.expand_dims(array, -3)
        elif side >= LEAST and side**2 == array.shape[-1] and whole():
            out[key] = array.reshape(*array.shape[:-1], 1, side, side)
    return out


@dataclass(frozen=True, eq=False)
class StoredRun:
    """One run folder, read once.

    Args:
        folder: where it is stored.
        manifest: what it was.
        rows: its whole table, as far as it has come.
        label: its name among the runs it stands beside.
    """

    folder: Folder
    manifest: Manifest
    rows: list[Row] = field(repr=False)
    label: str = ""

    @classmethod
    def read(cls, path: Path) -> "StoredRun":
        """Read one run folder.

        Raises:
            SeedbedError: if it is none, or its manifest or table is damaged.
        """
        folder = Folder(path)
        return cls(folder, folder.manifest(), folder.rows())

    def checked(self) -> "StoredRun":
        """This run, once all that a report reads of it has been read.

        Raises:
            SeedbedError: if any of it is damaged.
        """
        for name in [path.stem for path in (self.folder.path / "artefacts").glob("*")]:
            self.arrays(name)
        self.folder.declarations()
        return self

    def arrays(self, name: str) -> dict[str, NDArray]:
        """Stored arrays of one name, ``[seeds, ...]``; under ``reference`` what they are pictured beside, without seeds.

        Raises:
            SeedbedError: if a file is damaged.
        """
        old = "shape" not in self.manifest.data
        laid = partial(with_channels, name, whole=lambda: self._whole) if old else dict
        try:
            return laid(self.folder.reference()) if name == "reference" else self.folder.arrays(name, laid)
        except ValueError as error:  # arrays of groups that do not go together
            where = self.folder.path / "artefacts" / name
            raise SeedbedError(f"the pictures in {where} are damaged ({error}); delete them to report without") from error

    @cached_property
    def _whole(self) -> bool:
        """Whether the examples of the data are whole numbers, as the levels of a picture are."""
        return self.folder.reference().get("x", np.zeros(0)).dtype.kind in "biu"

    @property
    def data(self) -> str:
        """Name of the data set; what of it cannot be printed, as escapes."""
        return one_line(str(self.manifest.data.get("name") or self.manifest.config.get("data") or "data"))

    @property
    def model(self) -> str:
        """The experiment's name without study, data set or folder; an arm's without what varies: vae, not vae-init."""
        name = self.manifest.experiment
        if ".py:" in name:  # of a file of one's own, wherever it lies
            return Path(name).name
        return (name.split("/", 2)[2] if name.count("/") >= 2 else name).removesuffix(f"-{self.vary}")

    @property
    def study(self) -> str:
        """The study that it is a preset of; empty of a model on data that were named, and of a file of one's own."""
        name = self.manifest.experiment
        return name.split("/")[0] if name.count("/") >= 2 and ".py:" not in name else ""

    @property
    def vary(self) -> str:
        """What differs between its seeds."""
        return str(self.manifest.config.get("vary", "model"))

    @property
    def steps(self) -> int:
        """Updates declared."""
        return int(self.manifest.config.get("steps", 0))

    @cached_property
    def fates(self) -> dict[int, tuple[str, int]]:
        """How and at which step each seed ended; seeds that still train have none."""
        return {row.seed: (row.metric, int(row.value)) for row in self.rows if row.split == "status"}

    @cached_property
    def lost(self) -> tuple[int, ...]:
        """Seeds that diverged or ended worse than their trivial baseline."""
        return tuple(sorted(seed for seed, (fate, _) in self.fates.items() if fate in LOST))

    @cached_property
    def summaries(self) -> list[Summary]:
        """Every test metric over the seeds."""
        return self.summaries_on("test")

    def summaries_on(self, split: str) -> list[Summary]:
        """Every metric of one split over the seeds, in the order in which they were measured."""
        return [self.summary(metric, split) for where, metric in self._last if where == split]

    def summary(self, metric: str, split: str = "test") -> Summary:
        """One metric over the seeds, each at its last step; all nan where it was not measured."""
        if (metric, split) not in self._summaries:
            self._summaries[metric, split] = self._summarised(metric, split)
        return self._summaries[metric, split]

    @cached_property
    def _summaries(self) -> dict[tuple[str, str], Summary]:
        return {}

    def _summarised(self, metric: str, split: str) -> Summary:
        rows, within = self._last.get((split, metric), {}), self.declared(metric).range
        kept, poor = self.kept(metric, split), self.poor(metric, split)
        counted = kept if len(kept) else poor
        errors = [rows[seed].se for seed in counted.index]
        mean = lambda values: interval(values.to_numpy(float), rng=np.random.default_rng(0), within=within)
        some = next(iter(rows.values()), None)
        return Summary(
            experiment=self.manifest.experiment,
            metric=metric,
            unit=some.unit if some else "",
            interval=mean(kept),
            std=float(counted.to_numpy().std(ddof=1)) if len(counted) > 1 else math.nan,
            # Seeds are evaluated on the same examples, so their errors are not independent: not divided by the seeds.
            mc_se=float(np.mean(errors)) if errors else math.nan,
            values=tuple(map(kept.to_dict().get, sorted(rows))),
            n=some.n if some else 0,
            seeds=len(self.manifest.seeds),
            diverged=len(self.without(metric, split)),
            finished=self.fates.keys() == set(self.manifest.seeds),
            seconds=self.seconds,
            poor=mean(poor) if len(poor) else None,
        )

    @cached_property
    def trivial(self) -> dict[str, float]:
        """By metric the validation loss of a trivial model which this run is not shown to beat; empty if it does."""
        known = self.manifest.data.get("baseline", {}).items()
        found = {metric: (self.summary(metric, "valid").interval, loss) for metric, loss in known}
        return {metric: loss for metric, (mean, loss) in found.items() if mean.n > 1 and mean.high >= loss}

    def ended(self, fate: str) -> list[int]:
        """Seeds that met one fate."""
        return sorted(seed for seed, (met, _) in self.fates.items() if met == fate)

    @property
    def finished(self) -> bool:
        """Whether every seed came to its end."""
        return self.fates.keys() >= set(self.manifest.seeds)

    @cached_property
    def progress(self) -> float:
        """Share of the training that is done, over all seeds."""
        reached = dict.fromkeys(self.manifest.seeds, 0)
        for row in self.rows:
            reached[row.seed] = self.steps if row.split == "status" else max(reached.get(row.seed, 0), row.step)
        return sum(reached.values()) / max(1, len(reached) * self.steps)

    @cached_property
    def seconds(self) -> float:
        """Seconds of training and evaluation, summed over the groups of seeds."""
        walls: dict[int, float] = {}
        for row in self.rows:
            walls[row.seed] = max(walls.get(row.seed, 0.0), row.wall_s)
        return sum(max((walls.get(seed, 0.0) for seed in group), default=0.0) for group in self.manifest.groups)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The long table."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
        return pd.DataFrame(columns, columns=list(COLUMNS))

    def metrics(self, split: str) -> list[str]:
        """What was measured on a split, the gap to the known floor first."""
        return sorted((metric for where, metric in self._units if where == split), key=lambda metric: metric != GAP.name)

    @property
    def judged(self) -> list[str]:
        """The test metrics that runs may be compared on: those of which less, or more, is better."""
        return [metric for metric in self.metrics("test") if self.declared(metric).better is not None]

    def declared(self, metric: str) -> Metric:
        """What a metric is here: as Seedbed declares it, or an estimator of one's own that measured it."""
        return declared(metric, self._own, self._tested)

    @cached_property
    def _own(self) -> list[Metric]:
        return self.folder.declarations()

    @cached_property
    def _tested(self) -> frozenset[str]:
        return frozenset(metric for where, metric in self._units if where == "test")

    @cached_property
    def _units(self) -> dict[tuple[str, str], str]:
        return {key: next(iter(rows.values())).unit for key, rows in self._last.items()}

    def unit(self, metric: str) -> str:
        """The unit of a metric, ``""`` if it was not measured."""
        return self._units.get(("test", metric)) or self._units.get(("valid", metric), "")

    def final(self, metric: str, split: str = "test") -> pd.Series:
        """The last value of each seed that has one, lost seeds included."""
        rows = self._last.get((split, metric), {})
        return pd.Series({seed: row.value for seed, row in rows.items()}, dtype=float).sort_index()

    @cached_property
    def _last(self) -> dict[tuple[str, str], dict[int, Row]]:
        """By split and metric the last row of each seed."""
        found: dict[tuple[str, str], dict[int, Row]] = {}
        for row in self.rows:
            if row.split != "status":
                found.setdefault((row.split, row.metric), {})[row.seed] = row
        return found

    @cached_property
    def ladder(self) -> dict[int, pd.Series]:
        """Test values of the importance-weighted bounds by k, of each seed that did not diverge, where all k have them.

        Of several evaluations those on the most examples count: bounds are compared on the same ones.
        """
        rungs = [(row, int(rung["k"])) for row in self.rows if row.split == "test" and (rung := NEG_IW.parse(row.metric))]
        most, lost, found = max((row.n for row, _ in rungs), default=0), set(self.lost), {}
        for row, k in rungs:
            if row.n == most and row.seed not in lost and np.isfinite(row.value):
                found.setdefault(k, {})[row.seed] = row.value
        common = set.intersection(*map(set, found.values())) if found else set()
        return {k: pd.Series({seed: found[k][seed] for seed in sorted(common)}) for k in sorted(found) if common}

    @cached_property
    def by_size(self) -> dict[int, pd.Series]:
        """Test values of the Frechet distance by the number of pictures, of each seed that did not diverge.

        Of several networks those of the last that it was measured in, and of random codes before those of chains.
        """
        return self._by_number(FID_AT)

    @cached_property
    def by_step(self) -> dict[int, pd.Series]:
        """The same of chains, by the steps that they had gone: of those that began at noise, if there are such."""
        return self._by_number(FID_AFTER)

    @cached_property
    def by_leapfrog(self) -> dict[int, pd.Series]:
        """Test values of the error of the energy by the leapfrogs that made it, of each seed that did not diverge."""
        return self._by_number(ENERGY_AFTER)

    def _by_number(self, asked: Metric) -> dict[int, pd.Series]:
        part, found = asked.name.partition("/")[0], dict[str, dict[int, pd.Series]]()
        for split, metric in self._last:
            if split == f"test/{part}" and (number := asked.parse(f"{part}/{metric}")):
                found.setdefault(metric.partition("@")[2], {})[int(number["n"])] = self.kept(metric, split)
        # Runs are beside each other by the plainest: of random codes, else of chains from noise.
        order = lambda tag: (":limiting" in tag, ":from-draws" in tag)
        plainest = min(reversed(found), key=order, default="")
        numbers = found.get(plainest, {})
        return {n: numbers[n] for n in sorted(numbers) if len(numbers[n])}

    @cached_property
    def bits(self) -> dict[tuple[str, str], pd.DataFrame]:
        """What every bit tells in nats, of each seed that did not diverge: by layer and by who is told, a column per bit.

        ``q``: what it tells of x. ``p``: what the layers above tell of it under the model itself.
        """
        found: dict[tuple[str, str], dict[int, pd.Series]] = {}
        for split, metric in self._last:
            for side, asked in (("q", INFORMATION_OF_UNIT), ("p", FED_OF_UNIT)):
                if split == "test/units" and (bit := asked.parse(f"units/{metric}")):
                    found.setdefault((bit["layer"], side), {})[int(bit["i"])] = self.kept(metric, split)
        return {key: pd.DataFrame(dict(sorted(bits.items()))) for key, bits in found.items()}

    def without(self, metric: str, split: str = "test") -> tuple[int, ...]:
        """Seeds that count as diverged on a metric: those lost, and those whose value is not finite."""
        values = self.final(metric, split)
        return tuple(sorted({*self.lost, *values.index[~np.isfinite(values.to_numpy())].tolist()}))

    def kept(self, metric: str, split: str = "test") -> pd.Series:
        """The value of each seed that did not diverge."""
        values = self.final(metric, split)
        return values.loc[~values.index.isin(self.without(metric, split))]

    def poor(self, metric: str, split: str = "test") -> pd.Series:
        """The finite values of a run that keeps none: of its seeds that ended worse than their trivial baseline."""
        values, ended = self.final(metric, split), self.ended("worse_than_baseline")
        none = not len(self.kept(metric, split))
        return values.loc[values.index.isin(ended) & np.isfinite(values.to_numpy()) & none]
