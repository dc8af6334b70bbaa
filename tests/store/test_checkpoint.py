"""Checkpoints: whole or not there, the newest readable one wins, and one before it is kept."""

import errno
import os
import warnings
from pathlib import Path

import pytest
import torch

from seedbed.core.errors import SeedbedError
from seedbed.store import atomic, checkpoint


def tree(step):
    flat = torch.arange(6.0) + step
    return {
        "params": {"model": flat[:4].view(2, 2), "other": flat[4:]},  # views of one storage
        "states": {"model": {"inner": {"count": torch.tensor([step, 2], dtype=torch.int64)}}},
        "status": {"mask": torch.tensor([True, False]), "nan": torch.tensor([torch.nan, torch.inf], dtype=torch.float64)},
        "average": {},
    }


def steps_in(folder):
    return [int(path.stem.removeprefix("step-")) for path in sorted(folder.glob("step-*"))]


def test_a_tree_comes_back_to_the_last_bit(tmp_path):
    meta = {"counts": {"model": [3, ["utility", "kl"]]}, "wall_s": 0.1 + 0.2, "seeds": [0, 5], "done": False}
    path = checkpoint.save(tmp_path / "new", 7, tree(7), meta)
    loaded, about = checkpoint.load(path)
    assert about == {"step": 7, **meta}
    flat, expected = checkpoint.flatten(loaded), checkpoint.flatten(tree(7))
    assert flat.keys() == expected.keys()
    for key, value in expected.items():
        assert flat[key].dtype == value.dtype and flat[key].shape == value.shape
        assert torch.equal(flat[key].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8)), key


def test_what_is_loaded_may_be_changed_in_place(tmp_path):
    path = checkpoint.save(tmp_path, 1, tree(1), {})
    loaded, _ = checkpoint.load(path)
    loaded["params"]["model"] += 1
    assert torch.equal(checkpoint.load(path)[0]["params"]["model"], tree(1)["params"]["model"])


def test_two_are_kept(tmp_path):
    for step in (5, 10, 90, 100):
        checkpoint.save(tmp_path, step, tree(step), {})
    assert steps_in(tmp_path) == [90, 100]
    assert checkpoint.latest(tmp_path)[1]["step"] == 100
    assert checkpoint.latest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("damage", [0, 5, 100, -1, "garbage", "no metadata"])
def test_a_damaged_one_is_passed_over(tmp_path, damage):
    for step in (1, 2, 3):
        newest = checkpoint.save(tmp_path, step, tree(step), {})
    content = newest.read_bytes()
    if damage == "no metadata":
        from safetensors.torch import save

        content = save({"a": torch.zeros(2)})
    else:
        content = b"x" * len(content) if damage == "garbage" else content[:damage]
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=r"step-0000000003.safetensors is damaged; falling back to the previous"):
        loaded, meta = checkpoint.latest(tmp_path)
    assert meta["step"] == 2
    assert torch.equal(loaded["params"]["model"], tree(2)["params"]["model"])
    assert newest.read_bytes() == content  # a reader changes nothing
    with pytest.raises(SeedbedError, match="truncated or corrupt; delete it and run again"):
        checkpoint.load(newest)
    # The one who continues writes again: nothing damaged stays in front of it, and its previous one is kept.
    checkpoint.save(tmp_path, 2, tree(2), {"again": True})
    assert steps_in(tmp_path) == [2]
    checkpoint.save(tmp_path, 3, tree(3), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.latest(tmp_path)[1]["step"] == 3
    assert steps_in(tmp_path) == [2, 3]


def test_all_of_them_damaged_is_like_none(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, tree(step), {}).write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
        assert checkpoint.latest(tmp_path) is None


def test_one_that_cannot_be_read_is_not_called_damaged(tmp_path):
    (tmp_path / "step-0000000001.safetensors").mkdir()
    with pytest.raises(SeedbedError, match="cannot read checkpoint"):
        checkpoint.latest(tmp_path)


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    left = tmp_path / ".step-0000000002.safetensors.1.tmp"
    left.write_bytes(b"half")
    checkpoint.save(tmp_path, 3, tree(3), {})
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000003.safetensors"]


# --- writes that fail -----------------------------------------------------------------------------------------------

REFUSALS = {
    errno.ENOSPC: "no space left to write .*: free some space",
    errno.EDQUOT: "no space left to write",
    errno.EROFS: "cannot write .*: Read-only file system; choose a writable folder with --out",
    errno.EACCES: "cannot write .*: Permission denied; choose a writable folder",
    errno.EIO: "cannot write .*: Input/output error",
}


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, number, moment):
    path = tmp_path / "file"
    atomic.write_atomic(path, lambda temporary: temporary.write_text("old"))

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    def write(temporary: Path) -> None:
        temporary.write_text("ne")
        if moment == "write":
            refuse()

    if moment != "write":
        monkeypatch.setattr(os, moment, refuse)
    with pytest.raises(SeedbedError, match=REFUSALS[number]) as caught:
        atomic.write_atomic(path, write)
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_exception_of_the_writer_is_not_hidden(tmp_path):
    def write(temporary: Path) -> None:
        temporary.write_text("ne")
        raise ValueError("no file's fault")

    with pytest.raises(ValueError, match="no file's fault"):
        atomic.write_atomic(tmp_path / "file", write)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_both_earlier_checkpoints(tmp_path, no_file_beyond):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, tree(step), {})
    with no_file_beyond(100), pytest.raises(SeedbedError, match=r"cannot write .*step-0000000003"):
        checkpoint.save(tmp_path, 3, tree(3), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000000001.safetensors", "step-0000000002.safetensors"]
    assert checkpoint.latest(tmp_path)[1]["step"] == 2


def test_checkpoints_are_as_readable_as_other_files(tmp_path):
    (tmp_path / "plain").write_text("")
    path = checkpoint.save(tmp_path, 1, tree(1), {})
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
