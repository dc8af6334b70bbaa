"""Torch's own functions within a call: the draws of the address, torch's values, every seed by itself."""

import math
import warnings
from functools import partial

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch import distributions as laws
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Noise, Streams
from seedbed.core.slots import Slots
from seedbed.core.stack import Stack

SEEDS = [Streams(seed) for seed in range(3)]


class Calls(nn.Module):
    """A module around a function of it and of x, and parts to call."""

    def __init__(self, function, **parts: nn.Module) -> None:
        super().__init__()
        self.function, self.scale = function, nn.Parameter(torch.ones(()))
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x * self.scale)


def stack_of(function, count: int = 3, precision="fp32", **parts) -> Stack:
    def build() -> nn.Module:
        module = Calls(function, **{name: make() for name, make in parts.items()})
        return module.double() if precision == "fp64" else module

    modules = []
    for seed in range(count):
        with SEEDS[seed].scoped("init"):
            modules.append(build())
    return Stack.of(modules, SEEDS[:count], precision, written=Slots(modules[0]).buffers)


def called(stack: Stack, x: Tensor, noise: Noise | None = None, training: bool = True):
    noise = stack.noise("noise", 7) if noise is None else noise
    return stack.step(lambda model, x, ctx: model(x), noise=noise, shared=(x,), training=training)


X = torch.linspace(-2, 2, 6 * 4 * 4).view(6, 4, 4)


# --- draws ---------------------------------------------------------------------------------------------------------------

DRAWS = {
    "randn": lambda m, x: x + torch.randn(6, 4, 4),
    "randn of a size": lambda m, x: x + torch.randn(size=x.shape),
    "rand": lambda m, x: x + torch.rand((6, 4, 4), dtype=x.dtype, device=x.device),
    "randn_like": lambda m, x: x + torch.randn_like(x),
    "rand_like": lambda m, x: x + torch.rand_like(x),
    "normal of tensors": lambda m, x: torch.normal(x, torch.ones(4)),
    "normal of numbers": lambda m, x: x + torch.normal(1.0, 2.0, x.shape),
    "bernoulli": lambda m, x: x * torch.bernoulli(torch.sigmoid(x)),
    "bernoulli of a number": lambda m, x: x * torch.sigmoid(x).bernoulli(0.3),
    "randint": lambda m, x: x + torch.randint(2, 9, (6, 4, 4)) + torch.randint(5, (4,)),
    "randint by name": lambda m, x: x + torch.randint(high=9, size=(6, 4, 4)) + torch.randint_like(x, 3),
    "randperm": lambda m, x: x.reshape(6, 16)[:, torch.randperm(16)],
    "multinomial": lambda m, x: x + torch.multinomial(x[:, 0].softmax(-1), 4)[..., None],
    "multinomial with replacement": lambda m, x: x + x[:, 0].softmax(-1).multinomial(4, True)[..., None],
    "normal_": lambda m, x: x + torch.empty(6, 4, 4).normal_(1, 2),
    "uniform_": lambda m, x: x + torch.empty_like(X).uniform_(-1, 3),
    "uniform_ in place": lambda m, x: (x + 0).uniform_(0, 1) + x,
    "exponential_": lambda m, x: x + x.new_empty(x.shape).exponential_(2.0),
    "cauchy_": lambda m, x: x + torch.atan(x.new(6, 4, 4).cauchy_()),
    "log_normal_": lambda m, x: x + torch.empty(4).log_normal_(),
    "bernoulli_": lambda m, x: x * torch.empty(6, 4, 4).bernoulli_(0.4),
    "gumbel_softmax": lambda m, x: F.gumbel_softmax(x, tau=0.5) * x,
    "Normal": lambda m, x: laws.Normal(x, 1.0).rsample(),
    "Laplace": lambda m, x: laws.Laplace(x, x.exp()).rsample(),
    "Uniform": lambda m, x: laws.Uniform(x, x + 1).rsample(),
    "Exponential": lambda m, x: laws.Exponential(x.exp()).rsample(),
    "Gumbel": lambda m, x: laws.Gumbel(x, 1.0).rsample(),
    "LogNormal": lambda m, x: laws.LogNormal(x, 1.0).rsample(),
    "Bernoulli": lambda m, x: x * laws.Bernoulli(logits=x).sample(),
    "Categorical": lambda m, x: x + laws.Categorical(logits=x).sample()[..., None],
    "OneHotCategorical": lambda m, x: x * laws.OneHotCategorical(logits=x).sample(),
    "RelaxedBernoulli": lambda m, x: laws.RelaxedBernoulli(torch.tensor(0.5), logits=x).rsample(),
    "MultivariateNormal": lambda m, x: laws.MultivariateNormal(x, torch.eye(4)).rsample(),
    "MixtureSameFamily": lambda m, x: (
        x * laws.MixtureSameFamily(laws.Categorical(logits=x), laws.Normal(x, 1.0)).sample()[..., None]
    ),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_a_seed_draws_the_same_in_a_stack_and_alone_and_by_its_address(kind):
    stack = stack_of(DRAWS[kind])
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out, _ = called(stack, X)
    again, _ = called(stack, X)
    assert torch.equal(out, again) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(out, called(stack, X, stack.noise("noise", 8))[0])
    for row in range(3):
        alone, _ = called(Stack.of([stack.model(row)], SEEDS[row : row + 1]), X)
        assert torch.allclose(alone[0], out[row], rtol=1e-5, atol=1e-6)
        assert not torch.equal(out[row], out[row - 1])


DISTRIBUTED = {
    "normal": (lambda m, x: x + torch.randn(x.shape), stats.norm()),
    "normal of parameters": (lambda m, x: torch.normal(1.0 + x, 2.0), stats.norm(1, 2)),
    "uniform": (lambda m, x: x + torch.empty(x.shape).uniform_(-1, 3), stats.uniform(-1, 4)),
    "exponential": (lambda m, x: x + torch.empty(x.shape).exponential_(2.0), stats.expon(scale=0.5)),
    "log-normal": (lambda m, x: x + torch.empty(x.shape).log_normal_(0.5, 0.5), stats.lognorm(0.5, scale=math.exp(0.5))),
    "Cauchy": (lambda m, x: x + torch.empty(x.shape).cauchy_(1.0, 2.0), stats.cauchy(1, 2)),
    "Gumbel": (lambda m, x: laws.Gumbel(x, 1.0).rsample(), stats.gumbel_r()),
    "Laplace": (lambda m, x: laws.Laplace(x, 1.0).rsample(), stats.laplace()),
    "gamma": (lambda m, x: laws.Gamma(2.0 + x, 1.0 + x).sample(), stats.gamma(2)),
}


@pytest.mark.parametrize("kind", DISTRIBUTED)
def test_draws_have_their_law(kind):
    function, law = DISTRIBUTED[kind]
    out, _ = called(stack_of(function, 1), torch.zeros(4000))
    assert stats.kstest(out.detach().flatten().double().numpy(), law.cdf).pvalue > 1e-4


@pytest.mark.parametrize("count", [1, 2])
def test_a_uniform_draw_of_few_digits_is_below_one(count):
    """Of bf16 one in 512 would be rounded to 1, whose logit is infinite and whose place is beyond the last choice."""
    rand, _ = called(stack_of(lambda m, x: torch.rand(20_000, dtype=torch.bfloat16), count), X)
    like, _ = called(stack_of(lambda m, x: torch.rand_like(x.bfloat16()), count), torch.zeros(20_000))
    filled, _ = called(stack_of(lambda m, x: x.bfloat16().uniform_(), count), torch.zeros(20_000))
    for out in (rand, like, filled):
        assert out.dtype == torch.bfloat16 and out.min() >= 0 and 0.99 < out.max() < 1
        assert abs(out.double().mean() - 0.5) < 4.5 * (1 / 12 / out.numel()) ** 0.5 + 2**-9
    chosen, _ = called(stack_of(lambda m, x: x.bfloat16().exp().multinomial(3, True), count), torch.zeros(4000, 3))
    assert sorted(chosen.unique().tolist()) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_the_old_way_to_a_new_tensor_is_torch_s(count):
    made = lambda m, x: (x.new([2, 3]), x.new((1.5, 2.0)), x.new(torch.Size([2])).normal_(), x.new(2, 3).normal_())
    data, pair, one, two = called(stack_of(made, count), X)[0]
    assert data[0].tolist() == [2, 3] and pair[0].tolist() == [1.5, 2]
    assert one.shape == (count, 2) and two.shape == (count, 2, 3)


BITS = {
    "bernoulli": lambda m, x: torch.bernoulli(x + 0.2),
    "of a number": lambda m, x: x.bernoulli(0.2),
    "bernoulli_": lambda m, x: (x + 0).bernoulli_(0.2),
    "by what is dropped": lambda m, x: (F.dropout(x + 1, 0.2) == 0).to(x.dtype),
    "of whole numbers": lambda m, x: (torch.randint_like(x, 3, 8) == 3).to(x.dtype),
}


@pytest.mark.parametrize("kind", BITS)
def test_bits_are_1_as_often_as_they_should_be(kind):
    out, _ = called(stack_of(BITS[kind], 2), torch.zeros(4000))
    assert set(out.unique().tolist()) == {0, 1} and (out.mean(1) - 0.2).abs().max() < 4.5 * (0.16 / 4000) ** 0.5


SHARES = torch.tensor([0.5, 0.2, 0.0, 0.3])
CHOICES = {
    "one": lambda m, x: torch.multinomial(SHARES.expand(len(x), 4), 1),
    "with replacement": lambda m, x: torch.multinomial(SHARES.expand(len(x), 4), 3, replacement=True),
    "Categorical": lambda m, x: laws.Categorical(SHARES).sample((len(x),)),
}


@pytest.mark.parametrize("kind", CHOICES)
@pytest.mark.parametrize("count", [1, 2])
def test_choices_are_made_in_their_shares(kind, count):
    out, _ = called(stack_of(CHOICES[kind], count), torch.zeros(4000))
    found = torch.bincount(out.flatten(), minlength=4) / out.numel()
    assert ((found - SHARES).abs() <= 4.5 * (SHARES * (1 - SHARES) / out.numel()).sqrt()).all()


def test_what_is_not_put_back_is_chosen_once_and_in_torch_s_shares():
    out, _ = called(stack_of(lambda m, x: torch.multinomial(SHARES.expand(len(x), 4), 2), 1), torch.zeros(4000))
    assert (out[..., 0] != out[..., 1]).all() and not (out == 2).any()
    # P(first 0, then 1) = 0.5 * 0.2 / 0.5
    both = ((out[..., 0] == 0) & (out[..., 1] == 1)).double().mean()
    assert abs(both - 0.2) < 4.5 * (0.16 / 4000) ** 0.5
    order, _ = called(stack_of(lambda m, x: torch.stack([torch.randperm(3) for _ in range(600)]), 1), torch.zeros(1))
    assert (order.sort(-1).values == torch.arange(3)).all()
    counts = torch.bincount((order[0] * torch.tensor([9, 3, 1])).sum(-1))
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 1e-4 and (counts > 0).sum() == 6
    numbers, _ = called(stack_of(lambda m, x: torch.randint(-2, 3, x.shape), 1), torch.zeros(3000))
    assert stats.chisquare(torch.bincount(numbers.flatten() + 2).numpy()).pvalue > 1e-4


LAW = lambda m, x: laws.Gamma(x.exp(), 1.0).rsample() + laws.Dirichlet(x.exp()).rsample() + torch.poisson(x.exp().detach())


def test_what_torch_draws_itself_is_drawn_at_the_address_and_refused_over_several_seeds():
    stack = stack_of(LAW, 1)
    before = torch.get_rng_state()
    first, again = called(stack, X)[0], called(stack, X)[0]
    assert torch.equal(first, again) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, called(stack, X, stack.noise("noise", 8))[0])
    with pytest.raises(RuntimeError, match="random operation while in randomness error mode"):
        called(stack_of(LAW, 2), X)
    # A generator of the caller's own is the caller's.
    own = torch.Generator().manual_seed(3)
    drawn, _ = called(stack_of(lambda m, x: x + torch.randn(6, 4, 4, generator=own), 1), torch.zeros(6, 4, 4))
    assert torch.equal(drawn[0], torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(3)))


EVALUATED = {
    "an axis of examples": lambda m, x: x[:, 0] + torch.randn_like(x[:, 0]),
    "samples of each": lambda m, x: (x[:, 0] + torch.randn(3, len(x), 4)).transpose(0, 1),
    "an axis folded in": lambda m, x: torch.randn_like(x.reshape(-1, 4)).view(x.shape),
    "no example's": lambda m, x: x[:, 0] @ torch.randn(4, 7),
    "always dropped": lambda m, x: F.dropout(x, 0.5, training=True),
}


@pytest.mark.parametrize("kind", EVALUATED)
def test_a_chunk_of_an_evaluation_changes_no_number(kind):
    stack, x = stack_of(EVALUATED[kind], 2), torch.randn(150, 4, 4, generator=torch.Generator().manual_seed(0))
    at = lambda first, last: called(stack, x[first:last], EvalNoise(SEEDS[:2], "valid", first=first), training=False)[0]
    whole = at(0, 150)
    assert torch.allclose(torch.cat([at(0, 67), at(67, 150)], 1), whole, rtol=1e-5, atol=1e-6)


def test_a_double_precision_run_sees_the_same_draws():
    function = lambda m, x: x * 0 + torch.randn(6, 4, 4)
    single, double = called(stack_of(function), X)[0], called(stack_of(function, precision="fp64"), X.double())[0]
    assert double.dtype == torch.float64 and torch.equal(double, single.double())


# --- dropout and attention -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.6])
@pytest.mark.parametrize("kind", [F.alpha_dropout, F.feature_alpha_dropout])
def test_alpha_dropout_keeps_mean_and_variance(kind, p):
    x = torch.randn(300, 40, 3, generator=torch.Generator().manual_seed(0))
    out, _ = called(stack_of(lambda m, x: kind(x, p, m.training), 1), x)
    n = x.numel() / (3 if kind is F.feature_alpha_dropout else 1)
    assert abs(out.mean()) < 5 / n**0.5 * 2 and abs(out.var() - 1) < 5 * (6 / n) ** 0.5
    # Dropped, all are one value: the saturation of SELU, scaled as what is kept.
    a = ((1 - p) * (1 + p * 1.7580993408473766**2)) ** -0.5
    low = -1.7580993408473766 * a * (1 - p)
    share = torch.isclose(out, torch.tensor(low), atol=1e-5).double().mean()
    assert abs(share - p) < 5 * (p * (1 - p) / n) ** 0.5
    assert torch.equal(called(stack_of(lambda m, x: kind(x, p, m.training), 1), x, training=False)[0][0], x)


def test_dropout_as_a_function_is_the_layer():
    layer = called(stack_of(lambda m, x: m.drop(x), drop=partial(nn.Dropout, 0.4)), X)[0]
    for function in (
        lambda m, x: F.dropout(x, 0.4, m.training),
        lambda m, x: torch.dropout(x, 0.4, m.training),
        lambda m, x: F.dropout(x + 0, 0.4, m.training, inplace=True),
    ):
        assert torch.equal(called(stack_of(function), X)[0], layer)
        assert torch.equal(called(stack_of(function), X, training=False)[0], X.expand(3, *X.shape))
    changed = lambda m, x: (y := x + 0, F.dropout(y, 0.4, m.training, inplace=True))[0]
    assert torch.equal(called(stack_of(changed), X)[0], layer)
    channels = called(stack_of(lambda m, x: m.drop(x), drop=partial(nn.Dropout1d, 0.4)), X)[0]
    assert torch.equal(called(stack_of(lambda m, x: F.dropout1d(x, 0.4)), X)[0], channels)
    with pytest.raises(ValueError, match=r"between 0 and 1, but got 1\.5"):
        called(stack_of(lambda m, x: F.dropout(x, 1.5)), X)


Q, K, V = (torch.randn(2, 4, 5, 8, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3))
MASKS = {
    "none": {},
    "causal": {"is_causal": True},
    "of bits": {"attn_mask": torch.eye(5, dtype=torch.bool) | (torch.arange(25).view(5, 5) % 3 == 0)},
    "of numbers": {"attn_mask": torch.linspace(-1, 1, 25, dtype=torch.float64).view(5, 5)},
    "of nothing for one": {"attn_mask": torch.arange(5)[:, None].ne(2).expand(5, 5)},
    "of nothing for one, in numbers": {"attn_mask": torch.where(torch.arange(5)[:, None].ne(2), 0.0, -math.inf).double()},
    "scaled": {"scale": 0.2},
    "grouped": {"enable_gqa": True},
}


@pytest.mark.parametrize("kind", MASKS)
def test_attention_is_torch_s_and_drops_its_weights(kind):
    heads = 2 if kind == "grouped" else 4
    k, v = K[:, :heads], V[:, :heads]
    truth = F.scaled_dot_product_attention(Q, k, v, **MASKS[kind])
    run = lambda p, v=v: called(
        stack_of(lambda m, x: F.scaled_dot_product_attention(x, k * m.scale, v, dropout_p=p, **MASKS[kind]), 2, "fp64"), Q
    )[0]
    assert torch.allclose(run(0.0), truth.expand(2, *truth.shape), atol=1e-12)
    # Of one value per source, what comes out is the weights themselves.
    eye = torch.eye(5, dtype=torch.float64).expand(2, heads, 5, 5)
    plain, weights = F.scaled_dot_product_attention(Q, k, eye, **MASKS[kind]), run(0.3, eye)
    kept = weights != 0
    x = Q.clone().requires_grad_()
    stack = stack_of(lambda m, x: F.scaled_dot_product_attention(x, k * m.scale, v, **MASKS[kind]), 2, "fp64")
    assert torch.autograd.grad(called(stack, x)[0].sum(), x)[0].isfinite().all()
    assert torch.allclose(weights[kept], (plain / 0.7).expand_as(weights)[kept])
    n = int((plain > 0).sum()) * 2
    assert abs(kept.sum() / n - 0.7) < 4.5 * (0.21 / n) ** 0.5


@pytest.mark.parametrize("seen", [True, False])
def test_attention_of_several_heads_drops_in_both_of_its_ways(seen):
    make = partial(nn.MultiheadAttention, 4, 2, dropout=0.5, batch_first=True)
    function = lambda m, x: m.part(x, x, x, need_weights=seen)[0]
    stack = stack_of(function, part=make)
    evaluated, _ = called(stack, X, training=False)
    for row in range(3):
        assert torch.allclose(evaluated[row], stack.model(row).part(X, X, X)[0], atol=1e-6)
    draws = [called(stack, X, stack.noise("noise", step))[0].detach() for step in range(400)]
    mean = torch.stack(draws).mean(0)
    error = torch.stack(draws).std(0) / 20
    assert not torch.equal(draws[0], draws[1]) and ((mean - evaluated).abs() < 5 * error + 1e-6).all()
    alone = Stack.of([stack.model(1)], SEEDS[1:2])
    assert torch.allclose(called(alone, X)[0][0], called(stack, X)[0][1], atol=1e-6)


# --- recurrent networks ----------------------------------------------------------------------------------------------------

NETWORKS = {
    f"{kind.__name__} {name}": (kind, options)
    for kind in (nn.GRU, nn.LSTM, nn.RNN)
    for name, options in {
        "plain": {},
        "deep": {"num_layers": 3, "batch_first": True},
        "both ways": {"bidirectional": True, "num_layers": 2},
        "without bias": {"bias": False, "bidirectional": True},
    }.items()
} | {
    "RNN relu": (nn.RNN, {"nonlinearity": "relu"}),
    "LSTM projected": (nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    "LSTM projected without bias": (nn.LSTM, {"proj_size": 2, "bias": False}),
}


def leaves(out) -> list[Tensor]:
    return [t for part in out for t in (part if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_recurrent_network_over_seeds_is_torch_s(kind, begun):
    make, options = NETWORKS[kind]
    x = X.double()
    layers = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    batch = 6 if options.get("batch_first") else 4
    h = 0.1 * torch.arange(layers * batch * 5, dtype=torch.float64).view(layers, batch, 5).sin()
    first = h[..., : options["proj_size"]] if "proj_size" in options else h
    start = ((first, h) if make is nn.LSTM else h) if begun else None
    function = lambda m, x: m.part(x, start)
    stack = stack_of(function, 2, "fp64", part=partial(make, 4, 5, **options))
    params = {name: value.clone().requires_grad_() for name, value in stack.params.items()}
    out, _ = called(stack.replace(params), x)
    grads = torch.autograd.grad(sum(t.sin().sum() for t in leaves(out)), list(params.values()))
    for row in range(2):
        model = stack.model(row).train()
        expected = leaves(model(x))
        assert all(torch.allclose(a[row], b, atol=1e-12) for a, b in zip(leaves(out), expected, strict=True))
        own = dict(model.named_parameters())
        truth = torch.autograd.grad(sum(t.sin().sum() for t in expected), [own[name] for name in params])
        assert all(torch.allclose(g[row], t, atol=1e-10) for g, t in zip(grads, truth, strict=True))


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.LSTMCell, nn.RNNCell, partial(nn.RNNCell, nonlinearity="relu")])
def test_a_cell_over_seeds_is_torch_s(kind):
    stack, x = stack_of(lambda m, x: m.part(x), 2, "fp64", part=partial(kind, 4, 5)), X[:, 0].double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = called(stack, x)[0]
    out = out if isinstance(out, tuple) else (out,)
    for row in range(2):
        expected = stack.model(row)(x)
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert all(torch.allclose(a[row], b, atol=1e-12) for a, b in zip(out, expected, strict=True))


def test_dropout_between_layers_is_the_same_in_a_stack_and_alone():
    make = partial(nn.GRU, 4, 5, num_layers=2, dropout=0.5)
    stack = stack_of(lambda m, x: m.part(x)[0], part=make)
    out = called(stack, X)[0]
    assert not torch.allclose(out, called(stack, X, training=False)[0])
    for row in range(3):
        alone = Stack.of([stack.model(row)], SEEDS[row : row + 1])
        assert torch.allclose(called(alone, X)[0][0], out[row], atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_is_dropped_behind_the_last_layer(count):
    """The output of the last time is the state that is left, and dropped between layers is a share of the values."""
    p = 0.4
    stack = stack_of(lambda m, x: m.part(x), count, part=partial(nn.GRU, 4, 5, num_layers=2, dropout=p))
    out, left = called(stack, X)[0]
    assert torch.equal(out[:, -1], left[:, -1]) and (out != 0).all()
    # With weights that hand on what they get h = tanh(x) / 2, and zeros are what was dropped.
    only = partial(nn.GRU, 1, 1, num_layers=2, dropout=p, bias=False)
    stack = stack_of(lambda m, x: m.part(x)[0], count, part=only)
    params = {name: torch.zeros_like(v) for name, v in stack.params.items() if name.startswith("part.")}
    for name in ("part.weight_ih_l0", "part.weight_ih_l1"):
        params[name][:, 2] = 1.0
    out = called(stack.replace({**stack.params, **params}), torch.ones(1, 4000, 1))[0]
    first = 0.5 * math.tanh(1.0)
    kept = out != 0
    assert torch.allclose(out[kept], torch.tensor(0.5 * math.tanh(first / (1 - p))))
    assert abs(kept.double().mean() - (1 - p)) < 4.5 * (p * (1 - p) / out.numel()) ** 0.5


# --- spectral norm, and buffers that are written ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("make", [partial(nn.Linear, 4, 5), partial(nn.Conv1d, 4, 5, 2)])
def test_spectral_norm_is_torch_s_after_the_same_iterations(make, count):
    stack = stack_of(lambda m, x: m.part(x), count, "fp64", part=lambda: parametrizations.spectral_norm(make()))
    theirs = [stack.model(row).train() for row in range(count)]
    names = sorted(name for name in stack.state)
    assert [name.rsplit(".", 1)[1] for name in names] == ["_u", "_v"]
    for step in range(4):
        x = X.double() + step
        params = {name: value.clone().requires_grad_() for name, value in stack.params.items()}
        out, state = called(stack.replace(params), x)
        grads = torch.autograd.grad(out.sin().sum(), list(params.values()))
        stack = stack.replace(stack.params, {name: value.detach() for name, value in state.items()})
        for row, model in enumerate(theirs):
            expected = model(x)
            assert torch.allclose(out[row], expected, atol=1e-12)
            own = dict(model.named_parameters())
            truth = torch.autograd.grad(expected.sin().sum(), [own[name] for name in params])
            assert all(torch.allclose(g[row], t, atol=1e-10) for g, t in zip(grads, truth, strict=True))
            assert all(torch.allclose(state[name][row], dict(model.named_buffers())[name], atol=1e-12) for name in names)
    evaluated, kept = called(stack, x, training=False)
    assert all(torch.equal(kept[name], stack.state[name]) for name in names)
    assert torch.allclose(evaluated[0], theirs[0].eval()(x), atol=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_a_penalty_through_a_spectral_norm(count):
    """A gradient in x within a utility, differentiated in the weights; the iteration within it is remembered as well."""
    make = lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 1))
    slope = lambda m, x: torch.func.grad(lambda at: m.part(at).sum())(x).square().sum(-1)
    stack = stack_of(slope, count, "fp64", part=make)
    x = X[:, 0].double()
    params = {name: value.clone().requires_grad_() for name, value in stack.params.items()}
    theirs = stack.model(0).train()
    out, state = called(stack.replace(params), x)
    at = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(theirs.part(at).sum(), at, create_graph=True)
    assert torch.allclose(out[0], g.square().sum(-1), atol=1e-12)
    name = "part.0.parametrizations.weight.original"
    found = torch.autograd.grad(out.sum(), params[name])[0]
    assert torch.allclose(found[0], torch.autograd.grad(g.square().sum(), dict(theirs.named_parameters())[name])[0])
    u = "part.0.parametrizations.weight.0._u"
    assert torch.allclose(state[u][0], dict(theirs.named_buffers())[u], atol=1e-12)


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("mask", torch.ones(4))
        self.alias = nn.Module()
        self.alias.register_buffer("mean", self.mean)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            self.alias.mean = self.mean
        return x * self.mask - self.mean


@pytest.mark.parametrize("count", [1, 3])
def test_a_buffer_that_is_written_is_state_and_left_as_it_was(count):
    stack = stack_of(lambda m, x: m.part(x + m.scale), count, part=Remembers)
    held = {name: (value, value.clone()) for name, value in stack.module.named_buffers()}
    theirs = [stack.model(row).train() for row in range(count)]
    for step in range(3):
        out, state = called(stack, X[:, step % 4])
        stack = stack.replace(stack.params, state)
        for row, model in enumerate(theirs):
            assert torch.allclose(out[row], model(X[:, step % 4]), atol=1e-6)
    assert stack.state["part.count"].tolist() == [3] * count
    for row, model in enumerate(theirs):
        assert torch.allclose(stack.state["part.mean"][row], model.part.mean)
    _, after = called(stack, X[:, 0], training=False)
    assert all(torch.equal(after[name], value) for name, value in stack.state.items())
    for name, value in stack.module.named_buffers():
        assert value is held[name][0] and torch.equal(value, held[name][1])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_weight_norm_is_torch_s(dim):
    stack = stack_of(lambda m, x: m.part(x), 2, "fp64", part=lambda: parametrizations.weight_norm(nn.Linear(4, 3), dim=dim))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = called(stack, X.double())[0]
    assert all(torch.allclose(out[row], stack.model(row)(X.double()), atol=1e-12) for row in range(2))


@pytest.mark.parametrize("write", [lambda m: m.mask.add_(1), lambda m: setattr(m, "mask", m.mask + 1)])
def test_a_buffer_that_is_written_now_and_then_is_no_state_and_refused(write):
    module = Calls(lambda m, x: (write(m.part) if m.part.training and x.sum() > 0 else None, m.part(x))[1], part=Remembers())
    stack = Stack.of([module], SEEDS[:1], written=["part.count", "part.mean"])
    called(stack, X[:, 0] - 9)
    held = stack.module.part.mask
    with pytest.raises(SeedbedError, match=r"buffer part.mask is written by a call of Calls, but was not by the first one"):
        called(stack, X[:, 0] + 9)
    assert stack.module.part.mask is held


@pytest.mark.parametrize("count", [1, 2])
def test_a_draw_that_all_of_a_nested_vmap_would_share_is_refused(count):
    nested = lambda m, x: torch.func.vmap(lambda row: row + torch.randn(4, 4), randomness="different")(x)
    with pytest.raises(SeedbedError, match="inside a vmap, where all that is mapped over would get the same draw"):
        called(stack_of(nested, count), X)
    outside = lambda m, x: torch.func.vmap(torch.sin)(x + torch.randn(6, 4, 4))
    assert called(stack_of(outside, count), X)[0].shape == (count, 6, 4, 4)


# --- the mode itself ---------------------------------------------------------------------------------------------------


def test_products_of_ordinary_layers_are_torch_s():
    parts = {"linear": partial(nn.Linear, 4, 3), "conv": partial(nn.Conv1d, 4, 3, 2, padding=1, bias=False)}
    parts["back"] = partial(nn.ConvTranspose1d, 3, 2, 2, stride=2)
    function = lambda m, x: (m.linear(x), m.back(m.conv(x)))
    stack = stack_of(function, 2, "fp64", **parts)
    out = called(stack, X.double())[0]
    for row in range(2):
        assert all(torch.allclose(a[row], b, atol=1e-12) for a, b in zip(out, stack.model(row)(X.double()), strict=True))


def test_laws_look_at_no_values_inside_and_do_again_outside(monkeypatch):
    monkeypatch.setattr(laws.Distribution, "_validate_args", True)  # a library that was imported before may have said no
    law = lambda m, x: laws.Normal(x, x - 9).log_prob(x)
    assert called(stack_of(law, 2), X)[0].isnan().all()
    with pytest.raises(ValueError, match="constraint"):
        laws.Normal(X, X - 9)
    with pytest.raises(ZeroDivisionError):
        called(stack_of(lambda m, x: 1 / 0), X)
    with pytest.raises(ValueError, match="constraint"):
        laws.Normal(X, X - 9)


def test_gradients_within_and_bf16():
    """A double gradient through a draw, a dropout and attention; and all of it under autocast."""
    part = partial(nn.TransformerEncoderLayer, 4, 2, 8, dropout=0.2, batch_first=True)
    slope = lambda m, x: torch.func.grad(lambda at: (m.part(at) * torch.randn_like(at)).sum())(x).square().sum((1, 2))
    for precision, x in (("fp64", X.double()), ("bf16", X)):
        stack = stack_of(slope, 2, precision, part=part)
        params = {name: value.clone().requires_grad_() for name, value in stack.params.items()}
        out, _ = called(stack.replace(params), x)
        grads = torch.autograd.grad(out.sum(), list(params.values()), allow_unused=True)
        assert all(g.isfinite().all() for g in grads if g is not None) and sum(g is not None for g in grads) > 6
        if precision == "fp64":
            alone = Stack.of([stack.model(1)], SEEDS[1:2], "fp64")
            assert torch.allclose(called(alone, x)[0][0], out[1], atol=1e-10)


def test_whatever_a_call_draws_besides_stays_what_it_was():
    """A draw by name and one by torch's function are the same draws of one stream, in the order in which they are made."""
    noise = Noise(SEEDS[:1], "noise", 7)
    expected = [noise.normal((4, 4), batch=6), noise.normal((4, 4), batch=6)]
    stack = stack_of(None, 1)
    both = lambda model, x, ctx: (torch.randn_like(x), ctx.noise.normal((4, 4), batch=6))
    out = stack.call(both, noise=stack.noise("noise", 7), shared=(X,))
    assert all(torch.equal(a[0], b) for a, b in zip(out, expected, strict=True))
    assert isinstance(Context.of(3).noise, Noise)
