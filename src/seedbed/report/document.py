"""The report: what a page shows, and the files beside it: figures as SVG and PDF, tables as CSV, Markdown and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedbed.report.bars import Bars, bar_charts
from seedbed.report.curves import Curves, curve_groups
from seedbed.report.details import seeds_table, tests_table
from seedbed.report.gather import Run
from seedbed.report.groups import grouped
from seedbed.report.layers import layers_table
from seedbed.report.numbers import across_table, summary_table, verdict_table
from seedbed.report.tables import Table, save_text
from seedbed.report.training import convergence_table
from seedbed.report.variance import found_arms, variance_table
from seedbed.report.verdicts import Family, judged


@dataclass(frozen=True)
class Report:
    """Everything a page shows, computed once.

    Args:
        title: of the page.
        families: the runs by data set, compared.
        charts: curves by data set and metric.
        bars: convergence metrics by data set and metric.
        tables: by name, in the order of the page.
        sentences: on where the variance over seeds comes from.
        colour: a colour per label, the same on every data set.
    """

    title: str
    families: list[Family]
    charts: list[tuple[str, list[Curves]]]
    bars: list[Bars]
    tables: dict[str, Table]
    sentences: list[str]
    colour: dict[str, int]

    @property
    def runs(self) -> list[Run]:
        """Every run, in order."""
        return [run for family in self.families for run in (*family.group.runs, *family.group.strangers)]

    @property
    def finished(self) -> bool:
        """Whether every run has come to its end."""
        return all(run.finished for run in self.runs)


def compose(runs: Sequence[Run], title: str = "", metric: str | None = None, threshold: float | None = None) -> Report:
    """Compute verdicts, tables and curves of runs, finished or not.

    Args:
        runs: as read from their folders.
        title: of the page; by default from the runs.
        metric: the test metric to compare on; see ``gather.grouped``.
        threshold: the validation loss that convergence is timed to; see ``training.threshold_of``.
    """
    families = [judged(group) for group in grouped(runs, metric)]
    charts = [
        (family.group.task, many) for family in families for many in curve_groups(family.group.runs, family.group.metric)
    ]
    arms = found_arms(runs, metric)
    convergence = convergence_table(families, threshold)
    tables = [
        summary_table(families),
        across_table(families),
        verdict_table(families),
        variance_table(arms) if arms else None,
        convergence,
        layers_table(families),
        tests_table(families),
        seeds_table(families),
    ]
    labels = dict.fromkeys(run.label for family in families for run in (*family.group.runs, *family.group.strangers))
    return Report(
        title or _title(runs),
        families,
        charts,
        bar_charts(convergence),
        {table.name: table for table in tables if table is not None and table.body},
        [arm.sentence for arm in arms],
        {label: index for index, label in enumerate(labels)},
    )


def _title(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(run.manifest.experiment for run in runs))
    if len(names) == 1:
        return names[0]
    common = list(dict.fromkeys(name.split("/")[0] for name in names))
    return f"{', '.join(common)}: {len(runs)} runs"


def write_report(report: Report, path: Path, command: str = "", refresh: int | float | None = None) -> list[Path]:
    """Write the page; once nothing is left to follow also its tables and figures, in folders beside it.

    Args:
        report: what ``compose`` made.
        path: the page.
        command: what was typed, to be shown.
        refresh: seconds after which an open page loads itself again, while runs still train.
    """
    from seedbed.report.html import render
    from seedbed.report.plates import write_plates

    beside: list[Path] = []
    if refresh is None:
        for table in report.tables.values():
            beside += table.write(path.with_name(f"{path.stem}-tables"))
        beside += write_plates(
            report.families, report.charts, report.bars, report.colour, path.with_name(f"{path.stem}-figures")
        )
    links = {p.name: p.relative_to(path.parent).as_posix() for p in beside}
    save_text(path, render(report, command, refresh, links))
    return [path, *beside]
