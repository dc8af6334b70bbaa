"""The convergence studies on images: what they declare, and that each model runs."""

import pytest
import torch

import seedbed
from seedbed.experiments import STUDIES
from seedbed.experiments.image_convergence import MNIST, OMNIGLOT

STUDY = STUDIES["mnist-convergence"]
TINY = {"data": "digits-binary", "steps": 6, "eval_every": 3, "batch_size": 16, "precision": "fp32"}
SIZES = {
    "vae": {"hidden": (8, 4), "latents": 2},
    "lvae": {"hidden": (8, 7, 6), "latents": (3, 2, 2)},
    "lvae-5layer": {"hidden": (8, 7, 6, 5, 4), "latents": (3, 2, 2, 2, 1), "free_bits": 0.1},
    "draw": {"hidden": 8, "latents": 2, "strokes": 2},
    "draw-attention": {"hidden": 8, "latents": 2, "strokes": 2, "read": 2, "write": 3},
    "draw4": {"hidden": 8, "latents": 2, "strokes": 2},
    "flow": {"couplings": (0, 1, 1), "width": 4, "depth": 1, "growth": 2},
    "vae-vamp-prior": {"hidden": (8, 4), "latents": 2, "pseudo_inputs": 5},
}


def named(model: str):
    return STUDY.experiments[f"mnist-convergence/mnist-dynamic/{model}"]


@pytest.mark.parametrize("model", SIZES)
def test_each_model_runs_and_shows_the_use_of_its_latents(model, tmp_path):
    threads = torch.get_num_threads()
    run = seedbed.run(named(model).with_config({**TINY, **SIZES[model]}), seeds=2, out=tmp_path)
    torch.set_num_threads(threads)
    test = run.table.query("split == 'test'")
    kl = {"flow": set()}.get(model, {"kl_nats"})
    assert {"neg_elbo_nats"} | kl <= set(test["metric"]) and len(test["seed"].unique()) == 2
    assert run.folder.path.joinpath("artefacts", "samples").is_dir()
    layers = {"lvae": 3, "lvae-5layer": 5, "vae": 0, "vae-vamp-prior": 0, "flow": 0}.get(model, 2)
    parts = {metric for metric in run.table["metric"] if "kl_z" in metric}
    assert len(parts) == layers, parts


def test_what_the_study_declares():
    assert STUDY.seeds == 3 and STUDY.metric == "neg_elbo_nats"
    assert {name.rsplit("/", 1)[1] for name in STUDY.grid} == {"vae", "lvae", "draw", "flow"}
    for name, experiment in MNIST.items():
        assert 0.3 * experiment.hours <= 1, f"{name}: three seeds of ten within the hour"
    ablations = {n: (named(n).error_image, named(n).overwrite) for n in ("draw", "draw2", "draw3", "draw4")}
    assert ablations == {"draw": (True, False), "draw2": (False, False), "draw3": (True, True), "draw4": (False, True)}


def test_full_is_the_source_s_size():
    """Parameters as it counts them (DRAW's differ by a layer behind the canvas, see the model's test)."""
    vae = named("vae").with_budget("full")
    assert sum(p.numel() for p in vae.model(784, None).parameters()) == 1_162_000
    assert (vae.steps, vae.lr, vae.warm_up) == (195_000, 1e-3, 0.2)
    draw = named("draw").with_budget("full")
    assert (draw.strokes, draw.hidden, draw.latents, draw.read, draw.write) == (10, 256, 32, 0, 0)
    paper = named("draw-attention").with_budget("full")
    assert (paper.strokes, paper.hidden, paper.latents, paper.read, paper.write) == (64, 256, 100, 2, 5)
    ladder = named("lvae-5layer").with_budget("full")
    assert (ladder.hidden, ladder.latents) == ((512, 256, 128, 64, 64), (64, 32, 16, 8, 4))
    flow = named("flow").with_budget("full")
    assert (flow.couplings, flow.width, flow.depth, flow.growth, flow.augment) == ((4, 4, 4), 64, 8, 16, 1)


def test_omniglot_is_the_same_with_half_the_steps():
    study = STUDIES["omniglot-convergence"]
    assert study.seeds == 3 and len(study.grid) == 4
    for name, experiment in OMNIGLOT.items():
        twin = MNIST[name.replace("omniglot", "mnist")]
        assert experiment == twin.with_config({"data": "omniglot-dynamic", "steps": twin.steps // 2})
        assert (experiment.epoch_examples, twin.epoch_examples) == (22_000, 50_000)
        assert experiment.with_budget("full").steps == twin.with_budget("full").steps


def test_a_learnt_prior_has_its_flag():
    priors = {name: named(name).prior for name in ("vae", "vae-normal-prior", "vae-vamp-prior")}
    assert priors == {"vae": "standard", "vae-normal-prior": "normal", "vae-vamp-prior": "vamp"}
