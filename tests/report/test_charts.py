"""Charts as values: what is drawn, where both surfaces put it, and that they draw the same."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from seedbed.core.metric import DEAD_BELOW
from seedbed.report.charts import LOSSES, Axis, Chart, Mark, Series, bar_charts
from seedbed.report.curves import Scale
from seedbed.report.document import compose
from seedbed.report.figures import draw, house_style, new_figure
from seedbed.report.html import render
from seedbed.report.plates import plate
from seedbed.report.stored import StoredRun
from seedbed.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, svg
from seedbed.report.tables import Table
from seedbed.store.table import Row

COLOUR = {"a": 0, "b": 1, "lost": 2}


def table(metric, values):
    """A convergence table of models ``{label: (min, last, first, max, exceeds)}``, standard deviations a tenth of them."""
    raw = [
        {"data": "rings", "model": label, "metric": metric, "quantity": name, "mean": mean, "std": mean / 10}
        for label, row in values.items()
        for name, mean in zip((*LOSSES, "exceeds"), row, strict=True)
    ]
    return Table("convergence", "", [], [["x"]], raw)


def bars(chart, label):
    """Feet and tops of one model's bars, from left to right, and what its note says."""
    (one,) = [one for one in chart.series if one.label == label]
    found = [mark.points[:2, 1] for mark in one.marks if mark.role == "bar"]
    return np.array(found).T, [mark.text for mark in one.marks if mark.role == "note"]


def test_bars_of_nats_start_at_zero_and_are_as_high_as_their_means():
    (chart,) = bar_charts(table("neg_elbo_nats", {"a": (80, 90, 100, 200, 3), "b": (40, 45, 50, 100, 0)}), COLOUR)
    assert chart.x.names == (*LOSSES, "exceeds") and chart.y.scale.low == 0.0
    (feet, tops), note = bars(chart, "a")
    assert feet.tolist() == [0.0] * 5 and tops[:4].tolist() == [80, 90, 100, 200] and note == ["3"]
    # The count has a scale of its own, whose end is 15 % above the largest.
    assert tops[4] == pytest.approx(chart.y.scale.high / 1.15)
    (feet, tops), note = bars(chart, "b")
    assert tops.tolist() == [40, 45, 50, 100, 0] and note == ["0"]
    stds = [mark.points[:, 1].tolist() for mark in chart.series[0].marks if mark.role == "std"]
    assert stds == [[72, 88], [81, 99], [90, 110], [180, 220]]
    assert chart.y.scale.high == pytest.approx(1.05 * 220)
    # No bar covers another one.
    spans = sorted((m.points[0, 0], m.points[2, 0]) for one in chart.series for m in one.marks if m.role == "bar")
    assert all(right <= left + 1e-9 for (_, right), (left, _) in pairwise(spans))


def test_gaps_have_a_logarithmic_axis():
    (chart,) = bar_charts(table("gap_nats", {"a": (0.01, 0.01, 0.1, 1.0, 0), "b": (0.1, 0.1, 1.0, 10.0, 0)}), COLOUR)
    low, high = chart.y.scale.low, chart.y.scale.high
    assert chart.y.scale.log and low < 0.01 and chart.y.title == "gap_nats (log)"
    (feet, tops), _ = bars(chart, "a")
    assert feet.tolist() == [low] * 5 and tops[4] == pytest.approx(low) and high > 10


@pytest.mark.parametrize(("worst", "shown"), [(1e18, LOSSES[:3]), (300.0, LOSSES)])
def test_a_largest_loss_that_dwarfs_the_others_is_left_out(worst, shown):
    (chart,) = bar_charts(table("neg_elbo_nats", {"a": (80, 90, 100, worst, 0)}), COLOUR)
    assert chart.x.names == (*shown, "exceeds")


def test_models_without_a_finite_loss_are_not_drawn():
    nan = float("nan")
    (chart,) = bar_charts(table("neg_elbo_nats", {"a": (80, 90, 100, 200, 3), "lost": (nan,) * 5}), COLOUR)
    assert chart.labels == [("a", 0)]
    assert bar_charts(table("neg_elbo_nats", {"lost": (nan,) * 5}), COLOUR) == []


def chart_of(log, names=()):
    """Two models with a line each; on lines that have names, the second lost two seeds."""
    line = np.array([[2.0, 1.0], [4.0, 10.0], [8.0, 100.0]]) if not names else np.array([[2.0, 0.0], [8.0, 0.0]])
    y = Axis.named(names, beside=["", "2 diverged"]) if names else Axis.of("loss", Scale(0.5, 200.0, log))
    series = (
        Series("a<b", 0, (Mark("mid", line),)),
        Series("c", 8, (Mark("seed lost", line + np.array([0.0, 1.0]), "seed 1"),)),
    )
    return Chart("intervals" if names else "curves", "rings", "said", Axis.of("step", Scale(0.0, 10.0, False)), y, series)


@pytest.mark.parametrize("log", [False, True])
def test_both_surfaces_put_a_point_where_its_values_are(log):
    chart = chart_of(log)
    text = svg(chart)
    place = (lambda v: np.log(v / 0.5) / np.log(400)) if log else (lambda v: (v - 0.5) / 199.5)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    moves = np.array(re.findall(r"-?\d+", re.search(r'class="mid" d="([^"]*)"', text)[1]), int).reshape(-1, 2).cumsum(0)
    true = np.stack([np.array([2, 4, 8]) * wide, (1 - place(np.array([1.0, 10.0, 100.0]))) * tall * 10], 1)
    assert np.abs(moves - true).max() <= 0.5
    assert 'data-run="a&lt;b"' in text and 'class="run c1 again"' in text and "<title>seed 1</title>" in text
    with house_style():
        figure = new_figure(3, 2)
        axis = figure.subplots()
        draw(axis, chart)
        figure.canvas.draw()
        line = axis.lines[0]
        shown = axis.transAxes.inverted().transform(axis.transData.transform(line.get_xydata()))
    assert shown == pytest.approx(np.stack([[0.2, 0.4, 0.8], place(np.array([1.0, 10.0, 100.0]))], 1), abs=1e-6)
    assert axis.lines[0].get_label() == "a<b" and axis.get_yscale() == ("log" if log else "linear")


def test_lines_with_names_count_downwards_on_both_surfaces():
    chart = chart_of(False, ("a<b", "c"))
    text = svg(chart)
    ys = [int(re.search(rf'class="{role}" d="M\d+ (\d+)', text)[1]) for role in ("mid", "seed lost")]
    assert ys == [130, 390] and ">2 diverged</text>" in text and ">a&lt;b</text>" in text
    moved = chart.on_lines(("c", "other", "a<b"))
    assert [mark.points[0, 1] for one in moved.series for mark in one.marks] == [2.0, 0.0]
    assert moved.y.beside == ("2 diverged", "", "")
    with house_style():
        axis = plate([chart, chart_of(False, ("a<b", "c"))]).axes[0]
    assert axis.get_ylim() == (1.5, -0.5) and [text.get_text() for text in axis.texts] == ["", "2 diverged"]


def test_profiles_over_data_sets(study):
    """Levels 0.03 to 0.3 on two data sets: flow loses a seed on one of them, so all are compared on five."""
    found = compose([StoredRun.read(path.parent) for path in study.rglob("run.json")])
    (chart,) = found.charts["profiles"]
    assert [label for label, _ in chart.labels][:2] == ["spline-flow", "flow"] and chart.task == "all 2 data sets"
    for one in chart.series:
        (line,) = [mark.points for mark in one.marks if mark.role == "mid"]
        (band,) = [mark.points for mark in one.marks if mark.role == "band"]
        assert (np.diff(line[:, 1]) >= 0).all() and line[-1, 1] == 1.0  # a larger loss is beaten more often
        assert (band[: len(line), 1] >= line[:, 1] - 1e-9).all()
    raw = found.tables["profiles"].raw
    best, worst = ([row["share_better"] for row in raw if row["model"] == name] for name in ("spline-flow", "lvae"))
    assert all(a >= b for a, b in zip(best, worst, strict=True)) and best[-1] == 1.0 and worst[0] == 0.0
    values = [row["value"] for row in raw if row["model"] == "lvae"]
    assert values == sorted(values) and len(values) == 9
    assert "Performance profiles" in render(found)


# ------------------------------------------------------------------------------------------------- players, bits and chains


def bits_run(root, write, name="bits", level=90.0, **what):
    """A run of two layers of two and three bits, whose encoder has a loss of its own, with chains that were looked at."""
    folder = write(root, name, level, metric="neg_elbo_nats", arrays=False, **what)
    rows = [row for row in folder.rows() if row.split == "valid"]
    valid = {"encoder_loss_nats": 0.2, "information_nats": 0.1, "information_z1_nats": 0.04, "information_z2_nats": 0.06}
    seeds = folder.manifest().seeds
    folder.table(seeds).append(
        [replace(row, metric=metric, value=share * row.value) for metric, share in valid.items() for row in rows]
    )
    row = lambda seed, split, metric, value: Row(seed, 1000, split, metric, value, "nats", 50, 0.0, 11.0)
    told = {"z1": [0.002, 0.5], "z2": [0.3, 0.0, 0.6]}
    fed = {"z1": [0.0, 0.0], "z2": [0.1, 0.2, 0.004]}
    units = [
        row(seed, "test/units", f"{metric}_{layer}_{bit}_nats", nats * (1 + 0.1 * seed))
        for seed in seeds
        for layer in ("z1", "z2")
        for metric, values in (("information", told), ("fed", fed))
        for bit, nats in enumerate(values[layer])
    ]
    folder.evaluation("bits-test").append(units)
    along = {1: 100.0, 3: 60.0, 10: 30.0}
    name = "fid_after{n}@net:limiting10:mode"
    chains = [row(seed, "test/along", name.format(n=n), fid + seed) for seed in seeds for n, fid in along.items()]
    chains += [row(seed, "test/along", "fid_after1@other:limiting1", 7.0) for seed in seeds]
    folder.evaluation("a-fid").append(chains[-len(seeds) :])
    folder.evaluation("fid-test").append(chains[: -len(seeds)])
    return StoredRun.read(folder.path)


def test_losses_of_both_players_stand_side_by_side_and_once(tmp_path, write):
    found = compose([bits_run(tmp_path, write), StoredRun.read(write(tmp_path, "vae", 95.0, metric="neg_elbo_nats").path)])
    charts = found.charts
    assert [(chart.y.title, [label for label, _ in chart.labels]) for chart in charts["players-steps"]] == [
        ("neg_elbo_nats", ["bits", "vae"]),
        ("encoder_loss_nats", ["bits"]),
    ]
    titles = [chart.y.title.removesuffix(" (log)") for chart in charts["information-time"]]
    assert titles == ["information_nats", "information_z1_nats", "information_z2_nats"]
    assert charts["information-steps"][0].seeds == 6 and charts["information-steps"][0].along == "step"
    assert charts["curves-steps"] == charts["curves-time"] == []  # its only curve stands beside the encoder's
    page = render(found)
    assert "Losses of both players" in page and "What bits tell of x" in page and page.count('class="curves by-step"') == 5
    figure = plate(charts["players-steps"])
    assert [axis.get_ylabel() for axis in figure.axes] == ["neg_elbo_nats", "encoder_loss_nats"]
    alone = compose([StoredRun.read(write(tmp_path, "flow", 80.0, metric="neg_elbo_nats").path)])
    assert (
        alone.charts["players-steps"] == alone.charts["information-steps"] == [] and len(alone.charts["curves-steps"]) == 1
    )
    assert "both players" not in render(alone)


def test_bits_stand_in_the_order_of_what_they_tell(tmp_path, write):
    run = bits_run(tmp_path, write, lost=(4,))
    assert list(run.bits) == [("z1", "q"), ("z1", "p"), ("z2", "q"), ("z2", "p")]
    assert run.bits["z2", "q"].loc[2].tolist() == pytest.approx([0.36, 0.0, 0.72])
    found = compose([run])
    charts = found.charts["bits"]
    # Of the top layer nothing is told from above.
    assert [chart.x.title for chart in charts] == ["bits of z1 under q", "bits of z2 under q", "bits of z2 under p"]
    lines = [mark.points for mark in charts[1].series[0].marks if mark.role == "seed"]
    assert len(lines) == 5  # without the lost seed
    assert lines[1][:, 0].tolist() == [1, 2, 3] and lines[1][:, 1].tolist() == pytest.approx([0.66, 0.33, 0.0])
    (mid,) = [mark.points for mark in charts[1].series[0].marks if mark.role == "mid"]
    assert mid[:, 1].tolist() == pytest.approx([0.6 * 1.22, 0.3 * 1.22, 0.0])  # seeds 0, 1, 2, 3 and 5
    assert "1.098 nats in all, 1 of 3 bits dead" in charts[1].words
    page = render(found)
    assert "What each bit tells" in page and page.count("dead below 0.01</text>") == 3


def test_both_surfaces_put_a_level_where_its_value_is(tmp_path, write):
    chart = compose([bits_run(tmp_path, write)]).charts["bits"][0]
    low, high = chart.y.scale.low, chart.y.scale.high
    share = np.log(DEAD_BELOW / low) / np.log(high / low)
    place = float(re.search(r'class="level" d="M\d+ ([\d.]+)h', svg(chart))[1])
    assert place == pytest.approx(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), abs=0.1)
    with house_style():
        axis = new_figure(3, 2).subplots()
        draw(axis, chart)
        (line,) = [line for line in axis.lines if line.get_linestyle() == ":"]
        shown = axis.transAxes.inverted().transform(axis.transData.transform((1.0, line.get_ydata()[0])))
    assert shown[1] == pytest.approx(share, abs=1e-6) and axis.texts[0].get_text() == "dead below 0.01"


def test_the_energy_along_walks_is_that_of_each_leapfrog(tmp_path, write):
    folder = write(tmp_path, "walker", 90.0, metric="neg_elbo_nats", arrays=False, lost=(4,))
    row = lambda seed, n, value: Row(
        seed, 1000, "test/along", f"energy_error_after{n}_nats", value + 0.01 * seed, "nats", 50, 0.0, 11.0
    )
    along = {1: 0.1, 2: 0.3, 3: 0.2}
    seeds = folder.manifest().seeds
    folder.evaluation("trajectory-test").append([row(seed, n, value) for seed in seeds for n, value in along.items()])
    run = StoredRun.read(folder.path)
    assert list(run.by_leapfrog) == [1, 2, 3] and list(run.by_leapfrog[2].index) == [0, 1, 2, 3, 5] and not run.by_step
    found = compose([run, StoredRun.read(write(tmp_path, "vae", 95.0, metric="neg_elbo_nats").path)])
    (chart,) = found.charts["energy-along-walks"]
    (mid,) = [mark.points for mark in chart.series[0].marks if mark.role == "mid"]
    assert mid.tolist() == pytest.approx(np.array([[1, 0.122], [2, 0.322], [3, 0.222]]))
    assert "The energy along walks in z" in render(found) and not found.charts["fid-along-chains"]


def test_the_distance_along_chains_is_that_of_the_last_network_with_intervals(tmp_path, write):
    run = bits_run(tmp_path, write, lost=(4,))
    assert list(run.by_step) == [1, 3, 10] and run.by_step[3].to_dict() == {0: 60, 1: 61, 2: 62, 3: 63, 5: 65}
    found = compose([run, StoredRun.read(write(tmp_path, "vae", 95.0, metric="neg_elbo_nats").path)])
    (chart,) = found.charts["fid-along-chains"]
    assert chart.x.scale.log and chart.labels == [("bits", 0)]
    (band,) = [mark.points for mark in chart.series[0].marks if mark.role == "band"]
    (mid,) = [mark.points for mark in chart.series[0].marks if mark.role == "mid"]
    assert mid.tolist() == pytest.approx(np.array([[1, 102.2], [3, 62.2], [10, 32.2]]))
    half = 2.776 * np.std([0, 1, 2, 3, 5], ddof=1) / np.sqrt(5)  # Student's of five seeds
    assert band[:3, 1] == pytest.approx(mid[:, 1] + half, rel=1e-3) and band[3:, 1] == pytest.approx(
        mid[::-1, 1] - half, rel=1e-3
    )
    assert "The Frechet distance along the chain" in render(found)
    assert not any("fid_after" in metric for metric in run.judged)
