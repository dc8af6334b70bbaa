"""What `compare` does, apart from its flags."""

from typing import TYPE_CHECKING, Any

import click

from seedbed.cli.targets import Found, find_targets
from seedbed.core.errors import SeedbedError

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
    found = find_targets(targets, options)
    runs = _comparable(found)
    if options["metric"] is not None:
        _say_left_out(runs, options["metric"])
    comparison = compared(runs, options["metric"])
    click.echo(comparison)
    verdicts = comparison.verdict_table
    for flag, text in (("csv", verdicts.csv), ("markdown", verdicts.markdown), ("latex", verdicts.latex)):
        if flag in asked:
            save_text(asked[flag], text())
            click.echo(f"wrote {asked[flag]}", err=True)


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
    from seedbed.report.comparison import check_metric

    check_metric(runs, metric)
    for run in runs:
        if metric not in run.judged:
            click.echo(f"left out: {run.folder} has no {metric}; it has {', '.join(run.judged)}", err=True)
