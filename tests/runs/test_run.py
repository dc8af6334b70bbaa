"""The Python face: run, load, models, sample; and what a declaration promises."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import seedbed
from seedbed.core.noise import STREAMS, Noise, Streams
from seedbed.experiments import EXPERIMENTS, STUDIES, find
from seedbed.experiments.experiment import BUDGETS

TINY = {
    "steps": 6,
    "eval_every": 3,
    "train_size": 400,
    "valid_size": 80,
    "eval_size": 80,
    "batch_size": 16,
    "hidden": (4, 4),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return seedbed.run("toy/8gaussians/spline-flow", seeds=[2, 0, 5], out=out, couplings=2, bins=4, **TINY)


def test_models_are_plain_modules_with_the_evaluated_weights(run):
    assert [type(m).__mro__[-2] is not None and isinstance(m, nn.Module) for m in run.models] == [True] * 3
    table = run.table
    x = run.experiment.data.load().splits["test"][:]
    for seed, model in zip(run.seeds, run.models, strict=True):
        stored = table[(table.split == "test") & (table.metric == "nll_nats") & (table.seed == seed)]["value"].item()
        with torch.no_grad():
            assert float(-model.log_prob(x, seedbed.Context.of(0)).mean()) == pytest.approx(stored, abs=1e-5)
    # plain: it trains by ordinary means and shares nothing with its neighbours
    before = {k: v.clone() for k, v in run.models[1].state_dict().items()}
    run.models[0].log_prob(x[:8], seedbed.Context.of(0)).mean().backward()
    assert all(p.grad is not None for p in run.models[0].parameters())
    assert all(torch.equal(before[k], v) for k, v in run.models[1].state_dict().items())


def test_table_is_long_and_keyed(run):
    table = run.table
    assert list(table.columns) == ["seed", "step", "split", "metric", "value", "unit", "n", "se", "wall_s"]
    assert not table.duplicated(["seed", "step", "split", "metric"]).any()
    assert set(table["seed"]) == {0, 2, 5}
    assert set(table["split"]) == {"train", "valid", "test", "status"}


def test_load_gives_the_same_run(run):
    again = seedbed.load(run.path)
    assert again.seeds == [0, 2, 5]
    assert torch.equal(again.sample(7), run.sample(7))
    assert run.sample(7).shape == (3, 7, 2)
    assert torch.equal(run.sample(7)[1], run.sample(7, seed=2))
    with pytest.raises(seedbed.SeedbedError, match="seed 9 is not in this run"):
        run.sample(7, seed=9)


def test_one_model_draws_by_itself_as_the_readme_says(run):
    draws = run.models[0].sample(100, seedbed.Context.of(0))
    assert draws.shape == (100, 2) and torch.equal(draws, run.models[0].sample(100, seedbed.Context.of(0)))


def test_a_finished_run_is_not_trained_again(run, monkeypatch):
    from seedbed.train.learner import Learner

    def never(self):
        raise AssertionError("trained again")

    monkeypatch.setattr(Learner, "advance", never)
    out = run.path.parents[3]
    same = seedbed.run("toy/8gaussians/spline-flow", seeds=[0, 2, 5], out=out, couplings=2, bins=4, **TINY)
    assert same.path == run.path


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lrr": 1.0}, "unknown setting 'lrr'; did you mean 'lr'"),
        ({"lr": "fast"}, "lr must be a finite number"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"coupling": "splin"}, "did you mean 'spline'"),
        ({"batch_size": 401, "steps": 1, "train_size": 400}, "larger than the 400 training examples"),
        ({"data": "8gausians"}, "did you mean '8gaussians'"),
        ({"data": "moons"}, "is on 8gaussians; for other data name a model: `seedbed run vae -d moons`"),
    ],
)
def test_bad_settings(tmp_path, settings, says):
    with pytest.raises(seedbed.SeedbedError, match=says.replace("(", r"\(")):
        seedbed.run("toy/8gaussians/spline-flow", seeds=1, out=tmp_path, **settings)


@pytest.mark.parametrize("seeds", [0, -1, [], [1, 1], [-2]])
def test_bad_seeds(tmp_path, seeds):
    with pytest.raises(seedbed.SeedbedError, match="seeds must be"):
        seedbed.run("toy/8gaussians/vae", seeds=seeds, out=tmp_path)


def test_load_refuses_what_is_no_run(tmp_path):
    with pytest.raises(seedbed.SeedbedError, match="no run folder"):
        seedbed.load(tmp_path)


@pytest.mark.parametrize("vary", ["init", "order", "noise", "data"])
def test_one_source_varies_and_the_rest_is_held(vary, tmp_path):
    from seedbed.train.learner import Learner

    experiment = find("toy/8gaussians/vae").with_config({**TINY, "vary": vary})
    streams = experiment.streams([0, 1])
    learner = Learner(experiment.task(streams), streams, torch.device("cpu"))
    weights = learner.params["model"]
    batch = learner.task.batches(streams, 0)
    noise = learner.structure.noise("noise", 0, 0, 0)
    draws = torch.stack([Noise([s], "noise", 0, 0, 0).normal((3,)) for s in noise.streams])
    assert torch.equal(weights[0], weights[1]) == (vary != "init")
    assert torch.equal(batch[0], batch[1]) == (vary not in ("order", "data"))
    assert torch.equal(draws[0], draws[1]) == (vary != "noise")
    # the same rows of another sample, or other rows of the same one
    if vary == "data":
        assert torch.equal(
            learner.task.batches._order(tuple(streams), 0)[0], learner.task.batches._order(tuple(streams), 0)[1]
        )


VARIED = {
    "model": set(STREAMS) - {"data"},
    "all": set(STREAMS),
    "init": {"init"},
    "order": {"order"},
    "noise": {"noise", "dropout", "dequantise"},
    "data": {"data"},
}


@pytest.mark.parametrize("vary", VARIED)
def test_streams_that_vary_follow_the_seed_and_the_others_are_those_of_seed_0(vary):
    for seed, streams in zip((3, 8), find("toy/8gaussians/vae").with_config({"vary": vary}).streams([3, 8]), strict=True):
        for stream in STREAMS:
            source = seed if stream in VARIED[vary] else 0
            assert streams.key(stream, 1, 2) == Streams(source).key(stream, 1, 2), (vary, stream)


def test_declarations_are_documented_and_torch_free():
    for experiment in EXPERIMENTS.values():
        assert all(type(part).__doc__ for part in experiment.parts)
        assert all(about.get("help") for _, about in experiment.described().values())
        for budget in BUDGETS:
            assert experiment.with_budget(budget).training.steps >= 1
    for study in STUDIES.values():
        assert set(study.grid) <= set(study.experiments)
    code = "import sys, seedbed.experiments; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_epochs_of_the_source_command():
    from seedbed.cli.run import with_flags

    flags = dict.fromkeys(("steps", "precision", "data", "budget", "epochs"))
    lvae = find("toy/8gaussians/lvae")
    changed = with_flags({"lvae": lvae}, {**flags, "budget": "laptop", "epochs": 500})["lvae"].training
    assert changed.steps == 500 * 51_200 // changed.batch_size
