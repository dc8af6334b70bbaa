"""The ladder VAE does what the paper says; the compat one does what the source did."""

import pytest
import torch
from passes import at, log_posterior, whole_pass
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.context import Context
from seedbed.core.noise import Noise, Streams
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.distributions.normal import DiagonalNormal
from seedbed.models import compat
from seedbed.models.lvae import LadderVAE
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import elbo_kl

SEED = [Streams(0)]


def ctx() -> Context:
    return Context(Noise(SEED, "noise"))


def points() -> torch.Tensor:
    return torch.randn(16, 2, generator=torch.Generator().manual_seed(0))


def likelihood_gradient(model: nn.Module, parameters: nn.Module) -> float:
    """How far the likelihood feels the given parameters."""
    value = model.proposal(points(), ctx()).log_likelihood.sum()
    grads = torch.autograd.grad(value, list(parameters.parameters()), allow_unused=True)
    return sum(g.abs().sum().item() for g in grads if g is not None)


def test_posterior_samples_reach_the_data():
    with SEED[0].scoped("init"):
        model = LadderVAE(2, (2, 2, 2), (8, 8, 8))
    assert all(likelihood_gradient(model, head) > 0 for head in model.evidence)


def test_compat_posterior_samples_do_not():
    with SEED[0].scoped("init"):
        model = compat.CompatLVAE()
    top = [likelihood_gradient(model, rung.head) for rung in model.upward]
    assert top[2] > 0
    assert top[0] == top[1] == 0
    assert all(likelihood_gradient(model, rung) == 0 for rung in model.merge)


def test_compat_sends_the_prior_sample_down():
    """``down_i`` has no KL: its posterior is its prior."""
    with SEED[0].scoped("init"):
        model = compat.CompatLVAE()
    _, layers, _ = whole_pass(model, points(), ctx())
    assert [layer.name for layer in layers] == ["z3", "z2", "down2", "z1", "down1"]
    assert all((layer.posterior is layer.prior) == layer.name.startswith("down") for layer in layers)


def test_one_branch_gives_prior_and_merge():
    """q(z1 | z2, x) is the normalised product of the evidence and p(z1 | z2): Bayes' rule for Gaussians."""
    with SEED[0].scoped("init"):
        model = LadderVAE(2, (2, 3), (8, 8)).double()
    x = points().double()
    _, (_, below), _ = whole_pass(model, x, at(seed=0))
    assert isinstance(below.posterior, DiagonalNormal) and isinstance(below.prior, DiagonalNormal)
    evidence = model.bottom_up(x)[0]
    precision = evidence.scale**-2 + below.prior.scale**-2
    mean = (evidence.mean * evidence.scale**-2 + below.prior.mean * below.prior.scale**-2) / precision
    assert torch.allclose(below.posterior.mean, mean)
    assert torch.allclose(below.posterior.scale, precision**-0.5)


def test_five_normalised_layers_spelled_out():
    """The bound of the paper's image model (its equations 3 to 12), smaller and with layer norm."""
    sizes, widths = (5, 4, 3, 2, 1), (9, 8, 7, 6, 5)
    with SEED[0].scoped("init"):
        model = LadderVAE(12, sizes, widths, BERNOULLI, "leaky_relu", norm=True).double()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.3 * torch.randn_like(p))
    own = dict(model.named_parameters())
    x = (torch.arange(7 * 12).view(7, 12) % 5 < 2).double()

    def affine(name: str, value: Tensor) -> Tensor:
        return value @ own[f"{name}.weight"].T + own[f"{name}.bias"]

    def unit(layer: str, norm: str, value: Tensor) -> Tensor:
        value = affine(layer, value)
        centred = value - value.mean(1, keepdim=True)
        value = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        value = value * own[f"{norm}.weight"] + own[f"{norm}.bias"]
        return torch.maximum(value, 0.1 * value)

    def gaussian(raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = raw.chunk(2, 1)
        return mean, (7 * torch.tanh(log_scale / 7)).exp() ** 2

    d, evidence = x, []
    for i in range(5):
        d = unit(f"upward.{i}.layers.1", f"norms.{i}", unit(f"upward.{i}.layers.0", f"upward.{i}.norms.0", d))
        evidence.append(gaussian(affine(f"evidence.{i}.layers.0", d)))
    drawn, kl, z = at(seed=0).noise, torch.zeros(7, dtype=torch.float64), x
    for i in reversed(range(5)):
        mean, variance = evidence[i]
        prior_mean, prior_variance = torch.zeros(()), torch.ones(())
        if i < 4:
            h = unit(f"downward.{i}.layers.0", f"downward.{i}.norms.0", z)
            h = unit(f"downward.{i}.layers.1", f"downward.{i}.norms.1", h)
            prior_mean, prior_variance = gaussian(affine(f"downward.{i}.layers.2", h))
            precision = 1 / variance + 1 / prior_variance
            mean, variance = (mean / variance + prior_mean / prior_variance) / precision, 1 / precision
        z = mean + variance.sqrt() * drawn.normal((sizes[i],), batch=7)
        ratio = variance / prior_variance
        kl = kl + 0.5 * ((mean - prior_mean) ** 2 / prior_variance + ratio - 1 - ratio.log()).sum(1)
    h = unit("decoder.layers.0", "decoder.norms.0", z)
    h = unit("decoder.layers.1", "decoder.norms.1", h)
    logits = affine("decoder.layers.2", h)
    likelihood = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    terms = elbo_kl(model, x, at(seed=0))
    assert torch.allclose(terms.value, likelihood - kl, atol=1e-10)
    assert [name for name in terms.parts if name.startswith("kl_")] == ["kl_z5", "kl_z4", "kl_z3", "kl_z2", "kl_z1"]


def test_normalised_examples_do_not_see_each_other():
    with SEED[0].scoped("init"):
        model = LadderVAE(2, (2, 2), (8, 8), norm=True).double()
    x = points().double()
    z = model.proposal(x, at(seed=0)).z
    whole, one = log_posterior(model, x, z, at()), {name: value[3:4] for name, value in z.items()}
    assert torch.allclose(log_posterior(model, x[3:4], one, at())[0], whole[3], atol=1e-12)


def test_the_decoder_starts_where_it_is_told():
    logits = torch.linspace(-3, 3, 12)
    model = LadderVAE(12, (2, 2), (8, 8), BERNOULLI, norm=True, output_bias=logits)
    assert torch.equal(model.decoder.layers[-1].bias, logits)


@pytest.mark.parametrize(
    ("build", "count"), [(compat.CompatVAE, 68_620), (compat.CompatLVAE, 79_164), (compat.CompatFlow, 82_824)]
)
def test_compat_parameter_counts(build, count):
    assert sum(p.numel() for p in build().parameters()) == count


def test_compat_defects_are_there():
    raw = 20 * torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    assert (compat.softplus_variance(raw).scale >= 1).all()
    squashed = compat.squashed(raw)
    assert (squashed.mean >= 0).all() and (squashed.mean <= 1).all() and (squashed.scale <= 1).all()


def test_compat_initialisation():
    with SEED[0].scoped("init"):
        model = compat.CompatVAE()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert all((layer.bias == 0).all() for layer in layers)
    wide = max(layers, key=lambda layer: layer.weight.numel())
    assert abs(wide.weight.std().item() / (2 / sum(wide.weight.shape)) ** 0.5 - 1) < 0.05


def test_a_ladder_of_one_rung_is_a_normalised_vae():
    with SEED[0].scoped("init"):
        vae = VAE(6, 3, (5, 5), BERNOULLI, "leaky_relu", norm=True).double()
        ladder = LadderVAE(6, (3,), (5,), BERNOULLI, "leaky_relu", norm=True).double()
        for parameter in vae.parameters():  # norms do not start as if they were none
            nn.init.normal_(parameter, std=0.5)
    rung, head = ladder.upward[0], ladder.evidence[0]
    pairs = [
        *zip(vae.encoder.layers, [*rung.layers, *head.layers], strict=True),
        *zip(vae.encoder.norms, [*rung.norms, *ladder.norms], strict=True),
        (vae.decoder, ladder.decoder),
    ]
    for ours, theirs in pairs:
        theirs.load_state_dict(ours.state_dict())
    x = (points().double().repeat(1, 3) > 0).double()
    values = [elbo_kl(model, x, at(seed=0)).value for model in (vae, ladder)]
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    for norm in vae.encoder.norms:
        nn.init.constant_(norm.weight, 2.0)
    assert not torch.allclose(elbo_kl(vae, x, at(seed=0)).value, values[0], atol=1e-3)
