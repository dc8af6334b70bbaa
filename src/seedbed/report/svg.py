"""A chart on the page: inline SVG that loads nothing and needs no script.

The page's script only adds the read-out of the nearest seed. Colours are the page's classes ``c0`` to ``c6``.
"""

from html import escape

import numpy as np

from seedbed.report.charts import Chart, Mark, Series
from seedbed.report.curves import Floats
from seedbed.report.words import short

WIDTH, HEIGHT, LINE = 460, 280, 26
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 10, 40  # margins around the plotting area
FINE = 10  # marks are in tenths of a unit, so that whole numbers suffice


def svg(chart: Chart) -> str:
    """One chart as an ``<svg>`` that says in words what it shows."""
    lines = len(chart.y.names)
    left = min(16 + 8.2 * max(len(short(name)) for name in chart.y.names), 205) if lines else LEFT
    width = WIDTH - left - RIGHT - 68 * any(chart.y.beside)
    height = LINE * lines or HEIGHT - TOP - BOTTOM
    place = lambda points: _placed(chart, points) * [width, height]
    parts = [_axes(chart, left, width, height)]
    box = f'x="{left:g}" y="{TOP}" width="{width:g}" height="{height}" viewBox="0 0 {width * FINE:g} {height * FINE}"'
    if chart.level is not None:
        at = TOP + height * float(1 - chart.y.scale.place(np.array(chart.level[0])))
        parts.append(f'<g class="axes"><path class="level" d="M{left:g} {at:.1f}h{width:g}"/>')
        parts.append(f"{_text(left + 8, at + 15, 's', chart.level[1])}</g>")
    parts.append(f'<svg class="plot" {box}>')
    for one in chart.series:
        drawn = "".join(_mark(mark, np.rint(place(mark.points) * FINE).astype(int)) for mark in one.marks)
        parts.append(f"<g {_run(one)}>{drawn}</g>")
    parts.append("</svg>")
    for one in chart.series:
        notes = [(mark.text, *place(mark.points)[0]) for mark in one.marks if mark.role == "note"]
        texts = "".join(_text(left + x, TOP + y - 4, "m", text) for text, x, y in notes)
        parts.append(f"<g {_run(one)}>{texts}</g>" if texts else "")
    x, y = chart.x.scale, chart.y.scale
    kind = f'class="{chart.kind}"'
    if chart.kind == "curves":
        ends = f'data-x="{x.low:.6g} {x.high:.6g}" data-y="{y.low:.6g} {y.high:.6g} {int(y.log)}" data-axis="{chart.along}"'
        kind = f'class="curves by-{chart.along}" tabindex="0" {ends}'
    box = f'viewBox="0 0 {WIDTH} {TOP + height + BOTTOM}" role="img" {kind} aria-label="{escape(chart.words)}"'
    return f"<svg {box}>{''.join(parts)}</svg>"


def _placed(chart: Chart, points: Floats) -> Floats:
    """Shares of the plotting area, from its upper left corner, ``[n, 2]``."""
    x, y = chart.x.scale.place(points[:, 0]), chart.y.scale.place(points[:, 1])
    return np.stack([x, y if chart.y.names else 1 - y], 1)


def _mark(mark: Mark, points: np.ndarray) -> str:
    """A mark within the plotting area, in tenths of a unit; a note is written above all of them."""
    if mark.role == "note":
        return ""
    if mark.role == "dot":  # lines of no length with round ends
        path = "".join(f"M{x} {y}h0" for x, y in points.tolist())
    elif mark.role == "end":
        path = f"M{points[0][0]} {points[0][1]}m-40-40l80 80m0-80l-80 80"
    else:
        path = _path(points) + ("z" if mark.role in ("band", "bar") else "")
    title = f"<title>{escape(mark.text)}</title>" if mark.text else ""
    return f'<path class="{mark.role}" d="{path}"{f">{title}</path>" if title else "/>"}'


def _path(points: np.ndarray) -> str:
    """A path in whole numbers, each point relative to the one before."""
    if not len(points):
        return ""
    first, moves = points[0], np.diff(points, axis=0).tolist() or [[0, 0]]
    text = " ".join(str(v) for move in moves for v in move)
    return f"M{first[0]} {first[1]}l{text.replace(' -', '-')}"


def _run(one: Series) -> str:
    again = " again" if one.colour >= 7 else ""
    return f'class="run c{one.colour % 7}{again}" data-run="{escape(one.label)}"'


def _axes(chart: Chart, left: int | float, width: int | float, height: int) -> str:
    foot, out = TOP + height, ['<g class="axes">']
    for value, text in chart.y.ticks(5):
        share = float(chart.y.scale.place(np.array(value)))
        at = TOP + height * (share if chart.y.names else 1 - share)
        line = "" if chart.y.names else f'<path class="grid" d="M{left:g} {at:.1f}h{width:g}"/>'
        out.append(f"{line}{_text(left - 8, at + 4, 'e', text)}")
    for value, text in chart.x.ticks(4):
        at = left + width * float(chart.x.scale.place(np.array(value)))
        mark = f'<path d="M{at:.1f} {foot}v4"/>' if not chart.x.names else ""
        line = f'<path class="grid" d="M{at:.1f} {TOP}V{foot}"/>' if chart.y.names else mark
        out.append(f"{line}{_text(at, foot + 16, 'm', text)}")
    upright = "" if chart.y.names else f"M{left:g} {TOP}V{foot}"
    out.append(f'<path d="{upright}M{left:g} {foot}h{width:g}"/>')
    out.append(_text(left + width / 2, foot + BOTTOM - 6, "m", chart.x.title + chart.x.aside))
    if chart.y.title:
        turned = f"translate(13 {TOP + height / 2:.0f}) rotate(-90)"
        out.append(f'<text transform="{turned}" class="m">{escape(chart.y.title)}</text>')
    for line, remark in enumerate(chart.y.beside):
        out.append(_text(WIDTH - RIGHT, TOP + LINE * (line + 0.5) + 4, "e lost", remark) if remark else "")
    return "".join([*out, "</g>"])


def _text(x: int | float, y: int | float, kind: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'
