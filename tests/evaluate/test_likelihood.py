"""Importance sampling against closed forms; chunks, seeds and memory."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from seedbed.core import matmul
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.stack import Stack
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.evaluate import likelihood
from seedbed.evaluate.likelihood import Chunk, importance_sampling, monte_carlo_error
from seedbed.evaluate.memory import GIB, peak_bytes
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import iwae

Z = 4.0  # standard errors: about ten comparisons in this file
POINT = torch.tensor([0.9, -1.1, 0.4], dtype=torch.float64)


def values(stack, x, samples, **options):
    return {name: value for name, (value, _) in importance_sampling(stack, x, "test", samples, **options).items()}


def test_the_exact_posterior_gives_the_exact_likelihood(linear_gaussian):
    model, stack = linear_gaussian()
    x = torch.randn(70, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = values(stack, x, 60)
    for name in ("neg_iw1_nats", "neg_iw5_nats", "neg_iw50_nats", "neg_iw60_nats", "nll_nats"):
        assert torch.allclose(found[name][0], -model.log_marginal(x), atol=1e-10), name
    assert torch.allclose(found["ess"], torch.tensor(60.0, dtype=torch.float64))
    assert found["ess_min"].item() == pytest.approx(60)


def test_bounds_are_ordered_tight_and_unbiased_where_they_must_be(linear_gaussian):
    model, stack = linear_gaussian(0.4, 0.3)
    found = {name: value[0] for name, value in values(stack, POINT.expand(1000, 3), 500).items()}
    truth = -model.log_marginal(POINT)
    # Each rung divides the next, so the order holds for every example, not only on average.
    rungs = [found[f"neg_iw{k}_nats"] for k in (1, 5, 50, 500)]
    assert all(bool((low <= high + 1e-9).all()) for high, low in pairwise(rungs))
    se = found["nll_nats"].std() / 1000**0.5
    assert truth - Z * se < found["nll_nats"].mean() < truth + Z * se + 0.01
    weight = (-found["nll_nats"]).exp()
    assert abs(weight.mean() - (-truth).exp()) < Z * weight.std() / 1000**0.5
    assert bool((found["ess"] < 500).all()) and bool((found["ess"] >= 1).all())
    assert found["ess_min"].item() == found["ess"].min()
    # Groups average what one group estimates: the same mean, less noise.
    one = values(stack, POINT.expand(1000, 3), 5)["nll_nats"][0]
    assert abs(one.mean() - found["neg_iw5_nats"].mean()) < Z * one.std() / 1000**0.5
    assert found["neg_iw5_nats"].std() < one.std() / 5


def test_equal_weights_have_no_monte_carlo_error(linear_gaussian):
    for k in (1, 7, 5000):
        equal = torch.full((2, 9), float(k), dtype=torch.float64)
        assert torch.equal(monte_carlo_error(equal, k), torch.zeros(2, 1, dtype=torch.float64))
        # Rounded up, the effective sample size may be above K: no root of what is below zero.
        assert torch.equal(monte_carlo_error(equal * (1 + 1e-12), k), torch.zeros(2, 1, dtype=torch.float64))
    _, stack = linear_gaussian()  # at the exact posterior
    assert monte_carlo_error(values(stack, POINT.expand(5, 3), 50)["ess"], 50).item() < 1e-7


def test_the_monte_carlo_error_is_the_root_of_one_over_ess_less_one_over_k():
    ess = torch.tensor([[2.0, 4.0, 10.0], [10.0, 10.0, 10.0]], dtype=torch.float64)
    expected = [(1 / 2 + 1 / 4 + 1 / 10 - 3 / 10) ** 0.5 / 3, 0.0]
    found = monte_carlo_error(ess, 10)
    assert found.shape == (2, 1) and found[:, 0].tolist() == pytest.approx(expected, abs=1e-12)
    assert monte_carlo_error(ess[:, :1].expand(2, 400), 10)[0].item() == pytest.approx((0.4 / 400) ** 0.5)


@pytest.mark.parametrize(("shift", "widen"), [(0.2, 0.1), (0.0, 0.2)])
def test_the_monte_carlo_error_is_the_spread_of_repeated_draws(shift, widen, linear_gaussian):
    """At K = 100, 500 times over, of the mean over four examples; without its 1 / K it would be nearly twice that."""
    _, stack = linear_gaussian(shift, widen)
    x = torch.stack([POINT, -POINT, 0.5 * POINT, 0 * POINT])
    found = values(stack, x.repeat(500, 1), 100)
    nll, ess = (found[name][0].unflatten(0, (500, 4)) for name in ("nll_nats", "ess"))
    spread = nll.mean(1).std().item()
    said = monte_carlo_error(ess, 100).square().mean().sqrt().item()
    # A spread of 500 errs by 1 / sqrt(1000) of itself; the delta method by terms of 1 / K.
    assert said == pytest.approx(spread, rel=Z / 1000**0.5 + 0.02)
    assert (said**2 + 1 / 400) ** 0.5 > 1.8 * spread


def test_the_effective_sample_size_is_kongs():
    log_w = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3 - 700
    w = (log_w + 700).exp()
    found = likelihood.ladder_of(log_w, (1, 7, 30))
    assert torch.allclose(found["ess"], w.sum(1).square() / w.square().sum(1))
    assert torch.allclose(found["nll_nats"], 700 - w.mean(1).log())
    assert torch.allclose(found["neg_iw1_nats"], -log_w.mean(1))
    groups = torch.stack([w[:, 7 * i : 7 * i + 7].mean(1).log() for i in range(4)])  # the last two samples are left out
    assert torch.allclose(found["neg_iw7_nats"], 700 - groups.mean(0))
    assert torch.allclose(found["neg_iw30_nats"], found["nll_nats"])


@pytest.mark.parametrize("kind", ["vae", "lvae"])
def test_it_is_the_bound_that_training_knows(kind, stack, binary):
    many = stack(kind, 2, "fp64")
    x = binary.double()
    noise = EvalNoise(many.streams, "importance", "test", dtype=torch.float64)
    bound = many.call(lambda model, x, ctx: iwae(7)(model, x, ctx).value, noise=noise, shared=(x,))
    assert torch.allclose(values(many, x, 7)["nll_nats"], -bound.detach(), atol=1e-10)


@pytest.mark.parametrize("kind", ["vae", "lvae"])
def test_chunks_change_no_number(kind, stack, binary):
    many = stack(kind, 2)
    whole = values(many, binary, 23)
    assert {k for k in whole if k.startswith("neg")} == {f"neg_iw{k}_nats" for k in (1, 5, 23)}
    for chunk in (Chunk(1, 23), Chunk(64, 5), Chunk(50, 1), Chunk(999, 999)):
        found = values(many, binary, 23, chunk=chunk)
        for name, value in whole.items():
            assert torch.allclose(found[name], value, rtol=1e-5), (name, chunk)


@pytest.mark.parametrize("kind", ["vae", "lvae"])
def test_a_stack_is_its_seeds(kind, stack, binary):
    many = stack(kind, 3)
    together = values(many, binary, 11)
    for row in range(3):
        alone = Stack.of([many.model(row)], [many.streams[row]])
        for name, value in values(alone, binary, 11).items():
            assert torch.allclose(value[0], together[name][row], rtol=1e-5), name


def test_bf16_is_close_and_its_sums_are_not_bf16():
    """Of 784 pixels: log p(x | z) is near -500, where neighbours in bf16 are 2 to 4 nats apart."""
    x = torch.bernoulli(torch.full((32, 784), 0.3), generator=torch.Generator().manual_seed(5))
    streams, modules = [Streams(seed) for seed in range(2)], []
    for stream in streams:
        with stream.scoped("init"):
            modules.append(VAE(784, 3, (16, 8), BERNOULLI, "tanh"))
    many = Stack.of(modules, streams)
    full, half = (values(replace(many, precision=p), x, 100)["nll_nats"] for p in ("fp32", "bf16"))
    assert full.min() > 256 and not torch.equal(full, half)
    assert (full - half).abs().max() < 0.5 < (full.bfloat16() - full).abs().max()
    assert (full - half).mean().abs() < 0.1


def test_the_log_likelihood_of_a_bernoulli_is_that_of_its_probabilities():
    logits = torch.linspace(-120, 120, 41).double().reshape(1, 41)
    x = torch.ones(1, 41).double()
    assert torch.allclose(Bernoulli(logits).log_prob(x), torch.nn.functional.logsigmoid(logits).sum(-1))


def test_memory_is_known_before(stack, binary):
    many, x = stack("vae", 3), binary
    for samples, chunk in ((200, Chunk(64, 50)), (200, Chunk(150, 200)), (1, Chunk(150, 1))):
        need = likelihood._Need.of(many, x[:1], len(x), samples, 4)
        used = peak_bytes(lambda s=samples, c=chunk: importance_sampling(many, x, "test", s, chunk=c))
        assert 0.3 * need.bytes(chunk) < used < 1.2 * need.bytes(chunk) + 1e5, (samples, chunk)


def test_the_limit_is_kept(stack, binary):
    many = stack("vae", 2)
    need = likelihood._Need.of(many, binary[:1], len(binary), 5000, 5)
    for limit in (1e6, 1e7, 1e8):
        chunk = need.choose(limit / GIB, torch.device("cpu"))
        assert need.bytes(chunk) <= limit
    small = values(many, binary, 20, memory_gib=1e5 / GIB)
    assert torch.allclose(small["nll_nats"], values(many, binary, 20)["nll_nats"], rtol=1e-5)


def test_what_does_not_fit_is_refused_with_what_does(stack, binary):
    many = stack("vae", 2)

    def refusal(samples=100, **options):
        with pytest.raises(SeedbedError) as caught:
            importance_sampling(many, binary, "test", samples, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    said = refusal(memory_gib=1e6 / GIB, chunk=Chunk(150, 100))
    assert "150 examples x 100 samples needs" in said and said.endswith("fits")
    examples, samples = (int(word) for word in said.split("; ")[1].split() if word.isdigit())
    importance_sampling(many, binary, "test", 100, memory_gib=1e6 / GIB, chunk=Chunk(examples, samples))
    said = refusal(100_000_000, memory_gib=0.01)
    fits = int(said.split("; k = ")[1].split()[0])
    assert likelihood._Need.of(many, binary[:1], len(binary), fits, 5).bytes(Chunk(1, 1)) <= 0.01 * GIB
    assert "results of 150 examples" in refusal(memory_gib=1e-6)
    assert "at least 1, got 0" in refusal(0)
    assert "at least 1 example x 1 sample" in refusal(chunk=Chunk(0, 5))
    with pytest.raises(SeedbedError, match="no example"):
        importance_sampling(many, binary[:0], "test", 5)
    one = replace(likelihood._Need.of(many, binary[:1], len(binary), 1, 1), kept=0.0)
    assert "one sample of one example" in str(one._refusal(10.0))


def test_the_first_measurement_of_a_process_is_like_every_other(stack, binary):
    """What torch's libraries are tried with, once, hid what the model takes: a chunk was then as large as the machine."""
    many = stack("vae", 2)
    later = likelihood._Need.of(many, binary[:1], len(binary), 5000, 5)
    matmul._exact.cache_clear()
    assert likelihood._Need.of(many, binary[:1], len(binary), 5000, 5) == later


def test_the_meter_counts_what_lives():
    x = torch.zeros(1000)

    def work():
        a = x * 2
        b = a.view(10, 100).exp()
        del a
        c = b.relu()
        c.add_(1)
        return c

    assert peak_bytes(work) == 8000
    assert peak_bytes(lambda: x.view(10, 100)) == 0
