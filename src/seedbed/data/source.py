"""Where the examples of a split are: in memory, or in a file that is read as they are asked for."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.data.paths import check_file

PIECE = 1 << 24  # bytes of fp32 examples at once, where all of a split are passed through


class Source(ABC):
    """Examples of one shape, gathered by row. A source can be larger than memory: only what is asked for is read."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one example; ``()`` of a sequence of tokens."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of what is gathered."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where what is gathered comes to be."""

    @abstractmethod
    def __len__(self) -> int:
        """Examples."""

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor:
        """The examples at ``rows``, ``[*rows, *shape]``, in their order; a row may come more than once."""

    @abstractmethod
    def map(self, function: Callable[[Tensor], Tensor]) -> "Source":
        """The same examples after a function of each number by itself."""

    @abstractmethod
    def to(self, device: torch.device) -> "Source":
        """The same examples, gathered on another device."""

    @abstractmethod
    def digest(self) -> memoryview | bytes:
        """What stands for the examples in the checksum of a data set: of those in memory all their bytes."""

    def __getitem__(self, at: int | slice | Tensor) -> Tensor:
        """One example, or the examples at a slice or at rows: ``source[:]`` is all of them."""
        if isinstance(at, Tensor):
            return self.gather(at)
        rows = range(len(self))[at]
        return self.gather(torch.tensor(rows) if isinstance(rows, int) else torch.arange(rows.start, rows.stop, rows.step))

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation (of n - 1) of all numbers, from sums in fp64."""
        count = len(self) * math.prod(self.shape)
        mean = sum(float(piece.sum(dtype=torch.float64)) for piece in self.pieces()) / count
        spread = sum(float((piece.double() - mean).square().sum()) for piece in self.pieces())
        return mean, math.sqrt(spread / (count - 1)) if count > 1 else math.nan

    def pieces(self) -> Iterator[Tensor]:
        """All examples in order, few enough at once to be in memory, ``[n, *shape]`` each."""
        count = max(1, PIECE // (4 * max(1, math.prod(self.shape))))
        return (self[first : first + count] for first in range(0, len(self), count))


class InMemory(Source):
    """Examples that are a tensor.

    Args:
        examples: ``[n, *shape]``.
        dtype: what is gathered, where that is not what is kept.
    """

    def __init__(self, examples: Tensor, dtype: torch.dtype | None = None) -> None:
        self.examples, self._dtype = examples, dtype or examples.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.examples.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Of what is gathered."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Where the tensor is."""
        return self.examples.device

    def __len__(self) -> int:
        """Examples."""
        return len(self.examples)

    def gather(self, rows: Tensor) -> Tensor:
        """The examples at ``rows``, ``[*rows, *shape]``."""
        found = self.examples.index_select(0, rows.flatten().to(self.device))
        return found.view(*rows.shape, *self.shape).to(self._dtype)

    def __getitem__(self, at: int | slice | Tensor) -> Tensor:
        """One example, or those at a slice, of which nothing is copied, or at rows."""
        return self.gather(at) if isinstance(at, Tensor) else self.examples[at].to(self._dtype)

    def map(self, function: Callable[[Tensor], Tensor]) -> "InMemory":
        """All of them at once."""
        return InMemory(function(self[:]))

    def to(self, device: torch.device) -> "InMemory":
        """The tensor on another device."""
        return InMemory(self.examples.to(device), self._dtype)

    def digest(self) -> memoryview:
        """The bytes of the tensor."""
        return self.examples.cpu().contiguous().numpy().data


class Mapped(Source):
    """Examples of an ``.npy`` file that stay there: memory-mapped, and made float32 as they are gathered.

    Args:
        path: the file, an array ``[n, ...]`` of numbers.
        layout: from that array to ``[n, *shape]``, a view.
        numbers: from gathered values, a NumPy array, to a float32 tensor of the same shape.
        device: where what is gathered comes to be.

    Raises:
        SeedbedError: for a file that is none of this; a pickle is never opened.
    """

    def __init__(
        self,
        path: Path,
        layout: Callable[[np.ndarray], np.ndarray] = lambda array: array,
        numbers: Callable[[np.ndarray], Tensor] = lambda values: torch.from_numpy(values.astype(np.float32, order="C")),
        device: torch.device | str = "cpu",
    ) -> None:
        self.path, self._layout, self._numbers, self._device = path, layout, numbers, torch.device(device)
        self._examples = layout(open_array(path))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self._examples.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Of what is gathered."""
        return torch.float32

    @property
    def device(self) -> torch.device:
        """Where what is gathered comes to be."""
        return self._device

    def __len__(self) -> int:
        """Examples."""
        return len(self._examples)

    def gather(self, rows: Tensor) -> Tensor:
        """The examples at ``rows``, read from the file, ``[*rows, *shape]``."""
        return self._numbers(np.asarray(self._examples[rows.cpu().numpy()])).to(self._device)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Mapped":
        """Those that are gathered, each time."""
        return Mapped(self.path, self._layout, lambda values: function(self._numbers(values)), self._device)

    def to(self, device: torch.device) -> "Mapped":
        """The same file."""
        return Mapped(self.path, self._layout, self._numbers, device)

    def digest(self) -> bytes:
        """SHA-256 of the file, which is read in pieces."""
        found = self.path.stat()
        return _file_digest(self.path.resolve(), found.st_size, found.st_mtime_ns)


class Rows(Source):
    """Some examples of another source, in an order of their own.

    Args:
        source: the whole.
        rows: of it, ``[n]``.
    """

    def __init__(self, source: Source, rows: Tensor) -> None:
        self.source, self.rows = source, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.source.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of what is gathered."""
        return self.source.dtype

    @property
    def device(self) -> torch.device:
        """Where what is gathered comes to be."""
        return self.source.device

    def __len__(self) -> int:
        """Examples."""
        return len(self.rows)

    def gather(self, rows: Tensor) -> Tensor:
        """The examples at ``rows`` of these, ``[*rows, *shape]``."""
        return self.source.gather(self.rows[rows.to(self.rows.device)])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Rows":
        """The same rows of the whole after it."""
        return Rows(self.source.map(function), self.rows)

    def to(self, device: torch.device) -> "Rows":
        """The same rows."""
        return Rows(self.source.to(device), self.rows)

    def digest(self) -> bytes:
        """Of the whole, and which rows."""
        return bytes(self.source.digest()) + self.rows.cpu().contiguous().numpy().tobytes()


@lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, changed: int) -> bytes:
    """Once for a file as it is: its splits have it in common, and so have all groups of seeds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def source_of(examples: Tensor | Source) -> Source:
    """A source as it is, a tensor ``[n, *shape]`` as one in memory."""
    return InMemory(examples) if isinstance(examples, Tensor) else examples


def in_memory(splits: Mapping[str, Tensor | Source]) -> dict[str, Source]:
    """Splits as sources: the tensors among them in memory."""
    return {name: source_of(examples) for name, examples in splits.items()}


def open_array(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file, memory-mapped: nothing is read yet.

    Raises:
        SeedbedError: for a file that is none; a pickle is never opened.
    """
    check_file(path, ".npy without pickle")
    try:
        found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a broken file can raise anything here
        reason = " ".join(str(error).split())
        raise SeedbedError(f"{path} cannot be read as .npy without pickle: {reason}") from error
    if not isinstance(found, np.ndarray):
        raise SeedbedError(f"{path} is an .npz, which cannot be streamed; save its array as .npy, or leave stream=yes out")
    return found
