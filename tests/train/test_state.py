"""State: what outlives a step besides parameters is seen by all, written by its owner alone, and never by a lost step."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from seedbed.core.capabilities import HasState
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.train.batches import Batches, Contiguous, Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.optim import SGD
from seedbed.train.task import Task

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DATA = Dataset(name="numbers", domain=REAL, protocol="", splits={"train": X})


def task_of(*players, build, **changes):
    task = Task(
        build=build,
        game=Game(players),
        data=DATA,
        batches=Shuffled(X, 8),
        steps=50,
        eval_every=10,
        measure=lambda stack, split: {},
        select="",
        precision="fp64",
    )
    return replace(task, **changes)


def player(name, *owns, utility, lr=0.1, **options):
    return Player(name=name, owns=owns, utility=utility, optimizer=SGD(lr=lr), **options)


# --- running statistics ---------------------------------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))


def fit(model, x, ctx):
    return Terms(-(model.body(x).squeeze(-1) - x.sum(-1)).square())


def test_batch_norm_learns_as_torchs_and_evaluation_uses_what_it_learned(learner):
    """A plain training loop of one module per seed, with torch's own batch norm and SGD."""
    task = task_of(player("model", "", utility=fit), build=Normed)
    stack = learner(task, [0, 1, 2])
    plain = [stack.stack().model(row).train() for row in range(3)]
    for step in range(20):
        for row, model in enumerate(plain):
            loss = -fit(model, task.batches(stack.streams, step)[row], None).value.mean()
            for parameter, slope in zip(
                model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
            ):
                parameter.data -= 0.1 * slope
        stack.advance()
    evaluated = stack.stack().call(lambda model, ctx: model.body(X), noise=stack.stack().noise("eval"))
    for row, model in enumerate(plain):
        kept = stack.stack().model(row)
        ours, theirs = kept.state_dict(), model.state_dict()
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            # torch's running variance is the unbiased one, as ours.
            assert torch.allclose(ours[name].double(), value.double(), rtol=1e-8, atol=1e-10), name
        assert ours["body.1.num_batches_tracked"] == 20
        assert torch.allclose(evaluated[row], model.eval().body(X), rtol=1e-8)
    assert not torch.allclose(*(p.body[1].running_mean for p in plain[:2]))


class Two(nn.Module):
    """Two parts with a batch norm each."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(2))


def both(model, x, ctx):
    return Terms((model.a(x) - model.b(x)).tanh().sum(-1))


def norms(learner):
    return {key: value.clone() for key, value in learner.state["modules"].items()}


def test_a_player_writes_the_state_of_its_own_modules_alone(learner):
    stack = learner(
        task_of(player("p", "a", utility=both), build=Two, game=Game((player("p", "a", utility=both),), frozen=("b",))),
        [0, 1],
    )
    before = norms(stack)
    stack.advance()
    for name, value in norms(stack).items():
        assert torch.equal(value, before[name]) == name.startswith("b."), name
    assert stack.shares.orphans == []

    p, q = player("p", "a", utility=both, lr=0.0), player("q", "b", utility=both, repeat=3, lr=0.0)
    stack = learner(task_of(p, q, build=Two), [0, 1])
    stack.advance()
    counts = {name: value.tolist() for name, value in norms(stack).items() if name.endswith("tracked")}
    assert counts == {"a.1.num_batches_tracked": [1, 1], "b.1.num_batches_tracked": [3, 3]}


def test_simultaneous_players_do_not_see_each_others_new_state(learner):
    class Counts(nn.Module, HasState):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(1, 1), nn.Linear(1, 1)

        def state(self):
            return {"a.count": torch.zeros(()), "b.count": torch.zeros(())}

    def of(name, other):
        def utility(model, x, ctx):
            ctx.state[f"{name}.count"] = ctx.state[f"{other}.count"] + 1
            ctx.state[f"{other}.count"] = ctx.state[f"{other}.count"] - 100  # not its own: nothing comes of it
            return Terms(model.get_submodule(name)(x[:, :1]).squeeze(-1))

        return utility

    players = (player("p", "a", utility=of("a", "b")), player("q", "b", utility=of("b", "a")))
    for simultaneous, expected in ((False, [(1, 2), (3, 4)]), (True, [(1, 1), (2, 2)])):
        stack = learner(task_of(build=Counts, game=Game(players, simultaneous)), [0, 1])
        for a, b in expected:
            stack.advance()
            assert stack.state["modules"]["a.count"].tolist() == [a, a]
            assert stack.state["modules"]["b.count"].tolist() == [b, b]


def test_a_simultaneous_player_sees_its_own_repeats(learner):
    class Bowl(nn.Module, HasState):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.ParameterDict({"at": nn.Parameter(torch.ones(()))}) for _ in range(2))

        def state(self):
            return {"a.count": torch.zeros(())}

    def shrink(model, x, ctx):
        ctx.state["a.count"] = ctx.state["a.count"] + 1
        return Terms((-0.5 * model.a["at"].square()).expand(len(x)))

    def follow(model, x, ctx):
        return Terms((model.a["at"].detach() * model.b["at"]).expand(len(x)))

    players = (player("p", "a", utility=shrink, repeat=3, lr=0.5), player("q", "b", utility=follow, lr=0.5))
    for simultaneous, b in ((False, 1 + 0.5 * 0.5**3), (True, 1.5)):
        stack = learner(task_of(build=Bowl, game=Game(players, simultaneous)), [0, 1])
        stack.advance()
        assert stack.state["modules"]["a.count"].tolist() == [3, 3]
        assert stack.params["p"].tolist() == [[0.5**3]] * 2  # three halvings, not one of three times the length
        assert stack.params["q"].tolist() == [[b]] * 2


@pytest.mark.parametrize("averaged", [False, True])
def test_state_is_averaged_beside_the_parameters_where_declared(learner, averaged):
    stack = learner(task_of(player("model", "", utility=fit, ema=0.5, ema_state=averaged), build=Normed), [0, 1])
    expected = norms(stack)["body.1.running_mean"]
    for step in range(12):
        stack.advance()
        decay = min(0.5, (1 + step) / (10 + step))
        newest = stack.state["modules"]["body.1.running_mean"]
        expected = decay * expected + (1 - decay) * newest if averaged else newest
    seen = stack.stack()
    assert torch.allclose(seen.state["body.1.running_mean"], expected, rtol=1e-12)
    assert torch.allclose(seen.model(1).body[1].running_mean, expected[1], rtol=1e-12)
    assert torch.equal(seen.state["body.1.running_mean"], newest) != averaged
    assert seen.state["body.1.num_batches_tracked"].tolist() == [12, 12]  # a count is copied


def test_state_goes_back_with_the_best_parameters(learner):
    stack = learner(task_of(player("model", "", utility=fit, ema=0.5, ema_state=True), build=Normed), [0, 1])
    for _ in range(3):
        stack.advance()
    best, state = ({k: v.clone() for k, v in kept.items()} for kept in (stack.weights.kept, stack.weights.kept_state))
    for _ in range(3):
        stack.advance()
    newer = stack.weights.kept_state
    stack.set_kept(best, state, torch.tensor([True, False]))
    for name, value in stack.stack().state.items():
        assert torch.equal(value[0], state[name][0]) and torch.equal(value[1], newer[name][1]), name
        assert not torch.equal(value[0], newer[name][0]), name


# --- a utility's own ------------------------------------------------------------------------------------------------


class Scalar(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.zeros(1))


class Counter:
    """Counts its calls, and sums what it saw, from the start of each pass."""

    resets = ("sum",)

    def initial_state(self, model, batch):
        return {"sum": torch.full((), 100.0, dtype=torch.float64), "calls": torch.zeros((), dtype=torch.int64)}

    def __call__(self, model, batch, ctx):
        ctx.state["sum"] = ctx.state["sum"] + batch[0, 0]
        ctx.state["calls"] = ctx.state["calls"] + 1
        return Terms(model.x * batch[:, 0])


class Windows(Batches):
    """Batch n holds the number n + 1; a pass is five batches."""

    def __call__(self, streams, number):
        return torch.full((len(streams), 2, 1), number + 1.0)

    def begins(self, number):
        return number % 5 == 0


def test_what_resets_does_so_where_a_pass_begins(learner):
    stack = learner(task_of(player("p", "", utility=Counter()), build=Scalar, batches=Windows()), [0, 1])
    for step in range(12):
        stack.advance()
        own = stack.state["players"]["p"]
        first = step - step % 5
        assert own["sum"].tolist() == [100.0 + sum(range(first + 1, step + 2))] * 2
        assert own["calls"].tolist() == [step + 1] * 2
    assert "sum" not in stack.stack().state  # a stream of training batches is nothing to evaluation


def test_state_is_not_carried_past_the_batches_of_others(learner):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = Scalar(), Scalar()

    players = (player("p", "a", utility=Counter()), player("q", "b", utility=fit))
    with pytest.raises(SeedbedError, match=r"player 'p' carries state along the data.*let one player see all of them"):
        learner(task_of(build=Two, game=Game(players)), [0])


def test_an_ended_seed_keeps_its_state(learner):
    stack = learner(task_of(player("p", "", utility=Counter()), build=Scalar, batches=Windows()), [0, 1])
    for _ in range(3):
        stack.advance()
    stack.end(torch.tensor([True, False]), 2)
    for _ in range(3):
        stack.advance()
    assert stack.state["players"]["p"]["sum"].tolist() == [106.0, 106.0]
    assert stack.state["players"]["p"]["calls"].tolist() == [3, 6]


def test_a_step_that_leaves_state_no_number_ends_the_seed_and_changes_nothing(learner):
    class Grows:
        def initial_state(self, model, batch):
            return {"size": torch.ones(()), "least": torch.full((), torch.inf)}  # what begins infinite may stay so

        def __call__(self, model, batch, ctx):
            ctx.state["size"] = ctx.state["size"] * 1e30 * batch[0, 0]
            return Terms(model.x * batch[:, 0])

    class Only(Batches):
        """Seed 0 sees 1, seed 1 sees 0."""

        def __call__(self, streams, number):
            return torch.stack([torch.full((2, 1), 1.0 - s.seed) for s in streams])

    task = task_of(player("p", "", utility=Grows()), build=Scalar, batches=Only(), precision="fp32")
    stack = learner(task, [0, 1])
    for _ in range(2):
        stack.advance()
    assert stack.status.tolist() == [1, 0] and stack.status_step.tolist() == [1, 0]
    assert stack.state["players"]["p"]["size"].tolist() == [pytest.approx(1e30), 0.0]
    assert stack.params["p"][0].item() == pytest.approx(0.1)  # of the first step alone


def test_a_start_that_comes_from_parameters_is_a_number(learner):
    class Begins:
        def initial_state(self, model, batch):
            return {"at": 2 * model.x}

        def __call__(self, model, batch, ctx):
            return Terms(model.x * ctx.state["at"] * batch[:, 0])

    stack = learner(task_of(player("p", "", utility=Begins()), build=Scalar), [0, 1])
    assert not stack.state["players"]["p"]["at"].requires_grad
    stack.advance()


def test_names_of_state_that_cannot_be(learner):
    class Clash(Normed, HasState):
        def state(self):
            return {"calls": torch.zeros(())}

    with pytest.raises(SeedbedError, match="state 'calls' is the model's and that of player 'p' too"):
        learner(task_of(player("p", "", utility=Counter()), build=Clash), [0])
    lost = Counter()
    lost.resets = ("total",)
    with pytest.raises(SeedbedError, match=r"player 'p' resets state 'total'; its `initial_state` gives \['calls', 'sum'\]"):
        learner(task_of(player("p", "", utility=lost), build=Scalar), [0])


def test_a_carried_hidden_state_is_that_of_one_long_sequence(workloads, learner):
    """Windows one after another, with nothing dropped and nothing learned: log p of the whole text, stream by stream."""
    task = workloads["char-gru"](precision="fp64")
    text = task.batches

    class Plain(type(task.game.players[0].utility)):
        def __call__(self, model, batch, ctx):
            logits, after = model.logits(batch[:, :-1], {"hidden": ctx.state["hidden"]}, ctx)
            ctx.state["hidden"] = after["hidden"]
            return Terms(logits.log_softmax(-1).gather(-1, batch[:, 1:, None]).squeeze(-1).sum(1))

    still = replace(task.game.players[0], utility=Plain(), optimizer=SGD(lr=0.0), clip=None)
    stack = learner(replace(task, game=Game((still,))), [0, 1])
    assert isinstance(text, Contiguous) and text.windows > 5
    for row in range(2):
        model = copy.deepcopy(stack.stack().model(row))
        whole = torch.cat([text(stack.streams, n)[row, :, : text.length] for n in range(text.windows)], 1)
        target = torch.cat([text(stack.streams, n)[row, :, 1:] for n in range(text.windows)], 1)
        logits, _ = model.logits(whole, model.initial_state(4), None)
        expected = logits.log_softmax(-1).gather(-1, target[..., None]).squeeze(-1).sum(1).mean()
        if row == 0:
            for _ in range(2 * text.windows):
                stack.advance()
            seen = stack.tally["model"].sums[0] / 2  # two passes, both from the start
        assert torch.allclose(seen[row], expected, rtol=1e-10)
