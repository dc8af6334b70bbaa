"""The tables of what was compared: means with intervals, every verdict, and the count of verdicts over data sets."""

from collections.abc import Sequence
from typing import Any

from seedbed.judge.pairs import MAX_SEEDS, Verdict
from seedbed.report.stored import StoredRun
from seedbed.report.summary import WORSE
from seedbed.report.tables import Table
from seedbed.report.verdicts import Family, across
from seedbed.report.words import duration, lost_words, mean_words, metric_words, number, seeds_words, spread

_VERBS = {
    "better": "beats",
    "worse": "loses to",
    "no difference shown": "not shown to differ from",
    "same": "is the same as",
}


def _verb(family: Family, v: Verdict) -> str:
    """The outcome, and whose number is a bound where the other's is exact."""
    verb, group = _VERBS.get(v.outcome, v.outcome), family.group
    kind = {run.label: group.kind_of(run) for run in group.runs}
    if not group.mixed or kind[v.name_a] == kind[v.name_b] or v.outcome not in ("better", "worse"):
        return verb
    return f"{verb}, by its bound," if kind[v.name_a] == "upper bound" else f"{verb} the bound of"


def summary_table(families: Sequence[Family]) -> Table:
    """Mean and interval of every run on its group's metric, best first."""
    head = ["data", "model", "metric", "mean [95 %]", "std", "MC error", "letters", "seeds", "diverged", "time"]
    body, raw, strong = [], [], []
    for family in families:
        waiting = [run for run in family.group.runs if run not in family.ranked]
        for run in [*family.ranked, *waiting]:
            if len(family.ranked) > 1 and run is family.ranked[0]:
                strong.append(len(body))
            facts = _facts(family, run)
            kind = f" ({facts['kind']})" if family.group.mixed else ""
            cells = [
                facts["data"],
                facts["model"],
                facts["metric"] + kind,
                mean_words(run.summary(family.group.metric_of(run))),
            ]
            cells += [number(facts["std"], 2), number(facts["mc_se"], 2), facts["letters"], seeds_words(run)]
            body.append([*cells, lost_words(run, family.group.metric_of(run)), duration(run.seconds)])
            raw.append(facts)
    caption = (
        f"Test split, {metric_words([f.group for f in families])}: mean over seeds with its 95 % interval, standard "
        "deviation over seeds, Monte-Carlo error of the test set. Models of one data set that share a letter are not shown "
        "to differ. Diverged seeds are counted, and left out of the mean."
        + (f" Where every seed ended {WORSE}, the mean is over those, and says so." if any(f.poor for f in families) else "")
    )
    return (
        Table("summary", caption, head, body, raw, words=3, strong=strong)
        .without_constant("metric")
        .without_zeros("MC error", "time")
    )


def _facts(family: Family, run: StoredRun) -> dict[str, Any]:
    found = run.summary(family.group.metric_of(run))
    tested = any(v.outcome != "too few" for v in family.verdicts)
    return {
        "data": family.group.task,
        "model": run.label,
        "experiment": run.manifest.experiment,
        "hash": run.manifest.hash,
        "metric": found.metric,
        "kind": family.group.kind_of(run),
        "unit": family.group.unit,
        "mean": found.shown.mean,
        "low": found.shown.low,
        "high": found.shown.high,
        "interval": found.shown.method,
        "std": found.std,
        "mc_se": found.mc_se,
        "letters": family.letters.get(run.label, "") if tested else "",
        "seeds": found.seeds,
        "done": len(run.fates),
        "diverged": found.diverged,
        "worse_than_baseline": len(run.ended("worse_than_baseline")),
        "seconds": found.seconds,
    }


def verdict_table(families: Sequence[Family]) -> Table:
    """Every pair of every family."""
    head = ["data", "model", "verdict", "other", "gain [95 %]", "better at", "p", "P(better)", "seeds needed"]
    body, raw = [], []
    for family in families:
        for v in family.verdicts:
            needed = f"> {MAX_SEEDS}" if v.seeds_needed is None else str(v.seeds_needed)
            won = f"{v.wins} of {v.n}" + (f" ({v.ties} tied)" if v.ties else "")
            cells = [family.group.task, v.name_a, _verb(family, v), v.name_b, spread(v.gain), won]
            body.append([*cells, number(v.p_value, 2), number(v.improvement, 2), needed])
            raw.append(_verdict_facts(family, v))
    caption = (
        f"Every pair on {metric_words([f.group for f in families])}, paired by seed: gain of the first model with "
        "its 95 % interval, seeds at which it is better, p-value after Holm's correction within the data set, probability "
        "of improvement, and the seeds that a difference of this size would need."
    )
    if any(family.group.mixed for family in families):
        caption += " A bound that wins over an exact value proves it; one that loses may be loose."
    return Table("verdicts", caption, head, body, raw, words=4)


def _verdict_facts(family: Family, v: Verdict) -> dict[str, Any]:
    by_label = {run.label: run for run in family.group.runs}
    return {
        "data": family.group.task,
        "metric": family.group.metric,
        "unit": v.unit,
        "a": v.name_a,
        "b": v.name_b,
        "outcome": v.outcome,
        "gain": v.gain.mean,
        "low": v.gain.low,
        "high": v.gain.high,
        "interval": v.gain.method,
        "pairs": v.n,
        "wins": v.wins,
        "losses": v.losses,
        "ties": v.ties,
        "unpaired": v.unpaired,
        "diverged_a": len(v.diverged_a),
        "diverged_b": len(v.diverged_b),
        "p_holm": v.p_value,
        "test": v.test,
        "margin": v.margin,
        "p_same": v.p_same,
        "family": v.family,
        "improvement": v.improvement,
        "seeds_needed": v.seeds_needed,
        **{f"metric_{side}": family.group.metric_of(by_label[name]) for side, name in (("a", v.name_a), ("b", v.name_b))},
        **{f"kind_{side}": family.group.kind_of(by_label[name]) for side, name in (("a", v.name_a), ("b", v.name_b))},
    }


def across_table(families: Sequence[Family]) -> Table | None:
    """How pairs fared over all data sets; ``None`` where no pair met on two."""
    found = across(families)
    if not found:
        return None
    body = [[a, b, str(won), str(lost), str(left), number(p, 2)] for a, b, won, lost, left, p in found]
    raw = [dict(zip(["a", "b", "won", "lost", "open", "improvement"], row, strict=True)) for row in found]
    caption = (
        "Over data sets: on how many the first model beats the other, loses to it, or neither is shown; and its mean "
        "probability of improvement at a shared seed."
    )
    return Table("across", caption, ["model", "other", "wins", "losses", "open", "P(better)"], body, raw, words=2)
