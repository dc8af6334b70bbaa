"""Runs with different numbers of one quantity: an exact -log p(x) against a bound on it; and runs that are too short."""

import csv
from dataclasses import replace

import pandas as pd
import pytest

from seedbed.core.metric import SURPRISE
from seedbed.report.comparison import compared
from seedbed.report.document import compose
from seedbed.report.groups import grouped
from seedbed.report.html import render
from seedbed.report.stored import StoredRun
from seedbed.store.table import Row


def read(*folders):
    return [StoredRun.read(folder.path) for folder in folders]


def measured(folder, metric, level, *, beside="", n=5000, seeds=6):
    """What `seedbed evaluate` adds to a run."""
    found = {metric: level, **({beside: 40.0} if beside else {})}
    rows = [
        Row(seed, 1000, "test", name, value + 0.001 * seed, "nats", n, 0.001, 11.0)
        for name, value in found.items()
        for seed in range(seeds)
    ]
    folder.evaluation(f"{metric}-{n}").append(rows)


@pytest.fixture
def table(tmp_path, write):
    """Three runs on one table: a bound, and two exact values."""

    def make(bound=3.0, exact=(2.0, 2.5)):
        ends = {"vae": (bound, "neg_elbo_nats"), "spline-flow": (exact[0], "nll_nats"), "flow": (exact[1], "nll_nats")}
        place = tmp_path / "runs"
        return [
            write(place, name, level, experiment=name, metric=metric, path=place / name / "a")
            for name, (level, metric) in ends.items()
        ]

    return make


def test_a_bound_and_exact_values_are_one_family(table):
    (group,) = grouped(read(*table()))
    assert group.metric == SURPRISE.name and group.unit == "nats" and group.mixed and not group.strangers
    assert group.own == {"vae": "neg_elbo_nats", "spline-flow": "nll_nats", "flow": "nll_nats"}
    assert [group.kind_of(run) for run in group.runs] == ["upper bound", "exact", "exact"]
    found = compared(group.runs).verdicts
    assert len(found) == 3 and set(found["family"]) == {3}
    gain = found.set_index(["a", "b"]).loc[("spline-flow", "vae"), "gain"]
    bound, exact = (run.final(group.own[run.label]).mean() for run in group.runs[:2])
    assert gain == pytest.approx(bound - exact)  # positive: the loss of the first is lower


def test_what_loses_by_its_bound_may_be_better_and_is_told_how_to_show_it(table, call, tmp_path):
    table()
    code, out, _ = call("compare", "vae", "flow", "spline-flow", "--csv", "v.csv", "--latex", "v.tex")
    assert code == 0 and "it beats flow and the bound of vae." in out
    assert (
        "On rings the numbers of flow and spline-flow (nll_nats) are exact, those of vae (neg_elbo_nats) upper bounds" in out
    )
    assert "`seedbed evaluate runs/vae/a` tightens it" in out
    assert "but the number of vae is an upper bound, which may be loose" in out and "proven" not in out
    assert "neg_elbo_nats (upper bound)" in out and "nll_nats (exact)" in out
    assert (tmp_path / "v.tex").read_text().count("beats the bound of") == 2
    rows = {(row["a"], row["b"]): row for row in csv.DictReader((tmp_path / "v.csv").read_text().splitlines())}
    row = rows["spline-flow", "vae"]
    assert (row["metric"], row["metric_a"], row["metric_b"]) == ("'-log p(x)", "nll_nats", "neg_elbo_nats")
    assert (row["kind_a"], row["kind_b"]) == ("exact", "upper bound")


def test_a_bound_below_an_exact_value_proves_it(table, call):
    table(bound=1.0)
    code, out, _ = call("compare", "vae", "flow", "spline-flow")
    assert code == 0 and "vae is best on rings" in out and "it beats spline-flow and flow." in out
    assert out.count("proven: the upper bound of vae is below the exact value of") == 2
    assert "A bound that is below an exact value proves that its model is better." in out and "evaluate" not in out


def test_the_page_says_which_is_which(table):
    page = render(compose(read(*table())))
    for text in ("those of vae (neg_elbo_nats) upper bounds on -log p(x)", "neg_elbo_nats (upper bound)", "by -log p(x)"):
        assert text in page
    assert "<title>vae, spline-flow and flow on rings: 3 runs</title>" in page


def test_the_nearest_number_counts_if_it_is_of_all_examples(table, write, tmp_path):
    folders = table()
    measured(folders[0], "neg_iw50_nats", 2.4, n=100)
    assert grouped(read(*folders))[0].own["vae"] == "neg_elbo_nats"
    measured(folders[0], "neg_iw5_nats", 2.9)
    measured(folders[0], "neg_iw50_nats", 2.4)
    assert grouped(read(*folders))[0].own["vae"] == "neg_iw50_nats"
    measured(folders[0], "nll_nats", 2.2, beside="ess")
    (group,) = grouped(read(*folders))  # now a metric that all of them have, of two kinds
    assert group.metric == "nll_nats" and not group.own and group.mixed


def test_bounds_stand_beside_each_other_by_the_same_bound(table, write, tmp_path):
    """A bound of 50 samples against one of 1 would make the model of the first better for its estimator alone."""
    folders = table()
    folders.append(write(tmp_path, "lvae", 2.9, experiment="lvae", metric="neg_elbo_nats", path=tmp_path / "runs/lvae/a"))
    measured(folders[0], "neg_iw50_nats", 2.0)
    (group,) = grouped(read(*folders))
    assert group.own["vae"] == group.own["lvae"] == "neg_elbo_nats"
    measured(folders[-1], "neg_iw50_nats", 2.0)
    (group,) = grouped(read(*folders))
    assert group.own["vae"] == group.own["lvae"] == "neg_iw50_nats"


def test_a_metric_that_is_asked_for_is_the_only_one(table, call):
    table()
    code, out, err = call("compare", "vae", "flow", "spline-flow", "--metric", "nll_nats")
    assert code == 0 and "runs/vae/a has no nll_nats" in err and "vae" not in out and "upper bound" not in out
    code, _, err = call("compare", "vae", "flow", "--metric", "neg_elbo_nats")
    assert code == 2 and "only runs/vae/a has neg_elbo_nats; leave the metric out, or compare on one that two have" in err


def test_every_natural_way_to_name_them(table, call):
    table()
    ways = (
        ["-d", "rings"],
        ["runs"],
        ["runs/vae", "runs/flow", "spline-flow"],
        ["vae", "flow", "spline-flow", "-d", "rings"],
    )
    said = [call("compare", *words)[1] for words in ways]
    assert len(set(said)) == 1 and said[0].startswith("spline-flow is best on rings")
    assert "name a run, an experiment or a study" in call("compare")[2]
    assert "no run is below nowhere/; `seedbed run` makes some" in call("compare", "-d", "rings", "--out", "nowhere")[2]


def test_data_of_ones_own_is_one_set_however_its_path_is_written(tmp_path, write, call):
    for name in ("vae", "flow"):
        write(
            tmp_path / "runs",
            name,
            0.1 + 0.1 * len(name),
            data="array:t.npy",
            experiment=name,
            path=tmp_path / "runs" / name / "a",
        )
    write(tmp_path / "runs", "lvae", 0.9, experiment="lvae", path=tmp_path / "runs/lvae/a")
    said = [call("compare", "-d", name)[1] for name in ("array:t.npy", "array:./t.npy", f"array:{tmp_path}/t.npy")]
    assert len(set(said)) == 1 and "vae" in said[0] and "lvae" not in said[0]


def test_runs_too_short_to_beat_their_baseline_show_their_numbers(tmp_path, write, call):
    short = write(tmp_path / "runs", "vae", 0.9, worse=range(6))
    write(tmp_path / "runs", "flow", 0.8, worse=range(6))
    write(tmp_path / "runs", "lvae", 0.7, worse=range(3))
    code, out, _ = call("compare", "toy")
    (run,) = read(short)
    mean = run.final("gap_nats").mean()
    assert code == 0 and f"{mean:.2g}" in out and out.count("] worse than baseline ") == 2
    assert "Every seed of flow and vae ended worse than baseline: train longer (--steps) for a verdict." in out
    assert "; vae ended worse than baseline at 6 (seed 0, 1, 2, 3, 4, 5)" in out
    assert "no verdict between flow and vae on rings: at all 6 seeds both diverged or ended worse than their baseline" in out
    facts = compared(read(short, short)).summary
    assert facts["mean"].iloc[0] == pytest.approx(mean) and facts["diverged"].iloc[0] == 6
    assert list(run.poor("gap_nats")) == list(run.final("gap_nats")) and run.kept("gap_nats").empty
    half = StoredRun.read(tmp_path / "runs/toy/rings/lvae/abc12345")  # where some seeds count, they alone do
    assert half.poor("gap_nats").empty and list(half.kept("gap_nats").index) == [3, 4, 5]


def test_runs_that_both_sit_at_their_baseline_say_so(tmp_path, write, call):
    """Validation values end 0.0025 above the level: of 6 seeds that spread by 3 % the interval is about 3 % wide."""

    def say(*levels, baseline):
        for place, level in enumerate(levels):
            folder = write(tmp_path / f"{levels}-{baseline}", f"m{place}", level, metric="neg_elbo_nats")
            data = {**folder.manifest().data, "baseline": {"neg_elbo_nats": baseline}}
            replace(folder.manifest(), data=data).write(folder.path)
        return call("compare", str(tmp_path / f"{levels}-{baseline}"))[1]

    out = say(10.0, 10.1, baseline=10.1)
    assert "m1 and m0 sit at the baseline: on the validation data none of them is shown to beat a trivial model" in out
    assert "(10.1 by neg_elbo_nats), so what lies between them is not what they learned." in out
    assert "sit at the baseline" not in say(10.0, 10.1, baseline=12.0)
    assert "sit at the baseline" not in say(8.0, 10.0, baseline=10.1)  # of which one does


def test_a_run_whose_seeds_diverged_has_no_number_to_show(tmp_path, write):
    (run,) = read(write(tmp_path, "vae", lost=range(6)))
    assert run.poor("gap_nats").empty and isinstance(run.poor("gap_nats"), pd.Series)


def test_a_name_of_ones_own_file_is_short_and_a_page_of_it_has_a_title(tmp_path, write):
    own = write(tmp_path, "x", experiment=f"{tmp_path}/my_model.py:MyVAE", path=tmp_path / "a")
    other = write(tmp_path, "y", experiment="sub/other.py:flow", path=tmp_path / "b")
    runs = read(own, other)
    assert [run.model for run in runs] == ["my_model.py:MyVAE", "other.py:flow"]
    assert compose(runs).title == "my_model.py:MyVAE and other.py:flow on rings: 2 runs"
    assert compose(runs[:1]).title == "my_model.py:MyVAE on rings"
