"""Per-example values of a stack of models on a split, in chunks that cannot change a number."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from seedbed.core.context import Context
from seedbed.core.noise import EvalNoise
from seedbed.core.stack import Stack

# (model, x [batch, ...], ctx) -> {metric: [batch]}, written for one seed.
# The model is whatever capability the estimator asks for.
Estimator = Callable[[Any, Tensor, Context], Mapping[str, Tensor]]


def per_example(
    stack: Stack, estimator: Estimator, x: Tensor, address: str, chunk: int = 0, per_seed: bool = False
) -> dict[str, Tensor]:
    """Evaluate every seed of a stack on the same examples, or on its own.

    Args:
        stack: the models.
        estimator: values per example for one seed.
        x: ``[n, *example]``; with ``per_seed`` ``[seeds, n, *example]``.
        address: names the draws, so that two evaluations of the same thing agree.
        chunk: examples at once; 0 keeps ``seeds * chunk`` near 32,768, or fewer where examples are large.
        per_seed: whether every seed has examples of its own.

    Returns:
        ``{metric: [seeds, n]}``.
    """
    count, first_example = (x.shape[1], x[:1, :1]) if per_seed else (len(x), x[:1])
    chunk = chunk or max(64, 32_768 // (len(stack.streams) * max(1, first_example.numel() // 64)))
    x = x.to(stack.device, stack.dtype if x.is_floating_point() else None)
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for first in range(0, count, chunk):
            noise = EvalNoise(stack.streams, address, first=first, device=stack.device, dtype=stack.dtype)
            if per_seed:
                values = stack.call(estimator, x[:, first : first + chunk], noise=noise)
            else:
                values = stack.call(estimator, noise=noise, shared=(x[first : first + chunk],))
            for name, value in values.items():
                parts.setdefault(name, []).append(value)
    return {name: torch.cat(values, 1) for name, values in parts.items()}


def draw_samples(stack: Stack, draw: Callable[[Any, int, Context], Tensor], count: int) -> Tensor:
    """``count`` draws from every seed's model, ``[seeds, count, *example]``."""
    noise = EvalNoise(stack.streams, "samples", device=stack.device, dtype=stack.dtype)
    with torch.no_grad():
        return stack.call(draw, noise=noise, shared=(count,))
