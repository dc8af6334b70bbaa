"""A language model of characters: dropout, a state carried from window to window, a step size that validation decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from seedbed.core.capabilities import Sequence
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.distributions.numeric import full
from seedbed.evaluate.estimate import draw_samples
from seedbed.evaluate.pictures import Artefacts, Reference
from seedbed.evaluate.sequences import SequenceMeasure
from seedbed.experiments.data import Data
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective
from seedbed.experiments.training import Training
from seedbed.nets.linear import Linear
from seedbed.train.batches import Contiguous
from seedbed.train.controllers import Plateau
from seedbed.train.game import Game
from seedbed.train.task import Measure

TEXT = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. "
    "However little known the feelings or views of such a man may be on his first entering a neighbourhood, this truth is "
    "so well fixed in the minds of the surrounding families, that he is considered the rightful property of some one or "
    "other of their daughters."
)
ALPHABET = sorted(set(TEXT))
STREAMS, LENGTH = 4, 9


class CharGRU(nn.Module, Sequence):
    """A GRU cell (Cho et al. 2014, arXiv 1406.1078) over characters, with dropout on what it returns."""

    start = ALPHABET.index(" ")
    sample_length = 40

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(len(ALPHABET), width)
        self.inputs, self.recurrent = Linear(width, 3 * width), Linear(width, 3 * width)
        self.dropout = nn.Dropout(0.2)
        self.output = Linear(width, len(ALPHABET))

    def initial_state(self, streams: int) -> Mapping[str, Tensor]:
        return {"hidden": self.output.weight.new_zeros(streams, self.width)}

    def logits(self, tokens: Tensor, state: Mapping[str, Tensor], ctx: Context) -> tuple[Tensor, Mapping[str, Tensor]]:
        hidden, outputs = state["hidden"], []
        inputs = self.inputs(self.embedding(tokens))
        for t in range(tokens.shape[1]):
            r1, u1, n1 = inputs[:, t].chunk(3, -1)
            r2, u2, n2 = self.recurrent(hidden).chunk(3, -1)
            update = torch.sigmoid(u1 + u2)
            hidden = (1 - update) * torch.tanh(n1 + torch.sigmoid(r1 + r2) * n2) + update * hidden
            outputs.append(hidden)
        return self.output(self.dropout(torch.stack(outputs, 1))), {"hidden": hidden}


class NextToken:
    """log p(window | everything before it in its stream); the hidden state starts anew with each pass over the text."""

    resets = ("hidden",)

    def initial_state(self, model: CharGRU, batch: Tensor) -> Mapping[str, Tensor]:
        return model.initial_state(len(batch))

    def __call__(self, model: CharGRU, batch: Tensor, ctx: Context) -> Terms:
        logits, after = model.logits(batch[:, :-1], ctx.state, ctx)
        ctx.state["hidden"] = after["hidden"]
        value = logits.log_softmax(-1).gather(-1, batch[:, 1:, None]).squeeze(-1).sum(1)
        return Terms(full(value), {"log_likelihood": full(value)})


@dataclass(frozen=True)
class Sentences(Data):
    """Characters of two sentences, one after another."""

    data: str = option("two-sentences", "data set")

    @property
    def epoch_examples(self) -> int:
        """Windows of all streams in one pass."""
        return (len(TEXT) - 1) // STREAMS // LENGTH * STREAMS

    def load(self, seed: int | None = None) -> Dataset:
        tokens = torch.tensor([ALPHABET.index(c) for c in TEXT])
        return Dataset(
            name="two-sentences",
            domain=Domain("tokens", len(ALPHABET)),
            protocol="the first two sentences of a novel",
            splits={"train": tokens, "valid": tokens[:97], "test": tokens[-97:]},
        )

    def batches(self, data: Dataset, training: Training, streams: list[Streams]) -> tuple[Contiguous, None]:
        return Contiguous(data.splits["train"][:], STREAMS, LENGTH), None

    def pictured(self, data: Dataset, codes: bool) -> tuple[Artefacts, Reference]:
        def texts(stack: Stack) -> Mapping[str, Mapping[str, np.ndarray]]:
            draws = draw_samples(stack, lambda model, count, ctx: model.sample(count, ctx), 64)
            return {"samples": {"tokens": draws.cpu().numpy()}}

        shown = data.splits["train"][:320].reshape(8, 40).numpy()
        return texts, lambda: {"tokens": shown, "vocabulary": np.array(ALPHABET)}


@dataclass(frozen=True, kw_only=True)
class Recurrent(Model):
    """A GRU over characters."""

    takes: ClassVar = ("tokens",)

    def build(self, data: Dataset) -> CharGRU:
        return CharGRU()


@dataclass(frozen=True, kw_only=True)
class Next(Objective):
    """The next character."""

    def game(self, training: Training, model: Recurrent) -> Game:
        return Game((training.player(NextToken(), schedule=Plateau(by=0.5, patience=0)),))

    def select(self, model: Recurrent) -> str:
        return "nll_nats"

    def measure(self, data: Dataset, model: Recurrent) -> Measure:
        return SequenceMeasure(data)


settings = Training(steps=44, batch_size=STREAMS, eval_every=11, lr=3e-2, clip=5.0, ema=0.9)
experiment = Experiment(Sentences(), Recurrent(), Next(), settings)
