"""Lending a module other numbers for the length of a call, in every place that holds them.

A tensor may be held in several places (tied weights, a module that is reachable by two names); all of them are lent it, and
all of them get their own back, whatever happens. Modules of ``torch.nn`` that draw or remember act on the ``Context``.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError

_ELEMENTS = (nn.Dropout,)
_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_REMEMBERED = ("running_mean", "running_var", "num_batches_tracked")


class Slots:
    """Where a module holds its parameters and buffers.

    Args:
        module: whose structure does not change from here on.

    Raises:
        SeedbedError: for a batch norm or a dropout with a forward pass of its own.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.aliases: dict[str, list[str]] = {}  # every name of each tensor, by the name that `named_parameters` gives it
        self._places: dict[str, list[tuple[dict[str, Any], str]]] = {}
        self._acting: list[tuple[nn.Module, Callable[..., Tensor]]] = []
        self._recurrent = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
        self.remembered: list[str] = []
        names: dict[int, str] = {}
        seen: set[tuple[int, str]] = set()
        for path, part in module.named_modules(remove_duplicate=False):
            for held in (part._parameters, part._buffers):
                for attribute, tensor in held.items():
                    if tensor is None:
                        continue
                    own = f"{path}.{attribute}" if path else attribute
                    name = names.setdefault(id(tensor), own)
                    self.aliases.setdefault(name, []).append(own)
                    if (id(held), attribute) not in seen:
                        seen.add((id(held), attribute))
                        self._places.setdefault(name, []).append((held, attribute))
        for part in module.modules():
            if isinstance(part, (_BatchNorm, _DropoutNd)) and not type(part).forward.__module__.startswith("torch."):
                raise SeedbedError(
                    f"{type(part).__name__} changes the forward pass of a layer of torch that acts on the context here, and "
                    "would not be called; hold that layer as a part of a module of your own"
                )
            if isinstance(part, _BatchNorm):
                held = {key: names[id(tensor)] for key, tensor in part._buffers.items() if tensor is not None}
                self.remembered += [held[key] for key in _REMEMBERED if key in held]
                self._acting.append((part, partial(_batch_norm, part, held)))
            elif isinstance(part, _DropoutNd):
                self._acting.append((part, partial(_dropout, part)))

    @contextmanager
    def lent(self, values: Mapping[str, Tensor], ctx: Context) -> Iterator[None]:
        """While inside, the module holds ``values`` (by canonical name) and the state of ``ctx``, and acts on ``ctx``."""
        held: list[tuple[dict[str, Any], str, Any]] = []

        def lend(place: dict[str, Any], attribute: str, value: Any) -> None:
            held.append((place, attribute, place.get(attribute, _NOTHING)))
            place[attribute] = value

        try:
            remembered = {name: ctx.state[name] for name in self.remembered if name in ctx.state}
            for name, value in (*values.items(), *remembered.items()):
                for place, attribute in self._places[name]:
                    lend(place, attribute, value)
            for part in self._recurrent:  # they keep a list of their weights, and references, beside the weights
                weights = [getattr(part, name) for name in part._flat_weights_names]
                lend(part.__dict__, "_flat_weights", weights)
                lend(part.__dict__, "_flat_weight_refs", [weakref.ref(weight) for weight in weights])
            for part, forward in self._acting:
                lend(part.__dict__, "forward", partial(forward, ctx))
            yield
        finally:
            for place, attribute, value in reversed(held):
                if value is _NOTHING:
                    del place[attribute]
                else:
                    place[attribute] = value


_NOTHING = object()


def couples_examples(module: nn.Module, training: bool = True) -> bool:
    """Whether examples of a batch see each other in a module that says so: in training in every batch norm, else in those
    that keep no running statistics."""
    return any(
        (isinstance(part, _BatchNorm) and (training or part.running_mean is None))
        or getattr(part, "couples_examples", False)
        for part in module.modules()
    )


def _batch_norm(module: _BatchNorm, names: Mapping[str, str], ctx: Context, x: Tensor) -> Tensor:
    """``torch.nn.BatchNorm*`` in the context's mode, whose running statistics are in the context's state."""
    module._check_input_dim(x)
    tracked = "running_mean" in names
    if tracked and not ctx.training:
        mean, variance = (ctx.state[names[key]] for key in _REMEMBERED[:2])
        return F.batch_norm(x, mean, variance, module.weight, module.bias, False, 0.0, module.eps)
    out = F.batch_norm(x, None, None, module.weight, module.bias, True, 0.0, module.eps)
    if tracked and ctx.state.writable:
        with torch.no_grad():
            seen = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
            variance, mean = torch.var_mean(seen, [axis for axis in range(x.ndim) if axis != 1])
            count = ctx.state[names["num_batches_tracked"]] + 1
            share = 1 / count.to(mean.dtype) if module.momentum is None else module.momentum
            for key, value in zip(_REMEMBERED, (mean, variance), strict=False):
                old = ctx.state[names[key]]
                ctx.state[names[key]] = old + share * (value.detach() - old)
            ctx.state[names["num_batches_tracked"]] = count
    return out


def _dropout(module: _DropoutNd, ctx: Context, x: Tensor) -> Tensor:
    """``torch.nn.Dropout*`` in the context's mode, its mask from the ``dropout`` stream."""
    if not ctx.training or module.p == 0:
        return x
    if isinstance(module, _CHANNELS):
        event = (x.shape[1], *[1] * (x.ndim - 2))
    elif isinstance(module, _ELEMENTS):
        event = x.shape[1:]
    else:
        raise SeedbedError(f"{type(module).__name__} draws in a way of its own; use nn.Dropout or nn.Dropout1d to 3d")
    kept = ctx.noise.of("dropout").uniform(event, batch=len(x)) >= module.p
    return x * kept.to(x.dtype) / max(1 - module.p, 1e-12)
