"""A stack of seeds: one module's structure, every seed's numbers, and how to run a function of the model over them."""

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from seedbed.core.capabilities import HasState
from seedbed.core.context import Context, State
from seedbed.core.errors import SeedbedError, told
from seedbed.core.matmul import full_width_products
from seedbed.core.noise import Noise, Streams
from seedbed.core.slots import Slots

Precision = Literal["fp32", "bf16", "fp64"]


@dataclass(frozen=True)
class Stack:
    """The models of ``len(streams)`` seeds, trained or evaluated as one.

    Args:
        slots: the structure; its own numbers are never used.
        params: parameters and differing buffers, each with a leading seed axis.
        streams: the random streams of each seed.
        precision: ``bf16`` runs matrix products and convolutions under autocast.
        state: what outlives a step besides parameters (running statistics, chains), each with a leading seed axis.
        settings: numbers that differ between rows besides their seeds, ``[seeds]`` each: a stack of settings as well.
    """

    slots: Slots
    params: Mapping[str, Tensor]
    streams: tuple[Streams, ...]
    precision: Precision = "fp32"
    state: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        modules: Sequence[nn.Module],
        streams: Sequence[Streams],
        precision: Precision = "fp32",
        settings: Mapping[str, Sequence[float]] | None = None,
        written: Collection[str] = (),
    ) -> "Stack":
        """Stack one module per seed. Buffers that are equal in all seeds (masks, permutations) stay shared.

        ``written`` names buffers that are state, besides those of batch norms (see ``Slots``).

        Raises:
            SeedbedError: for a model without parameters, seeds that are not alike, or settings that are not one per seed.
        """
        slots = Slots(modules[0], written)
        params = stacked([dict(module.named_parameters()) for module in modules], "parameters")
        if not params:
            raise SeedbedError(f"{type(modules[0]).__name__} has no parameters; there is nothing to train")
        buffers = stacked([dict(module.named_buffers()) for module in modules], "buffers")
        state = {name: buffers.pop(name) for name in slots.remembered}
        params |= {k: v for k, v in buffers.items() if not (v == v[:1]).all()}
        given = stacked([_state_of(m, s) for m, s in zip(modules, streams, strict=True)], "`state()`")
        if taken := given.keys() & (params.keys() | buffers.keys() | state.keys()):
            raise SeedbedError(f"state {min(taken)!r} has the name of a parameter or buffer; call it otherwise in `state()`")
        state |= given
        first = next(iter(params.values()))
        rows = {k: torch.as_tensor(v, device=first.device, dtype=first.dtype) for k, v in _checked(settings, len(streams))}
        return cls(slots, params, tuple(streams), precision, state, rows)

    @property
    def module(self) -> nn.Module:
        """The structure of one seed's model."""
        return self.slots.module

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.params.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """Working precision of everything that is not a matrix product."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def replace(self, params: Mapping[str, Tensor], state: Mapping[str, Tensor] | None = None) -> "Stack":
        """The same stack with other numbers."""
        return replace(self, params=params, state=self.state if state is None else state)

    def noise(self, stream: str, *address: int | str) -> Noise:
        """Noise for all seeds of the stack at one address."""
        return Noise(self.streams, stream, *address, device=self.device, dtype=self.dtype)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of matrix products and convolutions."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def call(self, function: Callable[..., Any], *args: Any, noise: Noise, shared: Sequence[Any] = ()) -> Any:
        """Run ``function(model, *shared, *args, ctx)`` for every seed, not in training, and stack what it returns.

        Args:
            function: written for one seed; returns a pytree of tensors.
            args: pytrees of tensors with a leading seed axis.
            noise: the draws of the context that ``function`` is given as its last argument.
            shared: arguments without a seed axis.
        """
        return self.step(function, *args, noise=noise, shared=shared, training=False)[0]

    def step(
        self, function: Callable[..., Any], *args: Any, noise: Noise, shared: Sequence[Any] = (), training: bool = True
    ) -> tuple[Any, dict[str, Tensor]]:
        """``call`` in training: what ``function`` returns, and the state that it leaves behind."""
        one = partial(self._one, function, shared, noise, training)
        with full_width_products(), self.autocast():
            mapped = (dict(self.params), dict(self.state), dict(self.settings), args)
            if len(self.streams) == 1:
                # A view both ways: the gradient of an index would be a copy of every parameter among zeros.
                out = one(None, *tree_map(lambda t: t.squeeze(0), mapped))
                return tree_map(lambda t: t[None], out)
            return vmap(one)(torch.arange(len(self.streams)), *mapped)

    def _one(
        self,
        function: Callable[..., Any],
        shared: Sequence[Any],
        noise: Noise,
        training: bool,
        row: Tensor | None,
        params: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        settings: Mapping[str, Tensor],
        args: Sequence[Any],
    ) -> tuple[Any, dict[str, Tensor]]:
        """One seed's call; ``row`` is ``None`` where the stack has no other."""
        ctx = Context(noise.at(row), training, State(state), settings)
        with self.slots.lent(params, ctx, _batch_of((shared, args))):
            before = self.slots.versions()
            out = function(self.module, *shared, *args, ctx)
            self.slots.check(before)
        return out, dict(ctx.state)

    def model(self, row: int) -> nn.Module:
        """One seed's model as a plain module, in evaluation mode, that shares nothing with the stack."""
        module = copy.deepcopy(self.module)
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        with torch.no_grad():
            for name, value in (*self.params.items(), *self.state.items()):
                if name in own:
                    own[name].copy_(value[row])
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return module.eval()


def _batch_of(arguments: Any) -> int | None:
    """How many examples a call is about: the length of the first of its arguments that has one, or a number of draws."""
    for leaf in tree_leaves(arguments):
        if isinstance(leaf, Tensor) and leaf.ndim:
            return len(leaf)
        if isinstance(leaf, int):
            return leaf
    return None


def named_tensors(given: object, what: str) -> dict[str, Tensor]:
    """What a user gives as tensors by name, if it is that.

    Raises:
        SeedbedError: otherwise.
    """
    if not isinstance(given, Mapping):
        raise SeedbedError(f"{what} must give tensors by name, {{'hidden': tensor}}, got {type(given).__name__}")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise SeedbedError(f"{what} must give tensors by name, got {type(value).__name__} for {name!r}")
    return dict(given)


def stacked(rows: Sequence[Mapping[str, Tensor]], what: str) -> dict[str, Tensor]:
    """One tensor per name, ``[seeds, ...]``, of what every seed has.

    Raises:
        SeedbedError: if they differ in names or shapes, with the first difference.
    """
    for row in rows[1:]:
        if odd := row.keys() ^ rows[0].keys():
            raise SeedbedError(f"{what} of all seeds must have the same names, only some have {min(odd)}")
        for name, first in rows[0].items():
            if (row[name].shape, row[name].dtype) != (first.shape, first.dtype):
                one, other = (f"{str(v.dtype).removeprefix('torch.')} {list(v.shape)}" for v in (first, row[name]))
                raise SeedbedError(f"{what} of all seeds must be alike; {name} is {one} in one and {other} in another")
    return {name: torch.stack([row[name].detach() for row in rows]) for name in rows[0]}


def _state_of(module: nn.Module, streams: Streams) -> dict[str, Tensor]:
    if not isinstance(module, HasState):
        return {}
    what = f"`state()` of {type(module).__name__}"
    with told(what), streams.scoped("init", "state"):
        return named_tensors(module.state(), what)


def _checked(settings: Mapping[str, Sequence[float]] | None, rows: int) -> Iterator[tuple[str, Sequence[float]]]:
    for name, given in (settings or {}).items():
        try:
            count = torch.as_tensor(given, dtype=torch.float64).shape
        except (TypeError, ValueError, RuntimeError):
            count = None
        if count != (rows,):
            raise SeedbedError(f"setting {name!r} must be one number for each of {rows} rows, got {given!r}")
        yield name, given
