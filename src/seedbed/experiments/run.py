"""The Python face: ``seedbed.run(experiment, seeds=range(10)) -> Run`` and ``seedbed.load(path)``."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from seedbed.core.errors import SeedbedError
from seedbed.experiments import find
from seedbed.experiments.base import Experiment
from seedbed.experiments.execute import execute, resolve
from seedbed.store.folder import Folder

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from seedbed.core.stack import Stack


def run(
    experiment: str | Experiment,
    seeds: Iterable[int] | int = 10,
    *,
    budget: str = "laptop",
    out: Path | str = "runs",
    name: str | None = None,
    strategy: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    quiet: bool = True,
    again: bool = False,
    **settings: Any,
) -> "Run":
    """Train an experiment over many seeds as one run, or continue it where it stopped.

    Args:
        experiment: a registered name, ``file.py:variable``, or a declaration of your own.
        seeds: how many, or which.
        budget: ``smoke``, ``laptop`` or ``full``.
        out: folder of all runs.
        name: name of this run; by default the hash of its settings.
        strategy: ``auto``, ``vectorized``, ``sequential`` or ``processes``: how seeds are executed, never what they compute.
        device: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
        threads: CPU threads; all by default.
        checkpoint_seconds: least time between checkpoints.
        quiet: no progress bar.
        again: train anew even what is finished; the old run is moved aside.
        settings: declared fields with other values, e.g. ``lr=1e-4``.

    Raises:
        SeedbedError: for bad input, in one line that says what to do.
    """
    if isinstance(experiment, str):
        label, declared = experiment, find(experiment)
    else:
        label, declared = type(experiment).__name__, experiment
        if strategy == "processes":
            raise SeedbedError("processes need a registered experiment or file.py:variable; use strategy='vectorized'")
    declared = declared.with_budget(budget).with_config(settings)
    chosen = list(range(check_count(seeds))) if isinstance(seeds, int) else list(seeds)
    folder = execute(
        label,
        declared,
        chosen,
        out=out,
        tag=name,
        strategy=strategy,
        device=device,
        threads=threads,
        checkpoint_seconds=checkpoint_seconds,
        quiet=quiet,
        again=again,
    )
    return Run(folder, declared)


def check_count(seeds: int) -> int:
    """A number of seeds, at least one.

    Raises:
        SeedbedError: otherwise.
    """
    if seeds < 1:
        raise SeedbedError(f"seeds must be at least 1, got {seeds}")
    return seeds


def load(path: Path | str, experiment: Experiment | None = None) -> "Run":
    """Open a run folder.

    Args:
        path: what ``run`` wrote.
        experiment: the declaration, for runs of your own experiments; no code is executed because a folder names it.

    Raises:
        SeedbedError: if it is no run folder, or of another version.
    """
    folder = Folder(path)
    return Run(folder, resolve(folder.manifest(), experiment))


class Run:
    """One experiment over its seeds, finished or not.

    Args:
        folder: where it is stored.
        experiment: its declaration.
    """

    def __init__(self, folder: Folder, experiment: Experiment) -> None:
        self.folder = folder
        self.experiment = experiment
        self.manifest = folder.manifest()

    def __repr__(self) -> str:
        return f"Run({self.manifest.experiment}, seeds={self.seeds}, path={str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def seeds(self) -> list[int]:
        """All seeds, in order."""
        return self.manifest.seeds

    @property
    def table(self) -> "pd.DataFrame":
        """The long table: one row per (seed, step, split, metric)."""
        return self.folder.frame()

    @cached_property
    def models(self) -> Sequence["nn.Module"]:
        """One plain ``nn.Module`` per seed, in the order of ``seeds``, with the weights that were evaluated."""
        rows = {seed: stack.model(row) for group, stack in self.stacks() for row, seed in enumerate(group)}
        return [rows[seed] for seed in self.seeds]

    def stacks(self, device: str = "cpu") -> "list[tuple[list[int], Stack]]":
        """The trained stack of every group of seeds.

        Args:
            device: where to put them.

        Raises:
            SeedbedError: if a group has no checkpoint yet.
        """
        import torch

        from seedbed.train.learner import Learner

        out = []
        for group in self.manifest.groups:
            found = self.folder.latest(group)
            if found is None:
                raise SeedbedError(
                    f"{self.path} has no checkpoint for seeds {group} yet; run the same command to continue it"
                )
            streams = self.experiment.streams(group)
            learner = Learner(self.experiment.task(streams), streams, torch.device(device))
            learner.restore(*found)
            out.append((group, learner.stack()))
        return out

    @overload
    def sample(self, count: int, seed: int) -> "Tensor": ...
    @overload
    def sample(self, count: int) -> "Tensor": ...
    def sample(self, count: int = 64, seed: int | None = None) -> "Tensor":
        """Draws from the trained models, ``[seeds, count, *example]``, or ``[count, *example]`` of one seed."""
        import torch

        from seedbed.core.capabilities import HasSample
        from seedbed.evaluate.estimate import draw_samples

        draws, order = [], []
        for group, stack in self.stacks():
            if not isinstance(stack.module, HasSample):
                raise SeedbedError(f"{self.manifest.experiment} has no `sample`: its model draws no examples")
            draws.append(draw_samples(stack, _draw, count))
            order += list(group)
        stacked = torch.cat(draws)[sorted(range(len(order)), key=order.__getitem__)]
        if seed is None:
            return stacked
        if seed not in self.seeds:
            raise SeedbedError(f"seed {seed} is not in this run; it has {self.seeds}")
        return stacked[self.seeds.index(seed)]


def _draw(model: Any, count: int, ctx: Any) -> "Tensor":
    return model.sample(count, ctx)
