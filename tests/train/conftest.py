"""Small training problems, one of each kind, and ways to play them."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import grad

from seedbed.core.capabilities import Sequence
from seedbed.core.domain import REAL, Domain
from seedbed.core.noise import Streams
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.nets.linear import Linear
from seedbed.train.batches import Contiguous, Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.learner import Learner
from seedbed.train.optim import Adam
from seedbed.train.schedules import cosine
from seedbed.train.task import Task

CPU = torch.device("cpu")

TEXT = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. "
    "However little known the feelings or views of such a man may be on his first entering a neighbourhood, this truth is "
    "so well fixed in the minds of the surrounding families, that he is considered the rightful property of some one or "
    "other of their daughters."
)
ALPHABET = sorted(set(TEXT))


class CharGRU(nn.Module, Sequence):
    """A GRU cell (Cho et al. 2014, arXiv 1406.1078) over characters."""

    def __init__(self, vocabulary, width):
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        self.inputs = Linear(width, 3 * width)
        self.recurrent = Linear(width, 3 * width)
        self.output = Linear(width, vocabulary)

    def initial_state(self, streams):
        return {"hidden": self.output.weight.new_zeros(streams, self.width)}

    def logits(self, tokens, state, ctx):
        hidden, outputs = state["hidden"], []
        inputs = self.inputs(self.embedding(tokens))
        for t in range(tokens.shape[1]):
            r1, u1, n1 = inputs[:, t].chunk(3, -1)
            r2, u2, n2 = self.recurrent(hidden).chunk(3, -1)
            update = torch.sigmoid(u1 + u2)
            hidden = (1 - update) * torch.tanh(n1 + torch.sigmoid(r1 + r2) * n2) + update * hidden
            outputs.append(hidden)
        return self.output(torch.stack(outputs, 1)), {"hidden": hidden}


class NextToken:
    """log p(window | everything before it in its stream), the hidden state carried from window to window."""

    resets = ("hidden",)

    def initial_state(self, model, batch):
        return dict(model.initial_state(len(batch)))

    def __call__(self, model, batch, ctx):
        hidden = ctx.state["hidden"]
        # Noise on what is carried, so that this model too depends on every stream's every address.
        keep = ctx.noise.of("dropout").bernoulli(torch.full_like(hidden, 0.9))
        logits, after = model.logits(batch[:, :-1], {"hidden": hidden * keep / 0.9}, ctx)
        ctx.state["hidden"] = after["hidden"]
        value = logits.log_softmax(-1).gather(-1, batch[:, 1:, None]).squeeze(-1).sum(1)
        return Terms(value, {"log_likelihood": value})


def char_gru(precision="fp32", steps=100, eval_every=20, **changes):
    tokens = torch.tensor([ALPHABET.index(c) for c in TEXT])
    data = Dataset(
        name="text",
        domain=Domain("tokens", len(ALPHABET)),
        protocol="the first two sentences",
        splits={"train": tokens, "valid": tokens[:97], "test": tokens[-97:]},
    )

    def nll(model, tokens, ctx):
        logits, _ = model.logits(tokens[None, :-1], model.initial_state(1), ctx)
        return -logits[0].log_softmax(-1).gather(-1, tokens[1:, None]).squeeze(-1)

    def measure(stack, split):
        with torch.no_grad():
            noise = stack.noise("eval", split)
            return {"nll_nats": (stack.call(nll, shared=(data.splits[split][:],), noise=noise), "nats")}

    batches = Contiguous(tokens, streams=4, length=9)
    player = Player(utility=NextToken(), optimizer=Adam(lr=1e-2), schedule=cosine(warmup=0.1), clip=5.0)
    task = Task(
        build=lambda: CharGRU(len(ALPHABET), 8),
        game=Game((player,)),
        data=data,
        batches=batches,
        steps=steps,
        eval_every=eval_every,
        measure=measure,
        select="nll_nats",
        precision=precision,
    )
    return replace(task, **changes)


def ring(count, seed):
    """Points around eight centres, and whose they are."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(8, (count,), generator=generator)
    angle = label * torch.pi / 4
    x = 2 * torch.stack((angle.cos(), angle.sin()), 1) + 0.2 * torch.randn(count, 2, generator=generator)
    return {"x": x, "label": label}


RING = {"train": ring(400, 0), "valid": ring(64, 1), "test": ring(64, 2)}
POINTS = {split: part["x"] for split, part in RING.items()}


class SmallVAE(nn.Module):
    """p(x | z) = N(f(z), I), q(z | x) diagonal."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(Linear(2, 8), nn.Tanh(), Linear(8, 4))
        self.decoder = nn.Sequential(Linear(2, 8), nn.Tanh(), Linear(8, 2))


def elbo(model, x, ctx):
    mean, log_scale = model.encoder(x).chunk(2, -1)
    z = mean + log_scale.exp() * ctx.noise.normal((2,), batch=len(x))
    kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(-1)
    fit = -0.5 * (x - model.decoder(z)).square().sum(-1)
    return Terms(fit - kl, {"reconstruction": fit, "kl": kl})


def small_vae(precision="fp32", steps=100, eval_every=20, **changes):
    data = Dataset(name="ring", domain=REAL, protocol="", splits=POINTS)

    def measure(stack, split):
        loss = lambda model, x, ctx: -elbo(model, x, ctx).value
        with torch.no_grad():
            values = stack.call(loss, shared=(POINTS[split].to(stack.dtype),), noise=stack.noise("eval", split))
        return {"neg_elbo_nats": (values, "nats")}

    task = Task(
        build=SmallVAE,
        game=Game((Player(utility=elbo, optimizer=Adam(lr=3e-3), ema=0.9),)),
        data=data,
        batches=Shuffled(POINTS["train"], 32),
        steps=steps,
        eval_every=eval_every,
        measure=measure,
        select="neg_elbo_nats",
        precision=precision,
    )
    return replace(task, **changes)


class SmallGAN(nn.Module):
    """A generator with batch norm and a critic with dropout, both told the label."""

    def __init__(self):
        super().__init__()
        self.generator = nn.ModuleDict({"label": nn.Embedding(8, 2), "net": self.net(nn.BatchNorm1d(8), 2)})
        self.critic = nn.ModuleDict({"label": nn.Embedding(8, 2), "net": self.net(nn.Dropout(0.1), 1)})

    def net(self, middle, out):
        # No bias before batch norm: it would have no gradient but rounding, which Adam makes a whole step of.
        return nn.Sequential(Linear(4, 8, bias=False), middle, nn.Tanh(), Linear(8, out))

    def draw(self, label, ctx):
        z = ctx.noise.normal((2,), batch=len(label))
        return self.generator["net"](torch.cat((z, self.generator["label"](label)), 1))

    def score(self, x, label):
        return self.critic["net"](torch.cat((x, self.critic["label"](label)), 1)).squeeze(-1)


def penalised(model, batch, ctx):
    x, label = batch["x"], batch["label"]
    fake = model.draw(label, ctx).detach()
    share = ctx.noise.uniform((1,), batch=len(x))
    slope = grad(lambda at: model.score(at, label).sum())(share * x + (1 - share) * fake)
    penalty = (slope.square().sum(-1).add(1e-12).sqrt() - 1).square()
    return Terms(model.score(x, label) - model.score(fake, label) - penalty, {"penalty": penalty})


def fooling(model, batch, ctx):
    return Terms(model.score(model.draw(batch["label"], ctx), batch["label"]))


def small_gan(precision="fp32", steps=100, eval_every=20, **changes):
    data = Dataset(name="ring", domain=REAL, protocol="", splits=POINTS)

    def measure(stack, split):
        def miss(model, x, label, ctx):
            return (model.draw(label, ctx) - x).square().sum(-1)

        shared = (RING[split]["x"].to(stack.dtype), RING[split]["label"])
        with torch.no_grad():
            return {"miss": (stack.call(miss, shared=shared, noise=stack.noise("eval", split)), "1")}

    adam = Adam(lr=3e-3, beta1=0.5)
    critic = Player(utility=penalised, name="critic", owns=("critic",), optimizer=adam, clip=5.0, repeat=2)
    generator = Player(utility=fooling, name="generator", owns=("generator",), optimizer=adam, ema=0.9, ema_state=True)
    task = Task(
        build=SmallGAN,
        game=Game((critic, generator)),
        data=data,
        batches=Shuffled(RING["train"], 32),
        steps=steps,
        eval_every=eval_every,
        measure=measure,
        select="miss",
        precision=precision,
    )
    return replace(task, **changes)


def toy(model, **settings):
    settings = {"train_size": 2000, "eval_size": 256, "valid_size": 256, "batch_size": 32, **settings}

    def build(precision="fp32", steps=100, eval_every=20, **changes):
        from seedbed.experiments import find

        fields = {"precision": precision, "steps": steps, "eval_every": eval_every}
        task = find(f"toy/8gaussians/{model}").with_config(settings | fields).task([])
        return replace(task, artefacts=None, reference=None, **changes)

    return build


WORKLOADS = {
    "small-vae": small_vae,
    "small-gan": small_gan,
    "vae": toy("vae", hidden=(8, 8)),
    "vae-soap": toy("vae", hidden=(8, 8), optimizer="soap"),
    "lvae": toy("lvae", hidden=(8, 8)),
    "flow": toy("flow", hidden=(8,), couplings=2),
    "spline-flow": toy("spline-flow", hidden=(8,), couplings=2),
    "wgan-gp": toy("wgan-gp", hidden=(8,), critic_updates=2, ema=0.9),
    "char-gru": char_gru,
}


@pytest.fixture
def workloads():
    """Builders of small tasks by name: ``build(precision, steps, eval_every, **task fields)``."""
    return WORKLOADS


@pytest.fixture(params=WORKLOADS)
def build(request):
    """The builder of each workload in turn."""
    return WORKLOADS[request.param]


@pytest.fixture
def learner():
    """``learner(task, seeds)``, ready for its first step."""
    return lambda task, seeds: Learner(task, [Streams(seed) for seed in seeds], CPU)
