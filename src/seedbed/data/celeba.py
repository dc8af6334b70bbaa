"""CelebA at 64 x 64: the middle of the aligned pictures, decoded once into the cache and streamed from there."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.data.dataset import Dataset
from seedbed.data.files import FILES, locate
from seedbed.data.kept import kept
from seedbed.data.pictures import Cut, picture
from seedbed.data.source import Mapped

COUNTS = {"train": 162_770, "valid": 19_867, "test": 19_962}  # the authors' partition, in the order of the pictures
SIDE, WINDOW = 64, 148


def faces(name: str = "celeba-64", *, seed: int = 0, data_dir: str | Path | None = None) -> Dataset:
    """Faces of celebrities, RGB levels 0..255, ``[examples, 3, 64, 64]``, streamed, in the authors' partition.

    The middle 148 x 148 of each aligned picture of 218 x 178, averaged to 64 x 64. The first call decodes them into the
    cache (2.5 GB), which takes minutes; from then on the archive is no longer needed.

    Args:
        name: the registered name, a key of ``FILES``.
        seed: without effect, the split is the authors'.
        data_dir: a folder that holds ``CelebA``; see ``files.locate`` for the default.

    Raises:
        SeedbedError: without the archive, for one that lacks a picture, or for a disk that does not hold them.

    Source: Liu, Luo, Wang, Tang, "Deep learning face attributes in the wild", ICCV 2015, arXiv:1411.7766; the window is the
    one that is usual for generative models.
    """
    forms, cut = FILES[name]["pictures"], Cut((WINDOW, WINDOW), (SIDE, SIDE), colour="rgb")

    def decode(split: str) -> Iterator[np.ndarray]:
        place = list(COUNTS).index(split)
        first = 1 + sum(list(COUNTS.values())[:place])
        return read_faces(locate(forms, name, data_dir), range(first, first + COUNTS[split]), cut)

    paths = kept(f"{name}-{forms[0].sha256[:16]}", COUNTS, lambda: (SIDE, SIDE, 3), decode)
    sizes = " / ".join(map(str, COUNTS.values()))
    return Dataset(
        name=name,
        domain=Domain("levels", 256),
        protocol=f"CelebA {SIDE}x{SIDE} RGB, levels 0..255, aligned pictures, {cut}; the authors' partition: {sizes}",
        splits={split: Mapped(path, _channels_first) for split, path in paths.items()},
    )


def read_faces(path: Path, numbers: range, cut: Cut) -> Iterator[np.ndarray]:
    """Pictures of the archive by their numbers, from 1, ``[height, width, 3]`` each; SeedbedError if one is not there."""
    try:
        with zipfile.ZipFile(path) as archive:
            places = {member.rpartition("/")[2]: member for member in archive.namelist() if member.endswith(".jpg")}
            for number in numbers:
                if (stem := f"{number:06}.jpg") not in places:
                    raise SeedbedError(f"{path} holds no {stem}; get the file anew")
                yield picture(io.BytesIO(archive.read(places[stem])), f"{stem} in {path}", cut)
    except (OSError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise SeedbedError(f"{path} cannot be read: {' '.join(str(error).split())}; get the file anew") from error


def _channels_first(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 3, 1)
