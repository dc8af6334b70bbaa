"""Twelve ordinary modules, with nothing declared: they run, say how, and are the same in a stack, alone and continued."""

import pytest
import torch
from ordinary import MODULES, task_of

from seedbed.core.errors import UnmappedError
from seedbed.core.noise import Streams
from seedbed.store import checkpoint
from seedbed.train.learner import Learner
from seedbed.train.looks import look_at

CPU, STREAMS = torch.device("cpu"), [Streams(seed) for seed in range(3)]
STACKED = [name for name, kind in MODULES.items() if not kind.reason]


@pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
@pytest.mark.parametrize("name", MODULES)
def test_it_runs_and_says_how(name, precision):
    one, several = (Learner(task_of(name, precision=precision), STREAMS[:count], CPU) for count in (1, 3))
    look_at(one)
    if reason := MODULES[name].reason:
        for learner, mapped in ((several, False), (one, True)):
            with pytest.raises(UnmappedError, match=f"trains one seed after another: {reason} cannot be mapped over seeds$"):
                look_at(learner, mapped)
    else:
        look_at(several)
        look_at(one, mapped=True)
    one.advance()
    assert all(value.isfinite().all() for value in one.params.values())


@pytest.mark.parametrize("name", STACKED)
def test_a_stack_is_its_seeds(name):
    """The same draws, so in double precision the same numbers up to rounding: weights, state and what is measured."""
    learners = [Learner(task_of(name, precision="fp64"), streams, CPU) for streams in (STREAMS, *([s] for s in STREAMS))]
    for learner in learners:
        for _ in range(4):
            learner.advance()
    many, *alone = learners
    for row, one in enumerate(alone):
        for key, value in (one.params | one.state["modules"]).items():
            ours = (many.params | many.state["modules"])[key][row]
            assert torch.allclose(ours.double(), value[0].double(), rtol=1e-8, atol=1e-9), key
        measured = [learner.task.measure(learner.stack(), "valid")["loss"][0] for learner in (many, one)]
        assert torch.allclose(measured[0][row], measured[1][0], rtol=1e-8)
        assert not torch.allclose(measured[0][row], measured[0][row - 1])


@pytest.mark.slow  # through `fit` it is among the fast ones
@pytest.mark.parametrize("name", MODULES)
def test_a_run_that_is_continued_is_the_run(name, tmp_path):
    """Bit for bit, whether it was recorded or not."""
    streams = STREAMS if name in STACKED else STREAMS[:1]
    whole, first, second = (Learner(task_of(name), streams, CPU) for _ in range(3))
    for learner in (whole, first, second):
        for replay in learner.replays.values():
            replay.after = 3
    for _ in range(9):
        whole.advance()
    for _ in range(5):
        first.advance()
    checkpoint.save(tmp_path, first.step, first.tree(), first.meta())
    torch.manual_seed(99)  # whatever else draws has no say
    second.restore(*checkpoint.latest(tmp_path))
    for _ in range(4):
        second.advance()
    found, expected = second.params | second.state["modules"], whole.params | whole.state["modules"]
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    if name in STACKED:
        assert all(replay.recorded for replay in whole.replays.values())


@pytest.mark.parametrize("name", ["conv VAE", "GAN pair", "spectral norm"])
def test_what_is_written_is_state_of_its_owner_and_is_kept(name):
    learner = Learner(task_of(name), STREAMS, CPU)
    before = {key: value.clone() for key, value in learner.state["modules"].items()}
    assert before
    learner.advance()
    assert not any(torch.equal(value, before[key]) for key, value in learner.state["modules"].items())
    counts = {key: value.tolist() for key, value in learner.state["modules"].items() if key.endswith("tracked")}
    assert all(value == [1] * 3 for value in counts.values())
