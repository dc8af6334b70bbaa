"""What entry points are given: a state written at the outermost level alone, settings per row, a way for gradients."""

import pytest
import torch
from passes import at
from torch import Tensor, nn
from torch.func import grad, vmap

from seedbed.core.capabilities import drawn
from seedbed.core.context import Context, State
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.stack import Stack
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.mixture import NormalMixture
from seedbed.distributions.normal import DiagonalNormal, StandardNormal

SEEDS = [Streams(seed) for seed in range(3)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_is_written_is_read_from_then_on_and_the_start_is_left_as_it_was():
    start = {"mean": torch.zeros(2), "count": torch.zeros((), dtype=torch.int64)}
    state = State(start)
    state["mean"] = torch.ones(2)
    state["count"] = state["count"] + 1
    assert state["mean"].tolist() == [1, 1] and state["count"] == 1 and len(state) == 2 and set(state) == set(start)
    assert start["mean"].tolist() == [0, 0] and dict(State(start))["count"] == 0


def test_state_that_cannot_be_written_says_why_in_one_line():
    state = State({"mean": torch.zeros(2), "count": torch.zeros(())})
    with pytest.raises(SeedbedError, match=r"state 'sum' has no start; .*it has \['count', 'mean'\]"):
        state["sum"] = torch.zeros(2)
    with pytest.raises(SeedbedError, match=r"state 'mean' is \[2\], got \[3\]; its shape must stay"):
        state["mean"] = torch.zeros(3)
    with pytest.raises(KeyError):
        state["sum"]


@pytest.mark.parametrize("transform", [grad, vmap, lambda f: grad(lambda x: vmap(f)(x.expand(2)).sum())])
def test_inside_a_nested_transform_state_is_read_only(transform):
    state = State({"seen": torch.zeros(())})

    def write(x: Tensor) -> Tensor:
        assert state["seen"] == 0 and not state.writable
        state["seen"] = x
        return x

    with pytest.raises(SeedbedError, match="written inside a nested transform; return it as auxiliary output") as caught:
        transform(write)(torch.ones(()) if transform is not vmap else torch.ones(2))
    assert "\n" not in str(caught.value)
    assert state.writable and state["seen"] == 0


@pytest.mark.parametrize("count", [1, 3])
def test_a_stack_hands_each_row_its_own_state_and_keeps_what_it_writes(count):
    """At the outermost level inside of the stack's own vmap; what comes out of a nested gradient does so as auxiliary."""

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def step(model: nn.Module, x: Tensor, ctx: Context) -> Tensor:
        def energy(at: Tensor) -> tuple[Tensor, Tensor]:
            value = (model.weight * at.square()).sum()
            return value, value + ctx.state["seen"]  # read from inside

        slope, value = grad(energy, has_aux=True)(x)
        ctx.state["seen"] = value
        assert torch.is_tensor(ctx.state["seen"])
        return slope * ctx.state["seen"]  # what is written is read

    many = Stack.of([Counts() for _ in range(count)], SEEDS[:count], "fp64")
    start = torch.arange(count, dtype=torch.float64)
    many = many.replace(many.params, {"seen": start})
    x = draw(count, 2)
    out, state = many.step(step, x, noise=many.noise("noise"))
    value = x.square().sum(1) + start
    assert torch.allclose(state["seen"], value) and torch.allclose(out, 2 * x * value[:, None])
    assert torch.equal(many.state["seen"], start)


@pytest.mark.parametrize("count", [1, 3])
def test_rows_of_a_stack_may_have_settings_of_their_own(count):
    module = nn.Linear(2, 1).double()
    thetas = [0.5, 2.0, 7.0][:count]
    many = Stack.of([module] * count, SEEDS[:count], "fp64", {"theta": thetas})
    out = many.call(lambda model, ctx: ctx.settings["theta"] * torch.ones(2), noise=many.noise("noise"))
    assert out.tolist() == [[theta, theta] for theta in thetas]


def test_whether_it_is_training_is_said():
    many = Stack.of([nn.Linear(2, 1)] * 2, SEEDS[:2])
    seen = []
    look = lambda model, ctx: (seen.append(ctx.training), torch.zeros(()))[1]
    many.call(look, noise=many.noise("noise"))
    many.step(look, noise=many.noise("noise"))
    assert seen == [False, True] and not Context.of(0).training


def test_a_context_outside_of_any_run_draws_the_same_every_time():
    first = Context.of(3).noise.normal((4,))
    assert torch.equal(first, Context.of(3).noise.normal((4,)))
    for other in (Context.of(4), Context.of(3, "again"), Context.of(3, stream="noise")):
        assert not torch.equal(first, other.noise.normal((4,)))


# --- the way that gradients take -------------------------------------------------------------------------------------------


def laws():
    leaves = [draw(4, 3, seed=i).requires_grad_() for i in range(2)]
    return [
        (DiagonalNormal(*leaves), leaves),
        (Bernoulli(leaves[0]), leaves[:1]),
        (NormalMixture(DiagonalNormal(*leaves)), leaves),
    ]


def test_a_constant_draw_is_the_draw_and_its_score_alone_has_a_gradient():
    for law, leaves in laws():
        batch = 5 if isinstance(law, NormalMixture) else None
        value, log_prob = drawn(law, at(through="constant"), 2, batch)
        expected = law.draw(at().noise, 2, batch).value
        assert torch.equal(value, expected) and not value.requires_grad
        found = torch.autograd.grad(log_prob().sum(), leaves, retain_graph=True)
        truth = torch.autograd.grad(law.log_prob(expected.detach()).sum(), leaves, retain_graph=True)
        assert all(torch.allclose(a, b) for a, b in zip(found, truth, strict=True))


def test_a_path_is_a_derivative_where_the_law_says_that_it_is():
    for law, leaves in laws():
        batch = 5 if isinstance(law, NormalMixture) else None
        value = drawn(law, at(), 2, batch).value
        differentiable = value.requires_grad and torch.autograd.grad(value.sum(), leaves, allow_unused=True)[0] is not None
        # A mixture's draw has a path within its component, which leaves out the choice of it: that is no gradient.
        assert differentiable or not law.reparameterised
        assert law.reparameterised == isinstance(law, DiagonalNormal)
    law, (mean, log_scale) = laws()[0]
    value = drawn(law, at(through="st"), 2).value  # a surrogate is for what has no path
    slopes = torch.autograd.grad(value.sum(), (mean, log_scale))
    assert torch.equal(slopes[0], torch.full((4, 3), 2.0).double())
    assert torch.allclose(slopes[1], (value - mean).sum(0))


def test_a_centre_is_the_mean_of_as_many_examples_as_are_asked_for():
    normal = DiagonalNormal(draw(4, 3), draw(4, 3, seed=1))
    assert torch.equal(drawn(normal, at(through="centre")).value, normal.mean)
    prior = drawn(StandardNormal((2, 3)), at(through="centre"), 5, 4)
    assert torch.equal(prior.value, torch.zeros(5, 4, 2, 3).double()) and prior.log_prob().shape == (5, 4)
    learnt = DiagonalNormal(draw(3), draw(3, seed=1))
    assert torch.equal(drawn(learnt, at(through="centre"), None, 4).value, learnt.mean.expand(4, 3))
    # Where no mean is known, a draw stands for it.
    mixture = NormalMixture(DiagonalNormal(draw(4, 3), draw(4, 3, seed=1)))
    noise = EvalNoise(SEEDS[:1], "t", dtype=torch.float64)
    assert torch.equal(
        drawn(mixture, Context(noise, through="centre"), None, 6).value, mixture.draw(noise.fork().at(None), None, 6).value
    )
