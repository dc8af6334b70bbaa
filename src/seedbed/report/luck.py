"""What a single seed would have told, how sure the best is of its place, and what sharing seeds buys."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from seedbed.judge.peaks import two_peaks
from seedbed.judge.views import best, improvement, interquartile_mean, one_seed, pairing, profile, stochastic_order
from seedbed.report.stored import StoredRun
from seedbed.report.tables import Table
from seedbed.report.verdicts import Family
from seedbed.report.words import number, spread


def peaks_words(family: Family) -> str:
    """Which runs have seeds in two groups, which no mean describes; empty if none has."""
    found = {run.label: two_peaks(run.kept(family.group.metric_of(run)).to_numpy()) for run in family.ranked}
    return " ".join(
        f"The seeds of {label} lie in two groups, {peaks.words()}: their mean describes neither."
        for label, peaks in found.items()
        if peaks is not None
    )


def luck_table(families: Sequence[Family]) -> Table | None:
    """Every pair: what one seed of each would tell, what pairing buys, and order; ``None`` if none can be said."""
    body, raw = [], []
    for family in families:
        for a, b in combinations(family.ranked, 2):
            x, y = _shared(family, a, b)
            if len(x) < 2:
                continue
            sign = 1.0 if family.group.declared.better == "higher" else -1.0
            told, bought = one_seed(sign * x, sign * y), pairing(x, y)
            order = stochastic_order(sign * x, sign * y, rng=np.random.default_rng(0))
            facts = {"data": family.group.task, "a": a.label, "b": b.label, "wrong": told.wrong}
            facts |= {"wrong_shared": told.wrong_shared, "improvement": improvement(sign * x, sign * y)}
            facts |= {"stochastic_order": order, "correlation": bought.correlation, "seeds_by_pairing": bought.saved}
            raw.append(facts)
            body.append([family.group.task, a.label, b.label, *(number(float(facts[k]), 2) for k in [*facts][3:])])
    if not body:
        return None
    head = ["data", "model", "other", "one seed is wrong", "one shared seed", "P(better)", "order", "correlation", "pairing"]
    caption = (
        "What luck does: the chance that one seed of each model names the worse of the two, with seeds of their own and "
        "with a shared one; probability that a run of the first is better; almost stochastic order, below 0.5 where the "
        "first is better at 95 %; correlation over shared seeds, and the share of an unpaired study's seeds that it takes."
    )
    return Table("luck", caption, head, body, raw, words=3)


def best_table(families: Sequence[Family]) -> Table | None:
    """The probability that each model is best, by data set, and over several the interquartile mean of each."""
    body, raw = [], []
    for family in families:
        scores = _complete(family)
        if len(scores) < 2:
            continue
        chances = best({label: values.to_numpy()[None] for label, values in scores.items()}, rng=np.random.default_rng(0))
        for label, chance in chances.items():
            body.append([family.group.task, label, number(chance, 2), ""])
            raw.append({"data": family.group.task, "model": label, "best": chance})
    sign, tables = over_tasks(families)
    chances = best(tables, rng=np.random.default_rng(0)) if tables else {}
    for label, table in tables.items():
        middle = interquartile_mean(table, rng=np.random.default_rng(0))
        middle = middle if sign > 0 else -middle
        body.append([f"all {len(families)}", label, number(chances[label], 2), spread(middle)])
        raw.append({"data": "all", "model": label, "best": chances[label], "iqm": middle.mean})
        raw[-1] |= {"iqm_low": middle.low, "iqm_high": middle.high}
    if not body:
        return None
    keys = dict.fromkeys(key for row in raw for key in row)
    raw = [{key: row.get(key, "") for key in keys} for row in raw]
    caption = (
        "How sure the best is: the probability that each model has the best mean if the study were made again with seeds "
        "like these; over several data sets, the mean of the middle half of all runs with its 95 % interval."
    )
    return Table("best", caption, ["data", "model", "P(best)", "interquartile mean"], body, raw, words=2)


def profiles_table(families: Sequence[Family]) -> Table | None:
    """Performance profiles over several data sets: the share of each model's runs that is better than a value."""
    sign, tables = over_tasks(families)
    if not tables:
        return None
    every = sign * np.concatenate([table.ravel() for table in tables.values()])
    values = np.unique(np.quantile(every, np.linspace(0, 1, 11)[1:-1]))
    shares = {label: profile(table, sign * values) for label, table in tables.items()}
    body = [[label, *(number(share, 2) for share in found)] for label, found in shares.items()]
    raw = [
        {"model": label, "value": value, "share_better": share}
        for label, found in shares.items()
        for value, share in zip(values.tolist(), found.tolist(), strict=True)
    ]
    caption = (
        f"Performance profiles over {len(families)} data sets: the share of all runs of a model whose "
        f"{families[0].group.metric} is better than each value. One that is higher everywhere is better in distribution."
    )
    return Table("profiles", caption, ["model", *map(number, values.tolist())], body, raw, words=1)


def over_tasks(families: Sequence[Family]) -> tuple[float, dict[str, np.ndarray]]:
    """What turns values into scores of which more is better, and the scores ``[tasks, seeds]`` of each model.

    At the seeds at which all of them count everywhere. No scores where there are not two data sets, two models that ran on
    all of them, one metric and such a seed.
    """
    sign = 1.0 if families and families[0].group.declared.better == "higher" else -1.0
    if len(families) < 2 or len({family.group.metric for family in families}) != 1:
        return sign, {}
    tasks = [_complete(family) for family in families]
    names = [label for label in tasks[0] if all(label in scores for scores in tasks)]
    seeds = sorted(set.intersection(*(set(found.index) for scores in tasks for found in scores.values() or [pd.Series()])))
    if len(names) < 2 or not seeds:
        return sign, {}
    return sign, {label: np.stack([scores[label].loc[seeds].to_numpy() for scores in tasks]) for label in names}


def _shared(family: Family, a: StoredRun, b: StoredRun) -> tuple[np.ndarray, np.ndarray]:
    """Values of two runs at the seeds at which both count."""
    x, y = (run.kept(family.group.metric_of(run)) for run in (a, b))
    seeds = sorted(set(x.index) & set(y.index))
    return x.loc[seeds].to_numpy(), y.loc[seeds].to_numpy()


def _complete(family: Family) -> dict[str, pd.Series]:
    """By label the values of the runs, more being better, at the seeds at which all count."""
    values = {run.label: run.kept(family.group.metric_of(run)) for run in family.ranked}
    values = {label: found for label, found in values.items() if len(found)}
    seeds = sorted(set.intersection(*(set(found.index) for found in values.values()))) if values else []
    sign = 1.0 if family.group.declared.better == "higher" else -1.0
    return {label: sign * found.loc[seeds] for label, found in values.items()} if seeds else {}
