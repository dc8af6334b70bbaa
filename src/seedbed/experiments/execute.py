"""Run an experiment over seeds: the folder, the groups of seeds, and who trains them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.experiments import find
from seedbed.experiments.base import Experiment
from seedbed.experiments.warm_start import check_start, start_weights
from seedbed.store.atomic import exclusive
from seedbed.store.folder import Folder, group_name
from seedbed.store.manifest import Manifest, command_line, config_hash

if TYPE_CHECKING:
    from seedbed.core.noise import Streams
    from seedbed.train.task import Task

STRATEGIES = ("auto", "vectorized", "sequential", "processes")


def run_folder(name: str, experiment: Experiment, out: Path | str = "runs", tag: str | None = None) -> Folder:
    """Where a run lives: ``out/<experiment>/<tag>``, the tag being the hash of its settings unless one is given.

    Raises:
        SeedbedError: for a tag that is no single folder's name.
    """
    if tag is not None and (tag != Path(tag).name or tag == ".."):
        raise SeedbedError(f"--name is one folder's name, got {tag!r}; choose another, and the place with --out")
    stem = name.replace(".py:", "-").replace(os.sep, "-").strip(".-") if ".py:" in name else name
    return Folder(Path(out) / stem / (tag or config_hash(name, experiment.config())))


def execute(
    name: str,
    experiment: Experiment,
    seeds: Iterable[int],
    *,
    out: Path | str = "runs",
    tag: str | None = None,
    strategy: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    quiet: bool = True,
    again: bool = False,
) -> Folder:
    """Train an experiment over seeds, or continue it; a finished seed is not trained again.

    Args:
        name: the experiment's registered name or ``file.py:variable``.
        experiment: its declaration, possibly with changed fields.
        seeds: distinct non-negative integers.
        out: folder of all runs.
        tag: name of the run; by default the hash of its settings.
        strategy: how the seeds are executed; never what they compute.
        device: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
        threads: CPU threads; all by default.
        checkpoint_seconds: least time between checkpoints.
        quiet: no progress bar.
        again: discard what is there and train anew.

    Raises:
        SeedbedError: for bad input, or if the folder holds something else.
        KeyboardInterrupt: after Ctrl-C; what was done is kept.
    """
    seeds = check_seeds(seeds)
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    folder = run_folder(name, experiment, out, tag)
    begun = folder.exists() and any(folder.latest(group) for group in folder.manifest().groups)
    if again or not begun:
        # What is refused leaves no run behind, and throws none away.
        if experiment.warm_start:
            check_start(experiment, name, seeds)
        where = usable_device(device)
        _check(experiment, _groups(seeds, _auto(where) if strategy == "auto" else strategy)[0], where)
        if again and folder.exists():
            _discard(folder)
    manifest = _manifest(folder, name, experiment, seeds, strategy, device, threads)
    groups = [group for group in manifest.groups if set(group) & set(seeds)]
    from seedbed.experiments.progress import bar

    with bar(name, experiment.steps, len(groups), quiet) as progress:
        if manifest.strategy == "processes":
            _processes(folder, name, groups, manifest, checkpoint_seconds, progress)
        else:
            for index, group in enumerate(groups):
                train(folder, experiment, group, manifest, checkpoint_seconds, lambda *a, i=index: progress(i, *a))
    return folder


def _check(experiment: Experiment, seeds: Sequence[int], device: str) -> None:
    """Refuse settings, data or a model that do not go together, and a game that cannot be played."""
    import torch

    from seedbed.train.holdings import check_again
    from seedbed.train.learner import Learner
    from seedbed.train.start import built

    streams = experiment.streams(seeds)
    task = task_of(experiment, streams)
    check_again(built(task, streams[0]), built(task, streams[0]))
    Learner(task, streams, torch.device(device.split(" ")[0])).probe()


def task_of(experiment: Experiment, streams: "list[Streams]") -> "Task":
    """The training problem that an experiment declares.

    Raises:
        SeedbedError: if it cannot be built, or is none.
    """
    from seedbed.train.task import Task

    what = f"`task` of {type(experiment).__name__}"
    with told(what):
        task = experiment.task(streams)
    if not isinstance(task, Task):
        raise SeedbedError(f"{what} must return a Task, got {type(task).__name__}")
    return task


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """Distinct non-negative seeds, at least one.

    Raises:
        SeedbedError: otherwise.
    """
    seeds = list(seeds)
    if not seeds:
        raise SeedbedError("seeds must be at least 1, got none; say --seeds 10 or --seeds 0:10")
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise SeedbedError(f"seeds must be distinct and not negative, got {seeds}")
    return seeds


def train(
    folder: Folder,
    experiment: Experiment,
    group: Sequence[int],
    manifest: Manifest,
    checkpoint_seconds: float,
    progress: Callable[..., None] | None,
) -> None:
    """Train one group of seeds in this process."""
    import torch

    from seedbed.train.loop import train_group

    latest = folder.latest(group)
    if latest is not None and latest[1]["done"]:
        return
    streams = experiment.streams(group)
    task = task_of(experiment, streams)
    if experiment.warm_start and latest is None:
        task = replace(task, start=start_weights(experiment, manifest.experiment, group))
    record = {"name": task.data.name, "protocol": task.data.protocol, "checksum": task.data.checksum()}
    if not manifest.data:
        replace(folder.manifest(), data=record).write(folder.path)
    elif manifest.data["checksum"] != record["checksum"]:
        raise SeedbedError(f"the data of {folder.path} have changed since it began; restore them or choose another --name")
    with exclusive(folder.path / f".lock-{group_name(group)}"):
        train_group(
            task,
            folder,
            group,
            streams,
            device=torch.device(manifest.device.split(" ")[0]),
            threads=manifest.threads,
            checkpoint_seconds=checkpoint_seconds,
            progress=progress,
            looked=True,
        )


def _manifest(
    folder: Folder, name: str, experiment: Experiment, seeds: list[int], strategy: str, device: str, threads: int | None
) -> Manifest:
    """The manifest of a new run, or of the run that is continued, with groups for seeds that are new."""
    if folder.exists():
        old = folder.manifest()
        _check_same(folder, old, name, experiment)
        _check_continued(folder, old, seeds, strategy, device, threads)
        fresh = [seed for seed in seeds if seed not in old.seeds]
        if not fresh:
            return old
        added = _groups(fresh, old.strategy)
        manifest = replace(old, groups=[*old.groups, *added])
    else:
        if folder.path.exists() and any(folder.path.iterdir()):
            raise SeedbedError(f"{folder.path} holds other files and no run; choose another --name or --out")
        where = usable_device(device)
        chosen = _auto(where) if strategy == "auto" else strategy
        groups = _groups(seeds, chosen)
        manifest = Manifest(
            experiment=name,
            config=experiment.config(),
            groups=groups,
            strategy=chosen,
            threads=_threads(threads, groups, chosen),
            device=where,
            command=command_line(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    manifest.write(folder.path)
    return manifest


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


def _check_continued(
    folder: Folder, old: Manifest, seeds: Sequence[int], strategy: str, device: str, threads: int | None
) -> None:
    """Refuse to go on, in silence, otherwise than is asked: a run continues as it began, bit for bit."""
    ends = [folder.latest(group) for group in old.groups]
    if set(seeds) <= {seed for group, end in zip(old.groups, ends, strict=True) if end and end[1]["done"] for seed in group}:
        return
    now = {
        "strategy": old.strategy if strategy == "auto" else strategy,
        "device": old.device if device == "auto" else usable_device(device),
        "threads": _threads(threads, old.groups, old.strategy) if threads else old.threads,
    }
    for what, value in now.items():
        if value != getattr(old, what):
            raise SeedbedError(
                f"{folder.path} was begun with {what} {getattr(old, what)}, now {value}; leave out --{what} to continue it, "
                "choose another --name, or --again to start over"
            )


def _threads(asked: int | None, groups: Sequence[Sequence[int]], strategy: str) -> int:
    """CPU threads of each group."""
    cores = asked or os.cpu_count() or 1
    return max(1, cores // min(len(groups), cores)) if strategy == "processes" else cores


def _groups(seeds: list[int], strategy: str) -> list[list[int]]:
    """Which seeds train as one stack: all of them, each alone, or one stack per process."""
    if strategy == "vectorized":
        return [seeds]
    if strategy == "sequential":
        return [[seed] for seed in seeds]
    workers = min(len(seeds), os.cpu_count() or 1)
    bounds = [round(i * len(seeds) / workers) for i in range(workers + 1)]
    return [seeds[a:b] for a, b in pairwise(bounds)]


def _auto(device: str) -> str:
    # One stack is 5x a loop for the spline flow and 2.7x for the toy VAE; `processes` is 1.0 to 1.4x faster on two cores
    # (results/benchmarks/seeds.json) but takes the cores from everything else, so it is asked for by name.
    return "vectorized"


def usable_device(device: str) -> str:
    """A device by name, ``auto`` resolved, and a GPU's own name in parentheses.

    Raises:
        SeedbedError: if there is none such here.
    """
    import torch

    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SeedbedError(f"device {device!r} cannot be used here ({reason}); use --device auto or cpu") from error
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


def _discard(folder: Folder) -> None:
    """Move a run aside rather than delete it."""
    folder.manifest()
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder.path.rename(folder.path.with_name(f"{folder.path.name}.replaced-{stamp}"))


def _processes(
    folder: Folder,
    name: str,
    groups: Sequence[Sequence[int]],
    manifest: Manifest,
    checkpoint_seconds: float,
    progress: Callable[..., None],
) -> None:
    """One worker process per group; all they need to know is in the run folder."""
    indices = [manifest.groups.index(list(group)) for group in groups]
    command = [sys.executable, "-m", "seedbed.experiments.worker", str(folder.path), name, str(checkpoint_seconds)]
    with ExitStack() as pipes:
        # A worker ends when its standard input closes: when this process does, however it ends.
        workers = [
            pipes.enter_context(
                subprocess.Popen(
                    [*command, str(index)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for index in indices
        ]
        try:
            while any(worker.poll() is None for worker in workers):
                time.sleep(0.1)
                for position, group in enumerate(groups):
                    progress(position, *_last_step(folder, group))
        except KeyboardInterrupt:
            for worker in workers:
                worker.wait()  # Ctrl-C reaches the whole process group: each of them is writing its checkpoint
            raise
        for worker in workers:
            _, errors = worker.communicate()
            if worker.returncode:
                lines = errors.strip().splitlines() or [f"worker ended with code {worker.returncode}"]
                raise SeedbedError(lines[-1].removeprefix("seedbed: "))


def _last_step(folder: Folder, group: Sequence[int]) -> tuple[int, int, None]:
    path = folder.table(group).path
    if not path.exists():
        return 0, 0, None
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - 400))
        lines = handle.read().decode(errors="ignore").splitlines()
    cells = lines[-1].split(",") if lines else []
    return (int(cells[1]) if len(cells) > 1 and cells[1].isdigit() else 0), 0, None


def resolve(manifest: Manifest, experiment: Experiment | None = None) -> Experiment:
    """The experiment of a run: given, or registered.

    Raises:
        SeedbedError: for a user's own experiment that was not given; no file is executed because a manifest names it.
    """
    if experiment is None:
        if ".py:" in manifest.experiment:
            raise SeedbedError(f"this run is of {manifest.experiment}; pass that experiment to load it")
        experiment = find(manifest.experiment)
    return experiment.with_config(manifest.config)
