"""What Tab offers, asked as a shell asks: by click's own protocol, without torch, and without running anybody's file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from seedbed.cli.main import cli
from seedbed.store.manifest import Manifest


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with three runs, one of them named, two arrays and a file of one's own."""
    monkeypatch.chdir(tmp_path)
    for name, tag in (("toy/rings/vae", "0123abcd"), ("toy/rings/vae", "tried"), ("flow", "deadbeef")):
        Manifest(experiment=name, config={}, groups=[[0]], strategy="vectorized", threads=1, device="cpu").write(
            Path("runs") / name / tag
        )
    for name in ("table.npy", "tab[1].npy"):
        np.save(name, np.zeros((2, 2)))
    Path("my_model.py").write_text("raise SystemExit('executed')\n", encoding="utf-8")


def offered(*words):
    """What may stand in the place of the last word."""
    shell = ShellComplete(cli, {}, "seedbed", "_SEEDBED_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_what_can_be_trained():
    assert offered("run", "toy") == ["toy", "toy-variance"]
    assert offered("run", "toy/rings/spline") == ["toy/rings/spline-flow"]
    assert offered("run", "spl") == ["spline-flow"] and offered("run", "my") == ["my_model.py"]
    assert offered("show", "draw") == ["draw", "draw-attention"] and offered("list", "dig") == ["digits"]
    assert "vae-no-warmup" in offered("run", "toy", "-m", "vae") and "conv-vae" in offered("run", "-m", "conv")


def test_data_sets_and_files_of_ones_own():
    assert offered("run", "vae", "-d", "moo") == ["moons"] and "array:" in offered("run", "vae", "--data", "")
    assert offered("run", "vae", "-d", "array:tab") == ["array:tab[1].npy", "array:table.npy"]
    assert offered("run", "vae", "-d", "array:tab[") == ["array:tab[1].npy"]
    assert "folder:runs/" in offered("data", "show", "folder:") and offered("data", "check", "cos") == ["cos"]


def test_runs_by_folder_by_name_and_by_what_has_some():
    found = {"toy", "flow", "toy/rings/vae", "tried"}
    found |= {"runs/toy/rings/vae/0123abcd", "runs/toy/rings/vae/tried", "runs/flow/deadbeef"}
    for verb in ("compare", "report", "evaluate", "sample"):
        assert set(offered(verb, "")) == found
    assert offered("compare", "flow", "runs/f") == ["runs/flow/deadbeef"]
    assert offered("run", "vae", "--from", "tr") == ["tried"] and offered("compare", "--name", "de") == ["deadbeef"]
    Path("runs").rename("other")
    assert offered("compare", "") == [] and "other/flow/deadbeef" in offered("compare", "--out", "other", "")


def test_flags_of_what_was_named():
    assert offered("run", "vae", "--late") == ["--latents"] and offered("run", "flow", "--late") == []
    assert "nll_nats" in offered("compare", "--metric", "nll") and offered("run", "vae", "--budget", "s") == ["smoke"]


def test_a_file_is_not_run_by_who_types_its_name():
    assert "--steps" in offered("run", "my_model.py:MyVAE", "--st")


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_every_shell_has_its_script(shell, monkeypatch):
    monkeypatch.setattr(BashComplete, "_check_version", lambda self: None)
    script = shell(cli, {}, "seedbed", "_SEEDBED_COMPLETE").source()
    assert "seedbed" in script and f"_SEEDBED_COMPLETE={shell.name}_complete" in script


def test_it_is_fast_for_it_imports_little():
    code = (
        "import sys\nfrom seedbed.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)\n"
    )
    words = {"COMP_WORDS": "seedbed compare runs/f", "COMP_CWORD": "2", "_SEEDBED_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **words}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == "plain,runs/flow/deadbeef\n"
