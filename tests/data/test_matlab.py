"""Caltech-101 silhouettes and Frey faces: the reader on files made here, the sets on small and on the real files."""

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
from seedbed.data.matlab import read_mat


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
