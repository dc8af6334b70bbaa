"""Omniglot: averaging against fractions and the real originals, both ways to its files, its splits."""

import hashlib
import io
import os
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.data import load, omniglot
from seedbed.data.files import FILES, RemoteFile, check
from seedbed.data.omniglot import area_average, read_archives, read_area

NAMES = [name for name in FILES if name.startswith("omniglot")]


def by_fractions(ink: np.ndarray, side: int) -> np.ndarray:
    """The area mean of one image, in exact arithmetic, one overlap at a time."""
    height = len(ink)
    wide = Fraction(height, side)
    overlap = [
        [max(Fraction(0), min(Fraction(a + 1), (i + 1) * wide) - max(Fraction(a), i * wide)) for a in range(height)]
        for i in range(side)
    ]
    rows = [[sum(w * int(v) for w, v in zip(row, column, strict=True)) for column in ink.T] for row in overlap]
    means = [[sum(w * v for w, v in zip(row, line, strict=True)) / wide**2 for row in overlap] for line in rows]
    return np.array([[int(255 * mean + Fraction(1, 2)) for mean in line] for line in means])


@pytest.mark.parametrize(("height", "side"), [(15, 4), (7, 7), (5, 2), (8, 4)])
def test_area_average_is_exact(height: int, side: int) -> None:
    ink = np.random.default_rng(0).random((3, height, height)) < 0.4
    assert np.array_equal(area_average(ink, side), np.stack([by_fractions(image, side) for image in ink]))


def originals() -> tuple[np.ndarray, np.ndarray]:
    """Every 97th original and its 28 x 28 version, or a skipped test."""
    folder = Path(os.environ.get("SEEDBED_DATA", ""), "OMNIGLOT")
    packed, small = folder / "omniglot_105x105_packed.npz", folder / "omniglot_28x28_area.npz"
    if not packed.is_file() or not small.is_file():
        pytest.skip("set SEEDBED_DATA to a folder with OMNIGLOT, the packed originals too")
    with np.load(packed) as arrays:
        ink = np.unpackbits(arrays["ink_packed"][::97], axis=1, count=105 * 105).reshape(-1, 105, 105)
    with np.load(small) as arrays:
        return ink, arrays["images"][::97]


def test_area_average_of_the_originals_is_the_file() -> None:
    ink, small = originals()
    assert np.array_equal(area_average(ink), small)


def drawings(characters: int, drawers: int) -> dict[tuple[int, int], np.ndarray]:
    rng = np.random.default_rng(1)
    return {(c, d): rng.random((105, 105)) < 0.2 for c in range(1, characters + 1) for d in range(1, drawers + 1)}


def archive(path: Path, ink: dict[tuple[int, int], np.ndarray]) -> Path:
    """Black on white, as Lake's archives have it, in another order than by character."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{path.stem}/Greek/character01/", b"")
        for (character, drawer), image in reversed(ink.items()):
            content = io.BytesIO()
            Image.fromarray(np.where(image, 0, 255).astype(np.uint8)).convert("1").save(content, "PNG")
            file.writestr(f"{path.stem}/Greek/character01/{character:04}_{drawer:02}.png", content.getvalue())
    return path


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with four characters by twenty drawers in two archives, known to ``FILES``."""
    monkeypatch.setattr(omniglot, "CHARACTERS", 4)
    monkeypatch.setattr(omniglot, "VALID", 7)
    ink = drawings(4, 20)
    halves = {
        "background": {k: v for k, v in ink.items() if k[0] < 3},
        "evaluation": {k: v for k, v in ink.items() if k[0] > 2},
    }
    forms = {}
    pixels = area_average(np.stack(list(ink.values())))
    character, drawer = np.array(list(ink)).T
    np.savez(tmp_path / "area.npz", images=pixels, character=character.astype(np.int16), drawer=drawer.astype(np.uint8))
    digest = hashlib.sha256((tmp_path / "area.npz").read_bytes()).hexdigest()
    for part, half in halves.items():
        path = archive(tmp_path / "data" / f"{part}.zip", half)
        forms[part] = (RemoteFile("area.npz", digest), RemoteFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest()))
    monkeypatch.setitem(FILES, "omniglot-dynamic", forms)
    monkeypatch.delenv("SEEDBED_DATA", raising=False)
    monkeypatch.setenv("SEEDBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def test_archives_and_file_give_the_same_set(small: Path) -> None:
    built = load("omniglot-dynamic", data_dir=small)
    ready = small.parent / "area.npz"
    ready.rename(small / "area.npz")
    read = load("omniglot-dynamic", data_dir=small)
    assert built.checksum() == read.checksum() and built.domain == BINARY and built.shape == (1, 28, 28)
    assert {split: len(x) for split, x in built.splits.items()} == {"train": 53, "valid": 7, "test": 20}
    (small / "background.zip").unlink()
    assert load("omniglot-dynamic", data_dir=small).checksum() == built.checksum()


@pytest.mark.parametrize("form", ["archives", "file"])
def test_drawers_1_to_15_are_training_and_16_to_20_are_test(small: Path, form: str) -> None:
    if form == "file":
        (small.parent / "area.npz").rename(small / "area.npz")
    ink = drawings(4, 20)
    pixels = dict(zip(map(bytes, area_average(np.stack(list(ink.values())))), ink, strict=True))
    data = omniglot.omniglot("omniglot-dynamic", "none", data_dir=small)
    found = {split: [pixels[bytes(image)] for image in x[:].to(torch.uint8).numpy()] for split, x in data.splits.items()}
    everyone = [(character, drawer) for character in range(1, 5) for drawer in range(1, 21)]
    assert sorted(found["train"] + found["valid"]) == [key for key in everyone if key[1] <= 15]
    assert found["test"] == [key for key in everyone if key[1] > 15]
    for split, keys in found.items():
        assert data.labels[split].tolist() == [character - 1 for character, _ in keys]
    assert {character for character, _ in found["valid"]} == {1, 2, 3, 4}  # held out at random, not off one end


def test_bad_archives_are_named(small: Path) -> None:
    background, evaluation = small / "background.zip", small / "evaluation.zip"
    with pytest.raises(SeedbedError, match="hold 40 drawings; expected 80"):
        read_archives([background])
    background.write_bytes(b"no archive")
    with pytest.raises(SeedbedError, match=r"background\.zip cannot be read"):
        read_archives([background, evaluation])
    archive(background, {(1, 1): np.zeros((28, 105), bool)})
    with pytest.raises(SeedbedError, match=r"0001_01\.png in .*expected 105 x 105 pixels, got 105 x 28"):
        read_archives([background, evaluation])


def test_bad_files_are_named(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    for arrays, says in (({"images": np.zeros((80, 28, 28))}, "cannot be read"), ({}, "cannot be read")):
        np.savez(path, **arrays)
        with pytest.raises(SeedbedError, match=says):
            read_area(path)
    np.savez(path, images=np.zeros((80, 28, 27)), character=np.zeros(80), drawer=np.zeros(80))
    with pytest.raises(SeedbedError, match="expected 80 images of 28 x 28"):
        read_area(path)
    np.savez(path, images=np.array([{}]), character=np.zeros(80), drawer=np.zeros(80))
    with pytest.raises(SeedbedError, match="cannot be read"):  # a pickled array is never opened
        read_area(path)


@pytest.mark.parametrize("name", NAMES)
def test_real_set(name: str) -> None:
    if not Path(os.environ.get("SEEDBED_DATA", "."), "OMNIGLOT").is_dir() or check(name):
        pytest.skip("set SEEDBED_DATA to a folder with OMNIGLOT")
    data = load(name)
    assert {split: (len(x), *x.shape) for split, x in data.splits.items()} == {
        "train": (22_000, 1, 28, 28),
        "valid": (2_345, 1, 28, 28),
        "test": (8_115, 1, 28, 28),
    }
    assert data.checksum() == load(name, seed=5).checksum()
    held = torch.cat([data.labels["train"], data.labels["valid"]])
    assert torch.equal(torch.bincount(held), torch.full((1623,), 15))
    assert torch.equal(torch.bincount(data.labels["test"]), torch.full((1623,), 5))
    if name == "omniglot":
        assert data.domain == Domain("levels", 256)
    else:
        # Binarised after resizing: no grey is left in what is scored, and training keeps the probabilities of the draws.
        assert data.domain == BINARY and data.refresh == ("epoch" if name.endswith("epoch") else "batch")
        assert all(set(data.splits[split][:].unique().tolist()) == {0.0, 1.0} for split in ("valid", "test"))
        assert (data.view is None) == name.endswith("threshold")
