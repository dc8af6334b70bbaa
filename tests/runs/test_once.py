"""Once is enough: what a run builds, loads and reads, counted."""

import json
from collections import Counter

import pytest

import seedbed
from seedbed import data
from seedbed.core.interrupts import Interrupted
from seedbed.experiments import find
from seedbed.runs.evaluate import Request, evaluate
from seedbed.store import checkpoint
from seedbed.store.atomic import write_atomic
from seedbed.train import loop
from seedbed.train.learner import Learner
from seedbed.train.optim import Optimizer

NAME = "digits/digits-binary/vae"
IMAGES = {"steps": 4, "eval_every": 2, "batch_size": 16, "hidden": (8, 4), "latents": 2}
SEEDS = [0, 1, 2]


@pytest.fixture
def counted(monkeypatch):
    """How often tasks are built, data sets loaded, and checkpoints read: their tensors, or their metadata alone."""
    counts = Counter()

    def count(place, attribute, what):
        plain = getattr(place, attribute)

        def counting(*args, **options):
            counts[what] += 1
            return plain(*args, **options)

        monkeypatch.setattr(place, attribute, counting)

    count(type(find(NAME)), "task", "tasks")
    count(checkpoint, "load", "tensors")
    count(checkpoint, "load_meta", "metadata")
    loader = data.DATA["digits-binary"]
    monkeypatch.setitem(data.DATA, "digits-binary", lambda **options: counts.update(["data"]) or loader(**options))
    return counts


@pytest.fixture
def started(tmp_path):
    return lambda **options: seedbed.run(NAME, **{"seeds": SEEDS, "out": tmp_path, "threads": 1, **IMAGES, **options})


@pytest.mark.parametrize(("strategy", "groups"), [("vectorized", 1), ("sequential", 3)])
def test_a_task_is_built_once_for_each_group_and_data_are_loaded_once(counted, started, strategy, groups):
    started(strategy=strategy)
    assert (counted["tasks"], counted["data"], counted["tensors"]) == (groups, 1, 0)
    counted.clear()
    started(strategy=strategy)  # is finished: nothing is to be built, and its weights are held to their checksum
    assert (counted["tasks"], counted["data"], counted["tensors"]) == (0, 0, groups) and counted["metadata"]


def test_another_run_loads_its_data_anew(counted, started):
    started()
    started(lr=0.5)
    assert (counted["tasks"], counted["data"]) == (2, 2)


def test_a_continued_run_reads_the_tensors_of_its_checkpoint_once(counted, started, monkeypatch):
    advance = Learner.advance

    def stopped(learner):
        advance(learner)
        if learner.step == 3:
            raise Interrupted

    monkeypatch.setattr(Learner, "advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        started(checkpoint_seconds=0.0)
    monkeypatch.setattr(Learner, "advance", advance)
    counted.clear()
    run = started(checkpoint_seconds=0.0)
    assert (counted["tasks"], counted["data"], counted["tensors"]) == (1, 1, 1)
    assert run.folder.latest_meta(SEEDS)["done"]


def test_a_refused_run_is_still_refused_before_it_is_written(counted, started, tmp_path):
    with pytest.raises(seedbed.SeedbedError, match="larger than"):
        started(batch_size=10**6)
    assert list(tmp_path.iterdir()) == [] and counted["tasks"] == 1


def test_a_warm_start_builds_its_own_task_alone_and_reads_the_other_run_once(counted, started):
    other = started(name="other")
    counted.clear()
    started(name="warm", warm_start=str(other.path))
    assert (counted["tasks"], counted["tensors"], counted["data"]) == (1, 1, 1)


def test_who_reads_weights_builds_no_learner_and_no_optimiser(counted, started, monkeypatch):
    run = started(strategy="sequential")
    counted.clear()

    def never(*_):
        raise AssertionError("built for nothing")

    monkeypatch.setattr(Learner, "__init__", never)
    monkeypatch.setattr(loop, "Learner", never)
    for rule in (Optimizer, *Optimizer.__subclasses__()):
        monkeypatch.setattr(rule, "init", never)
    again = seedbed.load(run.path)
    assert len(again.models) == 3
    assert (counted["tensors"], counted["data"]) == (3, 0)  # weights are enough
    counted.clear()
    assert again.sample(5).shape[:2] == (3, 5)
    assert (counted["tensors"], counted["data"]) == (3, 0)
    counted.clear()
    assert again.sample(5, seed=1).shape[0] == 5  # of one seed, its group alone
    assert (counted["tensors"], counted["data"]) == (1, 0)
    counted.clear()
    assert {row.seed for row in evaluate(again, Request(options={"samples": 4}))} >= set(SEEDS)
    assert (counted["tensors"], counted["data"]) == (3, 1)


def test_metadata_are_read_without_the_tensors_that_follow(started, monkeypatch):
    """Of a checkpoint a header says all that is asked: what is behind it may be as large as it likes."""
    run = started()
    (path,) = list(run.folder.checkpoints(SEEDS).glob("*.safetensors"))[-1:]
    header = int.from_bytes(path.read_bytes()[:8], "little")
    entries = json.loads(path.read_bytes()[8 : 8 + header])
    assert entries["__metadata__"].keys() == {"seedbed"}

    def never(*_):
        raise AssertionError("tensors are read")

    monkeypatch.setattr(checkpoint, "unflatten", never)
    meta = run.folder.latest_meta(SEEDS)
    assert (meta["step"], meta["done"], meta["seeds"]) == (4, True, SEEDS)
    with pytest.raises(AssertionError, match="tensors are read"):
        run.folder.latest(SEEDS)


@pytest.mark.parametrize("damage", [0, 5, -1])
def test_metadata_of_a_damaged_checkpoint_are_those_of_the_one_before(started, damage):
    folder = started(checkpoint_seconds=0.0).folder
    last = sorted(folder.checkpoints(SEEDS).glob("*.safetensors"))[-1]
    content = last.read_bytes()[:damage]
    write_atomic(last, lambda temporary: temporary.write_bytes(content))
    with pytest.warns(UserWarning, match="is damaged; falling back to the previous one"):
        assert folder.latest_meta(SEEDS)["step"] == 2
