"""A run folder: manifest, tables, checkpoints and artefacts of one experiment over its seeds."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed.core.errors import SeedbedError
from seedbed.core.metric import Metric
from seedbed.store import checkpoint
from seedbed.store.atomic import write_atomic
from seedbed.store.manifest import FILE, Manifest
from seedbed.store.table import LongTable, Row, frame

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_REPLACED = re.compile(r"\.replaced-\d{8}-\d{6}$")  # a run that `--again` moved aside


def find_runs(root: Path) -> list[Path]:
    """Every run folder at or below a folder, in the order of their paths; runs that were moved aside are passed over."""
    found = []
    for folder, below, files in os.walk(root):
        if FILE in files:
            found.append(Path(folder))
            below.clear()
        below[:] = [name for name in below if not _REPLACED.search(name)]
    return sorted(found)


def group_name(seeds: Sequence[int]) -> str:
    """The name under which a group of seeds stores its files."""
    return "seed-" + "-".join(map(str, seeds)) if len(seeds) < 4 else f"seeds-{seeds[0]}-to-{seeds[-1]}-of-{len(seeds)}"


class Folder:
    """Paths and readers of one run folder. Nothing here trains or draws."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def exists(self) -> bool:
        """Whether a run was ever started here."""
        return os.path.exists(self.path / FILE)

    def manifest(self) -> Manifest:
        """The manifest; raises ``SeedbedError`` if this is no run folder of this version."""
        return Manifest.read(self.path)

    def table(self, group: Sequence[int]) -> LongTable:
        """The table file of one group of seeds."""
        return LongTable(self.path / "table" / f"{group_name(group)}.csv")

    def rows(self) -> list[Row]:
        """Every row of the run: of training, then of evaluations made after it."""
        return self.trained() + self.evaluated()

    def trained(self) -> list[Row]:
        """Every row that training wrote, group by group."""
        return [row for group in self.manifest().groups for row in self.table(group).read()]

    def evaluation(self, name: str) -> LongTable:
        """The table file of one evaluation made after training, e.g. ``nll-test-k5000``."""
        return LongTable(self.path / "evaluations" / f"{name}.csv")

    def evaluated(self) -> list[Row]:
        """Rows of all evaluations; what was measured on more examples, then with more samples, comes last and counts."""
        tables = [(path, LongTable(path).read()) for path in sorted((self.path / "evaluations").glob("*.csv"))]

        def effort(entry: tuple[Path, list[Row]]) -> tuple[int, int, bool]:
            path, rows = entry
            k = re.search(r"-k(\d+)", path.stem)
            return max((row.n for row in rows), default=0), int(k[1]) if k else 0, not path.stem.endswith("bf16")

        return [row for _, rows in sorted(tables, key=effort) for row in rows]

    def declarations(self) -> list[Metric]:
        """Metrics of estimators of one's own, as the notes beside their evaluations declare them.

        Raises:
            SeedbedError: if a note is damaged.
        """
        found: dict[Metric, None] = {}
        for path in sorted((self.path / "evaluations").glob("*.json")):
            try:
                for entry in json.loads(path.read_text(encoding="utf-8")).values():
                    found |= dict.fromkeys(Metric(**one) for one in entry.get("metrics", ()))
            except (ValueError, TypeError, AttributeError) as error:
                raise SeedbedError(f"{path} is damaged ({error}); delete it and its .csv, and evaluate again") from error
        return list(found)

    def frame(self) -> "pd.DataFrame":
        """The long table of the whole run."""
        return frame(self.rows())

    def checkpoints(self, group: Sequence[int]) -> Path:
        """The checkpoint folder of one group."""
        return self.path / "checkpoints" / group_name(group)

    def latest(self, group: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The newest readable checkpoint of one group."""
        return checkpoint.latest(self.checkpoints(group))

    def latest_meta(self, group: Sequence[int]) -> dict[str, Any] | None:
        """The metadata of the newest readable checkpoint of one group, without reading its tensors."""
        return checkpoint.latest_meta(self.checkpoints(group))

    def save_arrays(self, name: str, group: Sequence[int], arrays: Mapping[str, "np.ndarray"]) -> None:
        """Store arrays for pictures, ``[seed, ...]`` each."""
        _write_npz(self.path / "artefacts" / name / f"{group_name(group)}.npz", arrays)

    def save_reference(self, arrays: Mapping[str, "np.ndarray"]) -> None:
        """Store what all seeds are pictured beside (held-out examples, the true density), without a seed axis."""
        _write_npz(self.path / "artefacts" / "reference.npz", arrays)

    def reference(self) -> dict[str, "np.ndarray"]:
        """What ``save_reference`` stored; empty if nothing was."""
        return _read_npz(self.path / "artefacts" / "reference.npz")

    def arrays(
        self, name: str, each: "Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]" = dict
    ) -> "dict[str, np.ndarray]":
        """Stored arrays of all groups, joined along the seed axis in the order of the seeds; empty if there are none.

        Args:
            name: theirs.
            each: what is made of a group's before.
        """
        import numpy as np

        parts: dict[str, list[np.ndarray]] = {}
        seeds: list[int] = []
        for group in self.manifest().groups:
            stored = _read_npz(self.path / "artefacts" / name / f"{group_name(group)}.npz")
            seeds += list(group) if stored else []
            for key, value in each(stored).items():
                parts.setdefault(key, []).append(value)
        order = np.argsort(seeds, kind="stable")
        return {key: np.concatenate(values)[order] for key, values in parts.items()}


def _write_npz(path: Path, arrays: Mapping[str, "np.ndarray"]) -> None:
    import numpy as np

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keys as options

    write_atomic(path, write)


def _read_npz(path: Path) -> dict[str, "np.ndarray"]:
    import numpy as np

    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
