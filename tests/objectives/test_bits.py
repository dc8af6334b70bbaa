"""Gradients through bits against the sum over every setting of them: exact ones exactly, biased ones with their bias."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from passes import at
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.core.stack import Stack
from seedbed.core.terms import Terms
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.mixture import NormalMixture
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.evaluate.annealing import Annealing, annealed_importance_sampling
from seedbed.evaluate.estimators import offered
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.objectives.bits import MOST_BITS, elbo_of_bits
from seedbed.objectives.bounds import beta, declares_coupling, elbo, elbo_kl, free_bits, iwae, warm_up

Z = 4.5  # standard errors: about 40 comparisons in this file
X = torch.tensor([[1.0, -0.5, 0.3], [-0.4, 0.9, 1.2]], dtype=torch.float64)


class Bits(nn.Module, LatentVariable):
    """Two bits over three, p(z2) p(z1 | z2) p(x | z1), and q(z2 | x) q(z1 | z2, x), or the other way up; or z1 alone.

    p(x | z1) is a Gaussian whose mean is affine in z1, or bent.
    """

    smooth = False

    def __init__(self, order: str, bent: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        normal = lambda *shape: nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64))
        self.order, self.bent = order, bent
        self.top, self.prior = normal(2), normal(3)  # the prior's logits, of either
        self.down, self.out = normal(3, 2), normal(3, 3)
        self.see2, self.see1 = normal(2, 3), normal(3, 3)
        self.above, self.below = normal(3, 2), normal(2, 3)  # what z1's posterior makes of z2, and z2's of z1

    @property
    def domain(self):
        return REAL

    def inference(self, x, ctx):
        return self.ascent(x) if self.order == "up" else None

    def ascent(self, x):
        z1 = yield "z1", Bernoulli(x @ self.see1.T)
        yield "z2", Bernoulli(x @ self.see2.T + z1 @ self.below.T)

    def layers(self, x, ctx):
        logits = self.prior
        if self.order != "one":
            z2 = yield Layer("z2", Bernoulli(self.top), None if x is None else Bernoulli(x @ self.see2.T))
            logits = self.prior + z2 @ self.down.T
        q = None if x is None else x @ self.see1.T + (0 if self.order == "one" else z2 @ self.above.T)
        z1 = yield Layer("z1", Bernoulli(logits), None if x is None else Bernoulli(q))
        mean = z1 @ self.out.T
        mean = torch.tanh(mean) if self.bent else mean
        return DiagonalNormal(mean, torch.full_like(mean, -0.3))


ORDERS = ("one", "down", "up")
each_order = pytest.mark.parametrize("order", ORDERS)


def settings(order: str) -> dict[str, Tensor]:
    """Every setting, ``[settings, 1, bits]`` each."""
    sizes = {"z1": 3} if order == "one" else {"z2": 2, "z1": 3}
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=sum(sizes.values()))), dtype=torch.float64)
    return dict(zip(sizes, every[:, None].split(list(sizes.values()), -1), strict=True))


def log_coins(value: Tensor, logits: Tensor) -> Tensor:
    return (value * F.logsigmoid(logits) + (1 - value) * F.logsigmoid(-logits)).sum(-1)


def spelled_out(model: Bits, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log q(z | x), log p(z) and log p(x | z) of every setting, in plain formulas, ``[settings, batch]`` each."""
    z = settings(model.order)
    z1 = z["z1"]
    mean = z1 @ model.out.T
    mean = torch.tanh(mean) if model.bent else mean
    log_likelihood = (-0.5 * ((x - mean) / math.exp(-0.3)) ** 2 + 0.3 - 0.5 * math.log(2 * math.pi)).sum(-1)
    see1, see2 = x @ model.see1.T, x @ model.see2.T
    if model.order == "one":
        return log_coins(z1, see1), log_coins(z1, model.prior).expand(-1, len(x)), log_likelihood
    z2 = z["z2"]
    log_prior = log_coins(z2, model.top) + log_coins(z1, model.prior + z2 @ model.down.T)
    if model.order == "down":
        log_q = log_coins(z2, see2) + log_coins(z1, see1 + z2 @ model.above.T)
    else:
        log_q = log_coins(z1, see1) + log_coins(z2, see2 + z1 @ model.below.T)
    return log_q, log_prior.expand(-1, len(x)), log_likelihood


def exact(model: Bits, x: Tensor = X) -> tuple[Tensor, Tensor]:
    """The bound of each example, and the gradient of their sum in all parameters together."""
    log_q, log_prior, log_likelihood = spelled_out(model, x)
    value = (log_q.exp() * (log_likelihood + log_prior - log_q)).sum(0)
    return value.detach(), gradient(model, value)


def gradient(model: nn.Module, value: Tensor) -> Tensor:
    parameters = list(model.parameters())
    parts = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
    return torch.cat([filled(p, g).flatten() for p, g in zip(parameters, parts, strict=True)])


def filled(parameter: Tensor, gradient: Tensor | None) -> Tensor:
    return torch.zeros_like(parameter) if gradient is None else gradient


def encoders(model: Bits) -> Tensor:
    """Which of those parameters are the posterior's."""
    ours = [name in ("see2", "see1", "above", "below") for name, _ in model.named_parameters()]
    return torch.cat([torch.full((p.numel(),), own) for own, p in zip(ours, model.parameters(), strict=True)])


class Given(Noise):
    """Uniform draws that make bits those that are given, one layer after another."""

    def __init__(self, values) -> None:
        super().__init__([Streams(0)], "noise", dtype=torch.float64)
        self.values = iter(values)

    def uniform(self, event, *, batch=None, samples=None):
        return 1 - next(self.values)  # below any probability, or above


def expected(model: Bits, utility, samples: int = 1) -> tuple[Tensor, Tensor]:
    """A utility's value and gradient, averaged over every draw that it may meet: no Monte Carlo."""
    z = settings(model.order)
    z = z if model.order != "up" else {name: z[name] for name in ("z1", "z2")}
    count = len(z["z1"])
    combined = list(itertools.product(range(count), repeat=samples))
    rows = torch.tensor(combined)  # [meetings, samples]
    total, weights = torch.zeros(len(X)).double(), spelled_out(model, X)[0].exp().detach()
    summed = torch.zeros(())
    for example in range(len(X)):
        x = X[example].expand(len(rows), 3)
        drawn = [value[rows, 0].transpose(0, 1) for value in z.values()]  # [samples, meetings, bits]
        drawn = drawn if samples > 1 else [value[0] for value in drawn]
        value = utility(model, x, Context(Given(drawn), training=True)).value
        weight = weights[rows, example].prod(1)
        assert weight.sum() == pytest.approx(1.0)
        total[example] = (weight * value).sum().detach()
        summed = summed + (weight * value).sum()
    return total, gradient(model, summed)


@each_order
@pytest.mark.parametrize("bent", [True, False])
def test_enumeration_is_the_sum_over_every_setting(order, bent):
    model = Bits(order, bent)
    value, truth = exact(model)
    terms = elbo_of_bits("enumerate")(model, X, at(training=True))
    assert torch.allclose(terms.value, value, atol=1e-12)
    assert torch.allclose(gradient(model, terms.value), truth, atol=1e-12)
    log_q, log_prior, log_likelihood = spelled_out(model, X)
    q = log_q.exp()
    assert torch.allclose(terms.parts["log_likelihood"], (q * log_likelihood).sum(0), atol=1e-12)
    assert torch.allclose(terms.parts["kl"], (q * (log_q - log_prior)).sum(0), atol=1e-12)
    assert torch.equal(terms.parts["elbo"], terms.value)


@each_order
def test_the_bounds_are_the_sum_in_expectation(order):
    """``elbo`` and ``elbo_kl``, whose value is right whatever their gradient is."""
    model = Bits(order)
    for utility in (elbo_of_bits("st", utility=elbo), elbo_of_bits("zgr"), elbo_of_bits("st", utility=beta(elbo_kl, 1.0))):
        assert torch.allclose(expected(model, utility)[0], exact(model)[0], atol=1e-12)


@each_order
def test_leave_one_out_is_unbiased_over_all_pairs_of_draws(order):
    """Every pair that two samples can be: the mean of the estimates is the gradient itself."""
    model = Bits(order)
    value, truth = exact(model)
    found, slope = expected(model, elbo_of_bits("reinforce_loo", 2), 2)
    assert torch.allclose(found, value, atol=1e-12) and torch.allclose(slope, truth, atol=1e-10)


RUNS = 300


def estimates(model: nn.Module, utility, address: str, batch: int = 50) -> Tensor:
    """Gradient of the mean over a batch of the same two examples, in eight directions, for every run, ``[RUNS, 8]``."""
    stack = Stack.of([model] * RUNS, [Streams(s) for s in range(RUNS)], "fp64")
    x = X.repeat(batch // 2, 1)
    params = {k: v.clone().requires_grad_() for k, v in stack.params.items()}

    def value(model, ctx):
        return utility(model, x, ctx).value.mean() * 2  # the sum over the two

    out, _ = stack.replace(params).step(value, noise=stack.noise("noise", address))
    grads = torch.autograd.grad(out.sum(), list(params.values()), allow_unused=True)
    return torch.cat([filled(p, g).flatten(1) for p, g in zip(params.values(), grads, strict=True)], 1) @ directions(model)


def directions(model: nn.Module) -> Tensor:
    size = sum(p.numel() for p in model.parameters())
    return torch.randn(8, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64).mT


def agree(found: Tensor, truth: Tensor) -> bool:
    error = found.std(0) / len(found) ** 0.5
    return bool(((found.mean(0) - truth).abs() < Z * error).all())


@pytest.mark.parametrize("order", ["one", "down"])
def test_leave_one_out_is_unbiased_in_eight_directions(order):
    model = Bits(order)
    truth = exact(model)[1] @ directions(model)
    assert agree(estimates(model, elbo_of_bits("reinforce_loo"), "loo"), truth)
    # So many runs notice what is biased.
    assert not agree(estimates(model, elbo_of_bits("st"), "st"), truth)


def alone(model: Bits, x: Tensor, ctx: Context) -> Terms:
    """REINFORCE with nothing to compare a draw with."""
    proposal = model.proposal(x, replace(ctx, through="constant"))
    return Terms(proposal.log_w + proposal.log_w.detach() * (proposal.log_q - proposal.log_q.detach()))


@pytest.mark.parametrize("samples", [2, 5])
def test_what_draws_are_compared_with_takes_noise_away(samples):
    model = Bits("down")
    truth = exact(model)[1] @ directions(model)
    plain, compared = estimates(model, alone, "a"), estimates(model, elbo_of_bits("reinforce_loo", samples), "a")
    assert agree(plain, truth) and agree(compared, truth)
    assert bool((compared.std(0) < plain.std(0) / samples**0.5).all())


# The bias of the posterior's gradient over its length: the mean over every draw, so these are not estimates.
BIASES = {
    ("one", True): {"st": 0.3534, "zgr": 0.1589},
    ("down", False): {"st": 0.2674, "zgr": 0.0575},
    ("down", True): {"st": 0.3541, "zgr": 0.2860},
    ("up", True): {"st": 0.3002, "zgr": 0.1190},
}


@pytest.mark.parametrize(("order", "bent"), BIASES)
@pytest.mark.parametrize("way", ["st", "zgr"])
@pytest.mark.parametrize("utility", [elbo, elbo_kl])
def test_surrogates_have_the_bias_that_they_have(order, bent, way, utility):
    model = Bits(order, bent)
    truth, own = exact(model)[1], encoders(model)
    found = expected(model, elbo_of_bits(way, utility=utility))[1]
    share = (found - truth)[own].norm() / truth[own].norm()
    assert float(share) == pytest.approx(BIASES[order, bent][way], abs=1e-4)
    assert torch.cosine_similarity(found[own], truth[own], 0) > 0.94
    assert torch.allclose(found[~own], truth[~own], atol=1e-12)  # of the generative model there is none


@pytest.mark.parametrize("utility", [elbo, elbo_kl])
def test_zgr_has_no_bias_where_the_utility_is_quadratic(utility):
    """Shekhovtsov 2023: an affine decoder to a Gaussian, independent bits; straight-through has one even there."""
    model = Bits("one", bent=False)
    truth = exact(model)[1]
    assert torch.allclose(expected(model, elbo_of_bits("zgr", utility=utility))[1], truth, atol=1e-12)
    straight = expected(model, elbo_of_bits("st", utility=utility))[1]
    assert float((straight - truth).norm() / truth[encoders(model)].norm()) == pytest.approx(0.4304, abs=1e-4)


@pytest.mark.parametrize("way", ["st", "zgr"])
def test_the_slope_of_a_surrogate(way):
    logits = torch.linspace(-4, 4, 9, dtype=torch.float64).expand(2, 9).clone().requires_grad_()
    bits = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, 9)
    law = Bernoulli(logits)
    value = law.surrogate(bits, way)
    assert torch.equal(value, bits)
    weight = torch.arange(18, dtype=torch.float64).view(2, 9)
    (slope,) = torch.autograd.grad((weight * value).sum(), logits)
    p = torch.sigmoid(logits.detach())
    truth = p * (1 - p) if way == "st" else (bits * (1 - p) + (1 - bits) * p) / 2
    assert torch.allclose(slope, weight * truth, atol=1e-12)
    # Either is that of the mean, where what is made of the bit is linear.
    mean = (p * slope[1] / weight[1] + (1 - p) * truth[0])[0]
    assert torch.allclose(mean, (p * (1 - p))[0], atol=1e-12)


class Mixed(nn.Module, LatentVariable):
    """A real number over two bits, in the model and in the posterior."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        normal = lambda *shape: nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64))
        self.see, self.spread, self.below, self.bits, self.down, self.out = (
            normal(3),
            normal(1),
            normal(2, 3),
            normal(2),
            normal(2),
            normal(3, 2),
        )

    @property
    def domain(self):
        return REAL

    def layers(self, x, ctx):
        q = None if x is None else DiagonalNormal((x @ self.see)[:, None], 0.3 * self.spread.expand(len(x), 1))
        u = yield Layer("u", StandardNormal(1), q)
        q = None if x is None else Bernoulli(x @ self.below.T + u * self.bits)
        b = yield Layer("b", Bernoulli(u * self.down), q)
        mean = torch.tanh(b @ self.out.T + u)
        return DiagonalNormal(mean, torch.full_like(mean, -0.3))


def test_leave_one_out_is_unbiased_in_real_layers_too():
    """Against quadrature over the one, and the sum over the other."""
    model = Mixed()
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
    m, scale = (X @ model.see)[:, None], (0.3 * model.spread).exp()
    u = m + scale * nodes[:, None, None]
    b = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2)), dtype=torch.float64)[:, None, None]
    log_q = log_coins(b, X @ model.below.T + u * model.bits)
    mean = torch.tanh(b @ model.out.T + u)
    f = (-0.5 * ((X - mean) / math.exp(-0.3)) ** 2 + 0.3 - 0.5 * math.log(2 * math.pi)).sum(-1)
    f = f + log_coins(b, (u * model.down).expand(4, -1, -1, -1)) - log_q
    inner = ((log_q.exp() * f).sum(0) * (weights / weights.sum())[:, None]).sum(0)
    value = inner + 0.5 * (1 - (m.squeeze(-1) ** 2 + scale**2)) + scale.log()
    assert agree(estimates(model, elbo_of_bits("reinforce_loo"), "mixed"), gradient(model, value) @ directions(model))
    with pytest.raises(SeedbedError, match="enumerate sums over bits, and u of Mixed is no bit; use 'reinforce_loo'"):
        elbo_of_bits("enumerate")(model, X, at())
    with pytest.raises(SeedbedError, match="none goes through those of b;"):
        elbo(model, X, at(training=True))


class Wide(nn.Module, LatentVariable):
    """So many bits with a posterior, of images."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.logits = nn.Parameter(0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(0)).double())

    @property
    def domain(self):
        return REAL

    def layers(self, x, ctx):
        rank = len(self.shape)
        q = None if x is None else Bernoulli(self.logits + x.sum(-1).view(-1, *[1] * rank), rank)
        z = yield Layer("z", Bernoulli(torch.zeros(self.shape, dtype=torch.float64), rank), q)
        mean = z.flatten(-rank).sum(-1, keepdim=True).expand(*z.shape[:-rank], 3)
        return DiagonalNormal(mean, torch.zeros_like(mean))


def test_leave_one_out_is_refused_where_the_draws_are_no_constants():
    class Own(Bits):
        def proposal(self, x, ctx, samples=None):  # pays no heed to how gradients go through its draws
            return super().proposal(x, replace(ctx, through="zgr"), samples)

    stack = Stack.of([Own("down"), Own("down")], [Streams(0), Streams(1)], "fp64")
    call = elbo_of_bits("reinforce_loo", 3)
    value = lambda model, x, ctx: call(model, x, ctx).value
    for many in (stack, Stack.of([Own("down")], [Streams(0)], "fp64")):
        many = many.replace({name: each.detach().requires_grad_() for name, each in many.params.items()})
        with pytest.raises(SeedbedError, match=r"a gradient goes through z2 of Own; let its `proposal` draw by"):
            many.step(value, noise=many.noise("noise"), shared=(X,))
        with torch.no_grad():
            many.step(value, noise=many.noise("noise"), shared=(X,))


def test_bits_that_are_images_are_bits_in_a_row():
    results = []
    for shape in ((2, 1, 3), (6,)):
        model = Wide(shape)
        for way in ("enumerate", "reinforce_loo", "zgr", "st"):
            value = elbo_of_bits(way)(model, X, at(training=True)).value
            results.append((value, gradient(model, value)))
    for (a, da), (b, db) in zip(results[:4], results[4:], strict=True):
        assert torch.allclose(a, b, atol=1e-12) and torch.allclose(da, db, atol=1e-12)


def test_too_many_settings_are_refused():
    assert elbo_of_bits("enumerate")(Wide((MOST_BITS,)), X[:1], at()).value.shape == (1,)
    with pytest.raises(SeedbedError, match=r"at most 16 bits; Wide has 17: use 'zgr'"):
        elbo_of_bits("enumerate")(Wide((MOST_BITS + 1,)), X, at())


def test_a_pathwise_bound_of_bits_is_refused_in_training_and_not_in_evaluation():
    model = Bits("down")
    value, _ = exact(model)
    for name, utility in (
        ("elbo", elbo),
        ("elbo_kl", elbo_kl),
        ("elbo_kl", beta(elbo_kl, 2.0)),
        ("iwae", iwae(3)),
        ("iwae", iwae(3, "dreg")),
    ):
        with pytest.raises(SeedbedError) as caught:
            utility(model, X, at(training=True))
        said = str(caught.value)
        assert said.startswith(f"{name} takes its gradient along the draws of z, and none goes through those of z2, z1; ")
        assert said.endswith("elbo_of_bits('zgr'), 'st', 'reinforce_loo' or 'enumerate'") and "\n" not in said
    x = X.repeat(5000, 1)
    for utility in (elbo, elbo_kl):
        values = utility(model, x, at()).value.detach().view(-1, 2)
        assert ((values.mean(0) - value).abs() < Z * values.std(0) / 5000**0.5).all()
    for way in ("zgr", "st", "reinforce_loo", "enumerate"):
        assert torch.isfinite(elbo_of_bits(way)(model, X, at(training=True)).value).all()


def test_the_likelihood_of_bits_is_their_sum():
    model = Bits("up")
    _, log_prior, log_likelihood = spelled_out(model, X)
    truth = -(log_prior + log_likelihood).logsumexp(0).detach()
    stack = Stack.of([model], [Streams(0)], "fp64")
    found = importance_sampling(stack, X.repeat(50, 1), "t", 200)["nll_nats"][0][0].view(50, 2)
    weight = (truth - found).exp()
    assert ((weight.mean(0) - 1).abs() < Z * weight.std(0) / 50**0.5).all()
    assert set(offered(stack, X)) == {"nll", "latents", "bits", "sw"}
    with pytest.raises(SeedbedError, match="Bits, whose latents are not all real numbers, has no estimator 'ais'"):
        annealed_importance_sampling(stack, X, "t", Annealing())


class Blobs(Bits):
    """With a posterior that is a mixture, of which no draw is differentiable and no surrogate is known."""

    def layers(self, x, ctx):
        q = None if x is None else NormalMixture(DiagonalNormal(self.out, self.out))
        z = yield Layer("z", StandardNormal(3), q)
        return DiagonalNormal(z, torch.zeros_like(z))


def test_what_couples_examples_does_so_through_bits_too():
    assert declares_coupling(elbo_of_bits("zgr", utility=free_bits(elbo_kl, 0.1)))
    assert not declares_coupling(elbo_of_bits("zgr"))


def test_bad_input_is_one_line():
    with pytest.raises(SeedbedError, match="unknown way through bits 'reinforce'; did you mean 'reinforce_loo'"):
        elbo_of_bits("reinforce")
    with pytest.raises(SeedbedError, match="warm_up goes outermost"):
        elbo_of_bits("zgr", utility=warm_up(elbo_kl, 10))
    with pytest.raises(SeedbedError, match="at least 2 samples, got 1"):
        elbo_of_bits("reinforce_loo", 1)
    for way in ("zgr", "st"):
        with pytest.raises(SeedbedError, match=r"NormalMixture has no surrogate gradient, bits have one; .*'reinforce_loo'"):
            elbo_of_bits(way)(Blobs("one"), X, at(training=True))
    with pytest.raises(SeedbedError, match="none goes through those of z;"):
        elbo(Blobs("one"), X, at(training=True))
