"""Every draw is a function of its address: contract 7."""

import math
from contextlib import nullcontext
from itertools import product

import pytest
import torch
from passes import at
from torch.func import functional_call, grad, vmap

from seedbed.core.context import Context
from seedbed.core.noise import BLOCK, STREAMS, EvalNoise, Noise, Streams
from seedbed.core.stack import Stack
from seedbed.distributions.normal import DiagonalNormal

SEEDS = tuple(Streams(s) for s in (0, 1, 7))
ROWS = torch.arange(len(SEEDS))


def single(row: int, *address, dtype=torch.float32) -> Noise:
    return Noise([SEEDS[row]], "noise", *address, dtype=dtype)


def test_a_draw_is_a_function_of_its_address():
    seen = {}
    for seed in (0, 1):
        for stream in STREAMS:
            for address in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
                for _ in range(2):  # a second object at the same address draws the same
                    noise = Noise([Streams(seed)], stream, *address)
                    for number in range(2):
                        draw = noise.normal((4,))
                        known = seen.setdefault((seed, stream, address, number), draw)
                        assert torch.equal(draw, known)
    values = torch.stack(list(seen.values()))
    assert len(torch.unique(values, dim=0)) == 2 * len(STREAMS) * 4 * 2  # and no two addresses draw the same


def test_no_two_addresses_share_a_key():
    """Also those whose parts read the same in a row: (1, 0, 0, 12) and (10, 0, 1, 2)."""
    numbers = (0, 1, 2, 10, 11, 12, 112, -1)
    addresses: list[tuple[int | str, ...]] = [at for size in range(5) for at in product(numbers, repeat=size)]
    words = ("", "a", "b", "ab", "a, b", "a', 'b", "a b", "1", "1, 2", "1 2", "12", "(1, 2)")
    addresses += [at for size in (1, 2, 3) for at in product(words, repeat=size)]
    addresses += [at for pair in product(numbers, words) for at in (pair, pair[::-1])]
    keys = [Streams(seed).key("noise", *address) for address in addresses for seed in (1, 2, 12, 112)]
    others = [stream for stream in STREAMS if stream != "noise"]
    keys += [Streams(seed).key(stream, *at) for seed in numbers for stream in others for at in addresses[:200]]
    assert len(set(keys)) == len(keys)
    assert all(-(2**63) <= key < 2**63 for key in keys) and max(keys) - min(keys) > 2**63


def test_draws_at_addresses_that_read_the_same_in_a_row_differ():
    parts = product((1, 10, 11, 101, 110, 1101), repeat=4)
    spelled = [at for at in parts if "".join(map(str, at)) in ("1101110", "11011101")]
    assert len(spelled) > 6
    draws = [Noise([Streams(seed)], "noise", *at[1:]).normal((4,)) for at in spelled for seed in at[:1]]
    chunks = []
    for samples, number, index in ((0, 1, 11), (1, 11, 1), (11, 1, 1), (1, 1, 11), (11, 11, 1), (1, 1, 111), (111, 1, 1)):
        noise = EvalNoise([SEEDS[0]], "test", first=BLOCK * index, first_sample=samples)
        chunks.append([noise.normal((4,), batch=1, samples=1) for _ in range(number)][-1].flatten())
    assert len(torch.stack(draws).unique(dim=0)) == len(draws) and len(torch.stack(chunks).unique(dim=0)) == len(chunks)


def test_draws_do_not_touch_the_global_generator():
    before = torch.get_rng_state()
    single(0).normal((3,))
    SEEDS[0].generator("order", 3)
    with SEEDS[0].scoped("init"):
        torch.randn(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_scoped_initialisation_is_a_function_of_seed_and_address():
    def weight(streams, *address):
        with streams.scoped("init", *address):
            return torch.nn.Linear(3, 2).weight.detach()

    first = weight(Streams(3))
    torch.rand(5)  # whatever else is drawn in between
    assert torch.equal(weight(Streams(3)), first)
    assert not torch.equal(weight(Streams(4)), first)
    assert not torch.equal(weight(Streams(3), "again"), first)


def test_unknown_streams_are_refused():
    with pytest.raises(ValueError, match="unknown stream 'nois'"):
        Streams(0).key("nois")


def everything(noise: Noise):
    """One of each kind of draw, sizes on both sides of the vectorised kernels' 16."""
    return (
        noise.normal((3,)),
        noise.normal((7,), batch=5),
        noise.uniform((37,)),
        noise.normal((3,), batch=2, samples=4),
        noise.normal((2, 3), samples=4),
        noise.uniform((3, 2, 2), batch=2, samples=4),
        noise.bernoulli(torch.full((6, 2), 0.3)),
        noise.of("dropout").uniform((5,)),
        noise.of("dropout").uniform((5,)),
        noise.normal(()),
    )


def test_stacked_draws_equal_single_draws_bit_for_bit():
    stacked = vmap(lambda row: everything(Noise(SEEDS, "noise", 5, 1, 0).at(row)))(ROWS)
    for row in range(len(SEEDS)):
        for many, one in zip(stacked, everything(single(row, 5, 1, 0)), strict=True):
            assert torch.equal(many[row], one)


def test_another_stream_goes_on_counting_and_its_own_stream_is_itself():
    noise = single(0, 3)
    first, second = noise.of("dropout").uniform((5,)), noise.of("dropout").uniform((5,))
    assert not torch.equal(first, second)
    again = Noise([SEEDS[0]], "dropout", 3)
    assert torch.equal(first, again.uniform((5,)))
    assert torch.equal(second, again.uniform((5,)))
    assert noise.of("noise") is noise


@pytest.mark.parametrize("rows", [1, 3])
def test_a_call_of_a_stack_draws_from_the_address_on_whatever_was_drawn_before(rows):
    module = torch.nn.Linear(1, 1)
    stack = Stack.of([module] * rows, SEEDS[:rows])
    noise = stack.noise("noise", 0)
    draws = [stack.call(lambda model, ctx: ctx.noise.normal((2,)), noise=noise) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0][0], single(0, 0).normal((2,)))


def leapfrog_utility(model, x, ctx):
    """A Hamiltonian step inside a one-sample bound: the gradient of a log-joint that makes draws of its own."""
    posterior = DiagonalNormal.from_raw(model(x))
    z = posterior.draw(ctx.noise).value
    momentum = ctx.noise.normal(z.shape[1:], batch=len(z))

    def log_joint(z):
        dropped = z * ctx.noise.of("dropout").uniform(z.shape[1:], batch=len(z))
        return -0.5 * (z.square().sum() + (x - z.sin()).square().sum()) + dropped.sum()

    def force(z):
        return grad(log_joint)(z)

    momentum = momentum + 0.05 * force(z)
    z = z + 0.1 * momentum
    momentum = momentum + 0.05 * force(z)
    return log_joint(z) - 0.5 * momentum.square().sum() - posterior.log_prob(z).sum()


def test_nested_gradients_work_and_equal_the_loop():
    modules = []
    for streams in SEEDS:
        with streams.scoped("init"):
            modules.append(torch.nn.Linear(2, 4).double())
    x = torch.linspace(-1, 1, 10, dtype=torch.float64).view(5, 2)
    stack = Stack.of(modules, SEEDS, "fp64")
    params = {k: v.clone().requires_grad_() for k, v in stack.params.items()}
    value = stack.replace(params).call(leapfrog_utility, noise=stack.noise("noise", 2), shared=(x,))
    grads = torch.autograd.grad(value.sum(), list(params.values()))
    # torch.func.grad over the parameters around the inner one: draws are constants of both
    functional = vmap(
        lambda p, row: grad(
            lambda q: functional_call(
                _Call(modules[0]), {f"model.{k}": v for k, v in q.items()}, (x, Context(stack.noise("noise", 2).at(row)))
            )
        )(p)
    )(dict(stack.params), ROWS)
    for s, module in enumerate(modules):
        expected = leapfrog_utility(module, x, at(2, seed=SEEDS[s].seed))
        assert torch.allclose(value[s], expected, atol=1e-12, rtol=1e-12)
        reference = torch.autograd.grad(expected, list(module.parameters()))
        for key, a, b in zip(params, grads, reference, strict=True):
            assert torch.allclose(a[s], b, atol=1e-12, rtol=1e-10)
            assert torch.allclose(functional[key][s], b, atol=1e-12, rtol=1e-10)


class _Call(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, ctx):
        return leapfrog_utility(self.model, x, ctx)


@pytest.mark.parametrize("chunk", [1, 5, 64, 100, 200])
def test_evaluation_noise_does_not_depend_on_the_chunk(chunk):
    n, event = 200, (3,)

    def draws(first, count):
        noise = EvalNoise([SEEDS[1]], "test", "elbo", first=first)
        return noise.normal(event, batch=count), noise.uniform(event, batch=count, samples=3)

    whole = draws(0, n)
    parts = [draws(first, min(chunk, n - first)) for first in range(0, n, chunk)]
    assert torch.equal(torch.cat([p[0] for p in parts], 0), whole[0])
    assert torch.equal(torch.cat([p[1] for p in parts], 1), whole[1])
    assert len(torch.unique(whole[0], dim=0)) == n  # no block repeats another


def test_evaluation_noise_does_not_depend_on_the_split_of_its_samples():
    for batch in (BLOCK + 3, None):

        def draws(first, samples, batch=batch):
            return EvalNoise([SEEDS[0]], "test", first_sample=first).normal((3, 2), batch=batch, samples=samples)

        whole = draws(0, 5)
        assert whole.shape == (5, *([] if batch is None else [batch]), 3, 2)
        assert torch.equal(torch.cat([draws(first, samples) for first, samples in ((0, 2), (2, 2), (4, 1))]), whole)
        assert len(torch.unique(whole.flatten(1), dim=0)) == 5


def test_evaluation_noise_is_stacked_like_training_noise():
    noise = EvalNoise(SEEDS, "valid", first=10)
    stacked = vmap(lambda row: of_both(noise.at(row)))(ROWS)
    for row, streams in enumerate(SEEDS):
        for many, one in zip(stacked, of_both(EvalNoise([streams], "valid", first=10)), strict=True):
            assert torch.equal(many[row], one)


def of_both(noise: EvalNoise):
    return noise.normal((2,), batch=70, samples=2), noise.of("dropout").uniform((), batch=70)


def test_a_fork_meets_the_same_draws_and_leaves_the_original_where_it_was():
    """A second pass through a model, from any point: also of another stream, and of evaluation's draws."""
    for make in (lambda: single(0, 3), lambda: EvalNoise([SEEDS[0]], "test", first=7, first_sample=2)):
        noise = make()
        of_both(noise)  # both streams are somewhere on the way
        fork = noise.fork()
        ahead = [of_both(fork) for _ in range(2)]
        for expected in ahead:
            assert all(torch.equal(a, b) for a, b in zip(of_both(noise), expected, strict=True))
        assert not torch.equal(ahead[0][0], ahead[1][0]) and not torch.equal(ahead[0][1], ahead[1][1])
        # A fork from the start is the address itself; one of a fork goes on with the fork.
        assert torch.equal(make().fork().normal((2,), batch=3), make().normal((2,), batch=3))
        again = fork.fork()
        assert all(torch.equal(a, b) for a, b in zip(of_both(again), of_both(fork), strict=True))


def test_whoever_holds_a_noise_may_be_sent_back_and_goes_on_where_it_was():
    for make in (lambda: single(0, 3), lambda: EvalNoise([SEEDS[0]], "test", first=7, first_sample=2)):
        noise, plain = make(), make()
        first, second, third = (of_both(plain) for _ in range(3))
        start = noise.fork()
        of_both(noise)
        held = noise.of("dropout")
        for error in (None, ZeroDivisionError):
            with pytest.raises(error) if error else nullcontext(), noise.back_at(start):
                assert torch.equal(noise.normal((2,), batch=70, samples=2), first[0])
                assert torch.equal(held.uniform((), batch=70), first[1])
                assert torch.equal(noise.normal((2,), batch=70, samples=2), second[0])
                if error:
                    raise error
        with noise.back_at(start), noise.back_at(start):
            assert torch.equal(noise.normal((2,), batch=70, samples=2), first[0])
        assert all(torch.equal(a, b) for a, b in zip(of_both(noise), second, strict=True))
        assert torch.equal(held.uniform((), batch=70), third[1])


def test_a_fork_under_vmap_is_every_seed_s_own():
    stacked = vmap(lambda row: everything(forked(Noise(SEEDS, "noise", 5).at(row))))(ROWS)
    for row in range(len(SEEDS)):
        for many, one in zip(stacked, everything(forked(single(row, 5))), strict=True):
            assert torch.equal(many[row], one)


def forked(noise: Noise) -> Noise:
    everything(noise)
    return noise.fork()


def test_evaluation_draws_of_no_example_are_the_same_for_every_chunk():
    """One latent for a whole data set: whichever chunk is evaluated, it is one and the same."""
    chunks = [EvalNoise([SEEDS[1]], "test", first=first).normal((3,), samples=4) for first in (0, 10, 64)]
    assert torch.equal(chunks[0], chunks[1]) and torch.equal(chunks[0], chunks[2])
    # And it is none of the examples' own.
    whole = EvalNoise([SEEDS[1]], "test").normal((3,), batch=2 * BLOCK, samples=4)
    assert not torch.isin(chunks[0], whole).any()
    one = EvalNoise([SEEDS[1]], "test").normal((3,))
    assert torch.equal(one, chunks[0][0])


@pytest.mark.parametrize("training", [False, True])
def test_the_axes_of_a_draw_lead_in_their_order(training):
    def noise():
        return single(0, 2) if training else EvalNoise([SEEDS[0]], "test")

    assert noise().normal((2, 3), batch=5, samples=4).shape == (4, 5, 2, 3)
    assert noise().normal((), batch=5).shape == (5,)
    assert noise().uniform((2,), samples=4).shape == (4, 2)
    assert noise().bernoulli(torch.full((5, 2, 3), 0.5)).shape == (5, 2, 3)
    # Numbers of an event are not keyed one by one: its shape is only how they are laid out.
    flat = noise().normal((6,), batch=5, samples=4)
    assert torch.equal(noise().normal((2, 3), batch=5, samples=4), flat.unflatten(-1, (2, 3)))


def test_varying_one_stream_holds_the_others():
    varied = [Streams(seed, varied=frozenset({"order"}), held=3) for seed in (0, 1)]
    for stream in STREAMS:
        a, b = (Noise([s], stream, 0).normal((4,)) for s in varied)
        assert torch.equal(a, b) == (stream != "order"), stream
        held = Noise([Streams(3)], stream, 0).normal((4,))
        assert torch.equal(a, held) == (stream != "order"), stream
        assert torch.equal(a, Noise([Streams(0)], stream, 0).normal((4,))) == (stream == "order"), stream


def test_moments_over_addresses():
    """Thousands of addresses of few draws each: what a bad hash or seeding would spoil, a long stream would not show."""
    seeds, steps, width = 1000, 10, 4
    streams, rows, count = [Streams(s) for s in range(seeds)], torch.arange(seeds), seeds * steps

    def draws(kind):
        per_step = [
            vmap(lambda row, t=t: getattr(Noise(streams, "noise", t).at(row), kind)((width,)))(rows) for t in range(steps)
        ]
        return torch.stack(per_step).double()

    z = 4.6  # 40 comparisons at 4e-6 each: below 2e-4 altogether
    for kind, mean, variance, fourth in (("normal", 0.0, 1.0, 3.0), ("uniform", 0.5, 1 / 12, 1 / 80)):
        x = draws(kind) - mean
        flat = x.flatten(0, 1)
        assert (flat.mean(0).abs() < z * math.sqrt(variance / count)).all()
        assert ((flat.square().mean(0) - variance).abs() < z * math.sqrt((fourth - variance**2) / count)).all()
        neighbours = {"step": x[1:] * x[:-1], "seed": x[:, 1:] * x[:, :-1], "draw": x[..., 1:] * x[..., :-1]}
        for name, products in neighbours.items():
            pairs = products.flatten(0, 1)
            assert (pairs.mean(0).abs() < z * variance / math.sqrt(len(pairs))).all(), name


def test_bernoulli_draws_have_their_probability():
    probs = torch.tensor([0.0, 0.1, 0.5, 1.0]).expand(20_000, 4)
    draws = single(0).bernoulli(probs)
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    p = probs[0].double()
    error = (p * (1 - p) / len(draws)).sqrt()
    assert ((draws.double().mean(0) - p).abs() <= 4.4 * error).all()  # 0 and 1 are exact


def test_float64_sees_the_same_noise():
    for draw in (lambda n: n.normal((33,)), lambda n: n.uniform((5, 3), samples=2)):
        narrow, wide = draw(single(1, 4)), draw(single(1, 4, dtype=torch.float64))
        assert wide.dtype == torch.float64
        assert torch.equal(narrow.double(), wide)
