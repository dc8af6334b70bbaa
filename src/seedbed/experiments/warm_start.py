"""Start a run from the weights of another: each seed from the same seed's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seedbed.core.errors import SeedbedError
from seedbed.experiments.base import Experiment
from seedbed.store.folder import Folder

if TYPE_CHECKING:
    from torch import Tensor


def start_weights(experiment: Experiment, name: str, seeds: Sequence[int]) -> "list[dict[str, Tensor]]":
    """Parameters and buffers that each seed starts from, as the other run would be evaluated (its weight average, if any).

    Args:
        experiment: a declaration with ``warm_start``.
        name: its name; a user's own experiment can start from runs of itself, since no file is executed for a folder.
        seeds: of the new run.

    Raises:
        SeedbedError: if the other run has no weights for a seed.
    """
    from seedbed.experiments.run import load

    path = Path(experiment.warm_start)
    own = Folder(path).manifest().experiment == name
    run = load(path, replace(experiment, warm_start="") if own else None)
    if missing := [seed for seed in seeds if seed not in run.seeds]:
        raise SeedbedError(f"{path} has no seed {missing[0]} to start from; it has {run.seeds}")
    models = dict(zip(run.seeds, run.models, strict=True))
    return [{k: v.detach() for k, v in (*m.named_parameters(), *m.named_buffers())} for m in (models[s] for s in seeds)]


def check_start(experiment: Experiment, name: str, seeds: Sequence[int]) -> None:
    """Refuse weights of another model before anything is written.

    Raises:
        SeedbedError: with the first parameter that differs.
    """
    from seedbed.train.learner import start_from

    streams = experiment.streams(seeds[:1])
    with streams[0].scoped("init"):
        module = experiment.task(streams).build()
    start_from(module, start_weights(experiment, name, seeds)[0])
