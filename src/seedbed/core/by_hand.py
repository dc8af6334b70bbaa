"""Models called by hand, outside of any run: ``model.sample(100)``, ``model.sample(100, seed=3)``, ``model.log_prob(x)``.

What they draw by torch's own functions comes from the same stream (see ``core.dialect``).
"""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.core.ambient import plain
from seedbed.core.context import Context, State
from seedbed.core.dialect import speaking
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.core.numbers import SEED_MOST, whole

CALLS = ("sample", "log_prob")


class ByHand:
    """Lets ``sample`` and ``log_prob`` of every subclass do without a context: they then make ``Context.of(seed)``.

    The draws are those of the fixed stream ``eval`` of seed 0, the same at every call, or of another ``seed``; on the
    model's device, in its precision. Draws come without a gradient, densities with one.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in CALLS:
            method = vars(cls).get(name)
            if not inspect.isfunction(method) or getattr(method, "__isabstractmethod__", False):
                continue
            if len(names := [*inspect.signature(method).parameters]) > 2:  # else it knows of no context, and is left alone
                setattr(cls, name, _by_hand(method, names[2]))


def _by_hand(method: Callable[..., Tensor], context: str) -> Callable[..., Tensor]:
    """A method ``(self, first, ctx, ...)`` of which the context may be left out, or a seed be given for it."""

    @wraps(method)
    def called(self: Any, *args: Any, seed: int | None = None, **named: Any) -> Tensor:
        if len(args) > 1 or context in named:
            if seed is not None:
                raise SeedbedError(f"{method.__name__} takes a context or a seed, not both; leave one of them out")
            return method(self, *args, **named)
        ctx = context_of(self, 0 if seed is None else seed)
        with plain(), speaking(ctx.noise, _count(args)), torch.set_grad_enabled(method.__name__ != "sample"):
            return method(self, *args, **{**named, context: ctx})

    return called


def drawing(module: nn.Module) -> nn.Module:
    """A module of anyone's, whose ``sample(count)``, if its class has one, takes a seed and draws the same every time.

    One that knows of contexts does so already, and one with a seed of its own is left as it is.
    """
    own = getattr(type(module), "sample", None)
    if inspect.isfunction(own) and not isinstance(module, ByHand) and "seed" not in inspect.signature(own).parameters:
        vars(module)["sample"] = partial(_drawn, own, module)
    return module


def _drawn(own: Callable[..., Any], module: nn.Module, *args: Any, seed: int = 0, **named: Any) -> Any:
    with plain(), speaking(context_of(module, seed).noise, _count(args)), torch.no_grad():
        return own(module, *args, **named)


def _count(args: tuple[Any, ...]) -> int | None:
    """How many examples a call is about, by its first argument."""
    if not args:
        return None
    return args[0] if isinstance(args[0], int) else len(args[0]) if isinstance(args[0], Tensor) and args[0].ndim else None


def context_of(model: object, seed: int) -> Context:
    """``Context.of(seed)`` on a model's device and in its precision, with the state that it begins with.

    Raises:
        SeedbedError: if the seed is no whole number from 0 to ``SEED_MOST``.
    """
    seed = whole("seed", seed, 0, SEED_MOST)
    held = chain(model.parameters(), model.buffers()) if isinstance(model, nn.Module) else iter(())
    first = next((tensor for tensor in held if tensor.is_floating_point()), torch.empty(()))
    state: Any = getattr(model, "state", None)
    begins: Any = state() if callable(state) else {}
    noise = Noise([Streams(seed)], "eval", device=first.device, dtype=first.dtype)
    return Context(noise, state=State(begins))
