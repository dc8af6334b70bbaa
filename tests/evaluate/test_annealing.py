"""Annealed importance sampling against closed forms and quadrature."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from passes import at
from scipy import special, stats
from torch import nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.evaluate import annealing
from seedbed.evaluate.annealing import Annealing, annealed_importance_sampling, second_opinion
from seedbed.evaluate.latents import latent_use
from seedbed.evaluate.likelihood import importance_sampling, monte_carlo_error
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import elbo_kl

Z = 4.0
POINT = torch.tensor([0.9, -1.1, 0.4], dtype=torch.float64)


def annealed(stack, x, address="test", **how):
    found = annealed_importance_sampling(stack, x, address, Annealing(**how))
    return {name: value for name, (value, _) in found.items()}


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_weights_are_unbiased_even_along_a_short_path(start, linear_gaussian):
    # E[w] = p(x) holds only if every transition leaves its own temperature's distribution as it is.
    model, stack = linear_gaussian(0.5, 0.4)
    log_p = model.log_marginal(POINT)
    found = annealed(stack, POINT.expand(40, 3), chains=60, temperatures=4, leapfrogs=3, start=start)
    weight = (-found["nll_ais_nats"][0] - log_p).exp()  # a mean over 60 chains each
    se = weight.std() / 40**0.5
    assert abs(weight.mean() - 1) < Z * se and se < 0.05
    assert 0.4 < found["ais_accepted_share"].mean() < 0.95


def test_a_longer_path_is_tighter_and_its_error_is_its_spread(linear_gaussian):
    model, stack = linear_gaussian()
    truth = -model.log_marginal(POINT).item()
    short, long = (annealed(stack, POINT.expand(64, 3), chains=6, temperatures=t, leapfrogs=4) for t in (3, 60))
    spread = long["nll_ais_nats"].std().item()
    assert spread < 0.5 * short["nll_ais_nats"].std().item()
    # 64 repetitions of one estimate: the error that each declares of itself is that of their mean.
    assert long["ais_error_nats"].item() == pytest.approx(spread / 8, rel=0.4)
    bias = 0.5 * spread**2
    assert abs(long["nll_ais_nats"].mean().item() - truth - bias) < Z * spread / 8


@pytest.mark.parametrize("temperatures", [1, 2, 7, 40])
def test_temperatures_go_from_0_to_1(temperatures, linear_gaussian):
    b = [annealing._temperature(t, temperatures) for t in range(temperatures + 1)]
    assert b[0] == 0 and b[-1] == pytest.approx(1, abs=1e-15)
    assert all(low < high for low, high in pairwise(b))
    assert [low + high for low, high in zip(b, reversed(b), strict=True)] == pytest.approx([1.0] * len(b))
    # Sigmoid of 4 (2 t / T - 1), moved and stretched onto [0, 1] (Wu et al. 2017).
    s = special.expit(4 * np.linspace(-1, 1, temperatures + 1))
    assert b == pytest.approx(((s - s[0]) / (s[-1] - s[0])).tolist(), abs=1e-14)
    # From the exact posterior every weight is p(x), if the steps add up to 1: wherever the chains go.
    model, stack = linear_gaussian()
    x = POINT * torch.linspace(-1, 2, 5, dtype=torch.float64)[:, None]
    found = annealed(stack, x, chains=3, temperatures=temperatures, leapfrogs=2, start="posterior")
    assert torch.allclose(found["nll_ais_nats"][0], -model.log_marginal(x), atol=1e-9)
    assert found["ais_error_nats"].item() < 1e-9


def test_one_temperature_is_importance_sampling_from_the_start(linear_gaussian):
    """Nothing moves: w = p(x | z) at z ~ p(z), whose mean square is a Gaussian integral, as p(x) is."""
    model, stack = linear_gaussian()
    found = annealed(stack, POINT.expand(64, 3), chains=50, temperatures=1, leapfrogs=3)
    weight = (-found["nll_ais_nats"][0]).exp()  # a mean over 50 draws each
    truth, s2 = model.log_marginal(POINT).exp(), (2 * model.log_s).exp().detach()
    # p(x | z)^2 = (4 pi s^2)^(-3/2) N(x; W z, s^2 / 2).
    covariance = model.weight @ model.weight.mT + s2 / 2 * torch.eye(3).double()
    half = torch.distributions.MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(POINT).exp()
    std = ((half * (4 * math.pi * s2) ** -1.5 - truth**2).sqrt() / 50**0.5).item()
    assert abs(weight.mean() - truth).item() < Z * std / 8
    assert weight.std().item() == pytest.approx(std, rel=0.35)
    assert found["ais_accepted_share"].eq(0).all()


def test_no_draw_is_used_twice_not_by_the_pilot_either(stack, binary, monkeypatch):
    one, used, key = stack("vae", 1, "fp64"), [], Streams.key
    monkeypatch.setattr(Streams, "key", lambda self, *at: (used.append(at) if "ais" in at else None) or key(self, *at))
    monkeypatch.setattr(annealing, "_examples_at_once", lambda *a: 8)  # measured with draws of no consequence
    annealed(one, binary[:8].double(), chains=6, temperatures=50, leapfrogs=1)
    # z_0 of every chain, then momenta, jitter and uniforms of 4 chains at 39 temperatures and of 6 at 49.
    assert len(used) == 4 + 4 * 3 * 39 + 6 + 6 * 3 * 49
    assert len(set(used)) == len(used)


def weights_of(stack, x, **how):
    log_w, _ = annealing._Path(stack, x, "test", 0, Annealing(**how)).weights(lambda share: None)
    return log_w


def test_chains_are_steered_by_the_pilot_alone(stack, binary):
    """Beyond the pilot's four, more chains change nothing for those that are there: no step size looks at them."""
    many, how = stack("vae", 2, "fp64"), {"temperatures": 12, "leapfrogs": 2}
    x = binary[:5].double()
    few, more = (weights_of(many, x, chains=chains, **how) for chains in (5, 9))
    assert few.shape == (2, 5, 5) and more.shape == (2, 9, 5)
    assert torch.allclose(few, more[:, :5], rtol=0, atol=1e-10)
    assert more.std(1).min() > 1e-4


def transition(path, z, b, log_step, momentum, jitter, uniform):
    """One transition of an annealing's path at temperature b: where the chains are then, and the probability."""
    return path._transition(z, b, path.densities(z, b), log_step, (momentum, jitter, uniform))


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_a_trajectory_is_the_leapfrogs_in_closed_form(start, b, linear_gaussian):
    """At every temperature each axis is a spring: a leapfrog is a matrix, and its energy a square."""
    model, stack = linear_gaussian(0.5, 0.4)
    x, leapfrogs = POINT * torch.tensor([[1.0], [-2.0]], dtype=torch.float64), 3
    path = annealing._Path(stack, x, "test", 0, Annealing(chains=4, leapfrogs=leapfrogs, start=start))
    z = path.begin(4, "test")  # [seeds, chains, examples, axes]
    generator = torch.Generator().manual_seed(0)
    momentum = torch.randn(z.shape, generator=generator, dtype=torch.float64)
    jitter, uniform = torch.rand(2, *z.shape[:-1], generator=generator, dtype=torch.float64)
    log_step = torch.tensor([[-0.5, -1.5]], dtype=torch.float64)  # [seeds, examples]

    weight, s2 = model.weight.detach(), (2 * model.log_s).exp().detach()
    stiff = 1 + weight.square().sum(0) / s2
    middle = x @ weight / s2 / stiff
    first, at = (torch.ones(2).double(), 0 * middle) if start == "prior" else (stiff * math.exp(-0.8), middle + 0.5)
    spring = (1 - b) * first + b * stiff
    centre = ((1 - b) * first * at + b * stiff * middle) / spring
    step = (log_step.exp()[:, None] * (0.8 + 0.4 * jitter))[..., None]
    k = spring.expand_as(z)
    cosine, below = 1 - step**2 * k / 2, -step * k * (1 - step**2 * k / 4)
    matrix = torch.stack((cosine, step.expand_as(z), below, cosine), -1).unflatten(-1, (2, 2))
    before = torch.stack((z - centre, momentum), -1)
    after = (torch.linalg.matrix_power(matrix, leapfrogs) @ before[..., None]).squeeze(-1)

    def energy(at):
        return (0.5 * k * at[..., 0].square() + 0.5 * at[..., 1].square()).sum(-1)

    expected = (energy(before) - energy(after)).clamp(max=0).exp()
    moved, probability = transition(path, z, b, log_step, momentum, jitter, torch.zeros_like(uniform))
    torch.testing.assert_close(probability, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(moved, after[..., 0] + centre, rtol=1e-9, atol=1e-9)
    held, _ = transition(path, z, b, log_step, momentum, jitter, uniform)
    torch.testing.assert_close(held, torch.where((uniform < expected)[..., None], moved, z), rtol=1e-9, atol=1e-9)
    assert expected.min() < 0.999


class Cliff(nn.Module, LatentVariable):
    """x | z ~ N(exp z^4, 1), z ~ N(0, 1): trajectories that pass 5 leave all numbers behind."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    @property
    def domain(self):
        return REAL

    def layers(self, x, ctx):
        q = None if x is None else DiagonalNormal(torch.zeros_like(x), self.scale.expand_as(x))
        z = yield Layer("z", StandardNormal(1), q)
        mean = z.square().square().exp()
        return DiagonalNormal(mean, self.scale.expand_as(mean))


def test_a_trajectory_that_overflows_is_rejected_and_spoils_nothing(monkeypatch):
    seen, densities = [], annealing._Path.densities

    def watched(path, z, b):
        found = densities(path, z, b)
        seen.append((bool(z.isfinite().all()), bool(found[1].isfinite().all()), bool(found[1].isnan().any())))
        return found

    monkeypatch.setattr(annealing._Path, "densities", watched)
    model, x = Cliff(), torch.tensor([[2.0]], dtype=torch.float64).expand(64, 1)
    found = annealed(Stack.of([model], [Streams(0)], "fp64"), x, chains=32, temperatures=20, leapfrogs=5)
    assert any(lost for *_, lost in seen) and not all(finite for finite, *_ in seen)  # it did happen
    z = np.linspace(-6, 6, 20_001)
    with np.errstate(over="ignore"):
        truth = np.trapezoid(stats.norm.pdf(z) * stats.norm.pdf(2.0, np.exp(z**4)), z)
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert found["ais_accepted_share"].min() > 0.05 and found["ais_accepted_share"].max() < 1
    relative = (-found["nll_ais_nats"][0]).exp() / truth
    se = relative.std() / 8
    assert abs(relative.mean() - 1) < Z * se < 0.2


def rings(count: int) -> torch.Tensor:
    """Twelve pixels around a circle, those on one side of it mostly on: two numbers say which side, and how clearly."""
    generator = torch.Generator().manual_seed(7)
    angle, contrast = torch.rand(2, count, 1, generator=generator, dtype=torch.float64)
    place = torch.arange(12, dtype=torch.float64) / 12
    p = torch.sigmoid(6 * contrast * torch.sin(2 * math.pi * (place - angle)))
    return (torch.rand(count, 12, generator=generator, dtype=torch.float64) < p).double()


@pytest.fixture(scope="module")
def trained():
    """Three seeds of a VAE with a 2-d latent after 250 updates on the rings."""
    streams, modules, x = [Streams(seed) for seed in range(3)], [], rings(256)
    for stream in streams:
        with stream.scoped("init"):
            modules.append(VAE(12, 2, (16,), BERNOULLI, "tanh").double())
        optimizer = torch.optim.Adam(modules[-1].parameters(), lr=3e-2)
        for step in range(250):
            optimizer.zero_grad()
            (-elbo_kl(modules[-1], x, at(step, seed=stream.seed)).value.mean()).backward()
            optimizer.step()
    trained = Stack.of(modules, streams, "fp64")
    use = latent_use(trained, x, "train")
    assert use.totals["active_units"][0].eq(2).all()  # both say something about x
    return trained


@pytest.fixture
def decoders(trained):
    """Those decoders, examples that they have not seen, and log p(x) by quadrature."""
    stack = trained.replace({name: value.clone() for name, value in trained.params.items()})
    x = rings(268)[-12:]
    axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis).unsqueeze(1)
    with torch.no_grad():
        modules = [stack.model(row) for row in range(3)]
        exact = torch.stack([m.joint(x, {"z": z}, at()).logsumexp(0) for m in modules]) + 2 * (axis[1] - axis[0]).log()
    return stack, x, exact


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_it_agrees_with_importance_sampling_and_quadrature_within_their_errors(start, decoders):
    stack, x, exact = decoders
    plain = {name: value for name, (value, _) in importance_sampling(stack, x, "test", 4000).items()}
    found = annealed(stack, x, chains=8, temperatures=60, leapfrogs=4, start=start)
    for value, error in (
        (plain["nll_nats"], monte_carlo_error(plain["ess"], 4000)),
        (found["nll_ais_nats"], found["ais_error_nats"]),
    ):
        assert error.max() < 0.1
        bias = 0.5 * len(x) * error.square()  # of a logarithm, see test_foreign
        assert ((value + exact).mean(1, keepdim=True) - bias).abs().le(Z * error).all()


def test_the_error_of_the_difference_is_that_of_both(decoders):
    stack, x, _ = decoders
    how = Annealing(chains=4, temperatures=20, leapfrogs=2)
    found = second_opinion(stack, x, "test", how, 50)
    plain = importance_sampling(stack, x, "test", 50)
    one, other = found["ais_error_nats"][0], monte_carlo_error(plain["ess"][0], 50)
    assert torch.allclose(found["ais_minus_is_error_nats"][0], (one.square() + other.square()).sqrt(), rtol=1e-9)
    assert (torch.minimum(one, other) > 0.1 * torch.maximum(one, other)).all()  # neither would be missed otherwise
    difference = found["nll_ais_nats"][0] - plain["nll_nats"][0]
    assert torch.allclose(found["ais_minus_is_nats"][0], difference, rtol=1e-9)


def test_it_does_not_need_the_encoder(decoders):
    stack, x, exact = decoders
    with torch.no_grad():  # a posterior that is far off and narrow: importance sampling sees nothing
        for name in stack.params:
            if name.startswith("encoder.layers.1.bias"):
                stack.params[name].copy_(torch.tensor([4.0, 4.0, -3.0, -3.0]))
    found = second_opinion(stack, x, "test", Annealing(chains=8, temperatures=60, leapfrogs=4), 200)
    ais, error = (found[name][0] for name in ("nll_ais_nats", "ais_error_nats"))
    assert ((ais + exact).mean(1, keepdim=True) - 0.5 * len(x) * error.square()).abs().le(Z * error).all()
    plain = {name: value for name, (value, _) in importance_sampling(stack, x, "test", 200).items()}
    difference, both = (found[name][0] for name in ("ais_minus_is_nats", "ais_minus_is_error_nats"))
    assert torch.allclose(difference, ais - plain["nll_nats"], atol=1e-10)
    assert torch.allclose(both, (error**2 + monte_carlo_error(plain["ess"], 200) ** 2).sqrt(), atol=1e-12)
    assert difference.shape == (3, 12) and both.shape == (3, 1) and (both >= error).all()
    assert (difference.mean(1) < -1).all()  # and the difference says so


def test_two_layers_and_each_seed_as_if_alone(stack, binary):
    many = stack("lvae", 2, "fp64")
    how = {"chains": 3, "temperatures": 12, "leapfrogs": 2}
    x = binary[:70].double()
    together = annealed(many, x, **how)
    for row in range(2):
        alone = annealed(Stack.of([many.model(row)], [many.streams[row]], "fp64"), x, **how)
        assert torch.allclose(alone["nll_ais_nats"][0], together["nll_ais_nats"][row], atol=1e-8)
    part = annealed(many, x[:66], **how)["nll_ais_nats"]
    assert torch.allclose(part, together["nll_ais_nats"][:, :66], atol=1e-8)
    # What the chains of two latents find, the mean of p(x | z) over many draws of the prior finds too: it is nearly flat.
    x = x[:8]
    found = annealed(many, x, chains=8, temperatures=40, leapfrogs=4)
    for row in range(2):
        with torch.no_grad():
            _, likelihood = many.model(row).generate(100_000, Context(many.noise("eval", "prior").at(None)))
            log_p = torch.stack([likelihood.log_prob(one) for one in x], 1)
        truth = math.log(len(log_p)) - log_p.logsumexp(0)
        relative = (log_p + truth).exp().var(0).sum().sqrt() / len(log_p) ** 0.5 / len(x)
        error = math.hypot(relative.item(), found["ais_error_nats"][row].item())
        assert abs((found["nll_ais_nats"][row] - truth).mean().item()) < Z * error < 0.2


def test_chunks_and_memory(stack, binary, monkeypatch):
    many, how = stack("vae", 2, "fp64"), Annealing(chains=4, temperatures=6, leapfrogs=2)
    x = binary.double()
    sizes = []
    monkeypatch.setattr("seedbed.evaluate.annealing._examples_at_once", lambda *a: 150)
    whole = annealed_importance_sampling(many, x, "test", how, progress=lambda done, all: sizes.append((done, all)))
    monkeypatch.setattr("seedbed.evaluate.annealing._examples_at_once", lambda *a: 50)
    parts = annealed_importance_sampling(many, x, "test", how)
    assert torch.allclose(whole["nll_ais_nats"][0], parts["nll_ais_nats"][0], atol=1e-8)
    assert sizes[-1] == (150, 150) and sizes == sorted(sizes)
    monkeypatch.undo()
    with pytest.raises(SeedbedError, match=r"4 chains of one example need .* ask for fewer chains"):
        annealed_importance_sampling(many, x, "test", how, memory_gib=1e-7)


def test_bad_input_is_one_line(stack, binary):
    for name, least in (("chains", 2), ("temperatures", 1), ("leapfrogs", 1)):
        with pytest.raises(SeedbedError, match=f"{name} must be at least {least}, got {least - 1}"):
            Annealing(**{name: least - 1})
    with pytest.raises(SeedbedError, match="which has no latents, has no estimator 'ais'"):
        annealed_importance_sampling(Stack.of([nn.Linear(2, 2)], [Streams(0)]), torch.zeros(2, 2), "test", Annealing())
    with pytest.raises(SeedbedError, match="no example"):
        annealed_importance_sampling(stack("vae", 1), binary[:0], "test", Annealing())
