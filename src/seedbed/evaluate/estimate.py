"""Per-example values of a stack of models on a split, in chunks that cannot change a number."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.context import Context
from seedbed.core.noise import BLOCK, EvalNoise
from seedbed.core.stack import Stack
from seedbed.data.source import Source
from seedbed.evaluate.memory import GIB, peak_bytes

# (model, x [batch, ...], ctx) -> {metric: [batch]}, written for one seed.
# The model is whatever capability they ask for.
Losses = Callable[..., Mapping[str, Tensor]]


def per_example(
    stack: Stack,
    losses: Losses,
    x: Shaped[Tensor, "n *example"] | Shaped[Tensor, "seeds n *example"] | Source,
    address: str,
    chunk: int = 0,
    per_seed: bool = False,
) -> dict[str, Shaped[Tensor, "seeds n"]]:
    """Evaluate every seed of a stack on the same examples, or on its own.

    Args:
        stack: the models.
        losses: values per example for one seed.
        x: a source, or ``[n, *example]``; with ``per_seed`` ``[seeds, n, *example]``.
        address: names the draws, so that two evaluations of the same thing agree.
        chunk: examples at once; 0 keeps ``seeds * chunk`` near 32,768, or fewer where examples are large.
        per_seed: whether every seed has examples of its own.

    Returns:
        ``{metric: [seeds, n]}``.
    """
    parts: dict[str, list[Tensor]] = {}
    for _, values in in_chunks(stack, losses, x, address, chunk, per_seed):
        for name, value in values.items():
            parts.setdefault(name, []).append(value)
    return {name: torch.cat(values, 1) for name, values in parts.items()}


def in_chunks(
    stack: Stack,
    losses: Losses,
    x: Shaped[Tensor, "n *example"] | Shaped[Tensor, "seeds n *example"] | Source,
    address: str,
    chunk: int = 0,
    per_seed: bool = False,
    own: Shaped[Tensor, "seeds"] | None = None,
) -> Iterator[tuple[int, Mapping[str, Shaped[Tensor, "seeds chunk *value"]]]]:
    """The same part by part, each with the index of its first example.

    Args:
        stack: the models.
        losses: values per example for one seed.
        x: as of ``per_example``.
        address: names the draws.
        chunk: examples at once.
        per_seed: whether every seed has examples of its own.
        own: a number that ``losses`` is given of each seed after ``x``.
    """
    count = x.shape[1] if per_seed else len(x)
    first_example = _part(x, 0, 1, per_seed)
    chunk = chunk or max(64, 32_768 // (len(stack.streams) * max(1, first_example.numel() // 64)))
    kind, more = stack.dtype if first_example.is_floating_point() else None, () if own is None else (own,)
    for first in range(0, count, chunk):
        noise = EvalNoise(stack.streams, address, first=first, device=stack.device, dtype=stack.dtype)
        some = _part(x, first, first + chunk, per_seed).to(stack.device, kind)
        with torch.no_grad():
            if per_seed:
                yield first, stack.call(losses, some, *more, noise=noise)
            else:
                yield first, stack.call(losses, *more, noise=noise, shared=(some,))


def _part(x: Tensor | Source, first: int, last: int, per_seed: bool) -> Tensor:
    return x[:, first:last] if isinstance(x, Tensor) and per_seed else x[first:last]


def draw_samples(
    stack: Stack, draw: Callable[[Any, int, Context], Tensor], count: int, first: int = 0
) -> Shaped[Tensor, "seeds {count} *example"]:
    """``count`` draws from every seed's model, ``[seeds, count, *example]``.

    Args:
        stack: the models.
        draw: ``(model, count, ctx) -> [count, *example]``.
        count: how many.
        first: index of the first of them: draw 100 is the same whether those before it are made or not.
    """
    noise = EvalNoise(stack.streams, "samples", first=first, device=stack.device, dtype=stack.dtype)
    with torch.no_grad():
        return stack.call(draw, noise=noise, shared=(count,))


def drawn_chunks(
    stack: Stack,
    draw: Callable[[Any, int, Context], Tensor],
    count: int,
    *,
    first: int = 0,
    memory_gib: float = 4.0,
) -> Iterator[Shaped[Tensor, "seeds chunk *example"]]:
    """The draws ``first`` to ``count`` of ``draw_samples`` in order, as many at once as the memory holds.

    How many is measured on one block of draws; which they are does not depend on it.
    """
    block = lambda: draw_samples(stack, draw, min(BLOCK, count - first), first)
    at_once = max(1, int(memory_gib * GIB / max(1, peak_bytes(block)))) * BLOCK
    for start in range(first, count, at_once):
        yield draw_samples(stack, draw, min(at_once, count - start), start)
