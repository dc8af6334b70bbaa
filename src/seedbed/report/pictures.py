"""Small pictures for the page from stored arrays: draws and densities of two-dimensional models, grids of images.

Written as PNG with a palette straight from the numbers, without a plotting library: a page of forty runs needs hundreds.
"""

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedbed.report.canvas import PAINTED, Painting, moving_gif, stored_painting, strip_png
from seedbed.report.gather import Run, higher_is_better
from seedbed.report.pixels import GREY, Pixels, greys, png

SIDE = 150  # pixels of a picture of points
LEVELS = 48  # colours of a density: enough for the eye, few enough for a small file
GRID = 6  # images to a side
MOVING = 300_000  # bytes of an animation: a larger one stays beside the run
MAP = 360  # pixels of a map of latents: its points are coloured and named
# What a picture shows, where its name does not say it: a mean is not a draw.
SAYS = {
    "examples": "inputs",
    "samples": "samples: draws x ~ p(x)",
    "samples, mean": "the same samples' means E[x | z]",
    "reconstructions, mean": "reconstructions: means E[x | z], z ~ q(z | x)",
    "traversals": "traversals: means E[x | z]; in each row one unit of z goes from \N{MINUS SIGN}2.5 to 2.5, the others "
    "stay at the first input's code",
    "interpolations": "interpolations: inputs at both ends, between them means E[x | z] on the line between their codes",
    "latents": "latent map: codes E_q[z | x] of held-out inputs on their first two principal components",
}
DETAILS = ("traversals", "interpolations", "latents")  # of images: shown of one seed, large
# Ten hues that differ in lightness too.
HUES = (
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (110, 110, 110), (170, 170, 20), (23, 190, 207)),
)


@dataclass(frozen=True)
class Picture:
    """One picture.

    Args:
        uri: the PNG or GIF as a ``data:`` address.
        alt: what it shows, in words.
        note: one or two words below it.
        moves: whether it is animated: the page then shows it on demand.
    """

    uri: str
    alt: str
    note: str
    moves: bool = False


@dataclass(frozen=True)
class Strip:
    """Pictures of one stored array, side by side.

    Args:
        kind: what they show.
        pictures: one per chosen seed.
        size: ``wide`` for grids of images, to be seen large; ``large`` for those with much to see; ``broad`` for those that
            take the whole width.
    """

    kind: str
    pictures: list[Picture]
    size: str = ""

    @property
    def says(self) -> str:
        """What they show, in words."""
        return SAYS.get(self.kind, self.kind) if self.size else self.kind


def data_strips(run: Run, task: str) -> list[Strip]:
    """What a run's models are pictured beside: held-out examples, and the true density where it is known."""
    reference, out = run.arrays("reference"), []
    for key, kind in (("x", "examples"), ("log_p", "density")):
        pixels = as_pixels(reference[key], reference) if key in reference else None
        if pixels is not None:
            size = "wide" if key == "x" and _of_images(reference) else ""
            out.append(Strip(kind, [Picture(_uri(pixels), f"{kind} of {task}, the data", "held out")], size))
    return out


def run_strips(run: Run, task: str, metric: str) -> list[Strip]:
    """What a run's stored arrays show at its best, median and worst seed, and at one that was lost.

    What the latents of an image model hold is shown of one seed: it takes room, and a seed's units are its own.
    """
    seeds, chosen, reference = run.manifest.seeds, chosen_seeds(run, metric), run.arrays("reference")
    size, strips, details = "wide" if _of_images(reference) else "", [], {}
    best = best_seed(run, metric)
    for kind, key, stored in stored_arrays(run):
        alone = bool(size) and kind in DETAILS
        shown = []
        for seed in [best] if alone and best is not None else chosen:
            pixels = as_pixels(stored[seeds.index(seed)], reference, MAP if alone else SIDE, key)
            if pixels is not None:
                note = SAYS[kind] if alone else chosen[seed]
                shown.append(Picture(_uri(pixels), f"{kind} of {run.label} on {task}, seed {seed}", note))
        if alone:
            details[kind] = shown
        elif shown:
            strips.append(Strip(kind, shown, size))
    if ordered := [picture for kind in DETAILS for picture in details.get(kind, [])]:
        strips.append(Strip(f"its latents at its best (seed {best})", ordered, "large"))
    if best is not None and (painting := stored_painting(run, best)) is not None:
        strips.append(Strip(f"its canvas at its best (seed {best})", _canvas(painting, f"{run.label} on {task}"), "broad"))
    return strips


def _canvas(painting: Painting, what: str) -> list[Picture]:
    """The canvas as a strip, and moving if that is small."""
    box = (
        " Boxes: the window that is written through, as thick as its filters' scale." if painting.windows is not None else ""
    )
    note = f"samples' means E[x | z] after each stroke, from the left.{box}"
    out = [Picture(_address("png", strip_png(painting)), f"canvas of {what} over its strokes", note)]
    if len(moving := moving_gif(painting)) <= MOVING:
        out.append(Picture(_address("gif", moving), f"canvas of {what}, moving", "stroke by stroke", moves=True))
    return out


def _of_images(reference: Mapping[str, NDArray]) -> bool:
    return "x" in reference and reference["x"].ndim > 1 and reference["x"].shape[-1] != 2


def stored_arrays(run: Run) -> Iterator[tuple[str, str, NDArray]]:
    """Every array that all seeds of a run have stored: what it shows, its key, and itself, ``[seeds, ...]``.

    Not of a canvas over time, which is no single picture: see ``canvas.stored_painting``.
    """
    folder = run.folder.path / "artefacts"
    names = sorted((p.name for p in folder.iterdir() if p.is_dir()), reverse=True) if folder.is_dir() else []
    for name in (name for name in names if name not in PAINTED):
        for key, array in run.arrays(name).items():
            if len(array) == len(run.manifest.seeds):  # else a group of seeds is still training
                yield (name if key in ("x", "log_q", "z", "grid") else f"{name}, {key}"), key, array


def best_seed(run: Run, metric: str) -> int | None:
    """The best seed by its test value, or one that was lost if all were; ``None`` before any has ended."""
    ranked = run.kept(metric).sort_values(ascending=not higher_is_better(metric)).index.tolist()
    return next(iter([*ranked, *chosen_seeds(run, metric)]), None)


def chosen_seeds(run: Run, metric: str) -> dict[int, str]:
    """The best, the median and the worst seed by their test value, and the first that was lost, with what to call them."""
    ranked: list[int] = run.kept(metric).sort_values(ascending=not higher_is_better(metric)).index.tolist()
    if len(ranked) < 4:
        chosen = {seed: f"seed {seed}" for seed in sorted(ranked)}
    else:
        places = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
        chosen = {seed: f"{place} (seed {seed})" for place, seed in places.items()}
    for seed in run.without(metric)[:1]:
        fate = run.fates.get(seed, ("", 0))[0]
        chosen[seed] = f"{'worse than baseline' if fate == 'worse_than_baseline' else 'diverged'} (seed {seed})"
    return chosen


def as_pixels(array: NDArray, reference: Mapping[str, NDArray], side: int = SIDE, key: str = "") -> Pixels | None:
    """One seed's array as a picture: points ``[n, 2]``, a log-density on the reference's grid, or grey images.

    Images are ``[n, height, width]``, ``[n, 1, height, width]`` or ``[n, pixels]`` with a square number of pixels, and
    under the key ``grid`` ``[rows, columns, height, width]``. Under the key ``z`` points have the reference's labels.
    Anything else is not a picture: ``None``.
    """
    if key == "grid":
        return sheet(array, side)
    if key == "z":
        return latent_map(array, reference.get("labels"))
    if array.ndim == 2 and array.shape[1] == 2:
        return points(array, *_extent(array, reference), side)
    if array.ndim == 2 and "log_p" in reference and array.shape == reference["log_p"].shape:
        return density(array, float(np.exp(reference["log_p"].max())))
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and (width := math.isqrt(array.shape[1])) ** 2 == array.shape[1] and width >= 8:
        array = array.reshape(-1, width, width)
    return images(array) if array.ndim == 3 and len(array) else None


def _extent(array: NDArray, reference: Mapping[str, NDArray]) -> tuple[float, float]:
    if "extent" in reference:
        low, high = (float(v) for v in reference["extent"])
        return low, high
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (-1.0, 1.0)


def points(array: NDArray, low: float, high: float, side: int = SIDE) -> Pixels:
    """Points ``[n, 2]`` in a square, darker where they fall on one another."""
    whole = array[np.isfinite(array).all(1)]
    counts, _, _ = np.histogram2d(whole[:, 1], whole[:, 0], bins=side, range=((low, high), (low, high)))
    if side > SIDE:  # a dot of one pixel would vanish
        counts = sum(np.roll(counts, shift, (0, 1)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1)))
    return np.minimum(counts, 4).astype(np.uint8)[::-1], _ramp(5, 0.45)


def density(log_density: NDArray, top: float) -> Pixels:
    """A log-density on a grid, white at zero, darkest at ``top`` and above."""
    with np.errstate(over="ignore"):
        height = np.exp(np.nan_to_num(log_density, nan=-math.inf)) / top
    return np.rint(np.clip(height, 0, 1) * (LEVELS - 1)).astype(np.uint8)[::-1], _ramp(LEVELS, 0.0)


def images(array: NDArray) -> Pixels:
    """The first grey images ``[n, height, width]`` as a square grid, dark on light; scaled if they leave ``[0, 1]``."""
    side = min(GRID, math.isqrt(len(array)))
    return sheet(array[: side * side].reshape(side, side, *array.shape[1:]))


def sheet(array: NDArray, side: int = SIDE) -> Pixels:
    """Grey images ``[rows, columns, height, width]`` in their places on a square, dark on light; see ``images``."""
    tiles = np.nan_to_num(array.astype(float))
    low, high = min(0.0, float(tiles.min())), max(1.0, float(tiles.max()))
    tiles = np.pad((tiles - low) / (high - low), ((0, 0), (0, 0), (0, 1), (0, 1)))
    rows, columns, height, width = tiles.shape
    grid = tiles.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    size = max(grid.shape)
    grid = np.pad(grid, ((0, size - grid.shape[0]), (0, size - grid.shape[1])))
    enlarged = grid.repeat(times := max(1, side // size), 0).repeat(times, 1)
    return greys(enlarged), GREY


def latent_map(array: NDArray, labels: NDArray | None) -> Pixels:
    """Points ``[n, 2]`` in a square of their own, in the colour of their class, which stands at its points' median."""
    from PIL import Image, ImageDraw

    whole = np.isfinite(array).all(1)
    place, known = array[whole].astype(float), labels is not None and len(labels) == len(array)
    classes = labels[whole].astype(int) if labels is not None and known else np.zeros(len(place), int)
    low, high = (place.min(0), place.max(0)) if len(place) else (np.zeros(2), np.ones(2))
    span = max(float((high - low).max()), 1e-6)
    at = (MAP - 13) * ((place - (low + high) / 2) / span + 0.5) * (1, -1) + (6, MAP - 7)
    canvas = Image.new("L", (MAP, MAP))
    pen = ImageDraw.Draw(canvas)
    pen.fontmode = "1"  # these are indices of colours: between two of them lies a third
    for (x, y), one in zip(at.tolist(), classes.tolist(), strict=True):
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=1 + one % len(HUES))
    for one in np.unique(classes).tolist() if known else ():
        x, y = np.median(at[classes == one], 0).tolist()
        pen.text((x, y), str(one), fill=len(HUES) + 1, font_size=26, anchor="mm", stroke_width=3, stroke_fill=0)
    return np.asarray(canvas), [(255, 255, 255), *HUES, (20, 20, 20)]


def _ramp(count: int, start: float) -> list[tuple[int, int, int]]:
    """White to dark blue through a middle blue, even in lightness; the first colour is white, the second at ``start``."""
    stops = np.array([(255, 255, 255), (158, 202, 233), (33, 113, 181), (8, 29, 71)], float)
    at = np.concatenate([[0.0], np.linspace(start, 1, count)[1:] if start == 0 else np.linspace(start, 1, count - 1)])
    colours = [np.interp(at * 3, range(4), stops[:, channel]) for channel in range(3)]
    return [(int(r), int(g), int(b)) for r, g, b in zip(*colours, strict=True)]


def _uri(pixels: Pixels) -> str:
    return _address("png", png(pixels))


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
