"""An update whose gradient is too long changes nothing of its seed, and too many in a row end it."""

from dataclasses import replace

import pytest
import torch

from seedbed.core.noise import Streams
from seedbed.core.terms import Terms
from seedbed.store.folder import Folder
from seedbed.train.batches import Batches
from seedbed.train.game import Game
from seedbed.train.learner import DIVERGED, RUNNING
from seedbed.train.loop import train_group
from seedbed.train.optim import SGD, Adam, AdamW, RMSProp, Soap

SEEDS, HIT = (0, 1, 5), 1
OTHERS = [0, 2]


class Long:
    """A utility whose gradient one seed of the stack, at the updates named, finds a thousand times as long."""

    def __init__(self, utility, at, factor=1e3):
        self.utility, self.at, self.factor = utility, at, factor

    def initial_state(self, model, batch):
        return {"calls": torch.zeros((), dtype=torch.int64)}

    def __call__(self, model, batch, ctx):
        out = self.utility(model, batch, ctx)
        hit = torch.as_tensor((ctx.noise.row == HIT) & (ctx.noise.address[0] in self.at))
        ctx.state["calls"] = ctx.state["calls"] + 1
        # Of the value the difference is as it was: the gradient alone is longer.
        extra = (out.value - out.value.detach()) * torch.where(hit, self.factor - 1, 0.0)
        return Terms(out.value + extra, out.parts)


def skipping(task, at, skip_above=100.0, **options):
    first = task.game.players[0]
    first = replace(first, utility=Long(first.utility, at), skip_above=skip_above, clip=None, **options)
    return replace(task, game=Game((first, *task.game.players[1:])))


def advanced(learner, steps):
    for _ in range(steps):
        learner.advance()
    return learner


def numbers(learner):
    """Everything of the player that an update changes, ``{name: [seeds, ...]}``."""
    out = {"params": learner.params["model"], "average": learner.average["model"]}
    out |= {f"optimizer.{key}": value for key, value in learner.optimizers["model"].items()}
    return {k: v.clone() for k, v in (out | learner.state["players"]["model"]).items()}


RULES = [Adam(), AdamW(), SGD(momentum=0.9), RMSProp(), Soap(every=3)]


@pytest.mark.parametrize("optimizer", RULES, ids=lambda rule: type(rule).__name__)
def test_a_skipped_update_changes_nothing_of_its_seed_and_not_a_bit_of_the_others(workloads, learner, optimizer):
    task = workloads["small-vae"]()
    hit, free = (learner(skipping(task, at, optimizer=optimizer), SEEDS) for at in ([4, 5, 8], []))
    for step in range(12):
        before = numbers(hit)
        hit.advance()
        free.advance()
        now, expected = numbers(hit), numbers(free)
        for key, value in before.items():
            assert torch.equal(now[key][OTHERS], expected[key][OTHERS]), (step, key)
            if step in (4, 5, 8):
                assert torch.equal(now[key][HIT], value[HIT]), (step, key)
        assert not torch.equal(now["params"][OTHERS], before["params"][OTHERS])
        assert torch.equal(now["params"][HIT], before["params"][HIT]) == (step in (4, 5, 8))
    assert now["optimizer.t"].flatten().tolist() == [12, 9, 12]
    assert now["calls"].tolist() == [12, 9, 12]
    assert hit.status.tolist() == [RUNNING] * 3


def test_soap_turns_each_seed_at_its_own_count():
    """A seed that comes a step late is turned a step late: its path is that of a stack of its own."""
    generator = torch.Generator().manual_seed(0)
    rule, lr = Soap(every=3).bind([(4, 3)]), torch.full((1, 1), 0.01, dtype=torch.float64)
    start = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    gradients = torch.randn(10, 2, 12, generator=generator, dtype=torch.float64)
    params, state = start, rule.init(start)
    for step in range(10):
        held = {key: value[1].clone() for key, value in state.items()}
        new, state = rule.update(params, gradients[step], state, lr.expand(2, 1))
        if step == 1:  # the second seed sits this one out
            new[1] = params[1]
            for key, value in held.items():
                state[key][1] = value
        params = new
    for row, steps in ((0, range(10)), (1, [s for s in range(10) if s != 1])):
        alone, own = start[row : row + 1], rule.init(start[row : row + 1])
        for step in steps:
            alone, own = rule.update(alone, gradients[step, row : row + 1], own, lr)
        torch.testing.assert_close(params[row : row + 1], alone, rtol=1e-12, atol=1e-12)


def test_the_bound_is_on_the_norm_before_clipping(workloads, learner):
    task = skipping(workloads["small-vae"](), [])
    first = replace(task.game.players[0], clip=1e-3)
    clipped = learner(replace(task, game=Game((replace(first, skip_above=1e-2),))), SEEDS)
    start = clipped.params["model"].clone()
    clipped.advance()
    assert torch.equal(clipped.params["model"], start)  # all are longer than that, whatever clipping makes of them


def test_the_share_of_skipped_updates_is_recorded(workloads, learner):
    hit = advanced(learner(skipping(workloads["small-vae"](), [1, 2, 6]), SEEDS), 4)
    assert hit.averages()["model"]["skipped"].tolist() == [0.0, 0.5, 0.0]
    advanced(hit, 4)
    assert hit.averages()["model"]["skipped"].tolist() == [0.0, 0.25, 0.0]
    plain = advanced(learner(workloads["small-vae"](), SEEDS), 1)
    assert "skipped" not in plain.averages()["model"]


@pytest.mark.parametrize(("at", "fate"), [([2, 3, 4], RUNNING), ([2, 3, 4, 5], DIVERGED), ([2, 3, 4, 6, 7, 8], RUNNING)])
def test_more_in_a_row_than_allowed_is_divergence(workloads, learner, at, fate):
    hit = advanced(learner(skipping(workloads["small-vae"](), at, most_skips=3), SEEDS), 10)
    assert hit.status.tolist() == [RUNNING, fate, RUNNING]
    assert hit.status_step[HIT] == (5 if fate == DIVERGED else 0)


def test_an_infinite_gradient_is_too_long_and_one_that_is_no_number_is_divergence(workloads, learner):
    for factor, fate in ((torch.inf, RUNNING), (torch.nan, DIVERGED)):
        task = workloads["small-vae"]()
        first = task.game.players[0]

        def steep(model, x, ctx, utility=first.utility, factor=factor):
            value = utility(model, x, ctx).value
            slope = torch.where(ctx.noise.row == HIT, factor, 0.0)
            return Terms(value + _slope(model.decoder[2].bias.sum(), slope))

        task = replace(task, game=Game((replace(first, utility=steep, skip_above=100.0),)))
        hit = advanced(learner(task, SEEDS), 2)
        assert hit.status.tolist() == [RUNNING, fate, RUNNING]
        assert torch.isfinite(hit.params["model"]).all()


class _Slope(torch.autograd.Function):
    """0, with a gradient that is told."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, slope):
        return x * 0

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None


def _slope(x, slope):
    return _Slope.apply(x, slope)


class Numbered(Batches):
    """Another's batches, and a crash at one of them, once."""

    def __init__(self, batches, number):
        self.batches, self.number = batches, number

    def __call__(self, streams, number):
        if number == self.number:
            self.number = None
            raise KeyError("crash")
        return self.batches(streams, number)


def test_a_row_of_skips_goes_on_where_it_was_interrupted(workloads, tmp_path):
    task = skipping(workloads["small-vae"](steps=14, eval_every=3), [5, 6, 7, 8], most_skips=3)

    def trained(task, name):
        streams = [Streams(seed) for seed in SEEDS]
        options = {"device": torch.device("cpu"), "threads": 1, "checkpoint_seconds": 0.0}
        out = train_group(task, Folder(tmp_path / name), SEEDS, streams, **options)
        return out, [replace(row, wall_s=0.0) for row in Folder(tmp_path / name).table(SEEDS).read()]

    whole, rows = trained(task, "whole")
    assert whole.status.tolist() == [RUNNING, DIVERGED, RUNNING] and whole.status_step[HIT] == 8
    with pytest.raises(KeyError, match="crash"):
        trained(replace(task, batches=Numbered(task.batches, 7)), "parts")  # after a checkpoint at step 6: one was skipped
    continued, continued_rows = trained(task, "parts")
    assert continued_rows == rows
    assert continued.status.tolist() == whole.status.tolist() and torch.equal(
        continued.params["model"], whole.params["model"]
    )
    assert {row.metric for row in rows if row.split == "train"} >= {"skipped", "utility"}
