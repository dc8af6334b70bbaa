"""Caltech-101 silhouettes, Frey faces and house numbers: the reader and the sets on small files, and the real sets."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.data import load, matlab
from seedbed.data.dataset import Dataset
from seedbed.data.files import FILES, RemoteFile, check
from seedbed.data.matlab import read_digits, read_mat
from seedbed.data.source import InMemory


def register(monkeypatch: pytest.MonkeyPatch, name: str, part: str, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(FILES, name, {part: (RemoteFile(path.name, digest),)})


def test_silhouettes_are_upright_and_the_object_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"train": 5, "val": 3, "test": 2}
    monkeypatch.setattr(matlab, "SILHOUETTES", sizes)
    pictures = {key: np.random.default_rng(n).integers(0, 2, (n, 28, 28), dtype=np.uint8) for key, n in sizes.items()}
    stored = {f"{key}_data": np.stack([1 - p.flatten("F") for p in picture]) for key, picture in pictures.items()}
    stored |= {f"{key}_labels": np.arange(1, n + 1, dtype=np.uint8)[:, None] for key, n in sizes.items()}
    savemat(tmp_path / "shapes.mat", stored)
    register(monkeypatch, "caltech101-silhouettes", "split1", tmp_path / "shapes.mat")
    data = load("caltech101-silhouettes", data_dir=tmp_path)
    assert data.domain == BINARY and data.shape == (1, 28, 28)
    for split, key in {"train": "train", "valid": "val", "test": "test"}.items():
        assert np.array_equal(data.splits[split][:].squeeze(1).numpy(), pictures[key])
        assert data.labels[split].tolist() == list(range(sizes[key]))


def test_frey_faces_are_split_without_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "FREY", {"train": 6, "valid": 2, "test": 2})
    frames = np.arange(10, dtype=np.uint8)[:, None] + np.arange(0, 240, 240 / 560, dtype=np.float64).astype(np.uint8)
    savemat(tmp_path / "face.mat", {"ff": frames.T})
    register(monkeypatch, "frey-faces", "faces", tmp_path / "face.mat")
    data = load("frey-faces", data_dir=tmp_path)
    assert data.domain == Domain("levels", 256) and data.shape == (1, 28, 20)
    everything = torch.cat([data.splits[split][:] for split in ("train", "valid", "test")]).flatten(1)
    assert np.array_equal(everything[everything[:, 0].argsort()].numpy(), frames)
    assert data.checksum() != load("frey-faces", seed=1, data_dir=tmp_path).checksum()


HOUSES = {"train": 13, "test": 6, "extra": 9}
RNG = np.random.default_rng(5)
PICTURES = {part: RNG.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for part, n in HOUSES.items()}
DIGITS = {part: np.arange(n) % 10 for part, n in HOUSES.items()}


@pytest.fixture
def houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of house numbers as MATLAB keeps them, known to ``FILES``; 0 is class 10."""
    for part in HOUSES:
        classes = np.where(DIGITS[part] == 0, 10, DIGITS[part]).astype(np.uint8)[:, None]
        stored = {"X": PICTURES[part].transpose(1, 2, 3, 0), "y": classes}
        savemat(tmp_path / f"{part}_32x32.mat", stored, do_compression=part != "test")
    for name in ("svhn", "svhn-extra"):
        digests = {part: hashlib.sha256((tmp_path / f"{part}_32x32.mat").read_bytes()).hexdigest() for part in FILES[name]}
        monkeypatch.setitem(FILES, name, {p: (RemoteFile(f"{p}_32x32.mat", digest),) for p, digest in digests.items()})
    monkeypatch.setattr(matlab, "HOUSES", HOUSES)
    monkeypatch.setattr(matlab, "HELD_OUT", 4)
    monkeypatch.setattr(matlab, "CHUNK", 5)
    return tmp_path


def test_house_numbers_are_upright_and_ten_is_zero(houses: Path) -> None:
    upright = {part: torch.from_numpy(found.transpose(0, 3, 1, 2).copy()) for part, found in PICTURES.items()}
    cut = {"train": ("train", slice(0, 9)), "valid": ("train", slice(9, 13)), "test": ("test", slice(0, 6))}
    data = load("svhn", data_dir=houses)
    assert data.domain == Domain("levels", 256) and data.shape == (3, 32, 32) and data.protocol.endswith(": 9 / 4 / 6")
    for split, (part, rows) in cut.items():
        source = data.splits[split]
        assert torch.equal(source[:], upright[part][rows].float()) and data.labels[split].tolist() == list(
            DIGITS[part][rows]
        )
        assert isinstance(source, InMemory) and source.examples.dtype == torch.uint8
    data = load("svhn-extra", data_dir=houses)
    assert torch.equal(data.splits["train"][:].byte(), torch.cat([upright["train"], upright["extra"]]))
    assert torch.equal(data.splits["valid"][:].byte(), upright["test"][:3])
    assert torch.equal(data.splits["test"][:].byte(), upright["test"][3:])
    assert data.labels["train"].tolist() == [*DIGITS["train"], *DIGITS["extra"]]
    assert "first half of the test file / its second half: 22 / 3 / 3" in data.protocol


def test_damaged_house_numbers_are_named_by_their_array(houses: Path) -> None:
    path = houses / "train_32x32.mat"
    content = bytearray(path.read_bytes())
    content[5000:5400] = bytes(byte ^ 0x55 for byte in content[5000:5400])
    path.write_bytes(content)
    with pytest.raises(SeedbedError, match=rf"{path} cannot be read as a MATLAB file, at X: \S"):
        read_digits({"train": path})
    with pytest.raises(SeedbedError, match=f"{path} is not the expected file"):
        load("svhn", data_dir=houses)


def test_house_numbers_that_memory_does_not_hold_are_refused(houses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = 3072 * (13 + 6 + 13)
    monkeypatch.setattr("seedbed.core.memory.available", lambda device: need)
    assert len(load("svhn", data_dir=houses).splits["test"]) == 6
    monkeypatch.setattr("seedbed.core.memory.available", lambda device: need - 1)
    with pytest.raises(SeedbedError, match=r"svhn, a byte for each number, takes at least .* GiB are free"):
        load("svhn", data_dir=houses)


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"X": np.zeros((32, 32, 3, 6), np.uint8)}, "expected y as bytes [6, 1], got nothing"),
        ({"X": np.zeros((32, 32, 3, 6)), "y": np.ones((6, 1), np.uint8)}, "expected X as bytes [32, 32, 3, 6], got float64"),
        ({"X": np.zeros((6, 32, 32, 3), np.uint8), "y": np.ones((6, 1), np.uint8)}, "got uint8 [6, 32, 32, 3]"),
        (
            {"X": np.zeros((32, 32, 3, 6), np.uint8), "y": np.array([[1], [0], [2], [10], [11], [5]], np.uint8)},
            "y of picture 2 is 0; expected 1..10",
        ),
    ],
)
def test_bad_house_numbers_are_named(
    stored: dict[str, np.ndarray], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matlab, "HOUSES", HOUSES)
    savemat(tmp_path / "test_32x32.mat", stored)
    with pytest.raises(SeedbedError) as caught:
        read_digits({"test": tmp_path / "test_32x32.mat"})
    assert says in str(caught.value) and str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"a": np.zeros((2, 3), np.uint8)}, "expected ff as bytes [2, 3], got nothing"),
        ({"ff": np.zeros((3, 2), np.uint8)}, "got uint8 [3, 2]"),
        ({"ff": np.zeros((2, 3))}, "got float64 [2, 3]"),
    ],
)
def test_bad_matlab_files_are_named(tmp_path: Path, stored: dict[str, np.ndarray], says: str) -> None:
    path = tmp_path / "a.mat"
    savemat(path, stored)
    with pytest.raises(SeedbedError) as caught:
        read_mat(path, {"ff": (2, 3)})
    assert says in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>", b"MATLAB 5.0 MAT-file" + bytes(300)])
def test_what_is_no_matlab_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(SeedbedError) as caught:
        read_mat(path, {"ff": (2, 3)})
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def real(name: str) -> Dataset:
    folder = next(iter(FILES[name].values()))[0].name.split("/")[0]
    if not Path(os.environ.get("SEEDBED_DATA", "."), folder).is_dir() or check(name):
        pytest.skip(f"set SEEDBED_DATA to a folder with {folder}")
    return load(name)


def test_real_silhouettes() -> None:
    data = real("caltech101-silhouettes")
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [4100, 2264, 2307]
    means = data.splits["train"][:].view(-1, 28, 28).mean(0)
    # An object lies in the middle and background in the corners; the two ways round differ in little else.
    assert means[12:16, 12:16].min() > 0.6 and means[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 0.3
    assert set(data.labels["train"].tolist()) == set(range(101))


def test_real_frey_faces() -> None:
    data = real("frey-faces")
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [1565, 200, 200]
    values = torch.cat([x[:] for x in data.splits.values()])
    assert (values.min(), values.max()) == (8, 238)
    rows = values.view(-1, 28, 20)  # rows of the picture: neighbours in it are more alike than in the wrong layout
    wrong = values.view(-1, 20, 28)
    assert rows.diff(dim=1).abs().mean() < 0.7 * wrong.diff(dim=1).abs().mean()
