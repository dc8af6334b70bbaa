"""The command line. Importing it imports neither torch nor pandas."""

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from seedbed.cli.completion import data_sets, runs, studies, targets
from seedbed.cli.estimators import estimator_help, estimator_options, way_options
from seedbed.cli.last import answer
from seedbed.cli.options import common, experiment_options, own_code
from seedbed.cli.streams import enduring
from seedbed.cli.targets import metric_choice, run_choice, table_choice
from seedbed.core.errors import one_line, unknown
from seedbed.core.interrupts import interrupts

if TYPE_CHECKING:
    from seedbed.data.dataset import Dataset

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="seedbed", message="%(prog)s %(version)s")
def cli() -> None:
    """Train deep generative models over many random seeds as one run, and know which differences are real."""


@cli.command("list")
@click.argument("study", required=False, shell_complete=studies)
def list_(study: str | None) -> None:
    """List studies, the experiments of one STUDY, or what a file of your own holds."""
    from seedbed.experiments import MODELS, STUDIES
    from seedbed.experiments.files import listing

    if study is not None and study.endswith(".py"):
        click.echo("\n".join(listing(study)))
        return
    if study is None:
        for name, entry in STUDIES.items():
            click.echo(f"{name:20} {len(entry.experiments):4} experiments  {entry.doc}")
        click.echo(f"\nmodels: {', '.join(MODELS)}; on any data: `seedbed run MODEL -d DATA`")
        return
    if study not in STUDIES:
        raise unknown("study", study, STUDIES)
    _list_experiments(study)


def _list_experiments(study: str) -> None:
    """One line each: what it is judged by, its steps, and the estimated time of ten seeds on two cores."""
    from seedbed.experiments import STUDIES

    found = STUDIES[study]
    width = max(map(len, found.experiments))
    for name, experiment in found.experiments.items():
        mark = "" if name in found.grid else f"not part of `seedbed run {study}`"
        minutes = max(1, round(experiment.hours * 60))
        time = f"~{minutes:3} min" if minutes < 120 else f"~{experiment.hours:3.0f} h  "
        click.echo(
            f"{name:{width}}  {found.metric_of(name):11}  {experiment.training.steps:>9} steps  {time}  {mark}".rstrip()
        )


@cli.command()
@click.argument("experiment", metavar="EXPERIMENT_OR_STUDY", shell_complete=targets)
@click.option("-d", "--data", help="of a model: on which data, as its training depends on them", shell_complete=data_sets)
def show(experiment: str, data: str | None) -> None:
    """Show what an experiment declares, every field, its value and what it means; or the experiments of a study."""
    from seedbed.experiments import STUDIES, find, find_on
    from seedbed.experiments.experiment import PARTS

    if experiment in STUDIES:
        found = STUDIES[experiment]
        click.echo(f"{experiment}: {found.doc}\n{len(found.experiments)} experiments, {found.seeds} seeds each by default\n")
        _list_experiments(experiment)
        click.echo("\n`seedbed show EXPERIMENT` explains one of them. Times are of ten seeds on two cores.")
        return
    found = find(experiment) if data is None else find_on(experiment, data)
    width = max(len(name) for name in found.settings) + 2
    click.echo(f"{experiment}: {_first_line(found.model)}")
    shown = found.described()
    for title, part in zip(PARTS, found.parts, strict=True):
        click.echo(f"\n{title}: {_first_line(part)}")
        for name, value in ((name, value) for name, value in found.settings.items() if hasattr(part, name)):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            flag = "--" + name.replace("_", "-")
            click.echo(f"  {flag:{width}} {text!s:12} {shown[name][1].get('help', '')}")


def _first_line(part: object) -> str:
    return (type(part).__doc__ or type(part).__name__).strip().splitlines()[0].replace("``", "")


@cli.command(cls=experiment_options(), context_settings=CONTEXT)
@click.argument("target", shell_complete=targets)
@common
def run(target: str, **options: object) -> None:
    """Train TARGET over many seeds, or continue it: an experiment, a study, a model, or file.py:NAME of your own.

    NAME is an Experiment, or a class of nn.Module on data that -d names; `seedbed run file.py` lists what there is.
    A study takes -m and -d to choose from its grid, a model takes -d: any data that it fits. Every field of the experiment
    is a flag: see `seedbed run EXPERIMENT --help`.
    """
    from seedbed.cli.run import run_target

    run_target(target, options)


@cli.command()
@click.argument("run_folder", shell_complete=runs)
@click.option("-n", "--count", type=int, help="draws per seed [64]; of --trajectory, examples [10]")
@click.option("--seed", type=int, help="of this seed only; by default of all")
@click.option(
    "--out", type=click.Path(), help="an .npz file, by default samples.npz in the run folder; or a folder, for PNG files"
)
@way_options
@click.option(
    "--trajectory",
    metavar="K",
    type=int,
    help="walk in z by K leapfrogs from z ~ q(z | x); 0: the learnt ones, else 15",
)
@click.option("--step-size", type=float, help="of these, of a model that learnt none; by default by the rule of `evaluate`")
@click.option("--grid", is_flag=True, help="the first hundred pictures of each seed as one, too; of chains ten as they move")
@click.option("--memory-gib", type=float, default=4.0, show_default=True, help="what drawing pictures and chains may take")
@click.option("-q", "--quiet", is_flag=True, help="no progress bar")
@own_code
def sample(run_folder: str, **options: object) -> None:
    """Draw from the trained models of a run and save the draws. RUN_FOLDER is its folder, or its name below runs/.

    With `--out FOLDER` each draw is a picture, FOLDER/seed0/000000.png and so on; the same command with a larger count goes
    on after those that are there. `--start limiting` draws by the chain x -> z ~ q(z | x) -> x ~ p(x | z). `--trajectory K`
    keeps Hamiltonian walks in z of ten validation examples, FILE.npz, and E[x | z] at every second step, FILE-seed0.png.
    """
    from seedbed.cli.run import sample_run

    sample_run(run_folder, options)


@cli.command()
@run_choice
@table_choice
@metric_choice
@click.option("--csv", type=click.Path(dir_okay=False), help="write the verdicts as comma-separated values")
@click.option("--markdown", type=click.Path(dir_okay=False), help="write the verdicts as a Markdown table")
@click.option("--latex", type=click.Path(dir_okay=False), help="write the verdicts as a LaTeX table")
@click.option("--at-least", type=float, help="least difference that matters: runs may be the same within it")
@click.option("--against", type=float, help="a number without seeds to judge each run against, e.g. a published one")
@click.option(
    "--more", is_flag=True, help="what one seed would have told, what sharing seeds buys, who is best for how sure"
)
@click.option("--paragraph", is_flag=True, help="how it was compared, and what came out, as a paragraph for a paper")
def compare(targets: tuple[str, ...], **options: object) -> None:
    """Say which differences between runs are real, paired by seed.

    Each RUN_OR_STUDY is a folder of one or more runs, the name of a run, an experiment (all its runs) or a study (the newest
    run of each experiment of its grid). All pairs of models on one data set and metric are one family, corrected by Holm.
    """
    from seedbed.cli.compare import compare_runs

    compare_runs(targets, options)


@cli.command()
@run_choice
@table_choice
@metric_choice
@click.option("--threshold", type=float, help="validation loss that convergence is timed to")
@click.option("--out-file", default="report.html", show_default=True, help="the page; its figures and tables go beside it")
@click.option("--follow", is_flag=True, help="write it again until every run is finished")
@click.option("--every", type=float, default=30.0, show_default=True, help="seconds between two looks")
def report(targets: tuple[str, ...], **options: object) -> None:
    """Write one self-contained page about runs, finished or not: verdicts, tables, curves, pictures, how to reproduce.

    Each RUN_OR_STUDY is a folder of one or more runs, the name of a run, an experiment (all its runs) or a study (the newest
    run of each experiment of its grid).
    """
    from seedbed.cli.report import report_runs

    report_runs(targets, options)


@cli.command(epilog=estimator_help())
@run_choice
@estimator_options
@own_code
@click.option(
    "--data-at", metavar="NAME", help="where data of your own are now, e.g. array:/new/place/x.npy", shell_complete=data_sets
)
@click.option("--split", default="test", show_default=True, help="test, valid or train")
@click.option("--examples", type=int, help="only so many, evenly spread over the split; by default all")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="of matrix products; by default the run's own")
@click.option("--memory-gib", type=float, default=4.0, show_default=True, help="what it may take beside models and data")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda:N or mps")
@click.option("--threads", type=int, help="CPU threads; all by default")
@click.option("--again", is_flag=True, help="measure anew what is there")
@click.option("--record", is_flag=True, help="write the rows of results/<study>.json, with k, the samples of each")
@click.option("--budget", default="laptop", show_default=True, help="of the runs that are recorded: laptop or full")
@click.option("-q", "--quiet", is_flag=True, help="no progress bar")
def evaluate(targets: tuple[str, ...], **options: object) -> None:
    """Measure finished runs with an estimator that training does not pay for, and keep the numbers with them.

    Each RUN_OR_STUDY is a folder of one or more runs, the name of a run, an experiment (all its runs) or a study (the newest
    run of each experiment of its grid).
    """
    from seedbed.cli.evaluate import evaluate_runs

    evaluate_runs(targets, options)


@cli.command()
@click.argument("target")
@click.option("-d", "--data", help="data that it is a model of: a name, csv:FILE, folder:PATH, array:FILE")
@click.option("--domain", help="in their place, what an example is made of: real, binary, levels:17; by default real")
@click.option("--shape", help="and of which shape, e.g. 2 or 1,28,28")
@click.option("--only", multiple=True, help="only this check; may be repeated")
@click.option("-q", "--quiet", is_flag=True, help="no progress line")
def certify(target: str, **options: object) -> int:
    """Check what a model promises: densities, bounds, axes, gradients, stacks of seeds, resume, bf16.

    TARGET is a model, an experiment, or my_model.py:MyVAE. One line for each check, with the deviation that was measured
    and what is allowed. Exit code 1 if one fails.
    """
    from seedbed.cli.certify import certify_model

    return certify_model(target, options)


@cli.group()
def data() -> None:
    """The data sets: what there is, where it comes from, whether it is intact."""


@data.command("list")
def data_list() -> None:
    """List the data sets by name, and which of them need files."""
    from seedbed.data import names
    from seedbed.data.files import FILES

    for name in names():
        click.echo(f"{name:24} {_files(len(FILES[name]))}" if name in FILES else name)
    click.echo("csv:FILE                 your table; options behind: ,columns=a+b ,drop=c ,decimal=comma ,split=COLUMN")
    click.echo(
        "folder:PATH              your images; options behind: ,size=28 ,crop=none ,colour=grey ,stream=yes ,levels=256"
    )
    click.echo(
        "array:FILE               your .npy, .npz, IDX, .mat; options behind: ,levels=17 ,binarise=dynamic ,stream=yes"
    )


def _files(count: int) -> str:
    return f"{count} file{'s' * (count != 1)}"


@data.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=data_sets)
@click.option("--data-dir", type=click.Path(), help="folder to look in first; by default SEEDBED_DATA, then the cache")
def data_fetch(names: tuple[str, ...], data_dir: str | None) -> None:
    """Find the files of data sets, download what is missing into the cache, verify all checksums."""
    from seedbed.data import is_own
    from seedbed.data import names as known
    from seedbed.data.files import FILES, fetch

    for name in names:
        if name not in known() and not is_own(name):
            raise unknown("data set", name, known())
        if name not in FILES:
            click.echo(f"{name}: needs no file")
            continue
        for path in fetch(name, data_dir):
            click.echo(f"{name}: {path}")


@data.command("check")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=data_sets)
@click.option("--data-dir", type=click.Path(), help="folder to look in first; by default SEEDBED_DATA, then the cache")
def data_check(names: tuple[str, ...], data_dir: str | None) -> int:
    """Verify the files of data sets without downloading anything; of all by default. Exit code 1 if one is not whole.

    Data of your own (folder:PATH, array:FILE) are read in full; the first fault is told, with exit code 2.
    """
    from seedbed.data import is_own, load
    from seedbed.data import names as known
    from seedbed.data.files import FILES, check

    wrong = False
    for name in names or FILES:
        if is_own(name):
            click.echo(f"{name}: {sum(map(len, load(name).splits.values()))} examples, all read")
            continue
        if name not in known():
            raise unknown("data set", name, known())
        needs = name in FILES
        problems = list(dict.fromkeys(check(name, data_dir))) if needs else []
        wrong |= bool(problems)
        for line in problems or [f"{_files(len(FILES[name]))}, verified" if needs else "needs no file"]:
            click.echo(f"{name}: {line}")
    return int(wrong)


@data.command("show")
@click.argument("name", shell_complete=data_sets)
@click.option("--seed", type=int, default=0, show_default=True, help="data seed")
def data_show(name: str, seed: int) -> None:
    """Load a data set and say what it is."""
    from seedbed.data import load

    loaded = load(name, seed=seed)
    click.echo(
        f"{loaded.name}: {loaded.protocol}\n  domain {loaded.domain}, shape {list(loaded.shape)}{_picture(loaded.shape)}"
    )
    for split, examples in loaded.splits.items():
        click.echo(f"  {split:6} {len(examples):>9} examples{_moments(loaded, split)}")
    if loaded.units is not None and len(loaded.shape) == 1:
        for number, (mean, std) in enumerate(zip(loaded.units.location, loaded.units.scale, strict=True), 1):
            click.echo(f"  #{number:<5} mean {float(mean):.6g}, std {float(std):.6g} of train")
    if loaded.entropy is not None:
        click.echo(f"  entropy {loaded.entropy:.4f} nats: no model's expected loss is below it")
    click.echo(f"  sha256 {loaded.checksum()}")


def _moments(data: "Dataset", split: str) -> str:
    """Over all values, where they are of one kind."""
    if data.units is not None:
        return ""
    mean, std = data.splits[split].moments()
    return f", mean {mean:.4f}, std {std:.4f}"


def _picture(shape: Sequence[int]) -> str:
    return "" if len(shape) != 3 else f", pictures {shape[1]} x {shape[2]}" + (", RGB" if shape[0] == 3 else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: one clear line and exit code 2 for bad input, 128 and the number of the signal after an interrupt.

    ``SEEDBED_DEBUG=1`` shows where an error arose. An output that nobody reads any more does not end the work; one that
    could not be written is said at its end.
    """
    with enduring() as out, _warnings(), interrupts(patient=False):
        code = _call(arguments)
        if out.lost:
            click.echo(f"seedbed: standard output cannot be written: {out.lost}; the work itself is done", err=True)
            code = code or 2
    sys.exit(code)


@contextmanager
def _warnings() -> Iterator[None]:
    """Warnings as one line each, never as errors, whatever the environment asks of Python."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        warnings.showwarning = lambda message, *_: click.echo(f"seedbed: warning: {one_line(str(message))}", err=True)
        yield


def _call(arguments: Sequence[str] | None) -> int:
    """Run a command, and answer whatever ends it."""
    try:
        code = cli.main(arguments, prog_name="seedbed", standalone_mode=False)
    except BaseException as error:
        if os.environ.get("SEEDBED_DEBUG"):
            traceback.print_exc()
        # A group without a command: recent versions of click hand over the help as an error.
        if isinstance(error, click.UsageError) and (text := error.format_message()).startswith("Usage:"):
            click.echo(text, err=True)
            return 2
        if isinstance(error, SystemExit) and "_SEEDBED_COMPLETE" in os.environ:
            return error.code if isinstance(error.code, int) else 1  # a shell has been answered
        code, says = answer(error)
        click.echo(f"seedbed: {says}", err=True)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
