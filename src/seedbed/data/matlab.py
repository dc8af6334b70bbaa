"""Image sets that were published as MATLAB files: Caltech-101 silhouettes, Frey faces, and street view house numbers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.memory import check_memory
from seedbed.core.noise import Streams
from seedbed.data.dataset import Dataset
from seedbed.data.files import FILES, locate, locate_all
from seedbed.data.images import floats, grey_images
from seedbed.data.source import InMemory

SILHOUETTES = {"train": 4100, "val": 2264, "test": 2307}
FREY = {"train": 1565, "valid": 200, "test": 200}
HOUSES = {"train": 73_257, "test": 26_032, "extra": 531_131}
HELD_OUT = 5_000  # house numbers of the training file, for validation
CHUNK = 4096  # pictures that are turned at once


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


def house_numbers(name: str, *, seed: int = 0, data_dir: str | Path | None = None) -> Dataset:
    """Digits of house numbers, RGB levels 0..255, ``[examples, 3, 32, 32]``, kept as bytes and gathered as float32.

    ``svhn`` is the training file, of which the last 5000 are for validation, and the whole test file. ``svhn-extra`` is the
    split of vae-mdl: the training and the extra file to learn from, the halves of the test file for validation and test.

    Args:
        name: the registered name, a key of ``FILES``.
        seed: without effect, the split is that of the files.
        data_dir: a folder that holds ``SVHN``; see ``files.locate`` for the default.

    Raises:
        SeedbedError: without the files, or for memory that does not hold the pictures, a byte a number.

    Source: Netzer, Wang, Coates, Bissacco, Wu, Ng, "Reading digits in natural images with unsupervised feature learning",
    2011; the files hold the digit 0 as class 10, here it is 0.
    """
    paths = locate_all(name, data_dir)
    extra = "extra" in paths
    # The largest file is in memory twice for a while, as it was published and upright.
    need = 3072 * (sum(HOUSES[part] for part in paths) + max(HOUSES[part] for part in paths))
    check_memory(f"{name}, a byte for each number,", need, "take svhn" if extra else "take a machine with more")
    images, labels = read_digits({part: path for part, path in paths.items() if part != "test"})
    test, test_labels = read_digits({"test": paths["test"]})
    half = len(test) // 2
    if extra:
        how = "training and extra file / first half of the test file / its second half"
        kept = {
            "train": (images, labels),
            "valid": (test[:half], test_labels[:half]),
            "test": (test[half:], test_labels[half:]),
        }
    else:
        how = f"training file without its last {HELD_OUT} / those / whole test file"
        kept = {
            "train": (images[:-HELD_OUT], labels[:-HELD_OUT]),
            "valid": (images[-HELD_OUT:], labels[-HELD_OUT:]),
            "test": (test, test_labels),
        }
    return Dataset(
        name=name,
        domain=Domain("levels", 256),
        protocol=f"SVHN 32x32 RGB, levels 0..255; {how}: {' / '.join(str(len(rows)) for rows, _ in kept.values())}",
        splits={split: InMemory(rows, torch.float32) for split, (rows, _) in kept.items()},
        labels={split: classes for split, (_, classes) in kept.items()},
    )


def read_digits(paths: Mapping[str, Path]) -> tuple[Tensor, Tensor]:
    """Levels uint8 ``[n, 3, 32, 32]`` and the digits ``[n]`` of files of house numbers, one after another.

    A file has ``X``, bytes ``[32, 32, 3, n]``, row x column x colour x picture, and ``y``, ``[n, 1]`` in 1..10, 10 being 0.

    Args:
        paths: by the part of ``HOUSES``.

    Raises:
        SeedbedError: for a file that has not as many as were published, or another class.
    """
    counts = [HOUSES[part] for part in paths]
    images, digits = torch.empty(sum(counts), 3, 32, 32, dtype=torch.uint8), torch.empty(sum(counts), dtype=torch.int64)
    for path, some, classes in zip(paths.values(), images.split(counts), digits.split(counts), strict=True):
        _read_digits(path, some, classes)
    return images, digits


def _read_digits(path: Path, images: Tensor, digits: Tensor) -> None:
    """Fill in a file's pictures and digits."""
    count = len(digits)
    found = read_mat(path, {"X": (32, 32, 3, count), "y": (count, 1)})
    classes = found["y"].ravel().astype(np.int64)
    if (odd := np.flatnonzero((classes < 1) | (classes > 10))).size:
        raise SeedbedError(f"{path} is corrupt: y of picture {odd[0] + 1} is {classes[odd[0]]}; expected 1..10")
    digits[:] = torch.from_numpy(classes % 10)
    # Some at once: the file has a picture's numbers far apart, and all of them turned would be in memory again.
    for first in range(0, count, CHUNK):
        some = found["X"][..., first : first + CHUNK].transpose(3, 2, 0, 1)
        images[first : first + CHUNK] = torch.from_numpy(some.copy())


def read_mat(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of bytes from a MATLAB file, by name; SeedbedError if one is missing, of another shape or kind."""
    from scipy.io import loadmat  # slow to import, and needed here alone

    content: dict[str, np.ndarray] = {}
    for name in shapes:  # one by one, so that an error says which
        try:
            content |= {key: array for key, array in loadmat(path, variable_names=[name]).items() if key == name}
        except Exception as error:  # a broken file can raise anything here, from ValueError to MemoryError's relatives
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SeedbedError(f"{path} cannot be read as a MATLAB file, at {name}: {reason}") from error
    for name, shape in shapes.items():
        array = content.get(name)
        if array is None or array.shape != shape or array.dtype != np.uint8:
            got = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise SeedbedError(f"{path} is corrupt: expected {name} as bytes {list(shape)}, got {got}")
    return {name: content[name] for name in shapes}
