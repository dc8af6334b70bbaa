"""Files of arrays beside NumPy's: IDX and MATLAB's, against the arrays that were written and SciPy's own writer."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from seedbed.core.errors import SeedbedError
from seedbed.data import load
from seedbed.data.formats import IDX, read_arrays

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))


def idx(array: np.ndarray, kind: int, dtype: str) -> bytes:
    """As LeCun's page describes the format."""
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(dtype).tobytes()


def whole(path: Path, options: str = "") -> np.ndarray:
    """All examples that a name stands for, in an order that the split leaves alone."""
    data = load(f"array:{path}{options}")
    found = np.concatenate([data.splits[split][:].flatten(1).numpy() for split in ("train", "valid", "test")])
    return found[np.lexsort(found.T)]


def expected(array: np.ndarray) -> np.ndarray:
    flat = array.reshape(len(array), -1).astype(np.float32)
    return flat[np.lexsort(flat.T)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kind", "dtype"), IDX.items())
def test_idx_of_every_type(kind: int, dtype: str, packed: bool, tmp_path: Path) -> None:
    array = (RNG.normal(size=(20, 4, 6)) * 50).astype(dtype)
    content = idx(array, kind, dtype)
    path = tmp_path / ("x-idx3-ubyte.gz" if packed else "x-idx3-ubyte")
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_arrays(path)["train"]
    assert np.array_equal(found, array) and found.dtype.isnative


def test_idx_as_data(tmp_path: Path) -> None:
    pictures, table = RNG.integers(0, 256, (30, 4, 6)), X
    (tmp_path / "pictures").write_bytes(idx(pictures, 0x08, "u1"))
    (tmp_path / "table.gz").write_bytes(gzip.compress(idx(table, 0x0E, ">f8")))
    assert np.array_equal(whole(tmp_path / "pictures"), expected(pictures))
    assert load(f"array:{tmp_path / 'pictures'}").shape == (1, 4, 6)
    assert np.array_equal(whole(tmp_path / "table.gz"), expected(table))


@pytest.mark.parametrize(("cut", "says"), [(-1, "expected 720 bytes of .30, 4, 6. values, got 719"), (1, "got more")])
def test_damaged_idx(cut: int, says: str, tmp_path: Path) -> None:
    content = idx(np.zeros((30, 4, 6)), 0x08, "u1")
    for name, wrap in (("x", bytes), ("x.gz", gzip.compress)):
        (tmp_path / name).write_bytes(wrap(content[:cut] if cut < 0 else content + bytes(cut)))
        with pytest.raises(SeedbedError, match=f"{name} is a damaged IDX file: .*{says}"):
            load(f"array:{tmp_path / name}")
    (tmp_path / "x.gz").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(SeedbedError, match=r"x\.gz"):
        load(f"array:{tmp_path / 'x.gz'}")


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_of_one_array(compressed: bool, tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"measured": X}, do_compression=compressed)
    assert np.array_equal(read_arrays(tmp_path / "x.mat")["train"], X)
    assert np.array_equal(whole(tmp_path / "x.mat"), expected(X))


def test_mat_of_several_arrays(tmp_path: Path) -> None:
    """Splits by their names, of others the one that is chosen; labels are passed over, and that is said."""
    savemat(tmp_path / "splits.mat", {"x_train": X[:30], "x_test": X[30:]})
    found = read_arrays(tmp_path / "splits.mat")
    assert (
        np.array_equal(found["train"], X[:30]) and np.array_equal(found["test"], X[30:]) and set(found) == {"train", "test"}
    )
    savemat(tmp_path / "two.mat", {"measured": X, "y": np.arange(40)})
    with pytest.raises(SeedbedError, match=r"holds the arrays measured, y; name them train.*,key=measured$"):
        load(f"array:{tmp_path / 'two.mat'}")
    assert np.array_equal(whole(tmp_path / "two.mat", ",key=measured"), expected(X))
    with pytest.raises(SeedbedError, match=r"measurd.*did you mean.*measured"):
        load(f"array:{tmp_path / 'two.mat'},key=measurd")
    savemat(tmp_path / "labels.mat", {"train": X, "y": np.arange(40)})
    with pytest.warns(UserWarning, match="are no splits and are passed over: y"):
        load(f"array:{tmp_path / 'labels.mat'}")


@pytest.mark.parametrize(
    "stored", [{"a": {"x": X, "y": 1.0}}, {"a": np.array([X, X[:3]], dtype=object)}, {"a": "words"}, {"a": X + 1j}]
)
def test_mat_of_what_is_no_numbers(stored: dict[str, Any], tmp_path: Path) -> None:
    """A structure, a cell array, text, complex numbers."""
    savemat(tmp_path / "x.mat", stored)
    with pytest.raises(SeedbedError) as caught:
        load(f"array:{tmp_path / 'x.mat'}")
    assert "x.mat" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n",
            "is of MATLAB 7.3, an HDF5 file; save it with -v7",
        ),
        (b"MATLAB 5.0 MAT-file".ljust(128) + bytes(300), "cannot be read"),
        (b"", "x.mat"),
    ],
)
def test_mat_files_that_are_none(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(SeedbedError, match=says) as caught:
        load(f"array:{tmp_path / 'x.mat'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.npz", "x.mat"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_array_of_several_is_named(compressed: bool, name: str, tmp_path: Path) -> None:
    if name == "x.mat" and not compressed:
        pytest.skip("a .mat has no checksums but those of what is packed")
    arrays: dict[str, Any] = {"train": X, "test": RNG.integers(0, 256, (300, 40, 40), dtype=np.uint8)}
    (np.savez_compressed if compressed else np.savez)(tmp_path / "x.npz", **arrays)
    savemat(tmp_path / "x.mat", arrays, do_compression=compressed)
    content = bytearray((tmp_path / name).read_bytes())
    at = len(content) // 2
    content[at : at + 400] = bytes(byte ^ 0x55 for byte in content[at : at + 400])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SeedbedError, match=rf"{name} cannot be read as .*, at its array test: \S") as caught:
        read_arrays(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_array_of_objects_among_others_is_named_and_never_made(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "made",)

    np.savez(tmp_path / "x.npz", train=X, y=np.array([Runs()], dtype=object), allow_pickle=True)
    with pytest.raises(SeedbedError, match=r"x\.npz cannot be read as .* without pickle, at its array y: Object arrays"):
        load(f"array:{tmp_path / 'x.npz'}")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("made", "options", "says"),
    [
        (
            lambda whole: whole / 255 + 0.001,
            ",levels=256",
            "holds values 0.001..1.001; levels=256 takes whole",
        ),
        (lambda whole: whole - 3.0, ",levels=256", "holds values -3..252; levels=256 takes whole numbers 0..255"),
        (lambda whole: whole + 1, ",levels=256", "holds values 1..256; levels=256 takes"),
        (lambda whole: whole, ",levels=32", "holds values 0..255; levels=32 takes whole numbers 0..31 or fractions k/31"),
    ],
)
def test_pictures_that_are_no_levels(made: Any, options: str, says: str, tmp_path: Path) -> None:
    whole = RNG.integers(0, 256, (30, 8, 8, 3))
    whole[0, 0, 0] = 0, 255, 7
    for name, save in (
        ("x.npz", lambda path, x: np.savez(path, train=x)),
        ("x.mat", lambda path, x: savemat(path, {"X": x})),
    ):
        save(tmp_path / name, made(whole))
        with pytest.raises(SeedbedError, match=says):
            load(f"array:{tmp_path / name}{options}")


def test_a_header_that_claims_more_than_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((4, 3), "f4"))
    path.write_bytes(path.read_bytes().replace(b"(4, 3)", b"(4000000000, 3)")[: path.stat().st_size + 9])
    with pytest.raises(SeedbedError, match=r"x.npy is cut off: its header says 48000000000 bytes of \[4000000000, 3\]"):
        read_arrays(path)


def test_what_would_fill_the_memory_is_refused_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.zeros((1000, 1000), "u1")
    np.savez_compressed(tmp_path / "x.npz", many)
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(many, 8, "u1")))
    monkeypatch.setattr("seedbed.core.memory.available", lambda device: 999_999)
    for name in ("x.npz", "x.gz"):
        with pytest.raises(SeedbedError, match=f"what .*{name} holds, unpacked, takes at least .* GiB are free"):
            read_arrays(tmp_path / name)
