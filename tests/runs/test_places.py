"""Data that moved since a run began: found where they were last, or where one says, and known by their checksum."""

from pathlib import Path

import numpy as np
import pytest
import torch

import seedbed
from seedbed.cli.main import main
from seedbed.data import has_path, load, rooted
from seedbed.runs.evaluate import Request, evaluate
from seedbed.store.manifest import Manifest

RUN = ["run", "vae", "-d", "array:t.npy", "--steps", "2", "--eval-every", "2", "--batch-size", "8", "--hidden", "4,4"]
RUN += ["--latents", "2", "--threads", "1", "-q", "--name", "one"]
NLL = Request(estimator="nll", options={"samples": 2})


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A run on a file that its relative path was typed of."""
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", np.random.default_rng(0).normal(size=(60, 3)).astype("f4"))
    call(*RUN, "-n", "1")
    return tmp_path


def call(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert int(stop.value.code or 0) == code


def test_a_run_is_measured_from_any_folder(work, tmp_path_factory, monkeypatch):
    path = work / "runs/vae/one"
    assert Manifest.read(path).data["place"] == f"array:{work}/t.npy" and Manifest.read(path).config["data"] == "array:t.npy"
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    np.save("t.npy", np.zeros((60, 3), "f4") + np.arange(60)[:, None] / 7)  # another file of that name is not taken for it
    assert len(evaluate(seedbed.load(path), NLL)) > 0


def test_where_they_are_now_is_said_once_and_held_to_their_checksum(work, capsys):
    path = Path("runs/vae/one")
    Path("new").mkdir()
    Path("t.npy").rename("new/x.npy")
    np.save("other.npy", np.random.default_rng(1).normal(size=(60, 3)).astype("f4"))
    assert seedbed.load(path).sample(3).shape == (1, 3, 3)  # weights are enough
    call("evaluate", path, "-k", "2", "-q", code=2)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"the data of {path} are not there" in err and "no such file" in err
    assert f"`seedbed evaluate {path} --data-at array:PATH`" in err and "--name one" in err
    call("evaluate", path, "-k", "2", "-q", "--data-at", "array:other.npy", code=2)
    assert "are not those that it was trained on: array:other.npy have changed since it began" in capsys.readouterr().err
    assert not (path / "evaluations").exists()
    call("evaluate", path, "-k", "2", "-q", "--data-at", "array:new/x.npy")
    assert Manifest.read(path).data["place"] == f"array:{work}/new/x.npy"
    call("evaluate", path, "-k", "3", "-q")  # remembered


def test_the_same_data_by_another_path_are_the_same_run(work):
    path = work / "runs/vae/one"
    before = seedbed.load(path)
    call(*[f"array:{work}/t.npy" if word == "array:t.npy" else word for word in RUN], "-n", "2")
    run = seedbed.load(path)
    assert run.seeds == [0, 1] and run.manifest.hash == before.manifest.hash
    assert torch.equal(run.sample(4, seed=0), before.sample(4, seed=0))
    (work / "t.npy").rename(work / "moved.npy")
    call(*["array:moved.npy" if word == "array:t.npy" else word for word in RUN], "-n", "3")
    assert seedbed.load(path).seeds == [0, 1, 2]


def test_other_data_of_that_name_are_another_run(work, capsys):
    np.save("u.npy", np.random.default_rng(1).normal(size=(60, 3)).astype("f4"))
    call(*["array:u.npy" if word == "array:t.npy" else word for word in RUN], "-n", "1", code=2)
    assert "was run with data=array:t.npy, now array:u.npy" in capsys.readouterr().err


def test_a_registered_set_has_no_other_place(tmp_path):
    sizes = {"train_size": 64, "valid_size": 16, "eval_size": 16}
    run = seedbed.run("flow", data="moons", seeds=1, steps=1, out=tmp_path, couplings=1, hidden=(4,), batch_size=8, **sizes)
    with pytest.raises(seedbed.SeedbedError, match="moons, which are found by that name; leave --data-at out"):
        evaluate(run, NLL, data_at="array:x.npy")


def test_a_name_in_one_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = f"array:{tmp_path}/x.npy,binarise=dynamic"
    assert {rooted(f"array:{p}x.npy,binarise=dynamic") for p in ("", "./", "a/../", f"{tmp_path}/")} == {here}
    assert rooted("moons") == "moons" and rooted("c:/x") == "c:/x" and not has_path("moons") and has_path("folder:x")


def test_data_read_from_elsewhere_keep_their_name(tmp_path):
    from seedbed.data import found_at, loaded_once

    np.save(tmp_path / "b.npy", np.random.default_rng(0).normal(size=(10, 3)))
    asked, there = f"array:{tmp_path}/a.npy", f"array:{tmp_path}/b.npy"
    with loaded_once(), found_at({asked: there}):
        assert load(asked).name == asked and load(asked).checksum() == load(there).checksum()
    with pytest.raises(seedbed.SeedbedError, match="no such file"):
        load(asked)
