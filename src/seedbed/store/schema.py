"""What a stored file may hold: types of what is read, said as what was expected and what was got."""

import json
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Whether it is text."""
    return isinstance(value, str)


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether it is a whole number of at least so much; ``True`` is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any) -> bool:
    """Whether it is a number, infinite ones and NaN among them; ``True`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_list(value: Any, of: Check) -> bool:
    """Whether it is a list of such."""
    return isinstance(value, list) and all(map(of, value))


def is_table(value: Any, of: Check = lambda value: True) -> bool:
    """Whether it is a dictionary from texts to such."""
    return isinstance(value, dict) and all(isinstance(key, str) and of(entry) for key, entry in value.items())


def is_group(value: Any) -> bool:
    """Whether it is a list of distinct seeds, one at least."""
    return is_list(value, is_whole) and len(value) == len(set(value)) > 0


def mismatch(record: Mapping[str, Any], expected: Mapping[str, tuple[str, Check]]) -> str:
    """The first entry of a record that is not what was expected, in words; empty if there is none.

    Args:
        record: what was read.
        expected: by name, what an entry must be, in words and as a check; those that are not there are not checked.
    """
    for name, (words, check) in expected.items():
        if name in record and not check(record[name]):
            return f"{name} must be {words}, got {shown(record[name])}"
    return ""


def shown(value: Any) -> str:
    """A value in at most 60 letters of JSON."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
