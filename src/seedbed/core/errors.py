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
    within = [other for other in names if name and name in other]
    if near or within:
        hint = f"did you mean {(near or within)[0]!r}?"
    else:
        more = f" and {len(names) - 12} more" if len(names) > 12 else ""
        hint = f"known: {', '.join(names[:12])}{more}"
    return SeedbedError(f"unknown {kind} {name!r}; {hint}")
