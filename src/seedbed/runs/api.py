"""The Python face: ``seedbed.run(experiment, seeds=range(10)) -> Run``."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seedbed.core.ambient import plain
from seedbed.core.errors import SeedbedError
from seedbed.experiments import find, find_on
from seedbed.experiments.experiment import Experiment
from seedbed.runs.execute import execute
from seedbed.runs.load import Run
from seedbed.runs.seeds import check_seeds


@plain()
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
) -> Run:
    """Train an experiment over many seeds as one run, or continue it where it stopped.

    Args:
        experiment: a registered name, a model's name (its ``data`` then among the settings), ``file.py:variable``, or a
            declaration of your own.
        seeds: how many, or which.
        budget: ``smoke``, ``demo``, ``laptop`` or ``full``.
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
        data = settings.pop("data", None)
        label, declared = experiment, find(experiment) if data is None else find_on(experiment, data)
    elif not isinstance(experiment, Experiment):
        raise SeedbedError(f"expected the name of an experiment or an Experiment, got {type(experiment).__name__}")
    else:
        label, declared = experiment.model.title, experiment
        if strategy == "processes":
            raise SeedbedError("processes need a registered experiment or file.py:variable; use strategy='vectorized'")
    declared = declared.with_budget(budget).changed(settings)
    chosen = check_seeds(seeds)
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
