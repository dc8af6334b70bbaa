"""Data of one's own as arrays and ``torch.utils.data.Dataset`` objects: splits, domains, layouts, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from seedbed import data as registry
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.data import DATA, is_own, load, names, register
from seedbed.data.own import as_dataset, from_arrays, from_torch
from seedbed.data.values import kind_of

LEVELS = Domain("levels", 256)
RNG = np.random.default_rng(0)


def grey(count: int = 30, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, *(shape or (4, 6))), dtype=np.uint8)


def whole(data: Any) -> set[tuple[float, ...]]:
    return {tuple(row) for row in torch.cat([x[:] for x in data.splits.values()]).flatten(1).tolist()}


def test_npy(tmp_path: Path) -> None:
    x = grey()
    np.save(tmp_path / "x.npy", x)
    data = load(f"array:{tmp_path / 'x.npy'}")
    assert (
        data.domain == LEVELS and data.shape == (1, 4, 6) and whole(data) == {tuple(r) for r in x.reshape(30, 24).tolist()}
    )
    assert {split: len(v) for split, v in data.splits.items()} == {"train": 24, "valid": 3, "test": 3}
    binary = load(f"array:{tmp_path / 'x.npy'},binarise=dynamic")
    assert binary.domain == BINARY and binary.view is not None
    assert torch.equal(binary.splits["train"][:] * 255, data.splits["train"][:])
    drawn = binary.view(binary.splits["train"][:], Noise((Streams(0),), "noise"))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    threshold = load(f"array:{tmp_path / 'x.npy'},binarise=threshold")
    assert torch.equal(threshold.splits["test"][:], (data.splits["test"][:] > 127).float())


def test_npz_with_splits_of_its_own(tmp_path: Path) -> None:
    x = {"train": grey(20), "valid": grey(5), "test": grey(7)}
    np.savez(tmp_path / "all.npz", train=x["train"], valid=x["valid"], test=x["test"], names=np.arange(3))
    with pytest.warns(UserWarning, match="are no splits and are passed over: names"):
        data = load(f"array:{tmp_path / 'all.npz'}")
    assert all(np.array_equal(data.splits[split][:].numpy(), x[split][:, None]) for split in x)
    np.savez(tmp_path / "two.npz", train=x["train"], test=x["test"])
    data = load(f"array:{tmp_path / 'two.npz'}")
    assert [len(data.splits[s]) for s in ("train", "valid", "test")] == [18, 2, 7]
    assert np.array_equal(data.splits["test"][:].numpy(), x["test"][:, None])
    np.savez_compressed(tmp_path / "one.npz", images=x["train"])
    assert len(whole(load(f"array:{tmp_path / 'one.npz'}"))) == 20


@pytest.mark.parametrize(
    ("values", "domain"),
    [
        (np.array([0, 1, 1]), BINARY),
        (np.array([False, True, True]), BINARY),
        (np.array([0.0, 1.0, 1.0]), BINARY),
        (np.array([0, 1, 255], np.int64), LEVELS),
        (np.array([0.0, 17.0, 255.0]), LEVELS),
        (np.array([0, 3 / 255, 1], np.float32), LEVELS),  # as ToTensor makes them
        (np.array([0, 0.011764, 1]), LEVELS),  # 3 / 255 with a few digits
        (np.array([0.0, 0.5, 1.0]), REAL),
        (np.array([-1.0, 0.0, 1.0]), REAL),
        (np.array([0.0, 256.0, 3.0]), REAL),
    ],
)
def test_the_domain_is_read_off_the_values(values: np.ndarray, domain: Domain) -> None:
    data = from_arrays({"train": np.tile(values, (10, 1)).reshape(10, 1, 3)})
    assert data.domain == domain and data.shape == (1, 1, 3)
    expected = np.rint(values * 255) if domain == LEVELS and values.max() <= 1 else values
    assert data.splits["train"][0].flatten().numpy() == pytest.approx(expected.astype(float))


def test_one_domain_over_all_splits() -> None:
    """A test split that happens to hold only 0 and 1 is of the kind that training is."""
    data = from_arrays({"train": grey(8), "valid": np.zeros((2, 4, 6)), "test": np.ones((2, 4, 6))})
    assert data.domain == LEVELS and float(data.splits["test"][:].max()) == 1


@pytest.mark.parametrize(
    ("shape", "image"),
    [((4, 6), (1, 4, 6)), ((1, 4, 6), (1, 4, 6)), ((4, 6, 1), (1, 4, 6)), ((3, 4, 6), (3, 4, 6)), ((4, 6, 3), (3, 4, 6))],
)
def test_layouts(shape: tuple[int, ...], image: tuple[int, int, int]) -> None:
    x = grey(10, *shape)
    data = from_arrays(dict.fromkeys(("train", "valid", "test"), x))
    expected = x.transpose(0, 3, 1, 2) if shape[-1] in (1, 3) else x
    assert data.shape == image and np.array_equal(data.splits["train"][:].numpy(), expected.reshape(10, *image))


class Pairs(Dataset):
    """Images with labels, by index."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.items[index], index


class Stream(IterableDataset):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


class Endless(Dataset):
    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "RGBA"])
def test_a_picture_whose_numbers_are_not_its_colours_is_refused(mode: str) -> None:
    pictures = [Image.new("RGB", (6, 4), (200, i, 90)).convert(mode) for i in range(20)]
    with pytest.raises(SeedbedError, match=f"example 0 of train is an image of mode {mode}; convert it to RGB or L first"):
        from_torch(Pairs(pictures))


def test_torch_data_sets_of_every_kind_agree() -> None:
    x = torch.from_numpy(grey(20, 1, 4, 6))
    kinds = (
        TensorDataset(x, torch.arange(20)),
        Pairs([item.numpy() for item in x]),
        Pairs([Image.fromarray(item[0].numpy()) for item in x]),
        Pairs(list(x.float() / 255)),
        Stream(list(x)),
    )
    sets = [from_torch(kind) for kind in kinds]
    assert all(data.domain == LEVELS and data.shape == (1, 4, 6) for data in sets)
    assert len({data.checksum() for data in sets}) == 1
    assert from_torch(Pairs(list(x > 127)), Pairs(list(x[:3] > 127)), Stream(list(x[3:5] > 127))).domain == BINARY
    assert from_torch(Pairs(list(torch.randn(9, 5, dtype=torch.bfloat16)))).domain == REAL
    # Three rows of three channels: a torch data set has its channels first.
    cube = torch.from_numpy(grey(9, 3, 4, 3))
    assert from_torch(TensorDataset(cube)).shape == (3, 4, 3)


def test_a_registered_set_is_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", set())
    monkeypatch.delitem(DATA, "mine", raising=False)
    try:
        register("mine", TensorDataset(torch.from_numpy(grey(20))), binarise="dynamic")
        assert "mine" in names() and is_own("mine")
        assert load("mine").name == "mine" and load("mine").domain == BINARY
        assert load("mine", seed=1).checksum() != load("mine").checksum()
        register("mine", TensorDataset(torch.rand(9, 2)))
        assert load("mine").domain == REAL
    finally:
        DATA.pop("mine", None)
    for taken in ("mnist", "folder:x"):
        with pytest.raises(SeedbedError, match="is the name of another data set"):
            register(taken, TensorDataset(torch.rand(9, 2)))


def wrong_zip(path: Path) -> None:
    np.savez_compressed(path, x=grey())
    content = bytearray(path.read_bytes())
    content[80:120] = bytes(40)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "cannot be read as .npy or .npz"),
        (lambda p: p.write_text("hello"), "cannot be read as .npy or .npz"),
        (lambda p: p.touch(), "cannot be read as .npy or .npz"),
        (wrong_zip, "cannot be read as .npy or .npz"),
        (lambda p: np.savez(p, x=np.array([{}], object)), "cannot be read as .npy or .npz without pickle"),
        (lambda p: np.savez(p, x=grey(), y=grey()), "holds the arrays x, y; name them train, valid and test"),
        (lambda p: np.savez(p), "holds the arrays none"),
        (lambda p: np.savez(p, valid=grey(), test=grey()), "has valid, test and no train"),
        (lambda p: np.savez(p, train=grey(), val=grey(), valid=grey()), "has val and valid, both names of the valid split"),
        (lambda p: np.savez(p, train=grey(), x_train=grey()), "holds the arrays train, x_train, two of them of one split"),
        (lambda p: np.savez(p, train=grey(), test=grey(9, 6, 4)), "hold examples of different shapes"),
        (lambda p: np.savez(p, np.arange(5)), "has shape [5]; expected examples of 1 to 3 axes"),
        (lambda p: np.savez(p, grey(9, 2, 4, 4)), "expected 1 or 3 channels"),
        (lambda p: np.savez(p, np.zeros((0, 4))), "at least one value"),
        (lambda p: np.savez(p, np.full((9, 4), np.nan)), "not finite"),
        (lambda p: np.savez(p, np.full((9, 4), 1000)), "whole numbers 1000..1000; expected 8-bit levels 0..255"),
        (lambda p: np.savez(p, np.full((9, 4), "a")), "expected whole or real numbers"),
        (lambda p: np.savez(p, np.full((9, 4), 1j)), "expected whole or real numbers"),
        (lambda p: np.savez(p, train=grey(), valid=grey(1), test=grey()), "has 1 example; a standard error takes 2"),
        (lambda p: np.savez(p, grey(2)), "has 2 examples; at least 5 are needed"),
    ],
)
def test_bad_files(write: Any, says: str, tmp_path: Path) -> None:
    write(tmp_path / "x.npz")
    with pytest.raises(SeedbedError) as caught:
        load(f"array:{tmp_path / 'x.npz'}")
    message = str(caught.value)
    assert says in message and "x.npz" in message and "\n" not in message


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (Pairs([]), "the train data set has no examples"),
        (Pairs([torch.zeros(3), torch.zeros(4)]), "example 1 of train has shape [4], the first has [3]"),
        (Pairs([{"x": 1}] * 9), "example 0 of train is a dict; expected a tensor"),
        (Pairs(["text"] * 9), "expected examples of 1 to 3 axes"),
        (Endless(), "has no length; give it __len__"),
    ],
)
def test_bad_torch_data_sets(items: Dataset, says: str) -> None:
    with pytest.raises(SeedbedError) as caught:
        from_torch(items)
    assert says in str(caught.value)


def test_only_levels_are_binarised() -> None:
    with pytest.raises(SeedbedError, match="is real data; binarise takes 8-bit levels"):
        from_arrays({"train": RNG.normal(size=(9, 4))}, binarise="dynamic")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (torch.zeros(9, 3, device="meta"), "on meta; expected a dense one"),
        (torch.ones(9, 3).to_sparse(), "sparse_coo"),
        (np.ma.masked_less(np.arange(27.0).reshape(9, 3), 5), "masked values"),
        ({0: np.ones((9, 3))}, "own has 0, no splits"),
        (np.random.default_rng(0).normal(size=(1, 3)), "has 1 example"),
        (np.random.default_rng(0).normal(size=(5, 3)), "has 1 training example"),
        (np.random.default_rng(0).normal(size=(30, 3)) * 1e60, "beyond fp32"),
    ],
)
def test_values_that_are_none(values: object, says: str) -> None:
    with pytest.raises(SeedbedError, match=says):
        as_dataset(values)


def test_a_data_set_that_raises_is_said_in_one_line() -> None:
    class Raises(Pairs):
        def __getitem__(self, index: int) -> object:
            raise KeyError(index)

    with pytest.raises(SeedbedError, match="the data set Raises does not run: KeyError"):
        from_torch(Raises([0] * 9))


@pytest.mark.parametrize("cut", [6, 40])
def test_a_damaged_idx_file_is_called_so(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a-idx3-ubyte"
    path.write_bytes((b"\0\0\x08\x03" + b"\xff" * 12 + bytes(100))[:cut])
    with pytest.raises(SeedbedError, match="damaged IDX file"):
        as_dataset(f"array:{path}")


def test_tokens_that_would_wrap_around_are_refused() -> None:
    with pytest.raises(SeedbedError, match=r"tokens are below 2\^31; take them as real numbers"):
        kind_of({"train": np.array([[0, 2**63]] * 20, dtype=np.uint64)}, "own", plain=True)
