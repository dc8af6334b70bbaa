"""A recorded function plays back as it would run, to the last bit, or is not recorded at all."""

import pytest
import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.train.replay import Replay

STREAMS = [Streams(seed) for seed in range(3)]
X = torch.linspace(-1, 1, 12).view(3, 4)


def noise(step):
    return Noise(STREAMS, "noise", step)


class Shifted:
    """x + epsilon, epsilon drawn per seed, times a number of the class's own."""

    def __init__(self):
        self.factor = 1.0
        self.calls = 0

    def __call__(self, noise, x):
        self.calls += 1

        def one(row, x):
            here = noise.at(row)
            kept = here.of("dropout").bernoulli(torch.full((4,), 0.5))
            return x + here.normal((4,)) * kept + here.normal((4,))

        leaf = x.detach().requires_grad_()
        out = torch.func.vmap(one)(torch.arange(3), leaf) * self.factor
        return {"out": out.detach(), "slope": torch.autograd.grad(out.square().sum(), leaf)[0]}


def played(function, replay, steps, x=X):
    return [(function(noise(step), x), replay(noise(step), x)) for step in steps]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_playback_is_the_function_at_each_steps_own_noise():
    replay = Replay(Shifted(), "f", after=3, every=5)
    pairs = played(Shifted(), replay, range(20))
    assert replay.recorded
    assert all(same(a, b) for a, b in pairs)
    assert not same(pairs[7][1], pairs[8][1])


def test_a_fork_meets_the_same_draws_when_played_back():
    def twice(noise, x):
        def one(row, x):
            here = noise.at(row)
            first = here.normal((4,))
            fork = here.fork()
            kept = here.of("dropout").uniform((4,), samples=2)
            again = fork.normal((4,)), fork.of("dropout").uniform((4,), samples=2)
            return {
                "x": x + here.normal((4,)) * first,
                "same": (again[1] - kept).sum(0),
                "next": here.normal((4,)) - again[0],
            }

        return torch.func.vmap(one)(torch.arange(3), x)

    replay = Replay(twice, "f", after=2)
    pairs = played(twice, replay, range(8))
    assert replay.recorded
    assert all(same(a, b) for a, b in pairs)
    assert all(torch.equal(b["same"], torch.zeros(3, 4)) and b["next"].abs().min() > 0 for _, b in pairs)


def test_a_playback_runs_no_python_of_the_function():
    function = Shifted()
    replay = Replay(function, "f", after=1)
    played(Shifted(), replay, range(3))
    before = function.calls
    played(Shifted(), replay, range(3, 9))
    assert function.calls == before


def test_other_shapes_are_not_played_back():
    replay = Replay(lambda noise, x: x * 2, "f", after=1)
    assert torch.equal(replay(noise(0), X), X * 2)
    assert torch.equal(replay(noise(1), X[:, :2]), X[:, :2] * 2)
    assert replay.recorded and replay.played == 0


def test_what_depends_on_the_step_number_is_not_recorded():
    replay = Replay(lambda noise, x: x * noise.address[0], "f", after=2)
    for step in range(6):
        assert torch.equal(replay(noise(step), X), X * step)
    assert not replay.recorded


def test_what_decides_by_a_value_is_not_recorded():
    replay = Replay(lambda noise, x: x if bool(x.sum() > 100) else -x, "f", after=2)
    for step in range(4):
        assert torch.equal(replay(noise(step), X), -X)
    assert not replay.recorded


def test_what_changes_later_is_an_error():
    function = Shifted()
    replay = Replay(function, "the utility of critic", after=1, every=4)
    for step in range(5):
        replay(noise(step), X)
    function.factor = 2.0
    with pytest.raises(SeedbedError, match=r"the utility of critic gives other numbers .* carry that in the state"):
        for step in range(5, 10):
            replay(noise(step), X)


def test_nan_is_equal_to_itself():
    replay = Replay(lambda noise, x: x / 0, "f", after=1)
    for step in range(4):
        replay(noise(step), torch.zeros(3, 4))
    assert replay.recorded
