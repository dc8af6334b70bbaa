"""How training batches are drawn: a pure function of (seed, batch number)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams


class Batches(ABC):
    """The training data as a numbered sequence of batches per seed."""

    @abstractmethod
    def __call__(self, streams: Sequence[Streams], number: int) -> Tensor:
        """Batch ``number`` of every seed, ``[seeds, batch, *example]``."""


class Shuffled(Batches):
    """Independent examples in a new random order on each pass; a last, smaller batch is left out.

    Args:
        data: ``[examples, *example]`` shared by all seeds, or ``[seeds, examples, *example]`` with ``per_seed``.
        batch_size: examples per batch.
        per_seed: whether every seed has its own examples.
    """

    def __init__(self, data: Tensor, batch_size: int, per_seed: bool = False) -> None:
        self.data = data
        self.batch_size = batch_size
        self.per_seed = per_seed
        self.examples = data.shape[1] if per_seed else data.shape[0]
        if batch_size > self.examples:
            raise SeedbedError(
                f"batch size {batch_size} is larger than the {self.examples} training examples; make it smaller"
            )
        self._pass: tuple[tuple[Streams, ...], int, Tensor] | None = None

    def __call__(self, streams: Sequence[Streams], number: int) -> Tensor:
        """Batch ``number``: one slice of the pass's permutation, drawn from the ``order`` stream."""
        index, position = divmod(number, self.examples // self.batch_size)
        rows = self._order(tuple(streams), index)[:, position * self.batch_size : (position + 1) * self.batch_size].long()
        if self.per_seed:
            return self.data[torch.arange(len(rows), device=rows.device)[:, None], rows]
        return self.data[rows]

    def _order(self, streams: tuple[Streams, ...], index: int) -> Tensor:
        if self._pass is None or self._pass[:2] != (streams, index):
            orders = [torch.randperm(self.examples, generator=s.generator("order", index)).int() for s in streams]
            self._pass = (streams, index, torch.stack(orders).to(self.data.device))
        return self._pass[2]


class Contiguous(Batches):
    """Consecutive windows of a token sequence cut into parallel streams, for models with state between steps.

    Batch ``number`` is window ``number`` of each stream, ``[seeds, streams, length + 1]``: inputs and targets overlap by
    all but one token. After the last window the sequence starts again (and a utility that carries state resets it there:
    see ``windows``).

    Args:
        tokens: ``[time]``.
        streams: parallel streams, the batch axis.
        length: predicted tokens per window.
    """

    def __init__(self, tokens: Tensor, streams: int, length: int) -> None:
        per_stream = (len(tokens) - 1) // streams
        self.windows = per_stream // length
        if self.windows < 1:
            raise SeedbedError(
                f"{len(tokens)} tokens do not fill {streams} streams of {length}; use fewer streams or a shorter length"
            )
        self.tokens = tokens
        self.starts = torch.arange(streams) * per_stream
        self.length = length

    def __call__(self, streams: Sequence[Streams], number: int) -> Tensor:
        """Window ``number`` of every stream; the same for all seeds."""
        first = self.starts + (number % self.windows) * self.length
        batch = self.tokens[first[:, None] + torch.arange(self.length + 1)]
        return batch.expand(len(streams), *batch.shape)
