"""Experiments: typed, documented declarations. Importing one imports no torch; building one does.

Every field is a flag of the command line, a key of the configuration hash and a row of the documentation.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from seedbed.core.errors import SeedbedError, unknown

if TYPE_CHECKING:
    from seedbed.core.noise import Streams
    from seedbed.train.task import Task

Self = TypeVar("Self", bound="Experiment")

Rule = Literal["adam", "adamw", "soap", "adamax", "rmsprop", "sgd"]

BUDGETS = ("smoke", "demo", "laptop", "full")


def option(default: Any, help: str, *, least: int | float | None = None, most: int | float | None = None) -> Any:
    """A documented field.

    Args:
        default: its value where nothing else is said; a tuple becomes a comma-separated flag.
        help: one line for ``--help`` and the documentation.
        least: smallest value that makes sense, of a tuple's each.
        most: largest value that does.
    """
    return field(default=default, metadata={"help": help, "least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """What every experiment declares. Subclasses add the fields of their models."""

    steps: int = option(10_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    batch_size: int = option(256, "examples per update", least=1)
    lr: float = option(1e-3, "step size", least=0.0)
    optimizer: Rule = option("adam", "rule of the update")
    schedule: Literal["constant", "cosine", "linear"] = option("cosine", "step size over the run")
    clip: float = option(0.0, "largest gradient norm of a seed; 0 for no clipping", least=0.0)
    ema: float = option(0.0, "decay of the weight average that is evaluated; 0 for none", least=0.0, most=1.0)
    eval_every: int = option(500, "steps between validations", least=1)
    patience: int = option(0, "validations without improvement before a seed stops; 0 for never", least=0)
    precision: Literal["fp32", "bf16", "fp64"] = option("fp32", "of matrix products and convolutions")
    data: str = option("", "data set")
    data_seed: int = option(0, "seed of the data, apart from the models'", least=0)
    vary: Literal["model", "init", "order", "noise", "data", "all"] = option(
        "model", "what differs between seeds: all but the data (model), one source alone, or everything (all)"
    )
    warm_start: str = option("", "run folder whose weights each seed starts from, instead of a fresh initialisation")

    # Fields that a budget replaces, `epochs` in the place of `steps`; `laptop` is what the fields say, `smoke` runs thirty
    # steps, `demo` is for `make demo`.
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    # The test metric that it is about; empty for its study's.
    metric: ClassVar[str] = ""
    # Milliseconds of one step of ten seeds on two cores at `laptop`, for estimates before a study starts.
    ms_per_step: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        for f in fields(self):
            given, least, most = getattr(self, f.name), f.metadata.get("least"), f.metadata.get("most")
            for value in given if isinstance(given, tuple) else (given,):
                if least is not None and not value >= least:
                    raise SeedbedError(f"{f.name.replace('_', ' ')} must be at least {least:g}, got {value}")
                if most is not None and not value <= most:
                    raise SeedbedError(f"{f.name.replace('_', ' ')} must be at most {most:g}, got {value}")

    @property
    def epoch_examples(self) -> int:
        """Examples that count as one epoch, for flags in epochs; 0 where the experiment counts in steps only."""
        return 0

    @abstractmethod
    def task(self, streams: "list[Streams]") -> "Task":
        """Build the training problem for the seeds of one stack."""

    def streams(self, seeds: "Sequence[int]") -> "list[Streams]":
        """The random streams of each seed: those that vary follow the seed, the others are held."""
        from seedbed.core.noise import STREAMS, Streams

        follow = {
            "model": frozenset(STREAMS) - {"data"},
            "all": frozenset(STREAMS),
            "noise": frozenset({"noise", "dropout"}),
        }
        varied = follow.get(self.vary, frozenset({self.vary}))
        return [Streams(seed, varied, 0) for seed in seeds]

    def config(self) -> dict[str, Any]:
        """Every declared field with its value, as JSON knows it; ``warm_start`` only where there is one."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return values if self.warm_start else {k: v for k, v in values.items() if k != "warm_start"}

    def with_config(self: Self, config: Mapping[str, Any]) -> Self:
        """The same kind of experiment with other values.

        Raises:
            SeedbedError: for a name that is not a field, or a value out of range.
        """
        hints = get_type_hints(type(self))
        known = {f.name for f in fields(self)}
        for name, value in config.items():
            if name not in known:
                raise unknown("setting", name, known)
            label = name.replace("_", " ")
            if hints[name] in (int, float) and not isinstance(value, int | float):
                raise SeedbedError(f"{label} must be a number, got {value!r}")
            if hints[name] is int and value != int(value):
                raise SeedbedError(f"{label} must be a whole number, got {value!r}")
            if get_origin(hints[name]) is Literal and value not in get_args(hints[name]):
                raise unknown(label, str(value), map(str, get_args(hints[name])))
        return replace(self, **{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})

    def with_budget(self: Self, budget: str) -> Self:
        """The experiment at another budget.

        Raises:
            SeedbedError: for an unknown budget.
        """
        if budget not in BUDGETS:
            raise unknown("budget", budget, BUDGETS)
        changes = dict(self.budgets.get(budget, {}))
        if "epochs" in changes:
            changes["steps"] = changes.pop("epochs") * (self.epoch_examples // changes.get("batch_size", self.batch_size))
        if budget == "smoke" and not changes:
            steps = min(self.steps, 30)
            changes = {"steps": steps, "eval_every": min(self.eval_every, max(steps // 3, 1))}
        return replace(self, **changes)

    @property
    def hours(self) -> float:
        """Estimated hours of ten seeds on two cores."""
        return self.steps * self.ms_per_step / 3.6e6
