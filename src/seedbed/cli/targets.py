"""Which runs a command means: folders, tags, experiments or studies, narrowed by -m, -d and --name."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedbed.cli.completion import data_sets, metrics, models, runs, tags
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.metric import GAP
from seedbed.data import is_own, rooted

if TYPE_CHECKING:
    from seedbed.report.stored import StoredRun


def run_choice(function: Callable[..., Any]) -> Callable[..., Any]:
    """The argument and the flags that choose runs."""
    options = [
        click.argument("targets", nargs=-1, metavar="[RUN_OR_STUDY]...", shell_complete=runs),
        click.option(
            "-m",
            "--model",
            "models",
            multiple=True,
            help="of a study only these models; may be repeated",
            shell_complete=models,
        ),
        click.option(
            "-d",
            "--data",
            "sets",
            multiple=True,
            help="of a study only these data sets; may be repeated",
            shell_complete=data_sets,
        ),
        click.option(
            "--name", help="only runs of this name (the last folder: a --name given to run, or a hash)", shell_complete=tags
        ),
        click.option("--out", default="runs", show_default=True, help="folder of all runs, where studies are looked up"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def metric_choice(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flag that chooses what runs are judged by."""
    help_ = f"test metric to compare on; {GAP.name} where all have it, else the first in common"
    return click.option("--metric", help=help_, shell_complete=metrics)(function)


def table_choice(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that say what somebody's own table of results is."""
    options = [
        click.option("--columns", multiple=True, help="of a table of results, by role: model=algo,seed=run,value=acc"),
        click.option("--better", multiple=True, help="which way is better: higher, lower, or METRIC=higher,..."),
        click.option(
            "--recipe",
            type=click.Choice(["lightning", "wandb", "mlflow", "tensorboard"]),
            help="who wrote a table of results; seen from the file where it can be",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@dataclass(frozen=True)
class Found:
    """The runs that were meant.

    Args:
        runs: every one of them, once; of a study named as such, the newest of each experiment of its grid.
        named: those that were named by their own folder or tag rather than found in a study.
        missing: experiments of a named study that have no run yet.
    """

    runs: "list[StoredRun]"
    named: set[Path]
    missing: list[str]


def find_runs_or_results(targets: Sequence[str], options: dict[str, Any]) -> Found:
    """The runs that are meant, or those of somebody's tables of results; what was taken for what is said.

    Raises:
        SeedbedError: as ``find_targets``; for a table beside a run, a flag of tables without one, or a table in which
            seeds, models or numbers cannot be told.
    """
    from seedbed.judge.columns import told_better, told_columns
    from seedbed.judge.files import is_results, read_results
    from seedbed.judge.results import results
    from seedbed.report.others import runs_of

    tables = [target for target in targets if is_results(target)]
    if not tables:
        if given := next((flag for flag in ("columns", "better", "recipe") if options[flag]), None):
            raise SeedbedError(f"--{given} is of tables of results, and none is named; name a .csv, .parquet or .jsonl file")
        return find_targets(targets, options)
    if others := [target for target in targets if target not in tables]:
        raise SeedbedError(f"{tables[0]} is a table of results, {others[0]} is none; compare tables, or runs")
    told, better = told_columns(options["columns"]), told_better(options["better"])
    found = results(read_results(tables, options["recipe"]), told=told, better=better)
    for line in found.says:
        click.echo(f"  {line}", err=True)
    runs = [run for run in runs_of(found) if _asked(run, options)]
    if not runs:
        models, sets = (", ".join(dict.fromkeys(found.frame[name])) for name in ("model", "task"))
        raise SeedbedError(f"no such model or data set in {found.source}; models: {models}; data sets: {sets}")
    return Found(runs, set(), [])


def _asked(run: "StoredRun", options: dict[str, Any]) -> bool:
    models, sets = options["models"], options["sets"]
    return (not models or run.model in models) and (not sets or run.data in sets)


def find_targets(targets: Sequence[str], options: dict[str, Any]) -> Found:
    """Read every run that is meant.

    Raises:
        SeedbedError: if a target means nothing, or nothing was found; the message says what would create it.
    """
    from seedbed.report.stored import StoredRun

    if not targets:  # every run there is of these models and data
        if not (options["models"] or options["sets"] or options["name"]):
            raise SeedbedError("name a run, an experiment or a study, or choose among all runs with -d, -m or --name")
        if not os.path.isdir(options["out"]):
            raise SeedbedError(
                f"no run is below {options['out']}/; `seedbed run` makes some, or say where they are with --out"
            )
        targets = (options["out"],)
    found: dict[Path, StoredRun] = {}
    named: set[Path] = set()
    for target in targets:
        paths, single = _folders(target, options)
        runs = [StoredRun.read(path) for path in paths] if single else _readable(paths)
        if single:
            named |= set(paths)
        else:
            runs = _of_study(target, [run for run in runs if _wanted(*_parts(run, target), options)], options)
        found |= {run.folder.path.resolve(): run for run in runs}
    runs = list(found.values())
    if not runs:
        raise _nothing(targets, options)
    runs.sort(key=_declared_order)
    have = {run.manifest.experiment for run in runs if not _own(run)}
    return Found(runs, named, [name for target in targets for name in _expected(target, options) if name not in have])


def _readable(paths: Sequence[Path]) -> "list[StoredRun]":
    """The runs that can be read; the others, which were not named, are told of and do not spoil the rest."""
    from seedbed.report.stored import StoredRun

    runs = []
    for path in paths:
        try:
            runs.append(StoredRun.read(path).checked())
        except SeedbedError as error:
            click.echo(f"left out: {error}", err=True)
    return runs


def one_run(target: str, out: str) -> Path:
    """The folder of the one run that is meant, by path, name or experiment.

    Raises:
        SeedbedError: if there is none, or more than one.
    """
    runs = find_targets([target], {"out": out, "name": None, "models": (), "sets": ()}).runs
    if len(runs) > 1:
        raise SeedbedError(f"{target} means {len(runs)} runs; name one of them, e.g. {runs[0].folder}")
    return runs[0].folder.path


def _folders(target: str, options: dict[str, Any]) -> tuple[list[Path], bool]:
    """The run folders of one target, and whether it names just one."""
    from seedbed.experiments import EXPERIMENTS, MODELS, STUDIES
    from seedbed.store.folder import Folder, find_runs

    path, out = Path(target), Path(options["out"])
    if Folder(path).exists():
        return [path], True
    known = target in STUDIES or target in EXPERIMENTS or target in MODELS
    stem = target.replace(".py:", "-").replace("/", "-").strip(".-") if ".py:" in target else target
    for root in (out / stem, *(() if known else (path,))):
        if os.path.isdir(root):
            found = [p for p in find_runs(root) if options["name"] in (None, p.name)]
            if not found and not known and options["name"] is None:
                Folder(root).manifest()  # says that it is no run folder
            return found, False
    tagged = [p for p in find_runs(out) if p.name == target] if os.path.isdir(out) and "/" not in target else []
    if tagged:
        return tagged, len(tagged) == 1
    if not known and ".py:" not in target:
        raise unknown("run folder, study or experiment", target, [*STUDIES, *EXPERIMENTS, *MODELS])
    return [], False


def _of_study(target: str, runs: "list[StoredRun]", options: dict[str, Any]) -> "list[StoredRun]":
    """Of a study the runs that `seedbed run` with the same choice would make: its grid, each experiment's newest run.

    Those on data of one's own only where -d names them.
    Many settings of one experiment, tried and left lying, would be one family of comparisons, too many for ten seeds.
    """
    from seedbed.experiments import STUDIES

    if target not in STUDIES or options["name"] is not None:
        return runs
    expected = _expected(target, options)
    newest = {(run.manifest.experiment, _own(run)): run for run in sorted(runs, key=lambda run: run.manifest.created)}
    kept = [run for (name, own), run in newest.items() if (options["sets"] if own else name in expected)]
    if others := [run for run in runs if run not in kept]:
        _offer(target, kept, others)
    return kept


OFFERED = 8  # lines at most


def _offer(target: str, kept: "Sequence[StoredRun]", others: "Sequence[StoredRun]") -> None:
    """Say by name which runs of a study are not among those that it stands for, and how to have them compared."""
    from seedbed.report.groups import settings_words

    click.echo(
        f"{target}: {len(kept)} runs, the newest of each experiment of its grid; {len(others)} more are there, to be "
        "compared by their folder, by --name or -m, or by an experiment's name (all its runs):",
        err=True,
    )
    for run in others[:OFFERED]:
        twins = [one for one in kept if one.manifest.experiment == run.manifest.experiment]
        differs = settings_words(run, twins) if twins else ""
        click.echo(f"  {run.folder}" + (f" ({differs})" if differs else ""), err=True)
    if len(others) > OFFERED:
        click.echo(f"  and {len(others) - OFFERED} more", err=True)


def _own(run: "StoredRun") -> str:
    """What data of one's own a run is of; its name is that of an experiment on another set."""
    data = run.manifest.config.get("data", "")
    return data if is_own(data) else ""


def _parts(run: "StoredRun", target: str) -> tuple[str, set[str]]:
    """What -m and -d call its model and its data; of a target that is its study also as the study calls the set."""
    name, data = run.manifest.experiment, str(run.manifest.config.get("data", ""))
    if name.count("/") < 2:
        return name, {data}
    study, word, model = name.split("/", 2)
    return model, {data, word} if study == target and not _own(run) else {data}


def _wanted(model: str, data: set[str], options: dict[str, Any]) -> bool:
    models, sets = options["models"], {rooted(name) for name in options["sets"]}
    return (not models or model in models) and (not sets or not sets.isdisjoint(rooted(name) for name in data))


def _expected(target: str, options: dict[str, Any]) -> list[str]:
    """The experiments that `run` would train for a target."""
    from seedbed.experiments import EXPERIMENTS, STUDIES

    if target not in STUDIES:
        return [target] if target in EXPERIMENTS else []
    study = STUDIES[target]
    pool = study.experiments if options["models"] else study.grid
    return [
        name
        for name in pool
        if _wanted(name.split("/", 2)[2], {name.split("/", 2)[1], study.experiments[name].data.data}, options)
    ]


def _declared_order(run: "StoredRun") -> tuple[int, str]:
    from seedbed.experiments import EXPERIMENTS

    names = list(EXPERIMENTS)
    name = run.manifest.experiment
    return (names.index(name) if name in names else len(names), str(run.folder.path))


def _nothing(targets: Sequence[str], options: dict[str, Any]) -> SeedbedError:
    from seedbed.experiments import MODELS, STUDIES

    flags = "".join(f" -m {m}" for m in options["models"][:1]) + "".join(f" -d {d}" for d in options["sets"][:1])
    for target in targets:
        if target in STUDIES:
            parts = [name.split("/", 2) for name in STUDIES[target].experiments]
            for kind, given, place in (("model", options["models"], 2), ("data set", options["sets"], 1)):
                for name in given:
                    if name not in {part[place] for part in parts}:
                        return unknown(f"{kind} of study {target}", name, {part[place] for part in parts})
    name = f" --name {options['name']}" if options["name"] else ""
    if targets[0] in MODELS and not options["sets"]:
        flags = " -d DATA"
    made = f"`seedbed run {targets[0]}{flags}{name}` would create one"
    return SeedbedError(f"no run of {', '.join(targets)}{flags}{name} below {options['out']}/; {made}")
