"""What is written replaces plain files alone, by way of files that nobody can guess and that do not outlive a kill."""

import os
import stat

import pytest

from seedbed import SeedbedError
from seedbed.core.temporary import STALE, _created, sweep, temporary_file
from seedbed.store.atomic import write_atomic
from seedbed.store.outputs import output


def fill(path):
    path.write_text("new")


KINDS = {
    "is a folder": lambda path: path.mkdir(),
    "is a pipe": os.mkfifo,
    "is a link to precious": lambda path: (path.with_name("precious").write_text("old"), path.symlink_to("precious")),
    "is a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "is a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}


@pytest.mark.parametrize("says", KINDS)
def test_nothing_but_a_plain_file_is_replaced(says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x"
    KINDS[says](path)
    before = {entry.name: entry.lstat().st_ino for entry in tmp_path.iterdir()}
    with pytest.raises(SeedbedError, match=says):
        write_atomic(path, fill)
    assert {entry.name: entry.lstat().st_ino for entry in tmp_path.iterdir()} == before


def test_a_device_is_not_replaced():
    with pytest.raises(SeedbedError, match="is a device"):
        output(os.devnull)


def test_permissions_are_those_of_what_is_replaced_or_of_the_mask(tmp_path):
    mask = os.umask(0o027)
    try:
        write_atomic(tmp_path / "new", fill)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_atomic(tmp_path / "new", fill)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_temporary_names_are_new_and_their_place_is_kept(tmp_path):
    with temporary_file(tmp_path / ("n" * 255)) as one, temporary_file(tmp_path / ("n" * 255)) as two:
        assert one != two and one.exists() and two.exists()  # and the first was not swept by the second
    (tmp_path / "victim").write_text("old")

    def planted(place):
        place.unlink()
        place.symlink_to("victim")

    with pytest.raises(SeedbedError, match="something else has taken the place"):
        write_atomic(tmp_path / "x", planted)
    assert (tmp_path / "victim").read_text() == "old" and not (tmp_path / "x").is_symlink()


def test_what_a_kill_left_goes_and_nothing_else(tmp_path, monkeypatch):
    ours, in_use = (_created(tmp_path / "x.npz", ending) for ending in ("tmp", "part"))
    os.close(ours[1])  # as the system does for one that is killed
    for name in (".x.npz.1234.tmp", ".x.npz.0123456789abcdef.swp", "x.0123456789abcdef.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".y.0123456789abcdef.tmp").symlink_to("x.0123456789abcdef.tmp")
    left = {path.name for path in tmp_path.iterdir()}
    write_atomic(tmp_path / "y", fill)
    assert {path.name for path in tmp_path.iterdir()} == left - {ours[0].name} | {"y"}
    # Where locks do not tell, age does.
    monkeypatch.setattr("seedbed.core.temporary._locked", lambda handle: None)
    sweep(tmp_path)
    assert in_use[0].exists()
    os.utime(in_use[0], (0, in_use[0].stat().st_mtime - STALE - 1))
    sweep(tmp_path)
    assert not in_use[0].exists()
    os.close(in_use[1])


OF_A_RUN = [
    "run.json",
    "RUN.JSON",
    "table/x.csv",
    "checkpoints/x",
    "evaluations/deep/x.csv",
    "artefacts/reference.npz",
    ".lock",
]


@pytest.mark.parametrize("name", OF_A_RUN)
def test_files_of_a_run_are_no_outputs(name, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "table").mkdir()
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "elsewhere", tmp_path / "table" / ".."):
        with pytest.raises(SeedbedError, match=r"of the run .* itself"):
            output(folder / name)
    assert output(tmp_path / "report.html", (".html",)) == tmp_path / "report.html"


@pytest.mark.parametrize("name", ["", ".", "a\0b", "n" * 300])
def test_names_that_no_output_can_have(name):
    with pytest.raises(SeedbedError) as caught:
        output(name)
    assert len(str(caught.value).splitlines()) == 1
