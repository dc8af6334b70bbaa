"""A folder of images as arrays. What cannot be shown as 8-bit grey or RGB without a decision is refused, file by file."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedbed.core.errors import SeedbedError, unknown

if TYPE_CHECKING:
    from PIL import ImageFile

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm"))
GREY = frozenset(("1", "L", "LA"))
COLOUR = frozenset(("P", "PA", "RGB", "RGBA"))
MOST = 64  # gigabytes of a data set, which stays in memory as fp32


def read_folder(path: Path, size: str = "", crop: str = "centre", colour: str = "") -> tuple[dict[str, np.ndarray], str]:
    """All images at or below a folder, in the order of their paths, and how they were made, in words.

    Files with another suffix and hidden ones are passed over. Folders ``train``, ``valid`` and ``test`` in it are splits;
    then there may be images nowhere else. An image is turned as its EXIF tag says, an alpha channel that hides nothing is
    dropped, and a palette counts as colour. Refused, because what they show depends on more than their numbers: transparent
    images, CMYK and other colour spaces, more than 8 bits per value, animations and pages.

    Args:
        path: the folder.
        size: a side, or height x width, e.g. ``28`` or ``28x20``; images are averaged down (or repeated up)
            to it. By default all images must have one size already.
        crop: ``centre`` cuts an image to the proportions of ``size`` around its centre, ``none`` distorts it.
        colour: ``grey`` (ITU-R 601 luma) or ``rgb``; by default ``rgb`` if any image is in colour.

    Returns:
        Per split uint8 ``[examples, height, width, channels]``, and the title of the protocol.

    Raises:
        SeedbedError: for an empty folder, an image that is not as above (says which), or images of different sizes,
            or a size at which they would not fit into memory.
    """
    shape = _size(size)
    for given, what, known in ((crop, "crop", ("centre", "none")), (colour, "colour", ("", "grey", "rgb"))):
        if given not in known:
            raise unknown(what, given, [value for value in known if value])
    files = _files(path)
    gigabytes = 4e-9 * sum(map(len, files.values())) * math.prod(shape or (0,)) * (3 if colour == "rgb" else 1)
    if gigabytes > MOST:
        raise SeedbedError(
            f"{path} would take at least {gigabytes:.0f} GB of memory at size={size} (at most {MOST}); choose a smaller size"
        )
    images: dict[str, list[np.ndarray]] = {split: [] for split in files}
    first: tuple[int, ...] = ()
    for split, found in files.items():
        for file in found:
            image = _read(file, shape, crop, colour)
            first = first or image.shape[:2]
            if image.shape[:2] != first:
                raise SeedbedError(
                    f"images differ in size: {file} is {_by(image.shape)}, those before it {_by(first)}; "
                    f"choose one for all, e.g. size={first[0]}"
                )
            images[split].append(image)
    channels = max(image.shape[2] for found in images.values() for image in found)
    arrays = {split: np.stack([np.broadcast_to(i, (*first, channels)) for i in found]) for split, found in images.items()}
    cut = f", {'cropped at the centre' if crop == 'centre' else 'distorted'} to size" if shape else ""
    return arrays, f"images of {path.resolve().name}, {_by(first)} {'grey' if channels == 1 else 'RGB'}{cut}"


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if not (found := re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)) or not all(int(side) for side in found.groups("1")):
        raise SeedbedError(f"size must be a side or height x width in pixels, e.g. size=28 or size=28x20; got {text!r}")
    return int(found[1]), int(found[2] or found[1])


def _files(path: Path) -> dict[str, list[Path]]:
    """The image files of each split; all are ``train`` where no folder is named like a split."""
    if not path.is_dir():
        raise SeedbedError(f"{path} is not a folder; name one that holds images")
    named = {split: path / split for split in ("train", "valid", "test") if (path / split).is_dir()}
    for file in sorted(_images(path)) if named else []:
        if file.relative_to(path).parts[0] not in named:
            raise SeedbedError(
                f"{path} has a folder {next(iter(named))}, but {file} is in no split; move it to train, valid or test"
            )
    folders = named or {"train": path}
    found = {split: sorted(_images(folder)) for split, folder in folders.items()}
    for split, files in found.items():
        if not files:
            raise SeedbedError(f"{folders[split]} holds no images ({', '.join(sorted(SUFFIXES))}); put some there")
    return found


def _images(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _read(file: Path, shape: tuple[int, int] | None, crop: str, colour: str) -> np.ndarray:
    """One image, uint8 ``[height, width, channels]``."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            _refuse(opened, file)
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except SeedbedError:
        raise
    except Exception as error:  # a broken image can raise anything: decoders have errors of their own kind each
        raise SeedbedError(
            f"{file} cannot be read as an image: {' '.join(str(error).split())}; repair or remove it"
        ) from error
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise SeedbedError(f"{file} is transparent in places; lay it on a background first")
    image = image.convert("RGB" if colour == "rgb" or (image.mode in COLOUR and colour != "grey") else "L")
    if shape is not None:
        fit = ImageOps.fit if crop == "centre" else Image.Image.resize
        image = fit(image, (shape[1], shape[0]), Image.Resampling.BOX)
    array = np.asarray(image)
    return array.reshape(*array.shape[:2], -1)


def _refuse(image: "ImageFile.ImageFile", file: Path) -> None:
    """Refuse what is no single 8-bit grey or RGB picture, before it is decoded."""
    # Behind the photograph of a camera's MPO file come previews of it: they are no animation.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise SeedbedError(f"{file} has {frames} frames, an animation or pages; save those you want as files of their own")
    if image.mode.startswith(("I", "F")) or any(_deep(tile[0], tile[3]) for tile in image.tile):
        raise SeedbedError(
            f"{file} has more than 8 bits per value (mode {image.mode}); save it with 8, scaled as you want it"
        )
    if image.mode not in GREY | COLOUR:
        raise SeedbedError(f"{file} is {image.mode}; its colours depend on a profile, so save it as RGB or grey first")


def _deep(decoder: str, arguments: object) -> bool:
    """Whether a decoder cuts colours to 8 bits, which it does without a word: its arguments alone tell."""
    if decoder.startswith("ppm"):
        return isinstance(arguments, tuple) and arguments[-1] > 255  # the largest value of the file
    return ";16" in str(arguments)


def _by(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"
