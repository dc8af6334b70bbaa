"""Numbers that somebody gave, on the command line or in Python: checked and made plain Python numbers, or refused.

A zero-dimensional array of NumPy or torch is the number that it holds, and a real that is whole is a whole number: ``2.0``
and ``np.int64(2)`` are 2. Truth values, text, NaN and infinity are no numbers. Importing this imports neither of them.
"""

import math
import reprlib
from numbers import Integral, Real

from seedbed.core.errors import SeedbedError

WHOLE_MOST = 1_000_000_000  # of a size or a count where nothing else is said: more than any run can hold
REAL_MOST = 3.4028234663852886e38  # the largest that is finite in float32, as all settings come to be
SEED_MOST = 2**63 - 1  # of a seed: what tables and arrays can hold, and every stream can take


def whole(what: str, value: object, least: int | float | None = None, most: int | float | None = None) -> int:
    """A whole number between two bounds, which are included, as an ``int``; where none is given it is ``WHOLE_MOST``.

    Raises:
        SeedbedError: for anything else, with what was expected and what was got.
    """
    found = _real(value)
    if isinstance(found, float):
        found = int(found) if found.is_integer() else None
    if found is None:
        raise SeedbedError(f"{what} must be a whole number{_range(least, most)} got {shown(value)}")
    low, high = -WHOLE_MOST if least is None else least, WHOLE_MOST if most is None else most
    if not low <= found <= high:
        bound = f"at least {low}" if found < low else f"at most {high}"
        raise SeedbedError(f"{what} must be {bound}, got {shown(value)}")
    return found


def number(
    what: str,
    value: object,
    least: int | float | None = None,
    most: int | float | None = None,
    *,
    above: bool = False,
    below: bool = False,
) -> float:
    """A finite number between two bounds, which are included unless ``above`` and ``below`` exclude them, as a ``float``.

    Where no bound is given it is ``REAL_MOST``.

    Raises:
        SeedbedError: for anything else, with what was expected and what was got.
    """
    found = _real(value)
    if found is None or (isinstance(found, float) and not math.isfinite(found)):
        raise SeedbedError(f"{what} must be a finite number{_range(least, most, above, below)} got {shown(value)}")
    low, high = -REAL_MOST if least is None else least, REAL_MOST if most is None else most
    if found < low or (above and found == low):
        raise SeedbedError(f"{what} must be {'above' if above else 'at least'} {low:g}, got {shown(value)}")
    if found > high or (below and found == high):
        raise SeedbedError(f"{what} must be {'below' if below else 'at most'} {high:g}, got {shown(value)}")
    return float(found)


def is_number(value: object) -> bool:
    """Whether a value is one number, whole or not, finite or not: no truth value, no text, no array of several."""
    return _real(value) is not None


def shown(value: object) -> str:
    """What was got, for a message: on one line and short, whatever it is."""
    found = _real(value)
    if isinstance(found, int) and found.bit_length() > 128:
        return f"a whole number of {found.bit_length()} bits"  # Python refuses to spell the longest
    return " ".join((repr(found) if found is not None else _SHORT.repr(value)).split())


_SHORT = reprlib.Repr()  # which survives what cannot be written
_SHORT.maxstring = _SHORT.maxother = 80


def _real(value: object) -> int | float | None:
    item = getattr(value, "item", None)
    if getattr(value, "ndim", None) == 0 and callable(item):
        try:
            value = item()
        except (RuntimeError, TypeError, ValueError):  # of a tensor without values
            return None
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    try:
        return float(value) if isinstance(value, Real) else None
    except OverflowError:  # of a fraction
        return math.inf


def _range(least: int | float | None, most: int | float | None, above: bool = False, below: bool = False) -> str:
    """In words, the bounds that somebody has set."""
    low = "" if least is None else f"{'above' if above else 'at least'} {_spelled(least)}"
    high = "" if most is None else f"{'below' if below else 'at most'} {_spelled(most)}"
    return f", {' and '.join(filter(None, (low, high)))}," if low or high else ","


def _spelled(bound: int | float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
