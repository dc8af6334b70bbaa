"""What ``--record`` does, for `run` and `evaluate` alike."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedbed.core.errors import SeedbedError
from seedbed.experiments import EXPERIMENTS, MODELS, STUDIES, Study

if TYPE_CHECKING:
    from seedbed.report.record import Measured, Promise
    from seedbed.store.manifest import Manifest


def check_budget(budget: str) -> None:
    """Refuse what is no result, before it is computed.

    Raises:
        SeedbedError: for a smoke run.
    """
    if budget == "smoke":
        raise SeedbedError("a smoke run is no result; record with --budget laptop or full")


def check_data(experiment: str, data: str) -> None:
    """Refuse to write the row of a registered experiment from a run on other data.

    Raises:
        SeedbedError: for data of one's own.
    """
    declared = EXPERIMENTS.get(experiment)
    if experiment in MODELS:
        raise SeedbedError(
            f"results are of presets, and {experiment} is a model on {data}; leave --record out, or declare an "
            "experiment of your own: file.py:variable"
        )
    if declared is not None and declared.data.data != data:
        raise SeedbedError(
            f"results of {experiment} are those on {declared.data.data}, not on {data}; leave --record out, "
            "or declare an experiment of your own: file.py:variable"
        )


def training_command(manifest: "Manifest", budget: str) -> str:
    """What trains these seeds with these settings: every flag in which they are not what the experiment declares.

    What was typed would no longer do once a preset has changed; of an experiment of one's own there is nothing else.
    """
    declared = EXPERIMENTS.get(manifest.experiment)
    if declared is None:
        return manifest.command
    preset, seeds = declared.with_budget(budget).config(), sorted(manifest.seeds)
    words = ["seedbed", "run", manifest.experiment, "-n"]
    words.append(str(len(seeds)) if seeds == list(range(len(seeds))) else ",".join(map(str, [*seeds, ""])))
    words += [] if budget == "laptop" else ["--budget", budget]
    for name, value in manifest.config.items():
        if preset.get(name) != value:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words)


def record_runs(measured: "Sequence[Measured]", budget: str, seeds: Sequence[int] | None = None) -> None:
    """Write the rows of ``results/<study>.json``, one file per study."""
    from seedbed.report.record import record

    by_study: dict[str, list[Measured]] = {}
    for one in measured:
        manifest = one.folder.manifest()
        check_data(manifest.experiment, manifest.config.get("data", ""))
        by_study.setdefault(_study(manifest.experiment), []).append(one)
    for name, mine in by_study.items():
        found = STUDIES.get(name)
        published, promised = (found.published, _promises(found)) if found else ({}, [])
        path = record(Path("results") / f"{name}.json", mine, budget, published, promised, seeds)
        click.echo(f"wrote {path}", err=True)


def _study(experiment: str) -> str:
    """The file's name: the study, or for an experiment of one's own its file and variable."""
    return Path(experiment).name.replace(".py:", "-") if ".py:" in experiment else experiment.split("/")[0]


def _promises(study: Study) -> "list[Promise]":
    """The number of every experiment within an hour, and of those that declare it at the size of its source."""
    from seedbed.report.record import Promise

    promises = []
    for name, experiment in study.experiments.items():
        metric = study.metric_of(name)
        then = f"&& seedbed evaluate {name}" if metric in study.evaluated else ""
        for budget in ("laptop", "full"):
            if budget in experiment.budgets or (budget == "laptop" and name not in study.only_full):
                flag = "" if budget == "laptop" else f"--budget {budget} "
                hours = experiment.with_budget(budget).hours * study.seeds / 10
                command = f"seedbed run {name} {flag}{then}".strip()
                promises.append(Promise(name, metric, budget, hours, f"{command} {flag}--record"))
    return promises
