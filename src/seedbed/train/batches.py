"""How training batches are drawn: a pure function of (seed, batch number)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import BLOCK, EvalNoise, Noise, Streams
from seedbed.core.numbers import whole
from seedbed.data.dataset import Dataset
from seedbed.data.source import Source, source_of


class Batches(ABC):
    """The training data as a numbered sequence of batches per seed.

    A batch is a pytree of tensors, such as images, ``{"x": images, "label": classes}`` or windows of tokens.
    """

    @abstractmethod
    def __call__(self, streams: Sequence[Streams], number: int) -> Any:
        """Batch ``number`` of every seed, a pytree of ``[seeds, batch, *example]``."""

    def begins(self, number: int) -> bool:
        """Whether with batch ``number`` state that is carried along the data starts anew (see ``game.Utility``)."""
        return False


class Shuffled(Batches):
    """Independent examples in a new random order on each pass; a last, smaller batch is left out.

    Args:
        data: a pytree of sources or tensors ``[examples, *example]`` shared by all seeds, or of tensors ``[seeds, examples,
            *example]`` with ``per_seed``.
        batch_size: examples per batch.
        per_seed: whether every seed has its own examples.

    Raises:
        SeedbedError: if there are fewer examples than that, or not the same number of everything.
    """

    def __init__(self, data: Any, batch_size: int, per_seed: bool = False) -> None:
        self.data = data if per_seed else tree_map(source_of, data)
        self.batch_size = batch_size = whole("batch size", batch_size, 1)
        self.per_seed = per_seed
        counts = [leaf.shape[1] if per_seed else len(leaf) for leaf in tree_leaves(data)]
        if len(set(counts)) != 1:
            raise SeedbedError(f"expected as many examples of everything in the training data, got {counts}")
        self.examples = counts[0]
        self.device = tree_leaves(data)[0].device
        if batch_size > self.examples:
            raise SeedbedError(
                f"batch size {batch_size} is larger than the {self.examples} training examples; say "
                f"--batch-size {self.examples} (batch_size={self.examples} in Python), or less"
            )
        self._pass: tuple[tuple[Streams, ...], int, Tensor] | None = None

    def __call__(self, streams: Sequence[Streams], number: int) -> Any:
        """Batch ``number``: one slice of the pass's permutation, drawn from the ``order`` stream."""
        if self.per_seed and (given := len(tree_leaves(self.data)[0])) != len(streams):
            raise SeedbedError(f"expected data of each of {len(streams)} seeds, got {given}; make them from `streams`")
        _, rows = self._rows(tuple(streams), number)
        return tree_map(partial(_of_each, rows) if self.per_seed else (lambda source: source.gather(rows)), self.data)

    def _rows(self, streams: tuple[Streams, ...], number: int) -> tuple[int, Tensor]:
        """Which pass a batch belongs to, and which examples it holds, ``[seeds, batch]``."""
        index, position = divmod(number, self.examples // self.batch_size)
        first = position * self.batch_size
        return index, self._order(streams, index)[:, first : first + self.batch_size].long()

    def _order(self, streams: tuple[Streams, ...], index: int) -> Tensor:
        if self._pass is None or self._pass[:2] != (streams, index):
            orders = [torch.randperm(self.examples, generator=s.generator("order", index)).int() for s in streams]
            self._pass = (streams, index, torch.stack(orders).to(self.device))
        return self._pass[2]


def _of_each(rows: Tensor, data: Tensor) -> Tensor:
    return data[torch.arange(len(rows), device=rows.device)[:, None], rows]


class Redrawn(Shuffled):
    """Shuffled examples whose random view is drawn once per pass: within a pass an example is the same for a seed.

    The draws are keyed by (seed, pass, example), in the seed's ``order`` stream.

    Args:
        data: a pytree of sources or tensors ``[examples, *example]``, e.g. probabilities.
        batch_size: examples per batch.
        view: makes examples of ``data``, e.g. a Bernoulli draw (see ``Dataset.view``), in a pytree of the same structure.
        keep: what a pass of floating point numbers is kept as; ``uint8`` for whole numbers up to 255 takes a quarter of the
            memory, ``None`` for as they are.
    """

    def __init__(
        self, data: Any, batch_size: int, view: Callable[[Any, Noise], Any], keep: torch.dtype | None = torch.uint8
    ) -> None:
        super().__init__(data, batch_size)
        self.view = view
        self.keep = keep
        self._shown: tuple[tuple[Streams, ...], int, Any] | None = None

    def __call__(self, streams: Sequence[Streams], number: int) -> Any:
        """Batch ``number``: one slice of the pass's permutation of the pass's view."""
        index, rows = self._rows(tuple(streams), number)
        shown = self._view(tuple(streams), index)
        return tree_map(lambda stored, data: _of_each(rows, stored).to(data.dtype), shown, self.data)

    def _view(self, streams: tuple[Streams, ...], index: int) -> Any:
        if self._shown is None or self._shown[:2] != (streams, index):
            self._shown = None  # two passes need not be in memory at once
            shown = tree_map(lambda data: self._room(len(streams), data), self.data)
            for row, stream in enumerate(streams):
                for first in range(0, self.examples, 64 * BLOCK):  # the chunk cannot change a draw
                    last = min(first + 64 * BLOCK, self.examples)
                    piece = tree_map(itemgetter(slice(first, last)), self.data)
                    noise = EvalNoise((stream,), "view", index, first=first, device=self.device, stream="order")
                    part = self.view(piece, noise)
                    for stored, drawn in zip(tree_leaves(shown), tree_leaves(part), strict=True):
                        stored[row, first:last] = drawn.to(stored.dtype)
            self._shown = (streams, index, shown)
        return self._shown[2]

    def _room(self, seeds: int, data: Source) -> Tensor:
        kept = self.keep if self.keep is not None and data.dtype.is_floating_point else data.dtype
        return torch.empty((seeds, len(data), *data.shape), dtype=kept, device=data.device)


def batches_of(data: Dataset, batch_size: int) -> tuple[Batches, Callable[[Any, Noise], Any] | None]:
    """Shuffled batches of a data set, and the view that is left to draw per batch, as ``Dataset.refresh`` says."""
    train = data.splits["train"]
    if data.view is None or data.refresh == "batch":
        return Shuffled(train, batch_size), data.view
    whole = data.domain.kind in ("binary", "levels") and (data.domain.size or 2) <= 256
    return Redrawn(train, batch_size, data.view, torch.uint8 if whole else None), None


class Repeated(Batches):
    """The same batch at every update, such as all that is to be known of the data.

    Args:
        batch: a pytree of tensors ``[seeds, batch, ...]``, in the order of the stack's seeds.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __call__(self, streams: Sequence[Streams], number: int) -> Any:
        """The batch."""
        if (given := len(tree_leaves(self.batch)[0])) != len(streams):
            raise SeedbedError(f"expected a batch of each of {len(streams)} seeds, got {given}; make them from `streams`")
        return self.batch


class Reduced(Batches):
    """Batches as they are summed up, ``[seeds, batch, *example]`` to what is learnt from.

    Args:
        batches: as they are drawn.
        reduce: of all seeds' examples, a pytree of tensors ``[seeds, batch, ...]``.
    """

    def __init__(self, batches: Batches, reduce: Callable[[Any], Any]) -> None:
        self.batches, self.reduce = batches, reduce

    def __call__(self, streams: Sequence[Streams], number: int) -> Any:
        """Batch ``number``, summed up."""
        return self.reduce(self.batches(streams, number))

    def begins(self, number: int) -> bool:
        """Where the batches themselves do."""
        return self.batches.begins(number)


class Contiguous(Batches):
    """Consecutive windows of a token sequence cut into parallel streams, for models with state between steps.

    Batch ``number`` is window ``number`` of each stream, ``[seeds, streams, length + 1]``: inputs and targets overlap by
    all but one token. After the last window the sequence starts again (and a utility that carries state says in ``resets``
    what of it does, too).

    Args:
        tokens: a source or a tensor ``[time]``.
        streams: parallel streams, the batch axis.
        length: predicted tokens per window.
    """

    def __init__(self, tokens: Int[Tensor, "time"] | Source, streams: int, length: int) -> None:
        per_stream = (len(tokens) - 1) // streams
        self.windows = per_stream // length
        if self.windows < 1:
            raise SeedbedError(
                f"{len(tokens)} tokens do not fill {streams} streams of {length}; use fewer streams or a shorter length"
            )
        self.tokens = source_of(tokens)
        self.starts = torch.arange(streams) * per_stream
        self.length = length

    def __call__(self, streams: Sequence[Streams], number: int) -> Int[Tensor, "seeds streams window"]:
        """Window ``number`` of every stream; the same for all seeds."""
        first = self.starts + (number % self.windows) * self.length
        batch = self.tokens.gather(first[:, None] + torch.arange(self.length + 1))
        return batch.expand(len(streams), *batch.shape)

    def begins(self, number: int) -> bool:
        """At the first window of each pass."""
        return number % self.windows == 0
