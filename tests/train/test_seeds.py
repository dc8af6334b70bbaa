"""Contract 7: how seeds are executed decides no number, and an interruption none either."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from seedbed.core.interrupts import Interrupted
from seedbed.core.noise import Streams
from seedbed.store.folder import Folder
from seedbed.train.batches import Batches
from seedbed.train.game import Game
from seedbed.train.learner import Learner
from seedbed.train.loop import train_group

SEEDS = (0, 1, 5)


def flat(tree, prefix=""):
    """A tree of tensors as ``{path: tensor}``."""
    out = {}
    for key, value in tree.items():
        out |= flat(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out


def assert_same_bits(a, b):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert value.dtype == b[key].dtype, key
        assert torch.equal(value.reshape(-1).view(torch.uint8), b[key].reshape(-1).view(torch.uint8)), key


def advanced(learner, steps):
    for _ in range(steps):
        learner.advance()
    return learner


class Witness:
    """Keeps, per seed and to the last bit, the draws that a utility could make."""

    def __init__(self, utility):
        self.utility = utility

    def initial_state(self, model, batch):
        inner = self.utility.initial_state(model, batch) if hasattr(self.utility, "initial_state") else {}
        return {**inner, "batch": torch.zeros_like(self.seen(batch)), **self.draws(self.seen(batch), None)}

    @property
    def resets(self):
        return getattr(self.utility, "resets", ())

    def seen(self, batch):
        return tree_leaves(batch)[0]

    def draws(self, batch, noise):
        shape = (len(batch), 3)
        if noise is None:
            return {"normal": torch.zeros(shape), "uniform": torch.zeros(4, *shape)}
        normal = noise.of("data").normal((3,), batch=len(batch))
        uniform = noise.of("eval").uniform((3,), batch=len(batch), samples=4)
        return {"normal": normal.float(), "uniform": uniform.float()}

    def __call__(self, model, batch, ctx):
        out = self.utility(model, batch, ctx)
        for name, value in {"batch": self.seen(batch), **self.draws(self.seen(batch), ctx.noise)}.items():
            ctx.state[name] = value
        return out


def watched(task):
    players = tuple(replace(p, utility=Witness(p.utility), data=True) for p in task.game.players)
    return replace(task, game=Game(players, task.game.simultaneous, task.game.frozen))


def test_noise_batches_and_initial_weights_are_bit_identical(build, learner):
    task = watched(build())
    stack, singles = learner(task, SEEDS), [learner(task, [seed]) for seed in SEEDS]
    seen = []
    for step in range(3):
        for row, single in enumerate(singles):
            if step == 0:
                for name, params in stack.params.items():
                    assert torch.equal(params[row], single.params[name][0]), name
            else:
                for name, state in stack.state["players"].items():
                    for key in ("normal", "uniform", "batch"):
                        assert torch.equal(state[key][row], single.state["players"][name][key][0]), (name, key)
                        seen.append(tuple(state[key][row].flatten()[:3].tolist()) if key != "batch" else len(seen))
        for one in (stack, *singles):
            one.advance()
    assert len(set(seen)) == len(seen)  # no seed, player or step shares its draws with another
    weights = torch.cat(list(stack.params.values()), 1)
    assert len(weights.unique(dim=0)) == len(SEEDS)


@pytest.mark.parametrize("build", ["vae", "vae-soap", "lvae", "flow", "spline-flow", "wgan-gp", "char-gru"], indirect=True)
def test_float64_stack_agrees_with_single_seeds(build, learner):
    task, steps = build(precision="fp64"), 100
    stack = advanced(learner(task, SEEDS), steps)
    for row, seed in enumerate(SEEDS):
        single = advanced(learner(task, [seed]), steps)
        assert single.status.tolist() == [0]
        for part in ("params", "average", "average_state", "state", "optimizers"):
            many, one = flat(stack.tree()[part]), flat(single.tree()[part])
            assert many.keys() == one.keys()
            for key, value in many.items():
                assert torch.allclose(value[row].double(), one[key][0].double(), rtol=1e-8, atol=1e-8), (part, key)
    start = learner(task, SEEDS)
    assert all((stack.params[name] - start.params[name]).norm() > 1e-2 for name in stack.params)


def test_first_step_in_fp32(build, learner):
    task = build()
    stack = learner(task, SEEDS)
    start = {name: params.clone() for name, params in stack.params.items()}
    stack.advance()
    recorded = stack.averages()
    for row, seed in enumerate(SEEDS):
        single = advanced(learner(task, [seed]), 1)
        for name, parts in single.averages().items():
            for part, value in parts.items():
                scale = max(value[0].abs().item(), recorded[name]["utility"].abs().max().item())
                assert abs(recorded[name][part][row] - value[0]) <= 1e-5 * scale, (name, part)
            many, one = stack.params[name][row], single.params[name][0]
            assert (many - one).norm() <= 1e-5 * one.norm(), name
            assert (one - start[name][row]).norm() > 1e-4 * one.norm(), name  # a step far larger than the tolerance


def test_the_same_strategy_twice_is_bit_identical(build, learner):
    first, second = (advanced(learner(build(), SEEDS), 20) for _ in range(2))
    assert_same_bits(first.tree(), second.tree())


# --- interruptions --------------------------------------------------------------------------------------------------


class Crash(Exception):
    pass


class Trap(Batches):
    """Does something when a certain batch is asked for, once."""

    def __init__(self, batches, number, act):
        self.batches, self.number, self.act = batches, number, act

    def __call__(self, streams, number):
        if number == self.number:
            self.number = None
            self.act()
        return self.batches(streams, number)

    def begins(self, number):
        return self.batches.begins(number)


def crash():
    raise Crash


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def trained(task, path, seeds=(0, 1), checkpoint_seconds=0.0):
    streams = [Streams(seed) for seed in seeds]
    learner = train_group(
        task, Folder(path), seeds, streams, device=torch.device("cpu"), threads=1, checkpoint_seconds=checkpoint_seconds
    )
    return learner, Folder(path).table(seeds).read()


def timeless(rows):
    return [replace(row, wall_s=0.0) for row in rows]


def per_step(task):
    return sum(player.repeat for player in task.game.players)


# What happens in a run of 24 steps with validations at 10, 20 and 24: (step, act) each, and the time between checkpoints.
INTERRUPTIONS = {
    "ctrl-c between validations": (((7, ctrl_c),), 0.0),
    "crash after a checkpoint": (((15, crash),), 0.0),
    "ctrl-c at a validation": (((9, ctrl_c),), 1e9),
    "twice": (((3, ctrl_c), (13, ctrl_c)), 1e9),
    "crash without a checkpoint": (((15, crash),), 1e9),
    "crash in the last step": (((23, crash),), 0.0),
    "crash after rows that no checkpoint counts on": (((7, ctrl_c), (15, crash)), 1e9),
}


def continued_equals_uninterrupted(task, moments, checkpoint_seconds, folder):
    whole, rows = trained(task, folder / "whole")
    for step, act in moments:
        trap = replace(task, batches=Trap(task.batches, step * per_step(task), act))
        with pytest.raises(Crash if act is crash else Interrupted):
            trained(trap, folder / "parts", checkpoint_seconds=checkpoint_seconds)
    continued, continued_rows = trained(task, folder / "parts")
    assert_same_bits(continued.tree(), whole.tree())
    assert timeless(continued_rows) == timeless(rows)
    assert sorted({row.step for row in rows if row.split == "valid"}) == [10, 20, 24]
    (stored, meta), (expected, _) = (Folder(folder / part).latest((0, 1)) for part in ("parts", "whole"))
    assert_same_bits(stored, expected)
    assert meta["done"]


@pytest.mark.parametrize("kind", ["ctrl-c between validations", "crash after a checkpoint"])
def test_continued_equals_uninterrupted(build, kind, tmp_path):
    continued_equals_uninterrupted(build(steps=24, eval_every=10), *INTERRUPTIONS[kind], tmp_path)


@pytest.mark.parametrize("kind", list(INTERRUPTIONS)[2:])
def test_interruptions_at_other_moments(workloads, kind, tmp_path):
    continued_equals_uninterrupted(workloads["small-vae"](steps=24, eval_every=10), *INTERRUPTIONS[kind], tmp_path)


def test_a_finished_run_is_only_read(workloads, tmp_path):
    task = workloads["small-vae"](steps=5, eval_every=5)
    done, rows = trained(task, tmp_path)
    again, same = trained(replace(task, batches=Trap(task.batches, 1, crash)), tmp_path)
    assert same == rows  # wall time included
    assert_same_bits(again.tree(), done.tree())


def test_ctrl_c_writes_a_checkpoint_of_its_step(workloads, tmp_path):
    task = workloads["small-vae"](steps=24, eval_every=10)
    with pytest.raises(Interrupted):
        trained(replace(task, batches=Trap(task.batches, 7, ctrl_c)), tmp_path, checkpoint_seconds=1e9)
    _, meta = Folder(tmp_path).latest((0, 1))
    assert (meta["step"], meta["done"]) == (8, False)  # the step that was being made is finished


@pytest.mark.parametrize("moment", ["last step", "last validation", "test split", "pictures"])
def test_ctrl_c_at_the_end_repeats_the_evaluation_alone(workloads, moment, tmp_path, monkeypatch):
    pictures = lambda stack: {"draws": {"x": np.zeros((len(stack.streams), 2))}}
    task = replace(wavy(workloads["small-vae"](steps=12, eval_every=2, patience=3)), artefacts=pictures)
    whole, rows = trained(task, tmp_path / "whole", SEEDS)
    assert 2 in whole.status.tolist()  # a seed returns to its best parameters at the end
    last, calls = whole.step, iter(range(1, 100))
    validations = len({row.step for row in rows if row.split == "valid"})

    def measure(stack, split):
        if next(calls) == validations + (moment == "test split"):
            ctrl_c()
        return task.measure(stack, split)

    pressed = {
        "last step": {"batches": Trap(task.batches, last - 1, ctrl_c)},
        "last validation": {"measure": measure},
        "test split": {"measure": measure},
        "pictures": {"artefacts": lambda stack: ctrl_c() or pictures(stack)},
    }
    with pytest.raises(Interrupted):
        trained(replace(task, **pressed[moment]), tmp_path / "parts", SEEDS, checkpoint_seconds=1e9)
    folder = Folder(tmp_path / "parts")
    assert (folder.latest(SEEDS)[1]["step"], folder.latest(SEEDS)[1]["done"]) == (last, False)
    assert not [row for row in folder.table(SEEDS).read() if row.split in ("test", "status")]
    monkeypatch.setattr(Learner, "advance", lambda learner: crash())
    continued, continued_rows = trained(task, tmp_path / "parts", SEEDS)
    assert_same_bits(continued.tree(), whole.tree())
    assert timeless(continued_rows) == timeless(rows)


def test_rows_are_on_disk_before_the_checkpoint_that_counts_on_them(workloads, tmp_path, monkeypatch):
    folder, flushed, whole = Folder(tmp_path), {}, []
    fsync, rename = os.fsync, os.replace

    def flush(handle):
        fsync(handle)
        flushed[os.fstat(handle).st_ino] = os.fstat(handle).st_size

    def renamed(old, new):
        if new.name.startswith("step-"):
            rows = folder.table((0, 1)).path.stat()
            whole.append(
                flushed.get(rows.st_ino) == rows.st_size and folder.table((0, 1)).path.parent.stat().st_ino in flushed
            )
            flushed.pop(new.parent.stat().st_ino, None)
        rename(old, new)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", renamed)
    trained(workloads["small-vae"](steps=4, eval_every=2), tmp_path)
    assert len(whole) >= 2 and all(whole)
    assert folder.checkpoints((0, 1)).stat().st_ino in flushed  # and so is the checkpoint's own name


def test_an_interrupted_early_stopping_continues(workloads, tmp_path):
    task = wavy(workloads["small-vae"](steps=40, eval_every=2, patience=3))
    whole, rows = trained(task, tmp_path / "whole", SEEDS)
    assert 2 in whole.status.tolist() and whole.status_step.max() > 8  # somebody stopped, and after the interruptions
    for step in (3, 5, 7):
        with pytest.raises(Interrupted):
            trained(replace(task, batches=Trap(task.batches, step, ctrl_c)), tmp_path / "parts", SEEDS)
    continued, continued_rows = trained(task, tmp_path / "parts", SEEDS)
    assert_same_bits(continued.tree(), whole.tree())
    assert timeless(continued_rows) == timeless(rows)


# --- early stopping -------------------------------------------------------------------------------------------------


def wavy(task):
    """The task with a validation value that rises and falls as the parameters move."""

    def measure(stack, split):
        total = sum(value.flatten(1).sum(1) for value in stack.params.values())
        return {"loss": ((20 * total).sin()[:, None].expand(-1, 2), "nats")}

    return replace(task, measure=measure, select="loss", baseline=None)


def scripted(task, curves):
    """The task with validation values that are written down: ``curves[seed][validation]``."""
    calls = {"valid": 0}

    def measure(stack, split):
        column = min(calls["valid"], min(map(len, curves.values())) - 1)
        calls["valid"] += split == "valid"
        values = [[float(curves[streams.seed][column])] * 2 for streams in stack.streams]
        return {"loss": (torch.tensor(values), "nats")}

    return replace(task, measure=measure, select="loss", baseline=None)


CURVES = {0: (5, 4, 3, 2, 1, 0, 0, 0), 1: (5, 4, 6, 6, 1, 0, 0, 0), 5: (5, 6, 4, 6, 4, 3, 0, 0)}


def test_each_seed_stops_on_its_own_and_returns_to_its_best(workloads, learner, tmp_path):
    """Patience 2: seed 1 stops at its fourth validation although it would fall later; ties are no improvement."""
    task = scripted(workloads["small-vae"](steps=16, eval_every=2, patience=2), CURVES)
    ended, rows = trained(task, tmp_path, SEEDS)
    assert ended.status.tolist() == [2, 2, 2]
    assert ended.status_step.tolist() == [16, 8, 10]
    best = {0: 12, 1: 4, 5: 6}
    for row, seed in enumerate(SEEDS):
        expected = advanced(learner(task, SEEDS), best[seed])
        kept = {name: value[row] for name, value in expected.weights.kept.items()}
        for name, value in kept.items():
            assert torch.equal(ended.params[name][row], value), (seed, name)
            assert torch.equal(ended.average[name][row], value), (seed, name)
    seen = {seed: [r.step for r in rows if r.seed == seed and r.split == "valid"] for seed in SEEDS}
    # Nothing is recorded of a seed that has stopped.
    assert seen == {0: list(range(2, 17, 2)), 1: [2, 4, 6, 8], 5: [2, 4, 6, 8, 10]}
    fates = {r.seed: (r.metric, r.value) for r in rows if r.split == "status"}
    assert fates == {0: ("stopped_early", 16.0), 1: ("stopped_early", 8.0), 5: ("stopped_early", 10.0)}


def test_a_stopped_seed_does_not_depend_on_its_companions(workloads, tmp_path):
    """The others go on, the moving average of a stopped seed must not."""
    task = wavy(workloads["small-vae"](precision="fp64", steps=60, eval_every=2, patience=3))
    stack, rows = trained(task, tmp_path / "stack", SEEDS)
    assert len(set(stack.steps.tolist())) > 1 and 2 in stack.status.tolist()
    for row, seed in enumerate(SEEDS):
        single, own = trained(task, tmp_path / str(seed), (seed,))
        assert [(r.step, r.split, r.metric) for r in own] == [(r.step, r.split, r.metric) for r in rows if r.seed == seed]
        assert (single.status[0], single.status_step[0]) == (stack.status[row], stack.status_step[row])
        for name, value in single.weights.kept.items():
            assert torch.allclose(stack.weights.kept[name][row], value[0], rtol=1e-8, atol=1e-8), (seed, name)


def test_without_patience_nobody_stops(workloads, tmp_path):
    task = scripted(workloads["small-vae"](steps=16, eval_every=2), CURVES)
    ended, _ = trained(task, tmp_path, SEEDS)
    assert ended.status.tolist() == [0, 0, 0]
    assert isinstance(ended, Learner)


def test_a_recorded_utility_trains_the_same_model(build, learner):
    """Nearly all steps of a long run are played back: they must be the steps that would have been taken."""
    task = build(steps=40)
    recorded, plain = learner(task, [0, 1, 2]), learner(task, [0, 1, 2])
    for replay in recorded.replays.values():
        replay.after = 5
    for _ in range(12):
        recorded.advance()
        plain.advance()
    assert all(replay.recorded and replay.played > 2 for replay in recorded.replays.values())
    for name, params in plain.params.items():
        assert torch.equal(recorded.params[name], params)
    assert_same_bits(recorded.tree(), plain.tree())
    assert recorded.tally.keys() == plain.tally.keys()
    for name, tally in plain.tally.items():
        assert torch.equal(recorded.tally[name].sums, tally.sums)
