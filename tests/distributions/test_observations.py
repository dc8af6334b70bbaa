"""Observation models: masses sum to 1, agree with the papers' formulas, draws are theirs at any temperature."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Noise, Streams
from seedbed.distributions.categorical import Categorical
from seedbed.distributions.dequantised import DequantisedNormal
from seedbed.distributions.grey import GreyBernoulli
from seedbed.distributions.likelihood import (
    BERNOULLI,
    GAUSSIAN,
    ObservationModel,
    bits_of,
    bits_per_dim,
    check_levels,
    likelihood_of,
)
from seedbed.distributions.logistic import DiscretisedLogistic, centred
from seedbed.distributions.logistic_mixture import LogisticMixture
from seedbed.distributions.normal import DiagonalNormal
from seedbed.distributions.scale import Scale

SCALES = [10.0**k for k in range(-7, 4)]
Z = 4.5
LEVELS = Domain("levels", 8)
FIXED, SHARED, BOUNDED = Scale("fixed", start=0.3), Scale("shared", start=0.3), Scale(least=0.2)
FAMILIES = {
    "bernoulli": BERNOULLI,
    "gaussian": GAUSSIAN,
    "fixed gaussian": likelihood_of(REAL, "gaussian", scale=FIXED),
    "bounded gaussian": likelihood_of(REAL, "gaussian", scale=BOUNDED),
    "dequantised": likelihood_of(LEVELS, "gaussian"),
    "fixed dequantised": likelihood_of(LEVELS, "gaussian", scale=FIXED),
    "logistic": likelihood_of(LEVELS),
    "fixed logistic": likelihood_of(LEVELS, "logistic", scale=FIXED),
    "bounded logistic": likelihood_of(LEVELS, "logistic", scale=BOUNDED),
    "mixture": likelihood_of(LEVELS, "logistic-mixture", mixtures=3),
    "bounded mixture": likelihood_of(LEVELS, "logistic-mixture", mixtures=2, scale=BOUNDED),
    "categorical": likelihood_of(LEVELS, "categorical"),
    "grey bernoulli": likelihood_of(LEVELS, "grey-bernoulli"),
}
MASSES = [name for name in FAMILIES if not {"gaussian", "dequantised", "grey"} & {*name.split()}]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(*address: int | str) -> Noise:
    return Noise([Streams(3)], "noise", *address, dtype=torch.float64)


def built(name: str, *lead: int, shape=(3, 2, 2), seed: int = 0, dtype=torch.float64):
    likelihood = FAMILIES[name]
    law = likelihood.build(normal(*lead, *likelihood.outputs(shape), seed=seed).to(dtype), len(shape))
    return law.within(noise("u")) if isinstance(law, DequantisedNormal) else law


def every(levels: int, channels: int) -> Tensor:
    """All values of one pixel, ``[levels ** channels, channels]``."""
    return torch.cartesian_prod(*[torch.arange(float(levels))] * channels).reshape(-1, channels).double()


# --- one interface ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (1, 2, 3), (3, 2, 3)])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_every_one_offers(name, shape):
    law, domain = built(name, 4, 6, shape=shape), FAMILIES[name].domain
    assert isinstance(law, ObservationModel) and law.domain == domain and law.rank == len(shape)
    drawn = law.draw(noise("x"))
    assert drawn.value.shape == law.mean.shape == law.mode.shape == (4, 6, *shape)
    assert drawn.log_prob().shape == (4, 6) and torch.equal(drawn.log_prob(), law.log_prob(drawn.value))
    for value in (drawn.value, law.mode):
        if domain != REAL:
            check_levels(value, domain.size or 2, name)
    # Samples of parameters score one batch of examples as each of them does.
    x = drawn.value[0]
    each = [built(name, 4, 6, shape=shape)] * 4
    raw = normal(4, 6, *FAMILIES[name].outputs(shape))
    assert law.log_prob(x).shape == (4, 6)
    for s, whole in enumerate(each):
        one = FAMILIES[name].build(raw[s], len(shape))
        one = one.within(noise("u")) if isinstance(one, DequantisedNormal) else one
        assert torch.allclose(one.log_prob(x), whole.log_prob(x)[s], rtol=1e-12)
        assert torch.allclose(one.mean, whole.mean[s]) and torch.equal(one.mode, whole.mode[s])
    # Samples that are asked for.
    one = built(name, 6, shape=shape)
    value, log_prob = one.draw(noise("x"), 4)
    assert value.shape == (4, 6, *shape) and torch.equal(log_prob(), one.log_prob(value))
    assert torch.allclose(one.tempered(1.0).log_prob(x), one.log_prob(x), rtol=1e-12)
    assert torch.equal(
        one.tempered(1e-9).draw(noise("x")).value.round(decimals=6), one.tempered(1e-9).mode.round(decimals=6)
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_stack_of_seeds_is_each_of_them(name):
    """Under ``vmap``: values, gradients and draws are those of every row."""
    likelihood, shape = FAMILIES[name], (3, 2, 2)
    raw = normal(2, 4, *likelihood.outputs(shape))
    x = built(name, 4).draw(noise("x")).value
    streams = [Streams(0), Streams(1)]

    def law(raw, row):
        law = likelihood.build(raw, 3)
        u = Noise(streams if row is not None else streams[:1], "noise", "u", dtype=torch.float64, row=row)
        return law.within(u) if isinstance(law, DequantisedNormal) else law

    total = lambda raw, row: law(raw, row).log_prob(x).sum()
    rows = torch.arange(2)
    values, slopes = vmap(total)(raw, rows), vmap(grad(total))(raw, rows)
    assert torch.allclose(values[0], total(raw[0], None), rtol=1e-12)
    assert torch.allclose(slopes[0], grad(total)(raw[0], None), rtol=1e-9, atol=1e-12)
    assert bool(slopes.isfinite().all()) and not torch.allclose(values[0], values[1])

    def drawn(raw, row):
        at = Noise(streams, "noise", "x", dtype=torch.float64, row=row)
        return law(raw, row).draw(at, 3).value

    alone = law(raw[1], None).draw(Noise([Streams(1)], "noise", "x", dtype=torch.float64), 3).value
    assert torch.equal(vmap(drawn)(raw, rows)[1], alone)


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_and_scores_do_not_depend_on_the_chunk(name):
    likelihood, shape = FAMILIES[name], (3, 2, 2)
    raw = normal(1, *likelihood.outputs(shape))

    def of(count: int, first: int, first_sample: int):
        at = partial(EvalNoise, [Streams(0)], first=first, first_sample=first_sample, dtype=torch.float64)
        law = likelihood.build(raw.expand(count, *raw.shape[1:]), 3)
        law = law.within(at("u")) if isinstance(law, DequantisedNormal) else law
        return law, at("x")

    whole, at = of(100, 0, 0)
    part, there = of(30, 50, 2)
    x = whole.draw(at, 4).value
    assert torch.equal(part.draw(there, 2).value, x[2:, 50:80])
    assert torch.allclose(part.log_prob(x[0, 50:80]), whole.log_prob(x[0])[50:80], rtol=1e-12)


# --- masses ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MASSES)
@pytest.mark.parametrize("channels", [1, 3])
def test_masses_of_all_values_of_a_pixel_sum_to_one(name, channels):
    law, levels = built(name, 1, 5, shape=(channels, 1, 1)), FAMILIES[name].domain.size or 2
    x = every(levels, channels).view(-1, 1, channels, 1, 1)
    mass = law.log_prob(x).exp()
    assert torch.allclose(mass.sum(0), torch.ones(5, dtype=torch.float64), atol=1e-12)
    if channels == 1:  # of one channel mean and mode are those of the masses
        assert torch.allclose((mass.view(-1, 5, 1, 1, 1) * x).sum(0), law.mean[0], atol=1e-10)
        if "mixture" not in name:
            assert torch.equal(x[mass.argmax(0), 0], law.mode[0])


def test_cross_entropy_of_greys_is_less_than_a_law_and_no_better_than_a_uniform_code():
    """As a density it integrates to (2 p - 1) / (log p - log(1 - p)) < 1; its gradient is that of the loss."""
    logits = torch.tensor([-9.0, -2.0, 0.0, 0.7, 4.0], dtype=torch.float64)
    law = GreyBernoulli(256, logits[:, None])
    x = torch.arange(256.0, dtype=torch.float64).view(-1, 1, 1)
    masses = law.log_prob(x).exp()
    assert bool((masses.sum(0) < 1).all()) and float(bits_per_dim(law, x).min()) >= 8.0
    p = torch.sigmoid(logits)
    whole = torch.where(logits == 0, 0.5, (2 * p - 1) / logits)
    edges = (p + 1 - p) / 512  # of the trapezium rule, whose sum this is
    assert torch.allclose(masses.sum(0) * 256 / 255, whole + 256 / 255 * edges, atol=2e-3)
    raw, y = normal(4, 6).requires_grad_(), every(8, 1)[:6].T.expand(4, 6)
    (slope,) = torch.autograd.grad(GreyBernoulli(8, raw).log_prob(y).sum(), raw)
    assert torch.allclose(slope, y / 7 - torch.sigmoid(raw), rtol=1e-10)
    assert set(law.draw(noise("x"), 50).value.unique().tolist()) <= {0.0, 255.0}


@pytest.mark.parametrize("levels", [32, 256])
@pytest.mark.parametrize("scale", SCALES)
def test_shares_of_every_channel_sum_to_one_at_any_scale(levels, scale):
    """In fp32, given the channels before; means within, on an edge, beyond both ends; gradients finite at every level."""
    means = torch.tensor([-1.5, -1.0, -0.3217, 1 / (levels - 1) - 1, 0.0, 0.77, 1.0, 2.0])
    for channel in range(3):
        location = means.view(1, 8, 1, 1, 1).expand(1, 8, 3, 2, 1).clone().requires_grad_()
        log_scale = torch.full((1, 8, 3, 2, 1), math.log(scale), requires_grad=True)
        logits, coefficients = torch.tensor([0.3, -0.4]).view(2, 1), 0.1 * normal(3, 2, 1).float()
        law = LogisticMixture(levels, logits.expand(1, 8, 2, 1), location, log_scale, coefficients.expand(1, 8, 3, 2, 1), 2)
        x = torch.full((levels, 8, 3, 1), float(levels // 3))
        x[:, :, channel] = torch.arange(float(levels)).view(-1, 1, 1)
        found = law.log_prob(x)
        assert bool(found.isfinite().all())
        found.sum().backward()
        for parameter in (location, log_scale):
            assert parameter.grad is not None and bool(parameter.grad.isfinite().all())
        # Of this channel alone: what the others and the component are given cancels where there is one component.
        alone = LogisticMixture(levels, logits[:1].expand(1, 8, 1, 1), location[..., :1, :].detach(),
                                log_scale[..., :1, :].detach(), coefficients[:, :1].expand(1, 8, 3, 1, 1), 2)  # fmt: skip
        mu = alone._location(channel, [c.unsqueeze(-2) for c in x[:1].unbind(-2)])
        each = DiscretisedLogistic(levels, mu.squeeze(-2), torch.full_like(mu.squeeze(-2), math.log(scale)))
        shares = each.log_prob(torch.arange(float(levels)).view(-1, 1, 1))
        assert float((shares.double().logsumexp(0).exp() - 1).abs().max()) < 1e-5


@pytest.mark.parametrize("scale", SCALES)
def test_shares_are_64_bit_sums(scale):
    """log P in fp32 against the difference of the distribution function, in 64 bits where that has digits to give."""
    levels, means = 256, torch.tensor([-1.2, -1.0, -0.50196, -0.123, 0.0, 0.6, 1.0])
    log_scale = torch.tensor(math.log(scale))
    law = DiscretisedLogistic(levels, means[:, None], log_scale)
    x = torch.arange(float(levels))
    found = law.log_prob(x.view(-1, 1, 1)).double()
    m, s = means.double(), log_scale.double().exp()
    edges = (2 * torch.arange(levels - 1, dtype=torch.float64) + 1) / (levels - 1) - 1
    # From the nearer tail, where nothing cancels: sigma(b) - sigma(a) = sigma(-a) - sigma(-b).
    z = (edges[:, None] - m) / s
    z = torch.cat([torch.full((1, 7), -math.inf), z, torch.full((1, 7), math.inf)])
    low, high = torch.sigmoid(z).diff(dim=0), -torch.sigmoid(-z).diff(dim=0)
    direct = torch.where(z[:-1] > 0, high, low).log()
    # In floating point the difference of two sigmoids is only so exact.
    good = direct.exp() > 1e-9 * torch.minimum(torch.sigmoid(z[1:]), torch.sigmoid(-z[:-1]))
    good &= direct > -700
    assert good.any(0).all() and bool(((found - direct).abs() <= 1e-5 * (1 + direct.abs()))[good].all())


def pixelcnn(x: np.ndarray, raw: np.ndarray, mixtures: int, levels: int) -> float:
    """log p of one RGB pixel on [-1, 1], as Salimans et al. 2017 have it: differences of sigmoids, from the nearer tail."""
    logit, rest = raw[:mixtures], raw[mixtures:].reshape(3, 3 * mixtures)
    means, log_scales, coefficients = (rest[:, i * mixtures : (i + 1) * mixtures] for i in range(3))
    c = np.tanh(coefficients)
    centres = [
        means[0],
        means[1] + c[0] * x[0],
        means[2] + c[1] * x[0] + c[2] * x[1],
    ]
    sigmoid = lambda t: 1 / (1 + np.exp(-t))
    total = np.zeros(mixtures)
    for value, centre, log_scale in zip(x, centres, log_scales, strict=True):
        inverse = np.exp(-log_scale)
        plus, minus = inverse * (value - centre + 1 / (levels - 1)), inverse * (value - centre - 1 / (levels - 1))
        if value < -0.999:
            p = sigmoid(plus)
        elif value > 0.999:
            p = sigmoid(-minus)
        else:
            p = np.where(value > centre, sigmoid(-minus) - sigmoid(-plus), sigmoid(plus) - sigmoid(minus))
        total += np.log(p)
    total += logit - logit.max() - np.log(np.exp(logit - logit.max()).sum())
    return float(total.max() + np.log(np.exp(total - total.max()).sum()))


@pytest.mark.parametrize(("mixtures", "levels"), [(1, 256), (5, 256), (10, 32)])
def test_a_mixture_is_the_formula_of_pixelcnn(mixtures, levels):
    likelihood, shape = likelihood_of(Domain("levels", levels), "logistic-mixture", mixtures=mixtures), (3, 4, 5)
    assert likelihood.outputs(shape) == (10 * mixtures, 4, 5) and likelihood.outputs((1, 4, 5)) == (3 * mixtures, 4, 5)
    raw = normal(2, *likelihood.outputs(shape))
    x = (normal(2, *shape, seed=1) * levels / 3 + levels / 2).round().clamp(0, levels - 1)
    found = likelihood.build(raw, 3).log_prob(x)
    clamped = raw.clone()
    for c in range(3):  # raw log-scales pass a soft clamp here
        rows = slice(mixtures * (2 + 3 * c), mixtures * (3 + 3 * c))
        clamped[:, rows] = 7 * torch.tanh(raw[:, rows] / 7)
    pixels = [(h, w) for h in range(4) for w in range(5)]
    for i in range(2):
        at = [(centred(x[i, :, h, w], levels).numpy(), clamped[i, :, h, w].numpy()) for h, w in pixels]
        assert float(found[i]) == pytest.approx(sum(pixelcnn(*one, mixtures, levels) for one in at), rel=1e-12)


def test_numbers_of_a_vector_are_pixels_of_one_channel():
    likelihood = likelihood_of(LEVELS, "logistic-mixture", mixtures=3)
    raw, x = normal(4, 9, 5), normal(4, 5).mul(3).add(4).round().clamp(0, 7)
    row = likelihood.build(raw.flatten(1), 1)
    image = likelihood.build(raw.unsqueeze(-1), 3)
    assert torch.allclose(row.log_prob(x), image.log_prob(x.view(4, 1, 5, 1)))
    assert torch.allclose(row.mean, image.mean.flatten(1)) and torch.equal(row.mode, image.mode.flatten(1))


# --- draws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("name", ["bernoulli", "logistic", "mixture", "categorical"])
def test_draws_have_the_masses_of_their_temperature(name, temperature):
    """All channels of a pixel at once, each value of which is drawn as often as it weighs."""
    n = 60_000
    levels = FAMILIES[name].domain.size or 2
    law = built(name, 1, shape=(3, 1, 1), seed=5).tempered(temperature)
    drawn = law.draw(noise("many"), n).value.flatten(1)
    code = (drawn @ torch.tensor([float(levels**2), levels, 1.0], dtype=torch.float64)).long()
    mass = law.log_prob(every(levels, 3).view(-1, 1, 3, 1, 1)).exp().flatten()
    found = torch.bincount(code, minlength=levels**3) / n
    error = (mass * (1 - mass) / n).sqrt()
    often = mass * n > 20
    assert bool(((found - mass).abs() < (Z + 0.5) * error)[often].all()) and float(mass[often].sum()) > 0.5
    # And all the rare ones together.
    assert abs(float((found - mass)[~often].sum())) < Z * math.sqrt(float(mass[~often].sum()) / n) + 1e-9
    value = every(levels, 3)
    moment = mass @ value
    spread = (mass @ value.square() - moment.square()).sqrt() / math.sqrt(n)
    assert bool(((drawn.mean(0) - moment).abs() < Z * spread).all())


def test_a_temperature_multiplies_the_noise():
    """Of one and the same noise: a normal's draw, the uniform of a logistic, and exponents of masses."""
    gaussian = DiagonalNormal(torch.tensor([0.3]), torch.tensor([-0.5]))
    far, near = (gaussian.tempered(t).draw(noise("x")).value - 0.3 for t in (2.0, 0.5))
    assert torch.allclose(far, 4 * near)
    logits = normal(3, 4)
    masses = Categorical(logits).tempered(0.5).logits.softmax(0)
    squared = logits.softmax(0).square()
    assert torch.allclose(masses, squared / squared.sum(0))
    logistic = DiscretisedLogistic(256, torch.zeros(1), torch.zeros(1)).tempered(0.1)
    assert float(logistic.log_scale) == pytest.approx(math.log(0.1))
    for bad in (0.0, -1.0, math.nan, math.inf):
        for name in FAMILIES:
            with pytest.raises(SeedbedError, match=r"a temperature is above 0, got .*; what a law draws at 0 is its mode"):
                built(name, 1).tempered(bad)


def test_means_of_pixels_with_channels_are_those_of_draws():
    """Narrow components away from the ends lose nothing there."""
    likelihood = likelihood_of(Domain("levels", 256), "logistic-mixture", mixtures=3)
    raw = 0.3 * normal(1, *likelihood.outputs((3, 1, 1)), seed=2)
    for c in range(3):
        raw[:, 3 * (2 + 3 * c) : 3 * (3 + 3 * c)] -= 3.0
    law, n = likelihood.build(raw, 3), 40_000
    drawn = law.draw(noise("many"), n).value
    error = drawn.std(0) / math.sqrt(n)
    assert bool(((drawn.mean(0) - law.mean).abs() < Z * error).all())


def test_the_mode_of_a_mixture_is_of_its_best_component():
    location = torch.tensor([-0.5, 0.5]).view(1, 2, 1)
    law = LogisticMixture(9, torch.tensor([0.0, 1.0]).view(2, 1), location, torch.full((1, 2, 1), -4.0), None, 2)
    assert law.mode.item() == 6.0
    wide = torch.tensor([-4.0, 0.0]).view(1, 2, 1)  # the heavier component has less mass anywhere
    assert LogisticMixture(9, torch.tensor([0.0, 0.5]).view(2, 1), location, wide, None, 2).mode.item() == 2.0


# --- a density of levels ---------------------------------------------------------------------------------------------------


def test_a_dequantised_gaussian_bounds_the_mass_of_a_level():
    """E_u exp(log_prob) is the mass of its interval, E_u log_prob lies below its logarithm; all sum to at most 1."""
    levels, n = 8, 20_000
    mean, log_scale = torch.tensor([-0.9, 0.1, 0.7], dtype=torch.float64), torch.tensor([-1.0, -0.5, -2.0])
    x = torch.arange(8.0).view(8, 1, 1).expand(8, n, 1).double()
    for m, s in zip(mean, log_scale.double(), strict=True):
        law = DequantisedNormal(levels, DiagonalNormal(m.expand(n, 1), s.expand(n, 1)), noise("u"))
        found = law.log_prob(x)
        ends = (torch.linspace(-1, 1, 9, dtype=torch.float64) - m) / s.exp()
        mass = torch.special.ndtr(ends).diff()
        error = found.exp().std(1) / math.sqrt(n)
        assert bool(((found.exp().mean(1) - mass).abs() < Z * error + 1e-12).all())
        some = mass > 1e-9  # of less the difference of the distribution function has no digits
        below = mass.log() - found.mean(1) > -Z * found.std(1) / math.sqrt(n)
        assert bool(below[some].all()) and float(mass.sum()) < 1
        drawn = law.draw(noise("x")).value
        inside = torch.tensor([(drawn == k).double().mean() for k in range(8)])
        mass[0] += torch.special.ndtr(ends[0])  # what lies beyond the ends is drawn there
        mass[-1] += torch.special.ndtr(-ends[-1])
        assert bool(((inside - mass).abs() < Z * (mass / n).sqrt() + 1e-12).all())


def test_a_dequantised_gaussian_is_a_density_on_the_unit_interval_less_log_levels():
    """log N((x + u) / 256; m', s') - log 256 of each number, with m' and s' on [0, 1]."""
    law = DequantisedNormal(256, DiagonalNormal(normal(4, 5), 0.3 * normal(4, 5, seed=1)), noise("u"))
    x = normal(4, 5, seed=2).mul(80).add(128).round().clamp(0, 255)
    u = noise("u").of("dequantise").uniform((5,), batch=4)
    unit = torch.distributions.Normal((law.normal.mean + 1) / 2, law.normal.scale / 2)
    assert torch.allclose(law.log_prob(x), (unit.log_prob((x + u) / 256) - math.log(256)).sum(-1))
    many = DequantisedNormal(256, DiagonalNormal(normal(7, 4, 5), normal(7, 4, 5, seed=1)), noise("u"))
    again = torch.distributions.Normal((many.normal.mean + 1) / 2, many.normal.scale / 2).log_prob((x + u) / 256)
    assert torch.allclose(many.log_prob(x), (again - math.log(256)).sum(-1))  # one u for all samples
    assert torch.equal(many.log_prob(x), many.log_prob(x))
    # The mean level is that of the interval's middle.
    flat = DequantisedNormal(4, DiagonalNormal(torch.tensor([-0.75, 0.25, 1.0]), torch.zeros(3)))
    assert flat.mean.tolist() == [0.0, 2.0, 3.0] and flat.mode.tolist() == [0.0, 2.0, 3.0]
    with pytest.raises(SeedbedError, match="scores levels at noise that is added; build it by"):
        flat.log_prob(torch.zeros(3))


# --- scales ----------------------------------------------------------------------------------------------------------------


def test_where_a_scale_comes_from():
    raw = normal(6, 4)
    for kind, least in (("learned", 0.0), ("learned", 0.4), ("fixed", 0.0), ("shared", 0.0), ("shared", 0.4)):
        scale = Scale(kind, least, start=0.5)
        given = scale.given(torch.tensor(-0.7, dtype=torch.float64)) if kind == "shared" else scale
        location, log_scale = given.split(raw, 1)
        features = 2 if kind == "learned" else 4
        r = raw[:, 2:] if kind == "learned" else torch.tensor(-0.7)
        expected = torch.tensor(0.5) if kind == "fixed" else least + torch.exp(7 * torch.tanh(r / 7))
        assert torch.equal(location, raw[:, :features]) and scale.parameters * features == 4
        assert torch.allclose(log_scale.exp(), expected.double(), rtol=1e-6)
    assert torch.equal(GAUSSIAN.build(raw).log_prob(raw[:, :2]), likelihood_of(REAL).build(raw).log_prob(raw[:, :2]))
    for s in (0.21, 0.5, 3.0):
        assert float(BOUNDED.bounded(BOUNDED.raw(torch.tensor(s))).exp()) == pytest.approx(s, rel=1e-4)
    assert float(BOUNDED.bounded(BOUNDED.raw(torch.tensor(0.1))).exp()) == pytest.approx(0.2, rel=1e-2)


def test_a_bound_on_the_scale_is_a_price_in_bits():
    """With s >= 1/e on [0, 1] an inner level costs at least 8.55 bits, and by sigma of as much at least 7.88 (in 255ths)."""
    least = 2 / math.e
    raw = torch.tensor([0.0, -1e9], dtype=torch.float64)
    bounded = Scale(least=least)
    law = likelihood_of(Domain("levels", 256), scale=bounded).build(raw[None], 1)
    cost = min(float(bits_per_dim(law, torch.tensor([[k]]))) for k in (127.0, 128.0))
    assert cost == pytest.approx(8.55, abs=0.01)
    gaussian = likelihood_of(REAL, scale=bounded).build(raw[None], 1)
    assert float(bits_of(-gaussian.log_prob(torch.zeros(1, 1)), 1)) + math.log2(255 / 2) == pytest.approx(7.88, abs=0.01)


# --- bits ------------------------------------------------------------------------------------------------------------------


def test_bits_of_a_uniform_law_are_the_logarithm_of_its_levels():
    for levels in (2, 32, 256):
        law = Categorical(torch.zeros(4, levels, 3, 5, 5), 3)
        x = torch.full((4, 3, 5, 5), levels - 1.0)
        assert bits_per_dim(law, x).tolist() == pytest.approx([math.log2(levels)] * 4)
    assert float(bits_of(torch.tensor(math.log(2) * 12), (3, 2, 2))) == pytest.approx(1.0)
    assert bits_per_dim(built("bernoulli", 4), torch.zeros(4, 3, 2, 2)).shape == (4,)
    with pytest.raises(SeedbedError, match="bits are of masses, and a Gaussian of real values is a density; have levels"):
        bits_per_dim(built("gaussian", 4), torch.zeros(4, 3, 2, 2))


# --- starts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (1, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "bernoulli"])
def test_outputs_may_start_at_the_moments_of_the_data(name, shape):
    """The mean of the start is the data's, and so is the deviation of a scale that may be anything."""
    likelihood = FAMILIES[name]
    mean, std = torch.linspace(-0.3, 0.4, math.prod(shape)).view(shape).double(), torch.full(shape, 0.3).double()
    raw = likelihood.start(mean, std)
    assert raw.shape == likelihood.outputs(shape)
    law = likelihood.build(raw[None], len(shape))
    levels = likelihood.domain.size or 0
    found = centred(law.mean, levels) if levels else law.mean
    assert torch.allclose(found[0], mean, atol=0.05)
    if not {"fixed", "bounded", "grey"} & {*name.split()}:
        drawn = law.draw(noise("many"), 20_000).value.std(0)[0] * (2 / (levels - 1) if levels else 1)
        assert torch.allclose(drawn, std, rtol=0.1)


# --- what does not fit -----------------------------------------------------------------------------------------------------


def test_families_of_other_values_are_refused_with_those_that_fit():
    cases = [
        (REAL, "logistic", r"logistic scores levels values, got real; choose gaussian, or say how many levels there are"),
        (BINARY, "gaussian", r"gaussian scores real or levels values, got binary; choose bernoulli"),
        (LEVELS, "bernoulli", r"choose logistic or gaussian or logistic-mixture or categorical"),
        (Domain("tokens", 5), "categorical", r"no likelihood scores tokens\[5\] data"),
        (Domain("levels"), "auto", r"no likelihood scores levels data"),
        (LEVELS, "logistik", r"unknown likelihood 'logistik'; did you mean 'logistic'\?"),
    ]
    for domain, family, says in cases:
        with pytest.raises(SeedbedError, match=says):
            likelihood_of(domain, family)
    with pytest.raises(SeedbedError, match="scales of a mixture are learned, one of each component, got fixed"):
        likelihood_of(LEVELS, "logistic-mixture", scale=FIXED)
    with pytest.raises(SeedbedError, match="pictures of 1 or 3 channels, got 4; choose logistic"):
        FAMILIES["mixture"].outputs((4, 2, 2))
    with pytest.raises(SeedbedError, match="reads 30 numbers per pixel of three channels, 9 of one; got 8"):
        FAMILIES["mixture"].build(torch.zeros(1, 8, 2, 2), 3)
    with pytest.raises(SeedbedError, match="a shared scale is a parameter of the model"):
        likelihood_of(LEVELS, scale=SHARED).build(torch.zeros(1, 4), 1)
    for kind, least, start in (("fixed", 0.0, 0.0), ("learned", -1.0, 1.0), ("learned", math.inf, 1.0)):
        with pytest.raises(SeedbedError, match="a scale is above 0, and its bound not below"):
            Scale(kind, least, start)
    with pytest.raises(SeedbedError, match=r"a fixed scale of 0\.1 lies below its bound 0\.2"):
        Scale("fixed", 0.2, 0.1)


def test_what_are_no_levels_is_refused():
    check_levels(torch.tensor([0.0, 255.0]), 256, "it")
    cases = [
        (0.5, r"it expects whole numbers 0\.\.255, got 0\.5; multiply fractions by 255 and round"),
        (256.0, r"got 256; say levels=257, or more"),
        (-1.0, r"got -1; leave them out, or have real values scored by a Gaussian"),
        (3.7, r"got 3\.7; leave them out"),
        (math.nan, "got nan; leave them out"),
    ]
    for value, says in cases:
        with pytest.raises(SeedbedError, match=says):
            check_levels(torch.tensor([0.0, 3.0, value]), 256, "it")
