"""A player without data: none is drawn for it, the others' stays what it was, and a look at what is not there is refused."""

import copy
from dataclasses import replace

import pytest
import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.terms import Terms
from seedbed.train.batches import Batches
from seedbed.train.game import Game
from seedbed.train.looks import look_at
from seedbed.train.unseen import Unseen

SEEDS = [0, 1]


def with_generator(task, **changes):
    """The game with another generator."""
    players = tuple(replace(p, **changes) if p.name == "generator" else p for p in task.game.players)
    return replace(task, game=Game(players))


class Counted(Batches):
    """Batches, and the numbers of those that were drawn."""

    def __init__(self, batches):
        self.batches = batches
        self.numbers = []

    def __call__(self, streams, number):
        self.numbers.append(number)
        return self.batches(streams, number)


def drawn(task, learner, steps):
    """The numbers of the batches that steps draw, and the learner after them."""
    counted = Counted(task.batches)
    one = learner(replace(task, batches=counted), SEEDS)
    counted.numbers.clear()  # the first one is looked at before the first step, for its size
    for _ in range(steps):
        one.advance()
    return counted.numbers, one


def test_none_is_drawn_for_it_and_nothing_else_moves(workloads, learner):
    task = workloads["wgan-gp"]()  # two updates of the critic, then one of the generator
    assert [player.data for player in task.game.players] == [True, False]
    spared, without = drawn(task, learner, 3)
    every, with_data = drawn(with_generator(task, data=True), learner, 3)
    assert every == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert spared == [0, 1, 3, 4, 6, 7]  # a number stays that of its player and repeat
    for name, value in with_data.params.items():
        assert torch.equal(without.params[name], value), name
    assert without.averages().keys() == with_data.averages().keys()


def test_it_is_the_same_recorded(workloads, learner):
    called, played = (learner(workloads["wgan-gp"](), SEEDS) for _ in range(2))
    for replay in played.replays.values():
        replay.after = 3
    for _ in range(8):
        called.advance()
        played.advance()
    assert all(replay.recorded for replay in played.replays.values())
    for name, value in called.params.items():
        assert torch.equal(played.params[name], value), name


LOOKS = {
    "its values": (lambda x: x.mean(), "'generator' looks at its batch, but its player has no data"),
    "its entries": (lambda x: x["x"], "'generator' looks at its batch"),
    "a row": (lambda x: x[0], "'generator' looks at its batch"),
    "a tensor operation": (lambda x: torch.square(x), "computes with its batch, but its player has no data"),
    "a sum": (lambda x: torch.ones(2) + x, "computes with its batch"),
    "a sum with it first": (lambda x: x + torch.ones(2), "computes with its batch"),
    "a number": (lambda x: 2 * x, "does not run: TypeError"),
    "a loop": (lambda x: list(x), "'generator' looks at its batch"),
}


@pytest.mark.parametrize("how", LOOKS)
def test_who_looks_at_what_is_not_there_is_refused_in_one_line(workloads, learner, how):
    touch, says = LOOKS[how]
    task = workloads["wgan-gp"]()
    plain = task.game.players[1].utility

    def curious(model, x, ctx):
        touch(x)
        return plain(model, x, ctx)

    with pytest.raises(SeedbedError, match=says) as raised:
        look_at(learner(with_generator(task, utility=curious), SEEDS))
    assert "\n" not in str(raised.value)


def test_its_values_are_as_many_as_its_batch_is_long(workloads, learner):
    def short(model, x, ctx):
        return Terms(model.critic(model.sample(3, ctx)).squeeze(-1))

    with pytest.raises(SeedbedError, match=r"one value per example, \[batch\], got \[3\] for a batch of 32"):
        look_at(learner(with_generator(workloads["wgan-gp"](), utility=short), SEEDS))


def test_it_has_a_length_and_may_be_copied():
    assert len(copy.deepcopy(Unseen("p", 7))) == 7
