"""One look at a game before it is trained: what would train to wrong numbers without a word is refused in one line.

Each player's utility is called three times, as one seed, on the first batch: twice on the same, once with other examples in
half of it. Nothing is drawn or changed by it, so a run that is looked at is the run that it would have been.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError, told
from seedbed.core.noise import Draw, Noise
from seedbed.core.slots import couples_examples
from seedbed.core.stack import Stack
from seedbed.core.terms import Terms
from seedbed.train.game import Player
from seedbed.train.holdings import CONTAINERS, DEPTH, OF_TORCH, contents, entries, has_parameters, place_of
from seedbed.train.replay import listing, same
from seedbed.train.unseen import Unseen

# Changes of an example's value by what rounding may do; relative to it, or to the batch's mean where that is larger.
ROUNDING = {"fp64": 1e-9, "fp32": 1e-3, "bf16": 5e-2}


def check_utility(
    player: Player,
    stack: Stack,
    batch: Any,
    noise: Noise,
    seen: Callable[[Any, Noise], Any],
    orphans: Collection[str],
    owned: Collection[str],
) -> None:
    """Call a player's utility and refuse what cannot be trained, or would train to something else than it says.

    Args:
        player: whose utility.
        stack: of one seed.
        batch: its first batch, ``[1, batch, ...]`` per leaf.
        noise: of one seed.
        seen: what is shown of a batch (a random view).
        orphans: the state that nobody owns and nobody declared frozen.
        owned: the player's parameters.

    Raises:
        SeedbedError: for an attribute or a batch that a forward pass changes, draws or values that differ between two calls,
            examples that see each other without a word of it, values and parts that are not one per example, parameters that
            no gradient reaches, written state of nobody, or whatever the utility itself raises.
    """
    utility = player.utility
    if any(has_parameters(held) for held in contents(utility)):
        raise SeedbedError(f"the utility of {player.name!r} holds parameters, which nobody trains; keep them in the model")
    label = f"the utility of {player.name!r}"
    once = _call(player, stack, batch, noise, seen, label)
    if once.foreign is not None:
        raise SeedbedError(
            f"{label} depends on a parameter {once.foreign} that is no part of the model, which nobody trains: of a module "
            "held in a global, a closure or a list; hold it as an attribute of the model, or say requires_grad_(False)"
        )
    unused = [name for name in owned if name not in once.reached]
    if len(unused) == len(owned):
        raise SeedbedError(f"{label} depends on none of its parameters; let it own others")
    if unused:
        raise SeedbedError(
            f"{label} gives no gradient to {', '.join(unused[:6])}, which {player.name!r} owns; use it there, or declare it "
            "frozen: Game(..., frozen=(...,))"
        )
    twice = _call(player, stack, batch, noise, seen, label)
    for number, (one, other) in enumerate(zip(_padded(once.draws, twice), _padded(twice.draws, once), strict=True), 1):
        if one != other:
            raise SeedbedError(
                f"{label} draws differently when called again: its draw {number} was {_say(one)}, then {_say(other)}; "
                "what it draws must not depend on anything but its arguments"
            )
    if once.parts != twice.parts:
        raise SeedbedError(
            f"{label} must have the same parts at every call, got {list(once.parts)}, then {list(twice.parts)}"
        )
    if not bool(once.value.isfinite().any()):
        raise SeedbedError(
            f"{label} is {once.value[0].item()} from the start, of every example; look for a 0 / 0 or a log of 0"
        )
    if not same((once.value, once.state), (twice.value, twice.state)):
        raise SeedbedError(
            f"{label} gives other values when called again with the same draws; draw from ctx.noise or by torch's "
            "functions, not from numpy, Python or a generator of its own, and keep what it counts in a buffer or ctx.state"
        )
    for name in sorted(orphans):
        if not same(once.state[name], stack.state[name]):
            raise SeedbedError(
                f"{label} writes state {name!r}, which nobody owns; give it to a player by its prefix, or declare it frozen"
            )
    if getattr(player.utility, "couples_examples", False) or couples_examples(stack.module):
        return
    half = len(once.value) // 2
    if half and _coupled(
        once.value[:half], _call(player, stack, _mixed(batch, len(once.value)), noise, seen, label).value, stack
    ):
        raise SeedbedError(
            f"examples of a batch see each other in {label}: the first ones' values change with the last ones; declare "
            "`couples_examples = True` on the utility if it is meant, else use layer or group norm, and no batch means"
        )


@dataclass(frozen=True)
class _Called:
    value: Tensor
    state: dict[str, Tensor]
    draws: list[Draw]
    reached: set[str]  # parameters that the value depends on
    foreign: list[int] | None  # shape of one that it depends on and that is not the model's
    parts: tuple[str, ...]


def _call(player: Player, stack: Stack, batch: Any, noise: Noise, seen: Callable[[Any, Noise], Any], label: str) -> _Called:
    """One call of the utility in training, as if it were the first."""
    draws: list[Draw] = []
    parts: list[str] = []
    written = {alias for name in stack.slots.written for alias in stack.slots.aliases[name]}

    def watched(model: nn.Module, batch: Any, ctx: Context) -> Tensor:
        before, start = _Snapshot(model, written), {name: (value, _version(value)) for name, value in ctx.state.items()}
        shown = seen(batch, ctx.noise)
        versions = [(leaf, _version(leaf)) for leaf in tree_leaves(shown) if isinstance(leaf, Tensor)]
        with told(label):
            out = player.utility(model, shown, ctx)
        _check_terms(out, shown, label)
        parts.extend(out.parts)
        value = out.value
        if any(_version(leaf) != version for leaf, version in versions):
            raise SeedbedError(f"{label} changes its batch in place, which others see; write a new tensor")
        changed = before.changed()
        if changed is not None:
            raise SeedbedError(
                f"{changed} changes when {label} is called: what a forward pass leaves on a module is lost or mixed between "
                "seeds; return it, or keep it in a buffer (register_buffer), which is state as ctx.state is"
            )
        for name, (given, version) in start.items():
            if _version(given) != version:
                raise SeedbedError(f"{label} changes state {name!r} in place; write a new tensor, ctx.state[{name!r}] = ...")
        return value

    params = {name: value.requires_grad_(value.is_floating_point()) for name, value in stack.params.items()}
    lent = replace(stack, params=params)
    value, state = lent.step(watched, tree_map(torch.clone, batch), noise=listing(noise, draws))
    wanted = [name for name, given in params.items() if given.requires_grad]
    found = _gradients(value, [params[name] for name in wanted])
    reached = {name for name, gradient in zip(wanted, found, strict=True) if gradient is not None}
    kept, foreign = {name: entry.detach() for name, entry in state.items()}, _foreign(value, params.values())
    return _Called(value[0].detach(), kept, draws, reached, foreign, tuple(parts))


def _foreign(value: Tensor, params: Iterable[Tensor]) -> list[int] | None:
    """The shape of a tensor that a gradient would be left on, and that is none of ``params``."""
    known, seen, waiting = {id(given) for given in params}, set[Any](), [value.grad_fn]
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor) and id(leaf) not in known:
            return list(leaf.shape)
        waiting += [below for below, _ in node.next_functions]
    return None


def _gradients(value: Tensor, params: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not value.requires_grad:
        return [None] * len(params)
    return torch.autograd.grad(value.sum(), params, allow_unused=True)


def _check_terms(out: object, batch: Any, label: str) -> None:
    """Refuse what is no value and named parts of each example."""
    if not isinstance(out, Terms) or not isinstance(out.value, Tensor) or not isinstance(out.parts, Mapping):
        got = type(out.value).__name__ if isinstance(out, Terms) else type(out).__name__
        raise SeedbedError(f"{label} must give Terms(value, {{name: part}}) of tensors, got {got}")
    leaves = () if isinstance(batch, Unseen) else tree_leaves(batch)
    counts = {leaf.shape[0] if leaf.ndim else None for leaf in leaves} or {len(batch)}
    count = counts.pop() if len(counts) == 1 else None
    value = out.value
    if value.ndim != 1 or (count is not None and len(value) != count):
        of = "" if count is None else f" for a batch of {count}"
        raise SeedbedError(f"{label} must give one value per example, [batch], got {list(value.shape)}{of}")
    if not value.is_floating_point():
        raise SeedbedError(f"{label} must give floating-point values, got {value.dtype}")
    for name, part in out.parts.items():
        if not isinstance(name, str) or name == "utility" or not name.isprintable():
            raise SeedbedError(
                f"{label} has a part named {name!r}; call it by another string ('utility' is the value itself)"
            )
        shape = list(part.shape) if isinstance(part, Tensor) and part.dtype != torch.bool else type(part).__name__
        if shape not in ([], [len(value)]):
            got = f"{shape}" if not isinstance(part, Tensor) or part.dtype != torch.bool else "booleans"
            raise SeedbedError(f"part {name!r} of {label} must be a number per example, [{len(value)}], or one, got {got}")


def _mixed(batch: Any, count: int) -> Any:
    """The batch with examples of its first half in place of those of its second."""
    half = count // 2
    rows = torch.cat([torch.arange(half), torch.arange(count - half) % half])
    return tree_map(lambda t: t[:, rows.to(t.device)] if t.ndim > 1 and t.shape[1] == count else t, batch)


def _coupled(value: Tensor, other: Tensor, stack: Stack) -> bool:
    """Whether the values of the same examples differ beyond rounding."""
    value, other = value.double(), other[: len(value)].double()
    finite = value.isfinite() & other.isfinite()
    size = value[finite].abs()
    within = (value - other)[finite].abs() <= ROUNDING[stack.precision] * torch.maximum(size, size.mean())
    return not bool(within.all()) or not torch.equal(value.isfinite(), other.isfinite())


def _padded(draws: list[Draw], other: _Called) -> list[Draw | None]:
    return [*draws, *[None] * (len(other.draws) - len(draws))]


def _say(draw: Draw | None) -> str:
    if draw is None:
        return "none"
    return f"{draw.fill.__name__.rstrip('_')} {list(draw.shape)} of the stream {draw.stream!r}"


# --- what a forward pass leaves behind ----------------------------------------------------------------------------------


class _Snapshot:
    """Everything that a model holds but the buffers that are state, to see what changes."""

    def __init__(self, model: nn.Module, written: Collection[str]) -> None:
        self.model = model
        self.written = written
        self.kept = {name: _keep(value, depth) for name, value, depth in self._held()}

    def _held(self) -> Iterator[tuple[str, Any, int]]:
        for path, part in self.model.named_modules():
            prefix = f"{path}." if path else ""
            for attribute, value in part.__dict__.items():
                if attribute not in OF_TORCH:
                    yield place_of(part, path, attribute), value, DEPTH
            for held in (part._parameters, part._buffers, part._modules):
                for attribute, value in held.items():
                    if held is part._buffers and prefix + attribute in self.written:
                        continue
                    yield place_of(part, path, attribute), value, 0

    def changed(self) -> str | None:
        """The first attribute that is not what it was, ``Module.attribute``."""
        now = {name: value for name, value, _ in self._held()}
        for name in (*self.kept, *now):
            if name not in self.kept or name not in now or not _unchanged(self.kept[name], now[name]):
                return name
        return None


@dataclass(frozen=True, eq=False)
class _Array:
    """A tensor or an array, and what was in it."""

    value: Any
    version: int
    copy: Any


@dataclass(frozen=True, eq=False)
class _Container:
    """A list, a dictionary and the like, and what was in it."""

    value: Any
    keys: list[Any]
    items: list[Any]


def _keep(value: Any, depth: int) -> Any:
    """What is needed to see whether a value was changed, in place too: a copy of its contents, itself where it has none."""
    if isinstance(value, Tensor):
        return _Array(value, _version(value), value.detach().clone())
    if isinstance(value, np.ndarray):
        return _Array(value, 0, value.copy())
    if isinstance(value, CONTAINERS) and depth:
        keys, items = entries(value)
        return _Container(value, keys, [_keep(item, depth - 1) for item in items])
    return value


def _unchanged(kept: Any, now: Any) -> bool:
    if isinstance(kept, _Array):
        if kept.value is not now or (isinstance(now, Tensor) and kept.version != _version(now)):
            return False
        if isinstance(now, np.ndarray):
            return np.array_equal(kept.copy, now, equal_nan=now.dtype.kind in "fc")
        return same(kept.copy, now.detach())
    if isinstance(kept, _Container):
        if type(kept.value) is not type(now):
            return False
        keys, items = entries(now)
        return keys == kept.keys and all(map(_unchanged, kept.items, items))
    if isinstance(kept, (bool, int, float, complex, str, bytes)):
        return type(kept) is type(now) and (kept == now or kept != kept)  # NaN is itself
    return kept is now


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
