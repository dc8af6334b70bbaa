"""Distributions against torch.distributions, in closed form and by counting."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor
from torch import distributions as reference

from seedbed.core.errors import SeedbedError
from seedbed.core.law import kl, kl_per_unit
from seedbed.core.noise import EvalNoise, Noise, Streams
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.likelihood import BERNOULLI, GAUSSIAN
from seedbed.distributions.mixture import NormalMixture
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.distributions.numeric import full, soft_clamp

SEED = [Streams(0)]


def draw(*shape: int, number: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


def kl_of(p: Bernoulli, q: Bernoulli) -> Tensor:
    found = kl(p, q)
    assert found is not None
    return found


def normal(number: int = 0, *batch: int) -> DiagonalNormal:
    return DiagonalNormal(draw(*batch, 6, 3, number=number), 0.5 * draw(*batch, 6, 3, number=number + 1))


def their_normal(ours: DiagonalNormal) -> reference.Distribution:
    return reference.Independent(reference.Normal(ours.mean, ours.scale), 1)


def test_normal_log_prob_and_kl():
    p, q, x = normal(), normal(5), draw(6, 3, number=9)
    unit = reference.Independent(reference.Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    assert torch.allclose(p.log_prob(x), their_normal(p).log_prob(x))
    assert torch.allclose(kl(p, q), reference.kl_divergence(their_normal(p), their_normal(q)))
    assert torch.allclose(StandardNormal(3).log_prob(x), unit.log_prob(x))
    assert torch.allclose(kl(p, StandardNormal(3)), reference.kl_divergence(their_normal(p), unit.expand((6,))))
    assert torch.allclose(kl(StandardNormal(3), p), reference.kl_divergence(unit.expand((6,)), their_normal(p)))
    assert torch.equal(kl(p, p), torch.zeros(6).double())
    for other in (q, StandardNormal(3)):
        assert kl_per_unit(p, other).shape == (6, 3) and torch.allclose(kl_per_unit(p, other).sum(-1), kl(p, other))


def test_product_is_bayes_rule():
    """p q / integral(p q): the log-ratio to the product's density is the same number everywhere."""
    p, q = normal(), normal(5)
    points = draw(8, 6, 3, number=11)
    constant = p.log_prob(points) + q.log_prob(points) - p.product(q).log_prob(points)
    assert torch.allclose(constant, constant[:1].expand_as(constant), atol=1e-9)


def test_bernoulli():
    logits = 3 * draw(6, 3)
    p, q = Bernoulli(logits), Bernoulli(draw(6, 3, number=2))
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
    assert torch.allclose(p.log_prob(states[:, None]).exp().sum(0), torch.ones(6).double())
    theirs = [reference.Independent(reference.Bernoulli(logits=d.logits), 1) for d in (p, q)]
    assert torch.allclose(p.log_prob(states[:6]), theirs[0].log_prob(states[:6]))
    assert torch.allclose(kl(p, q), reference.kl_divergence(*theirs))
    extreme = Bernoulli(torch.tensor([[-1e4, 1e4]])).log_prob(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert extreme.tolist() == [0.0, -2e4]


@pytest.mark.parametrize("features", [1, 37, 64, 65, 784])
@pytest.mark.parametrize("samples", [None, 700])  # more than one tile of the widest
def test_bernoulli_without_a_gradient_is_the_same_to_rounding(features, samples):
    logits = 8 * draw(*(samples or 1, 2, features)).float()
    logits[0, 0] = 1e4
    value = (draw(2, features, number=2) > 0).float()
    value = value if samples else value[None]
    truth = (value * logits.double() - torch.nn.functional.softplus(logits.double())).sum(-1)
    with torch.no_grad():
        found = Bernoulli(logits).log_prob(value)
        # More axes than the logits have: their first is no axis of samples.
        flat = Bernoulli(logits.flatten(0, 1)).log_prob(value.expand(*logits.shape).flatten(0, 1)[None])
    assert found.dtype == torch.float32 and torch.allclose(found.double(), truth, rtol=1e-6, atol=1e-6)
    assert flat.shape == (1, truth.numel()) and torch.allclose(flat[0].double(), truth.flatten(), rtol=1e-6, atol=1e-6)


FAIR = (1, 63, 64, 127, 128, 192, 256, 784, 3072)
EXTREMES = (0.0, 1e-3, -2.0, 15.0, -17.0, 40.0, -89.0, 104.0, 1e4, -1e4)


def scipys_log_prob(value: Tensor, logits: Tensor) -> Tensor:
    signed = np.where(value.numpy() == 1, logits.numpy(), -logits.numpy()).astype(np.float64)
    return torch.from_numpy(special.log_expit(signed).sum(-1))


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", FAIR)
def test_fair_coins_cost_log_2_each_however_many_there_are(features, dtype, gradient):
    value = (draw(5, features) > 0).to(dtype)

    with torch.set_grad_enabled(gradient):
        found = Bernoulli(torch.zeros(5, features, dtype=dtype)).log_prob(value)
        stacked = Bernoulli(torch.zeros(3, 5, features, dtype=dtype)).log_prob(value)
        nearly = Bernoulli(torch.full((5, features), 1e-4, dtype=dtype)).log_prob(value)
    truth = torch.full((5,), -features * math.log(2), dtype=torch.float64)
    torch.testing.assert_close(found.double(), truth, rtol=1e-6, atol=0)
    torch.testing.assert_close(stacked.double(), truth.expand(3, 5), rtol=1e-6, atol=0)
    expected = scipys_log_prob(value, torch.full((5, features), 1e-4))
    torch.testing.assert_close(nearly.double(), expected, rtol=1e-6, atol=0)


def test_no_product_of_fair_coins_comes_near_the_smallest_number():
    """Nor does it where numbers below the smallest normal one, 2^-126, count as 0."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps them")
    try:
        with torch.no_grad():
            found = Bernoulli(torch.zeros(2, 784)).log_prob(torch.ones(2, 784))
    finally:
        torch.set_flush_denormal(False)
    torch.testing.assert_close(found, torch.full((2,), -784 * math.log(2)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", FAIR)
def test_a_bernoulli_is_scipys_at_extreme_logits(features, dtype, gradient):
    value = (draw(len(EXTREMES) + 1, features) > 0).to(dtype)
    logits = torch.tensor(EXTREMES, dtype=dtype)[:, None].expand(-1, features)
    mixed = torch.tensor(EXTREMES, dtype=dtype).repeat(features)[:features][None]
    logits = torch.cat((logits, mixed))
    with torch.set_grad_enabled(gradient):
        found = Bernoulli(logits).log_prob(value)
        certain = Bernoulli(logits).log_prob((logits > 0).to(dtype))
    assert bool(torch.isfinite(found).all()) and found.dtype == dtype
    # Sums of numbers as large as the logits, rounded as these are.
    size = 4 * torch.finfo(dtype).eps * (logits.abs().double().sum(-1) + features)
    assert bool(((found.double() - scipys_log_prob(value, logits)).abs() <= size).all())
    assert bool(((certain.double() - scipys_log_prob((logits > 0).to(dtype), logits)).abs() <= size).all())


def test_the_slope_of_a_bernoulli_is_its_value_less_its_mean():
    logits = torch.tensor(EXTREMES, dtype=torch.float64)[None].requires_grad_()
    for value in (torch.zeros_like(logits), torch.ones_like(logits)):
        (slope,) = torch.autograd.grad(Bernoulli(logits).log_prob(value).sum(), logits)
        np.testing.assert_allclose(slope.numpy(), value.numpy() - special.expit(logits.detach().numpy()), atol=1e-15)


def test_kl_of_bernoullis_at_extreme_logits():
    ours = torch.tensor([0.0, 3.0, -40.0, 300.0, 30.0], dtype=torch.float64)[:, None]
    theirs = torch.tensor([-50.0, 3.0, 40.0, 300.0, -30.0], dtype=torch.float64)[:, None]
    p, q = ours.numpy(), theirs.numpy()
    ones, zeros = special.expit(p), special.expit(-p)
    truth = ones * (special.log_expit(p) - special.log_expit(q)) + zeros * (special.log_expit(-p) - special.log_expit(-q))
    np.testing.assert_allclose(kl_of(Bernoulli(ours), Bernoulli(theirs)).numpy(), truth[:, 0], rtol=1e-12, atol=1e-12)


def test_bernoulli_draws():
    logits = draw(1, 3).float().expand(20_000, 3)
    x = Bernoulli(logits).draw(Noise(SEED, "noise")).value
    p = logits[0].sigmoid()
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert ((x.mean(0) - p).abs() < 4 * (p * (1 - p) / len(x)).sqrt()).all()


def test_normal_draws():
    n = 20_000
    d = DiagonalNormal(torch.tensor([1.0, -2.0]).expand(n, 2), torch.tensor([0.3, -1.0]).expand(n, 2))
    x = d.draw(Noise(SEED, "noise")).value
    assert ((x.mean(0) - d.mean[0]).abs() < 4 * d.scale[0] / n**0.5).all()
    assert ((x.std(0) / d.scale[0] - 1).abs() < 4 / (2 * n) ** 0.5).all()


@pytest.mark.parametrize("make", [normal, lambda *a: Bernoulli(normal(*a).mean)])
def test_shapes_of_draws(make):
    assert make().draw(Noise(SEED, "noise")).value.shape == (6, 3)
    assert make().draw(Noise(SEED, "noise"), 5).value.shape == (5, 6, 3)
    assert make(0, 5).draw(Noise(SEED, "noise")).value.shape == (5, 6, 3)
    with pytest.raises(ValueError, match=r"asked for samples=2, .* the parameters \[5, 6, 3\] have \[5, 6\] of their own"):
        make(0, 5).draw(Noise(SEED, "noise"), 2)


def test_a_prior_draws_examples():
    prior = StandardNormal(3)
    assert prior.draw(Noise(SEED, "noise"), batch=5).value.shape == (5, 3)
    assert prior.draw(Noise(SEED, "noise")).value.shape == (3,)


def test_evaluation_draws_are_keyed_by_example_and_sample():
    """Cutting examples or samples into chunks, at any level of a hierarchy, does not change a draw."""
    whole = DiagonalNormal(torch.zeros(100, 3), torch.zeros(100, 3)).draw(EvalNoise(SEED, "t"), 4).value
    part = (
        DiagonalNormal(torch.zeros(30, 3), torch.zeros(30, 3)).draw(EvalNoise(SEED, "t", first=50, first_sample=1), 2).value
    )
    lower = DiagonalNormal(torch.zeros(4, 100, 3), torch.zeros(4, 100, 3)).draw(EvalNoise(SEED, "t")).value
    prior = StandardNormal(3)
    assert torch.equal(part, whole[1:3, 50:80])
    assert torch.equal(lower, whole)
    drawn = [prior.draw(EvalNoise(SEED, "t", first=first), batch=n).value for first, n in ((0, 100), (50, 30))]
    assert torch.equal(drawn[1], drawn[0][50:80])


@pytest.mark.parametrize("likelihood", [GAUSSIAN, BERNOULLI])
def test_half_precision_is_cast_up(likelihood):
    raw = draw(6, 4).bfloat16()
    d, value = likelihood.build(raw), torch.ones(6, 4 // likelihood.parameters)
    assert d.log_prob(value).dtype == torch.float32
    assert torch.equal(d.log_prob(value), likelihood.build(raw.float()).log_prob(value))
    assert full(raw.double()).dtype == torch.float64


def test_soft_clamp():
    raw = torch.tensor([-1e4, -0.01, 0.0, 0.01, 1e4], requires_grad=True)
    out = soft_clamp(raw, 7.0)
    assert out.abs().max() <= 7
    assert torch.allclose(out[1:4], raw[1:4], atol=1e-6)


def test_a_standard_normal_scores_no_other_event_than_its_own():
    p, q = StandardNormal((2, 3)), DiagonalNormal(torch.zeros(5, 3, 2), torch.zeros(5, 3, 2), 2)
    for ask in (lambda: p.log_prob(torch.zeros(5, 3, 2)), lambda: p.log_prob(torch.zeros(3)), lambda: kl(q, p)):
        with pytest.raises(SeedbedError, match=r"StandardNormal\(\[2, 3\]\) was given an event \[3(, 2)?\]; make prior"):
            ask()
    assert p.log_prob(torch.zeros(4, 5, 2, 3)).shape == (4, 5)


def test_a_kl_without_a_closed_form_is_none():
    coins, gaussians = Bernoulli(torch.zeros(6, 3)), normal()
    mixture = NormalMixture(gaussians)
    for q, p in ((gaussians, coins), (coins, gaussians), (gaussians, mixture), (mixture, gaussians)):
        assert kl(q, p) is None and kl_per_unit(q, p) is None


@pytest.mark.parametrize("bound", [7.0, 2.0])
def test_a_soft_clamp_pulls_back_from_wherever_it_is(bound):
    """bound tanh(raw / bound), of slope 1 / cosh^2: 1 at 0, and never 0, where a hard clamp's is 1 and then 0."""
    share = torch.tensor([-8.0, -3.0, -1.0, -0.5, 0.0, 0.2, 0.99, 1.01, 2.0, 8.0], dtype=torch.float64)
    raw = (bound * share).requires_grad_()
    out = soft_clamp(raw, bound)
    np.testing.assert_allclose(out.detach().numpy(), bound * np.tanh(share.numpy()), rtol=1e-12)
    assert bool((out.abs() < bound).all()) and bool((out.diff() > 0).all())
    (slope,) = torch.autograd.grad(out.sum(), raw)
    np.testing.assert_allclose(slope.numpy(), np.cosh(share.numpy()) ** -2.0, rtol=1e-6)
    assert torch.autograd.gradcheck(lambda x: soft_clamp(x, bound), (raw[1:-1].detach().requires_grad_(),))
    # In single precision there is something left five bounds outside.
    single = torch.tensor([-5 * bound, 5 * bound], requires_grad=True)
    assert bool((torch.autograd.grad(soft_clamp(single, bound).sum(), single)[0] > 1e-4).all())


def test_a_scale_that_a_network_overshoots_comes_back():
    """7 tanh(raw / 7) in the place of the log-scale: slope of the log-density at 0, (u^2 - 1) / cosh^2(raw / 7)."""
    raw = torch.tensor([[0.3, 30.0], [0.3, -1.0], [0.3, 0.0]], dtype=torch.float64, requires_grad=True)
    built = DiagonalNormal.from_raw(raw)
    log_scale = 7 * np.tanh(raw.detach().numpy()[:, 1] / 7)
    np.testing.assert_allclose(built.log_scale.detach().numpy()[:, 0], log_scale, rtol=1e-12)
    (slope,) = torch.autograd.grad(built.log_prob(torch.zeros(3, 1).double()).sum(), raw)
    u = -0.3 * np.exp(-log_scale)
    np.testing.assert_allclose(slope[:, 1].numpy(), (u**2 - 1) * np.cosh(raw.detach().numpy()[:, 1] / 7) ** -2.0, rtol=1e-6)
    np.testing.assert_allclose(slope[:, 0].numpy(), u * np.exp(-log_scale), rtol=1e-9)
