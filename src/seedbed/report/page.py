"""``docs/results.md``: every row of ``results/*.json`` as one page.

``python -m seedbed.report.page results docs/results.md``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from seedbed.core.metric import NLL_SAMPLED

HEAD = """# Results

Generated from `results/*.json` by `make docs`; do not edit. Means with 95 % intervals over seeds (Student below ten seeds,
bootstrap from ten, see statistics.md), diverged seeds counted and left out of the mean. Losses: lower is better.
"""


def page(folder: Path) -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for path in sorted(folder.glob("*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        parts.append(f"## {path.stem}\n\n{_study(rows)}")
    for path in sorted((folder / "benchmarks").glob("*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        if "difference" in rows[0]:
            parts.append(f"## Beside others: {path.stem}\n\nA difference below 0: ours is better.\n\n{_benchmark(rows)}")
        else:
            parts.append(f"## Speed: {path.stem}\n\nA ratio above 1: ours is faster.\n\n{_benchmark(rows)}")
    return "\n".join(parts)


def _study(rows: list[dict[str, Any]]) -> str:
    head = (
        "experiment",
        "metric",
        "mean",
        "95 % over seeds",
        "std",
        "MC error",
        "seeds",
        "diverged",
        "published",
        "protocol",
    )
    body = []
    for row in rows:
        if row["status"] == "not_run":
            cells = [
                f"`{row['experiment']}`",
                row["metric"],
                "not run",
                f"about {row['hours']:.3g} h",
                "",
                "",
                "",
                "",
                _value(row["published"]),
                f"budget {row['budget']}",
            ]
        else:
            cells = [
                f"`{row['experiment']}`",
                row["metric"] + (f" (k = {row['k']})" if row["k"] and row["metric"] == NLL_SAMPLED.name else ""),
                _value(row["mean"]) if row["mean"] is not None else row["status"],
                f"[{_value(row['low'])}, {_value(row['high'])}]" if row["low"] is not None else "",
                _value(row["std"]),
                _value(row["mc_se"]),
                str(row["seeds"]),
                str(row["diverged"]),
                _value(row["published"]),
                row["protocol"] + _beside(row),
            ]
        body.append(cells)
    return _table(head, body)


def _beside(row: dict[str, Any]) -> str:
    budget = "" if row["budget"] == "laptop" else f"; budget {row['budget']}"
    best, last = (_value(row.get(name)) for name in ("valid_best", "valid_last"))
    return budget + (f"; validation {best} at its best, {last} last" if best and best != last else "")


def _benchmark(rows: list[dict[str, Any]]) -> str:
    figure = "difference" if "difference" in rows[0] else "ratio"
    head = ("workload", "ours", "other", "unit", figure, "interval", "runs", "device")
    return _table(
        head,
        [
            [
                f"`{row['workload']}`",
                str(row["ours"]),
                f"{row['other']} ({row.get('other_is', 'other')})",
                row["unit"],
                f"{row[figure]:.2f}",
                f"[{row['low']:.2f}, {row['high']:.2f}]",
                str(row["runs"]),
                row["device"],
            ]
            for row in rows
        ],
    )


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(head: tuple[str, ...], body: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in body]) + "\n"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(page(Path(sys.argv[1])), encoding="utf-8")
