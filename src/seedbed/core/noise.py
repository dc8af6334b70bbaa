"""Named random streams: every draw is a pure function of its address.

``draw = f(seed, stream, step, player, repeat, draw number)``. Nothing is carried from one draw to the next, so a run that
was interrupted needs no generator state, a strategy cannot change what a seed sees, and a study can vary one stream and hold
the rest. Under ``vmap`` over seeds one draw is made per seed and stacked, so model code calls ``noise.normal(shape)`` alone.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

STREAMS = ("init", "data", "order", "noise", "dropout", "eval", "split", "dequantise")

# Evaluation draws are made in blocks of this many examples, whatever the chunk size, so a chunk cannot change a number.
BLOCK = 64


@dataclass(frozen=True)
class Streams:
    """The random streams of one run.

    Args:
        seed: the run's seed.
        varied: streams that follow ``seed``; the others are held at ``held``.
        held: the seed of the streams that are held.
    """

    seed: int
    varied: frozenset[str] = frozenset(STREAMS)
    held: int = 0

    def key(self, stream: str, *address: int | str) -> int:
        """A 64-bit key for one address of one stream."""
        if stream not in STREAMS:
            raise ValueError(f"unknown stream {stream!r}; expected one of {STREAMS}")
        seed = self.seed if stream in self.varied else self.held
        text = repr((seed, stream, *address)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little", signed=True)

    def generator(self, stream: str, *address: int | str, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator at one address of one stream."""
        return torch.Generator(device).manual_seed(self.key(stream, *address))

    @contextmanager
    def scoped(self, stream: str, *address: int | str) -> Iterator[None]:
        """Let code that draws from torch's global CPU generator (a module's own initialisation) draw from this address."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.key(stream, *address))
            yield


class Draw(NamedTuple):
    """What was asked of a noise: with an address, all that a draw depends on. ``None`` where it has no such axis."""

    stream: str
    number: int
    fill: Callable[..., Tensor]
    samples: int | None
    batch: int | None
    event: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """``[samples, batch, *event]``, of the axes that there are."""
        return (*(n for n in (self.samples, self.batch) if n is not None), *self.event)


class Noise:
    """Draws for a stack of seeds, one address per seed and draw.

    A draw names its axes: the shape of one *event*, how many examples are in the *batch*, how many *samples* of each are
    independent; they lead in the order ``[samples, batch, *event]``. Without ``batch`` a draw belongs to no one example.
    Shapes are those of *one* seed; inside ``vmap`` over seeds the stack appears by itself.

    Args:
        streams: one entry per stacked seed.
        address: what is fixed for all draws of this object, e.g. ``("noise", step, player, repeat)``.
        row: under ``vmap`` the index of the seed in the stack, as a mapped scalar; ``None`` for a single seed.
    """

    def __init__(
        self,
        streams: Sequence[Streams],
        stream: str,
        *address: int | str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        row: Tensor | None = None,
    ) -> None:
        self.streams = tuple(streams)
        self.stream = stream
        self.address = address
        self.device = torch.device(device)
        self.dtype = dtype
        self.row = row
        self.draws = 0
        self._generator = torch.Generator(self.device)
        self._others: dict[str, Noise] = {}

    def at(self, row: Tensor | None) -> "Noise":
        """The same address from its first draw on, seen from inside ``vmap`` over seeds, or by a single seed (``None``)."""
        return self._copy(self.stream, row)

    def of(self, stream: str) -> "Noise":
        """The same address of another stream, e.g. ``noise.of("dropout")``; asked for again, it goes on where it was."""
        if stream == self.stream:
            return self
        if stream not in self._others:
            self._others[stream] = self._copy(stream, self.row)
        return self._others[stream]

    def fork(self) -> "Noise":
        """The same address, every stream where it is now: a second pass through a model meets the same draws again."""
        fork = self._copy(self.stream, self.row)
        fork.draws = self.draws
        fork._others = {name: other.fork() for name, other in self._others.items()}
        return fork

    def of_examples(self, stream: str) -> "Noise":
        """This address of a stream, from its first draw on: asked for again, for any number of samples, the same draws."""
        return self._copy(stream, self.row)

    @contextmanager
    def back_at(self, fork: "Noise") -> Iterator[None]:
        """While inside, every stream goes on from where ``fork`` is; afterwards from where it was.

        It holds for whoever has this very object: a module that drops (``core.slots``) is handed no other.
        """
        here = self.fork()
        self._move_to(fork)
        try:
            yield
        finally:
            self._move_to(here)

    def _move_to(self, there: "Noise") -> None:
        self.draws = there.draws
        for name in {**self._others, **there._others}:
            self.of(name)._move_to(there.of(name))

    def _copy(self, stream: str, row: Tensor | None) -> "Noise":
        return Noise(self.streams, stream, *self.address, device=self.device, dtype=self.dtype, row=row)

    def normal(self, event: Sequence[int], *, batch: int | None = None, samples: int | None = None) -> Tensor:
        """Standard normal draws, ``[samples, batch, *event]``."""
        return self._draw(torch.Tensor.normal_, samples, batch, event)

    def uniform(self, event: Sequence[int], *, batch: int | None = None, samples: int | None = None) -> Tensor:
        """Draws from U[0, 1), ``[samples, batch, *event]``."""
        return self._draw(torch.Tensor.uniform_, samples, batch, event)

    def bernoulli(self, probs: Tensor) -> Tensor:
        """0/1 draws of the same shape as ``probs``, ``[batch, *event]``."""
        return (self.uniform(probs.shape[1:], batch=len(probs)) < probs).to(probs.dtype)

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Let code that draws from torch's own generators draw from the address of one draw: of a single seed, not under
        ``vmap`` over several."""
        assert self.row is None, "several seeds share torch's generators"
        number = self.draws = self.draws + 1
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.streams[0].key(self.stream, *self._place, number))
            yield

    @property
    def _place(self) -> tuple[int | str, ...]:
        """Where a draw of no examples and samples known is made."""
        return self.address

    def _draw(self, fill: Callable[..., Tensor], samples: int | None, batch: int | None, event: Sequence[int]) -> Tensor:
        self.draws += 1
        rows = partial(self.make, Draw(self.stream, self.draws, fill, samples, batch, tuple(event)))
        with torch._C.DisableTorchFunction():  # whoever listens to functions of torch (``core.dialect``) asks here himself
            if self.row is None:
                return rows(range(1))[0]
            return _StackedDraw.apply(self.row, partial(rows, range(len(self.streams))))

    def make(self, draw: Draw, rows: Sequence[int]) -> Tensor:
        """A draw as the chosen seeds of the stack see it, ``[rows, samples, batch, *event]``."""
        out = torch.empty((len(rows), *draw.shape), device=self.device, dtype=torch.float32)
        for position, row in enumerate(rows):
            self._fill(out[position], draw, self.streams[row])
        # Draws are made in fp32 whatever the run's precision, so a float64 run sees the same noise.
        return out.to(self.dtype)

    def _fill(self, out: Tensor, draw: Draw, streams: Streams) -> None:
        draw.fill(out, generator=self._generator.manual_seed(streams.key(draw.stream, *self.address, draw.number)))


class EvalNoise(Noise):
    """Draws keyed by example and sample: the chunk that is evaluated at once cannot change a number.

    Draws are made in blocks of 64 examples, per sample, and cut to size.

    Args:
        streams: one entry per stacked seed.
        address: what is evaluated, e.g. ``("test", "elbo")``.
        first: index of the chunk's first example in its split.
        first_sample: index of the first of the ``samples`` drawn here.
    """

    def __init__(
        self,
        streams: Sequence[Streams],
        *address: int | str,
        first: int = 0,
        first_sample: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        row: Tensor | None = None,
        stream: str = "eval",
    ) -> None:
        super().__init__(streams, stream, *address, device=device, dtype=dtype, row=row)
        self.first = first
        self.first_sample = first_sample

    def of_examples(self, stream: str) -> "EvalNoise":
        """The same draws also whichever samples are drawn here."""
        found = self._copy(stream, self.row)
        found.first_sample = 0
        return found

    def _copy(self, stream: str, row: Tensor | None) -> "EvalNoise":
        return EvalNoise(
            self.streams,
            *self.address,
            first=self.first,
            first_sample=self.first_sample,
            device=self.device,
            dtype=self.dtype,
            row=row,
            stream=stream,
        )

    @property
    def _place(self) -> tuple[int | str, ...]:
        return (*self.address, "chunk", self.first, self.first_sample)

    def _fill(self, out: Tensor, draw: Draw, streams: Streams) -> None:
        stack = out if draw.samples is not None else out[None]
        block = torch.empty((BLOCK if draw.batch is not None else 0, *draw.event), device=self.device, dtype=out.dtype)
        for k in range(len(stack)):
            address = (*self.address, draw.number, self.first_sample + k)
            if draw.batch is not None:
                self._fill_examples(stack[k], block, draw, streams, address)
            else:
                draw.fill(stack[k], generator=self._generator.manual_seed(streams.key(draw.stream, *address, "no example")))

    def _fill_examples(
        self, out: Tensor, block: Tensor, draw: Draw, streams: Streams, address: tuple[int | str, ...]
    ) -> None:
        count, done = len(out), 0
        while done < count:
            index, offset = divmod(self.first + done, BLOCK)
            take = min(BLOCK - offset, count - done)
            target = out[done : done + take]
            generator = self._generator.manual_seed(streams.key(draw.stream, *address, index))
            draw.fill(target if take == BLOCK else block, generator=generator)
            if take < BLOCK:
                target.copy_(block[offset : offset + take])
            done += take


class _StackedDraw(torch.autograd.Function):
    """One draw per seed under ``vmap``: the rule asks for those of the whole stack at once.

    ``vmap`` itself stays in its strict mode: a bare ``torch.randn`` in a model is an error, not a draw shared by all seeds.
    """

    @staticmethod
    def forward(row: Tensor, stack: Callable[[], Tensor]) -> Tensor:
        return stack()[int(row)]

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[object, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: object, in_dims: tuple[int | None, None], row: Tensor, stack: Callable[[], Tensor]) -> tuple[Tensor, int]:
        return stack(), 0
