"""A seed that diverges ends alone: the others' numbers do not change in any bit."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils._pytree import tree_map

from seedbed.core.noise import Streams
from seedbed.core.terms import Terms
from seedbed.store import checkpoint
from seedbed.store.folder import Folder
from seedbed.train.batches import Batches
from seedbed.train.game import Game
from seedbed.train.learner import DIVERGED, RUNNING, WORSE_THAN_BASELINE
from seedbed.train.loop import train_group
from seedbed.train.optim import SGD

SEEDS, BAD, MOMENT = (0, 1, 5), 1, 13
OTHERS = [row for row in range(len(SEEDS)) if row != BAD]
each_model = pytest.mark.parametrize("model", ["small-vae", "small-gan", "char-gru", "vae", "spline-flow", "wgan-gp"])


class Poison:
    """A utility that one seed of the stack, at one update, finds infinite or not a number."""

    def __init__(self, utility, factor, update=MOMENT):
        self.utility, self.factor, self.update = utility, factor, update

    def initial_state(self, model, batch):
        inner = self.utility.initial_state(model, batch) if hasattr(self.utility, "initial_state") else {}
        return {**inner, "hits": torch.zeros((), dtype=torch.int64)}

    @property
    def resets(self):
        return getattr(self.utility, "resets", ())

    def __call__(self, model, batch, ctx):
        out = self.utility(model, batch, ctx)
        hit = (ctx.noise.row == BAD) & (ctx.state["hits"] == self.update)
        # Infinite with a gradient of zero, or with one that is no number.
        alone = torch.where(hit, torch.inf, out.value)
        value = alone if self.factor is None else out.value * torch.where(hit, self.factor, 1.0)
        ctx.state["hits"] = ctx.state["hits"] + 1
        return Terms(value, out.parts)


class Spoilt(Batches):
    """Batches of which one seed's, from one update on, are not numbers: NaN runs through the whole model."""

    def __init__(self, batches, update):
        self.batches, self.update = batches, update

    def __call__(self, streams, number):
        batch = self.batches(streams, number)
        return tree_map(partial(spoilt, row=BAD), batch) if number >= self.update else batch

    def begins(self, number):
        return self.batches.begins(number)


def spoilt(leaf, row):
    if leaf.is_floating_point():
        leaf = leaf.clone()
        leaf[row] = torch.nan
    return leaf


def poisoned(task, how, update=MOMENT):
    """The task with one bad seed; with ``how="no"`` the very same arithmetic and no poison."""
    factor = {"inf": torch.inf, "nan": torch.nan, "value": None}.get(how, 1.0)
    first, *rest = task.game.players
    first = replace(first, utility=Poison(first.utility, factor, update))
    step, repeat = divmod(update, first.repeat)
    number = step * sum(player.repeat for player in task.game.players) + repeat
    batches = Spoilt(task.batches, number) if how == "data" else task.batches
    return replace(task, game=Game((first, *rest), task.game.simultaneous, task.game.frozen), batches=batches)


def trained(task, path, seeds=SEEDS):
    streams = [Streams(seed) for seed in seeds]
    learner = train_group(task, Folder(path), seeds, streams, device=torch.device("cpu"), threads=1)
    return learner, Folder(path).table(seeds).read()


@each_model
@pytest.mark.parametrize("how", ["inf", "nan", "value", "data"])
def test_the_others_do_not_notice(workloads, learner, model, how, tmp_path):
    if model == "char-gru" and how == "data":
        pytest.skip("tokens are always numbers")
    task = replace(workloads[model](steps=20 if "small" in model else 40, eval_every=5), baseline=None)
    clean, rows = trained(poisoned(task, "no"), tmp_path / "clean")
    hurt, hurt_rows = trained(poisoned(task, how), tmp_path / "hurt")

    repeat = task.game.players[0].repeat
    step = MOMENT // repeat
    assert hurt.status.tolist() == [RUNNING, DIVERGED, RUNNING]
    assert hurt.status_step.tolist() == [0, step, 0]

    # The others: every row but for its time, and every parameter, to the last bit.
    def of_others(table):
        return [replace(row, wall_s=0.0) for row in table if row.seed != SEEDS[BAD]]

    assert of_others(hurt_rows) == of_others(rows)
    assert {row.split for row in of_others(rows)} == {"train", "valid", "test", "status"}
    for part in ("params", "average", "average_state", "state", "optimizers"):
        numbers, expected = (checkpoint.flatten(one.tree()[part]) for one in (hurt, clean))
        assert numbers.keys() == expected.keys()
        for key, value in numbers.items():
            assert torch.equal(value[OTHERS], expected[key][OTHERS]), (part, key)

    # The seed itself: its last finite parameters, its fate and its step; no validation after it.
    before = learner(poisoned(task, "no"), SEEDS)
    for _ in range(step):
        before.advance()
    for name, value in hurt.params.items():
        assert torch.isfinite(value[BAD]).all()
        if (
            name != task.game.players[0].name or MOMENT % repeat == 0
        ):  # a critic has moved in its earlier updates of the step
            assert torch.equal(value[BAD], before.params[name][BAD]), name
    mine = [row for row in hurt_rows if row.seed == SEEDS[BAD]]
    assert [(r.metric, r.step, r.value) for r in mine if r.split == "status"] == [("diverged", step, float(step))]
    assert max(r.step for r in mine if r.split in ("train", "valid")) == step - step % 5
    assert all(r.step == step for r in mine if r.split == "test")
    measured = {(r.seed, r.metric): r for r in hurt_rows if r.split == "test"}
    assert all(torch.isfinite(torch.tensor(r.value)) for r in measured.values())
    # What is stored is what is left of it.
    tree, meta = Folder(tmp_path / "hurt").latest(SEEDS)
    assert meta["done"] and tree["status"]["fate"].tolist() == [RUNNING, DIVERGED, RUNNING]


@pytest.mark.parametrize("model", ["small-vae", "small-gan", "vae", "spline-flow", "wgan-gp"])
@pytest.mark.parametrize("size", [1e30, torch.inf, torch.nan])
def test_exploded_parameters_stay_in_their_row(workloads, learner, model, size):
    """The forward pass of a seed that is out of range: no gather, no search may take the stack down."""
    clean, hurt = (learner(workloads[model](), SEEDS) for _ in range(2))
    for step in range(6):
        if step == 3:
            for name in hurt.params:
                hurt.params[name] = hurt.params[name].clone()
                hurt.params[name][BAD] = size
        for one in (clean, hurt):
            one.advance()
    assert hurt.status.tolist() == [RUNNING, DIVERGED, RUNNING]
    assert hurt.status_step[BAD] == 3
    for name, value in clean.params.items():
        assert torch.equal(hurt.params[name][OTHERS], value[OTHERS])
    recorded = hurt.averages()
    for name, parts in clean.averages().items():
        for part, value in parts.items():
            assert torch.equal(recorded[name][part][OTHERS], value[OTHERS]), part
    measured = hurt.task.measure(hurt.stack(), "valid")
    expected = clean.task.measure(clean.stack(), "valid")
    for metric, (value, _) in expected.items():
        assert torch.equal(measured[metric][0][OTHERS], value[OTHERS]), metric


@pytest.mark.parametrize("model", ["small-gan", "wgan-gp"])
def test_a_poisoned_moment_without_a_whole_step(workloads, learner, model):
    """The critic's second update of a step fails: the first one stands, the generator does not move any more."""
    task = workloads[model]()
    hurt, clean = learner(poisoned(task, "nan", update=5), SEEDS), learner(poisoned(task, "no"), SEEDS)
    for one in (hurt, clean):
        for _ in range(2):
            one.advance()
    generator = clean.params["generator"].clone()
    critic = clean.params["critic"].clone()
    hurt.advance()
    clean.advance()
    assert hurt.status.tolist() == [RUNNING, DIVERGED, RUNNING]
    assert torch.equal(hurt.params["generator"][BAD], generator[BAD])
    assert not torch.equal(hurt.params["critic"][BAD], critic[BAD])
    assert torch.equal(hurt.params["generator"][OTHERS], clean.params["generator"][OTHERS])
    average = {name: value.clone() for name, value in hurt.average.items()}
    assert "generator" in average
    hurt.advance()
    for name, value in hurt.average.items():  # nor does its moving average
        assert torch.equal(value[BAD], average[name][BAD])
        assert not torch.equal(value[OTHERS], average[name][OTHERS])


def test_a_step_that_is_not_finite_leaves_the_state_as_it_was(workloads, learner):
    task = workloads["small-gan"]()
    first, last = task.game.players
    players = (first, replace(last, utility=Poison(last.utility, torch.nan, 3)))
    hurt, clean = learner(replace(task, game=Game(players)), SEEDS), learner(task, SEEDS)
    for step in range(5):
        if step == 3:
            before = checkpoint.flatten({"newest": hurt.state["modules"], "average": hurt.average_state})
            before = {name: value.clone() for name, value in before.items()}
        hurt.advance()
        clean.advance()
    assert hurt.status.tolist() == [RUNNING, DIVERGED, RUNNING]
    assert {name.split("/")[0] for name in before} == {"newest", "average"}
    now, expected = (
        checkpoint.flatten({"newest": one.state["modules"], "average": one.average_state}) for one in (hurt, clean)
    )
    for name, value in before.items():
        assert torch.equal(now[name][BAD], value[BAD]), name
        assert torch.equal(now[name][OTHERS], expected[name][OTHERS]), name
        assert not torch.equal(now[name][OTHERS], value[OTHERS]), name


def test_a_finite_gradient_that_steps_out_of_range_is_not_applied(workloads, learner):
    task = workloads["small-vae"]()
    steep = lambda *args: Terms(100 * task.game.players[0].utility(*args).value)
    player = replace(
        task.game.players[0], utility=steep, optimizer=SGD(lr=3e38), schedule=lambda step, steps: float(step == 2) or 1e-40
    )
    learner = learner(replace(task, game=Game((player,))), SEEDS)
    for _ in range(2):
        learner.advance()
    before = learner.params["model"].clone()
    learner.advance()
    assert learner.status.tolist() == [DIVERGED] * 3
    assert learner.status_step.tolist() == [2] * 3
    assert torch.equal(learner.params["model"], before)
    assert torch.isfinite(before).all()


def test_clipping_does_not_hide_an_overflow(workloads, learner):
    """A gradient whose norm overflows would be scaled to zero: a step that is finite, and wrong."""
    task = workloads["small-vae"]()
    player = replace(task.game.players[0], clip=1.0, utility=Poison(task.game.players[0].utility, 1e30, 0))
    hurt = learner(replace(task, game=Game((player,))), SEEDS)
    hurt.advance()
    assert hurt.status.tolist() == [RUNNING, DIVERGED, RUNNING]


def test_a_run_ends_when_every_seed_has_ended(workloads, tmp_path):
    task = workloads["small-vae"](steps=40, eval_every=5)
    spoilt = poisoned(task, "no")
    spoilt = replace(spoilt, batches=Everything(task.batches, 7))
    ended, rows = trained(spoilt, tmp_path)
    assert ended.step == 8 and ended.status.tolist() == [DIVERGED] * 3
    assert {row.step for row in rows if row.split == "valid"} == {5}
    assert {(row.metric, row.value) for row in rows if row.split == "status"} == {("diverged", 7.0)}


class Everything(Spoilt):
    def __call__(self, streams, number):
        batch = self.batches(streams, number)
        return torch.full_like(batch, torch.nan) if number >= self.update else batch


@pytest.mark.parametrize(("baseline", "fate"), [(1e9, "finished"), (-1e9, "worse_than_baseline"), (None, "finished")])
def test_a_run_worse_than_its_baseline_is_marked(workloads, baseline, fate, tmp_path):
    ended, rows = trained(replace(workloads["small-vae"](steps=6, eval_every=3), baseline=baseline), tmp_path)
    assert [row.metric for row in rows if row.split == "status"] == [fate] * 3
    assert [row.value for row in rows if row.split == "status"] == [6.0] * 3
    assert (ended.status == (WORSE_THAN_BASELINE if fate != "finished" else RUNNING)).all()


def test_the_baseline_judges_each_seed_beyond_its_noise(workloads, tmp_path):
    """Values around 1 with a standard error of 0.1: 1.2 is within three of it, 1.4 is not; diverged is diverged."""
    spread = torch.tensor([-1.0, 1.0]).repeat(50)

    def measure(stack, split):
        means = {0: 1.2, 1: 1.4, 5: 0.5, 6: 9.0}
        return {"loss": (torch.stack([means[s.seed] + spread for s in stack.streams]), "nats")}

    task = replace(workloads["small-vae"](steps=6, eval_every=3), measure=measure, select="loss", baseline=1.0)
    ended, _ = trained(replace(task, batches=LastIsBad(task.batches)), tmp_path, (0, 1, 5, 6))
    assert ended.status.tolist() == [RUNNING, WORSE_THAN_BASELINE, RUNNING, DIVERGED]
    assert ended.status_step.tolist() == [0, 6, 0, 0]


class LastIsBad(Batches):
    def __init__(self, batches):
        self.batches = batches

    def __call__(self, streams, number):
        return spoilt(self.batches(streams, number), -1)
