"""Players, what they own and what they want: one description for one-player models, GANs and symmetric learning."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError, told
from seedbed.core.numbers import number, whole
from seedbed.core.stack import named_tensors
from seedbed.core.terms import Terms
from seedbed.train.controllers import Controller
from seedbed.train.optim import Adam, Optimizer
from seedbed.train.schedules import Schedule, constant

# (model, batch, context) -> Terms, per example, higher is better. A batch is a pytree of tensors ``[batch, ...]``. A utility
# may offer ``initial_state(model, batch)``, what it carries from step to step (see ``initial_state`` below); ``resets``, the
# names of it that start anew with each pass over the data; and ``couples_examples = True`` where examples see each other.
Utility = Callable[[Any, Any, Context], Terms]


@dataclass(frozen=True, kw_only=True)
class Player:
    """Maximises a utility over the parts of the model that it owns.

    Args:
        utility: what it wants more of, per example.
        name: how its rows are named.
        owns: name prefixes of its parameters and state; ``""`` is the whole model. Where prefixes of several players match,
            the longest decides.
        optimizer: its own rule and step size.
        schedule: factor on the step size over the run, or a controller that decides one per seed at each validation.
        clip: largest norm of one seed's gradient; larger ones are scaled down. ``None`` for no clipping.
        repeat: updates per step, each with its own batch and noise.
        data: whether its utility looks at its batch. Without, none is drawn, and it is handed one that has a length and
            nothing else: of a generator, say, that only needs to know how many examples to make.
        ema: decay of the exponential moving average that is evaluated and kept instead of its parameters; 0 for none.
        ema_state: whether the average takes in its modules' state too (running statistics); else evaluation sees the newest.
        skip_above: an update whose gradient norm, before clipping, is above it changes nothing. ``None`` for no such rule.
        most_skips: so many updates in a row may be skipped; with one more the seed has diverged.

    Raises:
        SeedbedError: for a setting that makes no sense.
    """

    utility: Utility
    name: str = "model"
    owns: tuple[str, ...] = ("",)
    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule | Controller = field(default_factory=constant)
    clip: float | None = None
    repeat: int = 1
    data: bool = True
    ema: float = 0.0
    ema_state: bool = False
    skip_above: float | None = None
    most_skips: int = 10

    def __post_init__(self) -> None:
        # A checkpoint's names are made of it, with "/" between.
        if not isinstance(self.name, str) or not self.name or "/" in self.name:
            raise SeedbedError(f"a player's name must be letters without '/', got {self.name!r}")
        who = f"of player {self.name!r}"
        _check_prefixes(f"owns {who}", self.owns)
        for what, fits, example in (
            ("utility", callable(self.utility), "elbo"),
            ("optimizer", isinstance(self.optimizer, Optimizer), "Adam(lr=1e-3)"),
            ("schedule", isinstance(self.schedule, Controller) or callable(self.schedule), "constant() or Plateau()"),
        ):
            given = getattr(self, what)
            if not fits or isinstance(given, type):
                raise SeedbedError(f"{what} {who} must be one such as {example}, got {given!r}")
        held: dict[str, float | None] = {
            "repeat": whole(f"repeat {who}", self.repeat, 1),
            "most_skips": whole(f"most_skips {who}", self.most_skips, 0),
            "ema": number(f"ema {who}", self.ema, 0, 1, below=True),
        }
        for name in ("clip", "skip_above"):
            given = getattr(self, name)
            held[name] = None if given is None else number(f"{name} {who}", given, 0, above=True)
        for name, value in held.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class _Claim:
    """That ``prefix`` matches ``name``, one of the names of something; ``length`` counts its dotted components."""

    length: int
    prefix: str
    name: str


@dataclass(frozen=True)
class Game:
    """Players in the order in which they act.

    Args:
        players: each sees the updates of those before it, unless ``simultaneous``.
        simultaneous: every player answers what the others were when the step began; of itself it sees its own repeats.
        frozen: name prefixes of parameters that nobody trains, declared so.
    """

    players: tuple[Player, ...]
    simultaneous: bool = False
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_prefixes("frozen", self.frozen)

    def check(self, names: Mapping[str, Iterable[str]], state: Iterable[str] = ()) -> Mapping[str, list[str]]:
        """Who owns what: each parameter has exactly one owner or is declared frozen.

        Args:
            names: every name of each parameter, aliases included, by the one that it is called by (``Slots.aliases``).
            state: names of state and buffers, which prefixes may be of as well.

        Raises:
            SeedbedError: listing orphans, doubly owned parameters, players that own nothing, or prefixes of nothing; for a
                player that carries state along the data, and is not alone.
        """
        if not self.players:
            raise SeedbedError("a game needs at least one player, got none")
        if len({player.name for player in self.players}) < len(self.players):
            raise SeedbedError(f"players need different names, got {[p.name for p in self.players]}")
        carrying = [player.name for player in self.players if getattr(player.utility, "resets", ())]
        if carrying and len(self.players) > 1:
            raise SeedbedError(
                f"player {carrying[0]!r} carries state along the data, but players are dealt batches in turn: it would be "
                "carried past those of the others; let one player see all of them"
            )
        owned, orphans = self.share(names)
        if orphans:
            raise SeedbedError(f"nobody owns {', '.join(orphans)}; give them to a player or declare them frozen")
        idle = [name for name, mine in owned.items() if not mine]
        if idle:
            raise SeedbedError(
                f"player {idle[0]!r} owns no parameter; its prefixes match none of {', '.join(list(names)[:6])}"
            )
        every = [alias for aliases in names.values() for alias in aliases]
        for who, prefixes in (*((f"player {p.name!r} owns", p.owns) for p in self.players), ("frozen are", self.frozen)):
            for prefix in prefixes:
                if _claim((prefix,), [*every, *state]) is None:
                    raise SeedbedError(f"{who} {prefix!r}, which matches nothing; there is {', '.join(list(names)[:6])}")
        return owned

    def share(self, names: Mapping[str, Iterable[str]]) -> tuple[dict[str, list[str]], list[str]]:
        """What each player owns of ``names`` (see ``check``), and what nobody owns and nobody declared frozen.

        Raises:
            SeedbedError: if two prefixes of the same length match, with both, and what to add.
        """
        owned: dict[str, list[str]] = {player.name: [] for player in self.players}
        orphans = []
        for name, aliases in names.items():
            aliases = list(aliases)
            sides = [*((player, player.owns) for player in self.players), (None, self.frozen)]
            found = [(claim, player) for player, prefixes in sides if (claim := _claim(prefixes, aliases)) is not None]
            longest = max((claim.length for claim, _ in found), default=None)
            best = [(claim, player) for claim, player in found if claim.length == longest]
            if len(best) > 1:
                raise _tie(name, best[0], best[1])
            if not best:
                orphans.append(name)
            elif (owner := best[0][1]) is not None:
                owned[owner.name].append(name)
        return owned, orphans


def _check_prefixes(what: str, prefixes: object) -> None:
    if not isinstance(prefixes, tuple | list) or not all(isinstance(prefix, str) for prefix in prefixes):
        raise SeedbedError(f'{what} must be a tuple of name prefixes, such as ("encoder",), got {prefixes!r}')


def _claim(prefixes: Iterable[str], aliases: Iterable[str]) -> _Claim | None:
    """The longest of ``prefixes`` that matches one of the names."""
    claims = [
        _Claim(len(prefix.split(".")) if prefix else 0, prefix, alias)
        for alias in aliases
        for prefix in prefixes
        if prefix == "" or alias == prefix or alias.startswith(f"{prefix}.")
    ]
    return max(claims, key=lambda claim: claim.length, default=None)


def _tie(name: str, one: tuple[_Claim, Player | None], other: tuple[_Claim, Player | None]) -> SeedbedError:
    """Two owners with equal right: says which line settles it."""
    (first, first_owner), (second, second_owner) = one, other
    text = f"more than one owner for {name}: {_by(first, first_owner)}, and {_by(second, second_owner)}"
    parts = first.name.split(".")
    # The module that it is in, if naming that is more than what there is; the parameter itself otherwise.
    longer = ".".join(parts[:-1] if len(parts) - 1 > first.length else parts)
    if first.prefix == second.prefix or len(parts) <= first.length:
        return SeedbedError(f"{text}; make the players' `owns` disjoint")
    if second_owner is None:
        return SeedbedError(f'{text}; settle it by a longer prefix, such as frozen=(..., "{longer}")')
    added = ", ".join(f'"{prefix}"' for prefix in (*second_owner.owns, longer))
    return SeedbedError(f"{text}; settle it by a longer prefix, such as owns=({added}) for player {second_owner.name!r}")


def _by(claim: _Claim, owner: Player | None) -> str:
    who = f"player {owner.name!r} owns" if owner is not None else "frozen are"
    return f"{who} {claim.prefix!r}, which matches {claim.name}"


def initial_state(player: Player, model: nn.Module, batch: Any) -> dict[str, Tensor]:
    """What a player's utility carries from step to step, before the first one; empty unless the utility says otherwise.

    Raises:
        SeedbedError: if it is not tensors by name, or cannot be made.
    """
    start = getattr(player.utility, "initial_state", None)
    if start is None:
        return {}
    what = f"`initial_state` of the utility of {player.name!r}"
    with told(what):
        return named_tensors(start(model, batch), what)


def resetting(player: Player, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a player's state starts anew with each pass over the data, as it is then.

    Raises:
        SeedbedError: for a name that is not in its state.
    """
    names = getattr(player.utility, "resets", ())
    if unknown := [name for name in names if name not in own]:
        raise SeedbedError(f"player {player.name!r} resets state {unknown[0]!r}; its `initial_state` gives {sorted(own)}")
    return {name: own[name] for name in names}
