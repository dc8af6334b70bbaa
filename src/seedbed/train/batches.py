"""How training batches are drawn: a pure function of (seed, batch number)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import BLOCK, EvalNoise, Noise, Streams
from seedbed.data.dataset import Dataset


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
        _, rows = self._rows(tuple(streams), number)
        if self.per_seed:
            return self.data[torch.arange(len(rows), device=rows.device)[:, None], rows]
        return self.data.index_select(0, rows.flatten()).view(*rows.shape, *self.data.shape[1:])

    def _rows(self, streams: tuple[Streams, ...], number: int) -> tuple[int, Tensor]:
        """Which pass a batch belongs to, and which examples it holds, ``[seeds, batch]``."""
        index, position = divmod(number, self.examples // self.batch_size)
        first = position * self.batch_size
        return index, self._order(streams, index)[:, first : first + self.batch_size].long()

    def _order(self, streams: tuple[Streams, ...], index: int) -> Tensor:
        if self._pass is None or self._pass[:2] != (streams, index):
            orders = [torch.randperm(self.examples, generator=s.generator("order", index)).int() for s in streams]
            self._pass = (streams, index, torch.stack(orders).to(self.data.device))
        return self._pass[2]


class Redrawn(Shuffled):
    """Shuffled examples whose random view is drawn once per pass: within a pass an example is the same for a seed.

    The draws are keyed by (seed, pass, example), in the seed's ``order`` stream.

    Args:
        data: ``[examples, *example]``, e.g. probabilities.
        batch_size: examples per batch.
        view: makes examples of ``data``, e.g. a Bernoulli draw (see ``Dataset.view``).
        keep: what a pass is kept as; ``uint8`` for whole numbers up to 255 takes a quarter of the memory.
    """

    def __init__(
        self, data: Tensor, batch_size: int, view: Callable[[Tensor, Noise], Tensor], keep: torch.dtype = torch.uint8
    ) -> None:
        super().__init__(data, batch_size)
        self.view = view
        self.keep = keep
        self._shown: tuple[tuple[Streams, ...], int, Tensor] | None = None

    def __call__(self, streams: Sequence[Streams], number: int) -> Tensor:
        """Batch ``number``: one slice of the pass's permutation of the pass's view."""
        index, rows = self._rows(tuple(streams), number)
        shown = self._view(tuple(streams), index)
        return shown[torch.arange(len(rows), device=rows.device)[:, None], rows].to(self.data.dtype)

    def _view(self, streams: tuple[Streams, ...], index: int) -> Tensor:
        if self._shown is None or self._shown[:2] != (streams, index):
            self._shown = None  # two passes need not be in memory at once
            shown = torch.empty((len(streams), *self.data.shape), dtype=self.keep, device=self.data.device)
            for row, stream in enumerate(streams):
                for first in range(0, self.examples, 64 * BLOCK):  # the chunk cannot change a draw
                    noise = EvalNoise((stream,), "view", index, first=first, device=self.data.device, stream="order")
                    part = self.data[first : first + 64 * BLOCK]
                    shown[row, first : first + len(part)] = self.view(part, noise).to(self.keep)
            self._shown = (streams, index, shown)
        return self._shown[2]


def batches_of(data: Dataset, batch_size: int) -> tuple[Batches, Callable[[Tensor, Noise], Tensor] | None]:
    """Shuffled batches of a data set, and the view that is left to draw per batch, as ``Dataset.refresh`` says."""
    train = data.splits["train"]
    if data.view is None or data.refresh == "batch":
        return Shuffled(train, batch_size), data.view
    whole = data.domain.kind in ("binary", "levels") and (data.domain.size or 2) <= 256
    return Redrawn(train, batch_size, data.view, torch.uint8 if whole else train.dtype), None


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
