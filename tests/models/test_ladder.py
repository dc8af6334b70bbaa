"""The ladder VAE does what the paper says; the compat one does what the source did."""

import pytest
import torch
from torch import nn

from seedbed.core.noise import Noise, Streams
from seedbed.distributions.normal import DiagonalNormal
from seedbed.models import compat
from seedbed.models.lvae import LadderVAE

SEED = [Streams(0)]


def noise() -> Noise:
    return Noise(SEED, "noise")


def points() -> torch.Tensor:
    return torch.randn(16, 2, generator=torch.Generator().manual_seed(0))


def likelihood_gradient(model: nn.Module, parameters: nn.Module) -> float:
    """How far the likelihood feels the given parameters."""
    _, _, likelihood = model.posterior(points(), noise())
    value = likelihood.log_prob(points()).sum()
    grads = torch.autograd.grad(value, list(parameters.parameters()), allow_unused=True)
    return sum(g.abs().sum().item() for g in grads if g is not None)


def test_posterior_samples_reach_the_data():
    with SEED[0].scoped("init"):
        model = LadderVAE(2, (2, 2, 2), (8, 8, 8))
    assert all(likelihood_gradient(model, head) > 0 for head in model.evidence)


def test_compat_posterior_samples_do_not():
    with SEED[0].scoped("init"):
        model = compat.ToyLVAE()
    top = [likelihood_gradient(model, rung.head) for rung in model.upward]
    assert top[2] > 0
    assert top[0] == top[1] == 0
    assert all(likelihood_gradient(model, rung) == 0 for rung in model.merge)


def test_compat_sends_the_prior_sample_down():
    """``down_i`` has no KL: its posterior is its prior."""
    with SEED[0].scoped("init"):
        model = compat.ToyLVAE()
    _, layers, _ = model.posterior(points(), noise())
    assert [layer.name for layer in layers] == ["z3", "z2", "down2", "z1", "down1"]
    assert all((layer.posterior is layer.prior) == layer.name.startswith("down") for layer in layers)


def test_one_branch_gives_prior_and_merge():
    """q(z1 | z2, x) is the normalised product of the evidence and p(z1 | z2): Bayes' rule for Gaussians."""
    with SEED[0].scoped("init"):
        model = LadderVAE(2, (2, 3), (8, 8)).double()
    x = points().double()
    _, (_, below), _ = model.posterior(x, Noise(SEED, "noise", dtype=torch.float64))
    assert isinstance(below.posterior, DiagonalNormal) and isinstance(below.prior, DiagonalNormal)
    evidence = model.bottom_up(x)[0]
    precision = evidence.scale**-2 + below.prior.scale**-2
    mean = (evidence.mean * evidence.scale**-2 + below.prior.mean * below.prior.scale**-2) / precision
    assert torch.allclose(below.posterior.mean, mean)
    assert torch.allclose(below.posterior.scale, precision**-0.5)


@pytest.mark.parametrize(("build", "count"), [(compat.ToyVAE, 68_620), (compat.ToyLVAE, 79_164), (compat.ToyFlow, 82_824)])
def test_compat_parameter_counts(build, count):
    assert sum(p.numel() for p in build().parameters()) == count


def test_compat_defects_are_there():
    raw = 20 * torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    assert (compat.softplus_variance(raw).scale >= 1).all()
    squashed = compat.squashed(raw)
    assert (squashed.mean >= 0).all() and (squashed.mean <= 1).all() and (squashed.scale <= 1).all()


def test_compat_initialisation():
    with SEED[0].scoped("init"):
        model = compat.ToyVAE()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert all((layer.bias == 0).all() for layer in layers)
    wide = max(layers, key=lambda layer: layer.weight.numel())
    assert abs(wide.weight.std().item() / (2 / sum(wide.weight.shape)) ** 0.5 - 1) < 0.05
