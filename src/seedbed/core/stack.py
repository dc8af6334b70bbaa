"""A stack of seeds: one module's structure, every seed's numbers, and how to run a function of the model over them."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._pytree import tree_map

from seedbed.core.noise import Noise, Streams
from seedbed.core.products import full_width_products

Precision = Literal["fp32", "bf16", "fp64"]


class _Bound(nn.Module):
    """A function of a model, as a module, so that ``functional_call`` can lend it other parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self.model, *args)


@dataclass(frozen=True)
class Stack:
    """The models of ``len(streams)`` seeds, trained or evaluated as one.

    Args:
        module: the structure; its own numbers are never used.
        params: parameters and differing buffers, each with a leading seed axis.
        streams: the random streams of each seed.
        precision: ``bf16`` runs matrix products and convolutions under autocast.
    """

    module: nn.Module
    params: Mapping[str, Tensor]
    streams: tuple[Streams, ...]
    precision: Precision = "fp32"

    @classmethod
    def of(cls, modules: Sequence[nn.Module], streams: Sequence[Streams], precision: Precision = "fp32") -> "Stack":
        """Stack one module per seed. Buffers that are equal in all seeds (masks, permutations) stay shared."""
        params, buffers = stack_module_state(list(modules))
        params = {k: v.detach() for k, v in params.items()}
        params |= {k: v for k, v in buffers.items() if not (v == v[:1]).all()}
        return cls(modules[0], params, tuple(streams), precision)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.params.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """Working precision of everything that is not a matrix product."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def replace(self, params: Mapping[str, Tensor]) -> "Stack":
        """The same stack with other numbers."""
        return Stack(self.module, params, self.streams, self.precision)

    def noise(self, stream: str, *address: int | str) -> Noise:
        """Noise for all seeds of the stack at one address."""
        return Noise(self.streams, stream, *address, device=self.device, dtype=self.dtype)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of matrix products and convolutions."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def call(self, function: Callable[..., Any], *args: Any, noise: Noise | None = None, shared: Sequence[Any] = ()) -> Any:
        """Run ``function(model, *shared, *args, noise)`` for every seed and stack what it returns.

        Args:
            function: written for one seed; returns a pytree of tensors.
            args: pytrees of tensors with a leading seed axis.
            noise: handed to ``function`` as its last argument where given.
            shared: arguments without a seed axis.
        """
        one = partial(self._one, function, shared, noise)
        with full_width_products(), self.autocast():
            if len(self.streams) == 1:
                # A view both ways: the gradient of an index would be a copy of every parameter among zeros.
                params, mapped = tree_map(lambda t: t.squeeze(0), (dict(self.params), args))
                out = one(params, None, *mapped)
                return tree_map(lambda t: t[None], out)
            rows = torch.arange(len(self.streams))
            return vmap(one)(dict(self.params), rows, *args)

    def _one(
        self,
        function: Callable[..., Any],
        shared: Sequence[Any],
        noise: Noise | None,
        params: Mapping[str, Tensor],
        row: Tensor | None,
        *mapped: Any,
    ) -> Any:
        """One seed's call; ``row`` is ``None`` where the stack has no other."""
        extra = () if noise is None else (noise.at(row),)
        named = {f"model.{k}": v for k, v in params.items()}
        return functional_call(_Bound(self.module), named, (function, *shared, *mapped, *extra))

    def model(self, row: int) -> nn.Module:
        """One seed's model as a plain module that shares nothing with the stack."""
        module = copy.deepcopy(self.module)
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        with torch.no_grad():
            for name, value in self.params.items():
                own[name].copy_(value[row])
        return module.requires_grad_(True)
