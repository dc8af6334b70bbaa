"""What every distribution needs: precision and bounded parameters."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from seedbed.core.errors import SeedbedError

# exp(7) is about 1100: far beyond any scale in standardised data, and its square is far inside fp32.
LOG_SCALE_BOUND = 7.0


def full(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """Cast half precision up to fp32 (networks under autocast return bf16); keep fp32 and fp64."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def soft_clamp(raw: Float[Tensor, "*shape"], bound: float = LOG_SCALE_BOUND) -> Float[Tensor, "*shape"]:
    """``bound * tanh(raw / bound)``: within ``(-bound, bound)``, the identity near 0, with a gradient everywhere."""
    return bound * torch.tanh(raw / bound)


def above_zero(temperature: float) -> float:
    """A temperature, if it is one.

    Raises:
        SeedbedError: for 0, which leaves no noise (a law's ``mode`` is what it would draw), and for what is no number.
    """
    if not 0 < temperature < math.inf:
        raise SeedbedError(f"a temperature is above 0, got {temperature:g}; what a law draws at 0 is its mode")
    return temperature
