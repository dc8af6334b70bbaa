"""What `run` and `sample` do, apart from their flags."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedbed.cli.options import parse_seeds
from seedbed.cli.record import check_budget, check_data, record_runs, training_command
from seedbed.cli.targets import one_run
from seedbed.core.errors import SeedbedError, said
from seedbed.core.numbers import shown, whole
from seedbed.data import is_own
from seedbed.experiments import MODELS, STUDIES, Experiment, find, find_on
from seedbed.experiments.fields import RESERVED
from seedbed.experiments.files import listing
from seedbed.runs.execute import execute

if TYPE_CHECKING:
    from seedbed.evaluate.chain import Way
    from seedbed.runs.load import Run

RUN_FLAGS = ("out", "strategy", "device", "threads", "checkpoint_seconds", "again", "quiet")


def chosen(target: str, model: str | None, data: str | None) -> dict[str, Experiment]:
    """The experiments that a target with its -m and -d names.

    Raises:
        SeedbedError: for unknown names.
    """
    own = data is not None and is_own(data)
    sets = {name.split("/")[1] for name in STUDIES[target].experiments} if target in STUDIES else set()
    # `gaussian` is a study and a model: with data that the study does not have it is the model.
    if sets and not (target in MODELS and model is None and data is not None and data not in sets):
        found = STUDIES[target].select(model, None if own else data)
        if not own or data is None:
            return found
        # Each model once, under the name of its first experiment: the run's settings say on which data.
        by_model = {name.split("/", 2)[2]: name for name in reversed(found)}
        return {name: found[name].on(data) for name in found if name in by_model.values()}
    if model:
        raise SeedbedError(f"-m chooses from a study; {target} is one {'model' if target in MODELS else 'experiment'}")
    if target in MODELS and data is None:
        raise SeedbedError(f"{target} is a model: say on which data, e.g. -d 8gaussians, -d array:x.npy")
    return {target: find(target) if data is None else find_on(target, data)}


def with_flags(experiments: Mapping[str, Experiment], options: dict[str, Any]) -> dict[str, Experiment]:
    """The experiments at their budget, with every given flag applied.

    Raises:
        SeedbedError: for a flag that has no say in any of them.
    """
    at_budget = {name: experiment.with_budget(options["budget"]) for name, experiment in experiments.items()}
    if options["epochs"] is not None and options["steps"] is not None:
        raise SeedbedError("say --steps or --epochs, not both")
    if options["epochs"] is not None:
        options["epochs"] = whole("epochs", options["epochs"], 1)
    out, without = {}, {}
    for name, experiment in at_budget.items():
        given = {k: v for k, v in options.items() if v is not None and k not in RESERVED | {"data"}}
        settings = {k: v for k, v in given.items() if k in experiment.settings}
        if options["epochs"] is not None:
            settings["steps"] = experiment.with_config(settings).steps_of(options["epochs"])
        silent = experiment.silent(settings) if len(at_budget) > 1 else {}
        for key in {*given} - {*settings} | {*silent}:
            without.setdefault(key, []).append(name)
        out[name] = experiment.changed({k: v for k, v in settings.items() if k not in silent})
    for key, names in sorted(without.items()):
        flag = f"--{key.replace('_', '-')}"
        if len(names) == len(out):
            raise SeedbedError(f"{flag} has no say in any of these experiments; leave it out")
        click.echo(f"{flag} has no say in {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}", err=True)
    return out


def set_data_dir(folder: str | None) -> None:
    """Look for data files in a folder first, in this process and in its workers."""
    if folder is not None:
        os.environ["SEEDBED_DATA"] = folder


def run_target(target: str, options: dict[str, Any]) -> None:
    """Train what was named, then print its table and write its figures; of a file alone, list what it holds."""
    if target.endswith(".py"):
        click.echo("\n".join(listing(target)))
        return
    experiments = chosen(target, options["model"], options["data"])
    if options["record"]:
        check_budget(options["budget"])
        for name, experiment in experiments.items():
            check_data(name, experiment.data.data)
    set_data_dir(options["data_dir"])
    if options["warm_start"] is not None:
        options["warm_start"] = str(one_run(options["warm_start"], options["out"]))
    changed = with_flags(experiments, options)
    study = STUDIES.get(target.split("/")[0])
    seeds = parse_seeds(options["seeds"]) if options["seeds"] is not None else list(range(study.seeds if study else 10))
    if len(changed) > 1:
        hours = sum(e.hours for e in changed.values()) * max(len(seeds), 4) / 10
        click.echo(f"{len(changed)} experiments x {len(seeds)} seeds, about {hours * 60:.0f} min on 2 cores", err=True)
    flags = {key: options[key] for key in RUN_FLAGS}
    folders = []
    for name, experiment in changed.items():
        folders.append(execute(name, experiment, seeds, tag=options["name"], **flags))

    from seedbed.report.figures import draw_figures
    from seedbed.report.layer_use import kl_of, unused_latents
    from seedbed.report.run_tables import summarise, text_table
    from seedbed.report.stored import StoredRun

    click.echo(text_table(summarise(folders, seeds)))
    for run in (StoredRun.read(folder.path) for folder in folders):
        for says in unused_latents({key: nats for key, nats in kl_of(run).items() if key[1] in seeds}):
            click.echo(f"{run.manifest.experiment}: {says}")
    for folder in folders:
        try:
            for path in draw_figures(folder):
                click.echo(f"wrote {folder}{os.sep}{path.relative_to(folder.path)}", err=True)
        except Exception as error:  # a run is done without its pictures, whatever a library of pictures refuses
            click.echo(f"seedbed: {folder} is done, its figures cannot be drawn: {said(error, 200)}", err=True)
    if options["record"]:
        from seedbed.report.record import Measured

        budget = options["budget"]
        measured = [Measured(folder, folder.trained(), training_command(folder.manifest(), budget)) for folder in folders]
        record_runs(measured, budget, seeds)


def sample_run(path: str, options: dict[str, Any]) -> None:
    """Draw from a run: pictures into a folder that ``out`` names, else one array into a file."""
    from seedbed.runs.load import load as load_run
    from seedbed.store.outputs import output

    if options["trajectory"] is not None or options["step_size"] is not None:
        return _sample_walks(path, options)
    options["count"] = 64 if options["count"] is None else options["count"]
    out = options["out"]
    pictures = out is not None and Path(out).suffix != ".npz"
    if options["grid"] and not pictures:
        raise SeedbedError("--grid is of pictures; say where with --out FOLDER, or leave it out")
    way, begun = _way_of(options)
    if begun is not None and pictures:
        raise SeedbedError("--chain-from FILE.npz goes on with chains into another --out FILE.npz; pictures begin anew")
    asked = output(out, (".npz",)) if out is not None and not pictures else None
    run = load_run(one_run(path, "runs") if Path("runs").is_dir() else path, options["experiment"])
    if pictures:
        _sample_pictures(run, way, options)
    else:
        _sample_array(run, way, begun, asked or run.path / "samples.npz", options)


def _sample_walks(path: str, options: dict[str, Any]) -> None:
    """Walks in z of validation examples: arrays in a file, pictures beside it."""
    from seedbed.evaluate.trajectory import SHOWN, Walk
    from seedbed.runs.load import load as load_run
    from seedbed.runs.trajectories import save_walks, trajectories
    from seedbed.store.outputs import output

    if options["trajectory"] is None:
        raise SeedbedError("--step-size is of walks; say --trajectory too, or leave it out")
    if others := [key for key in ("start", "chain", "chain_from", "shown", "grid") if options[key]]:
        flag = f"--{others[0].replace('_', '-')}"
        raise SeedbedError(f"{flag} is of draws, and --trajectory walks from z ~ q(z | x); leave one of them out")
    how = Walk(options["trajectory"], 0.0 if options["step_size"] is None else options["step_size"])
    asked = None if options["out"] is None else output(options["out"], (".npz",))
    run = load_run(one_run(path, "runs") if Path("runs").is_dir() else path, options["experiment"])
    target = asked or run.path / "trajectories.npz"
    arrays = trajectories(run, SHOWN if options["count"] is None else options["count"], options["seed"], how)
    _save_arrays(target, arrays)
    beside = save_walks(run, arrays, target)
    sizes = ", ".join(f"{size:.3g}" for size in arrays["step_size"].tolist())
    click.echo(
        f"wrote {target}: {arrays['errors'].shape[1]} leapfrogs of {len(arrays['x'])} validation examples, seeds "
        f"{arrays['seeds'].tolist()}, of size {sizes}{', and ' * bool(beside)}{', '.join(path.name for path in beside)}"
    )


def _save_arrays(target: Path, arrays: "Mapping[str, Any]") -> None:
    import numpy as np

    from seedbed.store.atomic import write_atomic

    save: Any = np.savez_compressed  # whose stub takes the names of arrays for options

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as handle:
            save(handle, **arrays)

    write_atomic(target, write)


def _way_of(options: Mapping[str, Any]) -> "tuple[Way, str | None]":
    """How draws are to be made, and the file of chains that are to go on.

    Raises:
        SeedbedError: for flags of chains without a chain, and for what they cannot be.
    """
    from seedbed.evaluate.chain import BEGINNINGS, Way

    given = {key: options[key] for key in ("start", "chain", "chain_from", "shown") if options[key] is not None}
    of_chains = [key for key in ("chain", "chain_from") if key in given and given.get("start") != "limiting"]
    if of_chains:
        flag = f"--{of_chains[0].replace('_', '-')}"
        raise SeedbedError(f"{flag} is of chains; say --start limiting too, or leave {flag} out")
    begins = given.get("chain_from", "coins")
    if begins not in BEGINNINGS and Path(begins).suffix != ".npz":
        raise SeedbedError(f"--chain-from must be {', '.join(BEGINNINGS)} or a FILE.npz of chains, got {shown(begins)}")
    begun = given.pop("chain_from", None) if begins not in BEGINNINGS else None
    return Way(**given), begun


def _chains_of(way: "Way") -> str:
    return f", chains of {way.chain} step{'s' * (way.chain > 1)} from {way.begins}" if way.limiting else ""


def _sample_pictures(run: "Run", way: "Way", options: dict[str, Any]) -> None:
    from seedbed.runs.pictures import save_pictures
    from seedbed.runs.progress import examples_bar

    out, count, seed = options["out"], options["count"], options["seed"]
    flags = {key: options[key] for key in ("grid", "memory_gib")}
    with examples_bar(run.manifest.experiment, options["quiet"]) as progress:
        new = save_pictures(run, out, count, seed, way=way, progress=progress, **flags)
    seeds = run.seeds if seed is None else [seed]
    there = count * len(seeds) - new
    of = f"each of {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
    before = f"; {there} of them were there before" if there else ""
    click.echo(f"wrote {count} pictures of {of} to {out}{_chains_of(way)}{before}")


def _sample_array(run: "Run", way: "Way", begun: str | None, target: Path, options: dict[str, Any]) -> None:
    """Save ``[seeds, count, *example]``; of tokens that the run can name, print the first sample."""
    from seedbed.report.stored import StoredRun
    from seedbed.report.texts import are_tokens, spelled, vocabulary_of
    from seedbed.runs.chains import sampled
    from seedbed.runs.progress import examples_bar

    flags = {"begun": begun, "memory_gib": options["memory_gib"]}
    with examples_bar(run.manifest.experiment, options["quiet"] or not way.limiting) as progress:
        arrays = sampled(run, options["count"], options["seed"], way, progress=progress, **flags)

    _save_arrays(target, arrays)
    draws, seeds = arrays["x"], arrays["seeds"].tolist()
    made = replace(way, chain_from=str(arrays["chain_from"])) if way.limiting else way
    click.echo(f"wrote {target}: x {list(draws.shape)}, seeds {seeds}{_chains_of(made)}")
    if are_tokens(draws[0]) and (words := vocabulary_of(StoredRun.read(run.path).arrays("reference"))) is not None:
        click.echo(f"the first of seed {seeds[0]}:\n{spelled(draws[0, :1], words)[0]}")
