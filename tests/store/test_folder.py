"""Run folders: what is stored is what comes back, and what is something else is refused in one line."""

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import seedbed
from seedbed.core.errors import SeedbedError
from seedbed.experiments import find
from seedbed.runs.execute import execute, run_folder
from seedbed.store import manifest as manifests
from seedbed.store.folder import Folder, group_name
from seedbed.store.manifest import COPY, FILE, Manifest, config_hash
from seedbed.store.table import Row

NAME = "toy/8gaussians/vae"
SETTINGS = {"steps": 2, "eval_every": 2, "train_size": 64, "eval_size": 64, "valid_size": 64, "batch_size": 8, "lr": 0.25}
SETTINGS |= {"hidden": (4,)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run; copy it before changing it."""
    out = tmp_path_factory.mktemp("runs")
    return execute(NAME, find(NAME).with_config(SETTINGS), [0, 1], out=out, tag="run", threads=1)


@pytest.fixture
def copied(finished, tmp_path):
    target = tmp_path / NAME / "run"
    shutil.copytree(finished.path, target)
    return Folder(target)


def again(tmp_path, name=NAME, seeds=(0, 1), **settings):
    experiment = find(name).with_config({**SETTINGS, **settings})
    return execute(name, experiment, seeds, out=tmp_path, tag="run", threads=1)


def refused(message, call, *args, **options):
    with pytest.raises(SeedbedError, match=message) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)


def manifest(**changes):
    fields = {"experiment": "toy/x/y", "config": {"lr": 0.1, "hidden": [4, 4]}, "groups": [[3, 0], [1]]}
    return Manifest(**{**fields, "strategy": "vectorized", "threads": 2, "device": "cpu", **changes})


def test_a_manifest_comes_back(tmp_path):
    written = manifest(data={"checksum": "00"}, command="seedbed run toy/x/y")
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written
    assert written.seeds == [0, 1, 3]
    assert json.loads((tmp_path / FILE).read_text())["hash"] == written.hash


def test_a_hash_names_the_settings_and_nothing_else():
    config = {"lr": 0.1, "hidden": [4, 4]}
    assert config_hash("a", config) == config_hash("a", dict(reversed(config.items()))) == config_hash("a", config)
    others = [config_hash("b", config), config_hash("a", {**config, "lr": 0.2}), config_hash("a", {**config, "new": 0})]
    assert len({config_hash("a", config), *others}) == 4
    assert manifest(threads=1, strategy="processes", groups=[[0]], device="cuda:0").hash == manifest().hash
    # Stored names of runs must not change between versions or machines.
    assert config_hash("a", config) == "33a0a590"


def test_a_finished_run_is_not_trained_again(copied, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in copied.path.rglob("*") if path.is_file() and path.name != FILE}
    again(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_new_seeds_join_a_run(copied, tmp_path):
    old = copied.table([0, 1]).path.read_text()
    again(tmp_path, seeds=(0, 1, 2))
    assert copied.manifest().groups == [[0, 1], [2]]
    assert copied.table([0, 1]).path.read_text() == old
    assert sorted({row.seed for row in copied.rows()}) == [0, 1, 2]
    assert copied.arrays("samples")["x"].shape[0] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.5}, "was run with lr=0.25, now 0.5; choose another --name, or --again"),
        ({"hidden": (4, 4)}, r"was run with hidden=\[4\], now \[4, 4\]"),
        ({"steps": 4}, "was run with steps=2, now 4"),
    ],
)
def test_another_configuration_is_refused(copied, tmp_path, settings, message):
    refused(message, again, tmp_path, **settings)
    assert copied.manifest().config["lr"] == 0.25


@pytest.mark.parametrize(("what", "value"), [("strategy", "sequential"), ("threads", 2)])
def test_a_run_goes_on_as_it_began_or_not_at_all(copied, tmp_path, what, value):
    experiment, options = find(NAME).with_config(SETTINGS), {"out": tmp_path, "tag": "run", what: value}
    execute(NAME, experiment, [1, 0], **options)  # nothing is left to be done
    before = (copied.path / FILE).read_text()
    refused(f"was begun with {what} .*, now {value}; leave out --{what}", execute, NAME, experiment, [0, 1, 2], **options)
    assert (copied.path / FILE).read_text() == before


def test_another_experiment_is_refused(copied, tmp_path):
    other = tmp_path / "toy/8gaussians/vae-no-warmup"
    copied.path.parent.rename(other)
    refused(
        "is a run of toy/8gaussians/vae, not of toy/8gaussians/vae-no-warmup; choose another --name",
        again,
        tmp_path,
        "toy/8gaussians/vae-no-warmup",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 99}', "was written in run format 99, this version reads 1"),
        ("[]", "was written in run format None"),
        ('{"format": 1', "is damaged"),
        ('{"format": 1, "experiment": "x"}', "is damaged"),
        ("\x00\xff", "is damaged"),
    ],
)
def test_other_formats_and_damage_are_refused(copied, tmp_path, text, message):
    (copied.path / FILE).write_bytes(text.encode("latin-1"))
    (copied.path / COPY).unlink()
    refused(message, again, tmp_path)
    refused(message, seedbed.load, copied.path)


def test_foreign_folders_are_refused(tmp_path):
    folder = tmp_path / NAME / "run"
    folder.mkdir(parents=True)
    refused("is no run folder: it has no run.json", seedbed.load, folder)
    refused("is no run folder", seedbed.load, tmp_path / "nowhere")
    (folder / "thesis.tex").write_text("years of work")
    refused("holds other files and no run; choose another --name or --out", again, tmp_path)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_a_fine_place(tmp_path):
    (tmp_path / NAME / "run").mkdir(parents=True)
    assert again(tmp_path).manifest().seeds == [0, 1]


def test_again_moves_the_old_run_aside(copied, tmp_path):
    experiment = find(NAME).with_config({**SETTINGS, "lr": 0.5})
    folder = execute(NAME, experiment, [4], out=tmp_path, tag="run", threads=1, again=True)
    assert folder.manifest().seeds == [4] and folder.manifest().config["lr"] == 0.5
    (aside,) = [path for path in folder.path.parent.iterdir() if path != folder.path]
    assert ".replaced-" in aside.name and Folder(aside).manifest().seeds == [0, 1]


def test_no_array_is_lost_between_groups(tmp_path):
    folder = Folder(tmp_path)
    manifest(groups=[[3, 0], [1]]).write(tmp_path)
    folder.save_arrays("samples", [3, 0], {"x": np.float32([[30], [0]])})
    assert folder.arrays("samples")["x"].tolist() == [[0], [30]]  # an unfinished run shows what it has
    folder.save_arrays("samples", [1], {"x": np.float32([[10]])})
    assert folder.arrays("samples")["x"].tolist() == [[0], [10], [30]]
    assert folder.arrays("nothing") == {} and folder.reference() == {}
    folder.save_reference({"x": np.float32([1, 2])})
    assert folder.reference()["x"].tolist() == [1, 2]


def test_groups_have_names_of_their_own():
    assert group_name([3]) == "seed-3" and group_name([3, 4]) == "seed-3-4"
    assert group_name(range(10)) == "seeds-0-to-9-of-10"


def test_rows_of_all_groups(tmp_path):
    manifest().write(tmp_path)
    folder = Folder(tmp_path)
    rows = [Row(seed, 1, "valid", "nll_nats", 0.5, "nats", 2, 0.1, 0.0) for seed in (3, 0, 1)]
    folder.table([3, 0]).append(rows[:2])
    folder.table([1]).append(rows[2:])
    assert folder.rows() == rows
    assert folder.frame()["seed"].tolist() == [0, 1, 3]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    refused("cannot write .*run: .*; choose a writable folder with --out", again, tmp_path)


def test_out_is_a_file(tmp_path):
    (tmp_path / "runs").write_text("")
    refused("runs is a file, not a folder; choose another --name or --out", again, tmp_path / "runs")


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    refused("cannot write .*; choose a writable folder with --out", again, tmp_path)


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1]])
def test_bad_seeds_are_refused(tmp_path, seeds):
    refused("seeds must be", again, tmp_path, seeds=seeds)
    assert list(tmp_path.iterdir()) == []


def test_where_a_run_lives(tmp_path):
    experiment = find(NAME)
    assert run_folder(NAME, experiment, tmp_path).path.name == config_hash(NAME, experiment.config())
    assert run_folder("../my dir/file.py:own", experiment, tmp_path, "tag").path.parent.parent == tmp_path


def test_versions_name_the_commit_of_the_code_and_not_of_the_folder_it_runs_in(tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "another project"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.chdir(tmp_path)
    manifests._commit.cache_clear()
    other = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    root = Path(manifests.__file__).parents[3]
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    commit = manifests.versions().get("commit")
    assert commit is None or (commit != other.strip() and head.stdout.startswith(commit.removesuffix("-dirty")))
    # An installed package has none, even where its environment lies in a checkout.
    monkeypatch.setattr(manifests, "__file__", str(tmp_path / "package.py"))
    manifests._commit.cache_clear()
    (tmp_path / "package.py").touch()
    assert "commit" not in manifests.versions()
    manifests._commit.cache_clear()
