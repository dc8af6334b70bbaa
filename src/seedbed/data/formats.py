"""Files of arrays: NumPy's, IDX and MATLAB's, told apart by their first bytes. A pickle is never opened."""

import gzip
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.memory import check_memory
from seedbed.data.paths import check_file
from seedbed.data.splits import KNOWN, splits_among

IDX = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = 1_100  # times smaller at most is what gzip makes of anything
_INPUTS = ("x_", "images_", "inputs_", "data_")  # before or behind a split's name, as in x_train and train_images
_TEXT = bytes(range(32, 127)) + b"\t\r\n"


def read_arrays(path: Path, key: str = "") -> dict[str, np.ndarray]:
    """Arrays by split from ``.npy``, ``.npz``, IDX (gzipped or not) or ``.mat`` (below version 7.3).

    Of several arrays those with names of splits are read (``train``, ``x_train``, ``train_images``, ``val``, ...), or the
    only one; what is passed over, such as labels, is said.

    Args:
        path: the file.
        key: the array that is meant, where several have no such names.

    Raises:
        SeedbedError: for a file that is none of this, or arrays of which it is not known what they are.
    """
    check_file(path, ".npy or .npz without pickle")
    try:
        with path.open("rb") as file:
            head = file.read(512)
        arrays = _named(path, head)
    except SeedbedError:
        raise
    except Exception as error:  # a broken file can raise anything here, from zlib.error to MemoryError's relatives
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SeedbedError(f"{path} cannot be read as .npy or .npz without pickle: {reason}") from error
    if isinstance(arrays, np.ndarray):
        return {"train": arrays}
    return _chosen(arrays, key, path)


def _named(path: Path, head: bytes) -> np.ndarray | dict[str, np.ndarray]:
    packed = head[:2] == b"\x1f\x8b"
    inside = _unpacked(path, 4) if packed else head
    if inside[:2] == b"\0\0" and len(inside) >= 4 and inside[2] in IDX and 1 <= inside[3] <= 4:
        return _idx(path, packed)
    if head[:10] == b"MATLAB 5.0" or path.suffix.lower() == ".mat":
        return _mat(path, head)
    if head[:6] == b"\x93NUMPY" or head[:2] == b"PK":
        _check_claims(path, head)
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            members = ((name, _member(path, name, lambda name=name: found[name])) for name in found)
            return {name: array for name, array in members if isinstance(array, np.ndarray)}  # other files are bytes
    if head[:4] == b"PAR1" or (head.strip() and not head.translate(None, _TEXT)):
        kind = "Parquet" if head[:4] == b"PAR1" else "text"
        raise SeedbedError(f"{path} is {kind} and cannot be read as .npy or .npz; read it as a table: csv:{path}")
    reason = "it is empty" if not head else "it begins as neither"
    raise SeedbedError(f"{path} cannot be read as .npy or .npz without pickle: {reason}; save it with numpy.save")


def _check_claims(path: Path, head: bytes) -> None:
    """Hold what a file of NumPy's says of its size to the file, and to the memory there is, before anything is made of it.

    Raises:
        SeedbedError: for an array that the file cannot hold, and for arrays that unpacked fill the memory.
    """
    if head[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            whole = sum(member.file_size for member in archive.infolist())
        check_memory(f"what {path} holds, unpacked,", whole, "keep fewer arrays in it")
        return
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        need, there = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
    if need > there and not dtype.hasobject:
        raise SeedbedError(f"{path} is cut off: its header says {need} bytes of {list(shape)} values, and {there} are there")


def _chosen(arrays: Mapping[str, np.ndarray], key: str, path: Path) -> dict[str, np.ndarray]:
    """Of named arrays those of splits, or the one that is meant."""
    held = ", ".join(arrays) or "none"
    if key:
        if key not in arrays:
            raise unknown(f"array of {path}", key, arrays)
        return {"train": arrays[key]}
    plain = {_plain(name): name for name in arrays}
    if len(plain) < len(arrays):
        raise SeedbedError(f"{path} holds the arrays {held}, two of them of one split; keep one, or choose it: ,key=NAME")
    found = {split: plain[name] for split, name in splits_among(plain, path).items()}
    if not found and len(arrays) == 1:
        return {"train": next(iter(arrays.values()))}
    if not found:
        raise SeedbedError(
            f"{path} holds the arrays {held}; name them train, valid and test, or keep one alone"
            + (f", or choose it: ,key={next(iter(arrays))}" if arrays else "")
        )
    if others := [name for name in arrays if name not in found.values()]:
        warnings.warn(
            f"{path} holds arrays that are no splits and are passed over: {', '.join(others)} (splits are {KNOWN})",
            stacklevel=2,
        )
    return {split: arrays[name] for split, name in found.items()}


def _plain(name: str) -> str:
    """A split's name without what says that it is of inputs."""
    lower = name.lower()
    for word in _INPUTS:
        stem = word.rstrip("_")
        if lower.startswith(word):
            return lower.removeprefix(word)
        if lower.endswith(f"_{stem}"):
            return lower.removesuffix(f"_{stem}")
    return name


def _unpacked(path: Path, count: int) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(count)
    except (OSError, EOFError, zlib.error):
        return b""


def _idx(path: Path, packed: bool) -> np.ndarray:
    """An IDX file: 0, 0, type, rank, big-endian sizes, row-major values (LeCun's MNIST page)."""
    with gzip.open(path) if packed else path.open("rb") as file:
        kind, rank = file.read(4)[2:]
        head = file.read(4 * rank)
        if len(head) < 4 * rank:
            raise SeedbedError(f"{path} is a damaged IDX file: it ends before its {rank} sizes")
        sizes = struct.unpack(f">{rank}I", head)
        dtype = np.dtype(IDX[kind])
        expected = math.prod(sizes) * dtype.itemsize
        if expected <= path.stat().st_size * GZIP:
            check_memory(f"what {path} holds, unpacked,", expected, "cut it down")
        # A file that is cut off may say any size, beyond all memory.
        content = file.read(min(expected, path.stat().st_size * GZIP) + 1)
    if len(content) != expected:
        got = "more" if len(content) > expected else str(len(content))
        raise SeedbedError(f"{path} is a damaged IDX file: expected {expected} bytes of {list(sizes)} values, got {got}")
    return np.frombuffer(content, dtype).reshape(sizes).astype(dtype.newbyteorder("="))


def _mat(path: Path, head: bytes) -> dict[str, np.ndarray]:
    from scipy.io import loadmat, whosmat  # slow to import, and needed here alone

    if head[:10] == b"MATLAB 7.3":
        raise SeedbedError(f"{path} is of MATLAB 7.3, an HDF5 file; save it with -v7")
    names = [name for name, *_ in whosmat(path)]
    found = {name: _member(path, name, lambda name=name: loadmat(path, variable_names=[name])[name]) for name in names}
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def _member(path: Path, name: str, read: Callable[[], Any]) -> Any:
    """One of a file's arrays; SeedbedError that says which, if it cannot be read."""
    try:
        return read()
    except Exception as error:  # likewise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SeedbedError(f"{path} cannot be read as .npy or .npz without pickle, at its array {name}: {reason}") from error
