"""Lending a module other numbers for the length of a call, in every place that holds them.

A tensor may be held in several places (tied weights, a module that is reachable by two names); all of them are lent it, and
all of them get their own back, whatever happens. What a forward pass draws, and whether it is one of training, the
``Context`` says (see ``core.dialect``); what it writes into buffers is state. Batch norms alone are lent another forward
pass: torch's counts its batches in place, inside of a gradient within a utility too, where nothing may be written.
"""

import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from seedbed.core.context import Context
from seedbed.core.dialect import speaking
from seedbed.core.errors import SeedbedError
from seedbed.core.functorch import alive

_REMEMBERED = ("running_mean", "running_var", "num_batches_tracked")


class Slots:
    """Where a module holds its parameters and buffers.

    Args:
        module: whose structure does not change from here on.
        written: names of buffers that a forward pass writes, besides those of batch norms, by whatever alias.

    Raises:
        SeedbedError: for a batch norm with a forward pass of its own.
    """

    def __init__(self, module: nn.Module, written: Collection[str] = ()) -> None:
        self.module = module
        self.aliases: dict[str, list[str]] = {}  # every name of each tensor, by the name that `named_parameters` gives it
        self._places: dict[str, list[tuple[dict[str, Any], str]]] = {}
        self._acting: list[tuple[nn.Module, Callable[..., Tensor]]] = []
        self._parts = list(module.modules())
        self._recurrent = [part for part in self._parts if isinstance(part, nn.RNNBase)]
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
        for part in self._parts:
            if isinstance(part, _BatchNorm) and not type(part).forward.__module__.startswith("torch."):
                raise SeedbedError(
                    f"{type(part).__name__} changes the forward pass of a layer of torch that acts on the context here, and "
                    "would not be called; hold that layer as a part of a module of your own"
                )
            if isinstance(part, _BatchNorm):
                held = {key: names[id(tensor)] for key, tensor in part._buffers.items() if tensor is not None}
                self.remembered += [held[key] for key in _REMEMBERED if key in held]
                self._acting.append((part, partial(_batch_norm, part, held)))
        buffers = {id(tensor) for tensor in module.buffers()}
        held = [name for number, name in names.items() if number in buffers and name not in self.remembered]
        self.written = [name for name in held if not set(written).isdisjoint(self.aliases[name])]
        self.remembered += self.written
        self._fixed = self.buffers

    @property
    def buffers(self) -> list[str]:
        """Names of the buffers that are no state yet."""
        return [name for name, _ in self.module.named_buffers() if name not in self.remembered]

    def versions(self) -> list[tuple[str, Tensor, int]]:
        """The buffers that are no state as they are now, with how often each was written."""
        held = ((name, place[attribute]) for name in self._fixed for place, attribute in self._places[name])
        return [(name, tensor, 0 if tensor.is_inference() else tensor._version) for name, tensor in held]

    def check(self, before: list[tuple[str, Tensor, int]]) -> None:
        """Refuse what a forward pass wrote into a buffer that is no state, and that nothing would keep.

        Raises:
            SeedbedError: with the buffer.
        """
        for (name, tensor, version), (_, now, count) in zip(before, self.versions(), strict=True):
            if now is not tensor or count != version:
                raise SeedbedError(
                    f"buffer {name} is written by a call of {type(self.module).__name__}, but was not by the first one in "
                    "training, so it is no state; write it in each of training, and in these alone"
                )

    @contextmanager
    def lent(self, values: Mapping[str, Tensor], ctx: Context, batch: int | None = None) -> Iterator[None]:
        """While inside, the module holds ``values`` (by canonical name) and the state of ``ctx``, and acts on ``ctx``.

        What it leaves in a buffer that it writes is state, in training; ``batch`` is how many examples the call has.
        """
        held: list[tuple[dict[str, Any], str, Any]] = []

        def lend(place: dict[str, Any], attribute: str, value: Any) -> None:
            held.append((place, attribute, place.get(attribute, _NOTHING)))
            place[attribute] = value

        try:
            remembered = {name: ctx.state[name] for name in self.remembered if name in ctx.state}
            # Copies of what may be changed in place.
            remembered |= {name: remembered[name].clone() for name in self.written if name in remembered}
            for name, value in (*values.items(), *remembered.items()):
                for place, attribute in self._places[name]:
                    lend(place, attribute, value)
            for name in self._fixed:  # whatever is put in its place goes with the call
                for buffers, attribute in self._places[name]:
                    lend(buffers, attribute, buffers[attribute])
            for part in self._recurrent:  # they keep a list of their weights, and references, beside the weights
                weights = [getattr(part, name) for name in part._flat_weights_names]
                lend(part.__dict__, "_flat_weights", weights)
                lend(part.__dict__, "_flat_weight_refs", [weakref.ref(weight) for weight in weights])
            for part, forward in self._acting:
                lend(part.__dict__, "forward", partial(forward, ctx))
            for part in self._parts:
                if part.training != ctx.training:
                    lend(part.__dict__, "training", ctx.training)
            with speaking(ctx.noise, batch):
                yield
            for name in self.written if ctx.training else ():
                if name in remembered:
                    left = [place[attribute] for place, attribute in self._places[name]]
                    ctx.state[name] = alive(next((t for t in left if t is not remembered[name]), remembered[name]))
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
        return _normalised(x, mean, variance, module, ctx)
    out = _normalised(x, None, None, module, ctx)
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


def _normalised(x: Tensor, mean: Tensor | None, variance: Tensor | None, module: _BatchNorm, ctx: Context) -> Tensor:
    """By these statistics, or by the batch's own. Over a stack torch has no rule for parameters of another type than x."""
    weight = module.weight
    mixed = ctx.noise.row is not None and weight is not None and weight.dtype != x.dtype
    out = F.batch_norm(
        x.to(weight.dtype) if mixed else x, mean, variance, weight, module.bias, mean is None, 0.0, module.eps
    )
    return out.to(x.dtype) if mixed else out
