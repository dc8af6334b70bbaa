"""The bar charts of convergence metrics: what is drawn, and how high."""

import re

import numpy as np
import pytest

from seedbed.report.bars import LOSSES, bar_charts
from seedbed.report.svg import HEIGHT, bars_svg
from seedbed.report.tables import Table

COLOUR = {"a": 0, "b": 1, "lost": 2}


def table(metric, values):
    """A convergence table of models ``{label: (min, last, first, max, exceeds)}``, standard deviations a tenth of them."""
    raw = [
        {"data": "rings", "model": label, "metric": metric, "quantity": name, "mean": mean, "std": mean / 10}
        for label, row in values.items()
        for name, mean in zip((*LOSSES, "exceeds"), row, strict=True)
    ]
    return Table("convergence", "", [], [["x"]], raw)


def heights(svg, label):
    """Of one model's bars, from left to right."""
    (group,) = re.findall(rf'data-run="{label}">(.*?)</g>', svg)
    return [float(a) - float(b) for a, b in re.findall(r'class="bar" d="M[\d.]+ ([\d.]+)V([\d.]+)h', group)]


def test_bars_of_nats_start_at_zero_and_are_as_high_as_their_means():
    (chart,) = bar_charts(table("neg_elbo_nats", {"a": (80, 90, 100, 200, 3), "b": (40, 45, 50, 100, 0)}))
    assert chart.losses == LOSSES and chart.base == chart.scale.low == 0.0
    svg = bars_svg(chart, COLOUR)
    a, b = heights(svg, "a"), heights(svg, "b")
    assert np.allclose(np.array(a[:4]) / a[0], [1, 90 / 80, 100 / 80, 200 / 80], rtol=5e-3)
    assert np.allclose(b[:4], np.array(a[:4]) / 2, atol=0.2)
    assert b[4] == 0 < a[4] < HEIGHT
    assert re.findall(r">(\d+)</text></g>", svg) == ["3", "0"]  # the counts stand above their bars


def test_gaps_have_a_logarithmic_axis():
    (chart,) = bar_charts(table("gap_nats", {"a": (0.01, 0.01, 0.1, 1.0, 0), "b": (0.1, 0.1, 1.0, 10.0, 0)}))
    assert chart.scale.log and chart.base == chart.scale.low < 0.01
    a, b = (heights(bars_svg(chart, COLOUR), label) for label in "ab")
    steps = [a[2] - a[1], a[3] - a[2], b[2] - b[1], b[3] - b[2]]
    assert np.allclose(steps, steps[0], atol=0.3) and steps[0] > 20


@pytest.mark.parametrize(("worst", "shown"), [(1e18, LOSSES[:3]), (300.0, LOSSES)])
def test_a_largest_loss_that_dwarfs_the_others_is_left_out(worst, shown):
    (chart,) = bar_charts(table("neg_elbo_nats", {"a": (80, 90, 100, worst, 0)}))
    assert chart.losses == shown and chart.means.shape == (len(shown), 1)


def test_models_without_a_finite_loss_are_not_drawn():
    nan = float("nan")
    (chart,) = bar_charts(table("neg_elbo_nats", {"a": (80, 90, 100, 200, 3), "lost": (nan,) * 5}))
    assert chart.labels == ("a",)
    assert bar_charts(table("neg_elbo_nats", {"lost": (nan,) * 5})) == []
