"""What every distribution needs: precision, bounded parameters, the address of its draws."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# exp(7) is about 1100: far beyond any scale in standardised data, and its square is far inside fp32.
LOG_SCALE_BOUND = 7.0


def full(tensor: Tensor) -> Tensor:
    """Cast half precision up to fp32 (networks under autocast return bf16); keep fp32 and fp64."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def soft_clamp(raw: Tensor, bound: float = LOG_SCALE_BOUND) -> Tensor:
    """``bound * tanh(raw / bound)``: within ``(-bound, bound)``, the identity near 0, with a gradient everywhere."""
    return bound * torch.tanh(raw / bound)


def draw(fill: Callable[[Sequence[int], int | None], Tensor], shape: Sequence[int], samples: int | None) -> Tensor:
    """Draw noise for parameters of ``shape`` so that evaluation draws stay keyed by example and sample.

    ====================== ============================ =============================================
    ``shape``              what the leading axes mean   result
    ====================== ============================ =============================================
    ``[event]``            a prior, no examples yet     ``[samples, event]``: each draw is an example
    ``[batch, event]``     examples                     ``[batch, event]`` or ``[samples, batch, event]``
    ``[k, batch, event]``  k samples of each example    ``[k, batch, event]``
    ====================== ============================ =============================================

    Args:
        fill: ``noise.normal`` or ``noise.uniform``.
        shape: the shape of the parameters.
        samples: how many draws to make, or ``None`` for one without an axis of its own.

    Raises:
        ValueError: if parameters that carry samples are asked for more of them.
    """
    if len(shape) == 1:
        return fill((1, *shape), None)[0] if samples is None else fill((samples, *shape), None)
    if len(shape) == 2:
        return fill(shape, samples)
    if len(shape) == 3 and samples is None:
        return fill(shape[1:], shape[0])
    raise ValueError(
        f"expected parameters [event], [batch, event] or [k, batch, event]; got {list(shape)}, samples={samples}"
    )
