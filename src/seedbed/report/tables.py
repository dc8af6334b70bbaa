"""A table as text for people and as numbers for programs: HTML takes its cells, files are CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

from seedbed.store.atomic import write_atomic


@dataclass(frozen=True)
class Table:
    """One table.

    Args:
        name: of its files.
        caption: what it shows, in one or two sentences.
        head: column names.
        body: cells as text; an empty one means "does not apply".
        raw: the same facts as numbers, one mapping per line, for CSV; all have the same keys.
        words: how many columns from the left are words; the others are numbers and flush right.
        strong: lines to set in bold.
    """

    name: str
    caption: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    raw: Sequence[Mapping[str, Any]] = ()
    words: int = 1
    strong: Sequence[int] = field(default=())

    @property
    def by_data(self) -> bool:
        """Whether lines of one data set stand together, named in the first column."""
        return self.head[0] == "data" and self.words > 1

    def without_zeros(self, *columns: str) -> "Table":
        """The same table without those of some columns in which no line has more than nothing."""
        table = self
        for column in columns:
            at = list(table.head).index(column)
            if {row[at] for row in table.body} <= {"", "0", "0 s", "\N{EN DASH}"}:
                body = [[*row[:at], *row[at + 1 :]] for row in table.body]
                table = replace(table, head=[*table.head[:at], *table.head[at + 1 :]], body=body)
        return table

    def without_constant(self, column: str) -> "Table":
        """The same table without a column in which all lines agree that have something there."""
        at = list(self.head).index(column)
        if len({row[at] for row in self.body} - {""}) > 1:
            return self
        body = [[*row[:at], *row[at + 1 :]] for row in self.body]
        return replace(self, head=[*self.head[:at], *self.head[at + 1 :]], body=body, words=self.words - (at < self.words))

    def _sparse(self) -> list[list[str]]:
        """The cells with a data set named at its first line only."""
        before = ["", *(row[0] for row in self.body[:-1])]
        return [["" if self.by_data and row[0] == b else row[0], *row[1:]] for row, b in zip(self.body, before, strict=True)]

    def csv(self) -> str:
        """Comma-separated values with a header; full precision."""
        buffer = io.StringIO()
        rows = self.raw or [dict(zip(self.head, cells, strict=True)) for cells in self.body]
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(map(_cell, rows[0] if rows else self.head))
        writer.writerows(map(_cell, row.values()) for row in rows)
        return buffer.getvalue()

    def markdown(self) -> str:
        """A GitHub table under its caption."""
        rule = ["---" if i < self.words else "--:" for i in range(len(self.head))]
        body = [[f"**{_md(c)}**" if i in self.strong and c else _md(c) for c in row] for i, row in enumerate(self._sparse())]
        lines = [[_md(c) for c in self.head], rule, *body]
        return f"{_md(self.caption)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def latex(self) -> str:
        """A ``table`` in the style of ``booktabs``, which the document must load."""
        columns = "l" * self.words + "r" * (len(self.head) - self.words)
        lines = [
            [rf"\textbf{{{_tex(c)}}}" if i in self.strong and c else _tex(c) for c in row]
            for i, row in enumerate(self._sparse())
        ]
        gaps = ["    \\addlinespace\n" if self.by_data and i and cells[0] else "" for i, cells in enumerate(lines)]
        body = "\n".join(f"{gap}    {' & '.join(cells)} \\\\" for gap, cells in zip(gaps, lines, strict=True))
        return (
            "% needs \\usepackage{booktabs}\n"
            "\\begin{table}\n  \\centering\n"
            f"  \\caption{{{_tex(self.caption)}}}\n  \\label{{tab:{self.name}}}\n"
            f"  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n"
            f"    {' & '.join(_tex(c) for c in self.head)} \\\\\n    \\midrule\n{body}\n    \\bottomrule\n"
            "  \\end{tabular}\n\\end{table}\n"
        )

    def html(self) -> str:
        """A bare ``<table>`` for notebooks, everything escaped."""

        def line(cells: Sequence[str], tag: str, bold: bool = False) -> str:
            way = ["left" if i < self.words else "right" for i in range(len(cells))]
            shown = [f"<b>{escape(c)}</b>" if bold and c else escape(c) for c in cells]
            return "".join(f'<{tag} style="text-align:{w}">{c}</{tag}>' for c, w in zip(shown, way, strict=True))

        body = "".join(f"<tr>{line(row, 'td', i in self.strong)}</tr>" for i, row in enumerate(self._sparse()))
        return f"<table><thead><tr>{line(self.head, 'th')}</tr></thead><tbody>{body}</tbody></table>"

    def text(self) -> str:
        """Aligned columns for a terminal."""
        widths = [max(len(line[i]) for line in (self.head, *self.body)) for i in range(len(self.head))]

        def aligned(cells: Sequence[str]) -> str:
            pairs = enumerate(zip(cells, widths, strict=True))
            return "  ".join(c.ljust(w) if i < self.words else c.rjust(w) for i, (c, w) in pairs).rstrip()

        return "\n".join([aligned(self.head), "  ".join("-" * w for w in widths), *map(aligned, self._sparse())])

    def write(self, folder: Path) -> list[Path]:
        """``<name>.csv``, ``.md`` and ``.tex`` in a folder."""
        paths = []
        for suffix, content in (("csv", self.csv()), ("md", self.markdown()), ("tex", self.latex())):
            paths.append(folder / f"{self.name}.{suffix}")
            save_text(paths[-1], content)
        return paths


def save_text(path: Path, content: str) -> None:
    """Write one text file atomically, what is no text of it (of a name that is not UTF-8) as escapes."""
    write_atomic(path, lambda temporary: temporary.write_text(content, encoding="utf-8", errors="backslashreplace"))


def _cell(value: object) -> object:
    """A cell of a file that spreadsheets open: words that they would compute are marked as text, numbers stay numbers."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _md(text: str) -> str:
    for character in "\\|`*<":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.replace("](", "\\](").split())


_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{EN DASH}": "--",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _tex(text: str) -> str:
    escaped = "".join(_TEX.get(character, character) for character in " ".join(text.split()))
    # A row that starts with a bracket would be read as an option of the line break before it.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped
