"""CIFAR-10: colour levels of 8 or 5 bits, ``[3, 32, 32]``, from its official batches in any of the forms that there are.

``cifar10`` is the usual split with the last 5000 training images for validation. ``cifar10-batch1`` is made of the first of
the five training batches alone: a fifth of the data, so its likelihoods stand beside no published ones.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.data.dataset import Dataset
from seedbed.data.files import locate_all
from seedbed.data.pickles import read_pickle
from seedbed.data.source import InMemory

COUNT = 10_000  # images of a batch
SHAPE = (3, 32, 32)
CLASSES = 10
BATCHES = {"test": "test_batch", **{f"batch{i}": f"data_batch_{i}" for i in range(1, 6)}}


def images(name: str, batches: int = 5, bits: int = 8, *, seed: int = 0, data_dir: str | Path | None = None) -> Dataset:
    """Small colour photographs of ten classes, ``[examples, 3, 32, 32]``, kept as bytes and gathered as float32.

    The last tenth of the training batches is for validation, the test batch for the test. Images of a batch are in random
    order. Of 5 bits are the highest of the 8: level // 8.

    Args:
        name: the registered name, a key of ``files.FILES``.
        batches: how many training batches there are.
        bits: of a level, 8 or 5.
        seed: without effect, the split is the files'.
        data_dir: a folder that holds ``CIFAR10``; see ``files.locate`` for the default.

    Raises:
        SeedbedError: without the files, or for one that is no batch.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009. Of 5 bits: Kingma, Dhariwal (2018),
    arXiv:1807.03039.
    """
    paths = locate_all(name, data_dir)
    parts = ["test", *(f"batch{i + 1}" for i in range(batches))]
    held = np.empty((len(parts), COUNT, *SHAPE), np.uint8), np.empty((len(parts), COUNT), np.int64)
    for part, found, classes in read_batches(paths):
        held[0][parts.index(part)], held[1][parts.index(part)] = found >> (8 - bits), classes
    pixels, labels = map(torch.from_numpy, held)
    everything, classes, valid = pixels[1:].flatten(0, 1), labels[1:].flatten(), batches * COUNT // 10

    def split(whole: Tensor, test: Tensor) -> dict[str, Tensor]:
        return {"train": whole[:-valid], "valid": whole[-valid:], "test": test}

    kept = split(everything, pixels[0])
    sizes = " / ".join(f"{len(rows)}" for rows in kept.values())
    part = "" if batches == 5 else ", its first training batch alone (not comparable with published numbers)"
    order = f"first {len(kept['train'])} / last {valid} training images / whole test batch"
    return Dataset(
        name=name,
        domain=Domain("levels", 1 << bits),
        protocol=f"CIFAR-10 32x32 RGB{part}, levels 0..{(1 << bits) - 1}; {order}: {sizes}",
        splits={which: InMemory(rows, torch.float32) for which, rows in kept.items()},
        labels=split(classes, labels[0]),
    )


def read_batches(paths: Mapping[str, Path]) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """Part, levels uint8 ``[10000, 3, 32, 32]`` and classes ``[10000]`` of each, one batch in memory at once.

    Args:
        paths: of each part of ``BATCHES`` the file: a batch, or an archive of them, which is passed through once.

    Raises:
        SeedbedError: for a file that is no batch, or an archive that lacks one.
    """
    for path in dict.fromkeys(paths.values()):
        wanted = {BATCHES[part]: part for part in paths if paths[part] == path}
        try:
            with path.open("rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
                if not packed:
                    file.seek(0)
                    content = file.read(_most() + 1)
            if packed:
                with tarfile.open(path, "r|gz") as archive:
                    for member in archive:
                        stem = member.name.rpartition("/")[2].removesuffix(".bin")
                        if stem in wanted and (opened := archive.extractfile(member)) is not None:
                            yield (wanted.pop(stem), *read_batch(opened.read(_most() + 1), f"{member.name} in {path}"))
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise SeedbedError(f"{path} cannot be read: {' '.join(str(error).split())}; get the file anew") from error
        if packed and wanted:
            raise SeedbedError(f"{path} holds no {', '.join(wanted)}; get the file anew")
        if not packed:
            for part in wanted.values():
                yield (part, *read_batch(content, str(path)))


def read_batch(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Levels uint8 ``[10000, 3, 32, 32]`` and classes uint8 ``[10000]`` of a batch, binary, pickled, or of arrays.

    Args:
        content: 10000 times a class and 3072 levels, a byte each; a pickle of ``data`` and ``labels``; or an ``.npz`` of
            ``images``, channels last, and ``labels``.
        where: it is from, for errors.

    Raises:
        SeedbedError: if it is not exactly that: which byte or key.
    """
    if content[:2] == b"PK":
        pixels, labels = _of_arrays(_arrays(content, where), where)
    elif content[:1] == b"\x80":  # a pickle's first operation; no class has that number
        pixels, labels = _of_pickle(read_pickle(content, where), where)
    else:
        pixels, labels = _of_bytes(content, where)
    if (odd := np.flatnonzero(labels >= CLASSES)).size:
        at = "labels" if content[:1] in b"P\x80" else f"byte {odd[0] * 3073}"
        got = f"image {odd[0]} has class {labels[odd[0]]} ({at})"
        raise SeedbedError(f"{where} is corrupt: expected classes 0..{CLASSES - 1}, {got}; get the file anew")
    return pixels, labels


def _most() -> int:
    """Bytes of a batch: pickled ones hold the names of the pictures too."""
    return 2 * COUNT * 3073 + (1 << 16)


def _of_bytes(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    if len(content) != COUNT * 3073:
        got = f"{len(content)}" if len(content) <= _most() else "more"
        whole = f"{COUNT * 3073} bytes, {COUNT} times a class and 3072 levels"
        raise SeedbedError(f"{where} is corrupt: expected {whole}, got {got}; get the file anew")
    rows = np.frombuffer(content, np.uint8).reshape(COUNT, 3073)
    return rows[:, 1:].reshape(COUNT, *SHAPE), rows[:, 0]


def _of_pickle(found: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    held = (
        {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in found.items()}
        if isinstance(found, dict)
        else {}
    )
    labels = held.get("labels")
    if isinstance(labels, list) and all(isinstance(label, int) and 0 <= label < 256 for label in labels):
        held["labels"] = np.array(labels, np.uint8)
    pixels, classes = (_checked(held, key, shape, where) for key, shape in (("data", (COUNT, 3072)), ("labels", (COUNT,))))
    return pixels.reshape(COUNT, *SHAPE), classes


def _of_arrays(held: Mapping[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    pixels = _checked(held, "images", (COUNT, *SHAPE[1:], SHAPE[0]), where)
    return pixels.transpose(0, 3, 1, 2), _checked(held, "labels", (COUNT,), where)


def _checked(held: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The bytes that there should be under a key."""
    found = held.get(key)
    if isinstance(found, np.ndarray) and found.dtype == np.uint8 and found.shape == shape:
        return found
    got = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
    got = "nothing" if found is None else got
    raise SeedbedError(f"{where} is corrupt: expected {key} as bytes {list(shape)}, got {got}")


def _arrays(content: bytes, where: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            whole = sum(member.file_size for member in archive.infolist())
        if whole > 16 * COUNT * 3073:
            raise ValueError(f"it holds {whole} bytes, a batch of arrays about {COUNT * 3073}")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in ("images", "labels") if key in arrays}
    except Exception as error:  # a broken file can raise anything here, from zlib.error to MemoryError's relatives
        raise SeedbedError(f"{where} cannot be read: {' '.join(str(error).split())}; get the file anew") from error
