"""Values against a whole number: what grows with the dimension, and curves of what is learnt."""

import math

import numpy as np
import pytest

from seedbed.report.document import compose
from seedbed.report.html import render
from seedbed.report.stored import StoredRun
from seedbed.store.table import Row

LEVELS = {"vb": 0.001, "planar": 0.5}  # error of sigma per dimension


def study(root, write, sizes=(25, 100, 400), lost=()):
    """Runs of two methods on sets of several dimensions, their errors proportional to it."""
    runs = []
    for size in sizes:
        for name, level in LEVELS.items():
            folder = write(
                *(root, name, 7.0 + size / 100),
                metric="neg_elbo_nats",
                data=f"gaussian-d{size}",
                experiment=f"gaussian/d{size}/{name}",
                path=root / f"{name}-{size}",
                seeds=4,
                lost=lost if size == 100 else (),
            )
            rows = []
            for seed in range(4):
                errors = {"delta_error": size * (1 + 0.1 * seed), "sigma_error": size * level * (1 + 0.1 * seed)}
                errors["theta_error"] = sum(errors.values())
                for metric, value in errors.items():
                    for step, factor in ((500, 10.0), (1000, 1.0)):
                        rows.append(
                            Row(seed, step, "valid", metric, factor * value, "data units^2", 1, math.nan, step / 100)
                        )
                    rows.append(Row(seed, 1000, "test", metric, value, "data units^2", 1, math.nan, 10.0))
            folder.evaluation("errors-test").append(rows)
            runs.append(StoredRun.read(folder.path))
    return runs


def test_errors_stand_against_the_dimension(tmp_path, write):
    found = compose(study(tmp_path, write))
    charts = found.charts["by-dimension"]
    assert [chart.y.title.removesuffix(" (log)") for chart in charts] == ["theta_error", "delta_error", "sigma_error"]
    sigma = charts[2]
    assert sigma.x.scale.log and sigma.y.scale.log and sigma.task == "gaussian"
    assert [label for label, _ in sigma.labels] == ["vb", "planar"]
    for one, level in zip(sigma.series, LEVELS.values(), strict=True):
        (mid,) = [mark.points for mark in one.marks if mark.role == "mid"]
        assert mid.tolist() == pytest.approx(np.array([[d, d * level * 1.15] for d in (25, 100, 400)]))
        assert len([mark for mark in one.marks if mark.role == "seed"]) == 4
        assert one.marks[0].role == "band"
    assert "Against the dimension" in render(found)


def test_a_seed_that_was_lost_in_one_dimension_is_in_no_curve(tmp_path, write):
    sigma = compose(study(tmp_path, write, lost=(2,))).charts["by-dimension"][2]
    for one in sigma.series:
        assert len([mark for mark in one.marks if mark.role == "seed"]) == 3


def test_a_band_that_ends_at_nothing_is_cut_where_a_logarithmic_axis_begins(tmp_path, write):
    (_, _, sigma) = compose(study(tmp_path, write, lost=(1, 2))).charts["by-dimension"]
    assert sigma.y.scale.log
    for one in sigma.series:
        (band,) = [mark.points for mark in one.marks if mark.role == "band"]
        # Of two seeds, 1 and 1.3 times the level, the interval goes below 0.
        assert band[:, 1].min() == sigma.y.scale.low


def test_two_dimensions_make_no_curve(tmp_path, write):
    found = compose(study(tmp_path, write, sizes=(25, 100)))
    assert found.charts["by-dimension"] == [] and "Against the dimension" not in render(found)


def test_other_data_stand_against_what_they_are_compared_on(tmp_path, write):
    runs = []
    for size in (2, 4, 8):
        folder = write(tmp_path, "flow", size / 10, data=f"ball-d{size}", path=tmp_path / f"{size}")
        runs.append(StoredRun.read(folder.path))
    (chart,) = compose(runs).charts["by-dimension"]
    assert chart.y.title.removesuffix(" (log)") == "gap_nats"


def test_the_bound_and_each_error_have_a_curve(tmp_path, write):
    charts = compose(study(tmp_path, write, sizes=(25,))).charts
    titles = [chart.y.title.removesuffix(" (log)") for chart in charts["errors-steps"]]
    assert titles == ["neg_elbo_nats", "theta_error", "delta_error", "sigma_error"]
    assert [len(chart.labels) for chart in charts["errors-time"]] == [2] * 4
    assert charts["curves-steps"] == []  # its only curve stands among these
    plain = compose([StoredRun.read(write(tmp_path, "vae", 0.3).path)]).charts
    assert plain["errors-steps"] == [] and len(plain["curves-steps"]) == 1
