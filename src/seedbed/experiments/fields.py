"""Fields of a declaration: what each means, what values it takes, and when it has a say.

Every field is a flag of the command line, a key of the configuration hash and a row of the documentation.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.numbers import number, shown, whole

# Flags of `seedbed run` that are no settings of an experiment, so no field may have their names.
RESERVED = frozenset(
    (
        *("target", "model", "seeds", "budget", "epochs", "device", "strategy", "threads", "name", "data_dir", "out"),
        *("checkpoint_seconds", "again", "record", "quiet", "mute", "help"),
    )
)


@dataclass(frozen=True)
class AtLeast:
    """The whole numbers from one on, as values that give another setting its say (see ``option``)."""

    least: int

    def __contains__(self, value: int) -> bool:
        return value >= self.least

    def __iter__(self) -> Iterator[int]:
        yield self.least  # the one to propose

    def __str__(self) -> str:
        return f"{self.least} or more"


Values = tuple[Any, ...] | AtLeast


def option(
    default: Any,
    help: str,
    *,
    least: int | float | None = None,
    most: int | float | None = None,
    when: Mapping[str, Values] | None = None,
    later: bool = False,
) -> Any:
    """A documented field.

    Args:
        default: its value where nothing else is said; a tuple becomes a comma-separated flag.
        help: one line for ``--help`` and the documentation.
        least: smallest value that makes sense, of a tuple's each; every number is bounded, see ``core.numbers``.
        most: largest value that does.
        when: values of other settings, by name, without which it has no say; setting it then is refused.
        later: whether it came after experiments with the others had been run: it enters a hash only where it is changed.
    """
    says = "; ".join(f"with {name.replace('_', ' ')} {_listed(values)}" for name, values in (when or {}).items())
    help = f"{help} ({says})" if says else help
    return field(default=default, metadata={"help": help, "least": least, "most": most, "when": when or {}, "later": later})


def held(default: Any = None) -> Any:
    """What a declaration holds that is no setting, such as code or data given in Python: no flag, and not in the hash."""
    return field(default=default, compare=False, repr=False, metadata={"held": True})


def settings_of(part: "Part | type[Part]") -> "list[Field[Any]]":
    """The fields of a part that are settings."""
    return [f for f in fields(part) if "held" not in f.metadata]


def _listed(values: Values) -> str:
    return str(values) if isinstance(values, AtLeast) else " or ".join(map(str, values))


@dataclass(frozen=True)
class FieldType:
    """What a flag takes.

    Args:
        of: the type of a number or word.
        choices: the words that it may be; empty for any.
        many: whether the field holds as many as one likes, separated by commas.
        least: smallest of a number; ``None`` for what ``core.numbers`` says.
        most: largest likewise.
    """

    of: type
    choices: tuple[str, ...] = ()
    many: bool = False
    least: int | float | None = None
    most: int | float | None = None

    @property
    def flag(self) -> tuple[type, tuple[str, ...]]:
        """What one name means on the command line: ``4`` and ``4,4`` are whole numbers both, the model says how many."""
        return self.of, self.choices

    @classmethod
    def of_hint(cls, hint: Any, least: int | float | None = None, most: int | float | None = None) -> "FieldType":
        """Read off a field's annotation, with the bounds that it declares."""
        if get_origin(hint) is Literal:
            return cls(str, tuple(map(str, get_args(hint))))
        if get_origin(hint) is tuple:
            return cls(get_args(hint)[0], many=True, least=least, most=most)
        return cls(hint, least=least, most=most)

    def taken(self, name: str, owner: str, value: Any) -> Any:
        """A given value as the field holds it.

        Raises:
            SeedbedError: if it is of another type, out of range, or not as many.
        """
        label = name.replace("_", " ")
        if self.many:
            several = isinstance(value, list | tuple | range) or getattr(value, "ndim", 0) == 1
            values = tuple(value) if several else (value,)
            return tuple(self._one(label, one) for one in values)
        if isinstance(value, list | tuple):
            if len(value) != 1:
                raise SeedbedError(f"{label} of {owner} is one number, got {','.join(map(shown, value[:8]))}")
            value = value[0]
        return self._one(label, value)

    def _one(self, label: str, value: Any) -> Any:
        if self.choices and not (isinstance(value, str) and value in self.choices):
            raise unknown(label, value if isinstance(value, str) else shown(value), self.choices)
        if self.of is bool and not isinstance(value, bool):
            raise SeedbedError(f"{label} must be true or false, got {shown(value)}")
        if self.of is str and not isinstance(value, str):
            raise SeedbedError(f"{label} must be a word, got {shown(value)}")
        if self.of is int:
            return whole(label, value, self.least, self.most)
        return number(label, value, self.least, self.most) if self.of is float else value


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of the four parts of an experiment: a frozen table of documented fields, without torch."""

    def __post_init__(self) -> None:
        if any(isinstance(vars(type(self)).get(name), Field) for name in vars(type(self)).get("__annotations__", {})):
            raise SeedbedError(f"{self.title} declares fields; put @dataclass(frozen=True, kw_only=True) before the class")
        known = field_types(type(self))
        for f in settings_of(self):
            object.__setattr__(self, f.name, known[f.name].taken(f.name, self.title, getattr(self, f.name)))

    @property
    def title(self) -> str:
        """What it is called in errors."""
        return type(self).__name__


@cache
def field_types(part: type[Part]) -> dict[str, FieldType]:
    """The type of each field.

    Raises:
        SeedbedError: for one that no flag can have.
    """
    hints = get_type_hints(part)
    bounds = {f.name: (f.metadata.get("least"), f.metadata.get("most")) for f in settings_of(part)}
    found = {name: FieldType.of_hint(hints[name], *ends) for name, ends in bounds.items()}
    for name, kind in found.items():
        if kind.of not in (int, float, bool, str):
            raise SeedbedError(
                f"{name} of {part.__name__} is of type {hints[name]}, which no flag can have; "
                "expected int, float, bool, str, Literal[...] or tuple[int, ...]"
            )
    return found


def fields_of(parts: Iterable[Part]) -> dict[str, tuple[Part, "Field[Any]"]]:
    """Every field by name, with its part: the flat space of names.

    Raises:
        SeedbedError: if two parts have a field of one name, or one has the name of a flag that is no setting.
    """
    found: dict[str, tuple[Part, Field[Any]]] = {}
    for part in parts:
        for f in settings_of(part):
            if f.name in RESERVED:
                raise SeedbedError(f"{part.title} declares {f.name!r}, which is a flag of `seedbed run`; rename the field")
            if f.name in found:
                raise SeedbedError(
                    f"{f.name!r} is a field of {found[f.name][0].title} and of {part.title}; rename one of them"
                )
            found[f.name] = part, f
    return found
