"""Tables: CSV and its relatives, Parquet, data frames, as columns of numbers with names.

How a text file is written is guessed only where one reading makes numbers of it and no other does, and said in the protocol
where it is not commas, points and a header; else it is refused, with the option that says it.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seedbed.core.errors import SeedbedError, unknown
from seedbed.data.columns import dropped, listed, number_of, wanted
from seedbed.data.paths import check_file
from seedbed.data.splits import KNOWN, split_of, splits_among

if TYPE_CHECKING:
    import pandas as pd

MOST = 4096  # columns
LINE = 1 << 24  # bytes of a line
LOOKED_AT = 50  # lines, to see how a file is written
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
DECIMALS = {"point": ".", "comma": ","}
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?", "-")


@dataclass(frozen=True)
class Table:
    """Columns of numbers.

    Args:
        names: of the columns, as ``columns=`` and ``drop=`` take them.
        splits: per split ``[rows, columns]``, fp64; ``train`` alone where the table names none.
        title: what it is and how it was read, the first words of the protocol.
    """

    names: tuple[str, ...]
    splits: Mapping[str, np.ndarray]
    title: str


@dataclass(frozen=True)
class Form:
    """How a text file is written.

    Args:
        separator: between cells.
        decimal: mark of a number.
        header: whether the first line has names.
    """

    separator: str
    decimal: str
    header: bool


def read_table(
    path: Path,
    columns: str = "",
    drop: str = "",
    separator: str = "",
    decimal: str = "",
    header: str = "",
    split: str = "",
) -> Table:
    """A table of numbers from a CSV file (or TSV, gzipped or not) or a Parquet file.

    Args:
        path: the file, text in UTF-8.
        columns: those that are read, by name between ``+``; without a header they are ``1``, ``2``, ...
        drop: those that are left out.
        separator: a key of ``SEPARATORS``, or the character.
        decimal: ``point`` or ``comma``.
        header: ``yes`` or ``no``.
        split: a column that says of each row whether it is of train, valid or test.

    Raises:
        SeedbedError: for a file that is none, text or missing values where numbers should be, with the row and column, or
            options that do not fit it.
    """
    for given, what, known in ((decimal, "decimal", DECIMALS), (header, "header", ("yes", "no"))):
        if given and given not in known:
            raise unknown(what, given, known)
    if separator and separator not in SEPARATORS and len(separator) != 1:
        raise unknown("separator", separator, SEPARATORS)
    head = _head(path)
    if head[:4] == b"PAR1":
        return of_frame(_parquet(path), path.name, columns, drop, split)
    if head[:4] == b"PK\x03\x04":
        raise SeedbedError(f"{path} is a spreadsheet or an archive, not text; save its table as CSV")
    text = _text(path)
    lines = _first_lines(text, path)
    marks = [SEPARATORS.get(separator, separator)] if separator else list(SEPARATORS.values())
    if (most := 1 + max(lines[0].count(mark) for mark in marks)) > MOST:
        raise SeedbedError(f"{path} has {most} columns; at most {MOST} fit: save those that you want in a file")
    form = _form(lines, path, SEPARATORS.get(separator, separator), DECIMALS.get(decimal, ""), header)
    first = _cells(lines[0], form.separator)
    names = tuple(cell.strip() or f"#{i + 1}" for i, cell in enumerate(first)) if form.header else _numbered(len(first))
    chosen, by = _chosen(names, columns, drop, split, str(path))
    frame = _parsed(text, path, form, len(names))
    said = _said(form)
    return _table(frame, names, chosen, by, f"{path.name}{said}", str(path), int(form.header))


def of_frame(frame: "pd.DataFrame", title: str, columns: str = "", drop: str = "", split: str = "") -> Table:
    """A table of numbers from a data frame.

    Args:
        frame: one row per example.
        title: what it is.
        columns: see ``read_table``, as all others.
        drop: see there.
        split: see there.

    Raises:
        SeedbedError: as ``read_table``.
    """
    if len(frame.columns) > MOST:
        raise SeedbedError(f"{title} has {len(frame.columns)} columns; at most {MOST} fit: choose those that you want")
    if not len(frame):
        raise SeedbedError(f"{title} has no rows; expected one row per example")
    names = tuple(str(name) for name in frame.columns)
    chosen, by = _chosen(names, columns, drop, split, title)
    bare = frame.set_axis(range(len(names)), axis=1).reset_index(drop=True)
    return _table(bare, names, chosen, by, title, title, 0)


def _chosen(names: Sequence[str], columns: str, drop: str, split: str, what: str) -> tuple[list[int], int | None]:
    by = number_of(split, names, what) if split else None
    chosen = [i for i in wanted(names, columns, drop, what) if i != by]
    unnamed = [names[i] for i in chosen if names[i] == f"#{i + 1}"]
    if unnamed and not columns:
        raise SeedbedError(
            f"{what} has columns without a name, as an index has: {listed(unnamed)}; leave them out: "
            f",drop={'+'.join(unnamed)}, or choose: ,columns={'+'.join(names[i] for i in chosen[:3])}"
        )
    kept = [names[i] for i in chosen]
    twice = sorted({name for name in kept if kept.count(name) > 1})
    if twice:
        numbers = [f"#{i + 1}" for i in chosen if names[i] == twice[0]]
        raise SeedbedError(
            f"{what} has {len(numbers)} columns named {twice[0]}; rename them, or leave one out by its number: "
            f",drop={numbers[-1]}"
        )
    return chosen, by


def _table(
    frame: "pd.DataFrame", names: Sequence[str], chosen: list[int], by: int | None, title: str, what: str, first: int
) -> Table:
    """Numbers of the chosen columns, by split."""
    texts = [i for i in chosen if frame[i].dtype.kind not in "biuf"]
    if texts:
        i = texts[0]
        row = _first_text(frame[i])
        drop = dropped(texts, names)
        raise SeedbedError(
            f"{what} has columns that are no numbers: {listed([names[j] for j in texts])} (row {row + 1}: "
            f"{str(frame[i].iloc[row])[:40]!r}); leave them out: ,drop={drop}, or make them numbers"
        )
    values = frame[chosen].to_numpy(np.float64)
    if (bad := ~np.isfinite(values)).any():
        row, column = (int(index) for index in np.argwhere(bad)[0])
        rows, columns = int(bad.any(1).sum()), [chosen[j] for j in np.flatnonzero(bad.any(0))]
        kind = "is missing" if np.isnan(values[row, column]) else "is not finite"
        place = f"row {row + 1}{' below the names' if first else ''} of column {names[chosen[column]]}"
        raise SeedbedError(
            f"{what}: {place} {kind}, {rows} of {len(values)} rows in all; fill or remove them, or leave columns out: "
            f",drop={dropped(columns, names)}"
        )
    title = f"{title}, {len(chosen)} columns ({listed([names[i] for i in chosen])})"
    own = tuple(names[i] for i in chosen)
    if by is None:
        return Table(own, {"train": values}, title)
    words = frame[by].astype(str).fillna("nothing")
    if odd := sorted({word for word in words.unique() if not split_of(word)}):
        raise SeedbedError(f"column {names[by]} of {what} says {listed(odd)}; a split is one of {KNOWN}")
    given = splits_among(words.unique(), f"column {names[by]} of {what}")
    return Table(own, {split: values[(words == word).to_numpy()] for split, word in given.items()}, title)


def _first_text(column: Any) -> int:
    return next((row for row, cell in enumerate(column) if not _number(str(cell), ".")), 0)


def _head(path: Path) -> bytes:
    check_file(path, "a table")
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise SeedbedError(f"{path} cannot be read as a table: {error.strerror}") from error


def _parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise SeedbedError(f"{path} is Parquet, which takes the package pyarrow; install it, or save as CSV") from error
    except Exception as error:  # a broken file can raise anything here
        raise SeedbedError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from error


def _text(path: Path) -> bytes:
    """The bytes of a text file, unpacked."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise SeedbedError(f"{path} cannot be read as a table: {error}") from error
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # old Macs' lines too
    if not content.strip():
        raise SeedbedError(f"{path} is empty; expected a line of names and one line per example")
    if b"\0" in content[:LINE]:
        raise SeedbedError(f"{path} is no text in UTF-8; save it as CSV in UTF-8")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise SeedbedError(
            f"{path} is no text in UTF-8 (byte {error.start}); save it so, e.g. iconv -f latin1 -t utf-8 {path.name}"
        ) from error
    return content


def _first_lines(content: bytes, path: Path) -> list[str]:
    """Some lines that are not empty, without the rest of the file."""
    found: list[str] = []
    for line in io.BytesIO(content):
        if len(line) > LINE:
            raise SeedbedError(f"{path} has a line of {len(line)} bytes; expected one line per example")
        if line.strip():
            found.append(line.decode().rstrip("\r\n"))
        if len(found) == LOOKED_AT or sum(map(len, found)) > LINE:
            break
    return found


def _cells(line: str, separator: str) -> list[str]:
    if separator == " ":
        return [cell for cell in line.split(" ") if cell]
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a cell longer than any number or name
        return [line]


def _number(cell: str, decimal: str) -> bool:
    cell = cell.strip()
    if decimal == ",":
        if "." in cell:
            return False
        cell = cell.replace(",", ".", 1)
    try:
        float(cell)
    except ValueError:
        return cell in MISSING
    return "_" not in cell


def _form(lines: list[str], path: Path, separator: str, decimal: str, header: str) -> Form:
    """How a file is written, where only one way makes sense of its first lines.

    Raises:
        SeedbedError: where none does, or several do.
    """
    body = lines[1:] or lines
    found: dict[tuple[str, str], float] = {}
    for mark in [separator] if separator else SEPARATORS.values():
        rows = [_cells(line, mark) for line in islice(lines, LOOKED_AT)]
        if len({len(row) for row in rows}) > 1 or (len(rows[0]) < 2 and not separator):
            continue
        for point in [decimal] if decimal else [".", ","]:
            if mark == point:
                continue
            cells = [cell for row in rows[len(rows) - len(body) :] for cell in row]
            found[mark, point] = sum(_number(cell, point) for cell in cells) / len(cells)
    if not found and not separator:
        counts = {mark: {len(_cells(line, mark)) for line in lines} for mark in SEPARATORS.values()}
        if all(count == {1} for count in counts.values()):  # one column, without any separator
            return _form(lines, path, ",", decimal or ".", header)
    best = max(found.values(), default=0.0)
    ways = [way for way, share in found.items() if share == best]
    # A file without a decimal mark is the same either way.
    ways = [way for way in ways if way[1] == "." or (way[0], ".") not in ways]
    if not ways:
        raise SeedbedError(
            f"{path} has lines of different numbers of cells whatever separates them; say which, e.g. ,separator=semicolon "
            f"({', '.join(SEPARATORS)}), and decimal=comma for 1,5"
        )
    if len(ways) > 1:
        names = {mark: name for name, mark in SEPARATORS.items()}
        said = " or ".join(f",separator={names.get(mark, mark)}" for mark in dict.fromkeys(mark for mark, _ in ways))
        raise SeedbedError(f"{path} can be read in more than one way; say which: {said}")
    mark, point = ways[0]
    return Form(mark, point, _has_header(_cells(lines[0], mark), point, header, path))


def _has_header(first: list[str], point: str, header: str, path: Path) -> bool:
    if header:
        return header == "yes"
    numbers = [cell for cell in first if cell.strip() and _number(cell, point)]
    if numbers and len(numbers) < sum(bool(cell.strip()) for cell in first):
        raise SeedbedError(
            f"the first line of {path} has names and numbers ({numbers[0]}); say whether it is a header: ,header=yes or "
            ",header=no"
        )
    return not numbers


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(i + 1) for i in range(count))


def _said(form: Form) -> str:
    names = {mark: name for name, mark in SEPARATORS.items()}
    said = [] if form.separator == "," else [f"{names.get(form.separator, form.separator)}s between"]
    said += ["decimal commas"] if form.decimal == "," else []
    said += [] if form.header else ["no header: columns by number"]
    return f" ({', '.join(said)})" if said else ""


def _parsed(content: bytes, path: Path, form: Form, count: int) -> "pd.DataFrame":
    """The cells of all columns, as pandas reads numbers: asked for some, it would cut off a line that is too long."""
    import pandas as pd

    space = form.separator == " "
    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            sep=r"\s+" if space else form.separator,
            decimal=form.decimal,
            header=0 if form.header else None,
            names=list(range(count)),
            na_values=list(MISSING),
            skipinitialspace=not space,
            low_memory=False,
        )
    except Exception as error:  # pandas has errors of many kinds
        raise SeedbedError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error
    if not len(frame):
        raise SeedbedError(f"{path} has names and no rows; expected one line per example")
    return frame
