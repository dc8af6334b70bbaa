"""The weights that count are the same whoever restores them: a learner that could go on, or a reader that cannot."""

import pytest
import torch
from torch import nn

from seedbed.core.capabilities import HasDataInit
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.terms import Terms
from seedbed.store import checkpoint
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.learner import Learner
from seedbed.train.optim import Optimizer
from seedbed.train.weights import restored

CPU = torch.device("cpu")
SEEDS = [3, 4]


class Centred(nn.Module, HasDataInit):
    """Has a frozen weight, a buffer that follows its first batch, and one that is the same for all seeds."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)
        self.register_buffer("centre", torch.zeros(2))
        self.register_buffer("mask", torch.tensor([1.0, 0.5]))

    def data_init(self, x, ctx):
        self.centre.copy_(x.mean(0))


def close(model, x, ctx):
    return Terms(-model.head(model.body((x - model.centre) * model.mask)).square().squeeze(-1))


def with_everything(workloads):
    player = Player(utility=close, owns=("body",), ema=0.5)
    points = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    changes = {"build": Centred, "game": Game((player,), frozen=("head",)), "batches": Shuffled(points, 8)}
    return workloads["small-vae"](steps=5, eval_every=5, **changes)


@pytest.fixture(params=["small-vae", "small-gan", "char-gru", "wgan-gp", "data init"])
def task(request, workloads):
    if request.param == "data init":
        return with_everything(workloads)
    return workloads[request.param](steps=5, eval_every=5)


def same_stack(one, other):
    assert one.params.keys() == other.params.keys() and one.state.keys() == other.state.keys()
    for name, value in (*one.params.items(), *one.state.items()):
        assert torch.equal(value, {**other.params, **other.state}[name]), name
    for row in range(len(SEEDS)):
        theirs = other.model(row).state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in one.model(row).state_dict().items())


@pytest.mark.parametrize("layout", [1, 2])
def test_a_reader_and_a_learner_restore_the_same(task, learner, tmp_path, layout):
    trained = learner(task, SEEDS)
    for _ in range(5):
        trained.advance()
    # As after a warm start: what nobody trains is not what the model would draw.
    trained.fixed = {name: value + 1.0 for name, value in trained.fixed.items()}
    tree = trained.tree()
    if layout == 1:
        if trained.state["modules"]:
            pytest.skip("state is stored since layout 2")
        tree = {**tree, "states": {}, "average": {name: value + 1.0 for name, value in trained.params.items()}}
        tree.pop("state")
    path = checkpoint.save(tmp_path, 5, tree, {**trained.meta(), "layout": layout})
    found = checkpoint.load(path)
    again = learner(task, SEEDS)
    again.restore(*found)
    streams = [Streams(seed) for seed in SEEDS]
    read = restored(task, streams, CPU, *found)
    same_stack(read, again.stack())
    if layout == 2:
        same_stack(read, trained.stack())
    begun = learner(task, SEEDS).stack().params
    # Restored at all, not drawn anew.
    assert any(not torch.equal(read.params[name], begun[name]) for name in begun)


def test_who_only_reads_builds_no_learner_and_no_optimiser_and_draws_no_batch(workloads, learner, tmp_path, monkeypatch):
    task = workloads["small-gan"](steps=5, eval_every=5)
    trained = learner(task, SEEDS)
    found = checkpoint.load(checkpoint.save(tmp_path, 0, trained.tree(), trained.meta()))

    def never(*_):
        raise AssertionError("built for nothing")

    for rule in (Optimizer, *Optimizer.__subclasses__()):
        monkeypatch.setattr(rule, "init", never)
    monkeypatch.setattr(Learner, "__init__", never)
    monkeypatch.setattr(Shuffled, "__call__", never)
    same_stack(restored(task, [Streams(seed) for seed in SEEDS], CPU, *found), trained.stack())


@pytest.mark.parametrize("wrong", ["dropped", "renamed", "wider", "whole numbers"])
def test_tensors_that_are_not_the_models_are_refused(workloads, wrong):
    task = workloads["small-vae"](steps=1, eval_every=1)
    streams = [Streams(seed) for seed in SEEDS]
    learner = Learner(task, streams, CPU)
    learner.advance()
    tree, meta = checkpoint.unflatten(checkpoint.flatten(learner.tree())), {**learner.meta(), "step": 1}
    name, value = next(iter(tree["params"].items()))
    tree["params"] = {
        "dropped": {},
        "renamed": {f"{name}x": value},
        "wider": {name: torch.cat([value, value], 1)},
        "whole numbers": {name: value.int()},
    }[wrong]
    for take in (lambda: Learner(task, streams, CPU).restore(tree, meta), lambda: restored(task, streams, CPU, tree, meta)):
        with pytest.raises(SeedbedError, match="the checkpoint is damaged or of another model: parameters"):
            take()
