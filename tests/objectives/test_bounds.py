"""Bounds on a linear Gaussian model, where everything is known: z ~ N(0, I), x | z ~ N(W z + b, s^2 I)."""

from collections.abc import Generator

import pytest
import torch
from passes import at, log_posterior
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context, State
from seedbed.core.domain import REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution, kl
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.terms import Terms
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.models.lvae import LadderVAE
from seedbed.objectives.bounds import GRADIENTS, Bound, beta, elbo, elbo_kl, free_bits, iwae, warm_up

Z = 4.0  # standard errors: about 20 comparisons in this file


class LinearGaussian(nn.Module, LatentVariable):
    """The columns of W are orthogonal, so the exact posterior is a diagonal Gaussian; (shift, widen) = 0 attains it."""

    def __init__(self, shift: float = 0.0, widen: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 1.0], [1.0, -1.0], [0.5, 0.0]]) * torch.tensor([1.0, 0.7]))
        self.bias = nn.Parameter(torch.tensor([0.3, -0.2, 0.1]))
        self.log_s = nn.Parameter(torch.tensor(-0.4))
        self.shift = nn.Parameter(torch.tensor(shift))
        self.widen = nn.Parameter(torch.tensor(widen))

    @property
    def domain(self) -> Domain:
        return REAL

    def exact_posterior(self, x: Tensor) -> DiagonalNormal:
        precision = 1 + self.weight.square().sum(0) * (-2 * self.log_s).exp()
        mean = (x - self.bias) @ self.weight * (-2 * self.log_s).exp() / precision
        return DiagonalNormal(mean, (-0.5 * precision.log()).expand_as(mean))

    def log_marginal(self, x: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.mT + (2 * self.log_s).exp() * torch.eye(3, dtype=x.dtype)
        return MultivariateNormal(self.bias, covariance).log_prob(x)

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        q = None if x is None else self.exact_posterior(x)
        z = yield Layer("z", StandardNormal(2), q and DiagonalNormal(q.mean + self.shift, q.log_scale + self.widen))
        mean = z @ self.weight.mT + self.bias
        return DiagonalNormal(mean, self.log_s.expand_as(mean))


def model(shift: float = 0.0, widen: float = 0.0) -> LinearGaussian:
    built = LinearGaussian(shift, widen).double()
    # The columns are orthogonal up to the third row: remove what is left of the first from the second.
    with torch.no_grad():
        a, b = built.weight.unbind(1)
        built.weight.copy_(torch.stack((a, b - (a @ b) / (a @ a) * a), 1))
    return built


def ctx(step: int = 0, **options) -> Context:
    return at(step, **options)


POINT = torch.tensor([0.9, -1.1, 0.4], dtype=torch.float64)


def mean_and_se(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.mean(), values.std() / len(values) ** 0.5


def test_every_bound_is_tight_at_the_exact_posterior():
    m = model()
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for utility in (elbo, iwae(1), iwae(7)):
        assert torch.allclose(utility(m, x, ctx()).value, m.log_marginal(x), atol=1e-10)


def test_bounds_are_ordered_and_the_gap_is_the_kl():
    m, n = model(0.4, 0.3), 20_000
    x = POINT.expand(n, 3)
    truth = m.log_marginal(POINT)
    exact = m.exact_posterior(POINT)
    gap = kl(DiagonalNormal(exact.mean + m.shift, exact.log_scale + m.widen), exact)
    means = [mean_and_se(utility(m, x, ctx(i)).value) for i, utility in enumerate((elbo, iwae(3), iwae(10)))]
    (l1, se1), (l3, se3), (l10, se10) = means
    assert abs(l1 - (truth - gap)) < Z * se1
    assert l1 < l3 - Z * (se1 + se3)
    assert l3 < l10 - Z * (se3 + se10)
    assert l10 < truth + Z * se10


def test_importance_weights_are_unbiased():
    m = model(0.2, 0.3)
    w = m.proposal(POINT.expand(50, 3), ctx(), 2000).log_w.exp().flatten()
    mean, se = mean_and_se(w)
    assert w.numel() == 100_000
    assert abs(mean - m.log_marginal(POINT).exp()) < Z * se


def test_analytic_kl_agrees_in_expectation():
    m, x = model(0.4, 0.3), POINT.expand(20_000, 3)
    sampled, closed = elbo(m, x, ctx()), elbo_kl(m, x, ctx())
    mean, se = mean_and_se(sampled.value - closed.value)
    assert abs(mean) < Z * se
    assert torch.equal(sampled.parts["log_likelihood"], closed.parts["log_likelihood"])
    assert closed.parts["kl"].std() < 1e-12


def test_iwae_of_one_sample_is_the_elbo_in_value_and_gradient():
    x = POINT + torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    for build in (lambda: model(0.4, 0.3), lambda: ladder(3)):
        m = build()
        results = []
        for utility in (elbo, iwae(1)):
            value = utility(m, x, ctx()).value
            results.append((value, *torch.autograd.grad(value.sum(), list(m.parameters()))))
        for a, b in zip(*results, strict=True):
            assert torch.allclose(a, b, atol=1e-12)


def test_iwae_records_the_mean_of_its_log_weights_as_the_elbo():
    x, m = POINT + torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None], model(0.4, 0.3)
    expected = m.proposal(x, ctx(), 4).log_w.mean(0)
    for gradient in GRADIENTS:
        assert torch.allclose(iwae(4, gradient)(m, x, ctx()).parts["elbo"], expected, atol=1e-12)


def ladder(features: int) -> LadderVAE:
    with Streams(1).scoped("init"):
        return LadderVAE(features, (3, 2, 2), (8, 8, 8)).double()


def test_hierarchy_agrees_in_expectation_and_names_its_layers():
    m, x = ladder(3), POINT.expand(20_000, 3)
    sampled, closed = elbo(m, x, ctx()), elbo_kl(m, x, ctx())
    assert set(closed.parts) == {"elbo", "log_likelihood", "kl", "kl_z3", "kl_z2", "kl_z1"}
    for part in closed.parts:
        mean, se = mean_and_se(sampled.parts[part] - closed.parts[part])
        assert abs(mean) <= Z * se


def test_log_weights_are_joint_minus_posterior():
    m, x = ladder(3), POINT.expand(5, 3)
    p = m.proposal(x, ctx(), 4)
    assert torch.allclose(p.log_w, m.joint(x, p.z, ctx()) - log_posterior(m, x, p.z, ctx()), atol=1e-10)
    assert torch.allclose(p.log_q, log_posterior(m, x, p.z, ctx()), atol=1e-10)


def test_chunks_of_examples_and_samples_do_not_change_the_weights():
    m = ladder(3).float()
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))

    def weights(rows: slice, first_sample: int, samples: int) -> Tensor:
        here = EvalNoise([Streams(0)], "test", first=rows.start, first_sample=first_sample)
        return m.proposal(x[rows], Context(here), samples).log_w

    assert torch.allclose(weights(slice(0, 100), 0, 6)[2:5, 40:90], weights(slice(40, 90), 2, 3), atol=1e-5)


def test_warm_up():
    m, x = model(0.4, 0.3), POINT.expand(7, 3)
    utility = warm_up(elbo_kl, 4)
    state = utility.initial_state(m, x)
    weights = []
    for step in range(6):
        here = ctx(step, state=State(state))
        terms = utility(m, x, here)
        true = elbo_kl(m, x, ctx(step))
        w = terms.parts["kl_weight"]
        assert torch.allclose(terms.value, true.parts["log_likelihood"] - w * true.parts["kl"])
        assert torch.equal(terms.parts["elbo"], true.value)
        weights.append(w.item())
        state = here.state
    assert weights == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("utility", [elbo, elbo_kl])
def test_beta(utility):
    m, x = ladder(3), POINT.expand(7, 3)
    terms, true = beta(utility, 4.0)(m, x, ctx()), utility(m, x, ctx())
    assert torch.allclose(terms.value, true.parts["log_likelihood"] - 4 * true.parts["kl"], atol=1e-12)
    assert torch.equal(terms.parts["elbo"], true.value)
    assert set(terms.parts) == {*true.parts, "penalty"}
    assert torch.equal(beta(utility, 1.0)(m, x, ctx()).value, true.value)


def test_free_bits_are_free_per_layer_and_batch():
    m, x = ladder(3), POINT + torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    true = elbo_kl(m, x, ctx())
    means = {name: part.mean().item() for name, part in true.parts.items() if name.startswith("kl_")}
    low, high = min(means, key=means.get), max(means, key=means.get)
    between = (means[low] + means[high]) / 2
    terms = free_bits(elbo_kl, between)(m, x, ctx())
    charged = sum(max(mean, between) for mean in means.values())
    assert torch.allclose(terms.parts["penalty"], torch.full((9,), charged, dtype=torch.float64))
    assert torch.allclose(terms.value, true.parts["log_likelihood"] - charged)
    assert torch.equal(terms.parts["elbo"], true.value) and torch.equal(terms.parts["kl"], true.parts["kl"])
    assert torch.allclose(free_bits(elbo_kl, 0.0)(m, x, ctx()).value.mean(), true.value.mean(), atol=1e-12)
    # What is free has no gradient: all of it, and the bound is the likelihood's.
    every = list(m.parameters())
    free = free_bits(elbo_kl, 1e6)(m, x, ctx())
    for a, b in zip(
        torch.autograd.grad(free.value.sum(), every, allow_unused=True, retain_graph=True),
        torch.autograd.grad(free.parts["log_likelihood"].sum(), every, allow_unused=True),
        strict=True,
    ):
        assert (a is None and b is None) or torch.equal(a, b)


def test_free_bits_of_a_single_layer():
    m, x = model(0.4, 0.3), POINT.expand(7, 3)
    true = elbo_kl(m, x, ctx())
    assert torch.allclose(free_bits(elbo_kl, 50.0)(m, x, ctx()).value, true.parts["log_likelihood"] - 50)
    assert torch.allclose(free_bits(elbo_kl, 1e-3)(m, x, ctx()).value, true.value)  # the KL is the same for all x


def known(kls: dict[str, Tensor]) -> Bound:
    """A bound whose KLs per layer and example are these, and whose log-likelihood is -10."""
    kl = torch.stack(list(kls.values())).sum(0)
    log_likelihood = torch.full_like(kl, -10)
    each = {f"kl_{name}": value for name, value in kls.items()} if len(kls) > 1 else {}
    parts = {"elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl, **each}

    def bound(model: LatentVariable, x: Tensor, ctx: Context) -> Terms:
        return Terms(parts["elbo"], parts)

    return bound


def value_of(utility: Bound, m: LinearGaussian, x: Tensor) -> Terms:
    return utility(m, x, ctx())


def test_free_bits_are_free_in_the_mean_over_the_batch_not_for_each_example():
    kl = torch.tensor([0.0, 0.5, 1.0, 6.5], dtype=torch.float64, requires_grad=True)  # of mean 2
    m, x = model(), POINT.expand(4, 3)
    for nats, charged in ((0.0, 2.0), (1.0, 2.0), (1.99, 2.0), (2.5, 2.5), (7.0, 7.0)):
        terms = value_of(free_bits(known({"z": kl}), nats), m, x)
        assert terms.parts["penalty"].tolist() == [charged] * 4, nats
        assert terms.value.tolist() == [-10 - charged] * 4, nats
        assert torch.equal(terms.parts["elbo"], -10 - kl) and torch.equal(terms.parts["kl"], kl)
        # All examples' KLs are held down, or none, whatever the KL of each.
        (slope,) = torch.autograd.grad(terms.value.mean(), kl)
        assert slope.tolist() == [-0.25 if nats < 2 else 0.0] * 4, nats


def test_free_bits_are_free_for_each_layer_not_for_their_sum():
    low = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)  # of mean 1
    high = torch.tensor([1.0, 9.0], dtype=torch.float64, requires_grad=True)  # of mean 5
    terms = value_of(free_bits(known({"top": low, "bottom": high}), 3.0), model(), POINT.expand(2, 3))
    assert terms.parts["penalty"].tolist() == [8.0, 8.0]
    slopes = torch.autograd.grad(terms.value.mean(), (low, high))
    assert [slope.tolist() for slope in slopes] == [[0.0, 0.0], [-0.5, -0.5]]
    weighed = value_of(beta(free_bits(known({"top": low, "bottom": high}), 3.0), 0.5), model(), POINT.expand(2, 3))
    assert weighed.value.tolist() == [-14.0, -14.0]


def test_free_bits_of_a_model_whose_kl_differs_between_examples():
    """KL(N(m(x), s^2) || N(0, 1)) by torch's own formula: three of the nine examples lie above the mean."""
    m = model(0.4, 0.3)
    x = POINT * torch.linspace(0, 1, 9, dtype=torch.float64)[:, None] ** 4 * 3
    exact = m.exact_posterior(x)
    q = torch.distributions.Normal(exact.mean + m.shift, (exact.log_scale + m.widen).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros(2).double(), 1.0)).sum(-1)
    mean = kl.mean().item()
    assert kl.amin() < 0.8 * mean and kl.amax() > 1.5 * mean
    for nats in (0.9 * mean, 1.1 * mean):
        terms = value_of(free_bits(elbo_kl, nats), m, x)
        assert torch.allclose(terms.parts["kl"], kl, atol=1e-12)
        assert torch.allclose(terms.parts["penalty"], torch.full((9,), max(mean, nats)).double(), atol=1e-12)
        assert torch.allclose(terms.value, terms.parts["log_likelihood"] - max(mean, nats), atol=1e-12)


def test_what_is_done_to_the_kl_composes():
    m, x = model(0.4, 0.3), POINT.expand(7, 3)
    utility = warm_up(beta(free_bits(elbo_kl, 5.0), 3.0), 4)
    here = ctx(state=State(utility.initial_state(m, x)))
    terms = utility(m, x, here)
    true = elbo_kl(m, x, ctx())
    assert torch.allclose(terms.value, true.parts["log_likelihood"] - 0.25 * 3 * 5)
    assert torch.equal(terms.parts["elbo"], true.value)
    assert here.state["updates"] == 1


def test_what_has_no_kl_to_weigh_is_refused():
    m, x = model(), POINT.expand(7, 3)
    for utility in (beta(iwae(3), 2.0), free_bits(iwae(3), 2.0)):
        with pytest.raises(SeedbedError, match="weigh the KL of elbo or elbo_kl; this bound has iw3, elbo"):
            utility(m, x, ctx())
    for utility in (free_bits(beta(elbo_kl, 4.0), 1.0), free_bits(free_bits(elbo_kl, 1.0), 1.0)):
        with pytest.raises(SeedbedError, match="free bits take the KL itself"):
            utility(m, x, ctx())
    with pytest.raises(SeedbedError, match="warm_up goes outermost"):
        warm_up(warm_up(elbo_kl, 4), 4)
    with pytest.raises(SeedbedError, match="warm_up goes outermost"):
        beta(warm_up(elbo, 3), 2.0)
    with pytest.raises(SeedbedError, match="warm_up goes outermost"):
        free_bits(warm_up(elbo, 3), 2.0)
