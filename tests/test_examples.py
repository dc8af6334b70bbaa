"""The examples run, all of them, as their first lines say."""

from pathlib import Path

import numpy as np
import pytest

import seedbed
from seedbed.evaluate.pictures import points
from seedbed.experiments.files import listing, read_file

EXAMPLES = Path(__file__).parents[1] / "examples"
FEW = {"seeds": 2, "steps": 4, "eval_every": 2}
TOY = {"train_size": 300, "valid_size": 50, "eval_size": 50}
# What is run of each file, and what it is judged by.
RUN = {
    "own_bound.py:renyi": (TOY, "neg_renyi_nats"),
    "own_bound.py:elbo": (TOY, "neg_elbo_nats"),
    "own_data.py:vae": ({}, "neg_elbo_nats"),
    "own_data.py:flow": ({}, "nll_nats"),
    "own_gan.py:pair": ({"data": "moons", **TOY}, "sw_distance"),
    "own_experiment.py:experiment": ({"slope": 0.3, **TOY}, "neg_elbo_nats"),
    "own_vae.py:MyVAE": ({"data": "array:table.npy"}, "neg_elbo_nats"),
}
CALLED = {"own_vae.py": "loss", "own_gru.py": "nll_nats"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(points, "GRID", 6)
    monkeypatch.setattr(points.point_artefacts, "__defaults__", (20,))


@pytest.mark.parametrize("name", RUN)
def test_runs_by_name(name):
    settings, metric = RUN[name]
    np.save("table.npy", np.random.default_rng(0).normal(size=(120, 5)).astype("float32"))
    run = seedbed.run(f"{EXAMPLES / name}", **FEW, **settings)
    assert metric in set(run.table[run.table["split"] == "test"]["metric"])
    assert len(seedbed.load(run.path).models) == 2


@pytest.mark.parametrize("name", CALLED)
def test_runs_when_called(name):
    runs = read_file(EXAMPLES / name).module.main(steps=4, seeds=2)
    assert len(runs) == 2 and all(CALLED[name] in set(run.table["metric"]) for run in runs)


def test_none_is_forgotten_and_each_is_short():
    files = {path.name for path in EXAMPLES.glob("*.py")}
    assert files == {name.split(":")[0] for name in RUN} | set(CALLED) | {"leaky.py"}
    assert all(len(path.read_text(encoding="utf-8").splitlines()) <= 60 for path in EXAMPLES.glob("*.py"))
    assert any("own_experiment.py:experiment" in line for line in listing(EXAMPLES / "own_experiment.py"))
