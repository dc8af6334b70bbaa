"""The one error that users see: what was expected, what was got, what to do."""

import difflib
from collections.abc import Iterable


class SeedbedError(Exception):
    """Bad input. The message is one line; the command line prints it and exits with code 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> SeedbedError:
    """Build the error for a name that is not registered, with its nearest match.

    Args:
        kind: what was looked up, e.g. ``"data set"``.
        name: the name that was given.
        known: every name that would have been accepted.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names[:12])}"
    return SeedbedError(f"unknown {kind} {name!r}; {hint}")
