"""What `compare` does, apart from its flags."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from seedbed.cli.targets import Found, find_runs_or_results
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import number

if TYPE_CHECKING:
    from seedbed.report.stored import StoredRun


def compare_runs(targets: tuple[str, ...], options: dict[str, Any]) -> None:
    """Judge every pair of runs on one data set, in words and as a table.

    Raises:
        SeedbedError: for runs that may not be compared, or have nothing to compare yet.
    """
    from seedbed.report.comparison import compared
    from seedbed.report.tables import save_text
    from seedbed.store.outputs import output

    asked = {flag: output(options[flag]) for flag in ("csv", "markdown", "latex") if options[flag] is not None}
    found = find_runs_or_results(targets, options)
    runs = _comparable(found)
    if options["metric"] is not None:
        _say_left_out(runs, options["metric"])
    margin = math.nan if options["at_least"] is None else number("the least difference", options["at_least"], 0, above=True)
    bar = None if options["against"] is None else number("the number to compare against", options["against"])
    comparison = compared(runs, options["metric"], at_least=margin, bar=bar, published=published(runs))
    click.echo(comparison.paragraph if options["paragraph"] else comparison)
    for table in comparison.luck if options["more"] else ():
        click.echo(f"\n{table.caption}\n\n{table.text()}")
    verdicts = comparison.verdict_table
    for flag, text in (("csv", verdicts.csv), ("markdown", verdicts.markdown), ("latex", verdicts.latex)):
        if flag in asked:
            save_text(asked[flag], text())
            click.echo(f"wrote {asked[flag]}", err=True)


def published(runs: "Sequence[StoredRun]") -> dict[tuple[str, str], float]:
    """What studies know of others' numbers, by experiment and metric."""
    from seedbed.experiments import STUDIES

    studies = [STUDIES[name] for name in dict.fromkeys(run.study for run in runs) if name in STUDIES]
    return {key: value for study in studies for key, value in study.published.items()}


def _comparable(found: Found) -> "list[StoredRun]":
    """The runs that have a test number, after refusing those that may not stand beside the others."""
    from seedbed.report.groups import differences

    unfinished = [run for run in found.runs if not run.judged]
    for run in unfinished:
        text = f"{run.folder} has no test number yet ({100 * run.progress:.0f} % trained)"
        if run.folder.path in found.named:
            raise SeedbedError(f"{text}; continue it with: {run.manifest.command or 'the command that started it'}")
        click.echo(f"left out: {text}", err=True)
    runs = [run for run in found.runs if run not in unfinished]
    for index, run in enumerate(runs):
        for other in runs[:index]:
            why = differences(other, run)
            # Runs of one data set must agree in all; runs of others are families of their own, unless one was named alone.
            alone = not any(r is not run and not differences(run, r) for r in runs)
            same = run.data == other.data and run.vary == other.vary
            if why and (same or (run.folder.path in found.named and alone)):
                raise SeedbedError(
                    f"{other.folder} and {run.folder} cannot be compared, they differ in {'; '.join(why)}; "
                    "choose runs alike with -d, -m or --name"
                )
    return runs


def _say_left_out(runs: "list[StoredRun]", metric: str) -> None:
    from seedbed.report.comparison import metric_named

    metric = metric_named(runs, metric)
    for run in runs:
        if metric not in run.judged:
            click.echo(f"left out: {run.folder} has no {metric}; it has {', '.join(run.judged)}", err=True)
