"""The study of symmetric learning: at `full` it is the source's model, and its training that of two players in turn."""

import pytest
import torch
from torch import nn

from seedbed.core.domain import BINARY, REAL
from seedbed.data.dataset import Dataset
from seedbed.experiments import OfBits, SymmetricVAE, Training, find
from seedbed.experiments.symmetric import EXPERIMENTS
from seedbed.objectives.equilibrium import encoder_utility
from seedbed.train.schedules import constant

WEIGHTS = {  # of p(z2 | z1), p(x | z2) and the encoder
    ("mnist", "ladder", 30): (442_300, 375_457, 2_202_386),
    ("mnist", "reverse", 30): (442_300, 375_457, 1_460_156 + 802_830),
    ("fashion-mnist", "ladder", 30): (442_300, 375_457, 4_354_786),
    ("fashion-mnist", "reverse", 30): (442_300, 375_457, 1_460_156 + 802_830),
    ("fashion-mnist", "ladder", 50): (521_400, 580_257, 4_481_906),
}


def activations(layers: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """What goes into the convolutions, but for the first."""
    found = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, given: found.append(given[0]))
        for layer in layers.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    layers(x)
    for hook in hooks:
        hook.remove()
    return found[1:]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_full_is_the_sources(name):
    full, readme = find(name).with_budget("full"), name.endswith("-readme")
    data, encoder = name.split("/")[1], name.split("/")[2].split("-")[0]
    fashion = data == "fashion-mnist"
    training = full.training
    assert (training.batch_size, training.lr, training.optimizer, training.betas) == (1024, 1e-4, "adam", ())
    assert (training.schedule, training.ema, training.clip, training.patience) == ("constant", 0.0, 0.0, 0)
    assert training.steps == (200_000 if readme else 280_000 if fashion else 1_000_000)
    assert full.settings["corruption"] == (0.01 if fashion else 0.001)
    assert full.settings["learning"] == ("zgr" if "elbo" in name else "symmetric")
    bits = (50, 200) if fashion and not readme else (30, 100)
    assert full.settings["bits"] == bits and full.settings["encoder"] == encoder
    assert full.settings["data"] == ("fashion-mnist-share" if fashion else "mnist-threshold-0.4375")
    x = torch.rand(4, 1, 28, 28)
    domain, x = (REAL if fashion else BINARY), (x if fashion else x.round())
    blank = Dataset(name="x", domain=domain, protocol="", splits=dict.fromkeys(("train", "valid", "test"), x))
    model = full.model.build(blank)
    if (expected := WEIGHTS.get((data, encoder, bits[0]))) is not None:
        parts = model.decoder.steps, model.decoder.out, model.encoder
        assert tuple(sum(p.numel() for p in part.parameters()) for part in parts) == expected
    assert [list(h.shape[1:]) for h in activations(model.encoder.trunk, x)] == [
        *[[32, 28, 28], [32, 27, 27], [64, 13, 13], [64, 11, 11], [64, 9, 9], [128, 4, 4]]
    ]
    # Tanh throughout, but for ReLU in the decoder of the grey images.
    down = activations(model.decoder.out, torch.ones(2, bits[1], 1, 1))
    assert [h.shape[-1] for h in down] == [4, 9, 11, 13, 27, 28]
    assert all(bool((h < 0).any()) != fashion and h.abs().max() < 1 + 1e3 * fashion for h in down)
    assert all(bool((h < 0).any()) and h.abs().max() < 1 for h in activations(model.encoder.trunk, x))


def test_the_players_take_turns_each_owning_its_half():
    game = OfBits().game(Training(ema=0.5, lr=0.25), SymmetricVAE())
    assert [(p.name, p.owns, p.data, p.ema) for p in game.players] == [
        ("decoder", ("decoder",), True, 0.5),
        ("encoder", ("encoder",), False, 0.5),
    ]
    assert not game.simultaneous and game.players[1].utility is encoder_utility
    assert [p.optimizer.lr for p in game.players] == [0.25, 0.25]
    game = OfBits(encoder_lr=0.125).game(Training(lr=0.25), SymmetricVAE())
    assert [p.optimizer.lr for p in game.players] == [0.25, 0.125]
    (one,) = OfBits(learning="zgr").game(Training(schedule="constant"), SymmetricVAE()).players
    assert (one.owns, one.data, one.schedule(999, 1000)) == (("",), True, constant()(0, 1000))
