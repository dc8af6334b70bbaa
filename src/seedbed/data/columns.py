"""Columns of a table: their names, which are wanted, and those of which no density is finite."""

import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from seedbed.core.errors import SeedbedError, unknown

FEW = 20  # distinct values: of fewer than this, in many more rows, a column is named
FAR = 1000.0  # deviations between 0 and a column's middle, beyond which fp32 would lose too many of its digits
ROWS = 4096  # looked at for copies of each other before all are
SAME = 1e-6  # deviations by which a column may differ from a copy of another, or from a sum of multiples of others
WORK = 10**8  # rows x columns^2 of a look for such sums, or twice as many rows as columns
WIDE = 1024  # columns; of more the look would take minutes


def number_of(word: str, names: Sequence[str], what: str) -> int:
    """Which column a word means: its name, or ``#3`` for the third.

    Raises:
        SeedbedError: if there is none, or two have that name.
    """
    if names.count(word) > 1:
        which = [f"#{i + 1}" for i, name in enumerate(names) if name == word]
        raise SeedbedError(f"{what} has {len(which)} columns named {word}; say which by its number: {' or '.join(which)}")
    if word in names:
        return names.index(word)
    if word.startswith("#") and word[1:].isdigit() and 1 <= int(word[1:]) <= len(names):
        return int(word[1:]) - 1
    raise unknown(f"column of {what}", word, [*names, f"#{len(names)}"])


def wanted(names: Sequence[str], columns: str, drop: str, what: str) -> list[int]:
    """The columns that are chosen, in the order of the table, without those that are dropped.

    Args:
        names: of all columns.
        columns: names between ``+``; all where it is empty.
        drop: names between ``+``.
        what: the table, for errors.

    Raises:
        SeedbedError: for a column that there is not, or none left.
    """
    chosen = {number_of(word, names, what) for word in columns.split("+")} if columns else set(range(len(names)))
    chosen -= {number_of(word, names, what) for word in drop.split("+")} if drop else set()
    if not chosen:
        raise SeedbedError(f"no column of {what} is left; it has {listed(names)}")
    return sorted(chosen)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def dropped(places: Iterable[int], names: Sequence[str]) -> str:
    """What ``drop=`` takes for some columns: their names, or numbers where a name cannot be written there."""
    return "+".join(f"#{i + 1}" if set(names[i]) & set("+,=") else names[i] for i in places)


def check_columns(values: np.ndarray, names: Sequence[str], what: str) -> str:
    """Refuse columns over which a density of real numbers is infinite, and name those of few values.

    Args:
        values: ``[rows, columns]``, of real numbers.
        names: of the columns, as ``drop=`` takes them.
        what: the table.

    Returns:
        What the protocol says of columns with few distinct values, of which a density has no bound; empty without any.

    Raises:
        SeedbedError: for constant columns, for those that are c + k times another, and for those that follow from several
            others (a total beside its parts, shares of one), with the ``drop=`` that mends it.
    """
    if len(values) < 2:
        raise SeedbedError(f"{what} has 1 example; at least 5 are needed to split them")
    low, high = values.min(0), values.max(0)
    if far := np.flatnonzero(np.maximum(-low, high) > np.finfo(np.float32).max).tolist():
        raise SeedbedError(
            f"{what} holds values beyond fp32 (3e38) in {listed([names[i] for i in far])}; scale them, or leave them out: "
            f",drop={dropped(far, names)}"
        )
    if still := np.flatnonzero(low == high).tolist():
        raise SeedbedError(
            f"{what} has constant columns, {listed([names[i] for i in still])}, of which a density is infinite; leave them "
            f"out: ,drop={dropped(still, names)}"
        )
    if pairs := list(_copies(values)):
        said = "; ".join(f"{names[copy]} is {how} {names[first]}" for first, copy, how in pairs[:3])
        mend = dropped(dict.fromkeys(copy for _, copy, _ in pairs), names)
        raise SeedbedError(f"of {what} {said}, so a density of all is infinite; leave copies out: ,drop={mend}")
    if sums := list(_sums(values)):
        said = "; ".join(f"{names[i]} follows from {listed([names[j] for j in parts])}" for i, parts in sums[:3])
        mend = dropped((i for i, _ in sums), names)
        raise SeedbedError(
            f"of {what} {said} (a sum of multiples, plus a constant), so a density of all is infinite; leave out: "
            f",drop={mend}"
        )
    few = [(i, n) for i, n in enumerate(_distinct(values)) if n < min(FEW, len(values) / 4)]
    if not few:
        return ""
    said = listed([f"{names[i]} ({n} values)" for i, n in few])
    warnings.warn(
        f"{what} has columns of few distinct values, {said}: a density of them has no bound, so losses say little; "
        f"leave them out: ,drop={dropped((i for i, _ in few), names)}",
        stacklevel=2,
    )
    return f"few distinct values in {said}"


def _distinct(values: np.ndarray) -> Iterator[int]:
    return (len(np.unique(column)) for column in values.T)


def _copies(values: np.ndarray) -> Iterator[tuple[int, int, str]]:
    """Columns that follow from one before them, ``(first, copy, in words)``."""
    some = values[:: max(1, len(values) // ROWS)].astype(np.float64)
    spread = some.std(0)
    moving = np.flatnonzero(spread > 0)
    if len(some) < 3 or len(moving) < 2:  # two points are always on a line
        return
    z = (some[:, moving] - some[:, moving].mean(0)) / spread[moving]
    near = np.abs(z.T @ z) / len(some) > 1 - SAME
    for copy in range(1, len(moving)):
        for first in np.flatnonzero(near[copy, :copy]):
            a, b = (values[:, moving[i]].astype(np.float64) for i in (first, copy))
            a, b, shift = a - a.mean(), b - b.mean(), b.mean() - a.mean()
            slope = float(a @ b) / float(a @ a)
            if np.abs(b - slope * a).max() <= SAME * b.std():
                alike = abs(slope - 1) < SAME and abs(shift) <= SAME * b.std()
                yield int(moving[first]), int(moving[copy]), "equal to" if alike else f"{slope:.4g} times, plus a constant,"
                break


def _sums(values: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """Columns that are a constant and a sum of multiples of some before them, with those.

    The numerical rank: with standardised columns Z = Q R, |R_jj| / sqrt(rows) is the deviation that is left of column j once
    those before it are known. Of fewer rows than columns nothing follows, since they lie on a plane whatever they are.
    """
    count = values.shape[1]
    some = values[:: max(1, len(values) // max(2 * count, WORK // count**2))].astype(np.float64)
    if len(some) < count + 2 or not 3 <= count <= WIDE:
        return
    z = some - some.mean(0)
    spread = z.std(0)
    moving = np.flatnonzero(spread > 0)
    z = z[:, moving] / spread[moving] / np.sqrt(len(z))
    left = np.abs(np.diagonal(np.asarray(np.linalg.qr(z, mode="r"))))
    free = np.flatnonzero(left >= SAME)
    for j in np.flatnonzero(left < SAME):
        before = free[free < j]
        weights = np.linalg.lstsq(z[:, before], z[:, j], rcond=None)[0]
        parts = moving[before[np.abs(weights) > SAME]]
        if _follows(values, int(moving[j]), parts):
            yield int(moving[j]), parts.tolist()


def _follows(values: np.ndarray, which: int, parts: np.ndarray) -> bool:
    """Whether a column follows from others in all rows."""
    known, column = values[:, parts].astype(np.float64), values[:, which].astype(np.float64)
    known, column = (known - known.mean(0)) / known.std(0), column - column.mean()
    weights = np.linalg.lstsq(known, column, rcond=None)[0]
    return bool(np.abs(column - known @ weights).max() <= SAME * column.std())


def origins(values: np.ndarray) -> np.ndarray:
    """Round numbers that columns are counted from, ``[columns]``: 0 but where fp32 would lose what tells values apart.

    A timestamp has a mean of 2e9 and a deviation of 1, and fp32 tells whole numbers apart below 2e7 alone. Counted from a
    number near its middle it is what it was, and a density of it too, since a shift has no volume.
    """
    middle, spread = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    step = 10.0 ** np.ceil(np.log10(np.where(spread > 0, spread, 1.0)))
    return np.where(np.abs(middle) > FAR * spread, np.rint(middle / step) * step, 0.0)
