"""Chains that go with training: they are the model's state, its owner's, and where a killed run left them."""

import pytest
import torch

import seedbed
from seedbed.core.context import Context, State
from seedbed.core.noise import Noise, Streams
from seedbed.distributions.likelihood import BERNOULLI, GAUSSIAN
from seedbed.experiments import find_on
from seedbed.models.symmetric import SymmetricVAE
from seedbed.objectives.bits import elbo_of_bits
from seedbed.objectives.bounds import coupling, declares_coupling
from seedbed.objectives.chain import corrupted, step_of, with_chain
from seedbed.objectives.equilibrium import decoder_utility
from seedbed.train.learner import Learner

CPU = torch.device("cpu")
SMALL = {"bits": (2, 3), "hidden": (4,), "steps": 12, "eval_every": 6, "batch_size": 8, "corruption": 0.05}
each_way = pytest.mark.parametrize("learning", ["symmetric", "zgr"])


def declared(learning, **settings):
    return find_on("symmetric-vae", "digits-binary").with_config({**SMALL, "learning": learning, **settings})


def learner(learning, seeds, **settings):
    experiment = declared(learning, **settings)
    streams = experiment.streams(list(seeds))
    return Learner(experiment.task(streams), streams, CPU)


def chains(one):
    return one.stack().state["decoder.chain"]


@each_way
def test_they_move_with_every_update_each_seeds_own(learning):
    together, alone = learner(learning, [0, 1], precision="fp64"), learner(learning, [1], precision="fp64")
    begun = chains(together).clone()
    assert {*begun.unique().tolist()} == {0.0, 1.0} and not torch.equal(begun[0], begun[1])
    for _ in range(4):
        before = chains(together).clone()
        together.advance()
        alone.advance()
        assert not torch.equal(chains(together), before)
    assert torch.equal(chains(together)[1], chains(alone)[0])


@each_way
def test_they_change_no_draw_of_what_is_learnt(learning):
    with_, without = learner(learning, [0, 1]), learner(learning, [0, 1], chains=0)
    for _ in range(4):
        with_.advance()
        without.advance()
    assert "decoder.chain" not in without.stack().state
    for name, value in without.params.items():
        assert torch.equal(value, with_.params[name]), name


@each_way
def test_recorded_updates_move_them_alike(learning):
    plain, played = learner(learning, [0, 1]), learner(learning, [0, 1])
    for one, after in ((plain, 10_000), (played, 2)):
        for replay in one.replays.values():
            replay.after = after
        for _ in range(7):
            one.advance()
    assert all(replay.played for replay in played.replays.values())
    assert torch.equal(chains(plain), chains(played))


class Killed(BaseException):
    """Stands for a signal that no handler sees."""


@each_way
def test_a_killed_run_goes_on_with_its_chains_optimisers_and_streams(learning, tmp_path, monkeypatch):
    def trained(name):
        return seedbed.run(declared(learning), seeds=2, out=tmp_path / name, threads=1, checkpoint_seconds=1e-6)

    whole, advance = trained("whole"), Learner.advance
    for death in (2, 7, 11):

        def dying(self, death=death):
            if self.step == death:
                raise Killed
            advance(self)

        monkeypatch.setattr(Learner, "advance", dying)
        with pytest.raises(Killed):
            trained("cut")
    monkeypatch.setattr(Learner, "advance", advance)
    cut = trained("cut")
    rows = [[tuple(row.__dict__.values())[:-1] for row in run.folder.rows()] for run in (whole, cut)]
    assert rows[0] == rows[1]
    for (_, one), (_, other) in zip(whole.stacks(), cut.stacks(), strict=True):
        assert torch.equal(one.state["decoder.chain"], other.state["decoder.chain"])
        assert all(torch.equal(value, other.params[name]) for name, value in one.params.items())


def context(state=None, number=0):
    return Context(Noise([Streams(number)], "noise", 0), state=State(state))


def test_a_step_is_that_of_the_models_own_two_halves():
    model = SymmetricVAE(5, (2, 3), "ladder", (4,), BERNOULLI, chains=7)
    state = dict(model.state())
    assert state["decoder.chain"].shape == (7, 5)
    ctx, x = context(state), torch.ones(6, 5)
    with_chain(decoder_utility)(model, x, ctx)
    by_hand = context()
    decoder_utility(model, x, by_hand)
    moved = step_of(model, state["decoder.chain"], by_hand).draw(by_hand.noise).value
    assert torch.equal(ctx.state["decoder.chain"], moved)


def test_corruption_flips_the_share_of_bits_and_adds_the_scale_to_real_numbers():
    seen = []

    def utility(model, x, ctx):
        seen.append(x)
        return decoder_utility(model, x, ctx)

    n, size, share = 4000, 5, 0.1
    x = torch.zeros(n, size)
    corrupted(utility, share)(SymmetricVAE(size, (2, 3), "ladder", (4,)), x, context())
    error = (share * (1 - share) / seen[0].numel()) ** 0.5
    assert {*seen[0].unique().tolist()} == {0.0, 1.0} and abs(float(seen[0].mean()) - share) < 5 * error
    corrupted(utility, share)(SymmetricVAE(size, (2, 3), "ladder", (4,), GAUSSIAN), x, context())
    spread = seen[1].std()
    assert abs(float(spread) - share) < 5 * share / (2 * seen[1].numel()) ** 0.5


def test_what_couples_examples_still_says_so():
    coupled = coupling(elbo_of_bits("zgr"))
    for wrapped in (with_chain(coupled), corrupted(coupled, 0.1)):
        assert declares_coupling(wrapped)
    assert not declares_coupling(with_chain(decoder_utility))
