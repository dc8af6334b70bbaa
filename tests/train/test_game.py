"""Games: who owns what, in which order players act, and that what they want is what they get."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.train.batches import Batches, Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.optim import SGD
from seedbed.train.schedules import constant, linear
from seedbed.train.task import Task

DATA = Dataset(name="numbers", domain=REAL, protocol="", splits={"train": torch.arange(12.0).view(12, 1)})


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.ones(1))
        self.y = nn.Parameter(torch.zeros(1))


def nothing(model, batch, noise, state):
    raise AssertionError("never called")


def player(name, *owns, utility=nothing, lr=0.1, **options):
    return Player(name=name, owns=owns, utility=utility, optimizer=SGD(lr=lr), **options)


def task_of(*players, build=Pair, simultaneous=False, frozen=(), **changes):
    task = Task(
        build=build,
        game=Game(players, simultaneous, frozen),
        data=DATA,
        batches=Shuffled(DATA.splits["train"], 4),
        steps=200,
        eval_every=10,
        measure=lambda stack, split: {},
        select="",
        precision="fp64",
    )
    return replace(task, **changes)


# --- who owns what --------------------------------------------------------------------------------------------------

NAMES = ("encoder.weight", "encoder.bias", "decoder.weight", "encoders.weight")


def test_owned_by_prefix():
    owned = Game((player("e", "encoder"), player("d", "decoder.weight", "encoders"))).check(NAMES)
    assert owned == {"e": ["encoder.weight", "encoder.bias"], "d": ["decoder.weight", "encoders.weight"]}
    assert Game((player("all", ""),)).check(NAMES) == {"all": list(NAMES)}
    assert Game((player("e", "encoder"),), frozen=("decoder", "encoders")).check(NAMES) == {"e": list(NAMES[:2])}


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (Game((player("e", "encoder"),)), "nobody owns decoder.weight, encoders.weight; .* declare them frozen"),
        (Game((player("all", ""), player("d", "decoder"))), "more than one owner for decoder.weight"),
        (Game((player("all", ""),), frozen=("encoders",)), "more than one owner for encoders.weight"),
        (Game((player("all", ""), player("c", "critic"))), "player 'c' owns no parameter"),
        (Game((player("p", "encoder"), player("p", "decoder"))), "players need different names"),
    ],
)
def test_mistakes_are_named(game, message):
    with pytest.raises(SeedbedError, match=message):
        game.check(NAMES)


def test_frozen_and_others_parameters_do_not_move(learner):
    def wants_everything_larger(model, batch, noise, state):
        return Terms((model.x + model.y).expand(len(batch)))

    frozen = learner(task_of(player("p", "x", utility=wants_everything_larger), frozen=("y",)), [0, 1])
    for _ in range(3):
        frozen.advance()
    model = frozen.stack().model(1)
    assert model.x.item() == pytest.approx(1.3)
    assert model.y.item() == 0.0

    both = (
        player("p", "x", utility=wants_everything_larger),
        player("q", "y", utility=lambda *a: Terms(0 * wants_everything_larger(*a).value)),
    )
    played = learner(task_of(*both), [0])
    played.advance()
    model = played.stack().model(0)
    assert (model.x.item(), model.y.item()) == (pytest.approx(1.1), 0.0)


# --- order ----------------------------------------------------------------------------------------------------------


def bilinear(sign):
    def utility(model, batch, noise, state):
        return Terms((sign * model.x * model.y).expand(len(batch)))

    return utility


def orbit(learner, lr, steps, simultaneous):
    players = (player("max", "x", utility=bilinear(1), lr=lr), player("min", "y", utility=bilinear(-1), lr=lr))
    played = learner(task_of(*players, simultaneous=simultaneous), [0, 1])
    points = []
    for _ in range(steps):
        points.append(torch.cat([played.params["max"], played.params["min"]], 1))
        played.advance()
    return torch.stack(points)  # [steps, seeds, 2]


def test_simultaneous_bilinear_game_spirals_outward(learner):
    """max_x min_y xy: each step is a rotation by atan(lr) and a stretch by sqrt(1 + lr^2)."""
    lr, steps = 0.2, 100
    points = orbit(learner, lr, steps, simultaneous=True)
    radius = points.norm(dim=-1)
    expected = torch.sqrt(torch.tensor(1 + lr**2, dtype=torch.float64)) ** torch.arange(steps)
    assert torch.allclose(radius, expected[:, None].expand_as(radius), rtol=1e-10, atol=0)
    angle = torch.atan2(points[1:, 0, 1], points[1:, 0, 0]) - torch.atan2(points[:-1, 0, 1], points[:-1, 0, 0])
    assert torch.allclose(torch.remainder(angle, 2 * math.pi), torch.tensor(2 * math.pi - math.atan(lr)).double(), atol=1e-6)


def test_alternating_bilinear_game_stays_on_its_ellipse(learner):
    """x' = x + lr y, y' = y - lr x' is symplectic: x^2 + y^2 + lr x y, as seen between the steps, never changes."""
    lr = 0.2
    points = orbit(learner, lr, 200, simultaneous=False)
    x, y = points.unbind(-1)
    conserved = x.square() + y.square() + lr * x * y
    assert torch.allclose(conserved, conserved[:1].expand_as(conserved), rtol=1e-10, atol=0)
    radius = points.norm(dim=-1)
    assert (1 + lr / 2) ** -0.5 - 1e-9 < radius.min() < radius.max() < (1 - lr / 2) ** -0.5 + 1e-9


def test_players_act_in_the_order_they_are_listed(learner):
    def x_follows_y(model, batch, noise, state):
        return Terms((model.x * model.y.detach()).expand(len(batch)))

    def y_grows(model, batch, noise, state):
        return Terms(model.y.expand(len(batch)))

    first = (player("grow", "y", utility=y_grows, lr=1.0), player("follow", "x", utility=x_follows_y, lr=1.0))
    for players, simultaneous, expected in ((first, False, 2.0), (first[::-1], False, 1.0), (first, True, 1.0)):
        played = learner(task_of(*players, simultaneous=simultaneous), [0])
        played.advance()
        assert played.stack().model(0).x.item() == expected
        assert played.stack().model(0).y.item() == 1.0


# --- repeats --------------------------------------------------------------------------------------------------------


class Numbered(Batches):
    """Batch n holds the number n."""

    def __call__(self, streams, number):
        return torch.full((len(streams), 2, 1), float(number))


def recorder(seen, name):
    def utility(model, batch, noise, state):
        seen.append((name, batch[0, 0].item(), noise.normal((3,)), noise.address))
        return Terms(sum(p.sum() for p in model.parameters()).expand(len(batch)))

    return utility


@pytest.mark.parametrize("simultaneous", [False, True])
def test_every_repeat_has_its_own_batch_and_noise(learner, simultaneous):
    seen = []
    players = (
        player("critic", "x", utility=recorder(seen, "critic"), repeat=3),
        player("generator", "y", utility=recorder(seen, "generator")),
    )
    played = learner(task_of(*players, batches=Numbered(), simultaneous=simultaneous), [0])
    for _ in range(2):
        played.advance()
    assert [name for name, *_ in seen] == (["critic"] * 3 + ["generator"]) * 2
    assert [number for _, number, *_ in seen] == list(range(8))
    assert [address for *_, address in seen] == [(s, p, r) for s in (0, 1) for p, r in ((0, 0), (0, 1), (0, 2), (1, 0))]
    assert len({tuple(draw.tolist()) for _, _, draw, _ in seen}) == 8
    model = played.stack().model(0)
    assert model.x.item() == pytest.approx(1 + 6 * 0.1)  # every repeat is an update
    assert model.y.item() == pytest.approx(2 * 0.1)


# --- step size, clipping, average -----------------------------------------------------------------------------------


def test_each_player_has_its_own_schedule(learner):
    def up(model, batch, noise, state):
        return Terms((model.x + model.y).expand(len(batch)))

    players = (player("flat", "x", utility=up, schedule=constant()), player("falling", "y", utility=up, schedule=linear()))
    played = learner(task_of(*players, steps=4), [0])
    for _ in range(4):
        played.advance()
    assert played.stack().model(0).x.item() == pytest.approx(1 + 4 * 0.1)
    assert played.stack().model(0).y.item() == pytest.approx(0.1 * (1 + 0.75 + 0.5 + 0.25))


class PerSeed(Batches):
    """Seed s sees the number 10^s."""

    def __call__(self, streams, number):
        return torch.stack([torch.full((2, 1), 10.0**s.seed) for s in streams])


def test_gradients_are_clipped_per_seed(learner):
    def slope(model, batch, noise, state):
        return Terms(batch[:, 0] * (3 * model.x + 4 * model.y))  # gradient (3, 4) times the seed's number

    played = learner(task_of(player("p", "", utility=slope, lr=1.0, clip=20.0), batches=PerSeed()), [0, 1, 2])
    start = played.params["p"].clone()
    played.advance()
    moved = played.params["p"] - start
    direction = torch.tensor([0.6, 0.8], dtype=torch.float64)
    assert torch.allclose(moved, torch.tensor([[5.0], [20.0], [20.0]]) * direction, rtol=1e-6)
    assert torch.equal(moved[0], torch.tensor([3.0, 4.0], dtype=torch.float64))  # a short gradient is left as it is


def test_the_moving_average_follows_its_formula(learner):
    def up(model, batch, noise, state):
        return Terms((model.x + 2 * model.y).expand(len(batch)))

    played = learner(task_of(player("p", "", utility=up), ema=0.5), [0, 1])
    average = played.params["p"].clone()
    for step in range(30):
        played.advance()
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * played.params["p"]
        assert torch.allclose(played.average["p"], average, rtol=1e-12, atol=0)
    kept = played.stack().model(1)
    assert kept.x.item() == pytest.approx(average[1, 0].item())
    assert kept.x.item() != pytest.approx(played.params["p"][1, 0].item())
