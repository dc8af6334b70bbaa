"""A run as it is stored: its table, its models, and draws from them."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from seedbed.core.errors import SeedbedError
from seedbed.data import loaded_once
from seedbed.experiments import EXPERIMENTS, MODELS, find
from seedbed.experiments.experiment import Experiment
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from seedbed.core.stack import Stack


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


def resolve(manifest: Manifest, experiment: Experiment | None = None) -> Experiment:
    """The experiment of a run: given, or registered.

    Raises:
        SeedbedError: for a user's own experiment that was not given; no file is executed because a manifest names it.
    """
    if experiment is None:
        if ".py:" in manifest.experiment:
            raise SeedbedError(f"this run is of {manifest.experiment}; pass that experiment to load it")
        if manifest.experiment not in EXPERIMENTS and manifest.experiment not in MODELS:
            raise SeedbedError(f"this run is of an experiment of one's own, {manifest.experiment}; pass that to load it")
        experiment = find(manifest.experiment)
    return experiment.with_config(manifest.config)


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
        return self.models_of(self.seeds)

    def models_of(self, seeds: Sequence[int]) -> Sequence["nn.Module"]:
        """``models`` of chosen seeds, in the order that they are asked for; only their groups are read.

        Raises:
            SeedbedError: for a seed that is not in this run, or whose group has no checkpoint yet.
        """
        for seed in seeds:
            self._check_seed(seed)
        with loaded_once():
            stacks = self.stacks(groups=self._groups(seeds))
            rows = {seed: stack.model(row) for group, stack in stacks for row, seed in enumerate(group)}
        return [rows[seed] for seed in seeds]

    def stacks(self, device: str = "cpu", groups: Sequence[list[int]] | None = None) -> "Iterator[tuple[list[int], Stack]]":
        """The trained stack of one group of seeds after the other, with its seeds.

        Args:
            device: where to put them.
            groups: only these groups; all by default.

        Raises:
            SeedbedError: if a group has no checkpoint yet.
        """
        import torch

        from seedbed.train.weights import restored

        for group in self.manifest.groups if groups is None else groups:
            found = self.folder.latest(group)
            if found is None:
                raise SeedbedError(
                    f"{self.path} has no checkpoint for seeds {group} yet; run the same command to continue it"
                )
            streams = self.experiment.streams(group)
            yield group, restored(self.experiment.task(streams), streams, torch.device(device), *found)

    @overload
    def sample(self, count: int, seed: int) -> "Tensor": ...
    @overload
    def sample(self, count: int) -> "Tensor": ...
    def sample(self, count: int = 64, seed: int | None = None) -> "Tensor":
        """Draws from the trained models, ``[seeds, count, *example]``, or ``[count, *example]`` of one seed."""
        import torch

        from seedbed.core.capabilities import HasSample
        from seedbed.evaluate.estimate import draw_samples

        if seed is not None:
            self._check_seed(seed)
        draws: dict[int, Tensor] = {}
        with loaded_once():
            for group, stack in self.stacks(groups=self._groups(self.seeds if seed is None else [seed])):
                if not isinstance(stack.module, HasSample):
                    raise SeedbedError(f"{self.manifest.experiment} has no `sample`: its model draws no examples")
                draws |= zip(group, draw_samples(stack, _draw, count), strict=True)
        return torch.stack([draws[s] for s in self.seeds]) if seed is None else draws[seed]

    def _groups(self, seeds: Collection[int]) -> list[list[int]]:
        return [group for group in self.manifest.groups if not set(group).isdisjoint(seeds)]

    def _check_seed(self, seed: int) -> None:
        if seed not in self.seeds:
            raise SeedbedError(f"seed {seed} is not in this run; it has {self.seeds}")


def _draw(model: Any, count: int, ctx: Any) -> "Tensor":
    return model.sample(count, ctx)
