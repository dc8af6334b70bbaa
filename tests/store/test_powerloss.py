"""Whenever power is lost, what is left is a run that continues to the same end, from its last checkpoint."""

import os
import random

import pytest
from powerloss import Disk, PowerLossError

from seedbed.experiments import find
from seedbed.runs.execute import execute
from seedbed.store import checkpoint, locks
from seedbed.store.atomic import write_atomic
from seedbed.store.folder import Folder

NAME = "toy/8gaussians/vae"
SETTINGS = {"steps": 9, "eval_every": 3, "train_size": 64, "eval_size": 64, "valid_size": 64, "batch_size": 8}
SETTINGS |= {"hidden": (4,), "lr": 0.01}
SEEDS = [0, 1]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A lock whose file is torn is watched for a while: shorter than anybody should."""
    monkeypatch.setattr(locks, "SILENT", 0.05)
    monkeypatch.setattr(locks, "BEAT", 0.01)


def train(out):
    experiment = find(NAME).with_config(SETTINGS)
    return execute(NAME, experiment, SEEDS, out=out, tag="run", threads=1, checkpoint_seconds=0)


def state(folder):
    """Weights and rows without the clock."""
    tree, meta = checkpoint.load(checkpoint.steps(folder.checkpoints(SEEDS))[-1])
    weights = {name: tensor.numpy().tobytes() for name, tensor in checkpoint.flatten(tree).items()}
    rows = [vars(row) | {"wall_s": 0.0} for row in folder.table(SEEDS).read()]
    return weights, rows, meta["step"], meta["done"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    out = tmp_path_factory.mktemp("truth")
    disk = Disk(out, 0, out, random.Random(0), atomic=True)
    with disk.watching():
        folder = train(out)
    return state(folder), disk.operations


def lose(seed, truth, tmp_path, atomic):
    """Train, lose power once or twice, and train on; what is left then."""
    expected, operations = truth
    draw = random.Random(seed)
    place = tmp_path / f"{seed}-0"
    place.mkdir()
    for turn in range(draw.choice((1, 1, 2))):
        rescue = tmp_path / f"{seed}-{turn + 1}"
        disk = Disk(place, draw.randint(1, operations), rescue, draw, atomic=atomic)
        with disk.watching():
            try:
                train(place)
                break
            except PowerLossError:
                place = rescue
        folder = Folder(place / NAME / "run")
        # A look changes nothing, and the last checkpoint that was flushed is still there to go on from. Where a rename can
        # lose both files, it may be the one before.
        if atomic and folder.exists() and disk.safe_step:
            assert (folder.latest_meta(SEEDS) or {"step": 0})["step"] >= disk.safe_step
    assert state(train(place)) == expected, f"seed {seed}"


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("atomic", [True, False])
def test_power_is_lost(truth, tmp_path, atomic):
    for seed in range(6):
        lose(seed, truth, tmp_path, atomic)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("atomic", [True, False])
def test_power_is_lost_500_times(truth, tmp_path, atomic):
    for seed in range(100, 600):
        lose(seed, truth, tmp_path, atomic)


def test_the_disk_notices_who_does_not_flush(tmp_path):
    """A file that is renamed into place without being flushed is torn by some loss of power; ours never is."""
    torn = {True: 0, False: 0}
    for flushes in (True, False):
        for seed in range(40):
            place, rescue = tmp_path / f"{flushes}{seed}", tmp_path / f"{flushes}{seed}-left"
            place.mkdir()
            disk = Disk(place, 0, rescue, random.Random(seed), atomic=True)
            with disk.watching():
                for content in (b"old" * 9, b"new" * 9):
                    if flushes:
                        write_atomic(place / "x", lambda path, content=content: path.write_bytes(content))
                    else:
                        (place / "y").write_bytes(content)
                        os.replace(place / "y", place / "x")
                disk.after = disk.operations + 1
                with pytest.raises(PowerLossError):
                    os.unlink(place / "z")
            left = (rescue / "x").read_bytes() if (rescue / "x").exists() else b""
            torn[flushes] += left not in (b"old" * 9, b"new" * 9)
    assert torn[True] == 0 and torn[False] > 5
