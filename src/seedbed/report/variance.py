"""Where the variance over seeds comes from: runs of one experiment that vary one source of randomness each, and all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seedbed.judge.sentences import NAMES, share_sentence
from seedbed.judge.shares import VarianceShares, variance_shares
from seedbed.report.stored import StoredRun
from seedbed.report.tables import Table
from seedbed.report.words import number, spread

SINGLE_SOURCES = ("init", "order", "noise", "data")


@dataclass(frozen=True)
class Arms:
    """One experiment under several settings of ``vary``, and what they say."""

    label: str
    task: str
    metric: str
    shares: VarianceShares
    sentence: str


def found_arms(runs: Sequence[StoredRun], metric: str | None = None) -> list[Arms]:
    """Every experiment among the runs that was run varying everything and at least one source alone."""
    alike: dict[tuple[Any, ...], dict[str, StoredRun]] = {}
    for run in runs:
        settings = tuple(sorted((k, str(v)) for k, v in run.manifest.config.items() if k != "vary"))
        alike.setdefault((run.model, settings), {})[run.vary] = run
    out = []
    for arms in alike.values():
        if "all" not in arms or not set(SINGLE_SOURCES) & arms.keys():
            continue
        name = metric or next(iter(arms["all"].judged), "")
        values, lost = {}, {}
        for vary, run in arms.items():
            kept = run.kept(name).to_numpy()
            if vary in (*SINGLE_SOURCES, "all") and len(kept) >= 2:
                values[vary], lost[vary] = kept, len(run.without(name))
        everything = values.pop("all", None)
        if everything is None or not values:
            continue
        only = {source: values[source] for source in SINGLE_SOURCES if source in values}
        shares = variance_shares(only, everything, rng=np.random.default_rng(0), diverged=lost)
        label = arms["all"].model
        text = share_sentence(label, arms["all"].data, name, shares)
        out.append(Arms(label, arms["all"].data, name, shares, text))
    return out


def variance_table(arms: Sequence[Arms]) -> Table:
    """Shares of the variance over seeds with their intervals."""
    sources = [s for s in SINGLE_SOURCES if any(s in arm.shares.shares for arm in arms)]
    body, raw = [], []
    for arm in arms:
        found = {**arm.shares.shares, "together": arm.shares.together}
        cells = [spread(found[s]) if s in found else "" for s in (*sources, "together")]
        body.append([arm.task, arm.label, arm.metric, *cells, number(sum(arm.shares.diverged.values()))])
        for source, x in found.items():
            facts = {"share": x.mean, "low": x.low, "high": x.high, "n": x.n, "diverged": arm.shares.diverged.get(source, 0)}
            raw.append({"data": arm.task, "model": arm.label, "metric": arm.metric, "source": source, **facts})
    head = ["data", "model", "metric", *(NAMES[s] for s in sources), "together", "diverged"]
    caption = (
        "Shares of the variance over seeds: the variance where one source alone varies over the sum of these, with 95 % "
        "bootstrap intervals. Together is the variance where all vary over the same sum: 1 where the sources add up."
    )
    return Table("variance", caption, head, body, raw, words=3)
