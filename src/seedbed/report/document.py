"""The report: what a page shows, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

from seedbed.report.chartbook import charts_of
from seedbed.report.charts import Chart
from seedbed.report.convergence_table import convergence_table
from seedbed.report.groups import grouped
from seedbed.report.layer_use import layers_table
from seedbed.report.lookup_tables import seeds_table, tests_table
from seedbed.report.luck import best_table, luck_table, profiles_table
from seedbed.report.stored import StoredRun
from seedbed.report.tables import Table
from seedbed.report.variance import found_arms, variance_table
from seedbed.report.verdict_tables import across_table, summary_table, verdict_table
from seedbed.report.verdicts import Family, judged
from seedbed.report.words import listed


@dataclass(frozen=True)
class Report:
    """Everything a page shows, computed once.

    Args:
        title: of the page.
        families: the runs by data set, compared.
        charts: by the name of their figure, one for each data set and metric.
        tables: by name, in the order of the page.
        sentences: on where the variance over seeds comes from.
        colour: a colour per label, the same on every data set.
    """

    title: str
    families: list[Family]
    charts: dict[str, list[Chart]]
    tables: dict[str, Table]
    sentences: list[str]
    colour: dict[str, int]

    @property
    def runs(self) -> list[StoredRun]:
        """Every run, in order."""
        return [run for family in self.families for run in (*family.group.runs, *family.group.strangers)]

    @property
    def finished(self) -> bool:
        """Whether every run has come to its end."""
        return all(run.finished for run in self.runs)


def compose(runs: Sequence[StoredRun], title: str = "", metric: str | None = None, threshold: float | None = None) -> Report:
    """Compute verdicts, tables and curves of runs, finished or not.

    Args:
        runs: as read from their folders.
        title: of the page; by default from the runs.
        metric: the test metric to compare on; see ``groups.grouped``.
        threshold: the validation loss that convergence is timed to; see ``convergence_table.threshold_of``.
    """
    families = [judged(group) for group in grouped(runs, metric)]
    arms = found_arms(runs, metric)
    convergence = convergence_table(families, threshold)
    tables = [
        summary_table(families),
        across_table(families),
        verdict_table(families),
        luck_table(families),
        best_table(families),
        profiles_table(families),
        variance_table(arms) if arms else None,
        convergence,
        layers_table(families),
        tests_table(families),
        seeds_table(families),
    ]
    labels = dict.fromkeys(run.label for family in families for run in (*family.group.runs, *family.group.strangers))
    colour = {label: index for index, label in enumerate(labels)}
    return Report(
        title or _title(runs),
        families,
        charts_of(families, convergence, colour),
        {table.name: table for table in tables if table is not None and table.body},
        [arm.sentence for arm in arms],
        colour,
    )


def _title(runs: Sequence[StoredRun]) -> str:
    """By the studies of presets, else by models and data."""
    studies = list(dict.fromkeys(run.study for run in runs))
    many = f": {len(runs)} runs" if len(runs) > 1 else ""
    if all(studies):
        names = list(dict.fromkeys(run.manifest.experiment for run in runs))
        return names[0] if len(names) == 1 else f"{', '.join(studies)}{many}"
    models, sets = (list(dict.fromkeys(found)) for found in ([run.model for run in runs], [run.data for run in runs]))
    return f"{listed(models)} on {listed(sets)}{many}"
