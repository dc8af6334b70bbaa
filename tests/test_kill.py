"""``kill -9`` at any instant costs time, never a number; nor does the way in which seeds are executed."""

import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import seedbed
from seedbed.core.errors import SeedbedError
from seedbed.store.checkpoint import flatten
from seedbed.store.folder import Folder

NAME = "toy/8gaussians/vae"
SETTINGS = {"train_size": 4000, "eval_size": 500, "valid_size": 500, "batch_size": 32, "hidden": (8, 8)}
SHORT = {**SETTINGS, "steps": 60, "eval_every": 7, "patience": 6}


class Lives:
    """The process of ``tests/lives.py``."""

    def __init__(self):
        script = Path(__file__).with_name("lives.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __call__(self, out, death=None, seeds=(0, 1), settings=SHORT):
        job = {"out": str(out), "seeds": list(seeds), "settings": settings, "death": death}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["killed"] or answer["code"] == 0, answer
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def lives():
    lives = Lives()
    yield lives
    lives.close()


@pytest.fixture(scope="module")
def whole(lives, tmp_path_factory):
    """The uninterrupted run, and how long it takes from its first step on."""
    out = tmp_path_factory.mktemp("whole")
    answer = lives(out)
    assert not answer["killed"]
    return folder(out), answer["seconds"]


def folder(out):
    return Folder(Path(out) / NAME / "run")


def assert_same_run(a, b):
    """Checkpoints, rows (but for their time) and pictures, to the last bit."""
    assert a.manifest().groups == b.manifest().groups
    for group in b.manifest().groups:
        (tree, meta), (expected, expected_meta) = a.latest(group), b.latest(group)
        assert {**meta, "wall_s": 0} == {**expected_meta, "wall_s": 0}
        assert meta["done"]
        tree, expected = flatten(tree), flatten(expected)
        assert tree.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(tree[key].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8)), key
        rows, expected_rows = (f.table(group).read() for f in (a, b))
        assert [replace(r, wall_s=0.0) for r in rows] == [replace(r, wall_s=0.0) for r in expected_rows]
        assert all(math.isfinite(row.wall_s) and row.wall_s > 0 for row in rows)
        # Two are kept; a third is left where the very last act, the removal after the last checkpoint, was cut off.
        assert len(list(a.checkpoints(group).glob("step-*"))) in (2, 3)
    for name in ("samples", "density"):
        for key, value in b.arrays(name).items():
            assert (a.arrays(name)[key] == value).all(), name


def test_killed_at_random_instants(lives, whole, tmp_path):
    expected, seconds = whole
    instants, deaths = random.Random(0), 0
    for _ in range(3):
        deaths += lives(tmp_path, {"kind": "time", "when": instants.uniform(0, 2 * seconds / 3)})["killed"]
    lives(tmp_path)
    assert deaths >= 1  # the first delay is far below the run's length whatever the machine is doing
    assert_same_run(folder(tmp_path), expected)


# Where a process is most vulnerable; the run validates 9 times and then ends, with checkpoint 8 before its end
# is measured and 9 after.
DEATHS = {
    "step": (31, 0, 1, 59),
    "row half written": (4, 0, 9),
    "rows written": (9, 0, 4),
    "checkpoint half written": (4, 0, 8, 9),
    "checkpoint not renamed": (9, 0, 8),
    "checkpoint renamed": (0, 1, 8, 9),
    "picture half written": (0,),
}


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        pytest.param(kind, when, marks=[pytest.mark.slow] if position else [])
        for kind, occasions in DEATHS.items()
        for position, when in enumerate(occasions)
    ],
)
def test_killed_at_the_worst_moments(lives, whole, kind, when, tmp_path):
    assert lives(tmp_path, {"kind": kind, "when": when})["killed"]
    lives(tmp_path)
    assert_same_run(folder(tmp_path), whole[0])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_command_killed_twenty_times(tmp_path):
    """The real command, killed from outside at 20 random instants of its life, imports and pictures included."""

    def command(out):
        flags = {**SETTINGS, "hidden": "8,8", "steps": 3000, "eval_every": 50, "checkpoint_seconds": 0, "threads": 1}
        words = [f"--{key.replace('_', '-')}={value}" for key, value in flags.items()]
        return [sys.executable, "-m", "seedbed", "run", NAME, *words, "--seeds=2", f"--out={out}", "--name=run", "-q"]

    started = time.perf_counter()
    subprocess.run(command(tmp_path / "whole"), check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    instants, deaths, runs = random.Random(1), 0, 0
    while deaths < 20:
        process = subprocess.Popen(command(tmp_path / str(runs)), stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=instants.uniform(0, 0.7 * seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            deaths += 1
        else:
            assert_same_run(folder(tmp_path / str(runs)), folder(tmp_path / "whole"))
            runs += 1
    subprocess.run(command(tmp_path / str(runs)), check=True, stdout=subprocess.DEVNULL)
    assert_same_run(folder(tmp_path / str(runs)), folder(tmp_path / "whole"))


# --- strategies -----------------------------------------------------------------------------------------------------


def first_validation(run):
    table = run.table
    rows = table[(table["split"] == "valid") & (table["step"] == 3)]
    return {(row.seed, row.metric): row.value for row in rows.itertuples()}


@pytest.fixture(scope="module")
def vectorized(tmp_path_factory):
    return first_validation(strategy_run("vectorized", tmp_path_factory.mktemp("vectorized")))


def strategy_run(strategy, out, **changes):
    settings = {**SETTINGS, "steps": 6, "eval_every": 3, **changes}
    return seedbed.run(NAME, 2, out=out, strategy=strategy, threads=1, checkpoint_seconds=0.0, **settings)


@pytest.mark.parametrize("strategy", ["sequential", "processes"])
def test_strategies_end_to_end(vectorized, strategy, tmp_path):
    run = strategy_run(strategy, tmp_path)
    assert run.manifest.strategy == strategy
    groups = 2 if strategy == "sequential" else min(2, os.cpu_count())
    assert len(run.manifest.groups) == groups
    assert run.manifest.data["checksum"]
    found = first_validation(run)
    assert found.keys() == vectorized.keys() and len(found) >= 4
    for key, value in vectorized.items():
        assert found[key] == pytest.approx(value, rel=1e-4, abs=1e-4), key
    assert found[0, "neg_elbo_nats"] != pytest.approx(found[1, "neg_elbo_nats"], rel=1e-3)
    assert {row.metric for row in run.folder.rows() if row.split == "status"} <= {"finished", "worse_than_baseline"}
    assert len(run.models) == 2 and run.sample(5).shape == (2, 5, 2)


def test_what_a_worker_refuses_is_one_line(tmp_path):
    with pytest.raises(SeedbedError, match="batch size 5000 is larger than the 4000 training examples") as caught:
        strategy_run("processes", tmp_path, batch_size=5000)
    assert "\n" not in str(caught.value)


def test_workers_do_not_outlive_their_parent(tmp_path):
    """Orphans would go on writing beside the workers of the run that continues theirs."""
    flags = "--steps=100000 --eval-every=10 --train-size=4000 --valid-size=100 --strategy=processes --seeds=2 --name=run -q"
    command = [sys.executable, "-m", "seedbed", "run", NAME, *flags.split(), f"--out={tmp_path}"]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tables = folder(tmp_path).path / "table"
    deadline = time.monotonic() + 60
    while len(list(tables.glob("*.csv"))) < min(2, os.cpu_count()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    time.sleep(0.5)
    sizes = {path: path.stat().st_size for path in tables.iterdir()}
    time.sleep(0.5)
    assert sizes and {path: path.stat().st_size for path in tables.iterdir()} == sizes
