"""``results/<study>.json``: one row per promised number, with the samples that it took."""

import json
import statistics
from dataclasses import replace

import pytest

from seedbed.core.errors import SeedbedError
from seedbed.report.page import page
from seedbed.report.record import Measured, Promise, record
from seedbed.store.manifest import processor
from seedbed.store.table import Row

VAE, FLOW = "toy/rings/vae", "toy/rings/flow"
PROMISED = [
    Promise(VAE, "nll_nats", "laptop", 1.25, f"seedbed run {VAE} && seedbed evaluate {VAE} --record"),
    Promise(FLOW, "gap_nats", "laptop", 0.5, f"seedbed run {FLOW} --record"),
]


def trained(folder):
    return Measured(folder, folder.trained(), folder.manifest().command)


def evaluated(folder, k=60, ladder=True):
    """Rows as `evaluate` keeps them: the whole ladder, the likelihood, and how far it may be trusted."""
    metrics = {f"neg_iw{rung}_nats": "nats" for rung in (1, 5, k)} if ladder else {}
    metrics |= {"nll_nats": "nats"} | ({"ess": "samples", "ess_min": "samples"} if ladder else {})
    rows = [
        Row(seed, 1000, "test", metric, 3.0 + 0.01 * seed, unit, 50, 0.1, 11.0)
        for metric, unit in metrics.items()
        for seed in range(6)
    ]
    return Measured(folder, rows + [row for row in folder.rows() if row.split == "status"], "evaluate it", "in bf16")


def read(path):
    return {(row["experiment"], row["metric"]): row for row in json.loads(path.read_text())["rows"]}


def test_each_number_says_how_many_samples_it_took(tmp_path, write):
    path, vae, published = tmp_path / "results.json", write(tmp_path / "runs", "vae"), {(VAE, "nll_nats"): 2.9}
    record(path, [trained(vae)], "laptop", published, PROMISED)
    rows = read(path)
    assert {key: row["status"] for key, row in rows.items()} == {
        (VAE, "gap_nats"): "measured",
        (VAE, "nll_nats"): "not_run",  # measured, but not what is promised
        (FLOW, "gap_nats"): "not_run",
    }
    assert rows[VAE, "nll_nats"]["command"].endswith("--record") and rows[VAE, "nll_nats"]["hours"] == 1.25
    record(path, [evaluated(vae)], "laptop", published, PROMISED)
    rows = read(path)
    assert {metric: row["k"] for (name, metric), row in rows.items() if name == VAE} == {
        "gap_nats": None,
        "neg_iw1_nats": 1,
        "neg_iw5_nats": 5,
        "neg_iw60_nats": 60,
        "nll_nats": 60,
    }
    nll = rows[VAE, "nll_nats"]
    assert nll["mean"] == pytest.approx(3.025) and (nll["published"], nll["n"], nll["seeds"]) == (2.9, 50, 6)
    assert nll["command"] == "evaluate it" and nll["protocol"].endswith("; in bf16")
    assert "nll_nats (k = 60) | 3.0250" in page(tmp_path) and "about 0.5 h" in page(tmp_path)
    assert [row["status"] for row in rows.values()].count("not_run") == 1


def test_fewer_samples_stand_beside_more_of_the_same_training_and_never_in_their_place(tmp_path, write):
    path, vae = tmp_path / "results.json", write(tmp_path / "runs", "vae")
    for k in (60, 20):
        record(path, [evaluated(vae, k)], "laptop", {})
    assert read(path)[VAE, "nll_nats"]["k"] == 60 and read(path)[VAE, "neg_iw20_nats"]["k"] == 20
    again = evaluated(vae, 20)
    record(path, [Measured(again.folder, again.rows, "train anew && evaluate it", "in bf16")], "laptop", {})
    assert read(path)[VAE, "nll_nats"]["k"] == 20


def test_what_the_budget_full_would_give_stays_declared(tmp_path, write):
    path, vae = tmp_path / "results.json", write(tmp_path / "runs", "vae")
    more = Promise(VAE, "gap_nats", "full", 90.0, f"seedbed run {VAE} --budget full --record")
    for budget, status in (("laptop", ["not_run", "measured"]), ("full", ["measured", "measured"])):
        record(path, [trained(vae)], budget, {}, [*PROMISED, more])
        rows = [
            row for row in json.loads(path.read_text())["rows"] if row["metric"] == "gap_nats" and row["experiment"] == VAE
        ]
        assert [row["status"] for row in rows] == status and [row["budget"] for row in rows] == ["full", "laptop"]


def test_a_row_has_the_value_of_each_seed_and_names_the_processor(tmp_path, write):
    vae = write(tmp_path / "runs", "vae", lost=(4,))
    replace(vae.manifest(), versions={"processor": "a chip, AVX2"}).write(vae.path)
    record(tmp_path / "results.json", [trained(vae)], "laptop", {})
    row = read(tmp_path / "results.json")[VAE, "gap_nats"]
    assert row["values"][4] is None and len(row["values"]) == row["seeds"] == 6
    assert row["mean"] == pytest.approx(statistics.mean(value for value in row["values"] if value is not None), abs=1e-6)
    assert row["device"].startswith("cpu (a chip, AVX2), ") and processor()


def test_best_and_last_validation_stand_apart(tmp_path, write):
    path, vae = tmp_path / "results.json", write(tmp_path / "runs", "vae", lost=(4,))
    late = [Row(seed, 2000, "valid", "gap_nats", 5.0 + seed, "nats", 50, 0.1, 11.0) for seed in (0, 1, 2, 3, 5)]
    vae.table(range(6)).append(late)
    record(path, [trained(vae)], "laptop", {})
    row = read(path)[VAE, "gap_nats"]
    curves = {seed: [r.value for r in vae.rows() if r.seed == seed and r.split == "valid"] for seed in (0, 1, 2, 3, 5)}
    assert row["valid_best"] == pytest.approx(sum(map(min, curves.values())) / 5, abs=1e-6)
    assert row["valid_last"] == pytest.approx(5 + 11 / 5)
    assert "at its best, 7.2000 last" in page(tmp_path)


def test_a_record_is_diverged_where_every_seed_is(tmp_path, write):
    for name, lost in (("vae", (4,)), ("flow", tuple(range(6)))):
        record(tmp_path / "results.json", [trained(write(tmp_path / "runs", name, lost=lost))], "laptop", {})
    rows = read(tmp_path / "results.json")
    found = [(rows[key, "gap_nats"]["status"], rows[key, "gap_nats"]["diverged"]) for key in (VAE, FLOW)]
    assert found == [("measured", 1), ("diverged", 6)]
    assert rows[VAE, "gap_nats"]["mean"] is not None and rows[FLOW, "gap_nats"]["mean"] is None


def test_a_protocol_names_the_precision_of_the_training(tmp_path, write):
    path, vae = tmp_path / "results.json", write(tmp_path / "runs", "vae")
    record(path, [trained(vae)], "laptop", {})
    assert "bf16" not in read(path)[VAE, "gap_nats"]["protocol"]
    manifest = vae.manifest()
    replace(manifest, config={**manifest.config, "precision": "bf16"}).write(vae.path)
    record(path, [trained(vae)], "laptop", {})
    assert "in bf16" in read(path)[VAE, "gap_nats"]["protocol"]


def test_an_exact_likelihood_has_no_samples(tmp_path, write):
    path = record(tmp_path / "r.json", [evaluated(write(tmp_path, "flow"), ladder=False)], "laptop", {})
    assert read(path)[FLOW, "nll_nats"]["k"] is None


def test_what_is_no_result_is_refused(tmp_path, write):
    path = tmp_path / "results.json"
    half = write(tmp_path, "vae", upto=1.0)
    table = half.table(range(6)).path
    table.write_text("".join(line for line in table.read_text().splitlines(True) if ",status," not in line))
    with pytest.raises(SeedbedError, match="is not finished"):
        record(path, [trained(half)], "laptop", {})
    twins = [trained(write(tmp_path, "flow", tag=tag)) for tag in ("a", "b")]
    with pytest.raises(SeedbedError, match="toy/rings/flow has 2 runs here and one row to record; choose one with --name"):
        record(path, twins, "laptop", {})
    path.write_text("[]")
    with pytest.raises(SeedbedError, match="is no results file"):
        record(path, twins[:1], "laptop", {})
