"""Image studies: what a seed is shown, where training starts, what is stored."""

import math
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import seedbed
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Noise, Streams
from seedbed.core.stack import Stack
from seedbed.data import DATA, load
from seedbed.data.dataset import Dataset
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.evaluate.baseline import factorised_bernoulli
from seedbed.evaluate.pictures.images import image_artefacts, principal_components
from seedbed.experiments import EXPERIMENTS, STUDIES, find, usual
from seedbed.experiments.images import SETS
from seedbed.experiments.objectives import Elbo
from seedbed.models.lvae import LadderVAE
from seedbed.models.symmetric import SymmetricVAE
from seedbed.objectives.bounds import elbo_kl
from seedbed.train.batches import Redrawn, Shuffled, batches_of
from seedbed.train.learner import Learner

TINY = {"steps": 6, "eval_every": 3, "batch_size": 16, "hidden": (8, 4), "latents": 2}


def bernoulli(x: torch.Tensor, noise: Noise) -> torch.Tensor:
    return noise.bernoulli(x)


def images(refresh: str = "epoch", name: str = "mnist-epoch") -> Dataset:
    """Images of 100 pixels that stand in for files nobody has to have."""
    grey = torch.rand(3, 90, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    splits = {"train": grey[0], "valid": (grey[1] > 0.5).float(), "test": (grey[2] > 0.5).float()}
    return Dataset(name=name, domain=BINARY, protocol="noise", splits=splits, view=bernoulli, refresh=refresh)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return seedbed.run("digits/digits-binary/vae", seeds=3, out=tmp_path_factory.mktemp("runs"), **TINY)


def test_an_example_is_the_same_within_a_pass_and_drawn_anew_in_the_next():
    data = images()
    batches, view = batches_of(data, 32)
    assert isinstance(batches, Redrawn) and view is None
    streams = [Streams(0), Streams(1)]
    order = Shuffled(data.splits["train"][:], 32)
    seen: dict[int, torch.Tensor] = {}
    for number in range(6):  # three passes of two batches
        batch, grey = batches(streams, number), order(streams, number)
        assert batch.shape == (2, 32, 1, 10, 10) and batch.dtype == torch.float32
        assert bool(((batch == 0) | (batch == 1)).all())
        if number % 2 == 0:
            drawn = [
                bernoulli(data.splits["train"][:], EvalNoise((s,), "view", number // 2, stream="order")) for s in streams
            ]
        for row in range(2):
            index = torch.cdist(grey[row].flatten(1), data.splits["train"][:].flatten(1)).argmin(1)
            assert torch.equal(batch[row], drawn[row][index])
            seen[number // 2 * 2 + row] = drawn[row]
    assert len({tuple(x.flatten().tolist()) for x in seen.values()}) == 6  # anew for each seed and each pass
    assert torch.equal(batches(streams, 1), Redrawn(data.splits["train"][:], 32, bernoulli)(streams, 1))  # no history
    alone = Redrawn(data.splits["train"][:], 32, bernoulli)(streams[1:], 4)
    assert torch.equal(alone[0], batches(streams, 4)[1])


def test_a_view_per_batch_is_left_to_the_batch():
    batches, view = batches_of(images("batch"), 32)
    assert type(batches) is Shuffled and view is bernoulli


@pytest.mark.parametrize("refresh", ["epoch", "batch"])
def test_the_learner_is_shown_binary_images(monkeypatch, refresh):
    monkeypatch.setitem(DATA, "mnist-epoch", lambda seed=0: images(refresh))
    experiment = find("mnist/mnist-epoch/vae").with_config(TINY)
    streams = experiment.streams([0, 1])
    task = experiment.task(streams)
    shown, player = [], task.game.players[0]

    def spy(model, x, ctx):
        shown.append(x.detach())
        return player.utility(model, x, ctx)

    task = replace(task, game=replace(task.game, players=(replace(player, utility=spy),)))
    Learner(task, streams[:1], torch.device("cpu")).advance()
    assert bool(((shown[0] == 0) | (shown[0] == 1)).all()) and shown[0].shape[1:] == (1, 10, 10)


def test_training_starts_at_the_data_s_mean_and_the_baseline_is_its_loss():
    data = load("digits-binary")
    logits, loss = factorised_bernoulli(data)
    assert torch.allclose(logits.sigmoid(), (data.splits["train"][:].sum(0) + 0.5) / 1258, atol=1e-6)
    by_hand = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.expand(270, 1, 8, 8), data.splits["valid"][:], reduction="sum"
    )
    assert loss == pytest.approx(float(by_hand) / 270, rel=1e-5)
    task = find("digits/digits-binary/vae").task([])
    assert task.baseline == loss
    assert torch.equal(task.build().decoder.layers[-1].bias, logits.flatten())


def test_what_is_stored(run):
    test = run.table.query("split == 'test'")
    assert set(test["metric"]) == {"neg_elbo_nats", "kl_nats"}
    samples, means = run.folder.arrays("samples"), run.folder.arrays("reconstructions")["mean"]
    assert samples["x"].shape == samples["mean"].shape == means.shape == (3, 64, 1, 8, 8)
    assert set(samples["x"].flatten().tolist()) == {0, 1}
    assert means.min() >= 0 and means.max() <= 1
    assert run.folder.reference()["x"].shape == (64, 1, 8, 8)


def test_the_walks_through_latent_space_are_what_they_say(run):
    x = load("digits-binary").splits["test"][:]
    for seed, model in enumerate(run.models):
        with torch.no_grad():
            code = next(model.layers(x, Context.of(0))).posterior.mean  # [270, 2]
            decode = lambda z, model=model: model.decoder(z).sigmoid()
            grid = torch.as_tensor(run.folder.arrays("traversals")["grid"][seed]).float()
            assert grid.shape == (2, 8, 1, 8, 8)
            for row, unit in enumerate(code.var(0).argsort(descending=True)):
                z = code[0].repeat(8, 1)
                z[:, unit] = torch.linspace(-2.5, 2.5, 8)
                assert torch.allclose(grid[row], decode(z), atol=1e-3)
            shown = x[:: 270 // 64][:64]
            codes = next(model.layers(shown, Context.of(0))).posterior.mean
            walk = torch.as_tensor(run.folder.arrays("interpolations")["grid"][seed]).float()
            assert walk.shape == (8, 8, 1, 8, 8)
            for row in range(8):
                first, last = shown[2 * row], shown[2 * row + 1]
                assert torch.equal(walk[row, 0], first) and torch.equal(walk[row, -1], last)
                between = torch.stack([codes[2 * row] + t * (codes[2 * row + 1] - codes[2 * row]) for t in (0.0, 0.2, 1.0)])
                assert torch.allclose(walk[row, [1, 2, 6]], decode(between), atol=1e-3)
        placed = run.folder.arrays("latents")["z"][seed]
        assert placed.shape == (270, 2)
        # Two latents on two components: turned, perhaps mirrored, with every distance kept.
        assert torch.allclose(torch.pdist(torch.as_tensor(placed).float()), torch.pdist(code), atol=1e-2)
    assert run.folder.reference()["labels"].tolist() == load("digits-binary").labels["test"].tolist()


def test_principal_components_are_those_of_another_implementation():
    codes = torch.randn(2, 200, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.2, 3.0, 1.0, 0.1, 0.5])
    for found, own in zip(principal_components(codes), codes, strict=True):
        theirs = torch.as_tensor(PCA(2).fit_transform(own.numpy()))
        assert torch.allclose(found.abs(), theirs.abs(), atol=1e-4)
    assert principal_components(torch.randn(1, 9, 1)).shape == (1, 9, 2)
    assert principal_components(torch.full((1, 9, 3), torch.nan)).isfinite().all()


def test_pictures_of_two_layers_of_a_posterior_without_a_mean_and_of_images_that_are_not_square():
    class Opaque:
        rank, reparameterised = 1, True

        def __init__(self, inner):
            self.log_prob, self.draw = inner.log_prob, inner.draw

    class Model(LadderVAE):
        def layers(self, x, ctx):
            inner = super().layers(x, ctx)
            layer = next(inner)
            while True:
                z = yield replace(layer, posterior=layer.posterior and Opaque(layer.posterior))
                try:
                    layer = inner.send(z)
                except StopIteration as done:
                    return done.value

    data = replace(images(), splits={k: v[:].flatten(1) for k, v in images().splits.items()})
    streams = [Streams(0), Streams(1)]
    for build, of in ((LadderVAE, images()), (Model, images()), (Model, data)):
        stack = Stack.of([build(of.shape, (4, 3), (8, 8), BERNOULLI) for _ in streams], streams)
        found = image_artefacts(of)(stack)
        assert found["latents"]["z"].shape == (2, 90, 2) and found["samples"]["mean"].shape == (2, 64, *of.shape)
        if of is not data:
            assert found["traversals"]["grid"].shape == (2, 3, 8, 1, 10, 10)
        else:
            assert set(found) == {"samples", "reconstructions", "latents"}


@pytest.mark.parametrize("chains", [5, 0])
def test_where_chains_stand_is_kept_with_the_means_that_their_codes_lead_to(chains):
    data, streams, models = images(), [Streams(0), Streams(1)], []
    for one in streams:
        with one.scoped("init"):
            models.append(SymmetricVAE(data.shape, (2, 3), hidden=(8,), chains=chains))
    stack = Stack.of(models, streams)
    found = image_artefacts(data)(stack)
    if not chains:
        assert "chain" not in found
        return
    states = stack.state["decoder.chain"]
    assert found["chain"]["x"].dtype == np.uint8 and np.array_equal(found["chain"]["x"], states.numpy())
    for row, model in enumerate(models):
        z = torch.cartesian_prod(*[torch.arange(2.0)] * 3)  # every code that the decoder may be given
        means = model.decoder.observed(z).mean.detach()
        distance = (torch.as_tensor(found["chain"]["mean"][row]).float()[:, None] - means).abs().flatten(2).amax(2)
        assert found["chain"]["mean"][row].shape == (5, 1, 10, 10) and bool((distance.amin(1) < 1e-3).all())


def test_it_learns():
    experiment = find("digits/digits-binary/vae").with_config({"steps": 300, "eval_every": 300})
    streams = experiment.streams([0])
    task = experiment.task(streams)
    learner = Learner(task, streams, torch.device("cpu"))
    for _ in range(300):
        learner.advance()
    assert task.measure(learner.stack(), "valid")["neg_elbo_nats"][0].mean() < task.baseline - 1


def test_images_cannot_vary():
    with pytest.raises(SeedbedError, match="same examples for every seed"):
        find("digits/digits-binary/vae").with_config({"vary": "data"}).task([])


@pytest.mark.parametrize(
    "name", ["mnist/mnist-dynamic/vae", "iwae/mnist-dynamic/iwae5-2layer", "vae-static/mnist-static/conv-20epochs", "draw"]
)
def test_grey_images_are_scored_as_levels_or_refused(monkeypatch, name):
    """Never by a Bernoulli decoder, whose number would be no likelihood of theirs."""
    levels = torch.randint(0, 256, (3, 40, 1, 28, 28), generator=torch.Generator().manual_seed(0)).float()
    grey = Dataset(
        name="mnist",
        domain=Domain("levels", 256),
        protocol="grey",
        splits=dict(zip(("train", "valid", "test"), levels, strict=True)),
    )
    monkeypatch.setitem(DATA, "mnist", lambda seed=0: grey)
    bias = {} if name == "draw" else {"output_bias": "data"}
    grey_task = lambda: find(name).with_config({"data": "mnist", "batch_size": 4, **bias}).task([])
    if name == "draw":
        with pytest.raises(SeedbedError, match=r"mnist is levels\[256\], .*data that it takes: mnist-"):
            grey_task()
    else:
        model: Any = grey_task().build()
        assert model.domain == grey.domain


def test_a_bound_s_flags():
    plain = Elbo()
    assert plain.utility(100) is elbo_kl
    for changes in ({"beta": 2.0}, {"warm_up": 0.5}, {"free_bits": 1.0}):
        assert replace(plain, **changes).utility(100) is not elbo_kl
        for bound in ({"k": 5}, {"gradient": "dreg"}):
            with pytest.raises(SeedbedError, match="weigh the KL of the ELBO"):
                replace(plain, **changes, **bound).utility(100)
    with pytest.raises(SeedbedError, match="k must be at least 1, got 0"):
        replace(plain, k=0)
    with pytest.raises(SeedbedError, match="gradient"):
        usual("vae").with_config({"gradient": "dregs"})


@pytest.mark.parametrize("bias", ["data", "dark", "none"])
def test_where_the_logits_start(bias):
    sizes = {"latents": 3, "latents_above": 2, "hidden": (4,)}
    task = usual("bottom-up-vae").on("digits-binary").with_config({**sizes, "output_bias": bias}).task([])
    found = task.build().decoders[0].layers[-1].bias
    expected = {"data": factorised_bernoulli(task.data)[0].flatten(), "dark": torch.full((64,), -5.0)}
    assert torch.equal(found, expected[bias]) if bias in expected else found.abs().max() <= 0.5


def test_a_run_with_several_samples_is_judged_by_its_bound(tmp_path):
    run = seedbed.run(
        usual("bottom-up-vae").on("digits-binary").with_config({**TINY, "k": 5, "gradient": "dreg", "latents_above": 1}),
        seeds=2,
        out=tmp_path,
    )
    test = run.table.query("split == 'test'")
    assert set(test["metric"]) == {"neg_iw5_nats", "neg_elbo_nats", "kl_nats", "kl_z1_nats", "kl_z2_nats"}
    means = test.groupby("metric")["value"].mean()
    assert means["neg_iw5_nats"] < means["neg_elbo_nats"]


def test_the_studies():
    iwae = STUDIES["iwae"]
    assert iwae.grid == tuple(
        f"iwae/{data}/iwae{k}-{layers}layer"
        for data in ("mnist-dynamic", "mnist-static")
        for layers in (1, 2)
        for k in (1, 5, 50)
    )
    for name in iwae.grid:
        experiment = iwae.experiments[name]
        declared = experiment.settings
        assert name == f"iwae/{declared['data']}/iwae{declared['k']}-{1 + (declared['latents_above'] > 0)}layer"
        assert 0.3 * experiment.hours <= 1 and experiment.with_budget("full").training.steps == 8_200_000
        assert (name, "nll_nats") in iwae.published
    experiment = STUDIES["vae-static"].experiments["vae-static/mnist-static/mlp-20epochs"]
    static = experiment.training
    assert static.steps * static.batch_size == pytest.approx(20 * 50_000, rel=1e-3)
    source = experiment.with_budget("full").training
    assert (source.lr, source.schedule, source.ema, source.steps) == (3e-4, "constant", 0.0, static.steps)
    assert list(STUDIES["mnist"].experiments) == [f"mnist/{data}/vae" for data in SETS] and STUDIES["mnist"].seeds == 3
    parts = {name: (find(name).data.data, name.split("/")[1]) for name in EXPERIMENTS}
    assert all(data.startswith(part) or data == f"gaussian-{part}" for data, part in parts.values())
    assert find("mnist/mnist-dynamic/vae").data.epoch_examples == 50_000


def test_the_variance_study():
    study = STUDIES["toy-variance"]
    assert len(study.experiments) == 2 * 4 * 5 and study.seeds == 10
    for name, experiment in study.experiments.items():
        assert experiment.training.vary == name.rsplit("-", 1)[1] and experiment.training.steps == 3000
    streams = find("toy-variance/checkerboard/lvae-init").streams([4])[0]
    assert streams.varied == {"init"}


def test_mnist_s_baseline():
    if not os.environ.get("SEEDBED_DATA"):
        pytest.skip("set SEEDBED_DATA to a folder with MNIST/raw")
    assert math.isclose(factorised_bernoulli(load("mnist-dynamic"))[1], 204.7, abs_tol=0.1)
