"""What `compare` does, apart from its flags."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedbed.cli.targets import Found, check_metric, find_targets
from seedbed.core.errors import SeedbedError

if TYPE_CHECKING:
    from seedbed.report.stored import StoredRun


def compare_runs(targets: tuple[str, ...], options: dict[str, Any]) -> None:
    """Judge every pair of runs on one data set, in words and as a table.

    Raises:
        SeedbedError: for runs that may not be compared, or have nothing to compare yet.
    """
    from seedbed.report.groups import grouped
    from seedbed.report.sentences import sentence
    from seedbed.report.tables import save_text
    from seedbed.report.verdict_tables import across_table, summary_table, verdict_table
    from seedbed.report.verdicts import judged, lead
    from seedbed.report.words import metric_words

    found = find_targets(targets, options)
    runs = _comparable(found)
    if options["metric"] is not None:
        check_metric(runs, options["metric"])
        _say_left_out(runs, options["metric"])
    groups = grouped(runs, options["metric"])
    families = [judged(group) for group in groups if len(group.runs) > 1]
    if not families:
        raise _nothing_to_compare(runs)
    for family in families:
        click.echo(lead(family))
        for verdict in family.verdicts:
            click.echo(f"  {sentence(verdict)}")
    for group in groups:
        if len(group.runs) == 1:
            click.echo(f"{group.task}: only {group.runs[0].label} has {group.metric}; nothing to compare it with")
    click.echo(f"\nOn the test split, by {metric_words([family.group for family in families])}:")
    for table in (summary_table(families), across_table(families)):
        if table is not None:
            click.echo(f"\n{table.text()}")
    verdicts = verdict_table(families)
    for flag, text in (("csv", verdicts.csv), ("markdown", verdicts.markdown), ("latex", verdicts.latex)):
        if options[flag] is not None:
            save_text(Path(options[flag]), text())
            click.echo(f"wrote {options[flag]}", err=True)


def _comparable(found: Found) -> "list[StoredRun]":
    """The runs that have a test number, after refusing those that may not stand beside the others."""
    from seedbed.report.groups import differences

    unfinished = [run for run in found.runs if not run.judged]
    for run in unfinished:
        text = f"{run.folder.path} has no test number yet ({100 * run.progress:.0f} % trained)"
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
                    f"{other.folder.path} and {run.folder.path} cannot be compared, they differ in {'; '.join(why)}; "
                    "choose runs alike with -d, -m or --name"
                )
    return runs


def _say_left_out(runs: "list[StoredRun]", metric: str) -> None:
    for run in runs:
        if metric not in run.judged:
            click.echo(f"left out: {run.folder.path} has no {metric}; it has {', '.join(run.judged)}", err=True)


def _nothing_to_compare(runs: "list[StoredRun]") -> SeedbedError:
    if not runs:
        return SeedbedError("no run has a test number yet; run the same `seedbed run` command again to finish one")
    if len(runs) == 1:
        return SeedbedError(f"one run is nothing to compare: {runs[0].folder.path}; name another of {runs[0].data}")
    have = "; ".join(f"{run.manifest.experiment}: {', '.join(run.judged)}" for run in runs[:4])
    return SeedbedError(f"no two of these runs share data and a test metric ({have}); choose with -d, -m or --metric")
