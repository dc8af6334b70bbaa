"""The loop follows the clock between validations, judges by the errors that there are, and reads what older runs left."""

from dataclasses import replace

import pytest
import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.store import checkpoint
from seedbed.store.folder import Folder
from seedbed.train import loop
from seedbed.train.batches import Batches
from seedbed.train.game import Game
from seedbed.train.learner import LAYOUT, RUNNING, WORSE_THAN_BASELINE
from seedbed.train.loop import train_group

SEEDS = (0, 1)
CPU = torch.device("cpu")


def trained(task, path, seeds=SEEDS, checkpoint_seconds=0.0, progress=None):
    streams = [Streams(seed) for seed in seeds]
    options = {"device": CPU, "threads": 1, "checkpoint_seconds": checkpoint_seconds, "progress": progress}
    learner = train_group(task, Folder(path), seeds, streams, **options)
    return learner, [replace(row, wall_s=0.0) for row in Folder(path).table(seeds).read()]


class Clock:
    """A second a training step: ``perf_counter`` of a run whose batches are asked for."""

    def __init__(self, batches):
        self.batches, self.now = batches, 0.0
        outer = self

        class Ticking(Batches):
            crash = None

            def __call__(self, streams, number):
                outer.now += 1.0
                if number == self.crash:
                    raise KeyError("crash")
                return batches(streams, number)

        self.ticking = Ticking()

    def perf_counter(self):
        return self.now


def timed(task, monkeypatch, crash=None):
    clock = Clock(task.batches)
    clock.ticking.crash = crash
    monkeypatch.setattr(loop.time, "perf_counter", clock.perf_counter)
    return replace(task, batches=clock.ticking)


def test_checkpoints_follow_the_clock_between_validations(workloads, tmp_path, monkeypatch):
    task = workloads["small-vae"](steps=24, eval_every=10)
    saved = []
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda folder, step, *rest: (saved.append(step), save(folder, step, *rest)))
    trained(timed(task, monkeypatch), tmp_path / "3", checkpoint_seconds=3.0)
    # The first batch is asked for when the learner is made, and when it is looked at; 24 is the end, then what it measured.
    assert saved == [2, 5, 8, 11, 14, 17, 20, 23, 24, 24]
    saved.clear()
    trained(timed(task, monkeypatch), tmp_path / "0", checkpoint_seconds=0.0)
    assert saved == [10, 20, 24, 24]
    saved.clear()
    trained(timed(task, monkeypatch), tmp_path / "inf", checkpoint_seconds=1e9)
    assert saved == [24, 24]


@pytest.mark.parametrize(("crash", "resumed"), [(7, 5), (10, 8), (13, 11)])
def test_a_run_goes_on_from_a_checkpoint_between_validations(workloads, tmp_path, monkeypatch, crash, resumed):
    task = workloads["small-vae"](steps=24, eval_every=10)
    whole, rows = trained(task, tmp_path / "whole")
    with pytest.raises(KeyError, match="crash"):
        trained(timed(task, monkeypatch, crash), tmp_path / "parts", checkpoint_seconds=3.0)
    _, meta = Folder(tmp_path / "parts").latest(SEEDS)
    assert (meta["step"], meta["done"]) == (resumed, False)
    continued, continued_rows = trained(task, tmp_path / "parts")
    assert continued_rows == rows  # the means since the last record among them
    a, b = (checkpoint.flatten(one.tree()) for one in (continued, whole))
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_progress_is_told_between_validations_but_not_at_each_step(workloads, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(loop, "REPORT_SECONDS", 4.0)
    task = timed(workloads["small-vae"](steps=24, eval_every=10), monkeypatch)
    trained(task, tmp_path, checkpoint_seconds=1e9, progress=lambda step, steps, value: told.append((step, steps, value)))
    assert [(step, value is not None) for step, _, value in told] == [
        (3, False),
        (7, False),
        (10, True),
        (14, False),
        (18, False),
        (20, True),
        (24, True),
    ]
    assert {steps for _, steps, _ in told} == {24}
    assert all(value.shape == (2,) for _, _, value in told if value is not None)


@pytest.mark.parametrize(("baseline", "fates"), [(1.0, [RUNNING, WORSE_THAN_BASELINE]), (0.5, [WORSE_THAN_BASELINE] * 2)])
def test_one_number_of_a_seed_is_judged_as_it_is(workloads, tmp_path, baseline, fates):
    """0.9 and 1.1, one value each: there is no standard error to wait for."""

    def measure(stack, split):
        return {"distance": (torch.tensor([[0.9 + 0.2 * s.seed] for s in stack.streams]), "1")}

    task = replace(workloads["small-vae"](steps=4, eval_every=2), measure=measure, select="distance", baseline=baseline)
    ended, rows = trained(task, tmp_path)
    assert ended.status.tolist() == fates
    assert {(row.n, row.se) for row in rows if row.metric == "distance"} == {(1, 0.0)}


# --- runs of an earlier version -------------------------------------------------------------------------------------


def earlier(learner, task, done, folder):
    """A checkpoint as it was written before layouts had numbers."""
    tree = learner.tree()
    for key in ("state", "average_state", "controls", "skips"):
        tree.pop(key)
    tree["states"] = {name: {"inner": own} for name, own in learner.state["players"].items() if own}
    tree["average"] = {name: value + 1.0 for name, value in learner.params.items()}
    meta = {**learner.meta(), "wall_s": 1.0, "seeds": list(SEEDS), "done": done}
    meta.pop("layout")
    checkpoint.save(folder.checkpoints(SEEDS), learner.step, tree, meta)


@pytest.mark.parametrize("name", ["small-vae", "small-gan", "char-gru"])
def test_a_finished_run_of_an_earlier_version_is_read(workloads, learner, name, tmp_path):
    task = workloads[name](steps=5, eval_every=5)
    before = learner(task, SEEDS)
    for _ in range(5):
        before.advance()
    earlier(before, task, True, Folder(tmp_path))
    after, _ = trained(task, tmp_path)
    assert after.step == 5
    averaged = {player.name for player in task.game.players if player.ema}
    assert after.average.keys() == averaged
    for player, value in before.params.items():
        assert torch.equal(after.params[player], value)
        assert torch.equal(after.weights.kept[player], value + 1.0 if player in averaged else value)


def test_an_unfinished_run_of_an_earlier_version_is_refused(workloads, learner, tmp_path):
    task = workloads["small-vae"](steps=5, eval_every=5)
    before = learner(task, SEEDS)
    before.advance()
    earlier(before, task, False, Folder(tmp_path / "run"))
    with pytest.raises(SeedbedError) as raised:
        trained(task, tmp_path / "run")
    text = str(raised.value)
    assert text.startswith(f"{tmp_path / 'run'} was begun by an earlier version of Seedbed") and "\n" not in text
    assert "--again" in text and "--name" in text
    _, meta = Folder(tmp_path / "run").latest(SEEDS)
    assert (meta["step"], meta["done"]) == (1, False)  # it is left as it was


def test_a_checkpoint_says_its_layout(workloads, tmp_path):
    trained(workloads["small-gan"](steps=2, eval_every=2), tmp_path)
    tree, meta = Folder(tmp_path).latest(SEEDS)
    assert meta["layout"] == LAYOUT
    assert {"generator.net.1.running_mean", "generator.net.1.running_var"} <= tree["state"]["modules"].keys()
    assert tree["average"].keys() == {"generator"}


def test_early_stopping_returns_the_state_of_the_best_step(workloads, learner, tmp_path):
    """Validation values that rise from the second on: what counts is what was there at step 4."""
    curve = iter((2.0, 1.0, 3.0, 4.0, 5.0))

    def measure(stack, split):
        value = next(curve) if split == "valid" else 0.0
        return {"loss": (torch.full((len(stack.streams), 2), value), "1")}

    task = workloads["small-gan"](steps=20, eval_every=2, patience=2)
    ended, _ = trained(replace(task, measure=measure, select="loss"), tmp_path)
    best = learner(task, SEEDS)
    for _ in range(4):
        best.advance()
    assert ended.status_step.tolist() == [8, 8]
    for name, value in best.weights.kept_state.items():
        assert torch.equal(ended.stack().state[name], value), name
    assert not torch.equal(ended.stack().state["generator.net.1.running_mean"], torch.zeros(2, 8))


def test_bad_input_is_refused_before_a_step_and_only_at_the_start(workloads, tmp_path):
    task = workloads["small-vae"](steps=4, eval_every=2)
    calls = []

    def utility(model, batch, ctx):
        calls.append(ctx.noise.address)
        return task.game.players[0].utility(model, batch, ctx)

    watched = replace(task, game=Game((replace(task.game.players[0], utility=utility),)))
    trained(watched, tmp_path)
    # Three looks and an update of all seeds, then outside of training: of one seed, and of all.
    assert calls == [(0, 0, 0)] * 4 + [(0,)] * 2 + [(step, 0, 0) for step in range(4)]
    calls.clear()
    trained(watched, tmp_path)
    assert calls == []
