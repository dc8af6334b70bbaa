"""Which differences within a group of runs are real: every pair judged as one family, and the outcome in words."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd

from seedbed.core.metric import GAP, NLL
from seedbed.judge.intervals import Interval
from seedbed.judge.pairs import FEWEST, Outcome, Verdict, compare, compare_family
from seedbed.judge.sentences import amount, sentence, within
from seedbed.report.groups import Group
from seedbed.report.stored import StoredRun
from seedbed.report.summary import WORSE
from seedbed.report.words import kind_words, listed

_MIRROR: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Family:
    """Every pair of runs of one group on one metric, Holm-adjusted together.

    Args:
        group: the runs.
        ranked: those with a test number, best mean first.
        means: their means and intervals over the seeds that did not diverge, by label.
        verdicts: one per pair; the first name is the one with more wins.
        letters: by label; two runs that share a letter are not shown to differ.
        poor: of runs that keep no seed, means over those that ended worse than their trivial baseline, by label.
    """

    group: Group
    ranked: list[StoredRun]
    means: dict[str, Interval]
    verdicts: list[Verdict]
    letters: dict[str, str]
    poor: dict[str, Interval] = field(default_factory=dict)

    def between(self, a: str, b: str) -> Verdict | None:
        """The verdict on two labels as seen from the first."""
        for v in self.verdicts:
            if {v.name_a, v.name_b} == {a, b}:
                return v if v.name_a == a else mirrored(v)
        return None


def judged(group: Group, margin: float = math.nan) -> Family:
    """Compare every pair of a group's runs seed by seed. A run without a test number takes no part.

    Args:
        group: the runs.
        margin: the least difference that matters; none by default.
    """
    metric = group.declared
    sign = -1.0 if metric.better == "higher" else 1.0
    of = group.metric_of
    values = {run.label: run.final(of(run)) for run in group.runs}
    lost = {run.label: run.without(of(run)) for run in group.runs}
    means = {run.label: run.summary(of(run)).interval for run in group.runs}
    poor = {run.label: found for run in group.runs if (found := run.summary(of(run)).poor)}
    ranked = [run for run in group.runs if len(values[run.label])]
    ranked.sort(key=lambda run: _place(means[run.label], poor.get(run.label), sign))
    pairs = {}
    for a, b in combinations([run.label for run in ranked], 2):
        pairs[f"{a}\n{b}"] = compare(
            values[a],
            values[b],
            name_a=a,
            name_b=b,
            unit=group.unit,
            task=group.task,
            higher_is_better=metric.better == "higher",
            diverged_a=lost[a],
            diverged_b=lost[b],
            margin=margin,
            rng=np.random.default_rng(0),
        )
    verdicts = [mirrored(v) if v.wins < v.losses else v for v in compare_family(pairs).values()]
    same = [{v.name_a, v.name_b} for v in verdicts if v.outcome not in _MIRROR]
    return Family(group, ranked, means, verdicts, letters([run.label for run in ranked], same), poor)


def against(family: Family, value: float | Mapping[str, float], margin: float = math.nan) -> list[Verdict]:
    """Each run of a family against a number that has no seeds: a bar to clear, or what somebody has published.

    The test of a pair with the same number at every seed is that of one sample. All of them are one family.

    Args:
        family: the runs.
        value: the number; by label, where runs have different ones.
        margin: the least difference that matters.
    """
    metric, of = family.group.declared, family.group.metric_of
    found = {}
    for run in family.ranked:
        bar = value.get(run.label) if isinstance(value, Mapping) else value
        if bar is None:
            continue
        values = run.final(of(run))
        found[run.label] = compare(
            values,
            pd.Series(bar, index=values.index.union(pd.Index(run.without(of(run)))), dtype=float),
            name_a=run.label,
            name_b=f"{'published ' if isinstance(value, Mapping) else ''}{bar:g}",
            unit=family.group.unit,
            task=family.group.task,
            higher_is_better=metric.better == "higher",
            diverged_a=run.without(of(run)),
            margin=margin,
            rng=np.random.default_rng(0),
        )
    return list(compare_family(found).values())


def _place(mean: Interval, poor: Interval | None, sign: float) -> tuple[int, float]:
    """Where a run stands: those whose seeds count, then those worse than their baseline, then those without a number."""
    if mean.n:
        return 0, sign * mean.mean
    return (1, sign * poor.mean) if poor else (2, 0.0)


def mirrored(v: Verdict) -> Verdict:
    """The same verdict as seen from the other model."""
    return replace(
        v,
        name_a=v.name_b,
        name_b=v.name_a,
        gain=-v.gain,
        wins=v.losses,
        losses=v.wins,
        diverged_a=v.diverged_b,
        diverged_b=v.diverged_a,
        outcome=_MIRROR.get(v.outcome, v.outcome),
    )


def letters(names: Sequence[str], same: Sequence[set[str]]) -> dict[str, str]:
    """A compact letter display: names share a letter exactly if they are not shown to differ.

    Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons" (2004): start from one set of all,
    split every set that holds a pair which differs, drop sets within others.
    """
    sets = [frozenset(names)]
    for a, b in combinations(names, 2):
        if {a, b} in same:
            continue
        split = [part - {gone} for part in sets if {a, b} <= part for gone in (a, b)] + [s for s in sets if not {a, b} <= s]
        sets = [s for s in dict.fromkeys(split) if not any(s < other for other in split)]
    sets.sort(key=lambda part: [names.index(n) for n in names if n in part])
    return {name: "".join(_letter(i) for i, part in enumerate(sets) if name in part) for name in names}


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"({index + 1})"


def lead(family: Family) -> str:
    """What a group's comparisons come to, in a few sentences: who is better, and which numbers are bounds."""
    return " ".join(filter(None, (_lead(family), _kinds(family))))


def said(family: Family, v: Verdict) -> str:
    """One verdict in words, and what it is worth where one of the two numbers is a bound and the other exact."""
    ended = dict.fromkeys(family.poor, f"ended {WORSE}")
    return "; ".join(filter(None, (sentence(v, ended), _pair_words(family, v))))


def _pair_words(family: Family, v: Verdict) -> str:
    bound = _bound_of(family, v)
    if not bound or v.outcome in ("too few", "no difference shown"):
        return f"the number of {bound} is an upper bound" if bound else ""
    winner, loser = (v.name_a, v.name_b) if v.outcome == "better" else (v.name_b, v.name_a)
    if winner == bound:
        return f"proven: the upper bound of {winner} is below the exact value of {loser} already"
    return f"but the number of {loser} is an upper bound, which may be loose"


def _bound_of(family: Family, v: Verdict) -> str:
    """The one of two runs whose number is a bound while the other's is exact; empty where both are alike."""
    kinds = {run.label: family.group.kind_of(run) for run in family.ranked}
    both = {kinds[v.name_a]: v.name_a, kinds[v.name_b]: v.name_b}
    return both["upper bound"] if both.keys() == {"exact", "upper bound"} else ""


def _met(group: Group, best: StoredRun, run: StoredRun) -> str:
    """What of a run the best one has met: the run, or its bound alone."""
    kinds = group.kind_of(best), group.kind_of(run)
    return f"the bound of {run.label}" if kinds == ("exact", "upper bound") else run.label


def _kinds(family: Family) -> str:
    """Which numbers are exact and which are bounds where a group has both, what follows, how to tighten one that lost."""
    group = family.group
    if not (text := kind_words(group)):
        return ""
    best = family.ranked[0]
    if group.kind_of(best) == "upper bound":
        return f"{text} A bound that is below an exact value proves that its model is better."
    bounded = [run for run in family.ranked if group.kind_of(run) == "upper bound"]
    places = shlex.join(str(run.folder) for run in bounded[:4])
    then = f", then compare with --metric {NLL.name}" if group.metric == GAP.name else ""
    more = " with more samples (-k)" if all(group.metric_of(run) == NLL.name for run in bounded) else ""
    return f"{text} A bound that loses may do so for being loose: `seedbed evaluate {places}`{more} tightens it{then}."


def _lead(family: Family) -> str:
    group, ranked = family.group, family.ranked
    waiting = [run.label for run in group.runs if run not in ranked]
    tail = f" No test number yet: {listed(waiting)}." if waiting else ""
    if not ranked:
        return f"No run on {group.task} has a test number yet."
    best = ranked[0].label
    value = value_words(family, best)
    if len(ranked) == 1:
        return f"{best} on {group.task}: {value}; there is nothing to compare it with.{tail}"
    met = {_met(group, ranked[0], run): family.between(best, run.label) for run in ranked[1:]}
    beaten = [name for name, v in met.items() if v and v.outcome == "better"]
    open_ = [name for name, v in met.items() if v and v.outcome == "no difference shown"]
    alike = [name for name, v in met.items() if v and v.outcome == "same"]
    few = [name for name, v in met.items() if v and v.outcome == "too few"]
    above = [name for name, v in met.items() if v and v.outcome == "worse"]
    if len(beaten) == len(met):
        everyone = f"beats {listed(beaten)}" if len(beaten) < 4 else f"beats all {len(beaten)} others"
        return f"{best} is best on {group.task}, {value}: it {everyone}.{_trivial(family)}{tail}"
    parts = [f"{best} has the best mean on {group.task}, {value}"]
    if beaten:
        parts.append(f"it beats {listed(beaten)}")
    if alike:
        parts.append(f"it is the same as {listed(alike)} within {within(family.verdicts[0])}")
    if open_:
        parts.append(f"no difference is shown from {listed(open_)}")
    if above:
        parts.append(f"yet it loses to {listed(above)}, for it diverges more")
    if few:
        parts.append(f"too few shared seeds for a verdict on {listed(few)}, of {FEWEST} that it takes")
    return "; ".join(parts) + "." + _trivial(family) + _untrained(family) + _out_of_reach(family) + tail


def value_words(family: Family, label: str) -> str:
    """A run's mean with its interval and unit; of a run that keeps no seed why, and the mean all the same if it has one."""
    if family.means[label].n:
        return amount(family.means[label], family.group.unit)
    if label in family.poor:
        return f"{amount(family.poor[label], family.group.unit)} (every seed {WORSE})"
    return "every seed diverged"


def _trivial(family: Family) -> str:
    """That runs are not shown to beat a trivial model, of which a comparison says nothing."""
    runs = [run for run in family.ranked if run.trivial]
    if len(runs) < 2:
        return ""
    found = dict.fromkeys(f"{loss:.4g} by {metric}" for run in runs for metric, loss in run.trivial.items())
    return (
        f" {listed([run.label for run in runs])} sit at the baseline: on the validation data none of them is shown to beat "
        f"a trivial model ({listed(list(found))}), so what lies between them is not what they learned."
    )


def _untrained(family: Family) -> str:
    """That runs too short to beat their baseline cannot be told apart, and what mends that."""
    poor = [run.label for run in family.ranked if run.label in family.poor]
    return f" Every seed of {listed(poor)} ended {WORSE}: train longer (--steps) for a verdict." if len(poor) > 1 else ""


def _out_of_reach(family: Family) -> str:
    """A warning where no outcome of the seeds could have given a verdict: a sign test of n seeds has no p below 2 / 2**n."""
    tested = [v for v in family.verdicts if v.n >= FEWEST]
    if not tested or any(not v.test.startswith("sign") or v.outcome in _MIRROR for v in tested):
        return ""
    seeds, alpha = max(v.n for v in tested), 1 - tested[0].level
    least = len(tested) * 2.0 ** (1 - seeds)
    if least <= alpha:
        return ""
    needed = math.ceil(1 + math.log2(len(tested) / alpha))
    return (
        f" {seeds} seeds cannot decide {len(tested)} comparisons at once (least p after Holm {least:.2g}): "
        f"compare fewer models, or run {needed} seeds."
    )


def _whole(families: Sequence[Family]) -> list[Family]:
    """Without the arms of a study of variance: data sets are counted where seeds differ in all that they may."""
    return [family for family in families if all(run.vary in ("model", "all") for run in family.group.runs)]


def overall(families: Sequence[Family]) -> str:
    """Who is best and who unbeaten over several data sets; empty with fewer than two that were tested."""
    tested = [family for family in _whole(families) if any(v.outcome != "too few" for v in family.verdicts)]
    if len(tested) < 2:
        return ""
    best: Counter[str] = Counter()
    unbeaten: Counter[str] = Counter()
    for family in tested:
        beaten = {v.name_b for v in family.verdicts if v.outcome == "better"}
        beaten |= {v.name_a for v in family.verdicts if v.outcome == "worse"}
        standing = [run.label for run in family.ranked if run.label not in beaten]
        unbeaten.update(standing)
        beats = {v.name_b for v in family.verdicts if v.outcome == "better" and v.name_a == family.ranked[0].label}
        best.update(standing[:1] if len(beats) == len(family.ranked) - 1 else [])
    parts = []
    for label, count in sorted(unbeaten.items(), key=lambda item: (-best[item[0]], -item[1])):
        share = f"all {len(tested)}" if best[label] == len(tested) else str(best[label])
        parts.append(f"{label} is best on {share}" if best[label] else f"{label} is unbeaten on {count}")
        parts[-1] += f", unbeaten on {count}" if best[label] and count > best[label] else ""
    return f"Over {len(tested)} data sets: {'; '.join(parts)}."


def across(families: Sequence[Family]) -> list[tuple[str, str, int, int, int, float]]:
    """For pairs met on two data sets or more: names, data sets won, lost and open, and the mean probability of improvement.

    Each data set is its own declared family; this is a count of their outcomes, not another test.
    """
    met: dict[tuple[str, str], list[Verdict]] = {}
    for family in _whole(families):
        for v in family.verdicts:
            a, b = sorted((v.name_a, v.name_b))
            met.setdefault((a, b), []).append(v if v.name_a == a else mirrored(v))
    out = []
    for (a, b), found in met.items():
        if len(found) < 2:
            continue
        won, lost = (sum(v.outcome == outcome for v in found) for outcome in ("better", "worse"))
        chance = float(np.mean([v.improvement for v in found if v.n] or [np.nan]))
        swap = lost > won or (lost == won and chance < 0.5)
        row = (
            (b, a, lost, won, len(found) - won - lost, 1 - chance)
            if swap
            else (a, b, won, lost, len(found) - won - lost, chance)
        )
        out.append(row)
    return sorted(out, key=lambda row: (-row[2] + row[3], row[0], row[1]))
