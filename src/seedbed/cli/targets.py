"""Which runs a command means: folders, tags, experiments or studies, narrowed by -m, -d and --name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.metric import GAP
from seedbed.data import is_own

if TYPE_CHECKING:
    from seedbed.report.stored import StoredRun


def run_choice(function: Callable[..., Any]) -> Callable[..., Any]:
    """The argument and the flags that choose runs."""
    options = [
        click.argument("targets", nargs=-1, required=True, metavar="RUN_OR_STUDY..."),
        click.option("-m", "--model", "models", multiple=True, help="of a study only these models; may be repeated"),
        click.option("-d", "--data", "sets", multiple=True, help="of a study only these data sets; may be repeated"),
        click.option("--name", help="only runs of this name (the last folder: a --name given to run, or a hash)"),
        click.option("--out", default="runs", show_default=True, help="folder of all runs, where studies are looked up"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def metric_choice(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flag that chooses what runs are judged by."""
    help_ = f"test metric to compare on; {GAP.name} where all have it, else the first in common"
    return click.option("--metric", help=help_)(function)


def check_metric(runs: "Sequence[StoredRun]", metric: str) -> None:
    """Refuse a metric that no run has, or that says nothing about better and worse.

    Raises:
        SeedbedError: with the nearest match, or with what there is.
    """
    known = {m for run in runs for m in run.judged}
    if any(metric in run.metrics("test") and run.declared(metric).better is None for run in runs):
        raise SeedbedError(f"{metric} explains a result and has no better or worse; compare on {', '.join(sorted(known))}")
    if known and metric not in known:
        raise unknown("test metric", metric, known)


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


def find_targets(targets: Sequence[str], options: dict[str, Any]) -> Found:
    """Read every run that is meant.

    Raises:
        SeedbedError: if a target means nothing, or nothing was found; the message says what would create it.
    """
    from seedbed.report.stored import StoredRun

    found: dict[Path, StoredRun] = {}
    named: set[Path] = set()
    for target in targets:
        paths, single = _folders(target, options)
        runs = [StoredRun.read(path) for path in paths]
        if single:
            named |= set(paths)
        else:
            runs = _of_study(target, [run for run in runs if _wanted(*_parts(run), options)], options)
        found |= {run.folder.path.resolve(): run for run in runs}
    runs = list(found.values())
    if not runs:
        raise _nothing(targets, options)
    runs.sort(key=_declared_order)
    have = {run.manifest.experiment for run in runs if not _own(run)}
    return Found(runs, named, [name for target in targets for name in _expected(target, options) if name not in have])


def one_run(target: str, out: str) -> Path:
    """The folder of the one run that is meant, by path, name or experiment.

    Raises:
        SeedbedError: if there is none, or more than one.
    """
    runs = find_targets([target], {"out": out, "name": None, "models": (), "sets": ()}).runs
    if len(runs) > 1:
        raise SeedbedError(f"{target} means {len(runs)} runs; name one of them, e.g. {runs[0].folder.path}")
    return runs[0].folder.path


def _folders(target: str, options: dict[str, Any]) -> tuple[list[Path], bool]:
    """The run folders of one target, and whether it names just one."""
    from seedbed.experiments import EXPERIMENTS, MODELS, STUDIES
    from seedbed.report.stored import find_runs
    from seedbed.store.folder import Folder

    path, out = Path(target), Path(options["out"])
    if Folder(path).exists():
        return [path], True
    known = target in STUDIES or target in EXPERIMENTS or target in MODELS
    stem = target.replace(".py:", "-").replace("/", "-").strip(".-") if ".py:" in target else target
    for root in (out / stem, *(() if known else (path,))):
        if root.is_dir():
            found = [p for p in find_runs(root) if options["name"] in (None, p.name)]
            if not found and not known and options["name"] is None:
                Folder(root).manifest()  # says that it is no run folder
            return found, False
    tagged = [p for p in find_runs(out) if p.name == target] if out.is_dir() and "/" not in target else []
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
    if others := len(runs) - len(kept):
        what = "older, or not of its grid; choose them with -m, -d, --name, an experiment's name or a folder"
        click.echo(f"{target}: {len(kept)} runs; {others} passed over ({what})", err=True)
    return kept


def _own(run: "StoredRun") -> str:
    """What data of one's own a run is of; its name is that of an experiment on another set."""
    data = run.manifest.config.get("data", "")
    return data if is_own(data) else ""


def _parts(run: "StoredRun") -> tuple[str, str]:
    """What -m and -d call its model and its data."""
    name = run.manifest.experiment
    model = name.split("/", 2)[2] if name.count("/") >= 2 else name
    return model, str(run.manifest.config.get("data", ""))


def _wanted(model: str, data: str, options: dict[str, Any]) -> bool:
    models, sets = options["models"], options["sets"]
    return (not models or model in models) and (not sets or data in sets)


def _expected(target: str, options: dict[str, Any]) -> list[str]:
    """The experiments that `run` would train for a target."""
    from seedbed.experiments import EXPERIMENTS, STUDIES

    if target not in STUDIES:
        return [target] if target in EXPERIMENTS else []
    study = STUDIES[target]
    pool = study.experiments if options["models"] else study.grid
    return [name for name in pool if _wanted(name.split("/", 2)[2], name.split("/", 2)[1], options)]


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
