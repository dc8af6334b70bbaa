"""How a model paints: its canvas after each stroke, and the windows it writes through, as a strip and as an animation."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedbed.report.pixels import GREY, GREYS, MOST_COLOURS, Pixels, as_image, coloured, greys, is_picture, png
from seedbed.report.stored import StoredRun

PAINTING = ("canvas", "windows")  # the artefacts
IMAGE_SIDE = 84  # pixels of an image, or a few less
MOST_STROKES = 12  # of a strip: strokes beyond are left out evenly, never the last
GAP, HEAD = 3, 15  # pixels between images, and above them for the number of the stroke
INK, BOX = GREYS - 1, GREYS  # indices into the palette
PALETTE = [*GREY, (214, 39, 40)]
FRAME_MS, LAST_MS = 250, 2000


@dataclass(frozen=True)
class Strokes:
    """One seed's canvas over time.

    Args:
        means: from 0 (light) to 1, ``[strokes, images, channels, height, width]``, of one channel, or of three in colour.
        windows: written through, ``[strokes, images, 5]``: the centre's column and row (the first pixel's are 0), stride,
            scale, all in pixels, and gain; ``None`` without attention.
        filters: of a window along each axis.
    """

    means: NDArray
    windows: NDArray | None = None
    filters: int = 0


def stored_painting(run: StoredRun, seed: int) -> Strokes | None:
    """What a run has stored of how one seed paints; ``None`` of models that do not, or while a group still trains."""
    canvas, windows, place = run.arrays("canvas").get("mean"), run.arrays("windows"), run.manifest.seeds.index(seed)
    if canvas is None or len(canvas) != len(run.manifest.seeds):
        return None
    means = canvas[place].astype(float)
    examples = run.arrays("reference").get("x")
    if not is_picture(means.shape[2:]) or (examples is not None and examples.shape[1:] != means.shape[2:]):
        return None
    if "write" not in windows:
        return Strokes(means)
    return Strokes(means, windows["write"][place], int(windows["filters"][place][1]))


def corners(window: NDArray, filters: int) -> NDArray:
    """Left, top, right and bottom of windows ``[*, 5]``: the centres of their outermost filters, ``[*, 4]`` in pixels.

    They are centre -+ (filters - 1) / 2 stride; the first pixel's centre is 0.
    """
    column, row, stride = (window[..., i] for i in range(3))
    reach = (filters - 1) / 2 * stride
    return np.stack([column - reach, row - reach, column + reach, row + reach], -1)


def tiles(painting: Strokes) -> NDArray[np.uint8]:
    """Every image after every stroke, enlarged, with its window's box: indices, ``[strokes, images, height, width]``.

    A box is as thick as its filters' scale, from one dot to one pixel of the image.
    """
    return _inked(painting)[0]


def _inked(painting: Strokes) -> tuple[NDArray[np.uint8], Sequence[tuple[int, int, int]]]:
    from PIL import Image, ImageDraw

    height, width = painting.means.shape[-2:]
    times = max(1, IMAGE_SIDE // max(height, width))
    means, palette = np.clip(np.nan_to_num(painting.means), 0, 1), PALETTE
    if means.shape[2] == 3:
        out, found = coloured(means, MOST_COLOURS - len(PALETTE))
        out, palette = out + len(PALETTE), [*PALETTE, *found]
    else:
        out = greys(means[:, :, 0])
    out = out.repeat(times, 2).repeat(times, 3)
    if painting.windows is None:
        return out, palette
    for place in np.ndindex(*out.shape[:2]):
        window = painting.windows[place].astype(float)
        if not np.isfinite(window).all():
            continue
        thick = int(np.clip(np.rint(window[3] * times), 1, times))
        # A pixel's centre is in the middle of its dots; sides far outside are moved nearer, still outside.
        dots = (corners(window, painting.filters) + 0.5) * times - 0.5
        left, top, right, bottom = np.rint(np.clip(dots, -2 * times, (max(height, width) + 2) * times)).astype(int).tolist()
        image, by = Image.fromarray(out[place]), thick // 2
        ImageDraw.Draw(image).rectangle((left - by, top - by, right + by, bottom + by), outline=BOX, width=thick)
        out[place] = np.asarray(image)
    return out, palette


def strip(painting: Strokes) -> Pixels:
    """A row per image, a column per stroke, under its number."""
    strokes = len(painting.means)
    shown = np.unique(np.rint(np.linspace(0, strokes - 1, min(MOST_STROKES, strokes))).astype(int)).tolist()
    inked, palette = _inked(painting)
    return _sheet(inked[shown].swapaxes(0, 1), [str(i + 1) for i in shown]), palette


def frames(painting: Strokes) -> list[Pixels]:
    """A picture per stroke, of the images side by side."""
    strokes = len(painting.means)
    # Numbered, so that no two are the same: a GIF would hold such a pair as one.
    inked, palette = _inked(painting)
    return [(_sheet(row[None], [f"{i + 1} / {strokes}"]), palette) for i, row in enumerate(inked)]


def _sheet(grid: NDArray[np.uint8], names: list[str]) -> NDArray[np.uint8]:
    """``[rows, columns, height, width]`` in a grid with names above its columns."""
    from PIL import Image, ImageDraw

    rows, columns, height, width = grid.shape
    framed = np.full((rows, columns, height + GAP, width + GAP), GREYS // 5, np.uint8)
    framed[..., :height, :width] = grid
    body = framed.swapaxes(1, 2).reshape(rows * (height + GAP), columns * (width + GAP))[:-GAP, :-GAP]
    head = Image.new("L", (body.shape[1], HEAD))
    pen = ImageDraw.Draw(head)
    pen.fontmode = "1"  # these are indices of colours: between two of them lies a third
    for i, name in enumerate(names):
        pen.text((i * (width + GAP) + width / 2, HEAD / 2), name, fill=INK, font_size=11, anchor="mm")
    return np.concatenate([np.asarray(head), body])


def strip_png(painting: Strokes) -> bytes:
    """The strip as a PNG file."""
    return png(strip(painting))


def moving_gif(painting: Strokes) -> bytes:
    """The strokes one after another as a GIF file, without end, which rests on the last."""
    first, *others = (as_image(frame) for frame in frames(painting))
    buffer = io.BytesIO()
    durations = [FRAME_MS] * len(others) + [LAST_MS]
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=False)
    return buffer.getvalue()
