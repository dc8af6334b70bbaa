"""The one error that users see: what was expected, what was got, what to do."""

import difflib
import os
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Where code lies that is nobody's own.
_OURS, _STANDARD = str(Path(__file__).parents[1]), os.path.dirname(traceback.__file__)


class SeedbedError(Exception):
    """Bad input. The message is one line, whatever names it repeats; the command line prints it and exits with code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UnmappedError(SeedbedError):
    """What one seed can compute, several cannot as one stack: they can train one after another."""


def one_line(text: str) -> str:
    """Text without line breaks, and with whatever else cannot be printed, which a terminal would obey, as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in re.sub(r"\s*[\r\n]\s*", " ", text.strip()))


def unknown(kind: str, name: object, known: Iterable[str]) -> SeedbedError:
    """Build the error for a name that is not registered, with its nearest match.

    Args:
        kind: what was looked up, e.g. ``"data set"``.
        name: the name that was given, or what was given for one.
        known: every name that would have been accepted.
    """
    names = sorted(known)
    if not isinstance(name, str):
        return SeedbedError(f"{kind} must be a name, got {type(name).__name__}; e.g. {names[0] if names else 'none yet'}")
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    within = [other for other in names if name and name in other]
    if near or within:
        hint = f"did you mean {(near or within)[0]!r}?"
    else:
        more = f" and {len(names) - 12} more" if len(names) > 12 else ""
        hint = f"known: {', '.join(names[:12])}{more}"
    return SeedbedError(f"unknown {kind} {name!r}; {hint}")


@contextmanager
def told(what: str, remedy: str = "") -> Iterator[None]:
    """While inside, whatever goes wrong in a user's own code is said in one line: which error, and where it arose.

    Args:
        what: whose code it is, e.g. ``"the utility of 'model'"``.
        remedy: what to do about it, where more can be said than the place.

    Raises:
        SeedbedError: for any exception, which stays its cause.
    """
    try:
        yield
    except SeedbedError:
        raise
    except (Exception, SystemExit) as error:
        lines = _message(error).strip().splitlines() or ["no message"]
        own = arose(error)
        place = f" (line {own.lineno} of {own.filename}, in {own.name})" if own is not None else ""
        remedy = f"; {remedy}" if remedy else ""
        reason = f"{type(error).__name__}: {one_line(lines[0])[:200]}"
        raise SeedbedError(f"{what} does not run: {reason}{place}{remedy}") from error


def arose(error: BaseException) -> traceback.FrameSummary | None:
    """Where in a user's own code an error arose; ``None`` of one that arose in nobody's own."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_OURS)]
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith((_STANDARD, "<frozen "))]
    return own[-1] if own else None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # of an exception of somebody's own
        return ""


def said(error: BaseException, most: int | None = None) -> str:
    """What an error says, as one line of at most so many letters; its kind, if it says nothing or cannot."""
    return one_line(_message(error))[:most] or type(error).__name__
