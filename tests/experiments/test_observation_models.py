"""Study `observation-models`: its first model is the IWAE study's, cells differ in what they are compared in."""

import math

import pytest
import torch

import seedbed
from seedbed import data
from seedbed.core.domain import Domain
from seedbed.core.noise import Noise, Streams
from seedbed.data.own import from_arrays
from seedbed.distributions.likelihood import bits_per_dim, likelihood_of
from seedbed.distributions.scale import Scale
from seedbed.evaluate.pictures import images
from seedbed.experiments import EXPERIMENTS, STUDIES, find
from seedbed.experiments.observation_models import BOUND, MEAN_SQUARED, MODELS, SETS
from seedbed.report.figures import samples_figure
from seedbed.report.pictures import cost, run_strips
from seedbed.report.stored import StoredRun
from seedbed.runs.evaluate import Request, evaluate
from seedbed.runs.load import load

BYTES = Domain("levels", 256)


def named(name: str, data: str = "cifar10-batch1"):
    return EXPERIMENTS[f"observation-models/{data}/{name}"]


def test_model_01_is_the_iwae_study_s():
    mine, first = EXPERIMENTS["observation-models/mnist-dynamic/01"], EXPERIMENTS["iwae/mnist-dynamic/model01"]
    for budget in ("laptop", "full"):
        a, b = mine.with_budget(budget), first.with_budget(budget)
        assert a.settings == b.settings and a.config() == b.config() and a.parts == b.parts
    assert STUDIES["observation-models"].metric_of("observation-models/mnist-dynamic/01") == STUDIES["iwae"].metric


def test_the_cells_are_the_source_s_and_those_it_never_filled():
    assert set(EXPERIMENTS) >= {f"observation-models/{of}/{name}" for of in SETS for name in MODELS}
    source = {
        "02": ("a", "gaussian", 20, 0, "relu"),
        "03": ("a", "logistic", 20, 0, "relu"),
        "04": ("b", "logistic", 50, 0, "relu"),
        "05": ("a", "logistic-mixture", 20, 0, "relu"),
        "06": ("a", "logistic", 20, 20, "gelu"),
    }
    for name, says in source.items():
        for of in SETS:
            settings = named(name, of).with_budget("full").settings
            keys = ("convolutions", "likelihood", "latents", "latents_above", "activation")
            assert tuple(settings[key] for key in keys) == says
            assert (settings["k"], settings["steps"], settings["batch_size"], settings["lr"]) == (5, 100_000, 128, 1e-3)
            assert settings["gradient"] == "standard" and settings["hidden_above"] == (100, 100)
    assert named("05").settings["mixtures"] == 5 and named("06-mixture").settings["mixtures"] == 5


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("03", "05", {"likelihood"}),
        ("02", "03", {"likelihood"}),
        ("03", "03-gelu", {"activation"}),
        ("03-gelu", "06", {"latents_above"}),
        ("06", "06-mixture", {"likelihood"}),
        ("06", "06-maps", {"latent_maps", "hidden_above"}),
        *((name, f"{name}-bounded", {"least_scale"}) for name in ("02", "03", "04", "05", "06")),
        ("02", "warned-mse", {"scale"}),
        ("03", "warned-bce", {"likelihood"}),
    ],
)
def test_what_is_compared_differs_in_that_alone(one, other, differ):
    a, b = named(one), named(other)
    silent = {"mixtures", "fixed_scale"}  # of what has a say in one alone
    assert {key for key in a.settings if a.settings[key] != b.settings[key]} - silent == differ


def test_a_bounded_scale_costs_more_than_a_uniform_code():
    """8.55 bits of the best interior level at s = 1 / e on [0, 1], and 7.88 of a Gaussian of that deviation."""
    assert pytest.approx(2 / math.e) == BOUND
    wide, middle = torch.tensor([0.0, -30.0]).view(1, 2, 1, 1), torch.tensor([[[[128.0]]]])
    logistic = likelihood_of(BYTES, "logistic", scale=Scale(least=BOUND)).build(wide, 3)
    assert float(bits_per_dim(logistic, middle)) == pytest.approx(8.55, abs=0.02)
    gaussian = likelihood_of(BYTES, "gaussian", scale=Scale(least=BOUND)).build(wide, 3)
    noise = Noise([Streams(0)], "noise")
    assert float(bits_per_dim(gaussian.within(noise), middle)) == pytest.approx(7.88, abs=0.02)


def test_the_mean_squared_error_is_a_gaussian_of_this_scale():
    """log p(x | z) = -|y - m|^2 + const where 2 s^2 = 1."""
    law = likelihood_of(Domain("real"), "gaussian", scale=Scale("fixed", start=MEAN_SQUARED)).build(torch.zeros(3, 4), 1)
    y = torch.linspace(-1, 1, 12).view(3, 4)
    found = law.log_prob(y) - law.log_prob(torch.zeros(3, 4))
    assert torch.allclose(found, -y.square().sum(1), rtol=1e-6)
    assert not any(named(name).model.judged_on(BYTES) for name in ("warned-mse", "warned-bce", "03-bounded"))


def test_a_run_says_its_bits_beside_every_grid_and_can_be_measured(monkeypatch, tmp_path):
    """Short, on small pictures: rows in bits, KL of both layers, active units, and importance sampling within a memory."""
    grey = Noise([Streams(7)], "data", "tints").uniform((3, 8, 8), batch=60).mul(6).floor().numpy()
    made = lambda seed=0: from_arrays({"train": grey}, name="tints", seed=seed, levels=6)
    monkeypatch.setattr(data, "_REGISTERED", data._REGISTERED | {"tints"})
    monkeypatch.setitem(data.DATA, "tints", made)
    monkeypatch.setattr(images, "SHOWN", 4)
    short = {"data": "tints", "steps": 2, "eval_every": 1, "batch_size": 8, "latents": 2, "latents_above": 2}
    experiment = find("observation-models/cifar10-batch1/06-bounded").with_config(short)
    done = seedbed.run(experiment, seeds=[0, 1], out=tmp_path, threads=1)
    run, stored = load(done.path, experiment), StoredRun.read(done.path)
    bits, nats = stored.final("bits_per_dim"), stored.final("neg_iw5_nats")
    assert (bits * 192 * math.log(2) - nats).abs().max() < 1e-3 and stored.unit("bits_per_dim") == "bits"
    assert cost(stored, 0) == f"{bits[0]:.2f} bits/dim"
    evaluate(run, Request(estimator="nll", options={"samples": 3}, examples=2))
    assert cost(StoredRun.read(done.path), 0) == f"{bits[0]:.2f} bits/dim"  # of three times as many examples
    evaluate(run, Request(estimator="nll", options={"samples": 20}, memory_gib=0.05))
    evaluate(run, Request(estimator="latents", options={"samples": 2}))
    stored = StoredRun.read(done.path)
    assert {"nll_bits_per_dim", "kl_z1_nats", "kl_z2_nats", "active_units_z1", "active_units_z2"} <= set(
        stored.metrics("test")
    )
    sampled = stored.final("nll_bits_per_dim")
    said = {seed: f"{sampled[seed]:.2f} bits/dim" for seed in (0, 1)}
    assert {seed: cost(stored, seed) for seed in (0, 1)} == said and cost(stored, 7) == ""
    strips = {strip.kind: strip for strip in run_strips(stored, "tints", "bits_per_dim")}
    for kind in ("samples", "samples, mean", "reconstructions, mean"):
        assert [picture.note for picture in strips[kind].pictures] == [f"seed {seed}, {said[seed]}" for seed in said]
    figure = samples_figure(stored)
    assert figure is not None
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written.count(said[0]) >= 3 and "samples, mean" in written
