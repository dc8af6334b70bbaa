"""The study of the Gaussian model: whose data a seed has, what an update sees, and that its optimum is reached."""

import pytest
import torch

import seedbed
from seedbed.cli.main import main
from seedbed.cli.run import chosen
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data.gaussian_sets import gaussian_set
from seedbed.experiments import EXPERIMENTS, find
from seedbed.experiments.gaussian import DIMENSIONS, METHODS, MINIBATCH
from seedbed.runs.execute import execute

SMALL = {"data": "gaussian-d3", "set_size": 20, "batch_size": 20}


def task(seeds=(0, 1), name="gaussian/d25/vb", **changed):
    experiment = find(name).with_config({**SMALL, **changed})
    return experiment.task(experiment.streams(list(seeds)))


def batch(seeds=(0, 1), number=0, **changed):
    streams = find("gaussian/d25/vb").with_config({**SMALL, **changed}).streams(list(seeds))
    return task(seeds, **changed).batches(streams, number)


def test_every_seed_has_a_data_set_of_its_own_that_all_methods_share():
    found = batch()
    for seed in (0, 1):
        data = gaussian_set(Streams(seed), 3, 20).statistics
        assert torch.equal(found["mean"][seed, 0], data.mean) and torch.equal(found["scatter"][seed, 0], data.scatter)
    held = batch(vary="model")["mean"]
    assert torch.equal(held[0], held[1])
    assert torch.equal(batch(data_seed=1)["mean"][0], found["mean"][1])
    measure = task(name="gaussian/d25/iaf").measure
    assert torch.equal(measure.set_of(Streams(1)).statistics.mean, found["mean"][1, 0])


def test_minibatches_are_examples_of_that_set_and_stand_for_all_of_it():
    whole, parts = batch(), [batch(number=i, batch_size=5) for i in range(4)]  # one pass
    mean = torch.stack([part["mean"] for part in parts])
    assert not torch.allclose(mean[0], mean[1])
    torch.testing.assert_close(mean.mean(0).double(), whole["mean"], rtol=1e-5, atol=1e-5)
    # About any point, squares of a minibatch times N/n average to those of all.
    squares = [part["scatter"] + 20 * (part["mean"] - 1).square() for part in parts]
    expected = whole["scatter"] + 20 * (whole["mean"] - 1).square()
    torch.testing.assert_close(torch.stack(squares).mean(0).double(), expected, rtol=1e-5, atol=1e-5)


def test_the_grid_has_every_method_in_every_dimension():
    for size in DIMENSIONS:
        for name in ("vb", "iaf", "planar", "hvae-prior", "hvae-learned"):
            experiment = EXPERIMENTS[f"gaussian/d{size}/{name}"]
            assert experiment.data.data == f"gaussian-d{size}" and experiment.training.vary == "all"
            assert EXPERIMENTS[f"gaussian/d{size}/{name}-minibatch"].training.batch_size == MINIBATCH
        assert EXPERIMENTS[f"gaussian/d{size}/iaf-compat"].settings["compat"]
        assert EXPERIMENTS[f"gaussian/d{size}/hvae-prior-untempered"].settings["tempering"] == "none"


def test_the_study_and_the_model_of_one_name_are_told_apart_by_the_data():
    assert list(chosen("gaussian", None, "d25")) == [f"gaussian/d25/{method}" for method in METHODS]
    assert len(chosen("gaussian", None, None)) == len(METHODS) * len(DIMENSIONS)
    assert list(chosen("gaussian", "vb-minibatch", "d50")) == ["gaussian/d50/vb-minibatch"]
    assert find("gaussian/d25/vb").on("gaussian-d60").data.load().features == 60
    assert chosen("gaussian/d25/vb", None, "gaussian-d60")["gaussian/d25/vb"].data.data == "gaussian-d60"
    assert list(chosen("gaussian", None, "iris")) == ["gaussian"]
    with pytest.raises(SeedbedError, match="d25"):
        chosen("gaussian", "vb", "iris")


@pytest.mark.parametrize(("data", "says"), [("gaussian-d1", "d = 1"), ("iris", "of study gaussian, got iris")])
def test_data_that_are_no_such_sets_are_refused(data, says):
    with pytest.raises(SeedbedError, match=says):
        experiment = find("gaussian/d25/vb").with_config({"vary": "init"}).on(data)
        experiment.task(experiment.streams([0]))


@pytest.mark.parametrize(("name", "off"), [("hvae-prior", 0.1), ("hvae-prior-untempered", 0.05), ("iaf-compat", 0.03)])
def test_others_end_where_their_own_bound_is_highest(name, off, tmp_path):
    experiment = find(f"gaussian/d25/{name}").with_config({**SMALL, "set_size": 400, "batch_size": 400, "steps": 2000})
    folder = execute(f"gaussian/d25/{name}", experiment, 2, out=tmp_path, threads=1)
    last = {(row.seed, row.metric): row.value for row in folder.rows() if row.split == "test"}
    for seed in (0, 1):
        assert abs(last[seed, "sigma_over_optimum"] - 1) < off


@pytest.mark.parametrize("name", ["vb", "hvae-learned"])
def test_a_learnt_posterior_reaches_the_maximum_likelihood(name, tmp_path):
    experiment = find(f"gaussian/d25/{name}").with_config({**SMALL, "set_size": 200, "batch_size": 200, "steps": 1500})
    folder = execute(f"gaussian/d25/{name}", experiment, 2, out=tmp_path, threads=1)
    last = {(row.seed, row.metric): row.value for row in folder.rows() if row.split == "test"}
    for seed in (0, 1):
        assert last[seed, "delta_from_mean"] < 1e-3
        assert abs(last[seed, "sigma_over_optimum"] - 1) < 0.05
        assert abs(last[seed, "evidence_gap_nats"]) < 0.05
    x = seedbed.load(folder.path).sample(5)
    assert x.shape[-2:] == (5, 3)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--step-size", "0.7"], "start below the largest"),
        (["--temperature", "0.5"], "temperature"),
        (["--set-size", "1"], "set size must be at least 2"),
        (["--batch-size", "50"], "larger than the 20"),
        (["--tempering", "none", "--temperature", "4"], "temperature has no say with tempering none"),
        (["--leapfrogs", "0"], "leapfrogs"),
    ],
)
def test_wrong_input_is_one_line(flags, says, tmp_path, capsys):
    small = ["--out", str(tmp_path)] + ([] if "--set-size" in flags else ["--set-size", "20"])
    small += [] if "--batch-size" in flags else ["--batch-size", "20"]
    with pytest.raises(SystemExit) as ended:
        main(["run", "gaussian/d25/hvae-prior", *small, *flags])
    assert ended.value.code == 2 and says in capsys.readouterr().err and not list(tmp_path.iterdir())
