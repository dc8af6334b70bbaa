"""What a table, a figure and a record say of known numbers: intervals, errors, which way is better, which line is bold."""

import json
import math
import re

import numpy as np
import pytest
from scipy import stats

from seedbed.core.metric import declared
from seedbed.judge.intervals import Interval
from seedbed.judge.sentences import amount, sentence
from seedbed.report.charts import intervals_chart
from seedbed.report.document import compose
from seedbed.report.figures import house_style
from seedbed.report.html import render
from seedbed.report.page import page
from seedbed.report.pictures import best_seed, chosen_seeds
from seedbed.report.plates import plate
from seedbed.report.record import Measured, record
from seedbed.report.run_tables import summarise, text_table
from seedbed.report.stored import StoredRun
from seedbed.report.svg import svg
from seedbed.report.verdicts import lead, overall
from seedbed.report.words import direction, spread
from seedbed.store.table import Row

STEPS = (100, 200, 300, 400, 500, 600, 700, 1000)
HIGHER = ("precision", "recall", "density", "coverage", "recognised_share")
LOSSES = ("nll_nats", "neg_elbo_nats", "neg_iw50_nats", "gap_nats", "sw_distance", "bits_per_dim", "recall_error")
# Around zero, far from it, and around one: no bound is a natural end of any of them.
ENDS = {
    "near": [0.02, -0.03, 0.05, 0.01, -0.02, 0.04, 0.06],
    "far": [10.31, 10.12, 9.87, 10.44, 9.92, 10.2, 10.05],
    "one": [0.97, 1.02, 0.99, 0.96, 1.03, 1.01, 0.95],
}


@pytest.fixture
def ended(tmp_path, write):
    """``ended(name, values, metric)``: a run whose seeds end in known numbers, with Monte-Carlo errors .01, .02, ..."""

    def make(name, values, metric="neg_elbo_nats", fates=None, data="rings", layer=False):
        n = len(values)
        folder = write(tmp_path / "runs", name, metric=metric, seeds=n, arrays=False, data=data)
        folder.table(range(n)).path.unlink()
        better = 1.0 if metric in HIGHER else -1.0
        rows = []
        for seed, end in enumerate(values):
            # Improving by a step each time, but for the fourth, the worst but one.
            curve = [end - better * (len(STEPS) - 1 - i + 2.5 * (i == 3)) * (1 + 0.1 * seed) for i in range(len(STEPS))]
            rows += [Row(seed, s, "valid", metric, v, "nats", 50, 0.1, s / 100) for s, v in zip(STEPS, curve, strict=True)]
            fate = (fates or {}).get(seed, "finished")
            rows.append(Row(seed, 1000, "status", fate, 1000.0, "steps", 1, 0.0, 11.0))
            rows.append(Row(seed, 1000, "test", metric, end, "nats", 50, 0.01 * (seed + 1), 11.0))
            if layer:
                rows.append(Row(seed, 1000, "test", "kl_z1_nats", end / 2, "nats", 50, 0.01, 11.0))
                rows.append(Row(seed, 1000, "test", "kl_z2_nats", 1 + end, "nats", 50, 0.01, 11.0))
        folder.table(range(n)).append(rows)
        return folder

    return make


def report_of(*folders):
    return compose([StoredRun.read(folder.path) for folder in folders])


def students(values):
    """Mean and 95 % interval of fewer than ten values."""
    return np.mean(values), *stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def read_cell(text):
    """The numbers of ``m [l, h]``, and the size of their last digit."""
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?) \[(-?\d+(?:\.\d+)?), (-?\d+(?:\.\d+)?)\](?: \(\d+\))?", text)
    assert found, text
    (digits,) = {len(number.partition(".")[2]) for number in found.groups()}
    return [float(number) for number in found.groups()], 10.0**-digits


def says(cell, truth):
    """Whether a cell holds three numbers to its last digit, which is small beside the interval."""
    found, unit = read_cell(cell)
    assert unit <= max(0.25 * (truth[2] - truth[1]), 1e-4 * abs(truth[0]))
    return np.abs(np.array(found) - truth).max() <= 0.5000001 * unit


# ---------------------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("seed", range(3))
def test_an_interval_in_words_is_the_interval(seed):
    g = np.random.default_rng(seed)
    for _ in range(300):
        size = 10.0 ** g.uniform(-5, 4)
        mean, below, above = g.choice([0.0, 1.0, -1.0, 100.0]) + g.normal() * size, *g.uniform(0.2, 2, 2) * size
        truth = (mean, mean - below, mean + above)
        x = Interval(*truth, 7, "")
        assert says(spread(x), truth) and amount(x, "nats").replace(" nats", "") == spread(x)


def test_intervals_of_tables_are_students_of_the_seeds(ended):
    report = report_of(*(ended(name, values, layer=True) for name, values in ENDS.items()))
    truths = {name: students(values) for name, values in ENDS.items()}
    layers = {(name, "z1"): students(np.array(v) / 2) for name, v in ENDS.items()}
    layers |= {(name, "z2"): students(np.array(v) + 1) for name, v in ENDS.items()}
    wanted = {
        "summary": lambda row: truths[row["model"]],
        "tests": lambda row: {
            "neg_elbo_nats": truths[row["model"]],
            "kl_z1_nats": layers[row["model"], "z1"],
            "kl_z2_nats": layers[row["model"], "z2"],
        }[row["metric"]],
        "layers": lambda row: layers[row["model"], row["layer"]],
        "verdicts": lambda row: students(np.array(ENDS[row["b"]]) - ENDS[row["a"]]),
    }
    for name, truth_of in wanted.items():
        table = report.tables[name]
        column = next(i for i, head in enumerate(table.head) if head.endswith("[95 %]"))
        assert len(table.body) == len(table.raw) >= 3
        for cells, row in zip(table.body, table.raw, strict=True):
            truth = truth_of(row)
            assert (row.get("mean", row.get("gain")), row["low"], row["high"]) == pytest.approx(truth, rel=1e-9), name
            assert says(cells[column], truth), (name, cells)
    html = render(report)
    summary = report.tables["summary"]
    for row in summary.body:
        cell = row[list(summary.head).index("mean [95 %]")]
        assert f">{cell}</td>" in html
        assert all(cell in text for text in (summary.markdown(), summary.latex(), summary.text()))


@pytest.mark.parametrize("metric", ["neg_elbo_nats", "coverage"])
def test_convergence_is_that_of_each_seeds_curve(ended, metric):
    folders = [ended(name, values, metric) for name, values in ENDS.items()]
    table = report_of(*folders).tables["convergence"]
    area = lambda curve: np.trapezoid(curve, STEPS) / (STEPS[-1] - STEPS[0])
    wanted = {"min": min, "max": max, "last": lambda c: c[-1], "first": lambda c: np.mean(c[:5]), "area": area}
    for folder, name, cells in zip(folders, ENDS, sorted(table.body, key=lambda row: list(ENDS).index(row[1])), strict=True):
        curves = [[row.value for row in folder.rows() if row.seed == s and row.split == "valid"] for s in range(7)]
        for quantity, of in wanted.items():
            values = [of(curve) for curve in curves]
            row = next(r for r in table.raw if r["model"] == name and r["quantity"] == quantity)
            assert (row["mean"], row["low"], row["high"]) == pytest.approx(students(values), rel=1e-9), quantity
            assert row["std"] == pytest.approx(np.std(values))  # the source's, of the population
            assert says(cells[list(table.head).index(quantity)], students(values))


def test_intervals_of_a_run_and_of_a_record_are_the_same(ended, tmp_path):
    for name, values in ENDS.items():
        folder, (mean, low, high) = ended(name, values), students(values)
        (row,) = summarise([folder])
        assert (row.mean, row.low, row.high, row.std) == pytest.approx((mean, low, high, np.std(values, ddof=1)))
        assert amount(Interval(mean, low, high, len(values), ""), "") in re.sub(" +(?=\\[)", " ", text_table([row]))
        path = record(tmp_path / "results" / f"{name}.json", [Measured(folder, folder.rows(), "")], "laptop", {})
        (kept,) = json.loads(path.read_text())["rows"]
        assert (kept["mean"], kept["low"], kept["high"]) == pytest.approx((mean, low, high), abs=1e-6)
        assert f"| {mean:.4f} | [{low:.4f}, {high:.4f}] |" in page(path.parent)


def test_figures_draw_the_whole_interval(ended):
    """Of three seeds, whose interval reaches beyond them."""
    few = {name: values[:3] for name, values in ENDS.items() if name != "far"}
    family = report_of(*(ended(name, values) for name, values in few.items())).families[0]
    colour = {name: i for i, name in enumerate(few)}
    chart = intervals_chart(family, colour)
    groups = re.findall(r'<g class="run[^>]*>(.*?)</g>', svg(chart))
    with house_style():
        figure = plate([chart])
    for run, group in zip(family.ranked, groups, strict=True):
        _, low, high = students(few[run.label])
        dots = [float(x) for x in re.findall(r"M(-?\d+) ", re.search(r'class="dot" d="([^"]+)"', group)[1])]
        per_unit, zero = np.polyfit(few[run.label], dots, 1)
        start, length = map(float, re.search(r'class="ci" d="M(-?\d+) \d+l(\d+) 0"', group).groups())
        assert 0 <= start < start + length <= 10 * 460
        # Coordinates are rounded to whole tenths.
        assert [start, start + length] == pytest.approx([zero + per_unit * low, zero + per_unit * high], abs=4)
        lines = [line.get_xdata() for line in figure.axes[0].lines]
        assert any(len(line) == 2 and np.allclose(line, (low, high)) for line in lines)
        left, right = figure.axes[0].get_xlim()
        assert left <= low and high <= right


# ---------------------------------------------------------------------------------------------------- Monte-Carlo and spread


def test_a_monte_carlo_error_is_the_mean_of_the_seeds_and_not_divided_by_their_root(ended, tmp_path):
    """All seeds are evaluated on the same examples: a luckier test set moves them together. Lost seeds have no part."""
    fates = {0: "diverged", 5: "worse_than_baseline"}
    folder, other = ended("near", ENDS["near"], fates=fates), ended("far", ENDS["far"])
    report = report_of(folder, other)
    errors = {"near": np.mean([0.02, 0.03, 0.04, 0.05, 0.07]), "far": 0.04}
    deviations = {"near": np.std(np.delete(ENDS["near"], [0, 5]), ddof=1), "far": np.std(ENDS["far"], ddof=1)}
    for name in ("summary", "tests"):
        table = report.tables[name]
        for cells, row in zip(table.body, table.raw, strict=True):
            assert (row["mc_se"], row["std"]) == pytest.approx((errors[row["model"]], deviations[row["model"]]))
            shown = [float(cells[list(table.head).index(column)]) for column in ("MC error", "std")]
            assert shown == pytest.approx([row["mc_se"], row["std"]], rel=0.05)
            assert row["diverged"] == (2 if row["model"] == "near" else 0)
    path = record(tmp_path / "r" / "r.json", [Measured(folder, folder.rows(), "")], "laptop", {})
    (row,) = json.loads(path.read_text())["rows"]
    assert (row["mc_se"], row["std"]) == pytest.approx((errors["near"], deviations["near"]), abs=1e-6)


# ------------------------------------------------------------------------------------------------------- which way is better


def test_measures_of_quality_are_better_when_higher_and_all_else_is_a_loss():
    """Kynkaanniemi et al. 2019 (arXiv 1904.06991); Naeem et al. 2020 (arXiv 2002.09797)."""
    for metrics, better in ((HIGHER, "higher"), (LOSSES, "lower")):
        for metric in metrics:
            for name in (metric, f"{metric}@5"):
                assert declared(name).better == better and direction(declared(name)) == f"{better} is better"


@pytest.mark.parametrize("metric", ["coverage", "recognised_share", "neg_elbo_nats", "gap_nats"])
def test_the_better_model_is_first_bold_and_said_to_win(ended, metric, tmp_path):
    """Levels 1, 2, 3: the best is the highest or the lowest, on every page."""
    levels = {name: place + np.array(ENDS["near"]) for place, name in enumerate(("one", "two", "three"), 1)}
    folders = {name: ended(name, values, metric) for name, values in levels.items()}
    folders |= {f"{name}-moons": ended(name, values, metric, data="moons") for name, values in levels.items()}
    report = report_of(*folders.values())
    order = ["three", "two", "one"] if metric in HIGHER else ["one", "two", "three"]
    best, way = order[0], "higher is better" if metric in HIGHER else "lower is better"
    for family in report.families:
        assert [run.label for run in family.ranked] == order
        assert lead(family).startswith(f"{best} is best on {family.group.task}, ")
        for v in family.verdicts:
            assert order.index(v.name_a) < order.index(v.name_b) and v.outcome == "better" and v.wins == v.n == 7
            assert v.gain.mean == pytest.approx(order.index(v.name_b) - order.index(v.name_a)) and v.gain.low > 0
            assert sentence(v).startswith(f"{v.name_a} beats {v.name_b}") and v.improvement == 1.0
        assert best_seed(family.ranked[0], metric) == (6 if metric in HIGHER else 1)
        ranked = sorted(range(7), key=lambda s: ENDS["near"][s], reverse=metric in HIGHER)
        chosen = {f"best (seed {ranked[0]})", f"median (seed {ranked[3]})", f"worst (seed {ranked[6]})"}
        assert set(chosen_seeds(family.ranked[0], metric).values()) == chosen
        assert way in svg(intervals_chart(family, report.colour))
    assert overall(report.families).startswith(f"Over 2 data sets: {best} is best on all 2")
    assert [row[:5] for row in report.tables["across"].body[:1]] == [[best, order[2], "2", "0", "0"]]
    assert all(way in report.tables[name].caption for name in ("summary", "verdicts", "seeds"))
    summary = report.tables["summary"]
    assert [summary.body[line][1] for line in summary.strong] == [best, best]
    assert [summary.body[line][0] for line in summary.strong] == ["rings", "moons"]
    bold = [line for line in summary.markdown().splitlines() if line.startswith("|") and "**" in line]
    assert len(bold) == 2 and all(f"| **{best}** |" in line for line in bold)
    assert re.findall(r"\\textbf\{(\w+)\} & \\textbf\{[-.\d]+ \[", summary.latex()) == [best, best]
    strong = re.findall(r'<tr class="strong"><td class="w">(\w+)</td>', render(report))
    assert strong == [best, best]
    folder = folders[best]
    path = record(tmp_path / "r" / "r.json", [Measured(folder, folder.rows(), "")], "laptop", {})
    (row,) = json.loads(path.read_text())["rows"]
    of = max if metric in HIGHER else min
    curves = [[r.value for r in folder.rows() if r.seed == s and r.split == "valid"] for s in range(7)]
    assert row["valid_best"] == pytest.approx(np.mean([of(curve) for curve in curves]), abs=1e-6)
    assert row["valid_last"] == pytest.approx(np.mean([curve[-1] for curve in curves]), abs=1e-6)


def test_alone_no_line_is_bold(ended):
    table = report_of(ended("near", ENDS["near"])).tables["summary"]
    assert not table.strong and "**" not in table.markdown() and "textbf" not in table.latex()


def test_a_model_without_a_sound_seed_is_last_and_never_bold(ended):
    for metric in ("coverage", "neg_elbo_nats"):
        lost = ended(f"{metric}-lost", [0.5] * 6, metric, dict.fromkeys(range(6), "diverged"))
        sound = [ended(f"{metric}-{i}", i + np.array(ENDS["one"][:6]), metric) for i in range(2)]
        report = report_of(lost, *sound)
        summary = report.tables["summary"]
        assert report.families[0].ranked[-1].label == f"{metric}-lost" and len(summary.strong) == 1
        assert summary.body[summary.strong[0]][1] == f"{metric}-{int(metric == 'coverage')}"
        assert math.isnan(summary.raw[-1]["mean"]) and math.isnan(summary.raw[-1]["mc_se"])
