"""What was found, in one line each: verdicts, shares of variance, amounts."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from seedbed.judge.intervals import Interval
from seedbed.judge.pairs import MAX_SEEDS, Verdict
from seedbed.judge.shares import VarianceShares


def sentence(v: Verdict, lost: Mapping[str, str] = MappingProxyType({})) -> str:
    """The verdict in one line, e.g. ``spline-flow beats flow on checkerboard: 10 of 10 seeds, 0.09 nats [0.07, 0.11]``.

    Args:
        v: the verdict.
        lost: by name how the seeds that do not count ended, where that is not that they diverged.
    """
    place = f" on {v.task}" if v.task else ""
    needed = f"more than {MAX_SEEDS}" if v.seeds_needed is None else f"about {v.seeds_needed}"
    held = f"{v.wins} of {v.n} seeds"
    if v.outcome == "too few":
        text = f"{v.name_a} against {v.name_b}{place}: too few seeds: {v.n}; {needed} needed"
    elif v.ties == v.n and not v.gain.n:
        both = f"{v.name_a} and {v.name_b}{place}"
        return f"no verdict between {both}: at all {v.n} seeds both diverged or ended worse than their baseline"
    elif v.outcome == "same":
        text = (
            f"{v.name_a} and {v.name_b}{place} are the same within {within(v)}: {amount(v.gain, v.unit)}, p = {v.p_same:.2g}"
        )
    elif v.outcome == "better":
        text = f"{v.name_a} beats {v.name_b}{place}: {held}, {amount(v.gain, v.unit)}"
    elif v.outcome == "worse":
        text = f"{v.name_a} loses to {v.name_b}{place}: better at {held}, {amount(-v.gain, v.unit)} worse"
    else:
        text = f"no difference shown between {v.name_a} and {v.name_b}{place}: {v.name_a} better at {held}"
        text += f" with {v.ties} tied" if v.ties else ""
        text += f", by {amount(v.gain, v.unit)}" if v.gain.n else ""
        text += f", p = {v.p_value:.2g}"
        if v.p_value <= 1 - v.level:
            text += ", but some seeds lie so far off that the interval of the mean holds zero"
        else:
            text += f"; {needed} seeds needed to show one of this size"
        if v.margin > 0:
            text += f"; nor that they are the same within {within(v)}"
    if v.family > 1 and v.outcome != "too few":
        p = v.p_same if v.outcome == "same" else v.p_value
        text += f" (Holm over {v.family} comparisons, p = {p:.2g})"
    for name, seeds in ((v.name_a, v.diverged_a), (v.name_b, v.diverged_b)):
        if seeds:
            text += f"; {name} {lost.get(name, 'diverged')} at {len(seeds)} (seed {', '.join(map(str, seeds))})"
    if v.n and not v.gain.n:
        text += "; at no seed both count, and one that does not counts as a loss"
    elif v.gain.n < v.n:
        text += f"; the mean is over the {v.gain.n} pairs without divergence, a diverged seed counts as a loss"
    return text + (f"; seeds without a partner left out: {v.unpaired}" if v.unpaired else "")


def within(v: Verdict) -> str:
    """The least difference that matters, with its unit."""
    return f"{v.margin:g} {v.unit}".strip()


NAMES = {"init": "initialisation", "order": "data order", "noise": "training noise", "data": "the data drawn"}


def share_sentence(model: str, task: str, metric: str, v: VarianceShares) -> str:
    """Answer in one sentence where a model's seed variance comes from, largest share first."""
    if math.isnan(v.together.mean):
        return f"For {model} on {task}, {metric} does not vary over seeds."

    def percent(x: Interval) -> str:
        return f"{100 * x.mean:.0f} % [{100 * x.low:.0f}, {100 * x.high:.0f}]"

    first, *rest = sorted(v.shares, key=lambda k: -v.shares[k].mean)
    others = "".join(f", {NAMES.get(name, name)} {percent(v.shares[name])}" for name in rest)
    text = (
        f"For {model} on {task}, {NAMES.get(first, first)} makes {percent(v.shares[first])} of the seed variance of {metric}"
    )
    shown = "" if v.together.low > 1 or v.together.high < 1 else ": no interaction shown"
    lost = ", ".join(f"{count} of {name}" for name, count in v.diverged.items() if count)
    left = f"; diverged seeds left out: {lost}" if lost else ""
    ratio = f"{v.together.mean:.2g} [{v.together.low:.2g}, {v.together.high:.2g}]"
    return f"{text}{others}; varied together, {ratio} times their sum{shown}{left}."


def amount(x: Interval, unit: str) -> str:
    """``0.09 nats [0.07, 0.11]``: as many digits as the interval supports, and enough to tell a bound from zero."""
    if not math.isfinite(x.mean):
        return "no finite pair"
    unit = f" {unit}" if unit else ""
    if x.n < 2:
        return f"{x.mean:.3g}{unit} [one value]"
    half = (x.high - x.low) / 2 or abs(x.mean) / 50 or 1.0
    exponent = math.floor(math.log10(half))
    digits = max(0, -exponent + (half < 2 * 10.0**exponent))  # a leading 1 is too coarse alone
    if x.mean:
        digits = min(digits, max(0, 4 - math.floor(math.log10(abs(x.mean)))))  # seeds that agree to rounding say no more
    while digits < 12 and any(v and not round(v, digits) for v in (x.low, x.high)):
        digits += 1
    mean, low, high = (f"{v + 0.0:.{digits}f}" for v in (x.mean, x.low, x.high))
    return f"{mean}{unit} [{low}, {high}]"
