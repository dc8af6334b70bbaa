"""One look at what a module of one's own means by its outputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import told
from seedbed.core.shapes import size_of


class _Means(TorchFunctionMode):
    """What would be drawn is its mean."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.randn, torch.randn_like):
            return torch.zeros_like(out)
        if func is torch.Tensor.normal_:
            return out.zero_()
        if func is torch.normal:
            return torch.zeros_like(out) + (args[0] if args else (kwargs or {})["mean"])
        return out


@contextmanager
def looked_at(module: nn.Module, what: str) -> Iterator[None]:
    """While inside, it is called without drawing, learning or a word of what it does left behind."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), _Means(), told(what):
            yield
    finally:
        for part, training in modes.items():
            part.training = training


def likeness(shape: tuple[int, ...], domain: Domain) -> Tensor:
    """Two examples that look like what is shown of the data: of levels, numbers on [0, 1]."""
    values = torch.linspace(0 if domain.kind == "levels" else -1, 1, 2 * size_of(shape)).reshape(2, *shape)
    return (values > 0).float() if domain == BINARY else values


_VIEWS = ("View", "UnsafeView", "Reshape", "ReshapeAlias", "Squeeze", "Unsqueeze", "Permute", "Transpose", "Clone", "Expand")


def end_of(value: Tensor) -> str:
    """The operation that a value comes from, its shape aside: ``Sigmoid``, ``Addmm``."""
    node = value.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0]
        if name not in _VIEWS:
            return name
        node = node.next_functions[0][0]
    return ""
