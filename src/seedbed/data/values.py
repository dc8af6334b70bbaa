"""What kind of number the values of one's own data are, and how they become fp32."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import REAL_MOST
from seedbed.data.images import floats
from seedbed.data.source import PIECE

Numbers = Callable[[np.ndarray], Tensor]
DARK = 128  # whole numbers that all lie below this are no 8-bit levels unless somebody says so
MOST_LEVELS = 1 << 16
MOST_TOKENS = 2**31


def option(name: str, says: str) -> str:
    """How an option is written: behind a name with a colon, else as an argument."""
    return f",{says}" if ":" in name else says


def kind_of(
    given: Mapping[str, np.ndarray], name: str, levels: str = "", table: bool = False, plain: bool = False
) -> tuple[Domain, Numbers]:
    """What the values are, judged over all splits together, and how they become fp32.

    Args:
        given: arrays of any shape by split.
        name: of the data, for errors.
        levels: how many there are; ``no`` for real numbers whatever they look like; empty to look.
        table: whether the values are columns of a table: whole numbers are levels there only if they reach from 0 to 255.
        plain: whether they are for a loss of one's own: whole numbers of 32 or 64 bits then stay whole (tokens, say), and
            none are questioned.

    Raises:
        SeedbedError: for values that are no numbers or not finite, and for whole numbers of which it is not known what is
            the largest.
    """
    kinds = "".join(sorted({array.dtype.kind for array in given.values()}))
    if set(kinds) - set("buif"):
        raise SeedbedError(f"{name} holds values of type {given['train'].dtype}; expected whole or real numbers")
    top = _top(levels)
    low, high, whole, shares = np.inf, -np.inf, True, True
    for split, first, values in ((split, *piece) for split, array in given.items() for piece in _pieces(array)):
        if not np.isfinite(values).all():
            at = _where(~np.isfinite(values), first, split)
            raise SeedbedError(f"{name} holds values that are not finite ({at}); remove those examples")
        if values.dtype.kind == "f" and values.dtype.itemsize > 4 and (large := np.abs(values) > REAL_MOST).any():
            at = _where(large, first, split)
            raise SeedbedError(f"{name} holds values beyond fp32, whose largest is {REAL_MOST:.3g} ({at}); scale them down")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        whole = whole and _whole(values)
        shares = shares and low >= 0 and high <= 1 and _whole(values * (top or 255), 1e-3)
    if levels == "no":
        return REAL, floats
    if plain and not top and low >= 0 and all(a.dtype.kind in "ui" and a.dtype.itemsize > 2 for a in given.values()):
        if high >= MOST_TOKENS:  # what int64 cannot hold would wrap around
            raise SeedbedError(
                f"{name} holds whole numbers up to {high:g}, and tokens are below 2^31; take them as real numbers: "
                f"{option(name, 'levels=no')}"
            )
        return Domain("levels", int(high) + 1), _kept
    if low >= 0 and high <= 1 and whole:
        return BINARY, floats
    if top:
        if not (whole and 0 <= low <= high <= top) and not shares:
            raise SeedbedError(
                f"{name} holds values {low:g}..{high:g}; levels={top + 1} takes whole numbers 0..{top} or fractions k/{top}"
            )
        return Domain("levels", top + 1), (floats if whole else partial(_levels, top=top))
    if whole and low >= 0 and high <= 255 and (not table or (low == 0 and high == 255)):
        if high < DARK and plain:
            return REAL, floats
        if high < DARK:
            raise SeedbedError(
                f"{name} holds whole numbers {low:g}..{high:g}, far below the 255 of 8-bit levels; say how many levels: "
                f"{option(name, f'levels={high + 1:g}')}, or {option(name, 'levels=256')} if it is that dark, or "
                f"{option(name, 'levels=no')} for real numbers"
            )
        return Domain("levels", 256), floats
    if table or plain or "f" in kinds:
        return (Domain("levels", 256), partial(_levels, top=255)) if shares else (REAL, floats)
    raise SeedbedError(
        f"{name} holds whole numbers {low:g}..{high:g}; expected 8-bit levels 0..255, or floats; take them as real "
        f"numbers: {option(name, 'levels=no')}"
    )


def _kept(whole: np.ndarray) -> Tensor:
    """Whole numbers as they are."""
    return torch.from_numpy(whole.astype(np.int64))


def _top(levels: str) -> int:
    if levels in ("", "no"):
        return 0
    if not levels.isdigit() or not 2 <= int(levels) <= MOST_LEVELS:
        raise SeedbedError(f"levels must be their number, 2 to {MOST_LEVELS}, or no for real values; got {levels!r}")
    return int(levels) - 1


def _levels(shares: np.ndarray, top: int) -> Tensor:
    """Of the fractions k / top the levels k."""
    return floats(np.rint(shares * top))


def _pieces(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Some examples at once, with the index of the first."""
    count = max(1, PIECE // (array.itemsize * max(1, array[0].size)))
    return ((first, np.asarray(array[first : first + count])) for first in range(0, len(array), count))


def _where(wrong: np.ndarray, first: int, split: str) -> str:
    """The first place of what is wrong, counted from 1 as people do."""
    row, *rest = (int(index) for index in np.argwhere(wrong)[0])
    column = f"column {rest[0] + 1}" if len(rest) == 1 else f"value {[index + 1 for index in rest]}"
    return f"{split}, row {first + row + 1}, {column}"


def _whole(values: np.ndarray, tolerance: float = 0.0) -> bool:
    return values.dtype.kind != "f" or bool((np.abs(values - np.rint(values)) <= tolerance).all())
