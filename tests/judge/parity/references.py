"""What other people's libraries say of random tables: writes ``references.json``, which ``test_parity.py`` holds us to.

Run by hand, in an environment that has them: ``pip install rliable statsmodels pingouin scipy`` and, without what it needs
for other things than numbers, ``pip install --no-deps deepsig`` with ``dill joblib tqdm psutil``.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pingouin
from rliable import library, metrics
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

SHAPES = {
    "normal": lambda g, size: g.normal(size=size),
    "skewed": lambda g, size: g.lognormal(size=size),
    "two-peaked": lambda g, size: g.normal(size=size) + 4 * (g.random(size) < 0.4),
    "tied": lambda g, size: np.round(g.normal(size=size)),
}


def table(g: np.random.Generator, shape: str, tasks: int, seeds: int) -> dict:
    """One random table of two models, ``[tasks, seeds]``, and what each library says of it."""
    a, b = (np.round(SHAPES[shape](g, (tasks, seeds)) + shift, 4) for shift in (0.3, 0.0))
    thresholds = np.linspace(-2, 3, 11)
    profiles, _ = library.create_performance_profile({"a": a.T}, thresholds, reps=10)
    one, other = a[0], b[0]
    margin = 1.5
    p_same, *_ = ttost_paired(one, other, -margin, margin)
    ours = {
        "iqm": metrics.aggregate_iqm(a.T),
        "improvement": metrics.probability_of_improvement(a.T, b.T),
        "thresholds": thresholds.tolist(),
        "profile": profiles["a"].tolist(),
        "margin": margin,
        "p_same": float(p_same),
        "p_same_pingouin": float(pingouin.tost(one, other, bound=margin, paired=True)["pval"].iloc[0]),
        "p_paired": float(stats.ttest_rel(one, other).pvalue),
        "correlation": float(stats.pearsonr(one, other).statistic) if np.ptp(one) and np.ptp(other) else None,
    }
    p_values = np.round(g.random(6) ** 3, 5)
    ours |= {"p_values": p_values.tolist(), "holm": multipletests(p_values, method="holm")[1].tolist()}
    effect = float(np.round(g.uniform(0.5, 2), 2))
    power = TTestPower().solve_power(effect_size=effect, power=0.8, alpha=0.05, alternative="two-sided")
    ours |= {"effect": effect, "pairs_needed": float(np.squeeze(power))}
    return {"shape": shape, "a": a.tolist(), "b": b.tolist(), **ours}


def violations(g: np.random.Generator) -> list[dict]:
    """Almost stochastic order: the violation of two samples on deepsig's grid of quantiles, and its bound."""
    from deepsig.aso import aso, compute_violation_ratio

    found = []
    for shift in (0.0, 0.3, 1.0, -0.5):
        a, b = np.round(g.normal(size=20) + shift, 4), np.round(1.5 * g.normal(size=20), 4)
        seen = compute_violation_ratio(a, b, dt=0.0005)
        bound = aso(a, b, confidence_level=0.95, num_bootstrap_iterations=4000, show_progress=False, seed=1)
        found.append({"a": a.tolist(), "b": b.tolist(), "violation": float(seen), "bound": float(bound)})
    return found


def main() -> None:
    """Write the file."""
    g = np.random.default_rng(17)
    tables = [table(g, shape, tasks, seeds) for shape in SHAPES for tasks, seeds in ((1, 5), (4, 7), (9, 20))]
    names = ("rliable", "statsmodels", "pingouin", "scipy", "deepsig")
    content = {"versions": {name: version(name) for name in names}, "tables": tables, "orders": violations(g)}
    Path(__file__).with_name("references.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
