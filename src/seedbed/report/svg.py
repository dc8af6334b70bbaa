"""Charts as inline SVG, drawn here: curves with seed bands, and means with their intervals over the dots of all seeds.

Nothing is loaded and nothing needs a script; the page's script only adds the read-out of the nearest seed. Colours are the
page's classes ``c0`` to ``c6``.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from seedbed.core.metric import NEG_IW
from seedbed.report.bars import COUNT, Bars
from seedbed.report.curves import Curves, Floats, Scale, spanning, value_scale
from seedbed.report.verdicts import Family
from seedbed.report.words import direction, number, short, spread

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 10, 40  # margins around the plotting area
FINE = 10  # curves are in tenths of a unit, so that whole numbers suffice


def curves_svg(many: Sequence[Curves], axis: str, colour: Mapping[str, int], task: str, key: str) -> str:
    """One chart of several runs' curves: every seed, the band over seeds and their median.

    Args:
        many: curves of one metric.
        axis: ``step`` or ``time``.
        colour: a colour class per label.
        task: data set, for the description.
        key: unique in the page.
    """
    metric, width, height = many[0].metric, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    y, x = value_scale(many), _axis(many, axis)
    parts = [_frame(x, y, _axis_title(axis), f"{metric}{' (log)' if y.log else ''}")]
    parts.append(f'<clipPath id="{key}"><rect width="{width * FINE}" height="{height * FINE}"/></clipPath>')
    parts.append(f'<g clip-path="url(#{key})" transform="translate({LEFT} {TOP}) scale({1 / FINE:g})">')

    def points(xs: Floats, ys: Floats) -> np.ndarray:
        placed = np.stack([x.place(xs) * width, (1 - y.place(ys)) * height], 1)
        return np.rint(placed * FINE).astype(int)

    for one in many:
        low, middle, high = one.band
        edge = np.concatenate([points(one.x[axis], high), points(one.x[axis], low)[::-1]])
        parts.append(f'<g class="run {_class(colour[one.label])}" data-run="{escape(one.label)}">')
        parts.append(f'<path class="band" d="{_path(edge)}z"/>')
        for index, seed in enumerate(one.seeds):
            xs, ys = one.seed(index, axis)
            name = f"{one.label}, seed {seed}: {one.fates[seed]}, last {number(float(ys[-1]), 4)}"
            lost = " lost" if seed in one.lost else ""
            line = points(xs, ys)
            parts.append(f'<path class="seed{lost}" d="{_path(line)}"><title>{escape(name)}</title></path>')
            if one.fates[seed].startswith("diverged"):
                parts.append(f'<path class="end" d="M{line[-1][0]} {line[-1][1]}m-40-40l80 80m0-80l-80 80"/>')
        parts.append(f'<path class="mid" d="{_path(points(one.x[axis], middle))}"/></g>')
    parts.append("</g>")
    along = "steps" if axis == "step" else "seconds"
    medians = {one.label: f"{number(float(one.band[1][0]))} at first, {number(float(one.band[1][-1]))} last" for one in many}
    said = f"{metric} on {task} over {along}. " + " ".join(f"{label}: median {text}." for label, text in medians.items())
    scale = f'data-x="{x.low:.6g} {x.high:.6g}" data-y="{y.low:.6g} {y.high:.6g} {int(y.log)}" data-axis="{axis}"'
    return _svg(f'class="curves by-{axis}" tabindex="0" {scale}', said, HEIGHT, parts)


def bounds_svg(ladders: Mapping[str, Mapping[int, Floats]], colour: Mapping[str, int], task: str) -> str:
    """Negative importance-weighted bounds against their number of samples: every seed thin, their mean thick.

    Args:
        ladders: by label, by k, the value of each seed, ``[seeds]``.
        colour: a colour class per label.
        task: data set, for the description.
    """
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    ends = np.concatenate([values for ladder in ladders.values() for values in ladder.values()])
    x = Scale(1.0, float(max(k for ladder in ladders.values() for k in ladder)), True)
    y = spanning(float(ends.min()), float(ends.max()), NEG_IW)
    parts = [
        _frame(x, y, "k, samples (log)", NEG_IW.name),
        f'<g transform="translate({LEFT} {TOP}) scale({1 / FINE:g})">',
    ]
    said = []
    for label, ladder in ladders.items():
        ks = np.array(sorted(ladder), float)
        rows = np.stack([ladder[int(k)] for k in ks], 1)
        lines = [np.stack([x.place(ks) * width, (1 - y.place(row)) * height], 1) for row in (*rows, rows.mean(0))]
        *seeds, middle = (np.rint(line * FINE).astype(int) for line in lines)
        parts.append(f'<g class="run {_class(colour[label])}" data-run="{escape(label)}">')
        parts += [f'<path class="seed" d="{_path(line)}"/>' for line in seeds]
        parts.append(f'<path class="mid" d="{_path(middle)}"/></g>')
        means = ", ".join(f"{number(float(mean), 4)} at k = {k:g}" for k, mean in zip(ks, rows.mean(0), strict=True))
        said.append(f"{label}: {means}.")
    return _svg('class="bounds"', f"The negative bound on {task} against k. {' '.join(said)}", HEIGHT, [*parts, "</g>"])


def bars_svg(chart: Bars, colour: Mapping[str, int]) -> str:
    """A group of bars per convergence metric; at the right the count that has no unit, its numbers above its bars."""
    groups, width, height = [*chart.losses, COUNT], WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    scale, counts = chart.scale, Scale(0.0, max(1.15 * float(np.nanmax(chart.exceeds)), 1.0), False)
    step, foot = width / len(groups), HEIGHT - BOTTOM
    title = f"{chart.metric}{' (log)' if scale.log else ''}"
    thick = 0.8 * step / len(chart.labels)

    def left(group: int, model: int) -> float:
        return LEFT + step * (group + 0.1) + thick * model

    def above(on: Scale, value: float) -> float:
        return TOP + (1 - min(max(_at(on, value), 0.0), 1.0)) * height

    parts = ['<g class="axes">']
    for value in scale.ticks():
        y, across = above(scale, value), step * len(chart.losses)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}h{across:.1f}"/>{_text(LEFT - 6, y + 4, "e", _tick(value))}')
    names = enumerate(groups)
    parts += [_text(LEFT + step * (index + 0.5), foot + 16, "m", name) for index, name in names]
    parts.append(f'<path d="M{LEFT} {TOP}V{foot}H{WIDTH - RIGHT}"/>{_text(LEFT + width / 2, HEIGHT - 6, "m", "validation")}')
    parts.append(f'<text transform="translate(13 {TOP + height / 2:.0f}) rotate(-90)" class="m">{escape(title)}</text></g>')
    for model, label in enumerate(chart.labels):
        parts.append(f'<g class="run {_class(colour[label])}" data-run="{escape(label)}">')
        for group in range(len(chart.losses)):
            mean, std = float(chart.means[group, model]), float(chart.stds[group, model])
            x, y, start = left(group, model), above(scale, mean), above(scale, chart.base)
            ends = [above(scale, end) for end in (mean - std, mean + std)]
            parts.append(f'<path class="bar" d="M{x:.1f} {start:.1f}V{y:.1f}h{thick:.1f}V{start:.1f}z"/>')
            parts.append(f'<path class="std" d="M{x + thick / 2:.1f} {ends[0]:.1f}V{ends[1]:.1f}"/>')
        count = float(chart.exceeds[model])
        x, y = left(len(chart.losses), model), above(counts, count)
        parts.append(f'<path class="bar" d="M{x:.1f} {foot}V{y:.1f}h{thick:.1f}V{foot}z"/>')
        parts.append(f"{_text(x + thick / 2, y - 4, 'm', number(count, 2))}</g>")
    return _svg('class="bars"', chart.words, HEIGHT, parts)


def _axis(many: Sequence[Curves], axis: str) -> Scale:
    ends = [np.nanmax(one.steps if axis == "step" else one.walls) for one in many]
    return Scale(0.0, float(max(ends)) or 1.0, False)


def _axis_title(axis: str) -> str:
    return "step" if axis == "step" else "seconds of training"


def _class(index: int) -> str:
    return f"c{index % 7}" + (" again" if index >= 7 else "")


def _path(points: np.ndarray) -> str:
    """A path in whole numbers, each point relative to the one before."""
    if not len(points):
        return ""
    first, moves = points[0], np.diff(points, axis=0).tolist() or [[0, 0]]
    text = " ".join(str(v) for move in moves for v in move)
    return f"M{first[0]} {first[1]}l{text.replace(' -', '-')}"


def _frame(x: Scale, y: Scale, x_title: str, y_title: str) -> str:
    width, height, bottom = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM, HEIGHT - BOTTOM
    out = ['<g class="axes">']
    for value in y.ticks():
        at = TOP + (1 - _at(y, value)) * height
        out.append(f'<path class="grid" d="M{LEFT} {at:.1f}h{width}"/>{_text(LEFT - 6, at + 4, "e", _tick(value))}')
    for value in x.ticks(4):
        at = LEFT + _at(x, value) * width
        out.append(f'<path d="M{at:.1f} {bottom}v4"/>{_text(at, bottom + 16, "m", _tick(value))}')
    out.append(f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}"/>{_text(LEFT + width / 2, HEIGHT - 6, "m", x_title)}')
    middle = TOP + height / 2
    out.append(f'<text transform="translate(13 {middle:.0f}) rotate(-90)" class="m">{escape(y_title)}</text></g>')
    return "".join(out)


def _at(scale: Scale, value: int | float) -> float:
    return float(scale.place(np.array(value)))


def _text(x: int | float, y: int | float, kind: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _tick(value: int | float) -> str:
    if abs(value) >= 1000 and value == round(value):
        return f"{value / 1000:g}k"
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def _svg(attributes: str, said: str, height: int | float, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" {attributes} aria-label="{escape(said)}"'
    return f"<svg {box}>{''.join(parts)}</svg>"


def intervals_svg(family: Family, colour: Mapping[str, int]) -> str:
    """One line per run: a dot for each seed's test value, the mean and its 95 % interval, how many seeds diverged."""
    runs, metric, line, of = family.ranked, family.group.metric, 26, family.group.metric_of
    lost = {run.label: len(run.without(of(run))) for run in runs}
    word = lambda run: "worse" if run.label in family.poor else "diverged"  # than its baseline, as the table beside says
    left = min(16 + 8.2 * max(len(short(run.label)) for run in runs), 205)
    right = WIDTH - RIGHT - (68 if any(lost.values()) else 0)
    bottom = TOP + line * len(runs)
    values = {run.label: run.kept(of(run)).to_numpy() for run in runs}
    means = [family.means[run.label] for run in runs]
    ends = [*np.concatenate(list(values.values())), *(v for m in means if m.n > 1 for v in (m.low, m.high))]
    scale = spanning(float(min(ends, default=0.0)), float(max(ends, default=1.0)), family.group.declared)
    at = lambda value: left + _at(scale, value) * (right - left)
    parts = ['<g class="axes">']
    for value in scale.ticks(4):
        parts.append(
            f'<path class="grid" d="M{at(value):.1f} {TOP}V{bottom}"/>{_text(at(value), bottom + 14, "m", _tick(value))}'
        )
    title = f"{metric}{' (log)' if scale.log else ''}, test, {direction(family.group.declared)}"
    parts.append(f'<path d="M{left} {bottom}H{right}"/>{_text((left + right) / 2, bottom + BOTTOM - 6, "m", title)}</g>')
    for index, (run, mean) in enumerate(zip(runs, means, strict=True)):
        y = TOP + line * (index + 0.5)
        parts.append(f'<g class="{_class(colour[run.label])}">{_text(left - 8, y + 4, "e", short(run.label))}')
        dots = enumerate(values[run.label])
        parts += [f'<circle class="dot" cx="{at(v):.1f}" cy="{y + _jitter(i):.1f}" r="2.5"/>' for i, v in dots]
        parts.append(f'<path class="ci" d="M{at(mean.low):.1f} {y:.1f}H{at(mean.high):.1f}"/>' if mean.n > 1 else "")
        parts.append(f'<path class="mean" d="M{at(mean.mean):.1f} {y - 6:.1f}v12"/>' if mean.n else "")
        parts.append(_text(WIDTH - RIGHT, y + 4, "e lost", f"{lost[run.label]} {word(run)}") if lost[run.label] else "")
        parts.append("</g>")
    said = f"{metric} on {family.group.task}, mean and 95 % interval over seeds. " + " ".join(
        f"{run.label}: {spread(family.means[run.label])}, {lost[run.label]} {word(run)}." for run in runs
    )
    return _svg('class="intervals"', said, bottom + BOTTOM, parts)


def _jitter(index: int) -> float:
    return (index * 5 % 11 - 5) * 0.9  # spreads neighbours without chance
