"""CelebA at 64 x 64, on an archive of a few pictures made here."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.data import celeba, entry, load
from seedbed.data.files import FILES, RemoteFile
from seedbed.data.source import Mapped

COUNTS = {"train": 5, "valid": 3, "test": 4}


def encoded(array: np.ndarray) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(array).save(stored, "PNG")  # without a loss, whatever the name says
    return stored.getvalue()


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Twelve smooth pictures of the archive's size, in it under their numbers, in an order of its own."""
    number, row, column, colour = np.ogrid[:12, :218, :178, :3]
    found = (8 * number + 0.3 * row + (0.2 + 0.1 * colour) * column).astype(np.uint8)
    archived(tmp_path / "faces.zip", {number: encoded(found[number - 1]) for number in (7, *range(12, 7, -1), *range(1, 7))})
    digest = hashlib.sha256((tmp_path / "faces.zip").read_bytes()).hexdigest()
    monkeypatch.setitem(FILES, "celeba-64", {"pictures": (RemoteFile("faces.zip", digest),)})
    monkeypatch.setattr(celeba, "COUNTS", COUNTS)
    monkeypatch.setenv("SEEDBED_CACHE", str(tmp_path / "cache"))
    return found


def archived(path: Path, held: dict[int, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("img_align_celeba/", "")
        for number, content in held.items():
            archive.writestr(f"img_align_celeba/{number:06}.jpg", content)


def test_faces_are_the_middle_averaged_in_the_order_of_their_numbers(pictures: np.ndarray, tmp_path: Path) -> None:
    data = load("celeba-64", data_dir=tmp_path)
    known = entry("celeba-64")
    assert known is not None and (data.domain, data.shape) == (known.domain, known.shape)
    assert (data.domain, data.shape) == (Domain("levels", 256), (3, 64, 64))
    middle = pictures[:, 35:183, 15:163].transpose(0, 3, 1, 2).astype(float)
    # Each of 64 covers 148 / 64 = 2.3125 pixels, the average by whole parts of a pixel; Pillow takes pixels whole.
    average = middle.repeat(16, 2).repeat(16, 3).reshape(12, 3, 64, 37, 64, 37).mean((3, 5))
    first = 0
    for split, count in COUNTS.items():
        assert np.abs(data.splits[split][:].numpy() - average[first : first + count]).max() < 1.5
        assert isinstance(data.splits[split], Mapped)
        first += count
    assert "cropped at the centre to 148 x 148, averaged to size; the authors' partition: 5 / 3 / 4" in data.protocol


def test_once_decoded_the_archive_is_no_longer_needed(pictures: np.ndarray, tmp_path: Path) -> None:
    before = load("celeba-64", data_dir=tmp_path).checksum()
    (tmp_path / "faces.zip").unlink()
    assert load("celeba-64").checksum() == before


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({1: b"no picture"}, "000001.jpg in .*faces.zip cannot be read as an image"),
        ({1: encoded(np.zeros((218, 178, 3), np.uint8))}, "faces.zip holds no 000002.jpg"),
        ({1: encoded(np.zeros((100, 178, 3), np.uint8))}, "000001.jpg in .* is 100 x 178, smaller than crop=148x148"),
        (None, "faces.zip cannot be read: File is not a zip file"),
    ],
)
def test_what_is_wrong_with_an_archive_is_named(held: dict[int, bytes] | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    path.write_bytes(b"nothing")
    if held is not None:
        archived(path, held)
    with pytest.raises(SeedbedError, match=says):
        list(celeba.read_faces(path, range(1, 3), celeba.Cut((148, 148), (64, 64))))


def test_the_published_partition() -> None:
    assert celeba.COUNTS == {"train": 162_770, "valid": 19_867, "test": 19_962} and sum(celeba.COUNTS.values()) == 202_599
