"""A comparison of runs as one value: what the shell prints, what a notebook shows, what a program reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from seedbed.core.errors import SeedbedError, unknown
from seedbed.judge.pairs import Verdict
from seedbed.judge.sentences import sentence
from seedbed.report.document import compose
from seedbed.report.files import write_report
from seedbed.report.groups import Group, differences, grouped
from seedbed.report.layer_use import trivial_words
from seedbed.report.luck import best_table, luck_table, peaks_words, profiles_table
from seedbed.report.paragraph import paragraph
from seedbed.report.stored import StoredRun
from seedbed.report.tables import Table
from seedbed.report.verdict_tables import across_table, summary_table, verdict_table
from seedbed.report.verdicts import Family, against, judged, lead, said
from seedbed.report.words import metric_words
from seedbed.store.outputs import output


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every pair of runs on one data set, judged seed by seed. ``str()`` is what ``seedbed compare`` prints.

    Args:
        runs: that were compared.
        metric: the test metric that was asked for; ``None`` for what they have in common.
        families: of those that may stand beside each other, the verdicts.
        alone: runs that have nothing to be compared with.
        constants: each run against a number without seeds.
    """

    runs: Sequence[StoredRun]
    metric: str | None
    families: Sequence[Family]
    alone: Sequence[Group] = field(default=())
    constants: Sequence[Verdict] = field(default=())

    @property
    def sentences(self) -> list[str]:
        """The outcome of each data set, and below it that of each pair."""
        pairs = lambda family: [f"  {said(family, v)}" for v in family.verdicts]
        leads = lambda family: " ".join(filter(None, (lead(family), trivial_words(family), peaks_words(family))))
        return [text for family in self.families for text in (leads(family), *pairs(family))] + self.bars

    @property
    def bars(self) -> list[str]:
        """The outcome against each number that has no seeds."""
        return [f"{sentence(v)}; {v.name_b} stands without seeds or interval" for v in self.constants]

    @cached_property
    def tables(self) -> list[Table]:
        """Means with intervals, and over several data sets who beat whom on how many."""
        return [table for table in (summary_table(self.families), across_table(self.families)) if table is not None]

    @cached_property
    def verdict_table(self) -> Table:
        """Every pair: to be written as CSV, Markdown or LaTeX."""
        return verdict_table(self.families)

    @cached_property
    def luck(self) -> list[Table]:
        """What one seed would have told, what pairing buys, the chance that each model is best, and profiles over tasks."""
        tables = luck_table(self.families), best_table(self.families), profiles_table(self.families)
        return [table for table in tables if table is not None]

    @property
    def verdicts(self) -> pd.DataFrame:
        """A row for each pair: ``a``, ``b``, ``outcome``, ``gain`` in ``unit`` with ``low`` and ``high``, ``p_holm``."""
        return pd.DataFrame(self.verdict_table.raw)

    @property
    def summary(self) -> pd.DataFrame:
        """A row for each run: ``model``, ``mean`` with ``low`` and ``high``, ``seeds``, ``diverged``."""
        return pd.DataFrame(self.tables[0].raw)

    @property
    def paragraph(self) -> str:
        """Design, tests, corrections, counts and outcomes, for a paper."""
        return " ".join([paragraph(self.families, self.constants), *(f"{text}." for text in self.bars)])

    def report(self, path: Path | str = "report.html") -> Path:
        """Write the page about these runs, its tables and figures beside it, and say where.

        Raises:
            SeedbedError: for a name that is no web page's.
        """
        path = page_path(path)
        return write_report(compose(self.runs, metric=self.metric), path)[0]

    def __str__(self) -> str:
        lines = self.sentences
        only = lambda group: f"{group.task}: only {group.runs[0].label} has {group.metric}; nothing to compare it with"
        lines += map(only, self.alone)
        lines += ["", f"On the test split, by {metric_words([family.group for family in self.families])}:"]
        return "\n".join([*lines, *(f"\n{table.text()}" for table in self.tables)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """For notebooks: the sentences and the tables."""
        said_ = "".join(f"<li>{escape(text)}</li>" for text in self.sentences)
        return f"<ul>{said_}</ul>" + "".join(table.html() for table in self.tables)


def compared(
    runs: Sequence[StoredRun],
    metric: str | None = None,
    *,
    at_least: float = math.nan,
    bar: float | None = None,
    published: Mapping[tuple[str, str], float] = MappingProxyType({}),
) -> Comparison:
    """Judge every pair of runs on one data set under one protocol.

    Args:
        runs: with a test number each.
        metric: the test metric to compare on; see ``groups.grouped``.
        at_least: the least difference that matters; with it two may be shown to be the same.
        bar: a number to judge each run against, which is enough of one run.
        published: numbers of others by experiment and metric, judged against likewise.

    Raises:
        SeedbedError: if no two of them share data and a number, or none has the metric.
    """
    if metric is not None:
        metric = metric_named(runs, metric)
    groups = [group for group in grouped(runs, metric) if group.runs]
    few = 0 if bar is not None else 1  # runs that are too few for a family
    families = [judged(group, margin=at_least) for group in groups if len(group.runs) > few]
    if not families:
        raise _nothing_to_compare(runs, metric)
    constants = [v for family in families for v in ([] if bar is None else against(family, bar, at_least))]
    for family in families:
        of = {run.label: published.get((run.manifest.experiment, family.group.metric_of(run))) for run in family.ranked}
        constants += against(family, {label: value for label, value in of.items() if value is not None}, at_least)
    return Comparison(runs, metric, families, [group for group in groups if len(group.runs) == few == 1], constants)


def metric_named(runs: Sequence[StoredRun], metric: str) -> str:
    """The metric of a name: itself, or of a distance in one network's features, ``fid``, its whole name.

    Raises:
        SeedbedError: for a metric that no run has, or that says nothing about better and worse, with the nearest match or
            what there is; for one that was measured in several ways.
    """
    known = {m for run in runs for m in run.judged}
    alike = sorted(m for m in known if m.partition("@")[0] == metric)
    if metric not in known and len(alike) > 1:
        raise SeedbedError(f"{metric} was measured in several ways; choose {' or '.join(alike)}")
    if metric not in known and alike:
        return alike[0]
    if any(metric in run.metrics("test") and run.declared(metric).better is None for run in runs):
        raise SeedbedError(f"{metric} explains a result and has no better or worse; compare on {', '.join(sorted(known))}")
    if known and metric not in known:
        raise unknown("test metric", metric, known)
    return metric


def page_path(path: Path | str) -> Path:
    """Where a page is written.

    Raises:
        SeedbedError: for a name that is no web page's, or of a file that may not be replaced (see ``outputs.output``).
    """
    return output(path, (".html", ".htm"))


def _nothing_to_compare(runs: Sequence[StoredRun], metric: str | None) -> SeedbedError:
    if not runs:
        return SeedbedError("no run has a test number yet; run the same `seedbed run` command again to finish one")
    if len(runs) == 1 and not runs[0].manifest.strategy:  # of a table that somebody brought
        return SeedbedError(f"there is one model alone, {runs[0].model}: nothing to compare; add another, or say --against")
    if len(runs) == 1:
        return SeedbedError(f"one run is nothing to compare: {runs[0].folder}; name another of {runs[0].data}")
    for run in runs[1:]:
        if why := differences(runs[0], run):
            return SeedbedError(f"{runs[0].folder} and {run.folder} cannot be compared, they differ in {'; '.join(why)}")
    having = [run for run in runs if metric in run.judged]
    if len(having) == 1:
        return SeedbedError(f"only {having[0].folder} has {metric}; leave the metric out, or compare on one that two have")
    have = "; ".join(f"{run.manifest.experiment}: {', '.join(run.judged)}" for run in runs[:4])
    return SeedbedError(f"no two of these runs share data and a test metric ({have}); choose with -d, -m or --metric")
