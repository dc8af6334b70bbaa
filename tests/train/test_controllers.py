"""Controllers: validation decides each seed's step size, as torch's rule does for one."""

from dataclasses import replace

import pytest
import torch

from seedbed.core.noise import Streams
from seedbed.store.folder import Folder
from seedbed.train.batches import Batches
from seedbed.train.controllers import Plateau
from seedbed.train.game import Game
from seedbed.train.loop import train_group
from seedbed.train.optim import SGD

SEEDS = (0, 1, 5)


@pytest.mark.parametrize(("patience", "threshold"), [(0, 0.0), (2, 0.0), (1, 0.3)])
def test_agrees_with_torch(patience, threshold):
    generator = torch.Generator().manual_seed(0)
    values = 5 * torch.randn(60, 4, generator=generator, dtype=torch.float64) - torch.arange(60.0)[:, None] * 0.05
    values[7, 1] = torch.nan
    rule = Plateau(by=0.5, patience=patience, least=1e-3, threshold=threshold)
    state, factors = rule.init(4), []
    for step, value in enumerate(values):
        state = rule.see(state, value, step, 60)
        factors.append(rule.factor(state, step, 60))
    for seed in range(4):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        options = {"threshold_mode": "abs", "min_lr": 1e-3, "eps": 0.0}
        reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=patience, threshold=threshold, **options
        )
        for step in range(60):
            reference.step(float(values[step, seed]))
            assert factors[step][seed].item() == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12), (seed, step)
    assert len({tuple(column) for column in torch.stack(factors, 1).tolist()}) > 1
    assert torch.stack(factors).amin() >= 1e-3


# Validation values at steps 2, 4, 6, ...: seed 0 improves always, seed 1 stops at once, seed 5 later.
CURVES = {0: (9, 8, 7, 6, 5, 4), 1: (9, 9, 9, 9, 9, 9), 5: (9, 8, 7, 7, 7, 7)}


def controlled(task, patience=0, curves=CURVES, **changes):
    first = task.game.players[0]
    first = replace(first, optimizer=SGD(lr=1e-2), schedule=Plateau(by=0.5, patience=patience))

    def measure(stack, split):
        column = min(validation(), 5)
        return {"loss": (torch.tensor([[float(curves[s.seed][column])] * 2 for s in stack.streams]), "nats")}

    steps = {"number": 0}

    class Counted(Batches):
        def __call__(self, streams, number):
            steps["number"] = number
            return task.batches(streams, number)

    def validation():
        return (steps["number"] + 1) // 2 - 1

    changes = {"batches": Counted(), **changes}
    return replace(task, game=Game((first,)), measure=measure, select="loss", baseline=None, **changes)


def trained(task, path, seeds=SEEDS):
    streams = [Streams(seed) for seed in seeds]
    options = {"device": torch.device("cpu"), "threads": 1, "checkpoint_seconds": 0.0}
    learner = train_group(task, Folder(path), seeds, streams, **options)
    return learner, [replace(row, wall_s=0.0) for row in Folder(path).table(seeds).read()]


def test_each_seed_has_its_own_step_size(workloads, learner, tmp_path):
    task = controlled(workloads["small-vae"](steps=12, eval_every=2))
    ended, _ = trained(task, tmp_path)
    assert ended.controls["model"]["factor"].tolist() == [1.0, 0.5**5, 0.5**3]
    # The steps themselves: plain gradient descent at the factors that the curves give.
    plain = learner(replace(task, game=Game((replace(task.game.players[0], schedule=lambda step, steps: 1.0),))), SEEDS)
    for step in range(12):
        before = plain.params["model"]
        plain.advance()
        factor = torch.tensor([1.0, 0.5 ** max(step // 2 - 1, 0), 0.5 ** max(step // 2 - 3, 0)])
        plain.params["model"] = before + factor[:, None] * (plain.params["model"] - before)
    assert torch.allclose(ended.params["model"], plain.params["model"], rtol=1e-4, atol=1e-6)
    assert (ended.params["model"][1] - ended.params["model"][0]).norm() > 1e-3


def test_a_seed_that_ended_keeps_its_factor(workloads, tmp_path):
    task = controlled(workloads["small-vae"](steps=12, eval_every=2, patience=2))
    ended, _ = trained(task, tmp_path)
    # Seed 1 stops at its third validation, having seen two without improvement; seed 5 at its fifth.
    assert ended.steps.tolist() == [12, 6, 10]
    assert ended.controls["model"]["factor"].tolist() == [1.0, 0.25, 0.25]


class Crash(Batches):
    def __init__(self, batches, number):
        self.batches, self.number = batches, number

    def __call__(self, streams, number):
        if number == self.number:
            self.number = None
            raise KeyError("crash")
        return self.batches(streams, number)


def test_killed_and_resumed_equals_uninterrupted(workloads, tmp_path):
    task = controlled(workloads["small-vae"](steps=12, eval_every=2), patience=1)
    whole, rows = trained(task, tmp_path / "whole")
    for number in (5, 9):
        with pytest.raises(KeyError, match="crash"):
            trained(replace(task, batches=Crash(task.batches, number)), tmp_path / "parts")
    continued, continued_rows = trained(task, tmp_path / "parts")
    assert continued_rows == rows
    assert torch.equal(continued.params["model"], whole.params["model"])
    for key, value in whole.controls["model"].items():
        assert torch.equal(continued.controls["model"][key], value), key
    assert whole.controls["model"]["factor"].tolist() == [1.0, 0.25, 0.5]
