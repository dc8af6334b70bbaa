"""Small models, each with one mistake that everybody has made once, and the same without it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import HasLogProb, HasSample, LatentVariable, Layer, Sequence
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.law import Drawn
from seedbed.core.slope import example_slope
from seedbed.core.terms import Terms
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.distributions.numeric import full
from seedbed.models.flow import Flow
from seedbed.models.transforms import AffineCoupling, Reverse
from seedbed.models.wgan import WGAN
from seedbed.nets.linear import Linear
from seedbed.nets.mlp import MLP
from seedbed.objectives.adversarial import critic_utility, generator_utility, score

PIXELS = 3


@dataclass(frozen=True)
class Case:
    """A model with a mistake, the check that names it, and the model without it.

    Args:
        wrong: makes the model with the mistake.
        right: makes the one without.
        check: the only check that fails.
        domain: of the examples.
        shape: of an example.
        given: what else `certify` is given of the wrong one.
        instead: and of the right one.
    """

    wrong: Callable[[], nn.Module]
    right: Callable[[], nn.Module]
    check: str
    domain: str = "binary"
    shape: int = PIXELS
    given: Mapping[str, Any] = field(default_factory=dict)
    instead: Mapping[str, Any] = field(default_factory=dict)


# --- a VAE of bits, and its mistakes --------------------------------------------------------------------------------------


class Bits(nn.Module, LatentVariable):
    """p(z) = N(0, I), p(x | z) and q(z | x) by one hidden layer each."""

    domain = BINARY

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = MLP(PIXELS, (6,), 4, "tanh"), MLP(2, (6,), PIXELS, "tanh")

    def likelihood(self, z):
        return Bernoulli(self.decoder(z))

    def posterior(self, x):
        return DiagonalNormal.from_raw(self.encoder(x))

    def prior(self):
        return StandardNormal(2)

    def layers(self, x, ctx):
        z = yield Layer("z", self.prior(), None if x is None else self.posterior(x))
        return self.likelihood(z)


class MeanBernoulli(Bernoulli):
    def log_prob(self, value):
        return super().log_prob(value) / value.shape[-1]


class MeanOverPixels(Bits):
    def likelihood(self, z):
        return MeanBernoulli(self.decoder(z))


class BatchNorm(Bits):
    def __init__(self) -> None:
        super().__init__()
        # No biases in front of it: the batch's mean takes them away, and no gradient reaches them.
        self.encoder = nn.Sequential(nn.Linear(PIXELS, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4))


class CoupledSamples(Bits):
    def likelihood(self, z):
        return Bernoulli(self.decoder(z if z.ndim < 3 else z - z.mean(0)))


class Means(Bits):
    def sample(self, count, ctx):
        return self.generate(count, ctx)[1].mean


class Halved(StandardNormal):
    """Without its normaliser."""

    def log_prob(self, value):
        return -0.5 * value.square().sum(-1)


class UnnormalisedPrior(Bits):
    def prior(self):
        return Halved(2)


class Wide(DiagonalNormal):
    """Its draws are of twice the deviation that its density has."""

    def draw(self, noise, samples=None, batch=None):
        value = 2 * super().draw(noise, samples, batch).value - self.mean
        return Drawn(value, lambda: self.log_prob(value))


class WidePosterior(Bits):
    def posterior(self, x):
        law = super().posterior(x)
        return Wide(law.mean, law.log_scale)


class MeanKL(Bits):
    """A closed KL that is the mean over the units."""

    def proposal(self, x, ctx, samples=None):
        proposal = super().proposal(x, ctx, samples)
        layers = {k: replace(v, kl=lambda v=v: v.kl() / 2, kl_per_unit=lambda: None) for k, v in proposal.layers.items()}
        return replace(proposal, layers=layers)


class HeavyWeights(Bits):
    """Weights that were normalised by nobody."""

    def proposal(self, x, ctx, samples=None):
        proposal = super().proposal(x, ctx, samples)
        layers = {k: replace(v, log_ratio=lambda v=v: v.log_ratio() + math.log(2)) for k, v in proposal.layers.items()}
        return replace(proposal, layers=layers)


class OtherSamples(Bits):
    """Where samples are asked for, q is another example's."""

    def proposal(self, x, ctx, samples=None):
        return super().proposal(x, ctx) if samples is None else replace(super().proposal(x.flip(-1), ctx, samples), x=x)


class Unused(Bits):
    def __init__(self) -> None:
        super().__init__()
        self.head = Linear(2, 2)


class Counted(Bits):
    """What shrinks after every second step, as an attribute counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def layers(self, x, ctx):
        self.calls += ctx.training and x is not None
        q = None if x is None else self.posterior(x)
        share = 0.99 ** ((self.calls - 1) // 2) if ctx.training else 1.0
        z = yield Layer("z", self.prior(), None if q is None else DiagonalNormal(share * q.mean, q.log_scale))
        return self.likelihood(z)


class _Double(torch.autograd.Function):
    """2 x, with a rule for vmap that forgets the axis."""

    @staticmethod
    def forward(x):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient

    @staticmethod
    def vmap(info, in_dims, x):
        return 2 * x.flip(0), 0


class ForgetfulRule(Bits):
    def posterior(self, x):
        return DiagonalNormal.from_raw(_Double.apply(self.encoder(x)))


# --- a ladder -------------------------------------------------------------------------------------------------------------


class Ladder(nn.Module, LatentVariable):
    """p(z2) p(z1 | z2) p(x | z1), the posterior from the top down."""

    domain = BINARY

    def __init__(self) -> None:
        super().__init__()
        self.top, self.low = Linear(PIXELS, 2), Linear(PIXELS + 1, 2)
        self.down, self.out = Linear(1, 2), Linear(1, PIXELS)

    def sent_down(self, z, prior, ctx):
        return z

    def layers(self, x, ctx):
        prior = StandardNormal(1)
        z2 = yield Layer("z2", prior, None if x is None else DiagonalNormal.from_raw(self.top(x)))
        z2 = self.sent_down(z2, prior, ctx)
        q = None
        if x is not None:
            q = DiagonalNormal.from_raw(self.low(torch.cat([x.expand(*z2.shape[:-1], PIXELS), z2], -1)))
        z1 = yield Layer("z1", DiagonalNormal.from_raw(self.down(z2)), q)
        return Bernoulli(self.out(z1))


class PriorSentDown(Ladder):
    def sent_down(self, z, prior, ctx):
        return prior.draw(ctx.noise, batch=z.shape[-2]).value.expand_as(z)


# --- grey levels ----------------------------------------------------------------------------------------------------------

LEVELS = Domain("levels", 4)


class Grey(nn.Module, LatentVariable):
    """Levels 0..3, binomial given z."""

    domain = LEVELS

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Linear(2, 2), Linear(1, 2)

    def law(self, logits):
        return Binomial(logits)

    def layers(self, x, ctx):
        z = yield Layer("z", StandardNormal(1), None if x is None else DiagonalNormal.from_raw(self.encoder(x / 3)))
        return self.law(self.decoder(z))


class Binomial(Bernoulli):
    """The number of ones of three draws."""

    domain = LEVELS

    def log_prob(self, value):
        whole = torch.special.gammaln(torch.tensor(4.0, dtype=value.dtype))
        ways = whole - torch.special.gammaln(value + 1) - torch.special.gammaln(4 - value)
        softplus = nn.functional.softplus
        return (ways - value * softplus(-self.logits) - (3 - value) * softplus(self.logits)).sum(-1)

    def draw(self, noise, samples=None, batch=None):
        value = sum(Bernoulli(self.logits).draw(noise, samples, batch).value for _ in range(3))
        return Drawn(value, lambda: self.log_prob(value))


class CrossEntropy(Binomial):
    """Bernoulli's formula at grey levels between 0 and 1."""

    def log_prob(self, value):
        return Bernoulli(self.logits).log_prob(value / 3)


class BernoulliOnGrey(Grey):
    def law(self, logits):
        return CrossEntropy(logits)


class BitsOfGrey(Bits):
    """It says bits, and is given levels."""


# --- densities and flows --------------------------------------------------------------------------------------------------


class WrongSign(AffineCoupling):
    def forward(self, x, given=None):
        y, log_det = super().forward(x, given)
        return y, -log_det

    def inverse(self, y, given=None):
        x, log_det = super().inverse(y, given)
        return x, -log_det


class WrongWayBack(AffineCoupling):
    def inverse(self, y, given=None):
        y1, y2 = y[..., : self.split], y[..., self.split :]
        s, t = self.conditioned(y1)
        return torch.cat((y1, y2 * (-s).exp() - t), -1), -s.sum(-1)


def flow(coupling: type[AffineCoupling]) -> Callable[[], nn.Module]:
    return lambda: Flow(2, [coupling(2, (4,), activation="tanh"), Reverse(), AffineCoupling(2, (4,), activation="tanh")])


COUPLINGS = flow(AffineCoupling)


class Gaussian(nn.Module, HasLogProb, HasSample):
    domain = REAL

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_scale = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

    def law(self):
        return DiagonalNormal(self.mean, self.log_scale)

    def log_prob(self, x, ctx):
        return self.law().log_prob(x)

    def sample(self, count, ctx):
        return self.law().draw(ctx.noise, batch=count).value


class NoConstant(Gaussian):
    def log_prob(self, x, ctx):
        return super().log_prob(x, ctx) + math.log(2 * math.pi)


class VarianceForScale(Gaussian):
    def sample(self, count, ctx):
        return DiagonalNormal(self.mean, 2 * self.log_scale).draw(ctx.noise, batch=count).value


class OneOverBatch(Gaussian):
    def log_prob(self, x, ctx):
        return super().log_prob(x, ctx) / len(x)


class Coins(nn.Module, HasLogProb):
    """Independent bits."""

    domain = BINARY

    def __init__(self) -> None:
        super().__init__()
        self.logits = Linear(1, PIXELS)

    def log_prob(self, x, ctx):
        logits = self.logits(torch.ones_like(x[..., :1])).to(x.dtype)
        return (x * logits - nn.functional.softplus(logits)).sum(-1)


class InHalf(Coins):
    def log_prob(self, x, ctx):
        logits = self.logits(torch.ones_like(x[..., :1]))
        return (x.to(logits.dtype) * logits - nn.functional.softplus(logits)).sum(-1).to(logits.dtype)


class Letters(nn.Module, Sequence):
    """A running sum of what was read."""

    domain = Domain("tokens", 5)

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(5, 3), Linear(3, 5)

    def initial_state(self, streams):
        return {"sum": self.out.weight.new_zeros(streams, 3)}

    def logits(self, tokens, state, ctx):
        sums = state["sum"][:, None] + self.embedding(tokens).cumsum(1)
        return self.out(torch.tanh(sums)), {"sum": sums[:, -1]}


class StateBeforeTheLast(Letters):
    def logits(self, tokens, state, ctx):
        logits, after = super().logits(tokens, state, ctx)
        return logits, {"sum": after["sum"] - self.embedding(tokens[:, -1])}


def next_letter(model, tokens, ctx):
    logits, _ = model.logits(tokens[:, :-1], model.initial_state(len(tokens)), ctx)
    return Terms(full(logits).log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1).sum(-1))


# --- utilities and losses -------------------------------------------------------------------------------------------------


def missing_log_k(model, x, ctx):
    """log sum_k w_k."""
    return model.proposal(x, ctx, 5).log_w.logsumexp(0)


def with_log_k(model, x, ctx):
    return missing_log_k(model, x, ctx) - math.log(5)


def mean_kl(model, x, ctx):
    """The KL averaged over the units of z."""
    proposal = model.proposal(x, ctx)
    return proposal.log_likelihood - proposal.layers["z"].kl_per_unit().mean(-1)


def summed_kl(model, x, ctx):
    proposal = model.proposal(x, ctx)
    return proposal.log_likelihood - proposal.layers["z"].kl_per_unit().sum(-1)


def one_t_per_pixel(model, x, ctx):
    """WGAN-GP with a t for every number of an example."""
    fake = model.sample(len(x), ctx).to(x.dtype)
    at = torch.lerp(x, fake, ctx.noise.uniform(x.shape[1:], batch=len(x)))
    slope = example_slope(lambda v: score(model, v), at, model.critic, "a penalty")
    excess = (slope.square().sum(-1).add(1e-12).sqrt() - 1).square()
    return Terms(score(model, x) - score(model, fake) - 10 * excess)


class PlainVAE(nn.Module):
    """As everybody writes it."""

    def __init__(self, pixels: int = PIXELS) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(pixels, 4), nn.Linear(2, pixels)

    def forward(self, x):
        mean, log_var = self.encoder(x).chunk(2, -1)
        z = mean + (0.5 * log_var).exp() * torch.linspace(-1, 1, 2, dtype=x.dtype)
        return self.decoder(z), mean, log_var


def many_pixels() -> nn.Module:
    return PlainVAE(20)


def plain_loss(pixels: str, units: str) -> Callable[[nn.Module, Tensor], Tensor]:
    def loss(module, x):
        logits, mean, log_var = module(x)
        entropy = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
        kl = -0.5 * (1 + log_var - mean.square() - log_var.exp())
        return getattr(entropy, pixels)(-1) + getattr(kl, units)(-1)

    return loss


def gan() -> nn.Module:
    return WGAN(3, 2, (4,), "tanh")


GAN = {"critic": critic_utility(), "generator": generator_utility}

# The eight that everybody has made.
EIGHT = {
    "mean over pixels in the likelihood": Case(MeanOverPixels, Bits, "likelihood"),
    "missing -log k": Case(
        Bits, Bits, "bounds", given={"bound": missing_log_k, "k": 5}, instead={"bound": with_log_k, "k": 5}
    ),
    "KL averaged over units": Case(Bits, Bits, "bounds", given={"bound": mean_kl}, instead={"bound": summed_kl}),
    "log-determinant's sign": Case(flow(WrongSign), COUPLINGS, "log-det", "real", 2),
    "one t per pixel in a penalty": Case(
        gan,
        gan,
        "penalty",
        "real",
        3,
        given={"utilities": {**GAN, "critic": one_t_per_pixel}},
        instead={"utilities": GAN},
    ),
    "prior sample passed down a ladder": Case(PriorSentDown, Ladder, "latents"),
    "batch norm across samples": Case(BatchNorm, Bits, "examples"),
    "Bernoulli on grey levels": Case(BernoulliOnGrey, Grey, "likelihood", "levels:4", 2),
}
# And one for every other check: none of them passes by being loose.
OTHERS = {
    "bits of grey levels": Case(BitsOfGrey, Bits, "domain", "levels:4"),
    "a value over the batch's size": Case(OneOverBatch, Gaussian, "batch", "real", 2),
    "samples centred": Case(CoupledSamples, Bits, "samples"),
    "means for draws": Case(Means, Bits, "sample"),
    "the way back": Case(flow(WrongWayBack), COUPLINGS, "inverse", "real", 2),
    "no constant": Case(NoConstant, Gaussian, "normalised", "real", 2),
    "variance for scale in a draw": Case(VarianceForScale, Gaussian, "draws", "real", 2),
    "prior without its constant": Case(UnnormalisedPrior, Bits, "prior"),
    "posterior of other draws": Case(WidePosterior, Bits, "posterior"),
    "weights twice too large": Case(HeavyWeights, Bits, "weights"),
    "mean KL in closed form": Case(MeanKL, Bits, "kl"),
    "missing -log k, not said to be iwae": Case(
        Bits, Bits, "bounds", given={"bound": missing_log_k}, instead={"bound": with_log_k}
    ),
    "mean over pixels in a loss": Case(
        PlainVAE, PlainVAE, "loss", given={"loss": plain_loss("mean", "sum")}, instead={"loss": plain_loss("sum", "sum")}
    ),
    "mean over many pixels in a loss": Case(
        many_pixels,
        many_pixels,
        "loss",
        shape=20,
        given={"loss": plain_loss("mean", "sum")},
        instead={"loss": plain_loss("sum", "sum")},
    ),
    "mean over units in a loss": Case(
        PlainVAE, PlainVAE, "loss", given={"loss": plain_loss("sum", "mean")}, instead={"loss": plain_loss("sum", "sum")}
    ),
    "another posterior where there are samples": Case(OtherSamples, Bits, "iwae1"),
    "a state that lags behind": Case(
        StateBeforeTheLast,
        Letters,
        "windows",
        "tokens:5",
        6,
        given={"utilities": {"next": next_letter}},
        instead={"utilities": {"next": next_letter}},
    ),
    "a part that nobody uses": Case(Unused, Bits, "gradients"),
    "a rule for vmap that forgets the axis": Case(ForgetfulRule, Bits, "stack"),
    "log p(x) in bf16": Case(InHalf, Coins, "bf16"),
    "a warm-up counted on the module": Case(Counted, Bits, "resume"),
}
