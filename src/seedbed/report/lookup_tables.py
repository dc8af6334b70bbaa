"""The tables one looks things up in: every test metric of every run, and every seed."""

import math
from collections.abc import Sequence

from seedbed.report.tables import Table
from seedbed.report.verdicts import Family
from seedbed.report.words import CROSS, mean_words, metric_words, number

_FACTS = ("metric", "unit", "mean", "low", "high", "std", "mc_se", "n", "seeds", "diverged")


def tests_table(families: Sequence[Family]) -> Table:
    """Every test metric of every run."""
    head = ["data", "model", "metric", "mean [95 %]", "unit", "std", "MC error", "examples", "diverged"]
    body, raw = [], []
    for family in families:
        for run in [*family.group.runs, *family.group.strangers]:
            for row in run.summaries:
                cells = [family.group.task, run.label, row.metric, mean_words(row), row.unit]
                body.append([*cells, number(row.std, 2), number(row.mc_se, 2), str(row.n), str(row.diverged)])
                raw.append({"data": family.group.task, "model": run.label} | {k: getattr(row, k) for k in _FACTS})
    return Table("tests", "Every test metric: mean over seeds with its 95 % interval.", head, body, raw, words=3)


def seeds_table(families: Sequence[Family]) -> Table:
    """The test value of every seed, or its fate."""
    seeds = sorted({seed for family in families for run in family.group.runs for seed in run.manifest.seeds})
    body, raw = [], []
    for family in families:
        for run in family.group.runs:
            metric, cells = family.group.metric_of(run), []
            values = run.final(metric)
            names = {"data": family.group.task, "model": run.label, "metric": metric}
            for seed in seeds:
                fate, step = run.fates.get(seed, ("running", 0))
                value = float(values.loc[seed]) if seed in values.index else math.nan
                asked = seed in run.manifest.seeds
                raw += [{**names, "seed": seed, "value": value, "fate": fate, "step": step}] if asked else []
                cells.append(_cell(value, fate, step) if asked else "")
            body.append([family.group.task, run.label, *cells])
    caption = (
        f"Every seed's test value, {metric_words([f.group for f in families])}. {CROSS} marks a seed that ended "
        "worse than its trivial baseline, or, with the step at which it did, one that diverged."
    )
    return Table("seeds", caption, ["data", "model", *(f"seed {s}" for s in seeds)], body, raw, words=2)


def _cell(value: float, fate: str, step: int) -> str:
    if fate == "diverged":
        return f"{CROSS} {step}"
    return (
        "\N{HORIZONTAL ELLIPSIS}"
        if fate == "running"
        else number(value, 4) + f" {CROSS}" * (fate != "finished" and fate != "stopped_early")
    )
