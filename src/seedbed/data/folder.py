"""A folder of images as arrays. What cannot be shown as 8-bit grey or RGB without a decision is refused, file by file."""

import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedbed.core.errors import SeedbedError, unknown
from seedbed.data.splits import split_of, splits_among

if TYPE_CHECKING:
    from PIL import ImageFile

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
)
GREY = frozenset(("1", "L", "LA"))
COLOUR = frozenset(("P", "PA", "RGB", "RGBA"))
MOST = 64  # gigabytes of a data set, which stays in memory as fp32


def read_folder(path: Path, size: str = "", crop: str = "centre", colour: str = "") -> tuple[dict[str, np.ndarray], str]:
    """All images at or below a folder, in the order of their paths, and how they were made, in words.

    Files with another suffix are passed over, counted and said; hidden ones are not seen. Links are followed. Folders
    ``train``, ``valid`` and ``test`` (or ``Training``, ``val``, ..., see ``splits``) in it, or in the only folder that it
    holds, are splits; then there may be images nowhere else. An image is turned as its EXIF tag says, an alpha channel that
    hides nothing is dropped, and a palette counts as colour. Refused, because what they show depends on more than their
    numbers: transparent images, CMYK and other colour spaces, more than 8 bits per value, animations and pages.

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
    gigabytes = (
        4e-9 * sum(len(found.images) for found in files.values()) * math.prod(shape or (0,)) * (3 if colour == "rgb" else 1)
    )
    if gigabytes > MOST:
        raise SeedbedError(
            f"{path} would take at least {gigabytes:.0f} GB of memory at size={size} (at most {MOST}); choose a smaller size"
        )
    images: dict[str, list[np.ndarray]] = {split: [] for split in files}
    first: tuple[int, ...] = ()
    for split, found in files.items():
        for file in found.images:
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
    title = f"images of {path.resolve().name}, {_by(first)} {'grey' if channels == 1 else 'RGB'}{cut}"
    if others := [file for found in files.values() for file in found.others]:
        said = f"{len(others)} file{'s' if len(others) > 1 else ''} without an image's suffix passed over"
        warnings.warn(f"{path}: {said}, e.g. {others[0]}", stacklevel=2)
        title = f"{title}, {said}"
    return arrays, title


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if not (found := re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)) or not all(int(side) for side in found.groups("1")):
        raise SeedbedError(f"size must be a side or height x width in pixels, e.g. size=28 or size=28x20; got {text!r}")
    return int(found[1]), int(found[2] or found[1])


@dataclass(frozen=True)
class _Found:
    """What is below a folder.

    Args:
        images: in the order of their paths.
        others: files that are no images, by their suffix.
    """

    images: list[Path]
    others: list[Path]


def _files(path: Path) -> dict[str, _Found]:
    """The files of each split; all are ``train`` where no folder is named like a split."""
    if not os.path.isdir(path):
        raise SeedbedError(f"{path} is not a folder; name one that holds images")
    top, named = _split_folders(path)
    everything = _below(path)
    if not named:
        _refuse_deep_splits(path, everything.images)
    inside = set(named.values())
    for file in everything.images if named else []:
        parts = file.relative_to(top).parts if file.is_relative_to(top) else ("",)
        if parts[0] not in inside:
            raise SeedbedError(
                f"{path} has a folder {next(iter(inside))}, but {file} is in no split; move it to train, valid or test"
            )
    folders = {split: top / name for split, name in named.items()} or {"train": path}
    found = {split: _below(folder) for split, folder in folders.items()}
    for split, files in found.items():
        if not files.images:
            raise SeedbedError(f"{folders[split]} holds no images ({', '.join(sorted(SUFFIXES))}); put some there")
    return found


def _split_folders(path: Path) -> tuple[Path, dict[str, str]]:
    """Where folders named like splits are, in a folder or in the only one that it holds, and their names by split."""
    for top in (path, *_wrapped(path)):
        if named := splits_among(sorted(entry.name for entry in top.iterdir() if entry.is_dir()), top):
            return top, named
    return path, {}


def _wrapped(path: Path) -> list[Path]:
    """The only folder in a folder, as archives are unpacked."""
    folders = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))]
    return folders if len(folders) == 1 else []


def _refuse_deep_splits(path: Path, images: list[Path]) -> None:
    """Refuse splits further down: pooled, their test examples would train."""
    folders = {file.relative_to(path).parents[i] for file in images for i in range(len(file.relative_to(path).parents))}
    for folder in sorted(folders):
        beside = {split_of(other.name): other for other in folders if other.parent == folder.parent and split_of(other.name)}
        if "train" in beside and len(beside) > 1:
            raise SeedbedError(
                f"{path} holds splits further down, {', '.join(str(other) for other in beside.values())}; name the folder "
                f"above them: folder:{path / folder.parent}"
            )


def _below(folder: Path) -> _Found:
    """All files below a folder that are not hidden. Links are followed, a folder once, so that a loop of them ends."""
    images, others, seen = [], [], set()
    for at, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(at)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            file = Path(at, name)
            if not name.startswith(".") and file.is_file():
                (images if file.suffix.lower() in SUFFIXES else others).append(file)
    return _Found(sorted(images), sorted(others))


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
