"""Names and paths that somebody gave in Python: text, or refused in one line. Importing this imports nothing else."""

import os
from collections.abc import Iterable
from pathlib import Path

from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.numbers import shown


def text(what: str, value: object) -> str:
    """A text.

    Raises:
        SeedbedError: for anything else.
    """
    if not isinstance(value, str):
        raise SeedbedError(f"{what} must be a text, got {shown(value)}")
    return value


def chosen(what: str, value: object, known: Iterable[str]) -> str:
    """One of several names.

    Raises:
        SeedbedError: for anything else, with the nearest match.
    """
    names = list(known)
    if not isinstance(value, str):
        raise SeedbedError(f"{what} must be one of {', '.join(names)}, got {shown(value)}")
    if value not in names:
        raise unknown(what, value, names)
    return value


def place(what: str, value: object) -> Path:
    """A path of text.

    Raises:
        SeedbedError: for anything else, an empty one, and one that no file can have.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise SeedbedError(f"{what} must be a path, got {shown(value)}")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise SeedbedError(f"{what} must be a path that a file can have, got {os.fspath(value)!r}")
    return Path(os.fspath(value))
