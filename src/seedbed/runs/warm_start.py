"""Start a run from the weights of another: each seed from the same seed's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seedbed.core.errors import SeedbedError
from seedbed.experiments.experiment import Experiment
from seedbed.runs.load import Run, load
from seedbed.store.folder import Folder

if TYPE_CHECKING:
    from torch import Tensor


def source_of(experiment: Experiment, name: str, seeds: Sequence[int]) -> Run:
    """The run to start from.

    Args:
        experiment: a declaration with ``warm_start``.
        name: its name; a user's own experiment can start from runs of itself, since no file is executed for a folder.
        seeds: of the new run.

    Raises:
        SeedbedError: if it lacks one of the seeds.
    """
    path = Path(experiment.training.warm_start)
    own = Folder(path).manifest().experiment == name
    run = load(path, experiment.with_config({"warm_start": ""}) if own else None)
    if missing := [seed for seed in seeds if seed not in run.seeds]:
        raise SeedbedError(f"{path} has no seed {missing[0]} to start from; it has {run.seeds}")
    return run


def start_weights(experiment: Experiment, name: str, seeds: Sequence[int]) -> "list[dict[str, Tensor]]":
    """Parameters and buffers that each seed starts from, as the other run would be evaluated (its weight average, if any).

    Args:
        experiment: a declaration with ``warm_start``.
        name: see ``source_of``.
        seeds: of the new run.

    Raises:
        SeedbedError: if the other run has no weights for a seed.
    """
    models = source_of(experiment, name, seeds).models_of(seeds)
    return [{k: v.detach() for k, v in (*m.named_parameters(), *m.named_buffers())} for m in models]
