"""One writer per group of seeds."""

import pytest

from seedbed import SeedbedError
from seedbed.store import locks
from seedbed.store.folder import Folder
from seedbed.store.locks import held
from seedbed.store.manifest import Manifest


def test_a_second_writer_is_refused_and_a_later_one_is_not(tmp_path):
    with (
        held(tmp_path / ".lock", "training"),
        pytest.raises(SeedbedError, match=r"process \d+ on .* is training"),
        held(tmp_path / ".lock", "training"),
    ):
        pass
    with held(tmp_path / ".lock", "training"):
        pass


def test_a_run_is_not_moved_while_a_part_of_it_is_written(tmp_path):
    folder = Folder(tmp_path / "run")
    Manifest(experiment="x", config={}, groups=[[0]], strategy="vectorized", threads=1, device="cpu").write(folder.path)
    with folder.working("seed-0", "training seed 0"), pytest.raises(SeedbedError, match="is training seed 0"):
        folder.move_aside()
    aside = folder.move_aside()
    assert Folder(aside).exists() and not folder.exists() and not list(aside.rglob(".lock*"))


def test_another_machine_is_waited_for_only_while_it_lives(tmp_path, monkeypatch):
    """Where the system's locks end at the machine, as some network folders have it."""
    monkeypatch.setattr(locks, "BEAT", 0.05)
    monkeypatch.setattr(locks, "SILENT", 0.4)
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(locks, "machine", lambda: "there")
    with held(tmp_path / ".lock", "training"):
        monkeypatch.setattr(locks, "machine", lambda: "here")
        with pytest.raises(locks.Busy, match="is training"), held(tmp_path / ".lock", "training"):
            pass
    (tmp_path / ".lock").write_text('{"machine": "there", "token": "of one that was killed"}')
    with held(tmp_path / ".lock", "training"):
        pass
