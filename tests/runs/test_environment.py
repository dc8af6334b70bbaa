"""What a shell has set decides no number: a run under each setting equals the plain one bit for bit."""

import os
import subprocess
import sys

import pytest

from seedbed.store import checkpoint
from seedbed.store.folder import Folder

RUN = (
    "run",
    "digits/digits-binary/vae",
    "-n",
    "2",
    "--budget",
    "smoke",
    "--threads",
    "1",
    "--steps",
    "20",
    "-q",
    "--name",
    "a",
)
SETTINGS = {
    "a locale of ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "a locale with other capitals": {"LC_ALL": "tr_TR.UTF-8"},
    "another encoding": {"PYTHONIOENCODING": "cp1252"},
    "no docstrings": {"PYTHONOPTIMIZE": "2"},
    "a time zone": {"TZ": "Asia/Kathmandu"},
    "a narrow terminal": {"COLUMNS": "20"},
    "an order of sets": {"PYTHONHASHSEED": "7"},
    "a back end that is not there": {"MPLBACKEND": "module://nowhere"},
    "a style": {"MATPLOTLIBRC": "matplotlibrc"},
    "warnings as errors": {"PYTHONWARNINGS": "error"},
    "development": {"PYTHONDEVMODE": "1"},
    "threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
}
TOGETHER = ("a locale of ASCII", "no docstrings", "a back end that is not there", "a style", "warnings as errors", "threads")


def made(place, setting):
    """All numbers of a run under a setting."""
    (place / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\n")
    done = subprocess.run(
        [sys.executable, "-m", "seedbed", *RUN], cwd=place, env={**os.environ, **setting}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    folder = Folder(place / "runs" / RUN[1] / "a")
    tree, _ = checkpoint.load(checkpoint.steps(folder.checkpoints([0, 1]))[-1])
    weights = {name: tensor.numpy().tobytes() for name, tensor in checkpoint.flatten(tree).items()}
    pictures = {name: array.tobytes() for name, array in folder.arrays("samples").items()}
    return weights, [vars(row) | {"wall_s": 0.0} for row in folder.rows()], pictures


@pytest.fixture(scope="module")
def plainly(tmp_path_factory):
    return made(tmp_path_factory.mktemp("plain"), {})


def test_several_settings_together_change_no_bit(plainly, tmp_path):
    together = {name: value for kind in TOGETHER for name, value in SETTINGS[kind].items()}
    assert made(tmp_path, together) == plainly


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETTINGS)
def test_no_setting_changes_a_bit(kind, plainly, tmp_path):
    assert made(tmp_path, SETTINGS[kind]) == plainly
