"""Pictures as indices into a palette, and as files."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

SCATTER_SIDE = 150  # pixels of a picture of points
GREYS = 16  # of images: a pixel of four bits
MOST_COLOURS = 64  # at most, of a page's picture in colour
GREY = [(v, v, v) for v in (round(255 * (1 - i / (GREYS - 1))) for i in range(GREYS))]  # dark on light

Pixels = tuple[NDArray[np.uint8], Sequence[tuple[int, int, int]]]  # indices into a palette, and the palette


def greys(values: NDArray) -> NDArray[np.uint8]:
    """Values from 0 to 1 as indices into ``GREY``."""
    return np.rint(values * (GREYS - 1)).astype(np.uint8)


def coloured(values: NDArray, most: int = MOST_COLOURS) -> Pixels:
    """Values from 0 to 1, ``[..., 3, height, width]``, as indices ``[..., height, width]`` into a few colours near them."""
    from PIL import Image

    # Few steps first, as of grey: the search takes the longer the more colours there are.
    rgb = greys(np.moveaxis(values, -3, -1)) * np.uint8(255 // (GREYS - 1))
    image = Image.fromarray(rgb.reshape(-1, rgb.shape[-2], 3)).quantize(most, kmeans=1)
    indices = np.asarray(image).reshape(rgb.shape[:-1])
    palette = np.array(image.getpalette()).reshape(-1, 3)[: int(indices.max()) + 1].tolist()
    return indices, [(r, g, b) for r, g, b in palette]


def sheet(array: NDArray, side: int = SCATTER_SIDE, top: float = 1.0, *, square: bool = True) -> Pixels:
    """Images in their places, on a square unless told otherwise, those without colour dark on light.

    Args:
        array: ``[rows, columns, channels, height, width]``, of one channel, or of three in colour.
        side: pixels at least, as far as whole enlargements allow.
        top: what shows as full light, or ink; values below 0 or above it stretch the scale.
        square: whether what is left of a square stays white.
    """
    tiles = np.where(np.isfinite(array), array, 0).astype(float)
    low, high = min(0.0, float(tiles.min())), max(top, float(tiles.max()))
    tiles = (tiles - low) / (high - low)
    palette: Sequence[tuple[int, int, int]] = GREY
    if array.shape[2] == 3:
        tiles, found = coloured(tiles, MOST_COLOURS - 1)
        tiles, palette = tiles + 1, [(255, 255, 255), *found]
    else:
        tiles = greys(tiles[:, :, 0])
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1)))
    rows, columns, height, width = tiles.shape
    grid = tiles.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    size = max(grid.shape)
    if square:
        grid = np.pad(grid, ((0, size - grid.shape[0]), (0, size - grid.shape[1])))
    return grid.repeat(times := max(1, side // size), 0).repeat(times, 1), palette


def is_picture(shape: Sequence[int]) -> bool:
    """Whether an example of this shape can be shown: ``[channels, height, width]`` of one channel or three."""
    return len(shape) == 3 and shape[0] in (1, 3)


def as_image(pixels: Pixels) -> "Image.Image":
    """A picture with its palette."""
    from PIL import Image

    indices, palette = pixels
    image = Image.frombytes("P", indices.shape[::-1], np.ascontiguousarray(indices).tobytes())
    image.putpalette([channel for colour in palette for channel in colour])
    return image


def png(pixels: Pixels) -> bytes:
    """A picture as a PNG file, of as few bits as its palette needs."""
    buffer = io.BytesIO()
    as_image(pixels).save(buffer, "PNG", bits=max(1, (len(pixels[1]) - 1).bit_length()))
    return buffer.getvalue()
