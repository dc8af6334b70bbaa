"""The report as files: the page, and beside it figures as SVG and PDF, tables as CSV, Markdown and LaTeX."""

import os
import warnings
from pathlib import Path
from urllib.parse import quote

from seedbed.core.errors import SeedbedError, said
from seedbed.report.document import Report
from seedbed.report.html import render
from seedbed.report.plates import write_plates
from seedbed.report.tables import save_text


def write_report(report: Report, path: Path, command: str = "", refresh: int | float | None = None) -> list[Path]:
    """Write the page; once nothing is left to follow also its tables and figures, in folders beside it.

    Args:
        report: what ``compose`` made.
        path: the page.
        command: what was typed, to be shown.
        refresh: seconds after which an open page loads itself again, while runs still train.
    """
    beside: list[Path] = []
    if refresh is None:
        for table in report.tables.values():
            beside += table.write(path.with_name(f"{path.stem}-tables"))
        try:
            beside += write_plates(report.charts, report.families, path.with_name(f"{path.stem}-figures"))
        except SeedbedError:
            raise
        except Exception as error:  # a page is one without its plates, whatever a library of pictures refuses
            warnings.warn(f"the figures for a paper cannot be drawn: {said(error, 200)}", stacklevel=2)
    # From here, so that no name is taken for a scheme; its bytes escaped.
    links = {p.name: "./" + quote(os.fsencode(p.relative_to(path.parent).as_posix())) for p in beside}
    save_text(path, render(report, command, refresh, links))
    return [path, *beside]
