"""How often a verdict is false, and how often an interval covers: simulated studies of known truth.

``python benchmarks/judge.py results/judge/simulations.json docs/statistics.md`` writes the numbers and the page. Verdicts
are counted by their p-values alone; that their interval must agree makes them rarer still.
"""

import json
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seedbed.judge.intervals import RESAMPLED_FROM
from seedbed.judge.pairs import ENUMERATED, all_signs
from seedbed.store.manifest import processor

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
STUDIES, RESAMPLES, FLIPS = 5000, 1999, 9999
COVERED = 2000  # studies of a cell of coverage

# Noise of one model at one seed.
NOISES: Mapping[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: np.exp(rng.normal(size=shape)),
    "two peaks": lambda rng, shape: 0.3 * rng.normal(size=shape) + 3 * (rng.random(shape) < 0.3),
    "one in ten diverges": lambda rng, shape: np.where(rng.random(shape) < 0.1, np.nan, rng.normal(size=shape)),
}
# Values of seeds: how they are drawn, and their mean.
SHAPES: Mapping[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "log-normal, sigma 0.5": (lambda rng, shape: np.exp(0.5 * rng.normal(size=shape)), math.exp(0.125)),
    "log-normal, sigma 1": (lambda rng, shape: np.exp(rng.normal(size=shape)), math.exp(0.5)),
    "two peaks (3 in 10)": (lambda rng, shape: 0.1 * rng.normal(size=shape) + (rng.random(shape) < 0.3), 0.3),
    "outliers (1 in 20)": (lambda rng, shape: rng.normal(size=shape) + 8 * (rng.random(shape) < 0.05), 0.4),
    "at its end (beta 0.5, 5)": (lambda rng, shape: rng.beta(0.5, 5, size=shape), 1 / 11),
}
METHODS = ("student", "percentile", "bca", "bca widened", "bootstrap-t")


def p_values(gain: Floats, rng: np.random.Generator) -> Floats:
    """Two-sided p of each study, ``[studies, seeds]`` -> ``[studies]``, as ``judge.pairs.compare`` has it."""
    n = gain.shape[1]
    lost = np.isnan(gain).any(1)
    with np.errstate(invalid="ignore"):
        if n < RESAMPLED_FROM:
            error = gain.std(1, ddof=1) / math.sqrt(n)
            p = 2 * stats.t.sf(np.abs(gain.mean(1)) / error, n - 1)
        else:
            signs = all_signs(n) if n <= ENUMERATED else rng.integers(0, 2, (FLIPS, n)) * 2.0 - 1
            p = np.empty(len(gain))
            for at in range(0, len(gain), 250):
                part = gain[at : at + 250]
                seen = np.abs(part.sum(1)) - 1e-12 * np.abs(part).sum(1)
                hits = (np.abs(signs @ part.T) >= seen).sum(0)
                p[at : at + 250] = hits / len(signs) if n <= ENUMERATED else (1 + hits) / (1 + FLIPS)
    return np.where(lost, 1.0, p)


def sign_p(a: Floats, b: Floats) -> Floats:
    """The sign test of pairs in which some seed diverged; it loses."""
    sign = np.where(np.isnan(a) | np.isnan(b), np.isnan(a) * 1.0 - np.isnan(b) * 1.0, np.sign(np.nan_to_num(b - a)))
    wins, losses = (sign < 0).sum(1), (sign > 0).sum(1)
    return np.array(
        [stats.binomtest(int(w), int(w + x)).pvalue if w + x else 1.0 for w, x in zip(wins, losses, strict=True)]
    )


def pair_p(a: Floats, b: Floats, rng: np.random.Generator) -> Floats:
    """p of each study of two models."""
    p, lost = p_values(b - a, rng), (np.isnan(a) | np.isnan(b)).any(1)
    p[lost] = sign_p(a[lost], b[lost])
    return p


def false_verdicts() -> list[dict[str, object]]:
    """Of equal models, the share of studies with a verdict: of a pair, and of any of the six pairs of four models."""
    rows = []
    for noise, draw in NOISES.items():
        for n in (5, 10, 20):
            rng = np.random.default_rng(n)
            models = rng.normal(size=(STUDIES, 1, n)) + draw(rng, (STUDIES, 4, n))
            p = np.array([pair_p(models[:, i], models[:, j], rng) for i in range(4) for j in range(i)])
            share, family = float((p[0] <= 0.05).mean()), float((6 * p.min(0) <= 0.05).mean())
            rows.append({"noise": noise, "seeds": n, "pair": share, "family": family})
    # Not exchangeable: the difference itself is skewed, with mean zero. No test of the mean is exact then.
    for n in (5, 10, 20):
        rng = np.random.default_rng(n)
        gain = np.exp(rng.normal(size=(STUDIES, n))) - math.exp(0.5)
        rows.append(
            {"noise": "a skewed difference of mean zero", "seeds": n, "pair": float((p_values(gain, rng) <= 0.05).mean())}
        )
    return rows


def bounds(x: Floats, rng: np.random.Generator) -> dict[str, tuple[Floats, Floats]]:
    """95 % intervals of each study's mean, ``[studies, seeds]``, by every method."""
    n, mean, error = x.shape[1], x.mean(1), x.std(1, ddof=1) / math.sqrt(x.shape[1])
    t = float(stats.t.ppf(0.975, n - 1))
    picks = rng.integers(0, n, (RESAMPLES, n))
    drawn = x[:, picks]
    means, errors = drawn.mean(2), drawn.std(2, ddof=1) / math.sqrt(n)
    ordered = np.sort(means, 1)

    def at(level: Floats) -> Floats:
        place = np.clip(level, 0, 1) * (RESAMPLES - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, RESAMPLES - 1)
        rows = np.arange(len(x))
        return ordered[rows, low] + (place - low) * (ordered[rows, high] - ordered[rows, low])

    share = ((means < mean[:, None]).mean(1) + (means <= mean[:, None]).mean(1)) / 2
    shift = stats.norm.ppf(np.clip(share, 0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES))
    away = mean[:, None] - (x.sum(1, keepdims=True) - x) / (n - 1)
    lean = (away**3).sum(1) / (6 * np.maximum((away**2).sum(1), 1e-300) ** 1.5)

    def bca(end: float) -> tuple[Floats, Floats]:
        ends = (shift - end, shift + end)
        low, high = (at(stats.norm.cdf(shift + e / (1 - lean * e))) for e in ends)
        return low, high

    ratio = np.sort(np.where(errors > 0, (means - mean[:, None]) / np.where(errors > 0, errors, 1), 0.0), 1)
    quantile = lambda q: ratio[:, round(q * (RESAMPLES - 1))]
    return {
        "student": (mean - t * error, mean + t * error),
        "percentile": (at(np.full(len(x), 0.025)), at(np.full(len(x), 0.975))),
        "bca": bca(float(stats.norm.ppf(0.975))),
        "bca widened": bca(math.sqrt(n / (n - 1)) * t),
        "bootstrap-t": (mean - quantile(0.975) * error, mean - quantile(0.025) * error),
    }


def coverage() -> list[dict[str, object]]:
    """Share of studies whose interval holds the mean, and share of those that leave the range of their data."""
    rows = []
    for shape, (draw, truth) in SHAPES.items():
        for n in (3, 5, 10, 20, 50):
            rng = np.random.default_rng(n)
            held: dict[str, int] = dict.fromkeys(METHODS, 0)
            out: dict[str, int] = dict.fromkeys(METHODS, 0)
            for _ in range(COVERED // 100):
                x = draw(rng, (100, n))
                for method, (low, high) in bounds(x, rng).items():
                    held[method] += int(((low <= truth) & (truth <= high)).sum())
                    out[method] += int(((low < x.min(1)) | (high > x.max(1))).sum())
            rows.append(
                {
                    "shape": shape,
                    "seeds": n,
                    "covers": {method: held[method] / COVERED for method in METHODS},
                    "leaves": {method: out[method] / COVERED for method in METHODS},
                }
            )
    return rows


HEAD = """# Statistics

How Seedbed says which differences are real, and what that was measured to be worth. The simulations are
`benchmarks/judge.py`, their numbers `results/judge/simulations.json`.

*A verdict* compares two models seed by seed. Below 10 shared seeds by a paired t-test, from 10 by flipping signs (all of
them up to 14, 9,999 at random beyond), above 1,000 by the t-test again; where a seed diverged by a sign test, in which such
a seed has lost. All pairs of one data set and metric are one family, corrected by Holm. *Better* needs the test and the 95
% interval of the mean difference to agree. With `--at-least D` two models may be *the same within D*: two tests of one
side, corrected together with the others by Shaffer, since a pair cannot be equal and D apart at once.

*An interval* of a mean over seeds is Student's below 10; from 10 percentiles of the bootstrap, corrected for bias and
acceleration and widened to Student's (Hesterberg, 2015, arXiv 1411.5279); above 1,000 Student's again. It is cut where the
metric ends. Below, how often a 95 % interval covers: the widened one does so like Student's where values are normal and
more often where they are skewed; the studentised bootstrap covers a little more still, but leaves the range of ten seeds in
up to four studies of ten.

*Views* (`--more`, and on the page): the chance that one seed each names the wrong winner, what pairing buys, almost
stochastic order, the probability of improvement and of being best; over several data sets the interquartile mean and
performance profiles with their bands. They are held to rliable, statsmodels, pingouin, SciPy and deepsig themselves:
`tests/judge/parity` has what those say of random tables, and the script that asked them.

"""


def page(found: Mapping[str, list[dict[str, object]]]) -> str:
    """The numbers as Markdown."""
    error = 2 * math.sqrt(0.05 * 0.95 / STUDIES)
    lines = [HEAD, "## False verdicts\n"]
    lines.append(
        f"Equal models, {STUDIES:,} studies a cell: share with a verdict of a pair, and with any among the six of four "
        f"models. A share of 0.05 is measured to {error:.3f}.\n"
    )
    lines += ["| noise | seeds | a pair | a family of six |", "|---|--:|--:|--:|"]
    for row in found["false verdicts"]:
        family = f"{row['family']:.3f}" if "family" in row else ""
        lines.append(f"| {row['noise']} | {row['seeds']} | {row['pair']:.3f} | {family} |")
    lines.append(
        "\nThe last rows are no null hypothesis of these tests: the two models differ in shape, by a mean of zero.\n"
    )
    lines.append("## Coverage of 95 % intervals\n")
    lines.append(f"{COVERED:,} studies a cell; in parentheses the share of intervals that leave the range of the values.\n")
    lines += [f"| values | seeds | {' | '.join(METHODS)} |", "|---|--:|" + "--:|" * len(METHODS)]
    for row in found["coverage"]:
        covers, leaves = row["covers"], row["leaves"]
        assert isinstance(covers, dict) and isinstance(leaves, dict)
        cells = " | ".join(f"{covers[m]:.3f} ({leaves[m]:.2f})" for m in METHODS)
        lines.append(f"| {row['shape']} | {row['seeds']} | {cells} |")
    return "\n".join(lines) + "\n"


def main(target: Path, text: Path) -> None:
    """Simulate, and write numbers and page."""
    began = time.perf_counter()
    found: dict[str, list[dict[str, object]]] = {"false verdicts": false_verdicts(), "coverage": coverage()}
    about = {"processor": processor() or platform.machine(), "seconds": round(time.perf_counter() - began)}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"about": about, **found}, indent=1) + "\n", encoding="utf-8")
    text.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
