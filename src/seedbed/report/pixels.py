"""Pictures as indices into a palette, and as files."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

GREYS = 16  # of images: a pixel of four bits
GREY = [(v, v, v) for v in (round(255 * (1 - i / (GREYS - 1))) for i in range(GREYS))]  # dark on light

Pixels = tuple[NDArray[np.uint8], Sequence[tuple[int, int, int]]]  # indices into a palette, and the palette


def greys(values: NDArray) -> NDArray[np.uint8]:
    """Values from 0 to 1 as indices into ``GREY``."""
    return np.rint(values * (GREYS - 1)).astype(np.uint8)


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
