"""MNIST in every binarisation that papers use, and Fashion-MNIST: ``[1, 28, 28]``, 50000 / 10000 / 10000 examples.

``mnist-static`` is another split than the rest: Larochelle's training and validation files do not follow MNIST's order. Its
test file is sorted by digit, so its first rows are no sample of it: take a stride or a random subset.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seedbed.core.domain import BINARY
from seedbed.core.errors import SeedbedError
from seedbed.data.dataset import Dataset
from seedbed.data.files import FILES, locate
from seedbed.data.images import Binarisation, floats, grey_images

TRAIN = 50_000
SHAPE = (1, 28, 28)
SPLITS = "first 50000 / last 10000 of the training file / 10000 test"


def images(
    name: str,
    binarise: Binarisation = "none",
    threshold: float = 0.5,
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
) -> Dataset:
    """MNIST or Fashion-MNIST with labels, ``[examples, 1, 28, 28]`` float32; SeedbedError without the files.

    Grey levels are 0..255. ``batch`` and ``epoch`` store the training images as probabilities for ``view``; their validation
    and test images are the same draw for every run and seed.

    Args:
        name: the registered name, a key of ``FILES``.
        binarise: how grey levels become 0 or 1, if they do.
        threshold: see ``images.grey_images``.
        seed: without effect, the split and the draws are the same for every seed.
        data_dir: a folder that holds ``MNIST/raw`` or ``FashionMNIST/raw``; see ``files.locate`` for the default.

    Source: LeCun, Cortes, Burges (1998); Xiao, Rasul, Vollgraf (2017), arXiv:1708.07747. The binarisations: see
    ``images.grey_images``.
    """
    fashion = name.startswith("fashion")

    def read(split: str, count: int) -> tuple[Tensor, Tensor]:
        pixels = read_idx(locate(FILES[name][f"{split}_images"], name, data_dir), (count, 28, 28))
        labels = read_idx(locate(FILES[name][f"{split}_labels"], name, data_dir), (count,))
        return floats(pixels.reshape(count, *SHAPE)), torch.from_numpy(labels.astype(np.int64))

    (pixels, labels), (test, test_labels) = read("train", 60_000), read("test", 10_000)
    return grey_images(
        name,
        "Fashion-MNIST" if fashion else "MNIST",
        "fashion" if fashion else "mnist",
        {"train": pixels[:TRAIN], "valid": pixels[TRAIN:], "test": test},
        SPLITS,
        binarise=binarise,
        threshold=threshold,
        labels={"train": labels[:TRAIN], "valid": labels[TRAIN:], "test": test_labels},
    )


def static(name: str = "mnist-static", *, seed: int = 0, data_dir: str | Path | None = None) -> Dataset:
    """Larochelle's fixed binarisation, ``[examples, 1, 28, 28]`` float32, no labels; SeedbedError without the files.

    The test split is sorted by digit: its first rows are no sample of it.

    Args:
        name: the registered name, a key of ``FILES``.
        seed: without effect, the files are fixed.
        data_dir: a folder that holds ``BinarizedMNIST``; see ``files.locate`` for the default.

    Source: Larochelle, Murray, "The Neural Autoregressive Distribution Estimator", AISTATS 2011.
    """
    counts = {"train": TRAIN, "valid": 10_000, "test": 10_000}
    bits = {k: floats(read_amat(locate(FILES[name][k], name, data_dir), count)) for k, count in counts.items()}
    return Dataset(
        name=name,
        domain=BINARY,
        protocol="MNIST, binary: Larochelle's fixed files, their own split; 50000 / 10000 / 10000, test sorted by digit",
        splits={k: flat.view(-1, *SHAPE) for k, flat in bits.items()},
    )


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an IDX file, gzipped or plain, as uint8 ``[*shape]``; SeedbedError if it is not exactly that.

    Source: the format is described on LeCun's MNIST page: 0, 0, type, rank, big-endian sizes, row-major values.
    """
    start = 4 + 4 * len(shape)
    data = _read(path, start + math.prod(shape) + 1)
    magic = bytes((0, 0, 8, len(shape)))
    if data[:4] != magic:
        raise SeedbedError(
            f"{path} is corrupt: an IDX file of rank {len(shape)} starts with {magic.hex()}, "
            f"got {data[:4].hex() or 'nothing'}"
        )
    sizes = struct.unpack(f">{len(shape)}I", data[4:start]) if len(data) >= start else "a truncated header"
    if sizes != shape:
        raise SeedbedError(f"{path} is corrupt: expected an IDX array of shape {shape}, got {sizes}")
    _check_size(path, len(data) - start, math.prod(shape))
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_amat(path: Path, rows: int, columns: int = 784) -> np.ndarray:
    """Lines of 0s and 1s between single spaces, gzipped or plain, as uint8 ``[rows, columns]``; SeedbedError otherwise."""
    data = _read(path, rows * columns * 2 + 1)
    _check_size(path, len(data), rows * columns * 2)
    bits = np.frombuffer(data, np.uint8).reshape(rows, columns * 2)[:, ::2] - ord("0")
    if bits.max(initial=0) > 1:
        raise SeedbedError(f"{path} is corrupt: expected 0 and 1 at every second byte")
    return bits


def _check_size(path: Path, got: int, expected: int) -> None:
    if got != expected:
        fault = f"only {got}" if got < expected else "more"
        raise SeedbedError(f"{path} is corrupt: expected {expected} bytes of data, got {fault}")


def _read(path: Path, limit: int) -> bytes:
    """At most ``limit`` bytes of a file's content, so that a wrong file cannot fill the memory."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return gzip.GzipFile(fileobj=file).read(limit) if packed else file.read(limit)
    except (OSError, EOFError, zlib.error) as error:
        raise SeedbedError(f"{path} cannot be read: {error}") from error
