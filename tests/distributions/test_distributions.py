"""Distributions against torch.distributions, in closed form and by counting."""

import itertools

import pytest
import torch
from torch import Tensor
from torch import distributions as reference

from seedbed.core.noise import EvalNoise, Noise, Streams
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.likelihood import BERNOULLI, GAUSSIAN
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.distributions.numeric import full, soft_clamp

SEED = [Streams(0)]


def draw(*shape: int, number: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


def normal(number: int = 0, *batch: int) -> DiagonalNormal:
    return DiagonalNormal(draw(*batch, 6, 3, number=number), 0.5 * draw(*batch, 6, 3, number=number + 1))


def their_normal(ours: DiagonalNormal) -> reference.Distribution:
    return reference.Independent(reference.Normal(ours.mean, ours.scale), 1)


def test_normal_log_prob_and_kl():
    p, q, x = normal(), normal(5), draw(6, 3, number=9)
    unit = reference.Independent(reference.Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    assert torch.allclose(p.log_prob(x), their_normal(p).log_prob(x))
    assert torch.allclose(p.kl(q), reference.kl_divergence(their_normal(p), their_normal(q)))
    assert torch.allclose(StandardNormal(3).log_prob(x), unit.log_prob(x))
    assert torch.allclose(p.kl(StandardNormal(3)), reference.kl_divergence(their_normal(p), unit.expand((6,))))
    assert torch.allclose(StandardNormal(3).kl(p), reference.kl_divergence(unit.expand((6,)), their_normal(p)))
    assert torch.equal(p.kl(p), torch.zeros(6).double())
    for other in (q, StandardNormal(3)):
        assert p.kl_per_unit(other).shape == (6, 3) and torch.allclose(p.kl_per_unit(other).sum(-1), p.kl(other))


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
    assert torch.allclose(p.kl(q), reference.kl_divergence(*theirs))
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


def test_bernoulli_draws():
    logits = draw(1, 3).float().expand(20_000, 3)
    x = Bernoulli(logits).rsample(Noise(SEED, "noise"))
    p = logits[0].sigmoid()
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert ((x.mean(0) - p).abs() < 4 * (p * (1 - p) / len(x)).sqrt()).all()


def test_normal_draws():
    n = 20_000
    d = DiagonalNormal(torch.tensor([1.0, -2.0]).expand(n, 2), torch.tensor([0.3, -1.0]).expand(n, 2))
    x = d.rsample(Noise(SEED, "noise"))
    assert ((x.mean(0) - d.mean[0]).abs() < 4 * d.scale[0] / n**0.5).all()
    assert ((x.std(0) / d.scale[0] - 1).abs() < 4 / (2 * n) ** 0.5).all()


@pytest.mark.parametrize("make", [normal, lambda *a: Bernoulli(normal(*a).mean)])
def test_shapes_of_draws(make):
    assert make().rsample(Noise(SEED, "noise")).shape == (6, 3)
    assert make().rsample(Noise(SEED, "noise"), 5).shape == (5, 6, 3)
    assert make(0, 5).rsample(Noise(SEED, "noise")).shape == (5, 6, 3)
    with pytest.raises(ValueError, match="expected parameters"):
        make(0, 5).rsample(Noise(SEED, "noise"), 2)


def test_a_prior_draws_examples():
    prior = StandardNormal(3)
    assert prior.rsample(Noise(SEED, "noise"), 5).shape == (5, 3)
    assert prior.rsample(Noise(SEED, "noise")).shape == (3,)


def test_evaluation_draws_are_keyed_by_example_and_sample():
    """Cutting examples or samples into chunks, at any level of a hierarchy, does not change a draw."""
    whole = DiagonalNormal(torch.zeros(100, 3), torch.zeros(100, 3)).rsample(EvalNoise(SEED, "t"), 4)
    part = DiagonalNormal(torch.zeros(30, 3), torch.zeros(30, 3)).rsample(EvalNoise(SEED, "t", first=50, first_sample=1), 2)
    lower = DiagonalNormal(torch.zeros(4, 100, 3), torch.zeros(4, 100, 3)).rsample(EvalNoise(SEED, "t"))
    prior = StandardNormal(3)
    assert torch.equal(part, whole[1:3, 50:80])
    assert torch.equal(lower, whole)
    assert torch.equal(prior.rsample(EvalNoise(SEED, "t", first=50), 30), prior.rsample(EvalNoise(SEED, "t"), 100)[50:80])


@pytest.mark.parametrize("likelihood", [GAUSSIAN, BERNOULLI])
def test_half_precision_is_cast_up(likelihood):
    raw = draw(6, 4).bfloat16()
    d = likelihood.build(raw)
    assert d.log_prob(torch.ones(6, 4 // likelihood.parameters)).dtype == torch.float32
    assert full(raw.double()).dtype == torch.float64


def test_soft_clamp():
    raw = torch.tensor([-1e4, -0.01, 0.0, 0.01, 1e4], requires_grad=True)
    out = soft_clamp(raw, 7.0)
    assert out.abs().max() <= 7
    assert torch.allclose(out[1:4], raw[1:4], atol=1e-6)


def test_kl_between_families_is_refused():
    with pytest.raises(TypeError, match="elbo"):
        normal().kl(Bernoulli(torch.zeros(6, 3)))
    with pytest.raises(TypeError, match="not defined"):
        Bernoulli(torch.zeros(6, 3)).kl(normal())
