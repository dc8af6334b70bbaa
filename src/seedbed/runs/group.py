"""One group of seeds, trained as one stack: its task, the look at it before anything is written, and its training."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seedbed.core.errors import SeedbedError, told
from seedbed.experiments.experiment import Experiment
from seedbed.runs.places import at_hand
from seedbed.runs.resume import hold_to_data
from seedbed.runs.warm_start import start_weights
from seedbed.store.folder import Folder, group_name
from seedbed.store.manifest import Manifest

if TYPE_CHECKING:
    from seedbed.train.task import Task


def task_of(experiment: Experiment, name: str, group: Sequence[int], *, new: bool) -> "Task":
    """The training problem that an experiment declares, for a group of seeds.

    Args:
        experiment: the declaration.
        name: what it is called, see ``warm_start.source_of``.
        group: the seeds.
        new: whether the group has not begun yet, and would start from another run's weights if there are any to start from.

    Raises:
        SeedbedError: if it cannot be built, or is none.
    """
    from seedbed.train.task import Task

    what = f"the task of {experiment.model.title}"
    with told(what):
        task = experiment.task(experiment.streams(group))
    if not isinstance(task, Task):
        raise SeedbedError(f"{what} must return a Task, got {type(task).__name__}")
    return replace(task, start=start_weights(experiment, name, group)) if new and experiment.training.warm_start else task


def look(task: "Task", experiment: Experiment, group: Sequence[int], device: str, mapped: bool) -> None:
    """Refuse settings, data or a model that do not go together, and a game that cannot be played; nothing is changed.

    Args:
        task: of the group.
        experiment: its declaration.
        group: the seeds.
        device: see ``machine.usable_device``.
        mapped: whether one seed, too, must be able to be one of a stack, which others may join.

    Raises:
        SeedbedError: with the first of what is wrong.
        UnmappedError: if its seeds can be trained, but not as one stack.
    """
    import torch

    from seedbed.train.holdings import check_again
    from seedbed.train.learner import Learner
    from seedbed.train.looks import look_at
    from seedbed.train.start import built

    streams = experiment.streams(group)
    check_again(built(task, streams[0]), built(task, streams[0]))
    look_at(Learner(task, streams, torch.device(device.split(" ")[0])), mapped)


def train(
    folder: Folder,
    experiment: Experiment,
    group: Sequence[int],
    manifest: Manifest,
    checkpoint_seconds: float,
    progress: Callable[..., None] | None,
    task: "Task | None" = None,
) -> None:
    """Train a group of seeds in this process, or what is left of it.

    Args:
        folder: of the run.
        experiment: its declaration.
        group: the seeds.
        manifest: of the run.
        checkpoint_seconds: least time between checkpoints.
        progress: see ``train_group``.
        task: of the group, if it has been built already.

    Raises:
        SeedbedError: if the data have changed, the group is being trained elsewhere, or its training cannot go on.
    """
    import torch

    from seedbed.train.loop import train_group

    if folder.complete(group):
        return
    with folder.working(group_name(group), f"training {named(group)} of {folder}") as (lock, now):
        if list(group) not in now.groups or (now.created, now.hash) != (manifest.created, manifest.hash):
            raise SeedbedError(f"{folder} was started anew by another process; run the same command to join it")
        if folder.repaired(group):
            return
        if task is None:
            with at_hand(folder, now, experiment):
                task = task_of(experiment, manifest.experiment, group, new=folder.latest_meta(group) is None)
        hold_to_data(folder, task.data, {} if task.baseline is None else {task.select: task.baseline})

        def told_held(*values: Any) -> None:
            lock.check()
            if progress is not None:
                progress(*values)

        train_group(
            task,
            folder,
            group,
            experiment.streams(group),
            device=torch.device(manifest.device.split(" ")[0]),
            threads=manifest.threads,
            checkpoint_seconds=checkpoint_seconds,
            progress=told_held,
            looked=True,
        )


def named(group: Sequence[int]) -> str:
    """The seeds of a group, in words."""
    if len(group) < 4:
        return f"seed{'s' if len(group) > 1 else ''} {', '.join(map(str, group))}"
    return f"seeds {group[0]} to {group[-1]}"
