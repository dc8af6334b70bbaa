"""The study of Hamiltonian posteriors: the same nets and the same training in every arm, and what `full` is."""

import pytest
import torch

from seedbed.core.domain import BINARY
from seedbed.core.errors import SeedbedError
from seedbed.data.dataset import Dataset
from seedbed.experiments import STUDIES, find
from seedbed.experiments.check import check_fit
from seedbed.experiments.hvae_mnist import ARMS, EQUAL_TIME, GRID, K_IW, LAPTOP

BLANK = {split: torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)).round() for split in ("train", "valid")}
DATA = Dataset(name="x", domain=BINARY, protocol="", splits=BLANK)


def shapes(net):
    return [tuple(p.shape) for p in net.parameters()]


def built(name):
    return find(name).model.build(DATA)


def test_every_arm_has_the_same_nets_and_the_same_training():
    trained = {
        name: {k: v for k, v in e.settings.items() if k in vars(LAPTOP) and k not in ("steps", "eval_every", "lr")}
        for name, e in GRID.items()
    }
    assert len({tuple(map(str, settings.items())) for settings in trained.values()}) == 1
    decoders = {name: shapes(built(name).decoder) for name in GRID}
    mlp = [(200, 64), (200,), (200, 200), (200,), (784, 200), (784,)]
    assert all(found == mlp for found in decoders.values())
    for name in GRID:
        model = built(name)
        first, _, second, _, head, _ = shapes(model.encoder if hasattr(model, "encoder") else model.inference_net)
        assert (first, second) == ((200, 784), (200, 200)) and head[0] >= 128
        assert (head[0] == 128) == ("iaf" not in name and "planar" not in name)  # those tell their maps of x
    assert {name: GRID[f"hvae-mnist/mnist-dynamic/{name}"].training.steps for name in ARMS} == dict.fromkeys(
        ARMS, LAPTOP.steps
    )
    for name, steps in EQUAL_TIME.items():
        plain, longer = (GRID[f"hvae-mnist/mnist-dynamic/{end}"] for end in (name, f"{name}-equal-time"))
        assert longer.training.steps == steps > LAPTOP.steps and longer.model == plain.model
    assert GRID["hvae-mnist/mnist-dynamic/iwae"].settings["k"] == K_IW


@pytest.mark.parametrize("tempering", ["none", "fixed", "free"])
def test_hamiltonian_arms_take_five_leapfrogs_of_sizes_of_their_own(tempering):
    leapfrog = built(f"hvae-mnist/mnist-dynamic/hvae-{tempering}").leapfrog
    assert (leapfrog.count, leapfrog.tempering, tuple(leapfrog.step_sizes.shape)) == (5, tempering, (5, 64))


def test_full_is_the_originals():
    for name in ("hvae-mnist/mnist-dynamic/conv-vae", "hvae-mnist/mnist-dynamic/conv-hvae"):
        full = find(name).with_budget("full")
        training = full.training
        assert (training.steps, training.batch_size, training.lr, training.optimizer) == (1_000_000, 100, 1e-3, "adamax")
        assert (training.schedule, training.ema, training.eval_every, training.patience) == ("constant", 0.0, 500, 100)
        assert STUDIES["hvae-mnist"].published[name, "nll_nats"] == (83.20 if name.endswith("-vae") else 82.62)
    leapfrog = built("hvae-mnist/mnist-dynamic/conv-hvae").leapfrog
    assert leapfrog.count == 10 and leapfrog.step_size_most == 0.5
    torch.testing.assert_close(leapfrog.step_sizes, torch.full((10, 64), 0.2))
    torch.testing.assert_close(leapfrog.factors, torch.full((10,), 0.9))


def test_the_sources_preset_is_the_sources():
    full = find("hvae-mnist/mnist-threshold/conv-hvae").with_budget("full")
    assert (full.training.steps, full.training.batch_size, full.training.lr) == (40 * 195, 256, 1e-3)
    leapfrog = built("hvae-mnist/mnist-threshold/conv-hvae").leapfrog
    assert leapfrog.count == 15 and leapfrog.tempering == "free"
    torch.testing.assert_close(leapfrog.step_sizes, torch.full((15, 64), 0.005))
    iwae = find("hvae-mnist/mnist-threshold/conv-iwae")
    assert iwae.settings["k"] == 40 and iwae.settings["leapfrogs"] == 0


def test_convolutions_take_images_of_one_size():
    with pytest.raises(SeedbedError, match="takes grey pictures of 28 x 28"):
        check_fit(find("hvae-mnist/mnist-dynamic/conv-hvae").model, "x", BINARY, (1, 8, 8))
