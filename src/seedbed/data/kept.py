"""Pictures that are decoded once and kept in the cache as bytes, one file for a split, read as they are asked for."""

import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from seedbed.core.errors import SeedbedError
from seedbed.core.memory import GIB
from seedbed.core.temporary import temporary_file
from seedbed.data.files import cache


def kept(
    key: str,
    splits: Mapping[str, int],
    shape: Callable[[], tuple[int, ...]],
    decode: Callable[[str], Iterator[np.ndarray]],
) -> dict[str, Path]:
    """By split an ``.npy`` of bytes ``[n, height, width, channels]``, written if it is not there yet.

    A file is complete or not there, whatever happens while it is written; one picture is in memory at once.

    Args:
        key: what the bytes depend on: a name that no other pictures have.
        splits: how many pictures each has.
        shape: what says the shape of one, asked if a file is to be written.
        decode: the pictures of a split, one after another.

    Raises:
        SeedbedError: if the disk does not hold them, or the cache cannot be written to.
    """
    folder = cache() / "pictures"
    paths = {split: folder / f"{key}-{split}.npy" for split in splits}
    missing = [split for split, path in paths.items() if not path.is_file()]
    if not missing:
        return paths
    sizes = {split: (splits[split], *shape()) for split in missing}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        need, free = sum(map(math.prod, sizes.values())), shutil.disk_usage(folder).free
        if need > free:
            raise SeedbedError(
                f"the pictures take {need / GIB:.3g} GiB in {folder}, and {free / GIB:.3g} GiB are free; choose a smaller "
                "size, or set SEEDBED_CACHE to another folder"
            )
        for split in missing:
            logging.getLogger(__name__).info("decoding %d pictures of %s into %s", splits[split], split, folder)
            _write(paths[split], sizes[split], decode(split))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SeedbedError(f"cannot write to the cache {folder}: {reason}; set SEEDBED_CACHE to another folder") from error
    return paths


def _write(path: Path, shape: tuple[int, ...], pictures: Iterator[np.ndarray]) -> None:
    """Pictures one after another: not by a memory map, which counts as memory of this process where that is limited."""
    with temporary_file(path, "part") as part:
        with part.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for picture in pictures:
                file.write(np.ascontiguousarray(np.broadcast_to(picture, shape[1:])).data)
        part.replace(path)
