"""The exact likelihood of models of token sequences."""

from collections.abc import Mapping

import torch
from torch import Tensor

from seedbed.core.capabilities import Sequence
from seedbed.core.context import Context
from seedbed.core.metric import NLL
from seedbed.core.noise import EvalNoise
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.distributions.numeric import full

WINDOW = 256  # tokens at once


class SequenceMeasure:
    """``nll_nats`` = -log p(x_t | x_<t) of every token after the first, a split read as one sequence, its state carried.

    Args:
        data: token sequences, each split ``[time]``.
        window: tokens at once; it decides memory, and no number beyond its rounding.
    """

    def __init__(self, data: Dataset, window: int = WINDOW) -> None:
        self.data = data
        self.window = window

    def __call__(self, stack: Stack, split: str) -> dict[str, tuple[Tensor, str]]:
        """``{"nll_nats": ([seeds, tokens - 1], "nats")}``."""
        tokens, parts = self.data.splits[split], []
        noise = EvalNoise(stack.streams, "sequence", split, device=stack.device, dtype=stack.dtype)
        with torch.no_grad():
            state = stack.call(_start, noise=noise)
            for first in range(0, len(tokens) - 1, self.window):
                part = tokens[first : first + self.window + 1].to(stack.device)
                values, state = stack.call(_window, state, noise=noise, shared=(part,))
                parts.append(values)
        return {NLL.name: (torch.cat(parts, 1), NLL.unit)}


def _start(model: Sequence, ctx: Context) -> Mapping[str, Tensor]:
    return dict(model.initial_state(1))


def _window(
    model: Sequence, tokens: Tensor, state: Mapping[str, Tensor], ctx: Context
) -> tuple[Tensor, Mapping[str, Tensor]]:
    logits, after = model.logits(tokens[None, :-1], state, ctx)
    return -full(logits[0]).log_softmax(-1).gather(-1, tokens[1:, None]).squeeze(-1), dict(after)
