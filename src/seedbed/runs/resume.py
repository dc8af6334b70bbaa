"""The manifest of a new run, or of one that goes on: what it was begun with stays, anything else is refused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
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


def written_manifest(
    folder: Folder,
    name: str,
    experiment: Experiment,
    seeds: Sequence[int],
    strategy: str,
    device: str,
    threads: int | None,
    data_of: "Callable[[list[int]], Dataset]",
    reason: str = "",
) -> Manifest:
    """The manifest of a new run, or of the run that is continued, with groups for seeds that are new; written to its folder.

    Args:
        folder: of the run.
        name: the experiment's.
        experiment: its declaration.
        seeds: that are asked for now.
        strategy: how they are executed; ``auto`` is as the run was begun.
        device: where; ``auto`` likewise.
        threads: CPU threads; ``None`` likewise.
        data_of: loads the data of a group of seeds: those that join a run must find the data that it was begun with.
        reason: why a new run's seeds are not one stack, if that is not what was asked for.

    Raises:
        SeedbedError: if the folder holds something else, or a run of other settings.
    """
    if folder.exists():
        old = folder.manifest()
        _check_same(folder, old, name, experiment)
        _check_continued(folder, old, seeds, strategy, device, threads)
        fresh = [seed for seed in seeds if seed not in old.seeds]
        if not fresh:
            return old
        added = groups_of(fresh, old.strategy)
        if old.data:
            hold_to_data(folder, old, data_of(added[0]))
        manifest = replace(old, groups=[*old.groups, *added])
    else:
        if folder.path.exists() and any(folder.path.iterdir()):
            raise SeedbedError(f"{folder.path} holds other files and no run; choose another --name or --out")
        chosen = AUTO if strategy == "auto" else strategy
        groups = groups_of(seeds, chosen)
        manifest = Manifest(
            experiment=name,
            config=experiment.config(),
            groups=groups,
            strategy=chosen,
            threads=threads_of(threads, groups, chosen),
            device=usable_device(device),
            command=command_line(),
            reason=reason,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            source=experiment.source.record() if experiment.source is not None else {},
        )
    manifest.write(folder.path)
    return manifest


def hold_to_data(folder: Folder, manifest: Manifest, data: "Dataset") -> None:
    """Write down what a run's data are, or see that they are still the same.

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
    if not manifest.data:
        replace(folder.manifest(), data=record).write(folder.path)
    elif manifest.data["checksum"] != record["checksum"]:
        raise SeedbedError(f"the data of {folder.path} have changed since it began; restore them or choose another --name")


def _check_same(folder: Folder, old: Manifest, name: str, experiment: Experiment) -> None:
    if old.experiment != name:
        raise SeedbedError(f"{folder.path} is a run of {old.experiment}, not of {name}; choose another --name or --out")
    config = experiment.config()
    changed = [k for k in {**old.config, **config} if old.config.get(k) != config.get(k)]
    if changed:
        key = sorted(changed)[0]
        raise SeedbedError(
            f"{folder.path} was run with {key}={old.config.get(key)}, now {config.get(key)}; "
            "choose another --name, or --again to start over"
        )
    if changed := changed_code(old, experiment):
        raise SeedbedError(
            f"{', '.join(changed)} changed since {folder.path} began; choose another --name, or --again to start over"
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
    now = {
        "strategy": old.strategy if strategy == "auto" else strategy,
        "device": old.device if device == "auto" else usable_device(device),
        "threads": threads_of(threads, old.groups, old.strategy) if threads else old.threads,
    }
    for what, value in now.items():
        if value != getattr(old, what):
            raise SeedbedError(
                f"{folder.path} was begun with {what} {getattr(old, what)}, now {value}; leave out --{what} to continue it, "
                "choose another --name, or --again to start over"
            )
