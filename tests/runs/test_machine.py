"""How many cores a run takes, unless it is told: no more than the machine grants."""

import os

import pytest

from seedbed.runs import machine
from seedbed.runs.machine import granted_cores, threads_of

QUOTAS = {
    "version 2": ({"cpu.max": "150000 100000"}, 2),
    "version 2, no bound": ({"cpu.max": "max 100000"}, 8),
    "version 1": ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    "version 1, no bound": ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    "more than there are": ({"cpu.max": "6400000 100000"}, 8),
    "nothing said": ({}, 8),
    "nonsense": ({"cpu.max": ""}, 8),
}


@pytest.fixture(autouse=True)
def eight(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("kind", QUOTAS)
def test_a_container_grants_a_share(kind, tmp_path):
    files, cores = QUOTAS[kind]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert granted_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("environment", "asked", "threads"),
    [
        ({}, None, 6),
        ({"OMP_NUM_THREADS": "4,2"}, None, 4),
        ({"SLURM_CPUS_PER_TASK": "3", "OMP_NUM_THREADS": "5"}, None, 3),
        ({"OMP_NUM_THREADS": "64"}, None, 6),
        ({"OMP_NUM_THREADS": "many"}, None, 6),
        ({"OMP_NUM_THREADS": "2"}, 5, 5),
    ],
)
def test_threads_by_default(environment, asked, threads, monkeypatch):
    monkeypatch.setattr(machine, "granted_cores", lambda: 6)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert threads_of(asked, [[0, 1]], "vectorized") == threads
