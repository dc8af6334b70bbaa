"""What decoded pictures show: of a decoder that returns its input, of one that knows one picture, and by hand."""

from collections.abc import Generator

import pytest
import torch
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.evaluate.estimator import Limits
from seedbed.evaluate.features.known import Features
from seedbed.evaluate.features.net import Seen
from seedbed.evaluate.quality import reconstructions as module
from seedbed.evaluate.quality.reconstructions import look, reconstructions
from seedbed.evaluate.trajectory import Walk, Walked

SIDE, SHORT = 4, Walk(1, 1e-6)


class Repeats(nn.Module, LatentVariable):
    """z is the picture itself, or says nothing where the decoder knows one picture alone."""

    def __init__(self, only: Tensor | None = None) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(400.0, dtype=torch.float64))
        self.only = only

    @property
    def domain(self) -> Domain:
        return BINARY

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        q = None if x is None else DiagonalNormal(x.flatten(1), torch.full_like(x.flatten(1), -20.0))
        z = yield Layer("z", StandardNormal(SIDE * SIDE), q)
        shown = z if self.only is None else self.only.flatten().expand(z.shape)
        return Bernoulli((self.gain * (shown - 0.5)).unflatten(-1, (1, SIDE, SIDE)), 3)


def corner(x: Tensor) -> Seen:
    """Sure of class 0 or 1 where the upper or the lower half alone is white, of none of these otherwise."""
    above, below = x[:, :, :2].mean((1, 2, 3)), x[:, :, 2:].mean((1, 2, 3))
    logits = 20 * torch.stack([above - 2 * below, below - 2 * above, torch.full_like(above, 0.2)], 1)
    return Seen(x.flatten(1), logits)


NET = Features("corner", "0", corner, (1, SIDE, SIDE), ("up", "down"))
UP, DOWN, WHITE = torch.zeros(3, 1, SIDE, SIDE).double().unbind()
UP[:, :2], DOWN[:, 2:], WHITE[:] = 1, 1, 1


def dataset(labels=(0, 1, 1, 1, 0)):
    x = torch.stack([UP, DOWN, DOWN, WHITE, DOWN])
    known = {"test": torch.tensor(labels)} if labels else {}
    return Dataset(name="halves", domain=BINARY, protocol="", splits={"train": x, "test": x}, labels=known)


def measured(model, how=SHORT, data=None):
    stack = Stack.of([model, model], [Streams(0), Streams(1)], "fp64")
    return {name: v for name, (v, _) in reconstructions(stack, data or dataset(), "test", Limits(), NET, how).items()}


def test_a_decoder_that_returns_its_input_is_recognised_as_the_classifier_recognises_that():
    found = measured(Repeats())
    # Of the fourth it is sure of nothing, of the fifth of another class than it is said to be.
    expected = torch.tensor([1, 1, 1, 0, 0.0])
    for what in ("example", "reconstruction", "walk"):
        assert found[f"{what}_recognised_share@corner-0"].tolist() == [expected.tolist()] * 2
        assert found[f"{what}_undecided"].max() < 1e-12
    assert found["walk_changed_share@corner-0"].max() == 0
    # Two halves have a slope of 4 pixels of 12 in one direction, white none.
    usual = (4 * 4 / 12) / 5
    assert found["reconstruction_sharpness"][0].tolist() == pytest.approx([4 / 12 / usual] * 3 + [0, 4 / 12 / usual])
    assert "prior_sharpness" in found and "example_sharpness" not in found


def test_a_decoder_of_one_picture_is_recognised_where_the_input_is_of_its_class():
    found = measured(Repeats(DOWN))
    assert found["reconstruction_recognised_share@corner-0"][0].tolist() == [0, 1, 1, 1, 0]
    assert found["prior_recognised_share@corner-0"].mean() == 1
    assert measured(Repeats(WHITE))["prior_recognised_share@corner-0"].mean() == 0


def test_sharpness_by_hand():
    grey = torch.full((1, SIDE, SIDE), 0.5).double()
    found = look(torch.stack([UP, grey, 0.5 * UP])[None], NET)
    assert found.undecided[0].tolist() == [0, 1, 0.5]
    assert found.slope[0].tolist() == pytest.approx([4 / 12, 0, 2 / 12])
    assert found.known.tolist() == [[0, -1, 0]]
    # Bits are shown as the likeliest, and are as sharp as their probabilities.
    unsure = torch.stack([0.7 * UP, 0.4 * UP])[None]
    assert look(unsure, NET, bits=True).known.tolist() == [[0, -1]]
    assert torch.equal(look(unsure, NET, bits=True).slope, look(unsure, NET).slope)


def test_walks_that_end_in_another_class_are_counted_where_both_ends_are_sure(monkeypatch):
    begin, end = (torch.stack(some).flatten(1) for some in ([UP, DOWN, UP, WHITE, DOWN], [DOWN, DOWN, WHITE, UP, UP]))

    def given(stack, x, address, how):
        positions = torch.stack([begin, end])[None].expand(2, -1, -1, -1)
        yield Walked(0, positions, torch.zeros(2, 1, 5).double(), torch.ones(2).double())

    monkeypatch.setattr(module, "walks", given)
    found = measured(Repeats(), Walk(1, 0.1))
    assert found["walk_changed_share@corner-0"][1].tolist() == [1, 0, 0, 0, 1]
    assert found["reconstruction_recognised_share@corner-0"][1].tolist() == [1, 1, 0, 0, 0]
    assert found["walk_recognised_share@corner-0"][1].tolist() == [0, 1, 0, 0, 1]


def test_what_cannot_be_recognised_is_refused():
    with pytest.raises(SeedbedError, match="halves has no classes that its test pictures could be recognised by"):
        measured(Repeats(), data=dataset(()))
    with pytest.raises(SeedbedError, match="corner knows 2 classes, halves has 3"):
        measured(Repeats(), data=dataset((0, 1, 2, 1, 0)))
    blind = Features("blind", "0", lambda x: x.flatten(1), (1, SIDE, SIDE))
    with pytest.raises(SeedbedError, match="no classifier's"):
        reconstructions(Stack.of([Repeats()], [Streams(0)], "fp64"), dataset(), "test", Limits(), blind, Walk(1, 1e-6))
