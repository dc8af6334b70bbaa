"""A folder of pictures: which of its files are of which split, and all of them as arrays or as one file of bytes."""

import hashlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedbed.core.errors import SeedbedError
from seedbed.core.memory import check_memory
from seedbed.data.kept import kept
from seedbed.data.pictures import Cut, by, in_colour, picture
from seedbed.data.source import open_array
from seedbed.data.splits import split_of, splits_among

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
)


def read_folder(path: Path, size: str = "", crop: str = "centre", colour: str = "") -> tuple[dict[str, np.ndarray], str]:
    """All images at or below a folder, in the order of their paths, and how they were made, in words.

    Files with another suffix are passed over, counted and said; hidden ones are not seen. Links are followed. Folders
    ``train``, ``valid`` and ``test`` (or ``Training``, ``val``, ..., see ``splits``) in it, or in the only folder that it
    holds, are splits; then there may be images nowhere else. Refused, because what they show depends on more than their
    numbers: transparent images, CMYK and other colour spaces, more than 8 bits per value, animations and pages.

    Args:
        path: the folder.
        size: a side, or height x width, e.g. ``28`` or ``28x20``; images are averaged down (or repeated up)
            to it. By default all images must have one size already.
        crop: ``centre`` cuts an image to the proportions of ``size`` around its centre, ``none`` distorts it; a side, or
            height x width, keeps so many pixels around the centre first, e.g. ``148`` of CelebA.
        colour: ``grey`` (ITU-R 601 luma) or ``rgb``; by default ``rgb`` if any image is in colour.

    Returns:
        Per split uint8 ``[examples, height, width, channels]``, and the title of the protocol.

    Raises:
        SeedbedError: for an empty folder, an image that is not as above (says which), or images of different sizes,
            or a size at which they would not fit into memory.
    """
    cut, files = Cut.parse(size, crop, colour), _files(path)
    count = sum(len(found.images) for found in files.values())

    def check(shape: tuple[int, ...]) -> None:
        # As bytes and as fp32 at once.
        remedy = "choose a smaller size, or leave them in a file: ,stream=yes"
        check_memory(f"the pictures of {path} at {by(shape)}", 5 * count * math.prod(shape), remedy)

    if cut.size:
        check((*cut.size, 3 if colour == "rgb" else 1))
    images: dict[str, list[np.ndarray]] = {split: [] for split in files}
    for split, image in _alike(files, cut):
        if not any(images.values()):
            check(image.shape)
        images[split].append(image)
    first = images["train"][0].shape
    channels = max(image.shape[2] for found in images.values() for image in found)
    shape = (*first[:2], channels)
    arrays = {split: np.stack([np.broadcast_to(i, shape) for i in found]) for split, found in images.items()}
    return arrays, _title(path, files, cut, shape)


def stream_folder(path: Path, size: str = "", crop: str = "centre", colour: str = "") -> tuple[dict[str, Path], str]:
    """The same images in a file of bytes for each split, of which a few are in memory at once; see ``read_folder``.

    They are decoded once, into the cache; a folder, a file of it, or an option that has changed makes another file there.

    Returns:
        Per split an ``.npy`` of bytes ``[examples, height, width, channels]``, and the title of the protocol.

    Raises:
        SeedbedError: as ``read_folder``, but for the size, and for a disk that does not hold them.
    """
    cut, files = Cut.parse(size, crop, colour), _files(path)

    def shape() -> tuple[int, ...]:
        everything = [file for found in files.values() for file in found.images]
        sides = cut.size or picture(everything[0], everything[0], cut).shape[:2]
        return (*sides, 3 if cut.colour == "rgb" or (cut.colour != "grey" and any(map(in_colour, everything))) else 1)

    first: list[tuple[int, ...]] = []  # splits are written one after another, and all images are of one size

    def decode(split: str) -> Iterator[np.ndarray]:
        return (image for _, image in _alike({split: files[split]}, cut, first))

    counts = {split: len(found.images) for split, found in files.items()}
    paths = kept(_key(path, files, cut), counts, shape, decode)
    return paths, _title(path, files, cut, open_array(paths["train"]).shape[1:])


def _key(path: Path, files: Mapping[str, "_Found"], cut: Cut) -> str:
    """What stands for the pictures as they are and how they are cut: another key as soon as any file has changed."""
    digest = hashlib.sha256(repr(cut).encode())
    for split, found in files.items():
        for file in found.images:
            known = file.stat()
            digest.update(b"\0".join((split.encode(), os.fsencode(os.path.abspath(file)))))
            digest.update(f"\0{known.st_size}\0{known.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:32]


def _alike(
    files: Mapping[str, "_Found"], cut: Cut, first: list[tuple[int, ...]] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Split and picture of each file; ``first`` is the size of those before, if there were any."""
    first = [] if first is None else first
    for split, found in files.items():
        for file in found.images:
            image = picture(file, file, cut)
            if not first:
                first.append(image.shape[:2])
            if image.shape[:2] != first[0]:
                raise SeedbedError(
                    f"images differ in size: {file} is {by(image.shape)}, those before it {by(first[0])}; "
                    f"choose one for all, e.g. size={first[0][0]}"
                )
            yield split, image


def _title(path: Path, files: Mapping[str, "_Found"], cut: Cut, shape: tuple[int, ...]) -> str:
    """How the pictures were made, in words; what was passed over is said twice."""
    kind = "grey" if shape[2] == 1 else "RGB"
    title = ", ".join((f"images of {path.resolve().name}", f"{by(shape)} {kind}", *filter(None, [str(cut)])))
    if others := [file for found in files.values() for file in found.others]:
        said = f"{len(others)} file{'s' if len(others) > 1 else ''} without an image's suffix passed over"
        warnings.warn(f"{path}: {said}, e.g. {others[0]}", stacklevel=3)
        title = f"{title}, {said}"
    return title


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
