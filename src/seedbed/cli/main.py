"""The command line: ``seedbed list | show | run | sample | data``. Importing it imports neither torch nor pandas."""

import sys
from collections.abc import Sequence

import click

from seedbed.cli.options import common, experiment_options
from seedbed.core.errors import SeedbedError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="seedbed", message="%(prog)s %(version)s")
def cli() -> None:
    """Train deep generative models over many random seeds as one run, and know which differences are real."""


@cli.command("list")
@click.argument("study", required=False)
def list_(study: str | None) -> None:
    """List studies, or the experiments of one STUDY."""
    from seedbed.core.errors import unknown
    from seedbed.experiments import STUDIES

    if study is None:
        for name, entry in STUDIES.items():
            click.echo(f"{name:14} {len(entry.experiments):4} experiments  {entry.doc}")
        return
    if study not in STUDIES:
        raise unknown("study", study, STUDIES)
    for name, experiment in STUDIES[study].experiments.items():
        mark = "" if name in STUDIES[study].grid else "  (beside the grid)"
        click.echo(f"{name:40} {experiment.steps:>8} steps  ~{experiment.hours * 60:5.0f} min{mark}")


@cli.command()
@click.argument("experiment")
def show(experiment: str) -> None:
    """Show what an EXPERIMENT declares: every field, its value, what it means."""
    from dataclasses import fields

    from seedbed.experiments import find

    found = find(experiment)
    click.echo(f"{experiment}: {(type(found).__doc__ or '').strip()}\n")
    for field in fields(found):
        value = getattr(found, field.name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        flag = "--" + field.name.replace("_", "-")
        click.echo(f"  {flag:16} {shown!s:12} {field.metadata.get('help', '')}")


@cli.command(cls=experiment_options(), context_settings=CONTEXT)
@click.argument("target")
@common
def run(target: str, **options: object) -> None:
    """Train TARGET over many seeds, or continue it: an experiment, a study, or file.py:variable.

    A study takes -m and -d to choose from its grid. Every field of the experiment is a flag: see
    `seedbed run EXPERIMENT --help`.
    """
    from seedbed.cli.run import run_target

    run_target(target, options)


@cli.command()
@click.argument("run_folder")
@click.option("-n", "--count", type=click.IntRange(min=1), default=64, show_default=True, help="draws per seed")
@click.option("--seed", type=int, help="of this seed only; by default of all")
@click.option("--out", type=click.Path(dir_okay=False), help="an .npz file; by default samples.npz in the run folder")
def sample(run_folder: str, count: int, seed: int | None, out: str | None) -> None:
    """Draw from the trained models of a RUN_FOLDER and save the draws."""
    from seedbed.cli.run import sample_run

    sample_run(run_folder, count, seed, out)


@cli.group()
def data() -> None:
    """The data sets: what there is, where it comes from, whether it is intact."""


@data.command("list")
def data_list() -> None:
    """List the data sets by name."""
    from seedbed.data import names

    for name in names():
        click.echo(name)


@data.command("show")
@click.argument("name")
@click.option("--seed", default=0, show_default=True, help="data seed")
def data_show(name: str, seed: int) -> None:
    """Load a data set and say what it is."""
    from seedbed.data import load

    loaded = load(name, seed=seed)
    click.echo(f"{loaded.name}: {loaded.protocol}\n  domain {loaded.domain}, shape {list(loaded.shape)}")
    for split, values in loaded.splits.items():
        click.echo(f"  {split:6} {len(values):>9} examples, mean {float(values.mean()):.4f}, std {float(values.std()):.4f}")
    if loaded.entropy is not None:
        click.echo(f"  entropy {loaded.entropy:.4f} nats: no model's expected loss is below it")
    click.echo(f"  sha256 {loaded.checksum()}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: one clear line and exit code 2 for bad input, 130 after Ctrl-C."""
    import warnings

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: click.echo(f"seedbed: warning: {message}", err=True)
        sys.exit(_call(arguments))


def _call(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="seedbed", standalone_mode=False)
    except SeedbedError as error:
        click.echo(f"seedbed: {error}", err=True)
        return 2
    except click.ClickException as error:
        click.echo(f"seedbed: {' '.join(error.format_message().split())}", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("seedbed: interrupted; what was done is kept: run the same command to continue", err=True)
        return 130
    except BrokenPipeError:
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
