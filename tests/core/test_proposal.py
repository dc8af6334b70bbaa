"""Proposals that follow from layers: what they weigh, what is evaluated when, and the same networks both times."""

import pytest
import torch
from passes import at
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Drawn, kl, kl_per_unit
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.normal import DiagonalNormal, StandardNormal

SEEDS = [Streams(seed) for seed in range(2)]


class Counting(DiagonalNormal):
    """Counts how often it is asked for a log-probability."""

    asked = 0

    def log_prob(self, value: Tensor) -> Tensor:
        type(self).asked += 1
        return super().log_prob(value)


class Dropping(nn.Module, LatentVariable):
    """Two layers with dropout in every network, downwards or upwards; or one."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order
        self.drop = nn.Dropout(0.5)
        self.see, self.up, self.down, self.out = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(2, 4), nn.Linear(2, 3)

    @property
    def domain(self):
        return REAL

    def normal(self, net, x):
        return DiagonalNormal.from_raw(net(self.drop(torch.tanh(x))))

    def inference(self, x, ctx):
        return self.ascent(x) if self.order == "up" else None

    def ascent(self, x):
        z1 = yield "z1", self.normal(self.see, x)
        yield "z2", self.normal(self.up, z1)

    def layers(self, x, ctx):
        z = yield Layer("z2", StandardNormal(2), None if x is None else self.normal(self.see, x))
        if self.order != "one":
            prior = self.normal(self.down, z)
            q = None if x is None else self.normal(self.see, x).product(prior)
            z = yield Layer("z1", prior, q)
        mean = self.out(self.drop(z))
        return DiagonalNormal(mean, torch.zeros_like(mean))


@pytest.mark.parametrize("order", ["one", "down", "up"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_second_look_at_the_posterior_meets_the_same_masks(order, count):
    """Dropout in the encoder: log q of the draws, asked for at those values, is that of the pass that drew them."""
    with SEEDS[0].scoped("init"):
        many = Stack.of([Dropping(order).double()] * count, SEEDS[:count], "fp64")
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def look(model, x, ctx):
        proposal = model.proposal(x, ctx, 4)
        twice = [proposal.log_q_at(proposal.z) for _ in range(2)]
        return proposal.log_q, *twice, proposal.log_w

    (log_q, first, second, log_w), _ = many.step(look, noise=many.noise("noise", 1), shared=(x,))
    assert torch.allclose(first, log_q, atol=1e-12) and torch.equal(first, second) and log_w.shape == (count, 4, 6)
    # So it would not be with other masks.
    (other, *_), _ = many.step(look, noise=many.noise("noise", 2), shared=(x,))
    still, _ = many.step(look, noise=many.noise("noise", 1), shared=(x,), training=False)
    assert not torch.allclose(other, log_q) and not torch.allclose(still[0], log_q)


def test_a_model_without_a_posterior_says_so():
    class Half(nn.Module, LatentVariable):
        domain = REAL

        def layers(self, x, ctx):
            z = yield Layer("z", StandardNormal(2))
            return DiagonalNormal(z, torch.zeros_like(z))

    with pytest.raises(SeedbedError, match="expected a posterior of 'z', got none; yield one if x is given, or write"):
        Half().proposal(torch.zeros(3, 2), Context.of(0))


def test_log_probabilities_are_evaluated_when_asked_for_and_once():
    class Model(nn.Module, LatentVariable):
        def __init__(self) -> None:
            super().__init__()
            self.at = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        @property
        def domain(self):
            return REAL

        def layers(self, x, ctx):
            q = None if x is None else Counting(self.at + x, torch.zeros_like(x))
            z = yield Layer("z", StandardNormal(2), q)
            return DiagonalNormal(z, torch.zeros_like(z))

    model, x = Model(), torch.ones(5, 2, dtype=torch.float64)
    proposal = model.proposal(x, at(), 3)
    layer = proposal.layers["z"]
    assert Counting.asked == 0 and layer.kl() is None  # no closed form is registered of this law
    assert proposal.log_w.shape == proposal.log_w.shape == (3, 5)
    assert torch.equal(proposal.log_q, layer.log_q()) and torch.equal(proposal.log_q, layer.log_q())
    assert Counting.asked == 1
    proposal.log_q_at(proposal.z)
    assert Counting.asked == 2


def test_what_a_layer_says_of_itself():
    class Mixed(nn.Module, LatentVariable):
        """Real numbers, bits given them, and a law that is known by its draws alone."""

        @property
        def domain(self):
            return REAL

        def layers(self, x, ctx):
            zero = None if x is None else torch.zeros_like(x)
            u = yield Layer("u", StandardNormal(2), None if x is None else DiagonalNormal(x, zero))
            b = yield Layer("b", Bernoulli(u), None if x is None else Bernoulli(x + u))
            h = yield Layer("h", StandardNormal(2), None if x is None else Hidden(DiagonalNormal(x, zero)), closed_kl=False)
            return DiagonalNormal(u + b + h, torch.zeros_like(u))

    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    proposal = Mixed().proposal(x, at(), 3)
    u, b, h = proposal.layers.values()
    assert proposal.fixed == ["b"] and not proposal.real
    assert [layer.real for layer in (u, b, h)] == [True, False, True]
    assert [layer.reparameterised for layer in (u, b, h)] == [True, False, True]
    assert torch.equal(u.mean, x) and torch.equal(b.mean, torch.sigmoid(x + proposal.z["u"]))
    assert torch.equal(h.mean, proposal.z["h"])  # the draw stands for a mean that is not known
    assert torch.equal(b.kl(), kl(Bernoulli(x + proposal.z["u"]), Bernoulli(proposal.z["u"])))
    assert torch.equal(b.kl_per_unit(), kl_per_unit(Bernoulli(x + proposal.z["u"]), Bernoulli(proposal.z["u"])))
    assert h.kl() is None and h.kl_per_unit() is None
    total = sum(layer.log_ratio() for layer in (u, b, h)) + proposal.log_likelihood
    assert torch.allclose(proposal.log_w, total, atol=1e-12)
    assert torch.allclose(proposal.log_w + proposal.log_q, Mixed().joint(x, proposal.z, at()), atol=1e-12)


class Hidden:
    """Without a mean."""

    rank, reparameterised = 1, True

    def __init__(self, inner: DiagonalNormal) -> None:
        self.inner = inner

    def log_prob(self, value):
        return self.inner.log_prob(value)

    def draw(self, noise, samples=None, batch=None) -> Drawn:
        return self.inner.draw(noise, samples, batch)
