"""How much memory a computation takes, measured on a small piece of it."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seedbed.core.matmul import full_width_products

GIB = float(1 << 30)


class _Meter(TorchDispatchMode):
    """Counts the bytes of every storage that is made, until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and not func.is_view:
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, storage.nbytes()).atexit = False

    def _free(self, size: int) -> None:
        self.live -= size


def peak_bytes(function: Callable[[], object]) -> int:
    """The largest number of bytes that tensors made by ``function`` took at one time (a result's own bytes included)."""
    with full_width_products():
        pass  # its trial, once in a process, is no part of what is measured
    with torch.no_grad(), _Meter() as meter:
        function()
    return meter.peak
