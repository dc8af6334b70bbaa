"""What an estimator is, with its options and limits. Importing this does not import torch."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seedbed.core import metric as metrics
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.metric import Metric
from seedbed.core.numbers import number, shown, whole

if TYPE_CHECKING:
    from torch import Tensor

    from seedbed.core.stack import Stack

    # {metric: (values [seeds, n], unit)}; n is 1 of what is one number of a seed, not a mean over examples.
    Measured = Mapping[str, tuple[Tensor, str]]


@dataclass(frozen=True, kw_only=True)
class Option:
    """A setting of an estimator: a flag of `seedbed evaluate`, and a part of the name under which its numbers are kept.

    Args:
        name: of the argument.
        default: which also says its type: a whole number, a number or a word; an empty one without choices is a name that is
            looked up before anything is measured, and whose ``tag`` then says what it was.
        help: what it means.
        least: smallest value of a number.
        most: largest, which bounds the time that a slip of the finger takes.
        choices: of a word, each with what it adds to the name of the file.
        mark: of a number, what stands before it there; by default the option's name.
        short: a short flag.
        of: another option of the same estimator and its value with which alone this one has a say.
    """

    name: str
    default: int | float | str
    help: str
    least: int | float | None = None
    most: int | float = 10_000_000
    choices: Mapping[str, str] = field(default_factory=dict)
    mark: str = ""
    short: str = ""
    of: tuple[str, str] | None = None

    @property
    def free(self) -> bool:
        """Whether any name may be given."""
        return isinstance(self.default, str) and not self.choices

    def taken(self, value: Any) -> Any:
        """A given value as the option holds it.

        Raises:
            SeedbedError: for a wrong type, a number out of range, a word that is no choice.
        """
        if self.free:
            if not isinstance(value, str) and not hasattr(value, "tag"):
                raise SeedbedError(f"{self.name} must be a name, got {shown(value)}")
            return value
        if isinstance(self.default, str):
            if not isinstance(value, str) or value not in self.choices:
                raise unknown(self.name, value if isinstance(value, str) else shown(value), self.choices)
            return value
        if isinstance(self.default, int):
            return whole(self.name, value, self.least, self.most)
        return number(self.name, value, self.least, self.most)

    def tag(self, value: Any) -> str:
        """What a value adds to the name of the file."""
        if self.free:
            return str(getattr(value, "tag", value))
        return self.choices[value] if isinstance(self.default, str) else f"{self.mark or self.name}{value}"


ARTEFACTS = (
    "artefacts"  # of ``Limits.kept``: arrays for pictures, ``{name: {key: [seeds, ...]}}``, to be stored with the run
)


@dataclass(frozen=True)
class Limits:
    """What a measurement may take, and whom it tells how far it is. It changes no number beyond its rounding.

    Args:
        memory_gib: beside models and data.
        progress: called with (examples done, examples in all).
        kept: what measurements of the same models share, by what it is.
    """

    memory_gib: float = 4.0
    progress: Callable[[int, int], None] | None = None
    kept: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """Something that can be measured of trained models.

    Args:
        name: how it is asked for. Several of one name are ways to one number: the first that a model offers counts.
        meaning: what it measures.
        needs: what a model must offer, in words.
        offers: whether models offer that, on examples like these, ``[n, *example]``.
        metrics: everything that it may return.
        measure: ``(stack, data, split, limits, **options) -> {metric: (values [seeds, n], unit)}``.
        options: its settings.
        full_precision: whether it computes in full precision whatever a run does.
        words: what of its settings a protocol says, ``settings -> text``.
        partly: whether numbers of a part of the test split are results, since it takes long.

    Raises:
        SeedbedError: for a name that no file can have, or a metric that means something else in Seedbed.
    """

    name: str
    meaning: str
    needs: str
    offers: "Callable[[Stack, Tensor], bool]"
    metrics: tuple[Metric, ...]
    measure: "Callable[..., Measured]"
    options: tuple[Option, ...] = ()
    full_precision: bool = False
    words: Callable[[Mapping[str, Any]], str] = lambda settings: ""
    partly: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise SeedbedError(f"an estimator's name must be lower-case letters, digits and _, got {self.name!r}")
        for metric in self.metrics:
            known = [ours for ours in metrics.METRICS if ours.parse(metric.name) is not None]
            if known and not any((ours.unit, ours.better) == (metric.unit, metric.better) for ours in known):
                raise SeedbedError(
                    f"{metric.name} is declared in {known[0].unit}, {_way(known[0])}; estimator {self.name!r} says "
                    f"{metric.unit}, {_way(metric)}: give its metric another name"
                )

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The value of each of its options; what is given of others' is passed over.

        Raises:
            SeedbedError: for an option that is given and has no say beside the others.
        """
        found = {one.name: one.taken(given[one.name]) if one.name in given else one.default for one in self.options}
        for one in self.options:
            if one.of is not None and one.name in given and not self._heard(one, found):
                flag, (other, value) = one.name.replace("_", "-"), one.of
                raise SeedbedError(
                    f"--{flag} has no say without --{other.replace('_', '-')} {value}; add it, or leave it out"
                )
        return found

    def tags(self, given: Mapping[str, Any]) -> list[str]:
        """What its options add to the name of the file that keeps the numbers."""
        values = self.settings(given)
        heard = (option for option in self.options if self._heard(option, values))
        return [tag for option in heard if (tag := option.tag(values[option.name]))]

    @staticmethod
    def _heard(option: Option, values: Mapping[str, Any]) -> bool:
        return option.of is None or values[option.of[0]] == option.of[1]

    def check(self, measured: "Measured", seeds: int) -> None:
        """Refuse what it returned and did not declare.

        Raises:
            SeedbedError: for another metric, another unit, or values that are not ``[seeds, n]``.
        """
        for name, (values, unit) in measured.items():
            found = next((metric for metric in self.metrics if metric.parse(name) is not None), None)
            if values.ndim != 2 or len(values) != seeds:
                raise SeedbedError(f"estimator {self.name!r} must return [{seeds}, n] of {name}, got {list(values.shape)}")
            if found is None or found.unit != unit:
                has = "declares no such metric" if found is None else f"declares it in {found.unit}"
                raise SeedbedError(f"estimator {self.name!r} returned {name} in {unit} and {has}; add it to its `metrics`")


def _way(metric: Metric) -> str:
    return f"{metric.better} is better" if metric.better else "neither way better"
