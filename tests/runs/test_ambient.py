"""What a process has set for itself decides no number: a run under each setting equals the plain one bit for bit."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import seedbed
from seedbed.core.ambient import plain
from seedbed.store.folder import Folder

SMALL = {"steps": 6, "eval_every": 3, "batch_size": 16, "hidden": (8,)}


def made(out, name="a"):
    run = seedbed.run("digits/digits-binary/vae", 2, budget="smoke", out=out, name=name, threads=1, **SMALL)
    tree, _ = run.folder.latest([0, 1])
    rows = [(row.seed, row.step, row.split, row.metric, row.value, row.se) for row in run.folder.rows()]
    return tree, rows, run.sample(3), run.models[0].sample(2)


@pytest.fixture(scope="module")
def plainly(tmp_path_factory):
    return made(tmp_path_factory.mktemp("plain"))


@contextmanager
def setting(set_, value, before):
    set_(value)
    try:
        yield
    finally:
        set_(before)


@contextmanager
def device():
    with setting(torch.set_default_device, "meta", None):
        yield


SETTINGS = {
    "default type": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "default device": device,
    "a device's scope": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "precision of products": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "threads": lambda: setting(torch.set_num_threads, 3, 1),
    "errors of floating-point numbers": lambda: np.errstate(all="raise"),
    "depth of calls": lambda: setting(sys.setrecursionlimit, 300, sys.getrecursionlimit()),
}


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_no_setting_changes_a_bit(kind, plainly, tmp_path):
    with SETTINGS[kind]():
        found = made(tmp_path)
    for ours, others in zip(found, plainly, strict=True):
        assert same(ours, others)


def test_everything_is_as_it_was_afterwards():
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("high")
    try:
        with torch.inference_mode(), torch.device("meta"), pytest.raises(KeyError), plain(threads=2):
            assert torch.ones(1).dtype == torch.float32 and torch.ones(1).device.type == "cpu"
            assert torch.get_num_threads() == 2 and not torch.is_inference_mode_enabled()
            raise KeyError
        assert torch.get_default_dtype() == torch.float64 and torch.get_float32_matmul_precision() == "high"
        assert torch.get_num_threads() == 1
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")


def test_random_states_are_neither_read_nor_moved(plainly, tmp_path):
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert same(made(tmp_path)[0], plainly[0])  # Python's own is moved by what checks types in tests
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_a_folder_that_is_left_is_written_to_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = seedbed.run("digits/digits-binary/vae", 1, budget="smoke", name="a", threads=1, **SMALL)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert len(run.table) and Folder(run.path).exists()
