"""Learnt priors against torch's own mixtures, and a VAE whose bound is known with each of them."""

import math

import pytest
import torch
from passes import at
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from seedbed.core.law import kl
from seedbed.core.noise import EvalNoise, Streams
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.distributions.mixture import NormalMixture
from seedbed.distributions.normal import DiagonalNormal
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import elbo, elbo_kl

Z = 4.5


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def theirs(components: DiagonalNormal) -> MixtureSameFamily:
    even = Categorical(torch.ones(len(components.mean)).double())
    return MixtureSameFamily(even, Independent(Normal(components.mean, components.scale), 1))


def test_a_mixture_is_torch_s():
    components = DiagonalNormal(3 * draw(5, 2), 0.5 * draw(5, 2, seed=1))
    ours, value = NormalMixture(components), 4 * draw(3, 7, 2, seed=2)
    assert torch.allclose(ours.log_prob(value), theirs(components).log_prob(value), atol=1e-12)
    assert kl(ours, components) is None
    # Far from every component, too.
    assert torch.isfinite(ours.log_prob(1e4 * torch.ones(2).double()))


def test_draws_of_a_mixture():
    components = DiagonalNormal(torch.tensor([[-4.0, 0.0], [0.0, 3.0], [4.0, -1.0]]).double(), 0.1 * draw(3, 2) - 1)
    z = NormalMixture(components).draw(at().noise, batch=30_000).value
    p = theirs(components)
    assert bool(((z.mean(0) - p.mean).abs() < Z * (p.variance / 30_000).sqrt()).all())
    share = (z[:, 0] < -2).double().mean()
    assert abs(share - 1 / 3) < Z * (2 / 9 / 30_000) ** 0.5 + 1e-3
    nearest = torch.cdist(z, components.mean).argmin(1)  # they are far apart
    for k, scale in enumerate(components.scale):
        spread, count = z[nearest == k].std(0), int((nearest == k).sum())
        assert bool(((spread / scale - 1).abs() < Z / (2 * count) ** 0.5).all())
    keyed = NormalMixture(components)
    whole = keyed.draw(EvalNoise([Streams(1)], "draws", dtype=torch.float64), batch=100).value
    part = keyed.draw(EvalNoise([Streams(1)], "draws", first=70, dtype=torch.float64), batch=20).value
    assert torch.equal(whole[70:90], part)


def built(prior: str) -> VAE:
    with Streams(4).scoped("init"):
        model = VAE(6, 2, (5,), BERNOULLI, "tanh", prior=prior, pseudo_inputs=3).double()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.3 * torch.randn_like(p))
    return model


@pytest.mark.parametrize("prior", ["standard", "normal", "vamp"])
def test_the_bound_spelled_out(prior):
    model, x = built(prior), (draw(7, 6) > 0).double()
    proposal = model.proposal(x, at())
    z = proposal.z
    mean, log_scale = model.encoder(x).chunk(2, 1)
    q = Independent(Normal(mean, (7 * torch.tanh(log_scale / 7)).exp()), 1)
    if prior == "vamp":
        inputs = torch.sigmoid(model.prior.logits)
        mean, log_scale = model.encoder(inputs).chunk(2, 1)
        p = theirs(DiagonalNormal(mean, 7 * torch.tanh(log_scale / 7)))
    else:
        mean, log_scale = model.prior.raw.chunk(2) if prior == "normal" else (torch.zeros(2), torch.zeros(2))
        p = Independent(Normal(mean, (7 * torch.tanh(log_scale / 7)).exp()), 1)
    expected = proposal.log_likelihood + p.log_prob(z["z"]) - q.log_prob(z["z"])
    assert torch.allclose(elbo(model, x, at()).value, expected, atol=1e-10)
    # The KL in closed form where there is one; where not, elbo_kl is elbo.
    value = elbo_kl(model, x, at()).value
    if prior == "vamp":
        assert torch.allclose(value, expected, atol=1e-10)
    else:
        exact = proposal.log_likelihood - torch.distributions.kl_divergence(q, p)
        assert torch.allclose(value, exact, atol=1e-10)


def test_a_prior_does_not_change_how_the_networks_start():
    models = []
    for prior in ("standard", "normal", "vamp"):
        with Streams(4).scoped("init"):
            models.append(dict(VAE(6, 2, (5,), BERNOULLI, prior=prior).named_parameters()))
    for other in models[1:]:
        assert all(torch.equal(value, other[name]) for name, value in models[0].items())


def test_where_learnt_priors_start():
    logits = torch.linspace(-2, 2, 6)
    model = VAE(6, 2, (5,), BERNOULLI, output_bias=logits, prior="vamp", pseudo_inputs=4000)
    assert bool(((model.prior.logits.mean(0) - logits).abs() < Z / 4000**0.5).all())
    assert abs(VAE(6, likelihood=BERNOULLI, prior="vamp").prior.logits.sigmoid().median() - 0.05) < 0.01
    assert torch.equal(VAE(6, prior="normal").prior.raw, torch.zeros(4))
    # Of real numbers the inputs are such themselves, drawn around the data's moments.
    start = torch.cat([torch.linspace(-2, 2, 6), torch.full((6,), -1.0)])
    inputs = VAE(6, 2, (5,), output_bias=start, prior="vamp", pseudo_inputs=4000).prior.inputs
    spread = math.exp(-1)
    assert bool(((inputs.mean(0) - start[:6]).abs() < Z * spread / 4000**0.5).all())
    assert bool(((inputs.std(0) / spread - 1).abs() < Z / (2 * 4000) ** 0.5).all())
