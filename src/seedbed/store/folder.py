"""A run folder: manifest, tables, checkpoints and artefacts of one experiment over its seeds."""

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed.core.errors import SeedbedError
from seedbed.core.metric import Metric
from seedbed.store import checkpoint, notes
from seedbed.store.atomic import clear_os_errors, tentative, write_atomic
from seedbed.store.locks import Lock, held
from seedbed.store.manifest import COPY, FILE, Manifest, is_manifest
from seedbed.store.table import DamagedTable, LongTable, Row, frame, parsed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_REPLACED = re.compile(r"\.replaced-\d{8}-\d{6}(-\d+)?$")  # a run that `--again` moved aside
_LOCK = ".lock"
_MOMENT = 60.0  # seconds to wait for what is held for a moment
_LONGEST = 255  # bytes of a file's name


def find_runs(root: Path) -> list[Path]:
    """Every run folder at or below a folder, in the order of their paths; runs that were moved aside are passed over."""
    found = []
    for folder, below, files in os.walk(root):
        if FILE in files or COPY in files:
            found.append(Path(folder))
            below.clear()
        below[:] = [name for name in below if not _REPLACED.search(name)]
    return sorted(found)


def ended(rows: Sequence[Row], group: Sequence[int]) -> bool:
    """Whether each seed of a group has come to an end, by its rows."""
    return {row.seed for row in rows if row.split == "status"} >= set(group)


def group_name(seeds: Sequence[int]) -> str:
    """The name under which a group of seeds stores its files."""
    return "seed-" + "-".join(map(str, seeds)) if len(seeds) < 4 else f"seeds-{seeds[0]}-to-{seeds[-1]}-of-{len(seeds)}"


class Folder:
    """Paths and readers of one run folder. Nothing here trains or draws."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()  # a run stays where it is, wherever its process goes

    def __str__(self) -> str:
        """Its path as it would be typed: from the working folder, if it lies below that."""
        with suppress(OSError, ValueError):  # the working folder is gone, or not above it
            return str(self.path.relative_to(Path.cwd()))
        return str(self.path)

    def exists(self) -> bool:
        """Whether a run was ever started here."""
        return is_manifest(self.path)

    def manifest(self) -> Manifest:
        """The manifest; raises ``SeedbedError`` if this is no run folder of this version."""
        return Manifest.read(self.path)

    # --- who may write --------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[Lock]:
        """Hold the run's own lock for a moment: who has it may write the manifest, and take other locks of the run.

        Raises:
            SeedbedError: if another process has it for long, or the folder cannot be written.
        """
        with tentative(self.path), held(self.path / _LOCK, f"writing {self.path / FILE}", wait=_MOMENT) as lock:
            yield lock

    @contextmanager
    def working(self, name: str, doing: str, within: str = "", *, wait: float = 0.0) -> Iterator[tuple[Lock, Manifest]]:
        """Hold the lock of a part of the run (a group of seeds, an evaluation, the figures) for as long as it is written.

        Args:
            name: of the part.
            doing: what for, in words.
            within: the folder below the run's in which the part is.
            wait: seconds to wait for it.

        Yields:
            The lock, and the manifest as it was when it was taken.

        Raises:
            Busy: if another process has it.
            SeedbedError: if it cannot be taken, or there is no run here.
        """
        with ExitStack() as stack:
            with self.locked():  # so that who has that one, and sees no other, is alone
                manifest = self.manifest()
                place = self.path / within / f"{_LOCK}-{name}"
                stack.enter_context(tentative(place.parent))
                lock = stack.enter_context(held(place, doing, wait=wait))
            yield lock, manifest

    @contextmanager
    def alone(self) -> Iterator[list[Lock]]:
        """Hold all locks of the run.

        Raises:
            Busy: if another process works on a part of it.
        """
        with ExitStack() as stack:
            locks = [stack.enter_context(self.locked())]
            for path in sorted(self.path.rglob(f"{_LOCK}-*")):
                locks.append(stack.enter_context(held(path, f"writing {self}")))
            yield locks

    def change(self, how: Callable[[Manifest], Manifest]) -> Manifest:
        """Read the manifest, change it, and write it: one process at a time."""
        with self.locked():
            old = self.manifest()
            new = how(old)
            if new != old:
                new.write(self.path)
        return new

    def begin(self, manifest: Manifest, instead: Manifest | None, *, alone: bool = False) -> bool:
        """Write the manifest of a run that begins, or that others join.

        Args:
            manifest: to be written.
            instead: what was read before; ``None`` if there was none.
            alone: whether nobody may be at work on what was there.

        Returns:
            Whether it was written; it is not if there is another manifest by now.

        Raises:
            SeedbedError: if it cannot be written.
        """
        with tentative(self.path), self.alone() if alone else self.locked():
            if (self.manifest() if self.exists() else None) != instead:
                return False
            manifest.write(self.path)
        return True

    def foreign(self) -> bool:
        """Whether something is in the folder that is not of a run."""
        own = re.compile(rf"{re.escape(_LOCK)}|{re.escape(COPY)}|\..+\.tmp", re.DOTALL)
        return self.path.is_dir() and any(not own.fullmatch(place.name) for place in self.path.iterdir())

    def move_aside(self) -> Path:
        """Rename the folder, so that a new run can begin in its place, and say where it is now.

        Raises:
            Busy: if another process works on it.
            SeedbedError: if it cannot be renamed.
        """
        with self.alone() as locks:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            with clear_os_errors(self.path):
                aside = self._renamed(f".replaced-{stamp}")
            for lock in locks:
                lock.moved(aside / lock.path.relative_to(self.path))
        return aside

    def _renamed(self, ending: str) -> Path:
        """Rename the folder to a name that is free: of its own, as far as that fits, and an ending."""
        for number in range(1, 1000):
            last = ending if number == 1 else f"{ending}-{number}"
            stem = os.fsencode(self.path.name)[: _LONGEST - len(last)].decode(errors="ignore")
            aside = self.path.with_name(stem + last)
            if not os.path.lexists(aside):
                self.path.rename(aside)
                return aside
        raise SeedbedError(f"{self} cannot be moved aside: every name for it is taken; choose another --name")

    # --- what is there --------------------------------------------------------------------------------------------

    def table(self, group: Sequence[int]) -> LongTable:
        """The table file of one group of seeds."""
        return LongTable(self.path / "table" / f"{group_name(group)}.csv")

    def rows(self) -> list[Row]:
        """Every row of the run: of training, then of evaluations made after it."""
        return self.trained() + self.evaluated()

    def trained(self) -> list[Row]:
        """Every row that training wrote, group by group.

        Those of a table that is lost or damaged are its checkpoint's; the next run of the same command puts it back.

        Raises:
            SeedbedError: if no checkpoint has them either.
        """
        return [row for group in self.manifest().groups for row in self._trained(group)]

    def _trained(self, group: Sequence[int]) -> list[Row]:
        table, damage = self.table(group), None
        try:
            rows = table.read()
            if ended(rows, group):
                return rows
        except DamagedTable as error:
            rows, damage = [], error
        stored = checkpoint.latest_rows(self.checkpoints(group))
        if stored is not None and not table.content().startswith(stored):
            return parsed(stored, table.path)
        if damage is not None:
            raise SeedbedError(f"{damage}; delete it and run the same command again: its seeds are trained anew") from damage
        return rows

    def complete(self, group: Sequence[int]) -> bool:
        """Whether a group is trained to its end, its weights are whole, and its table has all rows of it."""
        meta = self.latest_meta(group)
        if meta is None or not meta["done"]:
            return False
        whole = self.latest(group)  # past a checkpoint whose header alone is whole
        if whole is None or not whole[1]["done"]:
            return False
        stored = checkpoint.latest_rows(self.checkpoints(group))
        try:
            return self.table(group).content() == stored if stored is not None else ended(self.table(group).read(), group)
        except DamagedTable:
            return False

    def repaired(self, group: Sequence[int]) -> bool:
        """Write back the table of a group that is done, as its checkpoint has it; whether that is all that is left to do."""
        meta = self.latest_meta(group)
        stored = self.rows_at(group, meta["step"]) if meta is not None and meta["done"] else None
        if stored is not None:
            self.table(group).restore(stored)
        return stored is not None

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
        paths = sorted((self.path / "evaluations").glob("*.json"))
        return list(dict.fromkeys(metric for path in paths for metric in notes.declared(path)))

    def frame(self) -> "pd.DataFrame":
        """The long table of the whole run."""
        return frame(self.rows())

    def checkpoints(self, group: Sequence[int]) -> Path:
        """The checkpoint folder of one group."""
        return self.path / "checkpoints" / group_name(group)

    def latest(self, group: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The newest readable checkpoint of one group."""
        found = checkpoint.latest(self.checkpoints(group))
        return found and (found[0], self._checked(found[1], group))

    def latest_meta(self, group: Sequence[int]) -> dict[str, Any] | None:
        """The metadata of the newest readable checkpoint of one group, without reading its tensors."""
        found = checkpoint.latest_meta(self.checkpoints(group))
        return found and self._checked(found, group)

    def newest(self, group: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The newest checkpoint of one group: who reads numbers must not be given those of the one before.

        Raises:
            DamagedCheckpoint: if that one cannot be read.
        """
        paths = checkpoint.steps(self.checkpoints(group))
        if not paths:
            return None
        tree, meta = checkpoint.load(paths[-1])
        return tree, self._checked(meta, group)

    def rows_at(self, group: Sequence[int], step: int) -> bytes | None:
        """The table of one group as its checkpoint of a step has it; ``None`` if that was written before they had it."""
        return checkpoint.load_rows(checkpoint.place(self.checkpoints(group), step))

    def _checked(self, meta: dict[str, Any], group: Sequence[int]) -> dict[str, Any]:
        where = self.checkpoints(group)
        if missing := [name for name in ("done", "wall_s", "counts") if name not in meta]:
            raise SeedbedError(f"the newest checkpoint in {where} does not say {missing[0]!r}; delete it and run again")
        if meta.get("seeds", [*group]) != [*group]:
            raise SeedbedError(f"the newest checkpoint in {where} is of seeds {meta['seeds']}; delete it and run again")
        return meta

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
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, NotImplementedError, *_TORN) as error:
        # NumPy would have them loaded all the same.
        why = "they hold Python objects, which are never loaded" if "pickle" in str(error) else error
        raise SeedbedError(f"the pictures in {path} are damaged ({why}); delete them to report without") from error


_TORN = (zipfile.BadZipFile, zlib.error, SyntaxError)  # the last of numpy's own headers
