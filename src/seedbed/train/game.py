"""Players, what they own and what they want: one description for one-player models, GANs and symmetric learning."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise
from seedbed.core.terms import State, Terms
from seedbed.train.optim import Adam, Optimizer
from seedbed.train.schedules import Schedule, constant

# (model, batch, noise, state) -> Terms, per example, higher is better.
Utility = Callable[[Any, Tensor, Noise, State], Terms]


@dataclass(frozen=True, kw_only=True)
class Player:
    """Maximises a utility over the parts of the model that it owns.

    Args:
        utility: what it wants more of, per example.
        name: how its rows are named.
        owns: name prefixes of its parameters; ``""`` is the whole model.
        optimizer: its own rule and step size.
        schedule: factor on the step size over the run.
        clip: largest norm of one seed's gradient; larger ones are scaled down. ``None`` for no clipping.
        repeat: updates per step, each with its own batch and noise.
    """

    utility: Utility
    name: str = "model"
    owns: tuple[str, ...] = ("",)
    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=constant)
    clip: float | None = None
    repeat: int = 1

    def owned(self, names: Iterable[str]) -> list[str]:
        """Those parameter names that this player owns."""
        return [n for n in names if any(p == "" or n == p or n.startswith(f"{p}.") for p in self.owns)]


@dataclass(frozen=True)
class Game:
    """Players in the order in which they act.

    Args:
        players: each sees the updates of those before it, unless ``simultaneous``.
        simultaneous: every player answers the same parameters; updates are applied together at the end of the step.
        frozen: name prefixes of parameters that nobody trains, declared so.
    """

    players: tuple[Player, ...]
    simultaneous: bool = False
    frozen: tuple[str, ...] = ()

    def check(self, names: Iterable[str]) -> Mapping[str, list[str]]:
        """Who owns what: each parameter has exactly one owner or is declared frozen.

        Raises:
            SeedbedError: listing orphans, doubly owned parameters, or players that own nothing.
        """
        names = list(names)
        frozen = Player(utility=_nothing, owns=self.frozen).owned(names)
        owned = {player.name: player.owned(names) for player in self.players}
        if len(owned) < len(self.players):
            raise SeedbedError(f"players need different names, got {[p.name for p in self.players]}")
        count = {n: sum(n in mine for mine in (*owned.values(), frozen)) for n in names}
        orphans = [n for n in names if count[n] == 0]
        if orphans:
            raise SeedbedError(f"nobody owns {', '.join(orphans)}; give them to a player or declare them frozen")
        shared = [n for n in names if count[n] > 1]
        if shared:
            raise SeedbedError(f"more than one owner for {', '.join(shared)}; make the players' `owns` disjoint")
        idle = [name for name, mine in owned.items() if not mine]
        if idle:
            raise SeedbedError(f"player {idle[0]!r} owns no parameter; its prefixes match none of {', '.join(names[:6])}")
        return owned


def initial_state(player: Player, model: nn.Module, batch: Tensor) -> State:
    """What a player's utility carries from step to step, before the first one; empty unless the utility says otherwise."""
    start = getattr(player.utility, "initial_state", None)
    return {} if start is None else start(model, batch)


def _nothing(model: object, batch: Tensor, noise: Noise, state: State) -> Terms:
    raise AssertionError("never called")
