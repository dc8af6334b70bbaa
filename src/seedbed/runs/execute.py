"""Run an experiment over seeds: the folder, what is refused before it is touched, and the groups that are trained."""

import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seedbed.core import words
from seedbed.core.ambient import plain
from seedbed.core.errors import SeedbedError, UnmappedError
from seedbed.core.numbers import number
from seedbed.data import loaded_once
from seedbed.experiments.check import check_batch
from seedbed.experiments.experiment import Experiment
from seedbed.runs.backends import BACKENDS, Work, train_groups
from seedbed.runs.group import look, task_of
from seedbed.runs.machine import check_threads, groups_of, usable_device
from seedbed.runs.places import at_hand, with_data_of
from seedbed.runs.progress import bar
from seedbed.runs.resume import AUTO, Start, begun, check_place
from seedbed.runs.seeds import check_seeds
from seedbed.runs.trust import choose
from seedbed.runs.warm_start import source_of
from seedbed.store.atomic import tentative
from seedbed.store.folder import Folder
from seedbed.store.manifest import config_hash

if TYPE_CHECKING:
    from seedbed.data.dataset import Dataset
    from seedbed.train.task import Task

STRATEGIES = ("auto", *BACKENDS)


def run_folder(name: str, experiment: Experiment, out: Path | str = "runs", tag: str | None = None) -> Folder:
    """Where a run lives: ``out/<experiment>/<tag>``, the tag being the hash of its settings unless one is given.

    Raises:
        SeedbedError: for a tag that is no single folder's name.
    """
    out = words.place("out", out)
    if tag is not None and (words.text("name", tag) != Path(tag).name or tag == ".."):
        raise SeedbedError(f"--name is one folder's name, got {tag!r}; choose another, and the place with --out")
    stem = name.replace(".py:", "-").replace(os.sep, "-").strip(".-") if ".py:" in name else name
    return Folder(out / stem / (tag or config_hash(name, experiment.config())))


@plain()
def execute(
    name: str,
    experiment: Experiment,
    seeds: Iterable[int] | int,
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
        seeds: how many, or which; see ``seeds.check_seeds``.
        out: folder of all runs.
        tag: name of the run; by default the hash of its settings.
        strategy: how the seeds are executed; never what they compute. ``auto`` is one stack where the model can be mapped
            over seeds, else one seed after another, and one line says why.
        device: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
        threads: CPU threads; all by default, and no more than there are.
        checkpoint_seconds: least time between checkpoints.
        quiet: no progress bar.
        again: discard what is there and train anew.

    Raises:
        SeedbedError: for bad input, or if the folder holds something else.
        KeyboardInterrupt: after Ctrl-C; what was done is kept.
    """
    seeds, threads = check_seeds(seeds), check_threads(threads)
    checkpoint_seconds = number("checkpoint seconds", checkpoint_seconds, 0)
    words.chosen("strategy", strategy, STRATEGIES)
    folder = run_folder(name, experiment, out, tag)
    # Workers load their own: what they train on is not held here as well.
    with nullcontext() if strategy == "processes" else loaded_once(), tentative(folder.path):
        new = again or not begun(folder)
        # What is refused leaves no run behind, and throws none away.
        if new:
            check_place(folder)
        experiment = experiment if new else with_data_of(folder, experiment)
        looked = _looked_at(name, experiment, seeds, strategy, device) if new else Looked(strategy, {})
        tasks = looked.tasks
        if looked.reason:
            print(looked.reason, file=sys.stderr)
        if new:
            data = next(iter(tasks.values())).data
            check_batch(experiment.model, experiment.training, data)
            if says := experiment.model.taken_as(data):
                print(f"seedbed: {says}", file=sys.stderr)
        if again and folder.exists():
            folder.move_aside()

        def data_of(group: list[int]) -> "Dataset":
            with at_hand(folder, folder.manifest(), experiment):
                tasks[tuple(group)] = task_of(experiment, name, group, new=True)
            return tasks[tuple(group)].data

        if experiment.source is not None:
            choose(experiment.source.record())
        manifest = Start(
            folder=folder,
            name=name,
            experiment=experiment,
            seeds=seeds,
            strategy=strategy,
            device=device,
            threads=threads,
            data_of=data_of,
            found=looked.strategy,
            reason=looked.reason,
        ).written()
        groups = [group for group in manifest.groups if set(group) & set(seeds)]
        with bar(name, experiment.training.steps, len(groups), quiet) as progress:
            train_groups(
                Work(
                    folder=folder,
                    experiment=experiment,
                    manifest=manifest,
                    groups=groups,
                    checkpoint_seconds=checkpoint_seconds,
                    progress=progress,
                    tasks=tasks,
                )
            )
    return folder


@dataclass(frozen=True)
class Looked:
    """What a look at a new run found.

    Args:
        strategy: how its seeds can be executed, of what was asked for.
        tasks: that of its first group, by the group's seeds.
        reason: why ``auto`` does not make one stack of them; empty where it does.
    """

    strategy: str
    tasks: "dict[tuple[int, ...], Task]"
    reason: str = ""


def _looked_at(name: str, experiment: Experiment, seeds: list[int], strategy: str, device: str) -> Looked:
    """The first group of a new run, once it has passed everything that is refused before training.

    Raises:
        SeedbedError: with the first of what is wrong, and for a strategy that the model cannot take.
    """
    from seedbed.runs.memory import check_fits

    if experiment.training.warm_start:
        source_of(experiment, name, seeds)
    where = usable_device(device)

    def looked(chosen: str, reason: str = "") -> Looked:
        group = groups_of(seeds, chosen)[0]
        task = task_of(experiment, name, group, new=True)
        check_fits(task, len(seeds) if chosen == "processes" else len(group), where)
        look(task, experiment, group, where, mapped=chosen == "vectorized")
        return Looked(chosen, {tuple(group): task}, reason)

    try:
        return looked(AUTO if strategy == "auto" else strategy)
    except UnmappedError as reason:
        if strategy != "auto":
            raise SeedbedError(f"{reason}; leave out --strategy, or say --strategy sequential") from reason
        return looked("sequential", str(reason))
