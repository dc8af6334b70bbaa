"""What would train to wrong numbers without a word is named in one line before a step is taken."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from seedbed.core.capabilities import HasState
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.terms import Terms
from seedbed.store.folder import Folder
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.looks import look_at
from seedbed.train.loop import train_group

PRECISIONS = ("fp32", "fp64", "bf16")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 4), nn.Tanh())
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.body(x)).squeeze(-1)


def fit(model, x, ctx):
    return Terms(-(model(x) - x.sum(-1)).square())


@pytest.fixture
def probed(workloads, learner):
    """``probed(build, utility)``: look at the game of one player."""

    def look(build, utility=fit, precision="fp32", **changes):
        task = workloads["small-vae"](precision)
        look_at(learner(replace(task, build=build, game=Game((Player(utility=utility),)), **changes), [0, 1]))

    return look


def refused(probed, message, *args, **options):
    with pytest.raises(SeedbedError, match=message) as raised:
        probed(*args, **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_sound_passes(probed, precision):
    probed(Net, precision=precision)


@pytest.mark.parametrize("name", ["small-vae", "small-gan", "char-gru"])
def test_a_look_changes_nothing(workloads, learner, name):
    looked, plain = (learner(workloads[name](), [0, 1]) for _ in range(2))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    look_at(looked)
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    for one in (looked, plain):
        for _ in range(3):
            one.advance()
    for player, value in plain.params.items():
        assert torch.equal(looked.params[player], value)
    for key, value in plain.state["modules"].items():
        assert torch.equal(looked.state["modules"][key], value)


def test_it_is_refused_before_anything_is_trained_or_written(workloads, tmp_path):
    task = workloads["small-vae"](steps=4, eval_every=2)
    bad = replace(task, build=Net, game=Game((Player(utility=means_of_the_batch),)))
    with pytest.raises(SeedbedError, match="see each other"):
        train_group(bad, Folder(tmp_path), (0, 1), [Streams(0), Streams(1)], device=torch.device("cpu"), threads=1)
    assert not list(tmp_path.rglob("*.safetensors")) and not Folder(tmp_path).table((0, 1)).read()


# --- parameters that nobody knows of ---------------------------------------------------------------------------------


def holding(make, where="heads"):
    class Hides(Net):
        def __init__(self):
            super().__init__()
            make(self, where)

    return Hides


HIDDEN = {
    "parameters in a list": (
        lambda m, a: setattr(m, a, [nn.Parameter(torch.zeros(2))]),
        r"Hides.heads holds a parameter .* make it an nn.ParameterList",
    ),
    "modules in a list": (
        lambda m, a: setattr(m, a, [nn.Linear(2, 2), nn.Linear(2, 2)]),
        r"Hides.heads holds a module .* make it a nn.ModuleList",
    ),
    "modules in a dictionary of tuples": (
        lambda m, a: setattr(m, a, {"x": (1, nn.Linear(2, 2))}),
        r"Hides.heads holds a module .* make it a nn.ModuleDict",
    ),
    "a registered parameter in a list as well": (
        lambda m, a: setattr(m, a, [m.head.weight]),
        r"Hides.heads holds a parameter .* make it an nn.ParameterList",
    ),
    "a tensor that wants gradients": (
        lambda m, a: setattr(m, a, torch.zeros(2, requires_grad=True)),
        r"Hides.heads holds a parameter .* make it an nn.Parameter$",
    ),
    "in a part of it": (
        lambda m, a: setattr(m.body[0], a, [nn.Linear(2, 2)]),
        r"Linear.heads \(body.0\) holds a module",
    ),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_parameters_that_the_model_does_not_know_of(probed, kind):
    make, message = HIDDEN[kind]
    refused(probed, message, holding(make))


@pytest.mark.parametrize("name", ["spectral_norm", "weight_norm"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_weight_that_is_made_in_a_hook_is_refused_by_name(probed, name):
    message = rf"Linear.weight \(body.0\) is made in a hook of nn.utils.{name}, .*; use nn.utils.parametrizations.{name}$"
    refused(probed, message, holding(lambda m, a: getattr(nn.utils, name)(m.body[0])))


def test_parameters_that_torch_would_not_train(workloads, learner):
    class Half(Net):
        def __init__(self):
            super().__init__()
            self.head.requires_grad_(False)

    task = replace(workloads["small-vae"](), build=Half)
    with pytest.raises(
        SeedbedError, match=r"player 'model' owns head\.\w+, whose requires_grad is False; declare it frozen"
    ):
        learner(replace(task, game=Game((Player(utility=fit),))), [0, 1])
    learner(replace(task, game=Game((Player(utility=fit),), frozen=("head",))), [0, 1]).advance()


def test_a_utility_that_its_player_has_no_say_in(workloads, learner):
    def constant(model, x, ctx):
        return Terms(x.sum(-1))

    game = Game((Player(utility=constant),))
    with pytest.raises(SeedbedError, match="the utility of 'model' depends on none of its parameters; let it own others"):
        learner(replace(workloads["small-vae"](), build=Net, game=game), [0, 1]).advance()


def test_containers_that_are_sound(probed):
    def make(model, name):
        setattr(model, name, [model.head, nn.Tanh(), torch.zeros(3), {"a": 1}])
        model.body.append(nn.Linear(4, 4))
        model.known = nn.ParameterList([nn.Parameter(torch.zeros(2))])
        model.cell = nn.GRU(2, 2)

    def touching(model, x, ctx):
        return Terms(fit(model, x, ctx).value + sum(0 * parameter.sum() for parameter in model.parameters()))

    probed(holding(make), touching)


# --- attributes that a forward changes -------------------------------------------------------------------------------


def changing(change, start=None):
    class Changes(Net):
        def __init__(self):
            super().__init__()
            if start is not None:
                start(self)

        def forward(self, x):
            out = super().forward(x)
            change(self, out)
            return out

    return Changes


def list_of(model):
    model.kept = {"sizes": [1, 2]}


def buffer_of(model):
    model.register_buffer("kept", torch.zeros(3))


def tensor_of(model):
    model.kept = torch.zeros(3)


def own_buffer_of(model):
    model.register_buffer("kept", torch.randn(3))


CHANGES = {
    "a new tensor": (lambda m, out: setattr(m, "kept", out), None, r"Changes.kept changes"),
    "a tensor in place": (lambda m, out: m.kept.add_(1), tensor_of, r"Changes.kept changes"),
    "a tensor behind torch's back": (lambda m, out: m.kept.data.add_(1), tensor_of, r"Changes.kept changes"),
    "a number": (lambda m, out: setattr(m, "kept", m.kept + 1), lambda m: setattr(m, "kept", 0), r"Changes.kept changes"),
    "a list within": (lambda m, out: m.kept["sizes"].append(3), list_of, r"Changes.kept changes"),
    "an array": (
        lambda m, out: m.kept.__iadd__(1),
        lambda m: setattr(m, "kept", np.zeros(3)),
        r"Changes.kept changes",
    ),
    "a module": (lambda m, out: setattr(m, "kept", nn.Tanh()), None, r"Changes.kept changes"),
    "a part's attribute": (lambda m, out: setattr(m.body[0], "kept", 1), None, r"Linear.kept \(body.0\) changes"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_an_attribute_that_a_forward_changes(probed, kind):
    change, start, message = CHANGES[kind]
    refused(
        probed,
        message + r" when the utility of 'model' is called: .* return it, or keep it in a buffer",
        changing(change, start),
    )


WRITES = {
    "anew": (lambda m, out: setattr(m, "kept", m.kept + 1), buffer_of),
    "in place": (lambda m, out: m.kept.add_(1), buffer_of),
    "of each seed": (lambda m, out: setattr(m, "kept", m.kept + 1), own_buffer_of),
}


@pytest.mark.parametrize("kind", WRITES)
def test_a_buffer_that_a_forward_writes_is_state(probed, kind):
    change, start = WRITES[kind]
    probed(changing(change, start))


def test_attributes_that_stay(probed):
    def start(model):
        model.kept = {"a": [1, float("nan")], "b": torch.full((2,), torch.nan), "c": np.array([np.nan, 1.0]), "d": {1, "x"}}
        model.names = np.array(["a", "b"])

    probed(changing(lambda m, out: (m.kept["a"][1], m.kept["b"] + 1), start))


# --- calls that differ ------------------------------------------------------------------------------------------------


def noisy(draw):
    def utility(model, x, ctx):
        return Terms(model(x) + draw(ctx, x))

    return utility


def test_draws_that_differ_between_calls(probed):
    turn = itertools.count(1)

    def draw(ctx, x):
        return ctx.noise.normal((), batch=len(x)) + ctx.noise.of("dropout").uniform((next(turn),), batch=len(x)).sum(-1)

    message = r"its draw 2 was uniform \[32, 1\] of the stream 'dropout', then uniform \[32, 2\] of the stream 'dropout'"
    refused(probed, rf"the utility of 'model' draws differently when called again: {message}", Net, noisy(draw))

    more = itertools.count(1)

    def longer(ctx, x):
        return sum(ctx.noise.normal((), batch=len(x)) for _ in range(next(more)))

    refused(probed, r"its draw 2 was none, then normal \[32\] of the stream 'noise'", Net, noisy(longer))


COUNT, GENERATOR = itertools.count(), torch.Generator()
AMBIENT = {
    "a generator of torch's": lambda ctx, x: torch.rand((), generator=GENERATOR),
    "numpy's": lambda ctx, x: np.random.random(),
    "Python's": lambda ctx, x: random.random(),
    "a counter": lambda ctx, x: next(COUNT),
}


@pytest.mark.parametrize("kind", AMBIENT)
def test_values_that_differ_between_calls(probed, kind):
    refused(
        probed,
        "gives other values when called again with the same draws; .* ctx.noise .* ctx.state",
        Net,
        noisy(AMBIENT[kind]),
    )


# --- examples that see each other --------------------------------------------------------------------------------------


def means_of_the_batch(model, x, ctx):
    return Terms(model(x) - x.mean())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_examples_that_see_each_other(probed, precision):
    message = r"examples of a batch see each other in the utility of 'model': .* `couples_examples = True`"
    refused(probed, message, Net, means_of_the_batch, precision=precision)


@pytest.mark.parametrize("size", [2, 3])
def test_a_small_batch_is_enough(probed, workloads, size):
    batches = Shuffled(workloads["small-vae"]().data.splits["train"][:], size)
    refused(probed, "see each other", Net, means_of_the_batch, batches=batches)
    probed(Net, batches=batches)


def test_one_example_sees_nobody(probed, workloads):
    probed(Net, means_of_the_batch, batches=Shuffled(workloads["small-vae"]().data.splits["train"][:], 1))


def test_examples_may_see_each_other_where_it_is_declared(probed):
    class Declared:
        couples_examples = True

        def __call__(self, model, x, ctx):
            return means_of_the_batch(model, x, ctx)

    probed(Net, Declared())

    class Normed(Net):
        def __init__(self):
            super().__init__()
            self.body.append(nn.BatchNorm1d(4))

    probed(Normed)

    class Coupled(Net):
        couples_examples = True

        def forward(self, x):
            return super().forward(x - x.mean(0))

    probed(Coupled)


def test_draws_of_examples_do_not_couple_them(probed):
    probed(Net, noisy(lambda ctx, x: ctx.noise.normal((), batch=len(x)) + ctx.noise.normal(())))


def test_every_leaf_of_a_batch_is_looked_through(probed):
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    tree = Shuffled({"x": x, "label": torch.arange(40)}, 8)

    def by_label(model, batch, ctx):
        return Terms(model(batch["x"]) + batch["label"].double().mean().float())

    refused(probed, "see each other", Net, by_label, batches=tree)
    probed(Net, lambda model, batch, ctx: Terms(model(batch["x"]) + batch["label"]), batches=tree)


# --- the rest -------------------------------------------------------------------------------------------------------------


def test_a_utility_of_one_number(probed):
    refused(probed, r"must give one value per example, \[batch\], got \[\]", Net, lambda m, x, ctx: Terms(m(x).mean()))
    refused(probed, r"must give one value per example, \[batch\], got \[32, 4\]", Net, lambda m, x, ctx: Terms(m.body(x)))


def test_what_a_utility_refuses_is_said_as_it_says_it(probed):
    def utility(model, x, ctx):
        raise SeedbedError("bits have no path; name how to differentiate")

    refused(probed, "^bits have no path; name how to differentiate$", Net, utility)


class Remembers(Net, HasState):
    def state(self):
        return {"seen": torch.zeros(())}


def counting(model, x, ctx):
    ctx.state["seen"] = ctx.state["seen"] + 1
    return Terms(model(x))


def test_state_that_nobody_owns(probed, workloads, learner):
    task = replace(workloads["small-vae"](), build=Remembers)
    owns = {"owns": ("body", "head")}
    for players, frozen, sound in (
        ((Player(utility=counting, **owns),), (), False),
        ((Player(utility=fit, **owns),), (), True),
        ((Player(utility=counting, **owns),), ("seen",), True),
        ((Player(utility=counting),), (), True),
    ):
        one = learner(replace(task, game=Game(players, frozen=frozen)), [0, 1])
        if sound:
            look_at(one)
        else:
            with pytest.raises(SeedbedError, match="writes state 'seen', which nobody owns; give it to a player"):
                look_at(one)


def test_state_that_is_changed_in_place(probed):
    def utility(model, x, ctx):
        ctx.state["seen"].add_(1)
        return Terms(model(x))

    refused(probed, r"changes state 'seen' in place; write a new tensor", Remembers, utility)


def test_a_trainable_module_outside_of_the_model_is_named(probed):
    outside = nn.Linear(2, 1)
    uses = lambda model, x, ctx: Terms(-(model(x) - outside(x).squeeze(-1)).square())
    refused(probed, r"parameter \[1, 2\] that is no part|parameter \[1\] that is no part", Net, uses)
    outside.requires_grad_(False)  # a network of features, say
    probed(Net, uses)
