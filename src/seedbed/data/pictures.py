"""One picture as an array. What cannot be shown as 8-bit grey or RGB without a decision is refused, by its name."""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedbed.core.errors import SeedbedError, unknown

if TYPE_CHECKING:
    from PIL import Image, ImageFile

GREY = frozenset(("1", "L", "LA"))
COLOUR = frozenset(("P", "PA", "RGB", "RGBA"))


@dataclass(frozen=True)
class Cut:
    """How pictures are made alike, in this order.

    Args:
        window: height and width in pixels that are kept around the centre; ``None`` for all.
        size: height and width that pictures are averaged down (or repeated up) to; ``None`` for their own.
        fit: whether a picture is first cut to the proportions of ``size`` around its centre, or distorted.
        colour: ``grey`` (ITU-R 601 luma) or ``rgb``; empty for the picture's own.
    """

    window: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    fit: bool = True
    colour: str = ""

    @classmethod
    def parse(cls, size: str = "", crop: str = "centre", colour: str = "") -> "Cut":
        """From what is written behind a name: ``size=64,crop=148,colour=grey``.

        Raises:
            SeedbedError: for what is no side, crop or colour.
        """
        if crop not in ("centre", "none") and not re.match(r"\d", crop):
            raise unknown("crop", crop, ("centre", "none", "or pixels such as 148"))
        if colour not in ("", "grey", "rgb"):
            raise unknown("colour", colour, ("grey", "rgb"))
        window = _sides(crop, "crop") if crop not in ("centre", "none") else None
        return cls(window, _sides(size, "size") if size else None, crop != "none", colour)

    def __str__(self) -> str:
        """What the protocol says of it; empty if nothing is cut."""
        said = [f"cropped at the centre to {by(self.window)}"] if self.window else []
        if self.size:
            how = "averaged" if self.window else "cropped at the centre" if self.fit else "distorted"
            said.append(f"{how} to size")
        return ", ".join(said)


def _sides(text: str, what: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not found or not all(int(side) for side in found.groups("1")):
        how = f"e.g. {what}=28 or {what}=28x20"
        raise SeedbedError(f"{what} must be a side or height x width in pixels, {how}; got {text!r}")
    return int(found[1]), int(found[2] or found[1])


def by(shape: tuple[int, ...]) -> str:
    """Height x width, in words."""
    return f"{shape[0]} x {shape[1]}"


def picture(source: Path | BytesIO, name: object, cut: Cut) -> np.ndarray:
    """One picture, uint8 ``[height, width, channels]``.

    It is turned as its EXIF tag says, an alpha channel that hides nothing is dropped, and a palette counts as colour.

    Args:
        source: where it is.
        name: in errors.
        cut: how it is made like the others.

    Raises:
        SeedbedError: for a picture that is damaged, transparent, in another colour space, of more than 8 bits per value, of
            several frames, or smaller than the window.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(source) as opened:
            _refuse(opened, name)
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except SeedbedError:
        raise
    except Exception as error:  # a broken image can raise anything: decoders have errors of their own kind each
        raise _broken(name, error) from error
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise SeedbedError(f"{name} is transparent in places; lay it on a background first")
    image = image.convert("RGB" if cut.colour == "rgb" or (image.mode in COLOUR and cut.colour != "grey") else "L")
    if cut.window is not None:
        image = _centre(image, cut.window, name)
    if cut.size is not None:
        fit = ImageOps.fit if cut.fit else Image.Image.resize
        image = fit(image, (cut.size[1], cut.size[0]), Image.Resampling.BOX)
    array = np.asarray(image)
    return array.reshape(*array.shape[:2], -1)


def in_colour(source: Path) -> bool:
    """Whether a picture is in colour, by its header alone.

    Raises:
        SeedbedError: if it has none.
    """
    from PIL import Image

    try:
        with Image.open(source) as opened:
            return opened.mode in COLOUR
    except Exception as error:  # likewise
        raise _broken(source, error) from error


def _broken(name: object, error: Exception) -> SeedbedError:
    return SeedbedError(f"{name} cannot be read as an image: {' '.join(str(error).split())}; repair or remove it")


def _centre(image: "Image.Image", window: tuple[int, int], name: object) -> "Image.Image":
    """What is inside a window around the centre, rounded up and to the left."""
    (height, width), (high, wide) = (image.height, image.width), window
    if high > height or wide > width:
        raise SeedbedError(f"{name} is {height} x {width}, smaller than crop={high}x{wide}; choose a smaller crop")
    top, left = (height - high) // 2, (width - wide) // 2
    return image.crop((left, top, left + wide, top + high))


def _refuse(image: "ImageFile.ImageFile", name: object) -> None:
    """Refuse what is no single 8-bit grey or RGB picture, before it is decoded."""
    # Behind the photograph of a camera's MPO file come previews of it: they are no animation.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise SeedbedError(f"{name} has {frames} frames, an animation or pages; save those you want as files of their own")
    if image.mode.startswith(("I", "F")) or any(_deep(tile[0], tile[3]) for tile in image.tile):
        raise SeedbedError(
            f"{name} has more than 8 bits per value (mode {image.mode}); save it with 8, scaled as you want it"
        )
    if image.mode not in GREY | COLOUR:
        raise SeedbedError(f"{name} is {image.mode}; its colours depend on a profile, so save it as RGB or grey first")


def _deep(decoder: str, arguments: object) -> bool:
    """Whether a decoder cuts colours to 8 bits, which it does without a word: its arguments alone tell."""
    if decoder.startswith("ppm"):
        return isinstance(arguments, tuple) and arguments[-1] > 255  # the largest value of the file
    return ";16" in str(arguments)
