"""Omniglot at 28 x 28, in the binarisations of MNIST: ``[1, 28, 28]``, 22000 / 2345 / 8115 drawings of 1623 characters.

Not the file of the IWAE paper: likelihoods here and there are not comparable.
"""

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data.dataset import Dataset
from seedbed.data.files import FILES, locate
from seedbed.data.images import Binarisation, floats, grey_images

CHARACTERS, DRAWERS, TRAINING_DRAWERS, VALID = 1623, 20, 15, 2345
SIDE, FINE = 28, 105
PROTOCOL = (
    f"drawers 1-15 with {VALID} held out at random for valid, 22000 left for train / drawers 16-20 are the 8115 of test, "
    "ordered by character"
)


def omniglot(name: str, binarise: Binarisation = "none", *, seed: int = 0, data_dir: str | Path | None = None) -> Dataset:
    """Handwritten characters, ink 255 on 0, ``[examples, 1, 28, 28]`` float32, labels 0..1622; SeedbedError without files.

    The 105 x 105 originals are averaged over the area of each output pixel (3.75 x 3.75 input pixels), rounded to 0..255 and
    only then binarised. Where ``omniglot_28x28_area.npz`` is not at hand, that is done here from Lake's two archives.

    Args:
        name: the registered name, a key of ``FILES``.
        binarise: how grey levels become 0 or 1; see ``images.grey_images``.
        seed: without effect, the split and the draws are the same for every seed.
        data_dir: a folder that holds ``OMNIGLOT``; see ``files.locate`` for the default.

    Source: Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program induction",
    Science 350 (2015).
    """
    paths = [locate(forms, name, data_dir) for forms in FILES[name].values()]
    ready = [path for path in paths if path.suffix == ".npz"]
    pixels, character, drawer = read_area(ready[0]) if ready else read_archives(paths)
    x, y = floats(pixels.reshape(-1, 1, SIDE, SIDE)), torch.from_numpy(character.astype(np.int64) - 1)
    drawers = torch.from_numpy(drawer.astype(np.int64))
    first = torch.nonzero(drawers <= TRAINING_DRAWERS).flatten()
    order = first[torch.randperm(len(first), generator=Streams(0).generator("split", "omniglot"))]
    rows = {"train": order[VALID:], "valid": order[:VALID], "test": torch.nonzero(drawers > TRAINING_DRAWERS).flatten()}
    return grey_images(
        name,
        "Omniglot 28x28 by area averaging",
        "omniglot",
        {split: x[at] for split, at in rows.items()},
        PROTOCOL,
        binarise=binarise,
        labels={split: y[at] for split, at in rows.items()},
    )


def area_average(ink: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Ink 0 or 1, ``[examples, height, height]``, as uint8 ``[examples, side, side]``: the mean over a pixel's area, of 255.

    Overlaps are counted in whole parts of a pixel, so the result is exact before it is rounded, on every machine.
    """
    height = ink.shape[-1]
    part = np.arange(height * side)  # an input pixel is `side` parts wide, an output pixel `height` parts
    weights = np.zeros((side, height), dtype=np.float32)
    np.add.at(weights, (part // height, part // side), 1)
    parts = weights @ ink.astype(np.float32) @ weights.T  # whole numbers up to height^2, exact in float32
    return ((parts.astype(np.int64) * 510 + height**2) // (2 * height**2)).astype(np.uint8)


def read_area(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 ``[32460, 28, 28]``, character 1..1623 and drawer 1..20 of each; SeedbedError if the file is not that."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = arrays["images"], arrays["character"], arrays["drawer"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SeedbedError(f"{path} cannot be read: {error}") from error
    count = CHARACTERS * DRAWERS
    got = [array.shape for array in found]
    if got != [(count, SIDE, SIDE), (count,), (count,)]:
        raise SeedbedError(f"{path} is corrupt: expected {count} images of {SIDE} x {SIDE} with labels, got shapes {got}")
    return found


def read_archives(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from archives of drawings ``.../<character>_<drawer>.png`` with black ink, by character, then drawer."""
    drawings: dict[tuple[int, int], np.ndarray] = {}
    for path in paths:
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if named := re.search(r"(?:^|/)(\d+)_(\d+)\.png$", member):
                        character, drawer = map(int, named.groups())
                        drawings[character, drawer] = _drawing(archive.read(member), f"{member} in {path}")
        except (OSError, zipfile.BadZipFile) as error:
            raise SeedbedError(f"{path} cannot be read: {error}") from error
    keys = sorted(drawings)
    if keys != [(c, d) for c in range(1, CHARACTERS + 1) for d in range(1, DRAWERS + 1)]:
        names = " and ".join(map(str, paths))
        raise SeedbedError(
            f"{names} hold {len(keys)} drawings; expected {CHARACTERS * DRAWERS}, "
            f"{CHARACTERS} characters by {DRAWERS} drawers"
        )
    character, drawer = np.array(keys).T
    chunks = np.array_split(np.arange(len(keys)), -(-len(keys) // 1000))
    return np.concatenate([area_average(np.stack([drawings[keys[i]] for i in rows])) for rows in chunks]), character, drawer


def _drawing(content: bytes, where: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            ink = ~np.asarray(image.convert("1"))
    except OSError as error:
        raise SeedbedError(f"{where} cannot be read: {error}") from error
    if ink.shape != (FINE, FINE):
        raise SeedbedError(f"{where} is corrupt: expected {FINE} x {FINE} pixels, got {ink.shape[1]} x {ink.shape[0]}")
    return ink
