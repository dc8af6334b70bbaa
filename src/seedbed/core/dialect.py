"""Ordinary PyTorch, understood: what torch's own functions do within a call of one seed of a stack.

While a function of a model runs, every function of torch that it calls passes by here. Most are let through. Those that draw
draw from the noise of the call; those that ``vmap`` over seeds has no rule for, or a slow one, are computed another way. No
module is replaced, so modules of one's own that call the same functions are served as well.
"""

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from seedbed.core import draws, drops, recurrent
from seedbed.core.draws import Draws, Served
from seedbed.core.noise import Noise
from seedbed.core.products import linear, per_seed


def _convolution(convolve: Callable[..., Tensor]) -> Served:
    """One seed after another under autocast, which does not see what ``vmap`` makes of a convolution.

    Else that is left as it is: one grouped convolution is twice as fast for ten seeds of small images (8 x 8 pixels).
    """

    def served(draws: Draws, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **named: Any) -> Any:
        if not draws.mapped or not torch.is_autocast_enabled(input.device.type):
            return None
        if bias is None:
            return per_seed(lambda x, w: convolve(x, w, None, *args, **named), input, weight)
        return per_seed(lambda x, w, b: convolve(x, w, b, *args, **named), input, weight, bias)

    return served


def _affine(draws: Draws, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    return linear(input, weight, bias) if draws.mapped else None


def _normalised(
    draws: Draws, input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor | None:
    """``torch.nn.functional.normalize``; ``out``, which has no rule under ``vmap``, is what comes out (of its type).

    Spectral norms, who alone are known to give it, keep what they are given back.
    """
    return None if out is None else F.normalize(input, p, dim, eps).to(out.dtype)


def _weight_norm(draws: Draws, v: Tensor, g: Tensor, dim: int = 0) -> Tensor | None:
    """g v / |v|, the norm over all axes but one (Salimans & Kingma 2016, arXiv 1602.07868); over all where ``dim`` is -1."""
    axes = [axis for axis in range(v.ndim) if axis != dim]
    return v * (g / v.square().sum(axes, keepdim=True).sqrt()) if draws.mapped else None


@cache
def _opened(function: types.FunctionType) -> Callable[..., Any]:
    """The same function without its first lines, which hand it over as a whole to whoever listens."""
    unheard = dict.fromkeys((n for n in function.__globals__ if n.startswith("has_torch_function")), lambda *args: False)
    return types.FunctionType(
        function.__code__,
        {**function.__globals__, **unheard},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def _open(draws: Draws, *args: Any, **named: Any) -> Any:
    """Stands for functions that torch writes in Python around functions that are served: see ``_opened``."""


_SERVED: Mapping[Any, Served] = {
    **draws.SERVED,
    **drops.SERVED,
    **recurrent.SERVED,
    F.linear: _affine,
    F.conv1d: _convolution(F.conv1d),
    F.conv2d: _convolution(F.conv2d),
    F.conv3d: _convolution(F.conv3d),
    F.conv_transpose1d: _convolution(F.conv_transpose1d),
    F.conv_transpose2d: _convolution(F.conv_transpose2d),
    F.conv_transpose3d: _convolution(F.conv_transpose3d),
    F.normalize: _normalised,
    vars(torch)["_weight_norm"]: _weight_norm,
    F.multi_head_attention_forward: _open,
    F.gumbel_softmax: _open,
}


class Dialect(TorchFunctionMode):
    """While inside, functions of torch act on one call.

    Args:
        noise: of the call.
        batch: see ``Draws``.
    """

    def __init__(self, noise: Noise, batch: int | None) -> None:
        super().__init__()
        self._draws = Draws(noise, batch)

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """What ``func(*args, **kwargs)`` is here."""
        served = _SERVED.get(func)
        if served is None:  # nearly always, so this comes first
            return func(*args, **kwargs) if kwargs else func(*args)
        named = kwargs or {}
        if served is _open:
            with self:
                return _opened(func)(*args, **named)
        found = served(self._draws, *args, **named)
        return func(*args, **named) if found is None else found


@contextmanager
def speaking(noise: Noise, batch: int | None) -> Iterator[None]:
    """While inside, a model may be ordinary PyTorch.

    The laws of ``torch.distributions`` do not look at the values that they are given, which no seed of several could be told
    of: one with others than they should be has a utility that is not finite, and ends.
    """
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        with Dialect(noise, batch):
            yield
    finally:
        Distribution.set_default_validate_args(before)
