"""The report as files: the page, and beside it figures as SVG and PDF, tables as CSV, Markdown and LaTeX."""

import os
from pathlib import Path
from urllib.parse import quote

from seedbed.report.document import Report
from seedbed.report.html import render
from seedbed.report.paper_figures import write_plates
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
        beside += write_plates(
            report.families, report.charts, report.bars, report.colour, path.with_name(f"{path.stem}-figures")
        )
    # From here, so that no name is taken for a scheme; its bytes escaped.
    links = {p.name: "./" + quote(os.fsencode(p.relative_to(path.parent).as_posix())) for p in beside}
    save_text(path, render(report, command, refresh, links))
    return [path, *beside]
