"""Annealed importance sampling against closed forms and quadrature."""

import math

import pytest
import torch
from torch import nn

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.core.stack import Stack
from seedbed.distributions.likelihood import BERNOULLI
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
            noise = Noise([stream], "noise", step, dtype=torch.float64)
            optimizer.zero_grad()
            (-elbo_kl(modules[-1], x, noise, {}).value.mean()).backward()
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
        exact = torch.stack([m.joint(x, {"z": z}).logsumexp(0) for m in modules]) + 2 * (axis[1] - axis[0]).log()
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


def test_it_does_not_need_the_encoder(decoders):
    stack, x, exact = decoders
    with torch.no_grad():  # a posterior that is far off and narrow: importance sampling sees nothing
        for name in stack.params:
            if name.startswith("encoder.layers.1.bias"):
                stack.params[name].copy_(torch.tensor([4.0, 4.0, -3.0, -3.0]))
    found = second_opinion(stack, x, "test", Annealing(chains=8, temperatures=60, leapfrogs=4), 200)
    ais, error = (found[name][0] for name in ("nll_ais_nats", "ais_error_nats"))
    assert ((ais + exact).mean(1, keepdim=True) - 0.5 * len(x) * error.square()).abs().le(Z * error).all()
    difference, both = (found[name][0] for name in ("ais_minus_is_nats", "ais_minus_is_error_nats"))
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
            _, likelihood = many.model(row).generate(100_000, many.noise("eval", "prior").at(None))
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
