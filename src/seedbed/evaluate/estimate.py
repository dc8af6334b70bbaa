"""Per-example values of a stack of models on a split, in chunks that cannot change a number."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from seedbed.core.noise import EvalNoise, Noise
from seedbed.core.stack import Stack

# (model, x [batch, ...], noise) -> {metric: [batch]}, written for one seed.
# The model is whatever capability the estimator asks for.
Estimator = Callable[[Any, Tensor, Noise], Mapping[str, Tensor]]


def per_example(stack: Stack, estimator: Estimator, x: Tensor, address: str, chunk: int = 0) -> dict[str, Tensor]:
    """Evaluate every seed of a stack on the same examples.

    Args:
        stack: the models.
        estimator: values per example for one seed.
        x: ``[n, *example]``.
        address: names the draws, so that two evaluations of the same thing agree.
        chunk: examples at once; 0 keeps ``seeds * chunk`` near 32,768, or fewer where examples are large.

    Returns:
        ``{metric: [seeds, n]}``.
    """
    chunk = chunk or max(64, 32_768 // (len(stack.streams) * max(1, x[:1].numel() // 64)))
    x = x.to(stack.device, stack.dtype if x.is_floating_point() else None)
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for first in range(0, len(x), chunk):
            noise = EvalNoise(stack.streams, address, first=first, device=stack.device, dtype=stack.dtype)
            values = stack.call(estimator, noise=noise, shared=(x[first : first + chunk],))
            for name, value in values.items():
                parts.setdefault(name, []).append(value)
    return {name: torch.cat(values, 1) for name, values in parts.items()}


def draw_samples(stack: Stack, draw: Callable[[Any, int, Noise], Tensor], count: int) -> Tensor:
    """``count`` draws from every seed's model, ``[seeds, count, *example]``."""
    noise = EvalNoise(stack.streams, "samples", device=stack.device, dtype=stack.dtype)
    with torch.no_grad():
        return stack.call(draw, noise=noise, shared=(count,))
