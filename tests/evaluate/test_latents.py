"""Rate, distortion and active units where they are known."""

from collections.abc import Generator

import pytest
import torch
from torch import nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.distributions.normal import HALF_LOG_2PI, DiagonalNormal, StandardNormal
from seedbed.evaluate.estimate import per_example
from seedbed.evaluate.latents import latent_use
from seedbed.objectives.bounds import elbo_kl

Z = 4.0


class TwoLayers(nn.Module, LatentVariable):
    """q(z2 | x) = N(x * a, s^2), q(z1 | z2, x) = N(b * z2 + x * c, 1) against N(0, 1) and N(b * z2, 1); x given nothing."""

    a, c, b, log_s = (0.3, 0.0, 0.05), (0.0, 0.5, 0.0), 0.4, -1.2

    def __init__(self, mean=True) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.has_mean = mean

    @property
    def domain(self):
        return REAL

    def layers(self, x, ctx) -> Generator:
        a, c = (torch.tensor(v, dtype=torch.float64) for v in (self.a, self.c))
        q2 = DiagonalNormal(x * a, torch.full_like(x, self.log_s))
        z2 = yield Layer("z2", StandardNormal(3), q2 if self.has_mean else Opaque(q2))
        zero = torch.zeros_like(z2)
        q1 = DiagonalNormal(self.b * z2 + x * c, zero)
        z1 = yield Layer("z1", DiagonalNormal(self.b * z2, zero), q1 if self.has_mean else Opaque(q1))
        return DiagonalNormal(0 * z1 + self.anchor, zero)


class Opaque:
    """A distribution that draws and scores, and has nothing in closed form."""

    rank, reparameterised = 1, True

    def __init__(self, inner) -> None:
        self.inner = inner

    def log_prob(self, value):
        return self.inner.log_prob(value)

    def draw(self, noise, samples=None, batch=None):
        return self.inner.draw(noise, samples, batch)


def use(mean=True, n=4000, samples=20):
    stack = Stack.of([TwoLayers(mean)], [Streams(0)], "fp64")
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = latent_use(stack, x, "test", samples)
    return x, {k: v[0] for k, (v, _) in found.totals.items()}, {k: v[0] for k, (v, _) in found.units.items()}


@pytest.mark.parametrize("mean", [True, False])
def test_every_number_of_two_layers(mean):
    x, totals, units = use(mean)
    a, c = torch.tensor(TwoLayers.a), torch.tensor(TwoLayers.c)
    log_s = TwoLayers.log_s
    per_unit = {"z2": 0.5 * ((x * a) ** 2 + torch.tensor(2 * log_s).exp() - 1) - log_s, "z1": 0.5 * (x * c) ** 2}
    near = {"atol": 1e-9} if mean else {"atol": 0.02}  # 80,000 draws of something with a spread of about 1.5
    for layer, kl in per_unit.items():
        assert torch.allclose(totals[f"kl_{layer}_nats"].mean(), kl.sum(-1).mean(), **near)
        names = [f"kl_{layer}_{i}_nats" for i in range(3)]
        assert [name in units for name in names] == [mean] * 3
        assert all(torch.allclose(units[name], kl[:, i], atol=1e-6) for i, name in enumerate(names) if mean)
    assert torch.allclose(totals["rate_nats"], totals["kl_z2_nats"] + totals["kl_z1_nats"])
    assert torch.allclose(totals["distortion_nats"], 0.5 * x.square().sum(-1) + 3 * HALF_LOG_2PI)
    # Means given x: a x above, (b a + c) x below, and x has variance 1. Only two units of each layer vary enough.
    for layer, slope in (("z2", a), ("z1", TwoLayers.b * a + c)):
        for i in range(3):
            truth = slope[i].item() ** 2
            found = units[f"mean_variance_{layer}_{i}"].item()
            assert abs(found - truth) < Z * (2 * truth + 0.2) / 4000**0.5, (layer, i)
    assert (totals["active_units_z2"].item(), totals["active_units_z1"].item(), totals["active_units"].item()) == (1, 2, 3)


def test_the_variance_of_a_mean_that_is_known_is_the_sample_s():
    x, _, units = use(n=6)
    for i, slope in enumerate(TwoLayers.a):
        assert units[f"mean_variance_z2_{i}"].item() == pytest.approx((slope * x[:, i]).var().item(), abs=1e-12)


def test_noise_is_not_activity():
    # Two samples of an inactive unit with spread 1: a plain variance of their mean would be 0.5.
    _, totals, units = use(mean=False, samples=2)
    assert abs(units["mean_variance_z1_2"].item()) < 0.06 and totals["active_units_z2"].item() >= 1
    noisy = units["mean_variance_z2_1"].item()
    assert abs(noisy) < Z * 0.1 / 4000**0.5


@pytest.mark.parametrize("kind", ["vae", "lvae"])
def test_rate_and_distortion_add_up_to_the_bound(kind, stack, binary):
    many = stack(kind, 2)
    found = latent_use(many, binary, "test", 200)
    total = (found.totals["rate_nats"][0] + found.totals["distortion_nats"][0]).double()
    bound = lambda model, x, ctx: {"value": elbo_kl(model, x, ctx).value}
    one = -per_example(many, bound, binary, "test")["value"].double()
    assert ((total - one).mean(1).abs() < Z * (total - one).std(1) / 150**0.5).all()
    assert ("kl_z2_nats" in found.totals) == (kind == "lvae")
    assert len(found.units) == 2 * (3 if kind == "vae" else 6)


def test_bad_input_is_one_line(stack, binary):
    many = stack("vae", 1)
    for x, samples, says in (
        (binary, 1, "at least 2 samples"),
        (binary[:1], 5, "2 examples, got 5 and 1"),
        (binary, 0, "got 0"),
    ):
        with pytest.raises(SeedbedError, match=says):
            latent_use(many, x, "test", samples)
    with pytest.raises(SeedbedError, match="which has no latents, has no estimator 'latents'"):
        latent_use(Stack.of([nn.Linear(2, 2)], [Streams(0)]), torch.zeros(2, 2), "test")
    with pytest.raises(SeedbedError, match="binarise"):
        latent_use(many, binary * 16, "test")
