"""Who trains the groups of a run: this process, or processes of their own. All that they share is the run folder."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, NoReturn

from seedbed.core.errors import SeedbedError
from seedbed.core.interrupts import Interrupted, Stop, interrupts
from seedbed.experiments.experiment import Experiment
from seedbed.runs.group import train
from seedbed.store.folder import Folder
from seedbed.store.locks import Busy
from seedbed.store.manifest import Manifest

if TYPE_CHECKING:
    from seedbed.train.task import Task


@dataclass(frozen=True, kw_only=True)
class Work:
    """Groups of seeds that are to be trained.

    Args:
        folder: of the run.
        experiment: its declaration; workers elsewhere look it up by its name in the manifest.
        manifest: of the run.
        groups: those of its groups that are meant; what is finished of them is left alone.
        checkpoint_seconds: least time between checkpoints.
        progress: ``progress(position of the group, step, steps, values)``.
        tasks: of the groups whose task has been built already, by their seeds.
    """

    folder: Folder
    experiment: Experiment
    manifest: Manifest
    groups: Sequence[Sequence[int]]
    checkpoint_seconds: float
    progress: Callable[..., None]
    tasks: "dict[tuple[int, ...], Task]" = field(default_factory=dict)


def train_groups(work: Work) -> None:
    """Train every group to its end, by the backend of the run's strategy.

    Raises:
        SeedbedError: with the first error of a group.
        KeyboardInterrupt: after Ctrl-C; what was done is kept.
    """
    BACKENDS[work.manifest.strategy](work)


def _here(work: Work) -> None:
    """One group after the other, in this process; those that another process is training come last."""
    busy = []
    for index, group in enumerate(work.groups):
        try:
            _group(work, index, group)
        except Busy:
            busy.append((index, group))
    for index, group in busy:
        _group(work, index, group)


def _group(work: Work, index: int, group: Sequence[int]) -> None:
    report = lambda *values: work.progress(index, *values)
    task = work.tasks.pop(tuple(group), None)  # of one that has been trained nothing stays in memory
    train(work.folder, work.experiment, group, work.manifest, work.checkpoint_seconds, report, task)


def _processes(work: Work) -> None:
    """One worker process per group; all they need to know is in the run folder, and each builds its own task."""
    work.tasks.clear()
    folder, manifest = work.folder, work.manifest
    indices = [manifest.groups.index(list(group)) for group in work.groups]
    command = [sys.executable, "-m", "seedbed.runs.worker", str(folder.path), manifest.experiment]
    command.append(str(work.checkpoint_seconds))
    with ExitStack() as pipes, interrupts() as stop:
        # Files, not pipes: nobody reads a pipe while a worker trains, and one that is full would stop it for good.
        logs = [pipes.enter_context(TemporaryFile()) for _ in indices]
        # A worker ends when its standard input closes: when this process does, however it ends.
        workers = [
            pipes.enter_context(
                subprocess.Popen(
                    [*command, str(index)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,  # a terminal's Ctrl-C is for this process, which passes it on, once
                )
            )
            for index, said in zip(indices, logs, strict=True)
        ]
        while any(worker.poll() is None for worker in workers):
            time.sleep(0.1)
            for position, group in enumerate(work.groups):
                work.progress(position, *_last_step(folder, group))
            if stop.seen:
                _end(workers, stop)
        for worker, said in zip(workers, logs, strict=True):
            if worker.returncode:
                said.seek(0)
                lines = said.read().decode(errors="backslashreplace").strip().splitlines()
                reason = lines[-1] if lines else f"worker ended with code {worker.returncode}"
                raise SeedbedError(reason.removeprefix("seedbed: "))


def _end(workers: "Sequence[subprocess.Popen[bytes]]", stop: Stop) -> NoReturn:
    """Pass a signal on to every worker and wait while each writes its checkpoint; a second signal follows it at once.

    Raises:
        Interrupted: by the signal that arrived.
    """
    try:
        _passed_on(workers, stop.number)
    except KeyboardInterrupt:
        _passed_on(workers, stop.number)
    raise Interrupted(stop.number)


def _passed_on(workers: "Sequence[subprocess.Popen[bytes]]", number: int) -> None:
    for worker in workers:
        worker.send_signal(number)  # none to one that has ended
    for worker in workers:
        worker.wait()


def _last_step(folder: Folder, group: Sequence[int]) -> tuple[int, int, None]:
    path = folder.table(group).path
    if not path.exists():
        return 0, 0, None
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - 400))
        lines = handle.read().decode(errors="ignore").splitlines()
    cells = lines[-1].split(",") if lines else []
    return (int(cells[1]) if len(cells) > 1 and cells[1].isdigit() else 0), 0, None


BACKENDS: Mapping[str, Callable[[Work], None]] = {"vectorized": _here, "sequential": _here, "processes": _processes}
