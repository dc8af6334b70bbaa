"""An experiment: data x model x objective x training, in one flat space of names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from seedbed.core.errors import SeedbedError, unknown
from seedbed.experiments.check import check_fit
from seedbed.experiments.data import Data, data_named
from seedbed.experiments.fields import FieldType, Part, field_types, fields_of
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from torch import nn

    from seedbed.core.noise import Streams
    from seedbed.data.dataset import Dataset
    from seedbed.train.task import Task

BUDGETS = ("smoke", "demo", "laptop", "full")
PARTS = ("data", "model", "objective", "training")


@runtime_checkable
class Source(Protocol):
    """Code of one's own that an experiment is made of."""

    def record(self, also: Iterable[str] = ()) -> dict[str, Any]:
        """What a run remembers of it: ``{"sha256": {name: checksum}}``, and ``"file"`` where it is one.

        Args:
            also: other names, whose checksums are of now; empty of what is gone.
        """
        ...


@dataclass(frozen=True)
class Experiment:
    """A declaration that a run is made of. Importing one imports no torch; building its task does.

    Args:
        data: what is learnt from.
        model: what is learnt.
        objective: what is maximised, by whom.
        training: how.
        budgets: settings that a budget replaces, ``epochs`` in the place of ``steps``. ``laptop`` is what the fields say,
            ``smoke`` runs thirty steps, ``demo`` is for `make demo`.
        metric: the test metric that it is about; empty for its study's.
        ms_per_step: of ten seeds on two cores, or a function of the settings, for estimates before a study starts.
        unhashed: settings of this experiment that enter the configuration hash only where they have another value than this
            one, besides the fields that are declared as ``later``: those that it was given after its hash was known.
        retired: settings that it has no more, with the value that its hash still counts.
        preset: the kinds of parts that its name stands for, so that its hash need not name them (see ``hashed_by``).
        source: the code of one's own that it is from; a run goes on only with the same.

    Raises:
        SeedbedError: if two parts have a field of one name.
    """

    data: Data
    model: Model
    objective: Objective
    training: Training
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metric: str = ""
    ms_per_step: float | Callable[[Mapping[str, Any]], float] = field(default=10.0, compare=False)
    unhashed: Mapping[str, Any] = field(default_factory=dict)
    retired: Mapping[str, Any] = field(default_factory=dict)
    preset: tuple[str, ...] = ()
    source: Source | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, kind in zip(PARTS, (Data, Model, Objective, Training), strict=True):
            if not isinstance(given := getattr(self, name), kind):
                raise SeedbedError(f"{name} of an experiment must be a {kind.__name__}, got {type(given).__name__}")
        fields_of(self.parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The four of them."""
        return self.data, self.model, self.objective, self.training

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting with its value, in the order of the parts."""
        found = fields_of(self.parts)
        return {name: getattr(part, name) for name, (part, _) in found.items() if name not in self.retired}

    def described(self) -> dict[str, tuple[FieldType, Mapping[str, Any]]]:
        """What each setting takes, and its help, limits and condition."""
        found = fields_of(self.parts)
        return {name: (field_types(type(found[name][0]))[name], found[name][1].metadata) for name in self.settings}

    def config(self) -> dict[str, Any]:
        """The settings that name a run, as JSON knows them (see ``unhashed``, ``retired``), and of no preset its parts."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in self.settings.items()}
        later = {k: f.default for k, (_, f) in fields_of(self.parts).items() if f.metadata.get("later")}
        silent = {k: list(v) if isinstance(v, tuple) else v for k, v in {**later, **self.unhashed}.items()}
        counted = {k: v for k, v in values.items() if k not in silent or v != silent[k]}
        return {**({} if self._parts == [*self.preset] else {"parts": self._parts}), **self.retired, **counted}

    @property
    def _parts(self) -> list[str]:
        return [part.title for part in self.parts]

    def with_config(self, config: Mapping[str, Any]) -> "Experiment":
        """The same experiment with other values; with another data set, declared as that one is.

        Raises:
            SeedbedError: for a name that is no setting, a value of another type or out of range, or the parts of another.
        """
        config = dict(config)
        if (parts := config.pop("parts", None)) is not None and parts[1:] != self._parts[1:]:
            raise SeedbedError(
                f"these are settings of {', '.join(parts)}; the experiment is made of {', '.join(self._parts)}"
            )
        # What an older run was given of what has no say any more still names it.
        retired = {**self.retired, **{name: config.pop(name) for name in set(config) & set(self.retired)}}
        changed = self.on(config.pop("data")) if config.get("data", self.data.data) != self.data.data else self
        config.pop("data", None)
        found = {}
        for place, part in zip(PARTS, changed.parts, strict=True):
            known = field_types(type(part))
            mine = {name: config.pop(name) for name in list(config) if name in known}
            given = {name: known[name].taken(name, part.title, value) for name, value in mine.items()}
            found[place] = replace(part, **given) if given else part
        if config:
            raise unknown("setting", next(iter(config)), changed.settings)
        return replace(changed, retired=retired, **found)

    def changed(self, settings: Mapping[str, Any]) -> "Experiment":
        """``with_config`` for what somebody asked for: a setting that has no say beside the others is refused.

        Raises:
            SeedbedError: as there, and for such a setting, with what gives it a say.
        """
        for name in set(settings) & set(self.retired):
            raise SeedbedError(f"{name.replace('_', ' ')} has no say in {self.model.title}; leave it out")
        for says in self.silent(settings).values():
            raise SeedbedError(says)
        return self.with_config(settings)

    def silent(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Which of these settings would have no say beside the others, and why.

        Raises:
            SeedbedError: as ``with_config``.
        """
        out, found = self.with_config(settings), {}
        now, before = out.settings, self.settings
        for name, (_, about) in out.described().items():
            if name not in settings or now[name] == before.get(name):
                continue
            for other, values in about.get("when", {}).items():
                if other in now and now[other] not in values:
                    flags = " or ".join(f"--{other.replace('_', '-')} {value}" for value in values)
                    label, owner = name.replace("_", " "), other.replace("_", " ")
                    found[name] = f"{label} has no say with {owner} {now[other]}; add {flags}, or leave it out"
        return found

    def on(self, data: str) -> "Experiment":
        """The same experiment on another data set.

        Raises:
            SeedbedError: if there is no such data set.
        """
        if not isinstance(data, str):
            raise SeedbedError(f"data must be the name of a data set, got {data!r}")
        return replace(self, data=data_named(data, self.data))

    def with_budget(self, budget: str) -> "Experiment":
        """The experiment at another budget.

        Raises:
            SeedbedError: for an unknown budget.
        """
        if budget not in BUDGETS:
            raise unknown("budget", budget, BUDGETS)
        changes = dict(self.budgets.get(budget, {}))
        if "epochs" in changes:
            changes["steps"] = self.steps_of(changes.pop("epochs"), changes.get("batch_size"))
        if budget == "smoke" and not changes:
            steps = min(self.training.steps, 30)
            changes = {"steps": steps, "eval_every": min(self.training.eval_every, max(steps // 3, 1))}
        return self.with_config(changes)

    def steps_of(self, epochs: int, batch_size: int | None = None) -> int:
        """Updates of so many passes over the data, in whole batches; data of one's own are read to count them.

        Raises:
            SeedbedError: if there is no whole batch in a pass.
        """
        size = self.training.batch_size if batch_size is None else batch_size
        examples = self.data.epoch_examples or self.data.load().epoch_size
        if examples < size:
            raise SeedbedError(
                f"an epoch of {examples} examples has no whole batch of {size}; make batches smaller, or say --steps"
            )
        return epochs * (examples // size)

    @property
    def hours(self) -> float:
        """Estimated hours of ten seeds on two cores."""
        per_step = self.ms_per_step(self.settings) if callable(self.ms_per_step) else self.ms_per_step
        return self.training.steps * per_step / 3.6e6

    def build(self, data: "Dataset") -> "nn.Module":
        """One seed's model of examples like these, which are shown it standardised where they have units of their own."""
        from seedbed.models.standardised import standardised

        units = data.units if self.model.in_units else None
        return standardised(self.model.build(data if units is None else data.standardised), units)

    def streams(self, seeds: Sequence[int]) -> "list[Streams]":
        """The random streams of each seed."""
        return self.training.streams(seeds)

    def task(self, streams: "list[Streams]") -> "Task":
        """Build the training problem for the seeds of one stack.

        Raises:
            SeedbedError: for a model of other data than these, or settings that do not go together.
        """
        from seedbed.train.game import Game
        from seedbed.train.task import Task

        if (entry := self.data.entry) is not None:  # what cannot fit is refused before a file is read
            check_fit(self.model, self.data.data, entry.domain, entry.shape)
        data = self.data.load()
        check_fit(self.model, data.name, data.domain, data.shape)
        game = self.objective.game(self.training, self.model)
        if not isinstance(game, Game):
            raise SeedbedError(f"`game` of {self.objective.title} must return a Game, got {type(game).__name__}")
        batches, view = self.data.batches(data, self.training, streams)
        artefacts, reference = self.data.pictured(data, self.model.codes)
        judged = self.model.judged_on(data.domain) and self.objective.in_nats
        return Task(
            build=lambda: self.build(data),
            game=game,
            data=data,
            batches=batches,
            view=view,
            steps=self.training.steps,
            eval_every=self.training.eval_every,
            measure=self.objective.measure(data, self.model),
            select=self.objective.select(self.model),
            baseline=self.data.baseline(data) if judged else None,
            patience=self.training.patience,
            precision=self.training.precision,
            artefacts=artefacts,
            reference=reference,
        )


def hashed_by(
    experiment: Experiment,
    names: Iterable[str],
    since: Mapping[str, Any] | None = None,
    **retired: Any,
) -> Experiment:
    """A preset whose hash counts just these settings, and any other only where it is not what it always was.

    Args:
        experiment: as it is declared now.
        names: the settings that it was first declared with.
        since: of the others, what was always so where that is not the field's default: given here, not read off, so that a
            preset that is edited has another hash.
        retired: those of the first that it has no more, with their value.
    """
    counted = {*names}
    others = {k: f.default for k, (_, f) in fields_of(experiment.parts).items() if k not in counted and k not in retired}
    parts = tuple(part.title for part in experiment.parts)
    return replace(experiment, unhashed={**others, **(since or {})}, retired=retired, preset=parts)
