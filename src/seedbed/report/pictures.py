"""Small pictures for the page from stored arrays: draws and densities of two-dimensional models, grids of images, texts.

Written as PNG with a palette straight from the numbers, without a plotting library: a page of forty runs needs hundreds.
"""

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seedbed.core.metric import BITS, NLL_BITS
from seedbed.report.canvas import PAINTING, Strokes, moving_gif, stored_painting, strip_png
from seedbed.report.pixels import SCATTER_SIDE, Pixels, is_picture, png, sheet
from seedbed.report.rows import CHAIN, rows_of
from seedbed.report.stored import StoredRun
from seedbed.report.texts import Passage, are_tokens, passage, vocabulary_of

DENSITY_COLOURS = 48  # colours of a density: enough for the eye, few enough for a small file
SHEET_SIDE = 6  # images to a side
WIDE = 200  # pixels of a grid in colour: a file of larger images would be large
TEXTS = 3  # of a seed
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
    "neighbours": "draws, and below each the training example that is nearest in the features",
    "trajectories": "walks in z: inputs at the left, then means E[x | z] where they begin, after every second leapfrog, and "
    "at the end",
    "latents": "latent map: codes E_q[z | x] of held-out inputs on their first two principal components",
}
WHOLE = ("x", "log_q", "z", "grid", "tokens")  # keys of all that an artefact's name promises
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
    """Pictures or texts of one stored array, side by side.

    Args:
        kind: what they show.
        pictures: one per chosen seed.
        size: ``wide`` for grids of images, to be seen large; ``large`` for those with much to see; ``broad`` for those that
            take the whole width; ``text`` for texts.
        passages: texts in place of pictures, one per chosen seed.
    """

    kind: str
    pictures: list[Picture]
    size: str = ""
    passages: list[Passage] = field(default_factory=list)

    @property
    def says(self) -> str:
        """What they show, in words."""
        return SAYS.get(self.kind, self.kind) if self.size else self.kind


def data_strips(run: StoredRun, task: str) -> list[Strip]:
    """What a run's models are pictured beside: held-out examples, and the true density where it is known."""
    reference, out = run.arrays("reference"), []
    if (tokens := reference.get("tokens")) is not None and are_tokens(tokens):
        found = [passage(one[None], vocabulary_of(reference)) for one in tokens[: TEXTS + 1]]
        out.append(Strip("held-out examples", [], "text", found))
    for key, kind in (("x", "examples"), ("log_p", "density")):
        pixels = as_pixels(reference[key], reference) if key in reference else None
        if pixels is not None:
            size = "wide" if key == "x" and _of_images(reference) else ""
            out.append(Strip(kind, [Picture(_uri(pixels), f"{kind} of {task}, the data", _held_out(reference))], size))
    return out


def _held_out(reference: Mapping[str, NDArray]) -> str:
    """What is written below held-out examples: of points whose axes have scales of their own, those."""
    if (ends := reference.get("extent")) is None or ends.shape != (2, 2):
        return "held out"
    across, up = (f"{low:.4g} to {high:.4g}" for low, high in ends)
    return f"held out; across {across}, upward {up}"


def run_strips(run: StoredRun, task: str, metric: str) -> list[Strip]:
    """What a run's stored arrays show at its best, median and worst seed, and at one that was lost.

    What the latents of an image model hold is shown of one seed: it takes room, and a seed's units are its own.
    """
    seeds, chosen, reference = run.manifest.seeds, chosen_seeds(run, metric), run.arrays("reference")
    costs = {seed: f", {said}" for seed in seeds if (said := cost(run, seed))}
    size, strips, details = "wide" if _of_images(reference) else "", [], {}
    best = best_seed(run, metric)
    for kind, key, stored in stored_arrays(run):
        if key == "tokens":
            if are_tokens(stored[0]):
                words = vocabulary_of(reference)
                found = [passage(stored[seeds.index(seed)][:TEXTS], words, chosen[seed]) for seed in chosen]
                strips.append(Strip(kind, [], "text", found))
            continue
        alone = bool(size) and kind in DETAILS
        shown = []
        for seed in [best] if alone and best is not None else chosen:
            pixels = as_pixels(stored[seeds.index(seed)], reference, MAP if alone else SCATTER_SIDE, key)
            if pixels is not None:
                note = SAYS[kind] if alone else chosen[seed] + costs.get(seed, "")
                shown.append(Picture(_uri(pixels), f"{kind} of {run.label} on {task}, seed {seed}", note))
        if alone:
            details[kind] = shown
        elif shown:
            strips.append(Strip(kind, shown, size))
    if found := [(seed, rows) for seed in chosen if (rows := rows_of(run, seed)) is not None]:
        says = f"{' / '.join(found[0][1].names)}, from the top"
        alt = f"{says}, of {run.label} on {task}"
        shown = [
            Picture(_uri(rows.pixels), f"{alt}, seed {seed}", chosen[seed] + costs.get(seed, "")) for seed, rows in found
        ]
        strips.append(Strip(says, shown, "rows"))
    if ordered := [picture for kind in DETAILS for picture in details.get(kind, [])]:
        strips.append(Strip(f"its latents at its best (seed {best}{costs.get(best or 0, '')})", ordered, "large"))
    if best is not None and (painting := stored_painting(run, best)) is not None:
        strips.append(Strip(f"its canvas at its best (seed {best})", _canvas(painting, f"{run.label} on {task}"), "broad"))
    return strips


def _canvas(painting: Strokes, what: str) -> list[Picture]:
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
    return "x" in reference and is_picture(reference["x"].shape[1:])


def stored_arrays(run: StoredRun) -> Iterator[tuple[str, str, NDArray]]:
    """Every array that all seeds of a run have stored: what it shows, its key, and itself, ``[seeds, ...]``.

    Not of a canvas over time, which is no single picture, nor of chains, which stand in rows:
    see ``canvas.stored_painting`` and ``rows.rows_of``.
    """
    folder = run.folder.path / "artefacts"
    names = sorted((p.name for p in folder.iterdir() if p.is_dir()), reverse=True) if folder.is_dir() else []
    for name in (name for name in names if name not in (*PAINTING, CHAIN)):
        for key, array in run.arrays(name).items():
            if len(array) == len(run.manifest.seeds):  # else a group of seeds is still training
                yield (name if key in WHOLE else f"{name}, {key}"), key, array


def best_seed(run: StoredRun, metric: str) -> int | None:
    """The best seed by its test value, or one that was lost if all were; ``None`` before any has ended."""
    ranked = run.kept(metric).sort_values(ascending=run.declared(metric).better != "higher").index.tolist()
    return next(iter([*ranked, *chosen_seeds(run, metric)]), None)


def chosen_seeds(run: StoredRun, metric: str) -> dict[int, str]:
    """The best, the median and the worst seed by their test value, and the first that was lost, with what to call them."""
    ranked: list[int] = run.kept(metric).sort_values(ascending=run.declared(metric).better != "higher").index.tolist()
    if len(ranked) < 4:
        chosen = {seed: f"seed {seed}" for seed in sorted(ranked)}
    else:
        places = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
        chosen = {seed: f"{place} (seed {seed})" for place, seed in places.items()}
    for seed in run.without(metric)[:1]:
        fate = run.fates.get(seed, ("", 0))[0]
        chosen[seed] = f"{'worse than baseline' if fate == 'worse_than_baseline' else 'diverged'} (seed {seed})"
    return chosen


def cost(run: StoredRun, seed: int) -> str:
    """What a number of a held-out example costs a seed, ``5.43 bits/dim``, to stand beside its pictures; empty if unknown.

    By importance sampling where as many examples were measured so, else by the bound of training: good pictures of a poor
    likelihood, and the other way round, are then seen to be so.
    """
    for metric in sorted((NLL_BITS.name, BITS.name), key=lambda metric: -run.summary(metric).n):
        value = run.final(metric).to_dict().get(seed, math.nan)
        if math.isfinite(value):
            return f"{value:.2f} bits/dim"
    return ""


def as_pixels(array: NDArray, reference: Mapping[str, NDArray], side: int = SCATTER_SIDE, key: str = "") -> Pixels | None:
    """One seed's array as a picture: points ``[n, 2]``, a log-density on the reference's grid, or images.

    Under the keys ``x`` and ``mean`` are points or images ``[n, channels, height, width]`` as the reference's ``x`` are,
    under ``grid`` such images as ``[rows, columns, ...]``, under ``log_q`` a log-density, under ``z`` points with the
    reference's labels. Without a key the array's own shape says what it is. Anything else is not a picture: ``None``.
    """
    if key == "z":
        return latent_map(array, reference.get("labels")) if array.ndim == 2 and array.shape[1] == 2 else None
    if key in ("", "log_q") and "log_p" in reference and array.shape == reference["log_p"].shape:
        return density(array, float(np.exp(reference["log_p"].max())))
    if key == "log_q" and "extent" in reference and array.ndim == 2 and np.isfinite(array).any():
        return density(array - array[np.isfinite(array)].max(), 1.0)  # beside no truth it is as dark as itself
    if key not in ("", "x", "mean", "grid"):
        return None
    examples = reference.get("x")
    if key != "grid" and array.ndim == 2 and array.shape[1] == 2 and (examples is None or examples.shape[1:] == (2,)):
        return points(array, _extent(array, reference), side)
    shape = array.shape[1 + (key == "grid") :]
    # Of a key alone one cannot know whether the data are pictures: beside a reference without examples it is none.
    alike = examples.shape[1:] == shape if examples is not None else not key or (key == "grid" and not reference)
    if not alike or not is_picture(shape) or not array.size:
        return None
    top = 1.0
    if examples is not None and array.dtype.kind in "iu" and examples.dtype.kind in "iu":
        top = max(top, float(examples.max()))  # the data's scale: a dark draw stays dark
    return sheet(array, side, top) if key == "grid" else images(array, top)


def _extent(array: NDArray, reference: Mapping[str, NDArray]) -> NDArray:
    """Where each axis begins and ends, ``[2, 2]``; a reference may have the same for both, ``[2]``."""
    if "extent" in reference:
        return np.broadcast_to(reference["extent"], (2, 2))
    finite = array[np.isfinite(array)]
    ends = (finite.min(), finite.max()) if finite.size else (-1.0, 1.0)
    return np.broadcast_to(np.asarray(ends, float), (2, 2))


def points(array: NDArray, extent: NDArray, side: int = SCATTER_SIDE) -> Pixels:
    """Points ``[n, 2]`` in a square of the given ends of each axis, ``[2, 2]``, darker where they fall on one another."""
    whole = array[np.isfinite(array).all(1)]
    counts, _, _ = np.histogram2d(whole[:, 1], whole[:, 0], bins=side, range=extent[::-1].tolist())
    if side > SCATTER_SIDE:  # a dot of one pixel would vanish
        counts = sum(np.roll(counts, shift, (0, 1)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1)))
    return np.minimum(counts, 4).astype(np.uint8)[::-1], _ramp(5, 0.45)


def density(log_density: NDArray, top: float) -> Pixels:
    """A log-density on a grid, white at zero, darkest at ``top`` and above."""
    with np.errstate(over="ignore"):
        height = np.exp(np.nan_to_num(log_density, nan=-math.inf)) / top
    return np.rint(np.clip(height, 0, 1) * (DENSITY_COLOURS - 1)).astype(np.uint8)[::-1], _ramp(DENSITY_COLOURS, 0.0)


def images(array: NDArray, top: float = 1.0) -> Pixels:
    """The first images ``[n, channels, height, width]`` as a square grid; see ``sheet``."""
    most = max(2, WIDE // max(array.shape[-2:])) if array.shape[1] == 3 else SHEET_SIDE
    side = min(SHEET_SIDE, most, math.isqrt(len(array)))
    return sheet(array[: side * side].reshape(side, side, *array.shape[1:]), top=top)


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
