"""The chain x -> z -> x against its transition matrix, summed over every setting of every bit."""

import itertools

import pytest
import torch
from torch import nn

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.distributions.likelihood import GAUSSIAN
from seedbed.evaluate.chain import Way, beginning, looked, walked
from seedbed.models.symmetric import SymmetricVAE

EVERY_X = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
EVERY_Z = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)[:, None]
Z = {"z1": EVERY_Z[..., :1].expand(-1, 8, -1), "z2": EVERY_Z[..., 1:].expand(-1, 8, -1)}
each_encoder = pytest.mark.parametrize("encoder", ["ladder", "reverse"])
N = 4000


def models(encoder, seeds=(3, 4), **more):
    """One bit over two over three, with weights that matter."""
    found = []
    for seed in seeds:
        model = SymmetricVAE(3, (1, 2), encoder, (4,), **more).double()
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(1.5 * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
        found.append(model)
    return Stack.of(found, [Streams(seed) for seed in seeds], "fp64")


def transition(model):
    """T[x, x'] = sum_z q(z | x) p(x' | z), and p(x)."""
    with torch.no_grad():
        q = model.log_posterior(EVERY_X, Z, Context.of(0)).exp()  # [z, x]
        joint = model.joint(EVERY_X, Z, Context.of(0)).exp()
        p = joint / joint.sum(1, keepdim=True)  # p(x' | z)
        return q.mT @ p, joint.sum(0)


def shares(x):
    """How often each setting of three bits occurs, ``[8]``."""
    return torch.bincount((x @ torch.tensor([4.0, 2.0, 1.0], dtype=x.dtype)).long(), minlength=8).double() / len(x)


def agrees(x, law):
    """The shares of ``n`` independent draws are those of a law: every one within five standard errors."""
    error = (law * (1 - law) / len(x)).sqrt()
    return bool(((shares(x) - law).abs() < 5 * error + 1e-9).all())


def last(stack, way, count=N, **more):
    parts = [part[way.marks[-1]] for part in looked(stack, way, count, (3,), BINARY, **more)]
    return torch.cat(parts, 1)


@each_encoder
@pytest.mark.parametrize("chain_from", ["coins", "draws"])
def test_each_step_has_the_law_of_the_transition_matrix(encoder, chain_from):
    stack = models(encoder)
    for steps in (1, 3):
        x = last(stack, Way("limiting", steps, chain_from))
        for row in range(2):
            matrix, p = transition(stack.model(row))
            start = p if chain_from == "draws" else torch.full((8,), 0.125, dtype=torch.float64)
            law = start @ torch.linalg.matrix_power(matrix, steps)
            assert agrees(x[row], law)
            assert not agrees(x[row], law.flip(0))


def test_many_steps_come_to_the_stationary_law_from_anywhere():
    stack = models("ladder", (5,))
    matrix, p = transition(stack.model(0))
    stationary = torch.linalg.matrix_power(matrix, 1000)[0]
    assert (stationary - p).abs().max() > 0.05  # these two halves do not agree
    for chain_from in ("coins", "draws"):
        assert agrees(last(stack, Way("limiting", 40, chain_from), 1024)[0], stationary)


def test_a_random_code_has_the_law_of_the_model():
    stack = models("reverse")
    x = last(stack, Way())
    assert all(agrees(x[row], transition(stack.model(row))[1]) for row in range(2))


@each_encoder
def test_a_chain_is_the_same_in_parts_alone_and_among_others(encoder):
    stack, way = models(encoder), Way("limiting", 5)
    whole = last(stack, way, 200)
    assert torch.equal(whole[:, :70], last(stack, way, 70))
    assert torch.equal(whole[:, 130:], last(stack, way, 200, first=130))
    assert torch.equal(whole, last(stack, way, 200, memory_gib=1e-9))  # a block at a time
    assert torch.equal(whole[1:], last(models(encoder, (4,)), way, 200))
    x = beginning(stack, "coins", (3,), BINARY, 0, 200)
    half = [states for _, states, _ in walked(stack, x, Way("limiting", 2))][-1]
    assert torch.equal(whole, [states for _, states, _ in walked(stack, half, way, done=2)][-1])


def test_what_is_shown_is_of_the_last_step_and_of_each_mark():
    stack = models("ladder", (3,))
    draws, means, modes = (
        next(looked(stack, Way("limiting", 30, shown=shown), 64, (3,), BINARY)) for shown in ("draw", "mean", "mode")
    )
    assert list(draws) == list(means) == [1, 3, 10, 30]
    for mark in draws:
        assert torch.equal(modes[mark], (means[mark] > 0.5).double())
        assert {*draws[mark].unique().tolist()} == {0.0, 1.0}
    with torch.no_grad():
        possible = stack.model(0).descend(Context.of(0), lambda layer: Z[layer.name][:, 0])[2].mean
    assert all((possible == row).all(1).any() for row in means[30][0])


def test_chains_begin_at_noise_over_the_values_of_an_example():
    stack = models("ladder", (3,))
    for domain, values in ((BINARY, {0.0, 1.0}), (Domain("levels", 5), {0.0, 1.0, 2.0, 3.0, 4.0})):
        x = beginning(stack, "coins", (3,), domain, 0, N)
        assert {*x.unique().tolist()} == values
        error = x.std() / (3 * N) ** 0.5
        assert (x.mean() - (len(values) - 1) / 2).abs() < 5 * error
    real = models("ladder", (3,), likelihood=GAUSSIAN)
    x = beginning(real, "coins", (3,), REAL, 0, N)
    assert 0 <= x.min() < 0.01 and 0.99 < x.max() < 1


def test_of_real_numbers_the_likeliest_is_the_mean():
    stack = models("reverse", (3,), likelihood=GAUSSIAN)
    modes, means = (last_of(stack, shown) for shown in ("mode", "mean"))
    assert torch.equal(modes, means)
    assert not torch.equal(means, last_of(stack, "draw"))


def last_of(stack, shown):
    return next(looked(stack, Way("limiting", 3, shown=shown), 64, (3,), REAL))[3]


class Flow(nn.Module, HasSample):
    """Draws, without latents."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))

    def sample(self, count, ctx):
        return ctx.noise.normal((3,), batch=count) + self.shift


def test_what_cannot_be_is_refused():
    flow = Stack.of([Flow()], [Streams(0)])
    with pytest.raises(SeedbedError, match="Flow has no encoder"):
        next(looked(flow, Way("limiting", 3), 64, (3,), REAL))
    with pytest.raises(SeedbedError, match=r"draws x without a p\(x \| z\)"):
        next(looked(flow, Way(shown="mean"), 64, (3,), REAL))
    for wrong in (
        {"start": "limit"},
        {"chain": 0},
        {"chain_from": "noise"},
        {"shown": "median"},
    ):
        with pytest.raises(SeedbedError):
            Way(**{"start": "limiting", **wrong})
