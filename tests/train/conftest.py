"""Small training problems, one of each kind, and ways to play them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from seedbed.core.capabilities import Sequence
from seedbed.core.domain import Domain
from seedbed.core.noise import Streams
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.experiments import find
from seedbed.nets.linear import Linear
from seedbed.train.batches import Contiguous
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

    def logits(self, tokens, state):
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

    def __init__(self, windows):
        self.windows = windows

    def initial_state(self, model, batch):
        return {"window": torch.zeros((), dtype=torch.int64), **model.initial_state(len(batch))}

    def __call__(self, model, batch, noise, state):
        first = state["window"] % self.windows == 0
        hidden = torch.where(first, 0.0, state["hidden"])
        # Noise on what is carried, so that this model too depends on every stream's every address.
        keep = noise.of("dropout").bernoulli(torch.full_like(hidden, 0.9))
        logits, after = model.logits(batch[:, :-1], {"hidden": hidden * keep / 0.9})
        value = logits.log_softmax(-1).gather(-1, batch[:, 1:, None]).squeeze(-1).sum(1)
        return Terms(value, {"log_likelihood": value}, {"window": state["window"] + 1, **after})


def char_gru(precision="fp32", steps=100, eval_every=20, **changes):
    tokens = torch.tensor([ALPHABET.index(c) for c in TEXT])
    data = Dataset(
        name="text",
        domain=Domain("tokens", len(ALPHABET)),
        protocol="the first two sentences",
        splits={"train": tokens, "valid": tokens[:97], "test": tokens[-97:]},
    )

    def nll(model, tokens):
        logits, _ = model.logits(tokens[None, :-1], model.initial_state(1))
        return -logits[0].log_softmax(-1).gather(-1, tokens[1:, None]).squeeze(-1)

    def measure(stack, split):
        with torch.no_grad():
            return {"nll_nats": (stack.call(nll, shared=(data.splits[split],)), "nats")}

    batches = Contiguous(tokens, streams=4, length=9)
    player = Player(utility=NextToken(batches.windows), optimizer=Adam(lr=1e-2), schedule=cosine(warmup=0.1), clip=5.0)
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


def toy(model, **settings):
    settings = {"train_size": 2000, "eval_size": 256, "valid_size": 256, "batch_size": 32, **settings}

    def build(precision="fp32", steps=100, eval_every=20, **changes):
        fields = {"precision": precision, "steps": steps, "eval_every": eval_every}
        task = find(f"toy/8gaussians/{model}").with_config(settings | fields).task([])
        return replace(task, artefacts=None, reference=None, **changes)

    return build


WORKLOADS = {
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
