"""Training for long takes no more memory than training for a while."""

import os
from pathlib import Path

import pytest
import torch

from seedbed.core.noise import Streams
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest
from seedbed.train.loop import train_group

MIB = 1 << 20


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grown(workloads, path, steps):
    """Bytes by which a process grows over the last three quarters of a training, validations and checkpoints included."""
    seeds, seen = [0, 1], []
    task = workloads["small-vae"](steps=steps, eval_every=steps // 40)
    Manifest(experiment="x", config={}, groups=[seeds], strategy="vectorized", threads=1, device="cpu").write(path)
    train_group(
        task,
        Folder(path),
        seeds,
        [Streams(seed) for seed in seeds],
        device=torch.device("cpu"),
        threads=1,
        checkpoint_seconds=0,
        progress=lambda *_: seen.append(resident()),
    )
    return seen[-1] - seen[len(seen) // 4]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what a process has")
def test_memory_is_flat(workloads, tmp_path):
    assert grown(workloads, tmp_path, 1_600) < 4 * MIB


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what a process has")
def test_memory_of_100_000_steps_is_flat(workloads, tmp_path):
    assert grown(workloads, tmp_path, 100_000) < 4 * MIB
