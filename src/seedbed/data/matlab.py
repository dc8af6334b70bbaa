"""Image sets that were published as MATLAB files: Caltech-101 silhouettes and Frey faces."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from seedbed.core.domain import BINARY
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data.dataset import Dataset
from seedbed.data.files import FILES, locate
from seedbed.data.images import floats, grey_images

SILHOUETTES = {"train": 4100, "val": 2264, "test": 2307}
FREY = {"train": 1565, "valid": 200, "test": 200}


def silhouettes(name: str = "caltech101-silhouettes", *, seed: int = 0, data_dir: str | Path | None = None) -> Dataset:
    """Filled outlines of objects, object 1 on 0, ``[examples, 1, 28, 28]`` float32, labels 0..100, the authors' split.

    The file has it the other way round, 0 being the object, and its pixels column by column: here they are upright.

    Args:
        name: the registered name, a key of ``FILES``.
        seed: without effect, the split is the file's.
        data_dir: a folder that holds ``Caltech101Silhouettes``; see ``files.locate`` for the default.

    Raises:
        SeedbedError: without the file.

    Source: Marlin, Swersky, Chen, de Freitas, "Inductive principles for restricted Boltzmann machine learning",
    AISTATS 2010.
    """
    path = locate(FILES[name]["split1"], name, data_dir)
    shapes = {f"{k}_data": (n, 784) for k, n in SILHOUETTES.items()} | {
        f"{k}_labels": (n, 1) for k, n in SILHOUETTES.items()
    }
    arrays = read_mat(path, shapes)
    kept = {"train": "train", "valid": "val", "test": "test"}

    def upright(pixels: np.ndarray) -> np.ndarray:
        return 1 - pixels.reshape(-1, 1, 28, 28).transpose(0, 1, 3, 2)

    return Dataset(
        name=name,
        domain=BINARY,
        protocol="Caltech-101 silhouettes 28x28, binary, object 1 on 0, the authors' split: 4100 / 2264 / 2307",
        splits={split: floats(upright(arrays[f"{key}_data"])) for split, key in kept.items()},
        labels={
            split: torch.from_numpy(arrays[f"{key}_labels"].ravel().astype(np.int64) - 1) for split, key in kept.items()
        },
    )


def frey_faces(name: str = "frey-faces", *, seed: int = 0, data_dir: str | Path | None = None) -> Dataset:
    """Frames of a film of one face, grey levels 0..255, ``[examples, 1, 28, 20]`` float32, split 1565 / 200 / 200.

    Neighbouring frames are nearly equal and the usual split shuffles them, so test losses are those of images almost seen.

    Args:
        name: the registered name, a key of ``FILES``.
        seed: seed of the split.
        data_dir: a folder that holds ``FreyFaces``; see ``files.locate`` for the default.

    Raises:
        SeedbedError: without the file.

    Source: Brendan Frey's film, published by Sam Roweis.
    """
    path = locate(FILES[name]["faces"], name, data_dir)
    frames = floats(read_mat(path, {"ff": (560, sum(FREY.values()))})["ff"].T).view(-1, 1, 28, 20)
    order = torch.randperm(len(frames), generator=Streams(seed).generator("split", "frey")).split(list(FREY.values()))
    return grey_images(
        name,
        "Frey faces 28x20",
        "frey",
        {split: frames[rows] for split, rows in zip(FREY, order, strict=True)},
        f"1565 / 200 / 200 frames after a shuffle, data seed {seed}",
    )


def read_mat(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of bytes from a MATLAB file, by name; SeedbedError if one is missing, of another shape or kind."""
    from scipy.io import loadmat  # slow to import, and needed here alone

    try:
        content = loadmat(path, variable_names=list(shapes))
    except Exception as error:  # a broken file can raise anything here, from ValueError to MemoryError's relatives
        raise SeedbedError(f"{path} cannot be read as a MATLAB file: {error}") from error
    for name, shape in shapes.items():
        array = content.get(name)
        if array is None or array.shape != shape or array.dtype.kind not in "ui":
            got = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise SeedbedError(f"{path} is corrupt: expected {name} as bytes {list(shape)}, got {got}")
    return {name: content[name] for name in shapes}
