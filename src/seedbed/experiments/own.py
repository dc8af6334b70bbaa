"""What is given in Python rather than named: data in memory, a module, a loss. Its code and data are no settings."""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.core.numbers import shown
from seedbed.experiments.data import Data, data_named
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import field_types, held, option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective, Trained
from seedbed.experiments.source import OwnCode
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedbed.core.stack import Stack
    from seedbed.data.dataset import Dataset
    from seedbed.objectives.own import OwnUtility
    from seedbed.train.game import Game
    from seedbed.train.task import Measure, Measurement

# ``(module, batch) -> [batch]``; in a game one for each player.
Loss = Callable[..., Any] | Mapping[str, Callable[..., Any]]

STEPS = 2_000  # of a fit where nothing else is said


@dataclass(frozen=True, kw_only=True)
class Given(Data):
    """Data that were given in Python; their name has their checksum in it."""

    data: str = option("", "data set")
    make: Any = held()

    def load(self, seed: int | None = None) -> "Dataset":
        """The data, split by the declared seed of the data, or by another.

        Raises:
            SeedbedError: if they are not at hand.
        """
        if self.make is None:
            raise SeedbedError(f"the data {self.data} were given in Python; pass them again, data=...")
        return self.make(self.data_seed if seed is None else seed)


def made(build: Callable[..., Any], data: "Dataset") -> Any:
    """What a class or a function makes, called with those of ``features``, ``shape``, ``channels`` that it asks for.

    Args:
        build: a class, a function, a lambda.
        data: whose examples have so many ``features``, numbers in all; the ``shape``; and so many ``channels``, on its first
            axis.

    Raises:
        SeedbedError: if it asks for anything else that has no default.
    """
    known = {"features": data.features, "shape": data.shape, "channels": data.shape[0] if data.shape else 1}
    try:
        asked = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):  # of some built in C
        return build()
    named = [p for p in asked if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY)]
    if missing := [p.name for p in named if p.default is p.empty and (p.name not in known or p.kind == p.POSITIONAL_ONLY)]:
        name = getattr(build, "__name__", type(build).__name__)
        raise SeedbedError(
            f"{name} asks for {', '.join(missing)}; only features, shape and channels are known from the data: give the "
            f"others defaults, or pass a function, lambda: {name}(...)"
        )
    return build(**{p.name: known[p.name] for p in named if p.name in known})


@dataclass(frozen=True, kw_only=True)
class OwnModel(Model):
    """A module of one's own."""

    make: Any = held()
    takes: ClassVar = ("real", "binary", "levels", "tokens")
    codes: ClassVar = False
    has_baseline: ClassVar = False

    def module(self, data: "Dataset") -> "nn.Module":
        """One seed's module, as its code makes it.

        Raises:
            SeedbedError: if there is no code, or it makes no module.
        """
        import torch
        from torch.nn.parameter import is_lazy

        if self.make is None:
            raise SeedbedError("the code of this model was given in Python; pass it again, build=...")
        found = made(self.make, data)
        if not isinstance(found, torch.nn.Module):
            raise SeedbedError(f"`build` must make an nn.Module, got {type(found).__name__}")
        if isinstance(found, torch.jit.ScriptModule):
            raise SeedbedError(
                "`build` makes a compiled torch.jit module, which cannot be lent numbers; pass what it was made of"
            )
        if lazy := [name for name, value in found.named_parameters() if is_lazy(value)]:
            raise SeedbedError(
                f"{lazy[0]} of a lazy layer has no shape yet; give its size, or call it once where it is made"
            )
        return found

    @abstractmethod
    def build(self, data: "Dataset") -> "nn.Module":
        """One seed's model."""


@dataclass(frozen=True, kw_only=True)
class OwnModule(OwnModel):
    """A module of one's own, as it is, on data as they are: the loss is its owner's."""

    in_units: ClassVar = False

    def build(self, data: "Dataset") -> "nn.Module":
        """The module."""
        return self.module(data)


def _lost(module: Any, batch: Any) -> Any:
    raise SeedbedError("the loss of this run was given in Python; call seedbed.fit with it")


@dataclass(frozen=True, kw_only=True)
class OwnLoss(Objective):
    """A loss of one's own, ``(module, batch) -> [batch]``, or a utility, of which more is better."""

    metric: str = option("loss", "what its negative, or the loss, is called on held-out examples")
    frozen: tuple[str, ...] = option((), "beginnings of the names of parameters that are not trained")
    players: tuple[str, ...] = option((), "whose loss it is, in the order of play; none of one player", later=True)
    loss: Any = held()
    utility: Any = held()
    metrics: Any = held()
    in_nats: ClassVar = False

    def _each(self) -> "Iterator[tuple[str, OwnUtility]]":
        """The utility of every player, by the beginning of the names that it owns; the first is what is judged by."""
        from seedbed.objectives.own import Negative, OwnUtility

        given = self.utility if self.loss is None else self.loss
        utility = (lambda function: function) if self.loss is None else Negative
        if not self.players:
            yield "", OwnUtility(_lost if given is None else utility(given), self.metric)
            return
        if given is not None and sorted(given) != sorted(self.players):
            raise SeedbedError(f"players must be those of the losses, {', '.join(given)}, got {', '.join(self.players)}")
        for name in self.players:
            yield name, OwnUtility(_lost if given is None else utility(given[name]), f"{name}_{self.metric}")

    def game(self, training: Training, model: Trained) -> "Game":
        """One player that owns all that is not frozen, or those that have a loss each."""
        from seedbed.train.game import Game

        players = [
            training.player(utility, **({"name": name, "owns": (name,)} if name else {})) for name, utility in self._each()
        ]
        return Game(tuple(players), frozen=self.frozen)

    def select(self, model: Trained) -> str:
        """The loss, of several that of the first."""
        return next(self._each())[1].name

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """The loss, and further metrics, on every example."""
        from seedbed.core.metric import declared
        from seedbed.evaluate.estimate import per_example
        from seedbed.objectives.own import value_of, with_context

        each = [utility for _, utility in self._each()]
        more = {name: with_context(function) for name, function in (self.metrics or {}).items()}

        def losses(module: Any, x: "Tensor", ctx: Any) -> "dict[str, Tensor]":
            found = {utility.name: -utility(module, x, ctx).value for utility in each}
            return {**found, **{name: value_of(f, module, x, ctx, f"metric {name!r}") for name, f in more.items()}}

        def measured(stack: "Stack", split: str) -> "Measurement":
            with told("the loss on held-out examples"):
                found = per_example(stack, losses, data.splits[split], split)
            return {name: (value, declared(name).unit) for name, value in found.items()}

        return measured


def fitted(
    build: Callable[..., Any],
    data: Any,
    *,
    loss: Loss | None = None,
    utility: Loss | None = None,
    metric: str = "loss",
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    frozen: Sequence[str] = (),
    data_seed: int = 0,
    **training: Any,
) -> Experiment:
    """The experiment that ``seedbed.fit`` runs: in a file of your own, ``seedbed run my_file.py:experiment`` runs it too.

    Args:
        build: see ``fit``, as everything else.
        data: the same.
        loss: the same.
        utility: the same.
        metric: the same.
        metrics: the same.
        frozen: the same.
        data_seed: the same.
        training: the same.

    Raises:
        SeedbedError: for what does not go together.
    """
    if (loss is None) == (utility is None):
        raise SeedbedError(
            f"expected loss=... or utility=..., (module, batch) -> [batch], got {'neither' if loss is None else 'both'}; "
            "pass one"
        )
    if metrics is not None and not isinstance(metrics, Mapping):
        raise SeedbedError(f"metrics must be functions by their names, got {type(metrics).__name__}; e.g. {{'l1': l1}}")
    if odd := [name for name in (metric, *(metrics or {})) if not isinstance(name, str) or not name.strip()]:
        raise SeedbedError(f"a metric is called by a word, got {odd[0]!r}; choose a name for it")
    if metrics and metric in metrics:
        raise SeedbedError(f"metrics have a {metric!r}, as the loss is called; call one of them by another name")
    if isinstance(frozen, str):
        raise SeedbedError(f"frozen takes several beginnings of names, got {frozen!r}; write frozen=[{frozen!r}]")
    names = tuple(frozen) if isinstance(frozen, Iterable) else (frozen,)
    if odd := [name for name in names if not isinstance(name, str)]:
        raise SeedbedError(f"frozen takes beginnings of names of parameters, got {shown(odd[0])}; e.g. frozen=['encoder']")
    given = utility if loss is None else loss
    players = tuple(given) if isinstance(given, Mapping) else ()
    if isinstance(given, Mapping) and not players:
        raise SeedbedError("a game needs a loss for each player, {'critic': ..., 'generator': ...}, got none")
    losses = given.items() if isinstance(given, Mapping) else (("loss" if utility is None else "utility", given),)
    for what, function in (("build", build), *losses, *(metrics or {}).items()):
        if not callable(function):
            example = "lambda: MyNet()" if what == "build" else "lambda net, x: (net(x) - x).square().sum(-1)"
            raise SeedbedError(f"{what} must be a function, got {type(function).__name__}; e.g. {example}")
    if hasattr(build, "named_parameters") and not isinstance(build, type):
        name = type(build).__name__
        raise SeedbedError(f"build must make a module for each seed, got one {name}; pass the class, or lambda: {name}(...)")
    known = field_types(Training)
    for name in training:
        if name not in known:
            raise unknown("setting", name, [*known, *inspect.signature(fitted).parameters])
    trained = Training(**{"steps": STEPS, **training})
    if "eval_every" not in training:
        trained = replace(trained, eval_every=max(1, trained.steps // 10))
    return Experiment(
        given_data(data, data_seed),
        OwnModule(make=build),
        OwnLoss(metric=metric, frozen=tuple(frozen), players=players, loss=loss, utility=utility, metrics=metrics),
        trained,
        source=OwnCode(
            {
                "build": build,
                **({"loss": loss} if utility is None else {"utility": utility}),
                **{f"metric {name}": function for name, function in (metrics or {}).items()},
            }
        ),
    )


def given_data(data: Any, seed: int = 0) -> Data:
    """The declaration of data that were given in Python: by name, or a data set whose name has its checksum in it.

    Args:
        data: what ``data.own.as_dataset`` takes.
        seed: of its split.

    Raises:
        SeedbedError: as there.
    """
    if isinstance(data, str):
        return replace(data_named(data), data_seed=seed)
    from seedbed.data.own import as_dataset

    @cache
    def load(seed: int) -> "Dataset":
        found = as_dataset(data, seed=seed, plain=True)
        return replace(found, name=f"{found.name}-{found.checksum()[:8]}")

    return Given(data=load(seed).name, data_seed=seed, make=load)


def is_fitted(config: Mapping[str, Any]) -> bool:
    """Whether the settings of a run are of ``fitted``."""
    return config.get("parts", [])[1:3] == [OwnModule.__name__, OwnLoss.__name__]


def refitted(config: Mapping[str, Any], build: Callable[..., Any], data: Any = None) -> Experiment:
    """The experiment of a run of ``fitted``, from what it remembers: good for its models, not for its loss.

    Args:
        config: its settings.
        build: what makes a module.
        data: of the run, where more than its models is asked for.

    Raises:
        SeedbedError: if it is of something else.
    """
    if not is_fitted(config):
        raise SeedbedError("build= is for runs of seedbed.fit; this one is of an experiment, pass experiment=...")
    if data is not None or config["parts"][0] != Given.__name__:
        part = given_data(config["data"] if data is None else data, config.get("data_seed", 0))
    else:
        part = Given(data=config["data"])
    return Experiment(part, OwnModule(make=build), OwnLoss(), Training()).with_config(config)
