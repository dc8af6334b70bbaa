"""How runs were compared and what came out, as a paragraph for a paper."""

from collections import Counter
from collections.abc import Sequence

from seedbed.judge.intervals import RESAMPLED_FROM
from seedbed.judge.pairs import FEWEST, Verdict
from seedbed.judge.sentences import within
from seedbed.report.verdicts import Family, lead
from seedbed.report.words import listed, metric_words

_TESTS = {
    "paired t-test": f"paired t-tests (fewer than {RESAMPLED_FROM} pairs)",
    "sign-flip test": "exact sign-flip permutation tests",
    "sign-flip test (Monte Carlo)": "sign-flip permutation tests (Monte Carlo)",
    "sign test": "exact sign tests where a seed diverged, which counts as a loss",
}
_METHODS = {
    "student-t": "Student's",
    "bca, widened": "percentiles of the bootstrap, corrected for bias and acceleration and widened to Student's",
}


def paragraph(families: Sequence[Family], constants: Sequence[Verdict] = ()) -> str:
    """Design, tests, corrections, counts and outcomes, each as it was here."""
    verdicts = [v for family in families for v in family.verdicts]
    every = [*verdicts, *constants]
    return " ".join(filter(None, (_design(families), _tested(every), _counts(verdicts), *map(lead, families))))


def _design(families: Sequence[Family]) -> str:
    runs = [run for family in families for run in family.ranked]
    counts = sorted({len(run.manifest.seeds) for run in runs})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    models = list(dict.fromkeys(run.label for run in runs))
    lost = sum(len(run.without(family.group.metric_of(run))) for family in families for run in family.ranked)
    trainings = sum(len(run.manifest.seeds) for run in runs)
    methods = dict.fromkeys(family.means[run.label].method for family in families for run in family.ranked)
    how = listed([_METHODS[method] for method in methods if method in _METHODS])
    text = (
        f"We compared {listed(models)} on {listed([family.group.task for family in families])} by "
        f"{metric_words([family.group for family in families])}, {seeds} seeds each."
    )
    text += f" Intervals are 95 % intervals of the mean over seeds ({how})." if how else ""
    if lost:
        text += f" {lost} of {trainings} trainings diverged or ended worse than a trivial baseline; means leave them out."
    return text


def _tested(verdicts: Sequence[Verdict]) -> str:
    tests = [_TESTS[test] for test in dict.fromkeys(v.test for v in verdicts) if test in _TESTS]
    if not tests:
        return ""
    text = f"Differences are paired by seed and tested two-sided with {listed(tests)}"
    family = max(v.family for v in verdicts)
    if family > 1:
        text += (
            f", adjusted by {'Shaffer' if verdicts[0].margin > 0 else 'Holm'}'s method over the comparisons of a data set"
        )
    text += "; one is claimed where p <= 0.05 and the 95 % interval of the mean difference excludes zero."
    if verdicts[0].margin > 0:
        text += f" Two models are called the same where two one-sided tests reject a difference of {within(verdicts[0])}."
    return text


def _counts(verdicts: Sequence[Verdict]) -> str:
    found = Counter("shown" if v.outcome in ("better", "worse") else v.outcome for v in verdicts)
    parts = [f"{found['shown']} showed a difference"]
    parts += [f"{found['same']} the same"] if found["same"] else []
    parts += [f"{found['no difference shown']} showed none"] if found["no difference shown"] else []
    parts += [f"{found['too few']} had fewer than {FEWEST} shared seeds"] if found["too few"] else []
    return f"Of {len(verdicts)} comparison{'s' if len(verdicts) > 1 else ''}, {listed(parts)}." if verdicts else ""
