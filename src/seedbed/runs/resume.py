"""The manifest of a new run, or of one that goes on: what it was begun with stays, anything else is refused."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from seedbed.core.errors import SeedbedError
from seedbed.data import rooted
from seedbed.experiments.experiment import Experiment
from seedbed.runs.machine import groups_of, threads_of, usable_device
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest, command_line

if TYPE_CHECKING:
    from seedbed.data.dataset import Dataset

# One stack is 5x a loop for the spline flow and 2.7x for the toy VAE; `processes` is 1.0 to 1.4x faster on two cores
# (results/benchmarks/seeds.json) but takes the cores from everything else, so it is asked for by name.
AUTO = "vectorized"


def begun(folder: Folder) -> bool:
    """Whether any group of a run has a checkpoint."""
    return folder.exists() and any(folder.latest_meta(group) is not None for group in folder.manifest().groups)


@dataclass(frozen=True, kw_only=True)
class Start:
    """What is asked for when a run is started, or started again.

    Args:
        folder: of the run.
        name: the experiment's.
        experiment: its declaration.
        seeds: that are asked for now.
        strategy: how they are executed; ``auto`` is as the run was begun.
        device: where; ``auto`` likewise.
        threads: CPU threads; ``None`` likewise.
        data_of: loads the data of a group of seeds: those that join a run must find the data that it was begun with.
        found: how the seeds of a new run can be executed.
        reason: why they are not one stack, if that is not what was asked for.
    """

    folder: Folder
    name: str
    experiment: Experiment
    seeds: Sequence[int]
    strategy: str
    device: str
    threads: int | None
    data_of: "Callable[[list[int]], Dataset]"
    found: str
    reason: str = ""

    def written(self) -> Manifest:
        """The manifest of a new run, or of the run that is continued, with groups for seeds that are new; in its folder.

        What a start has left that never came to train anything gives way to another.

        Raises:
            SeedbedError: if the folder holds something else, or a run of other settings.
        """
        while True:
            old, alone = self.folder.manifest() if self.folder.exists() else None, False
            try:
                manifest = self._new() if old is None else self._joined(old)
            except SeedbedError:
                if old is None or self._has_trained(old):
                    raise
                manifest, alone = self._new(), True
            # Nothing is locked while it is looked at, which may take long: if it is another by now, once more.
            if manifest == old or self.folder.begin(manifest, old, alone=alone):
                return self.folder.manifest()

    def _new(self) -> Manifest:
        chosen = AUTO if self.found == "auto" else self.found
        groups = groups_of(self.seeds, chosen)
        return Manifest(
            experiment=self.name,
            config=self.experiment.config(),
            groups=groups,
            strategy=chosen,
            threads=threads_of(self.threads, groups, chosen),
            device=usable_device(self.device),
            command=command_line(),
            reason=self.reason,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            source=self.experiment.source.record() if self.experiment.source is not None else {},
        )

    def _joined(self, old: Manifest) -> Manifest:
        _check_same(self.folder, old, self.name, self.experiment)
        _check_continued(self.folder, old, self.seeds, self.strategy, self.device, self.threads)
        fresh = [seed for seed in self.seeds if seed not in old.seeds]
        if not fresh:
            return old
        added = groups_of(fresh, old.strategy)
        if old.data:
            old = hold_to_data(self.folder, self.data_of(added[0]))
        return replace(old, groups=[*old.groups, *added])

    def _has_trained(self, old: Manifest) -> bool:
        """Whether there is something to lose in a run: a row, a checkpoint, or one that is damaged."""
        return any(
            self.folder.table(group).path.exists() or any(self.folder.checkpoints(group).glob("step-*"))
            for group in old.groups
        )


def check_place(folder: Folder) -> None:
    """See that a run can be in a folder.

    Raises:
        SeedbedError: if it is a file, something else is in it, or it cannot be written.
    """
    for place in (folder.path, *folder.path.parents):
        if os.path.lexists(place):
            if not place.is_dir():
                raise SeedbedError(f"{place} is a file, not a folder; choose another --name or --out")
            break
    if folder.exists():
        return
    if folder.foreign():
        raise SeedbedError(f"{folder} holds other files and no run; choose another --name or --out")
    with folder.locked():  # which writes a file
        pass


def hold_to_data(folder: Folder, data: "Dataset", baseline: Mapping[str, float] = MappingProxyType({})) -> Manifest:
    """Write down what a run's data are, or see that they are still the same; the manifest as it is then.

    Args:
        folder: the run's.
        data: as loaded now.
        baseline: by metric, the validation loss of a trivial model of them.

    Raises:
        SeedbedError: if they are not.
    """
    from seedbed.runs.weights import units_record

    record = {
        "name": data.name,
        "protocol": data.protocol,
        "checksum": data.checksum(),
        "domain": str(data.domain),
        "shape": list(data.shape),
        **units_record(data),
    }
    if (place := rooted(data.name)) != data.name:
        record["place"] = place
    if baseline:
        record["baseline"] = dict(baseline)
    manifest = folder.manifest()
    if not manifest.data:
        manifest = folder.change(lambda now: now if now.data else replace(now, data=record))
    if manifest.data["checksum"] != record["checksum"]:
        raise SeedbedError(f"the data of {folder} have changed since it began; restore them or choose another --name")
    return manifest


def _check_same(folder: Folder, old: Manifest, name: str, experiment: Experiment) -> None:
    if old.experiment != name:
        raise SeedbedError(f"{folder} is a run of {old.experiment}, not of {name}; choose another --name or --out")
    config = experiment.config()
    changed = [k for k in {**old.config, **config} if old.config.get(k) != config.get(k)]
    if changed:
        key = sorted(changed)[0]
        raise SeedbedError(
            f"{folder} was run with {key}={old.config.get(key)}, now {config.get(key)}; "
            "choose another --name, or --again to start over"
        )
    if changed := changed_code(old, experiment):
        raise SeedbedError(
            f"{', '.join(changed)} changed since {folder} began; choose another --name, or --again to start over"
        )


def changed_code(manifest: Manifest, experiment: Experiment) -> list[str]:
    """What of the code that a run was made with is another in an experiment, by its names."""
    then = manifest.source.get("sha256", {})
    now = experiment.source.record(then)["sha256"] if experiment.source is not None else {}
    # What a file imported since may be more than it had then; of code that was given all is known from the beginning.
    names = then if "file" in manifest.source or not then else {**then, **now}
    return [name for name in names if then.get(name) != now.get(name)]


def _check_continued(
    folder: Folder, old: Manifest, seeds: Sequence[int], strategy: str, device: str, threads: int | None
) -> None:
    """Refuse to go on, in silence, otherwise than is asked: a run continues as it began, bit for bit."""
    ends = [folder.latest_meta(group) for group in old.groups]
    if set(seeds) <= {seed for group, end in zip(old.groups, ends, strict=True) if end and end["done"] for seed in group}:
        return
    if device == "auto" and not _is_here(old.device):
        raise SeedbedError(
            f"{folder} was begun on {old.device}, which is not here, and goes on there alone; continue it where that is, "
            "choose another --name, or --again to start over"
        )
    now = {
        "strategy": old.strategy if strategy == "auto" else strategy,
        "device": old.device if device == "auto" else usable_device(device),
        "threads": threads_of(threads, old.groups, old.strategy) if threads else old.threads,
    }
    for what, value in now.items():
        if value != getattr(old, what):
            raise SeedbedError(
                f"{folder} was begun with {what} {getattr(old, what)}, now {value}; leave out --{what} to continue it, "
                "choose another --name, or --again to start over"
            )


def _is_here(device: str) -> bool:
    """Whether a device of a manifest is on this machine, the same kind of GPU too."""
    try:
        return usable_device(device.split(" ")[0]) == device
    except SeedbedError:
        return False
