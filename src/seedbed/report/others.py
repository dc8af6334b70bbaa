"""Somebody else's results as runs: what a report, a verdict and a table take, without a folder of Seedbed's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedbed.core.errors import SeedbedError
from seedbed.core.metric import Metric
from seedbed.judge.results import Results
from seedbed.report.stored import StoredRun
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest
from seedbed.store.table import Row

CURVE = 200  # points of a seed's curve at most: more than a chart shows


@dataclass(frozen=True, eq=False)
class OthersRun(StoredRun):
    """One model on one task of a table that somebody brought.

    Args:
        known: what each of its metrics is.
    """

    known: Mapping[str, Metric] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Its name in the table, as it stands there."""
        return self.manifest.experiment

    @property
    def study(self) -> str:
        """None."""
        return ""

    def arrays(self, name: str) -> dict[str, NDArray]:
        """None: a table holds no pictures."""
        return {}

    def declared(self, metric: str) -> Metric:
        """What a metric is: as it was told, or by its name."""
        return self.known.get(metric) or Metric(metric, "", "", better=None)


def runs_of(found: Results) -> list[StoredRun]:
    """A run for each model and task of a table, in the order in which they stand there.

    The last step of each seed is its test value; those before it, where a table has steps, are its validation curve.

    Raises:
        SeedbedError: if nothing says of any metric which way is better.
    """
    if all(metric.better is None for metric in found.metrics.values()):
        names = ", ".join(list(found.metrics)[:6])
        raise SeedbedError(f"nothing says which way is better of {names}; say --better higher, lower or {names}=higher")
    frame: Any = found.frame
    runs = []
    for (model, task), part in frame.groupby(["model", "task"], sort=False):
        seeds = sorted({int(seed) for seed in part["seed"]})
        steps = int(part["step"].max()) if np.isfinite(part["step"].max()) else 0
        manifest = Manifest(
            experiment=str(model),
            config={"data": str(task), **({"steps": steps} if steps else {})},
            groups=[seeds],
            strategy="",
            threads=0,
            device="",
            data={"name": str(task), "protocol": f"as in {found.source}"},
            versions={},
        )
        where = Folder(Path(found.source.split(", ")[0]) / str(model) / str(task))  # that does not exist
        runs.append(OthersRun(where, manifest, _rows(part), known=found.metrics))
    return runs


def _rows(part: Any) -> list[Row]:
    seeds = part.groupby(["metric", "seed"], sort=False)["step"]
    last = seeds.transform("max") == part["step"]
    behind, many = seeds.cumcount(ascending=False), seeds.transform("size")
    kept = behind % (many // CURVE + 1) == 0
    part, last = part[kept], last[kept]
    columns = (part[name].tolist() for name in ("seed", "step", "metric", "value", "n", "se"))
    rows = []
    for seed, step, metric, value, n, se, final in zip(*columns, last.tolist(), strict=True):
        if final:
            rows.append(Row(int(seed), int(step), "test", metric, value, "", int(n), se, 0.0))
        if step:
            rows.append(Row(int(seed), int(step), "valid", metric, value, "", int(n), se, 0.0))
    steps = {int(seed): int(step) for seed, step in zip(part["seed"], part["step"], strict=True)}
    return rows + [Row(seed, step, "status", "finished", float(step), "steps", 1, 0.0, 0.0) for seed, step in steps.items()]
