"""Whose the numbers of a stack in training are, and which of them count: one rule for who trains and for who only reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.train import holdings
from seedbed.train.game import Game
from seedbed.train.start import modules_of
from seedbed.train.task import Task

# What a checkpoint's tree holds. 1: each player's state by itself, and one moving average of all players or none.
# 2: as now, without checksums and the rows of the table.
LAYOUT = 3
CONTINUED = 2  # the first that training can go on from


@dataclass(frozen=True)
class Shares:
    """Who owns what of a stack, and where it lies in the players' flat tensors.

    Args:
        owned: names of each player's parameters.
        owned_state: names of the modules' state that each player writes.
        orphans: state that nobody owns and nobody declared frozen.
        entries: name, shape and size of each player's parameters, in the order of its flat tensor.
        averaged: players that have a moving average.
        averaged_state: names of the modules' state that it takes in.
    """

    owned: Mapping[str, list[str]]
    owned_state: Mapping[str, list[str]]
    orphans: list[str]
    entries: Mapping[str, list[tuple[str, torch.Size, int]]]
    averaged: list[str]
    averaged_state: list[str]

    @classmethod
    def of(cls, game: Game, stack: Stack) -> "Shares":
        """Whose the parts of a stack are in a game.

        Raises:
            SeedbedError: see ``Game.check`` and ``holdings.check_owned``.
        """
        aliases = stack.slots.aliases
        state = {other for n in aliases for other in aliases[n]} | set(stack.state)
        owned = game.check({n: aliases[n] for n, _ in stack.module.named_parameters()}, state)
        holdings.check_owned(stack.module, owned)
        entries = {
            name: [(key, stack.params[key].shape[1:], stack.params[key][0].numel()) for key in keys]
            for name, keys in owned.items()
        }
        owned_state, orphans = game.share({n: aliases.get(n, [n]) for n in stack.state})
        averaged = [key for p in game.players if p.ema and p.ema_state for key in owned_state[p.name]]
        return cls(
            owned,
            owned_state,
            orphans,
            entries,
            [p.name for p in game.players if p.ema],
            [key for key in averaged if stack.state[key].is_floating_point()],
        )

    def named(self, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters by name, ``[seeds, *shape]`` each, of the players' flat tensors ``[seeds, size]``."""
        out = {}
        for player, vector in flat.items():
            pieces = vector.split([size for _, _, size in self.entries[player]], 1)
            for (key, shape, _), piece in zip(self.entries[player], pieces, strict=True):
                out[key] = piece.view(-1, *shape)
        return out


@dataclass(frozen=True)
class Weights:
    """All numbers of a stack but those that only training needs; each has a leading seed axis.

    Args:
        params: each player's parameters, flat.
        fixed: what nobody trains, by name.
        state: of the modules.
        average: moving averages of the players that have one, flat.
        average_state: the moving average of the modules' state where it is taken in.
    """

    params: dict[str, Tensor]
    fixed: dict[str, Tensor]
    state: dict[str, Tensor]
    average: dict[str, Tensor]
    average_state: dict[str, Tensor]

    @classmethod
    def begin(cls, stack: Stack, shares: Shares) -> "Weights":
        """Those that a stack starts with."""
        seeds, params = len(stack.streams), stack.params
        flat = {name: torch.cat([params[key].reshape(seeds, -1) for key in keys], 1) for name, keys in shares.owned.items()}
        mine = {key for keys in shares.owned.values() for key in keys}
        return cls(
            flat,
            {key: value for key, value in params.items() if key not in mine},
            dict(stack.state),
            {name: flat[name].clone() for name in shares.averaged},
            {key: stack.state[key].clone() for key in shares.averaged_state},
        )

    def taken(self, tree: Mapping[str, Any]) -> "Weights":
        """Those of a checkpoint's tree (see ``upgraded``); state and averages that it lacks stay as they are.

        Raises:
            SeedbedError: if its parameters are not those of this model, by name and shape.
        """
        return Weights(
            fitting("parameters", self.params, tree.get("params", {})),
            fitting("fixed numbers", self.fixed, tree.get("fixed", {})),
            known(self.state, tree.get("state", {}).get("modules", {})),
            known(self.average, tree.get("average", {})),
            known(self.average_state, tree.get("average_state", {})),
        )

    @property
    def kept(self) -> dict[str, Tensor]:
        """The flat parameters that count: the moving average where there is one."""
        return self.params | self.average

    @property
    def kept_state(self) -> dict[str, Tensor]:
        """The modules' state that counts: the moving average where there is one."""
        return self.state | self.average_state

    def counting(self, structure: Stack, shares: Shares) -> Stack:
        """The models that count, for evaluation."""
        return structure.replace(self.fixed | shares.named(self.kept), self.kept_state)


def fitting(what: str, mine: Mapping[str, Tensor], found: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a checkpoint holds, if it is what a model has: a tensor that is missing must not become another number.

    Raises:
        SeedbedError: if names, shapes or types differ.
    """
    shapes = lambda tensors: {
        name: (tuple(value.shape), value.is_floating_point()) if isinstance(value, Tensor) else None
        for name, value in tensors.items()
    }
    expected, got = shapes(mine), shapes(found)
    if wrong := sorted(name for name in {*expected, *got} if expected.get(name) != got.get(name)):
        raise SeedbedError(
            f"the checkpoint is damaged or of another model: {what} {wrong[0]!r} should be of shape and kind "
            f"{expected.get(wrong[0])}, got {got.get(wrong[0])}; delete it and run again"
        )
    return dict(found)


def upgraded(tree: Mapping[str, Any], meta: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A checkpoint's tree on a device and in the present layout.

    One of an earlier layout is good for what was trained, not for going on: see ``loop``.
    """
    moved = dict(tree_map(lambda t: t.to(device), dict(tree)))
    if meta.get("layout", 1) == 1:
        moved |= {"state": {"players": moved.get("states", {})}, "average": moved["params"] | moved.get("average", {})}
    return moved


def restored(
    task: Task, streams: Sequence[Streams], device: torch.device, tree: Mapping[str, Any], meta: Mapping[str, Any]
) -> Stack:
    """The models that count in a checkpoint, without what only training needs: no optimiser, no batch, no utility's state.

    Args:
        task: what was trained.
        streams: the random streams of each seed.
        device: where to put them.
        tree: the checkpoint's tensors.
        meta: its metadata.

    Raises:
        SeedbedError: if the task's models are not those that were trained.
    """
    modules = [module.to(device) for module in modules_of(task, streams, device)]
    # Of the buffers, those that a forward pass wrote are part of the state that was kept.
    written = {name for name, _ in modules[0].named_buffers()} & tree.get("state", {}).get("modules", {}).keys()
    structure = Stack.of(modules, streams, task.precision, task.settings, written)
    shares = Shares.of(task.game, structure)
    return Weights.begin(structure, shares).taken(upgraded(tree, meta, device)).counting(structure, shares)


def known(own: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Tensor]:
    """What is given of what one has, and the rest as it is."""
    return {key: given[key] if isinstance(given.get(key), Tensor) else value for key, value in own.items()}
