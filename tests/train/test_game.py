"""Games: who owns what, in which order players act, and that what they want is what they get."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.slots import Slots
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.train.batches import Batches, Shuffled
from seedbed.train.controllers import Plateau
from seedbed.train.game import Game, Player
from seedbed.train.learner import STOPPED
from seedbed.train.optim import SGD, Adam
from seedbed.train.schedules import constant, linear
from seedbed.train.task import Task

DATA = Dataset(name="numbers", domain=REAL, protocol="", splits={"train": torch.arange(12.0).view(12, 1)})


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.ones(1))
        self.y = nn.Parameter(torch.zeros(1))


def nothing(model, batch, ctx):
    raise AssertionError("never called")


def player(name, *owns, utility=nothing, lr=0.1, **options):
    return Player(name=name, owns=owns, utility=utility, optimizer=SGD(lr=lr), **options)


def task_of(*players, build=Pair, simultaneous=False, frozen=(), **changes):
    task = Task(
        build=build,
        game=Game(players, simultaneous, frozen),
        data=DATA,
        batches=Shuffled(DATA.splits["train"][:], 4),
        steps=200,
        eval_every=10,
        measure=lambda stack, split: {},
        select="",
        precision="fp64",
    )
    return replace(task, **changes)


# --- who owns what --------------------------------------------------------------------------------------------------

NAMES = {n: [n] for n in ("encoder.weight", "encoder.bias", "decoder.weight", "encoders.weight")}


def test_owned_by_prefix():
    owned = Game((player("e", "encoder"), player("d", "decoder.weight", "encoders"))).check(NAMES)
    assert owned == {"e": ["encoder.weight", "encoder.bias"], "d": ["decoder.weight", "encoders.weight"]}
    assert Game((player("all", ""),)).check(NAMES) == {"all": list(NAMES)}
    assert Game((player("e", "encoder"),), frozen=("decoder", "encoders")).check(NAMES) == {"e": list(NAMES)[:2]}


def test_the_longest_prefix_decides():
    owned = Game((player("all", ""), player("b", "encoder.bias"), player("e", "encoder"))).check(NAMES)
    assert owned == {"all": ["decoder.weight", "encoders.weight"], "b": ["encoder.bias"], "e": ["encoder.weight"]}
    assert Game((player("all", ""),), frozen=("encoder",)).check(NAMES) == {"all": ["decoder.weight", "encoders.weight"]}


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (Game((player("e", "encoder"),)), "nobody owns decoder.weight, encoders.weight; .* declare them frozen"),
        (Game((player("all", ""), player("c", "critic"))), "player 'c' owns no parameter"),
        (Game((player("p", "encoder"), player("p", "decoder"))), "players need different names"),
        (
            Game((player("all", ""), player("d", "decoder"), player("f", "decoder"))),
            "more than one owner for decoder.weight: player 'd' owns 'decoder', which matches decoder.weight, "
            "and player 'f' owns 'decoder', which matches decoder.weight; make the players' `owns` disjoint",
        ),
        (
            Game((player("all", ""),), frozen=("",)),
            "more than one owner for encoder.weight: player 'all' owns '', .* and frozen are '', .* disjoint",
        ),
    ],
)
def test_mistakes_are_named(game, message):
    with pytest.raises(SeedbedError, match=message):
        game.check(NAMES)


@pytest.mark.parametrize(
    ("name", "wrong", "right", "wanted"),
    [
        ("clip", 0.0, 1e-3, "above 0"),
        ("repeat", 0, 1, "at least 1"),
        ("ema", 1.0, 0.999, "below 1"),
        ("skip_above", -1.0, 1.0, "above 0"),
        ("most_skips", -1, 0, "at least 0"),
    ],
)
def test_a_player_s_numbers_are_in_their_range(name, wrong, right, wanted):
    with pytest.raises(SeedbedError, match=f"{name} of player 'p' must be {wanted}, got {wrong}"):
        player("p", **{name: wrong})
    assert getattr(player("p", **{name: right}), name) == right


class Shares(nn.Module):
    """Two parts with a module in common, in either order of their attributes."""

    def __init__(self, order=("encoder", "decoder")):
        super().__init__()
        shared = nn.Linear(1, 1)
        for name in order:
            self.add_module(name, nn.ModuleDict({"own": nn.Linear(1, 1), "shared": shared}))


def owners(model, *players, frozen=()):
    aliases = Slots(model).aliases
    owned = Game(players, frozen=frozen).check({n: aliases[n] for n, _ in model.named_parameters()})
    return {name: {alias for key in mine for alias in aliases[key]} for name, mine in owned.items()}


ORDERS = (("encoder", "decoder"), ("decoder", "encoder"))
BOTH = {f"{part}.shared.{key}" for part in ORDERS[0] for key in ("weight", "bias")}


@pytest.mark.parametrize("order", ORDERS)
def test_who_owns_a_shared_module_is_not_decided_by_the_order_of_attributes(order):
    e, d = player("e", "encoder"), player("d", "decoder")
    with pytest.raises(SeedbedError) as raised:
        owners(Shares(order), e, d)
    text = str(raised.value)
    for said in ("player 'e' owns 'encoder', which matches encoder.shared.", "player 'd' owns 'decoder', which matches"):
        assert said in text
    assert 'owns=("decoder", "encoder.shared") for player \'d\'' in text
    own = {f"decoder.own.{key}" for key in ("weight", "bias")}
    assert owners(Shares(order), e, player("d", "decoder", "encoder.shared"))["d"] == own | BOTH
    assert owners(Shares(order), player("e", "encoder", "decoder.shared"), d)["d"] == own
    assert owners(Shares(order), e, d, frozen=("encoder.shared",))["d"] == own


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.output = nn.Embedding(3, 2), nn.Linear(2, 3, bias=False)
        self.output.weight = self.embedding.weight
        self.rest = nn.Linear(1, 1)


def test_a_tied_weight_has_two_names():
    i, o = player("i", "embedding", "rest"), player("o", "output")
    with pytest.raises(SeedbedError, match=r'owns=\("output", "embedding.weight"\) for player \'o\''):
        owners(Tied(), i, o)
    assert owners(Tied(), i, player("o", "output", "embedding.weight"))["o"] == {"embedding.weight", "output.weight"}


@pytest.mark.parametrize("order", ORDERS)
def test_a_shared_module_moves_in_all_its_places_and_by_its_owner_alone(learner, order):
    def sees(name, sign):
        def utility(model, batch, ctx):
            part, whole = model.get_submodule(name), model.get_submodule(name.split(".")[0])
            return Terms((sign * part.weight.sum() + whole["own"].weight.sum()).expand(len(batch)))

        return utility

    players = (
        player("e", "encoder", "decoder.shared", utility=sees("encoder.shared", 1.0)),
        player("d", "decoder", utility=sees("decoder.shared", -7.0)),
    )
    played = learner(task_of(*players, build=lambda: Shares(order)), [0, 1])
    start = [played.stack().model(row).encoder["shared"].weight.item() for row in range(2)]
    for _ in range(3):
        played.advance()
    for row in range(2):
        model = played.stack().model(row)
        assert model.encoder["shared"] is model.decoder["shared"]
        assert model.decoder["shared"].weight.item() == pytest.approx(start[row] + 3 * 0.1)


def test_frozen_and_others_parameters_do_not_move(learner):
    def wants_everything_larger(model, batch, ctx):
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
    def utility(model, batch, ctx):
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
    def x_follows_y(model, batch, ctx):
        return Terms((model.x * model.y.detach()).expand(len(batch)))

    def y_grows(model, batch, ctx):
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
    def utility(model, batch, ctx):
        seen.append((name, batch[0, 0].item(), ctx.noise.normal((3,)), ctx.noise.address))
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
    def up(model, batch, ctx):
        return Terms((model.x + model.y).expand(len(batch)))

    players = (player("flat", "x", utility=up, schedule=constant()), player("falling", "y", utility=up, schedule=linear()))
    played = learner(task_of(*players, steps=4), [0])
    for _ in range(4):
        played.advance()
    assert played.stack().model(0).x.item() == pytest.approx(1 + 4 * 0.1)
    assert played.stack().model(0).y.item() == pytest.approx(0.1 * (1 + 0.75 + 0.5 + 0.25))


def test_the_average_of_a_seed_that_has_ended_stands_still(learner):
    def up(model, batch, ctx):
        return Terms((model.x + 2 * model.y).expand(len(batch)))

    played = learner(task_of(player("p", "", utility=up, ema=0.5)), [0, 1])
    for _ in range(3):
        played.advance()
    played.end(torch.tensor([True, False]), STOPPED)
    before = played.params["p"].clone(), played.average["p"].clone()
    for _ in range(3):
        played.advance()
    for old, new in zip(before, (played.params["p"], played.average["p"]), strict=True):
        assert torch.equal(old[0], new[0]) and not torch.equal(old[1], new[1])


class PerSeed(Batches):
    """Seed s sees the number 10^s."""

    def __call__(self, streams, number):
        return torch.stack([torch.full((2, 1), 10.0**s.seed) for s in streams])


def test_gradients_are_clipped_per_seed(learner):
    def slope(model, batch, ctx):
        return Terms(batch[:, 0] * (3 * model.x + 4 * model.y))  # gradient (3, 4) times the seed's number

    played = learner(task_of(player("p", "", utility=slope, lr=1.0, clip=20.0), batches=PerSeed()), [0, 1, 2])
    start = played.params["p"].clone()
    played.advance()
    moved = played.params["p"] - start
    direction = torch.tensor([0.6, 0.8], dtype=torch.float64)
    assert torch.allclose(moved, torch.tensor([[5.0], [20.0], [20.0]]) * direction, rtol=1e-6)
    assert torch.equal(moved[0], torch.tensor([3.0, 4.0], dtype=torch.float64))  # a short gradient is left as it is


def test_records_are_of_each_seed_and_each_part(learner):
    def shown(model, batch, ctx):
        return Terms(batch[:, 0] + 0 * model.x, {"square": batch[:, 0] ** 2, "mean": batch.mean() + 0 * model.y.sum()})

    played = learner(task_of(player("p", "", utility=shown), batches=PerSeed()), [0, 1, 2])
    for _ in range(2):
        played.advance()
    found = {name: values.tolist() for name, values in played.averages()["p"].items()}
    assert found == {"utility": [1.0, 10.0, 100.0], "square": [1.0, 100.0, 10_000.0], "mean": [1.0, 10.0, 100.0]}
    assert played.averages() == {}  # each update is recorded once


def test_the_moving_average_follows_its_formula(learner):
    def up(model, batch, ctx):
        return Terms((model.x + 2 * model.y).expand(len(batch)))

    played = learner(task_of(player("p", "", utility=up, ema=0.5)), [0, 1])
    average = played.params["p"].clone()
    for step in range(30):
        played.advance()
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * played.params["p"]
        assert torch.allclose(played.average["p"], average, rtol=1e-12, atol=0)
    kept = played.stack().model(1)
    assert kept.x.item() == pytest.approx(average[1, 0].item())
    assert kept.x.item() != pytest.approx(played.params["p"][1, 0].item())


@pytest.mark.parametrize("simultaneous", [False, True])
def test_an_average_is_its_players_and_moves_once_a_step(learner, simultaneous):
    def up(model, batch, ctx):
        return Terms((model.x + 2 * model.y).expand(len(batch)))

    players = (player("p", "x", utility=up, ema=0.5, repeat=3), player("q", "y", utility=up))
    played = learner(task_of(*players, simultaneous=simultaneous), [0, 1])
    average = played.params["p"].clone()
    for step in range(12):
        played.advance()
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * (1 + 0.1 * 3 * (step + 1))
        assert torch.allclose(played.average["p"], average, rtol=1e-12, atol=0)
    assert list(played.average) == ["p"]
    model = played.stack().model(1)
    assert (model.x.item(), model.y.item()) == (pytest.approx(average[1, 0].item()), pytest.approx(0.2 * 12))


# --- settings -------------------------------------------------------------------------------------------------------


def test_rows_differ_by_their_settings_recorded_or_not(learner):
    def slope(model, batch, ctx):
        return Terms((ctx.settings["slope"] * model.x + model.y).expand(len(batch)))

    played = learner(task_of(player("p", "", utility=slope), settings={"slope": [1.0, -2.0, 5.0]}), [0, 0, 0])
    played.replays["p"].after = 2
    for _ in range(8):
        played.advance()
    assert played.replays["p"].recorded
    expected = 1 + 0.8 * torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    assert torch.allclose(played.params["p"][:, 0], expected, rtol=1e-12)
    played.structure = replace(played.structure, settings={"slope": torch.zeros(3, dtype=torch.float64)})
    played.advance()  # the settings are arguments of what was recorded, not part of it
    assert torch.allclose(played.params["p"][:, 0], expected, rtol=1e-12)


SENSELESS = {
    "clip": (0.0, -1.0, float("nan")),
    "skip_above": (0.0, -1.0),
    "most_skips": (-1,),
    "ema": (1.0, 2.0, -0.1),
    "repeat": (0, -1),
    "name": ("", "a/b"),
    "schedule": (Plateau,),
}


@pytest.mark.parametrize(("setting", "value"), [(name, value) for name, values in SENSELESS.items() for value in values])
def test_a_player_refuses_what_makes_no_sense(setting, value):
    with pytest.raises(
        SeedbedError, match="name" if setting == "name" else f"{setting} of player 'model' must be"
    ) as raised:
        Player(**{"utility": lambda model, x, ctx: None, setting: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (Plateau, {"by": 0.0}),
        (Plateau, {"by": 1.0}),
        (Plateau, {"by": float("nan")}),
        (Plateau, {"patience": -1}),
        (Plateau, {"least": 2.0}),
        (Plateau, {"threshold": -1.0}),
        (Adam, {"lr": -1.0}),
        (Adam, {"lr": float("nan")}),
        (Adam, {"beta1": 1.0}),
        (Adam, {"eps": -1.0}),
        (SGD, {"momentum": 1.0}),
        (SGD, {"weight_decay": -1.0}),
    ],
)
def test_a_rule_refuses_numbers_that_make_no_sense(rule, values):
    (name,) = values
    with pytest.raises(SeedbedError, match=name):
        rule(**values)


def test_nobody_plays():
    with pytest.raises(SeedbedError, match="at least one player"):
        Game(()).check({"weight": ["weight"]})
