"""Modules of one's own as models: what they are taken for, that their bounds are the bounds, and what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

import seedbed
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.units import Units
from seedbed.experiments.adapters import adapted, says, shape_of
from seedbed.experiments.files import listing
from seedbed.models.adapted import decoding_vae, density, forward_vae, pair
from seedbed.models.standardised import standardised
from seedbed.objectives.bounds import elbo_kl, iwae
from seedbed.objectives.own import forward_elbo

REALS = torch.linspace(-1, 1, 30).reshape(6, 5)
BITS = (torch.arange(30).reshape(6, 5) % 3 == 0).float()


class MyVAE(nn.Module):
    """As tutorials write it."""

    def __init__(self, features=5, latents=2, end=None):
        super().__init__()
        self.enc = nn.Linear(features, 2 * latents)
        self.dec = nn.Linear(latents, features)
        self.end = end or nn.Identity()

    def encode(self, x):
        return self.enc(x).chunk(2, -1)

    def decode(self, z):
        return self.end(self.dec(z))

    def forward(self, x):
        mean, log_var = self.encode(x)
        z = mean + torch.randn_like(mean) * torch.exp(log_var / 2)
        return self.decode(z), mean, log_var


class Inside(nn.Module):
    """Neither encoder nor decoder can be told."""

    def __init__(self, features=5):
        super().__init__()
        self.a, self.b = nn.Linear(features, 4), nn.Linear(2, features)

    def forward(self, x):
        mean, log_var = self.a(x).chunk(2, -1)
        return self.b(Normal(mean, (log_var / 2).exp()).rsample()), mean, log_var


class Sphere(nn.Module):
    def __init__(self, features=5):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(features))

    def log_prob(self, x):
        return Normal(self.mean, 1.0, validate_args=False).log_prob(x).sum(-1)

    def sample(self, count):
        return self.mean + torch.randn(count, len(self.mean))


class Game(nn.Module):
    def __init__(self, features=5):
        super().__init__()
        self.generator, self.discriminator = nn.Linear(3, features), nn.Linear(features, 1)


def both(features: int) -> tuple[MyVAE, Sphere]:
    return MyVAE(features), Sphere(features)


@pytest.mark.parametrize(("x", "domain"), [(REALS, REAL), (BITS, BINARY)])
def test_the_bound_is_the_bound(x, domain):
    """log p(x | z) - KL at the very draw of z, by torch's own distributions, and the bound of many draws is above it."""
    torch.manual_seed(0)
    vae = decoding_vae(MyVAE(), (5,), domain)
    ctx = Context.of(3)
    z = vae.proposal(x, Context.of(3)).z["z"]
    mean, log_var = vae.module.encode(x)
    out = vae.module.decode(z)
    law = Normal(out, vae.observed.log_scale.exp()) if domain == REAL else Bernoulli(logits=out)
    kl = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    terms = elbo_kl(vae, x, ctx)
    torch.testing.assert_close(terms.value, law.log_prob(x).sum(-1) - kl)
    torch.testing.assert_close(terms.parts["kl"], kl)
    assert iwae(500)(vae, x, Context.of(4)).value.mean() > elbo_kl(vae, x, Context.of(5)).value.mean() - 0.5
    assert vae.sample(7, Context.of(1)).shape == (7, 5)


def test_a_single_pass_has_the_same_bound():
    """Of a posterior that is nearly a point both ways agree: the draw does not matter."""
    torch.manual_seed(0)
    module = Inside()
    with torch.no_grad():
        module.a.weight[2:] = 0
        module.a.bias[2:] = -20
    model = forward_vae(module, (5,), REAL)
    terms = forward_elbo(model, REALS, Context.of(0))
    mean, log_var = module.a(REALS).chunk(2, -1)
    expected = Normal(module.b(mean), 1.0).log_prob(REALS).sum(-1)
    kl = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(terms.value, expected - kl, rtol=1e-3, atol=1e-2)


def test_a_single_pass_in_units_is_less_the_log_volume():
    torch.manual_seed(0)
    model = forward_vae(Inside(), (5,), REAL)
    units = Units(torch.linspace(-1e3, 50, 5), torch.tensor([200.0, 3.0, 1.0, 0.1, 1e-3]))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        plain = forward_elbo(model, REALS, Context.of(0))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        inside = forward_elbo(standardised(model, units), units.outward(REALS), Context.of(0))
    volume = units.scale.double().log().sum().float()
    torch.testing.assert_close(inside.value, plain.value - volume, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(inside.parts["log_likelihood"], plain.parts["log_likelihood"] - volume, rtol=1e-4, atol=1e-2)


def test_probabilities_and_logits_are_told_apart_and_score_alike():
    torch.manual_seed(0)
    logits = MyVAE()
    odds = MyVAE(end=nn.Sigmoid())
    odds.load_state_dict(logits.state_dict())
    one, other = decoding_vae(logits, (5,), BINARY), decoding_vae(odds, (5,), BINARY)
    assert "logits" in one.taken_as and "probabilities" in other.taken_as
    torch.testing.assert_close(elbo_kl(one, BITS, Context.of(1)).value, elbo_kl(other, BITS, Context.of(1)).value)


LEVELS = (torch.arange(30).reshape(6, 5) * 7 % 4).float()


def share(x, mean, scale):
    """P(x) of 4 levels: what of a logistic law on [-1, 1] lies between the edges around it."""
    below, above = ((2 * x + side) / 3 - 1 for side in (-1, 1))
    upper = torch.where(x == 3, torch.ones_like(x), torch.sigmoid((above - mean) / scale))
    return upper - torch.where(x == 0, torch.zeros_like(x), torch.sigmoid((below - mean) / scale))


@pytest.mark.parametrize("make", [MyVAE, Inside])
def test_levels_are_shown_and_reconstructed_between_0_and_1(make):
    """The bound with the shares of a logistic law around 2 r - 1, at the very draw of z; draws are levels."""
    torch.manual_seed(0)
    domain = Domain("levels", 4)
    model = (decoding_vae if make is MyVAE else forward_vae)(make(), (5,), domain)
    with torch.no_grad():
        model.observed.log_scale.fill_(-0.7)
    assert "a mean on [0, 1]" in model.taken_as and "4 levels" in model.taken_as
    if make is MyVAE:
        out = model.module.decode(model.proposal(LEVELS, Context.of(3)).z["z"])
        terms, (mean, log_var) = elbo_kl(model, LEVELS, Context.of(3)), model.module.encode(LEVELS / 3)
        assert set(model.sample(50, Context.of(1)).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
    else:
        with torch.no_grad():
            model.module.b.weight.zero_()  # a reconstruction of no draw
        out, mean, log_var = model.module(LEVELS / 3)
        terms = forward_elbo(model, LEVELS, Context.of(3))
    scale = 7 * math.tanh(-0.1)
    expected = share(LEVELS.double(), 2 * out.double() - 1, math.exp(scale)).log().sum(-1).float()
    kl = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(terms.value, expected - kl, rtol=1e-4, atol=1e-4)


def test_a_table_is_scored_in_its_units():
    """log p(x) = log p(u) - sum log scale of whatever was adapted, and draws are in the table's units."""
    torch.manual_seed(0)
    units = Units(torch.tensor([100.0, 0, -3, 1, 2]), torch.tensor([50.0, 0.01, 1, 2, 3]))
    u, volume = REALS, units.scale.log().sum()
    x = units.outward(u)
    net = Sphere()
    law = standardised(density(net), units)
    torch.testing.assert_close(law.log_prob(x, Context.of(0)), net.log_prob(u) - volume, rtol=1e-4, atol=1e-4)
    assert float(law.sample(200, Context.of(0)).detach()[:, 0].std()) == pytest.approx(50, rel=0.3)
    vae = decoding_vae(MyVAE(), (5,), REAL)
    whole = elbo_kl(standardised(vae, units), x, Context.of(2))
    torch.testing.assert_close(whole.value, elbo_kl(vae, u, Context.of(2)).value - volume, rtol=1e-4, atol=1e-3)
    single = forward_vae(Inside(), (5,), REAL)
    with torch.no_grad():
        single.module.b.weight.zero_()
    whole = forward_elbo(standardised(single, units), x, Context.of(2))
    torch.testing.assert_close(whole.value, forward_elbo(single, u, Context.of(2)).value - volume, rtol=1e-4, atol=1e-3)


def test_a_picture_keeps_its_shape():
    class Flat(MyVAE):
        def encode(self, x):
            return super().encode(x.flatten(1))

    vae = decoding_vae(Flat(16), (1, 4, 4), BINARY)
    assert vae.sample(3, Context.of(0)).shape == (3, 1, 4, 4)
    assert vae.proposal(torch.zeros(2, 1, 4, 4), Context.of(0), 7).log_w.shape == (7, 2)


def test_looking_changes_nothing():
    net = MyVAE(end=nn.BatchNorm1d(5))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    decoding_vae(net, (5,), REAL)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items()) and net.end.training
    assert torch.equal(state, torch.get_rng_state())


def test_density_and_game():
    model = density(Sphere())
    expected = -0.5 * REALS.square().sum(-1) - 2.5 * math.log(2 * math.pi)
    torch.testing.assert_close(model.log_prob(REALS, Context.of(0)), expected)
    game = pair(Game(), shape=(5,))
    assert game.sample(4, Context.of(0)).shape == (4, 5) and "z ~ N(0, I) of [3]" in game.taken_as


class Other(MyVAE):
    def forward(self, x):
        return self.decode(self.encode(x)[0]) + 1, *self.encode(x)


class Two(MyVAE):
    def log_prob(self, x):
        return x.sum(-1)


class Swapped(MyVAE):
    def forward(self, x):
        out, mean, log_var = super().forward(x)
        return mean, log_var, out


class MeanInEvaluation(Inside):
    """Draws in training alone, as many do: what it gives in evaluation is no bound."""

    def forward(self, x):
        mean, log_var = self.a(x).chunk(2, -1)
        z = mean + torch.randn_like(mean) * (log_var / 2).exp() if self.training else mean
        return self.b(z), mean, log_var


class Beside(Game):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(2, 2)


class Values(Sphere):
    def log_prob(self, x):
        return Normal(self.mean, 1.0).log_prob(x)


REFUSED = {
    "another z": (lambda: decoding_vae(Other(), (5,), REAL), "does not return what decode makes of mean"),
    "tanh of bits": (lambda: decoding_vae(MyVAE(end=nn.Tanh()), (5,), BINARY), "decode of MyVAE ends in tanh, of bits"),
    "tanh of levels": (
        lambda: decoding_vae(MyVAE(end=nn.Tanh()), (5,), Domain("levels", 4)),
        r"ends in tanh, of levels; let it return means on \[0, 1\]",
    ),
    "another size": (lambda: decoding_vae(MyVAE(), (4,), REAL), "forward of MyVAE does not run: RuntimeError"),
    "the order": (lambda: decoding_vae(Swapped(), (5,), REAL), r"reconstruction of Swapped must be of an example's \[5\]"),
    "one value": (lambda: forward_vae(nn.Linear(5, 5), (5,), REAL), "three tensors"),
    "no draw": (
        lambda: forward_vae(MeanInEvaluation(), (5,), REAL),
        r"draws no z in evaluation.*write a method decode\(z\)",
    ),
    "not per example": (
        lambda: density(Values()).log_prob(REALS, Context.of(0)),
        "one number per example",
    ),
    "a sigmoid": (
        lambda: pair(nn.Linear(3, 5), nn.Sequential(nn.Linear(5, 1), nn.Sigmoid()), shape=(5,)),
        "ends in a sigmoid; a Wasserstein critic is any number",
    ),
    "another example": (lambda: pair(nn.Linear(3, 4), nn.Linear(5, 1), shape=(5,)), r"examples \[5\], got \[4\]"),
    "untrained parts": (lambda: pair(Beside(), shape=(5,)), "holds more.weight beside the two"),
    "no size of z": (
        lambda: pair(nn.Conv2d(1, 1, 1), nn.Linear(5, 1), shape=(5,)),
        "the size of z of Conv2d cannot be told",
    ),
    "two ways": (lambda: adapted(Two, "Two"), "is told in two ways, .*leave one"),
    "no way": (lambda: adapted(nn.Linear, "Linear"), r"what Linear learns cannot be told: let forward\(x\) return"),
    "no model": (lambda: adapted(len, "len"), "neither an Experiment nor a class"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    ask, match = REFUSED[case]
    with pytest.raises(SeedbedError, match=match) as refusal:
        ask()
    assert "\n" not in str(refusal.value)


def test_what_a_class_is_taken_for():
    names = {kind: shape_of(kind).part.__name__ for kind in (MyVAE, Inside, Sphere, Game, both)}
    assert list(names.values()) == ["OwnVAE", "OwnForwardVAE", "OwnDensity", "OwnGAN", "OwnGAN"]
    assert says(MyVAE) == "by its forward(x) -> (reconstruction, mean, log_var), and a decoder"


def test_from_a_file_by_name(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(120, 5)).astype("float32")
    np.save("x.npy", x)
    text = Path(__file__).read_text(encoding="utf-8")
    start, end = text.index("class MyVAE"), text.index("class Game")
    Path("mine.py").write_text(
        "import torch\nfrom torch import nn\nfrom torch.distributions import Normal\n\n" + text[start:end]
    )
    assert [line.split()[0] for line in listing("mine.py")] == ["MyVAE", "Inside", "Sphere"]
    few = {"data": "array:x.npy", "seeds": 2, "steps": 4, "eval_every": 2}
    vae, exact = (seedbed.run(f"mine.py:{name}", **few) for name in ("MyVAE", "Sphere"))
    assert "MyVAE is a VAE: q(z | x) by encode(x)" in capsys.readouterr().err
    assert {"neg_elbo_nats", "kl_nats"} <= set(vae.table["metric"]) and "nll_nats" in set(exact.table["metric"])
    assert vae.sample(3).shape == (2, 3, 5)
    assert seedbed.run("mine.py:MyVAE", k=3, name="k", **few).manifest.config["k"] == 3
