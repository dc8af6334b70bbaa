"""A folder of images: what is read, how it is cut and averaged, and what is refused, with the file's name."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.data import folder, load
from seedbed.data.folder import read_folder
from seedbed.data.source import InMemory

RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    """Thirty grey images of 8 x 6."""
    for i in range(30):
        save(tmp_path / "pics" / f"{i:02}.png", noise(8, 6))
    return tmp_path / "pics"


def pixels(folder: Path, **options: str) -> np.ndarray:
    return read_folder(folder, **options)[0]["train"]


def test_every_image_is_in_the_set_once_with_its_pixels(pics: Path) -> None:
    data = load(f"folder:{pics}")
    assert data.domain == Domain("levels", 256) and data.shape == (1, 8, 6)
    assert {split: len(x) for split, x in data.splits.items()} == {"train": 24, "valid": 3, "test": 3}
    got = {tuple(row) for row in torch.cat([x[:] for x in data.splits.values()]).flatten(1).int().tolist()}
    assert got == {tuple(np.asarray(Image.open(file)).ravel().tolist()) for file in pics.iterdir()}
    assert data.checksum() == load(f"folder:{pics}").checksum() != load(f"folder:{pics}", seed=1).checksum()
    assert "24 / 3 / 3" in data.protocol and "images of pics, 8 x 6 grey" in data.protocol


def test_channels_come_first_and_grey_ones_join_the_colour(tmp_path: Path) -> None:
    colour, grey = noise(4, 5, 3), noise(4, 5)
    save(tmp_path / "b.png", grey)
    assert pixels(tmp_path).shape == (1, 4, 5, 1)
    save(tmp_path / "a.png", colour)
    found = pixels(tmp_path)
    assert np.array_equal(found[0], colour) and all(np.array_equal(found[1, ..., c], grey) for c in range(3))
    for name in "cde":
        save(tmp_path / f"{name}.png", grey)
    data = load(f"folder:{tmp_path}")
    assert data.shape == (3, 4, 5)
    shown = {tuple(x.flatten().int().tolist()) for x in torch.cat([x[:] for x in data.splits.values()])}
    assert tuple(colour.transpose(2, 0, 1).ravel().tolist()) in shown
    # ITU-R 601: the luma that `colour=grey` documents.
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pixels(tmp_path, colour="grey")[0, ..., 0] - luma).max() <= 1
    assert pixels(tmp_path, colour="rgb").shape == (5, 4, 5, 3)


def test_sizes_are_averages_over_areas(tmp_path: Path) -> None:
    image = noise(6, 12)
    save(tmp_path / "a.png", image)
    # 3 x 3 of the middle 6 x 6, and 3 x 4 of the whole: blocks of whole pixels, so the means are known.
    middle = image[:, 3:9].reshape(3, 2, 3, 2).mean((1, 3))
    whole = image.reshape(3, 2, 4, 3).mean((1, 3))
    assert np.abs(pixels(tmp_path, size="3")[0, ..., 0] - middle).max() <= 1
    assert np.abs(pixels(tmp_path, size="3x4", crop="none")[0, ..., 0] - whole).max() <= 1
    assert pixels(tmp_path, size="2x5").shape == (1, 2, 5, 1)
    assert pixels(tmp_path, size="12", crop="none").shape == (1, 12, 12, 1)


def test_a_window_around_the_centre_is_cut_before_the_size(tmp_path: Path) -> None:
    image = noise(10, 9)
    save(tmp_path / "a.png", image)
    # As CelebA's pictures are cut: so many pixels above as below, one more below and on the right of an odd rest.
    assert np.array_equal(pixels(tmp_path, crop="7x4")[0, ..., 0], image[1:8, 2:6])
    blocks = image[3:7, 2:6].reshape(2, 2, 2, 2).mean((1, 3))
    assert np.abs(pixels(tmp_path, size="2", crop="4")[0, ..., 0] - blocks).max() <= 1
    assert "2 x 2 grey, cropped at the centre to 4 x 4, averaged to size" in read_folder(tmp_path, size="2", crop="4")[1]


def test_mixed_sizes_name_the_file_unless_one_is_chosen(pics: Path) -> None:
    odd = save(pics / "odd.png", noise(9, 6))
    with pytest.raises(SeedbedError, match=rf"differ in size: {odd} is 9 x 6, those before it 8 x 6; .*size="):
        load(f"folder:{pics}")
    assert load(f"folder:{pics},size=4").shape == (1, 4, 4)


def test_options_follow_the_path(pics: Path, tmp_path: Path) -> None:
    data = load(f"folder:{pics},size=4x2,crop=none,colour=grey,binarise=dynamic")
    assert data.domain == BINARY and data.shape == (1, 4, 2) and data.view is not None
    assert set(data.splits["test"][:].unique().tolist()) == {0.0, 1.0} and "distorted to size" in data.protocol
    odd = pics.rename(tmp_path / "a,b")
    assert load(f"folder:{odd},colour=grey").shape == (1, 8, 6)


def test_folders_named_like_splits_are_splits(tmp_path: Path) -> None:
    for split, count in {"train": 20, "test": 3}.items():
        for i in range(count):
            save(tmp_path / split / "class" / f"{i}.png", noise(4, 4))
    data = load(f"folder:{tmp_path}")
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [18, 2, 3]
    for i in range(2):
        save(tmp_path / "valid" / f"{i}.png", noise(4, 4))
    data = load(f"folder:{tmp_path}")
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [20, 2, 3]
    stray = save(tmp_path / "more" / "0.png", noise(4, 4))
    with pytest.raises(SeedbedError, match=f"{stray} is in no split; move it to train, valid or test"):
        load(f"folder:{tmp_path}")


def test_what_is_no_image_is_passed_over(pics: Path) -> None:
    (pics / "notes.txt").write_text("about")
    save(pics / ".thumbnails" / "0.png", noise(3, 3))
    save(pics / "._a.png", noise(3, 3))
    with pytest.warns(UserWarning, match="1 file without an image's suffix passed over, e.g. .*notes.txt"):
        arrays, title = read_folder(pics)
    assert len(arrays["train"]) == 30 and "1 file without an image's suffix passed over" in title


@pytest.mark.parametrize("places", [("Train", "Test", "VAL"), ("archive/training", "archive/testing", "archive/dev")])
def test_splits_by_the_names_that_people_give_them(places: tuple[str, ...], tmp_path: Path) -> None:
    """Pooled, their test images would train."""
    for place, count in zip(places, (9, 4, 3), strict=True):
        for i in range(count):
            save(tmp_path / place / "class" / f"{i}.png", noise(4, 4))
    data = load(f"folder:{tmp_path}")
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [9, 3, 4]
    assert "splits as given: 9 / 3 / 4" in data.protocol


def test_splits_that_cannot_be_taken_are_refused_by_name(tmp_path: Path) -> None:
    for place in ("both/train", "both/val", "both/validation", "deep/a/b/train", "deep/a/b/test", "alone/test"):
        save(tmp_path / place / "0.png", noise(4, 4))
    with pytest.raises(SeedbedError, match="has val and validation, both names of the valid split"):
        load(f"folder:{tmp_path / 'both'}")
    with pytest.raises(SeedbedError, match="has test and no train"):
        load(f"folder:{tmp_path / 'alone'}")
    with pytest.raises(SeedbedError, match="holds splits further down") as caught:
        load(f"folder:{tmp_path / 'deep'}")
    advised = str(caught.value).rpartition("folder:")[2]
    assert set(read_folder(Path(advised))[0]) == {"train", "test"}


def test_links_are_followed_once_and_loops_are_cut(tmp_path: Path) -> None:
    save(tmp_path / "store" / "b.png", noise(4, 4))
    save(tmp_path / "pics" / "a" / "a.png", noise(4, 4))
    for link, target in {"pics/b": "store", "pics/again": "store", "pics/a/loop": "pics"}.items():
        (tmp_path / link).symlink_to(tmp_path / target, target_is_directory=True)
    assert len(pixels(tmp_path / "pics")) == 2


def test_other_suffixes_of_jpeg(tmp_path: Path) -> None:
    for name in ("a.jfif", "b.jpe", "c.JPG"):
        save(tmp_path / name, noise(4, 4), format="JPEG")
    assert len(pixels(tmp_path)) == 3


def animated(path: Path) -> None:
    frames = [Image.fromarray(noise(4, 4)) for _ in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def truncated(path: Path) -> None:
    save(path, noise(64, 64))
    path.write_bytes(path.read_bytes()[:2000])


def deep_png(path: Path) -> None:
    """Pillow writes no 16-bit colour: a PNG by hand."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + noise(4 * 3 * 2).tobytes() for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def see_through(path: Path) -> None:
    array = noise(4, 4, 4)
    array[..., 3] = 200
    save(path, array)


BAD = {
    "animation.gif": (animated, "has 3 frames, an animation or pages"),
    "animation.png": (animated, "has 3 frames, an animation or pages"),
    "pages.tif": (animated, "has 3 frames, an animation or pages"),
    "text.png": (lambda path: path.write_text("no image"), "cannot be read as an image"),
    "empty.jpg": (lambda path: path.touch(), "cannot be read as an image"),
    "cut.png": (truncated, "cannot be read as an image"),
    "print.jpg": (lambda path: save(path, noise(4, 4, 3), "CMYK"), "is CMYK; its colours depend on a profile"),
    "lab.tif": (lambda path: save(path, noise(4, 4, 3), "LAB"), "is LAB"),
    "deep.png": (lambda path: save(path, noise(4, 4).astype(np.uint16) * 200), "has more than 8 bits per value"),
    "deep-colour.png": (deep_png, "has more than 8 bits per value"),
    "deep.pgm": (lambda path: path.write_bytes(b"P5 2 1 65535\n" + bytes(4)), "has more than 8 bits per value"),
    "deep.ppm": (lambda path: path.write_bytes(b"P6 2 1 4095\n" + bytes(12)), "has more than 8 bits per value"),
    "plain.ppm": (lambda path: path.write_bytes(b"P3 1 1 1023\n1 2 3\n"), "has more than 8 bits per value"),
    "float.tif": (lambda path: save(path, RNG.random((4, 4), np.float32)), "has more than 8 bits per value"),
    "glass.png": (see_through, "is transparent in places"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_named(name: str, tmp_path: Path) -> None:
    write, says = BAD[name]
    save(tmp_path / "0.png", noise(4, 4))
    write(tmp_path / name)
    with pytest.raises(SeedbedError) as caught:
        read_folder(tmp_path, size="4")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name} ") and says in message and "\n" not in message


def test_good_images_of_many_kinds(tmp_path: Path) -> None:
    """What looks like a refused kind and is none: one value per pixel and channel, of 8 bits."""
    grey, colour = noise(4, 4), noise(4, 4, 3)
    opaque = np.concatenate([colour, np.full((4, 4, 1), 255, np.uint8)], -1)
    bits = np.where(noise(4, 4) > 127, 255, 0).astype(np.uint8)
    for name, array in {"a.bmp": grey, "b.pgm": grey, "c.tif": grey}.items():
        save(tmp_path / name, array)
    save(tmp_path / "d.png", bits, "1")
    assert np.array_equal(pixels(tmp_path)[..., 0], np.stack([grey, grey, grey, bits]))
    save(tmp_path / "e.png", opaque)
    save(tmp_path / "f.ppm", colour)
    save(tmp_path / "g.webp", colour, lossless=True)
    assert np.array_equal(pixels(tmp_path)[4:], np.stack([colour] * 3))


def test_a_camera_s_second_picture_is_no_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (40, 200)]
    frames[0].save(tmp_path / "photo.jpg", "MPO", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "photo.jpg") as image:
        assert image.format == "MPO" and getattr(image, "n_frames", 1) == 2
    assert np.abs(pixels(tmp_path).astype(int) - 40).max() <= 1


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    image = np.zeros((8, 16), np.uint8)
    image[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(stored.getvalue())
    assert np.array_equal(pixels(tmp_path)[0, ..., 0], np.rot90(image, -1))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder:{0}/none", "is not a folder"),
        ("folder:{0}/empty", "empty holds no images"),
        ("folder:{0}/text", "text holds no images"),
        ("folder:{0}/pics,size=0", "size must be a side or height x width in pixels"),
        ("folder:{0}/pics,size=28.5", "size must be"),
        ("folder:{0}/pics,size=28,size=30", "has size twice, 28 and 30; keep one"),
        ("folder:{0}/pics,size=99999", "GiB are free; choose a smaller size, or leave them in a file: ,stream=yes"),
        ("folder:{0}/pics,size=99999,stream=yes", "GiB are free; choose a smaller size, or set SEEDBED_CACHE to another"),
        ("folder:{0}/pics,size=4,stream=maybe", "unknown stream 'maybe'"),
        ("folder:{0}/pics,stream=yes,binarise=epoch", "binarise=epoch keeps all draws of a pass in memory"),
        ("folder:{0}/pics,crop=7", "00.png is 8 x 6, smaller than crop=7x7; choose a smaller crop"),
        ("folder:{0}/pics,crop=0", "crop must be a side or height x width in pixels"),
        ("folder:{0}/pics,crop=left", "unknown crop 'left'; known: centre, none, or pixels such as 148"),
        ("folder:{0}/pics,colour=blue", "unknown colour 'blue'; known: grey, rgb"),
        ("folder:{0}/pics,binarise=yes", "unknown binarisation 'yes'"),
        ("folder:{0}/pics,sise=28", "did you mean 'size'?"),
        ("folder:", "names no path; write folder:PATH"),
    ],
)
def test_bad_names_and_empty_folders(name: str, says: str, pics: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "readme.md").write_text("none")
    with pytest.raises(SeedbedError) as caught:
        load(name.format(tmp_path))
    assert says in str(caught.value)


def test_too_few_to_split(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / f"{i}.png", noise(4, 4))
    with pytest.raises(SeedbedError, match="has 4 examples; at least 5 are needed to split them"):
        load(f"folder:{tmp_path}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("options", ["", ",size=4", ",size=3x2,crop=5", ",colour=grey", ",binarise=dynamic"])
def test_a_streamed_folder_is_the_data_set_that_it_is_in_memory(options: str, tmp_path: Path, cache: Path) -> None:
    counts = {"train": 25, "val": 3} if "size=4" in options else {"": 30}
    for split, count in counts.items():
        for i in range(count):
            save(tmp_path / "pics" / split / f"{i:02}.png", noise(8, 6, 3) if i % 3 else noise(8, 6))
    whole, streamed = (load(f"folder:{tmp_path / 'pics'}{options}{more}", seed=3) for more in ("", ",stream=yes"))
    assert (streamed.domain, streamed.shape, streamed.protocol) == (whole.domain, whole.shape, whole.protocol)
    assert (streamed.view, streamed.refresh) == (whole.view, whole.refresh)
    for split in ("train", "valid", "test"):
        assert torch.equal(streamed.splits[split][:], whole.splits[split][:]), split
    assert not isinstance(streamed.splits["train"], InMemory)
    assert len(list(cache.rglob("*.npy"))) == len(counts) and not list(cache.rglob(".*"))


def test_pictures_are_decoded_once_and_again_when_one_has_changed(
    pics: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, before = f"folder:{pics},stream=yes", load(f"folder:{pics}").splits["train"][:]
    assert torch.equal(load(name).splits["train"][:], before)
    with monkeypatch.context() as patched:
        patched.setattr(folder, "picture", lambda *_: pytest.fail("decoded again"))
        assert torch.equal(load(name).splits["train"][:], before)
    save(pics / "00.png", 255 - np.asarray(Image.open(pics / "00.png")))
    assert torch.equal(load(name).splits["train"][:], load(f"folder:{pics}").splits["train"][:])
    assert load(name).checksum() == load(name).checksum()


def test_a_bad_picture_of_a_streamed_folder_is_named_and_nothing_is_kept(pics: Path, cache: Path) -> None:
    truncated(pics / "29.png")
    with pytest.raises(SeedbedError, match=r"29\.png cannot be read as an image"):
        load(f"folder:{pics},size=4,stream=yes")
    odd = save(pics / "29.png", noise(9, 6))
    with pytest.raises(SeedbedError, match=f"differ in size: {odd} is 9 x 6"):
        load(f"folder:{pics},stream=yes")
    assert not [path for path in cache.rglob("*") if path.is_file()]
    cache.joinpath("pictures").rmdir()
    cache.joinpath("pictures").touch()
    with pytest.raises(SeedbedError, match=r"cannot write to the cache .*set SEEDBED_CACHE to another folder"):
        load(f"folder:{pics},size=4,stream=yes")


LIMITED = """
import resource, sys
from pathlib import Path
import torch
import seedbed.data.own, seedbed.data.folder, PIL.Image
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data import load, source
from seedbed.train.batches import batches_of

source.PIECE = 1 << 20
name, room = sys.argv[1], int(sys.argv[2])
load(f"folder:{sys.argv[3]},size=8")  # what is imported and started at the first use is no part of what follows
own = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (own + room, own + room))
try:
    load(name)
except SeedbedError as error:
    print(error)
data = load(name + ",stream=yes")
total = sum(len(split) for split in data.splits.values())
draw, view = batches_of(data, 16)
shown = [float(draw([Streams(0)], step).mean()) for step in range(data.epoch_size // 16)]
print(total, *data.shape, sum(shown) / len(shown), data.splits["train"].moments()[0])
print(len(data.checksum()))
"""


def test_four_times_the_memory_is_streamed(tmp_path: Path, cache: Path) -> None:
    """In a process that may take 32 MiB more than it has: 128 MiB of pictures are decoded, trained on, and digested."""
    pytest.importorskip("resource")
    if not Path("/proc/self/statm").exists():
        pytest.skip("the system does not say what a process has")
    side, count, room = 256, 684, 32 << 20
    assert count * side * side * 3 > 4 * room
    (tmp_path / "pics").mkdir()
    levels = [10 * i for i in range(1, 19)]
    for level in levels:
        save(tmp_path / "pics" / f"{level:03}-0.bmp", np.full((side, side, 3), level, np.uint8))
    for i in range(1, count // len(levels)):
        for level in levels:
            os.link(tmp_path / "pics" / f"{level:03}-0.bmp", tmp_path / "pics" / f"{level:03}-{i}.bmp")
    for i in range(5):
        save(tmp_path / "few" / f"{i}.bmp", noise(8, 8, 3))
    command = [sys.executable, "-c", LIMITED, f"folder:{tmp_path / 'pics'}", str(room), str(tmp_path / "few")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    refused, shown, digest = done.stdout.splitlines()
    assert refused.endswith("GiB are free; choose a smaller size, or leave them in a file: ,stream=yes")
    total, *shape = shown.split()[:4]
    assert int(total) == count and shape == ["3", "256", "256"] and digest == "64"
    # All pictures of an epoch but for a part of a batch, and each level as often as any other before the split.
    epoch, mean = map(float, shown.split()[4:])
    assert abs(epoch - mean) < 5 and abs(mean - np.mean(levels)) < 5 * np.std(levels) / 547**0.5
