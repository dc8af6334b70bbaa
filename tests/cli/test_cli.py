"""The command line as a user meets it: one clear line and exit code 2 for bad input, nothing lost."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seedbed.cli.main import main
from seedbed.experiments import STUDIES
from seedbed.store.manifest import config_hash

TINY = [
    "--steps",
    "6",
    "--eval-every",
    "3",
    "--train-size",
    "400",
    "--valid-size",
    "80",
    "--eval-size",
    "80",
    "--batch-size",
    "16",
]
TINY += ["--hidden", "4,4"]


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def refused(capsys, *arguments: str) -> str:
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "toyy"], "did you mean 'toy'?"),
        (["run", "toy/8gaussians/vaee"], "did you mean 'toy/8gaussians/vae'?"),
        (["run", "toy", "-m", "vaee"], "did you mean 'vae'?"),
        (["run", "toy", "-d", "8gausians"], "did you mean '8gaussians'?"),
        (["run", "toy", "-m", "draw", "-d", "8gaussians"], "binary images"),
        (["run", "toy/8gaussians/vae", "--lrr", "1"], "--lr"),
        (["run", "toy/8gaussians/vae", "-n", "0"], "seeds must be at least 1"),
        (["run", "toy/8gaussians/vae", "-n", "-3"], "seeds must be"),
        (["run", "toy/8gaussians/vae", "-n", "abc"], "a range (0:10)"),
        (["run", "toy/8gaussians/vae", "--steps", "0"], "steps must be at least 1, got 0"),
        (["run", "toy/8gaussians/vae", "--batch-size", "-1"], "batch size must be at least 1, got -1"),
        (["run", "toy/8gaussians/vae", "--epochs", "0"], "epochs must be at least 1"),
        (["run", "toy/8gaussians/vae", "--epochs", "1", "--steps", "2"], "not both"),
        (["run", "toy/8gaussians/vae", "--budget", "huge"], "unknown budget"),
        (["run", "toy/8gaussians/vae", "--strategy", "paralel"], "unknown strategy"),
        (["run", "toy/8gaussians/vae", "--hidden", "4;4"], "separated by commas"),
        (["run", "toy/8gaussians/vae", "--hidden", "4,0"], "hidden must be at least 1, got 0"),
        (["run", "mnist-convergence/mnist-dynamic/lvae", "--latents", "3,0"], "latents must be at least 1, got 0"),
        (["run", "mnist-convergence/mnist-dynamic/flow", "--couplings=-1,1"], "couplings must be at least 0, got -1"),
        (["run", "mnist-convergence/mnist-dynamic/vae", "--ema", "3"], "ema must be at most 1, got 3"),
        (["run", "toy/8gaussians/vae", "--device", "tpu"], "device must be auto, cpu, cuda, cuda:N or mps"),
        (["run", "toy/8gaussians/vae", "-m", "vae"], "-m chooses from a study; toy/8gaussians/vae is one experiment"),
        (["run", "hvae", "-d", "digits-binary", "--step-size", "0.6"], "got step_size=0.6, step_size_most=0.5; start below"),
        (["run", "hvae", "-d", "digits-binary", "--step-size", "0"], "step size must be at least 1e-06, got 0.0"),
        (["run", "hvae", "-d", "digits-binary", "--temperature", "1"], "above 1, got 1.0; choose tempering none to stay"),
        (["run", "hvae", "-d", "digits-binary", "--temperature", "0.5"], "temperature must be at least 1, got 0.5"),
        (["run", "hvae", "-d", "digits-binary", "--temperature", "inf"], "temperature must be a finite number"),
        (["run", "hvae", "-d", "digits-binary", "--tempering", "none", "--temperature", "3"], "temperature has no say with"),
        (["run", "hvae", "-d", "digits-binary", "--leapfrogs", "-1"], "leapfrogs must be at least 0, got -1"),
        (["run", "hvae", "-d", "digits-binary", "--nets", "conv"], "takes grey pictures of 28 x 28"),
        (["run", "missing.py:experiment"], "no file missing.py"),
        (["sample", "nowhere"], "no run folder"),
        (["show", "toy/8gaussians"], "unknown experiment"),
        (["list", "toys"], "did you mean 'toy'?"),
        (["data", "show", "mnit"], "did you mean 'mnist'?"),
        (["rnu"], "rnu"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from seedbed.cli.main import cli; cli(['--help'], standalone_mode=False); "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'scipy', 'sklearn', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith("[]")


def test_every_field_is_a_flag(capsys):
    from seedbed.experiments import find

    _, out, _ = call(capsys, "run", "toy/8gaussians/spline-flow", "--help")
    for name in find("toy/8gaussians/spline-flow").settings:
        assert "--" + name.replace("_", "-") in out


def test_a_study_is_shown_as_its_experiments(capsys):
    for study, entry in STUDIES.items():
        code, shown, _ = call(capsys, "show", study)
        lines = [line.split() for line in shown.splitlines() if line.startswith(f"{study}/")]
        assert code == 0 and [line[0] for line in lines] == list(entry.experiments)
        assert all(f"{entry.experiments[line[0]].training.steps} steps" in " ".join(line) for line in lines)
        assert all(line[1] == entry.metric_of(line[0]) for line in lines)
        assert call(capsys, "list", study)[1].strip() in shown
    assert STUDIES["toy"].metric_of("toy/rings/wgan-gp") == "sw_distance"


def test_run_continue_sample(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["run", "toy", "-m", "vae", "-d", "8gaussians", "-n", "2", "--name", "x", "-mute", *TINY]
    code, first, _ = call(capsys, *command)
    assert code == 0
    assert "neg_elbo_nats" in first
    folder = tmp_path / "runs/toy/8gaussians/vae/x"
    assert {p.name for p in (folder / "figures").iterdir()} == {"samples.png", "curves.png"}
    stamp = {p: p.stat().st_mtime_ns for p in (folder / "checkpoints").rglob("*.safetensors")}
    code, again, _ = call(capsys, *command)
    assert (code, again) == (0, first)
    assert stamp == {p: p.stat().st_mtime_ns for p in (folder / "checkpoints").rglob("*.safetensors")}

    code, out, _ = call(capsys, "sample", str(folder), "-n", "5")
    assert code == 0
    assert "x [2, 5, 2]" in out

    # More seeds join the run; the first two are not trained again.
    code, out, _ = call(capsys, *[a if a != "2" else "3" for a in command])
    assert code == 0
    assert all(p.stat().st_mtime_ns == stamp[p] for p in stamp)
    assert json.loads((folder / "run.json").read_text())["groups"] == [[0, 1], [2]]


def test_another_run_in_the_folder_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ["run", "toy/8gaussians/vae", "-n", "1", "--name", "x", "-q", *TINY]
    assert call(capsys, *base)[0] == 0
    folder = tmp_path / "runs/toy/8gaussians/vae/x"
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert "was run with lr=" in refused(capsys, *base, "--lr", "0.5")
    manifest = json.loads((folder / "run.json").read_text())
    other = config_hash("toy/8gaussians/flow", manifest["config"])
    (folder / "run.json").write_text(json.dumps({**manifest, "format": 99}))
    assert "run format 99" in refused(capsys, *base)
    (folder / "run.json").write_text("{")
    (folder / ".run.json").unlink()
    assert "damaged" in refused(capsys, *base)
    (folder / "run.json").write_text(json.dumps({**manifest, "experiment": "toy/8gaussians/flow", "hash": other}))
    assert "is a run of toy/8gaussians/flow" in refused(capsys, *base)
    for name in ("run.json", ".run.json"):
        (folder / name).write_bytes(before[folder / name])
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.filterwarnings("default")
def test_a_damaged_checkpoint_falls_back(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["run", "toy/8gaussians/vae", "-n", "1", "--name", "x", "-q", "--checkpoint-seconds", "0", *TINY]
    _, first, _ = call(capsys, *command)
    newest = max((tmp_path / "runs").rglob("*.safetensors"))
    whole = newest.read_bytes()
    newest.write_bytes(whole[: len(whole) // 2])
    code, again, err = call(capsys, *command)
    assert code == 0
    assert "falling back to the previous one" in err
    assert again == first
    assert newest.exists()


def test_a_folder_that_cannot_be_written(capsys, tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file where the folder should be")
    monkeypatch.chdir(tmp_path)
    assert "runs is a file, not a folder" in refused(capsys, "run", "toy/8gaussians/vae", "-n", "1", *TINY)


def test_a_full_disk_keeps_what_is_there(capsys, tmp_path, monkeypatch):
    import errno

    from seedbed.store import checkpoint

    monkeypatch.chdir(tmp_path)
    command = ["run", "toy/8gaussians/vae", "-n", "1", "--name", "x", "-q", "--checkpoint-seconds", "0", *TINY]
    write, calls = checkpoint.write_atomic, []

    def full(path, action):
        calls.append(path)
        if len(calls) > 1:

            def fail(temporary):
                raise OSError(errno.ENOSPC, "No space left on device")

            return write(path, fail)
        return write(path, action)

    monkeypatch.setattr(checkpoint, "write_atomic", full)
    assert "no space left" in refused(capsys, *command)
    kept = list((tmp_path / "runs").rglob("*.safetensors"))
    assert [p.name for p in kept] == ["step-0000000003.safetensors"]
    monkeypatch.setattr(checkpoint, "write_atomic", write)
    assert call(capsys, *command)[0] == 0


def test_wrong_domain_is_refused(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from seedbed.distributions.likelihood import BERNOULLI\n"
        "from seedbed.experiments import models, toy\n"
        "from seedbed.experiments.experiment import Experiment\n"
        "from seedbed.models.vae import VAE\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(models.VAE):\n"
        "    def build(self, data):\n"
        "        return VAE(2, 2, (4,), BERNOULLI)\n"
        "given = toy.vae('8gaussians')\n"
        "experiment = Experiment(given.data, Mine(), given.objective, given.training)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert "expects binary data, got real" in refused(capsys, "run", "mine.py:experiment", "-n", "1", *TINY)
    assert not Path("runs").exists()  # it would stand in front of a finished run


def test_what_is_refused_leaves_the_finished_run_as_it_was(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ("run", "vae-static/mnist-static/mlp-20epochs", "-n", "1", "-d", "array:x.npz", "--hidden", "4", "--latents", "2")
    images = {name: np.eye(16, dtype=np.float32).reshape(16, 4, 4) for name in ("train", "valid", "test")}
    np.savez("x.npz", **images)
    tiny = ("--steps", "2", "--eval-every", "1", "--batch-size", "8", "-q")
    seedbed_run = (*run, *tiny)
    assert call(capsys, *seedbed_run)[0] == 0
    before = sorted(path.stat().st_mtime_ns for path in Path("runs").rglob("*") if path.is_file())
    for more in (("--k", "5", "--beta", "2"), ("--k", "5", "--warm-up", "0.5"), ("--warm-up", "1.5"), ("--k", "0")):
        refused(capsys, *seedbed_run, *more)
        refused(capsys, *seedbed_run, *more, "--again")
    assert sorted(path.stat().st_mtime_ns for path in Path("runs").rglob("*") if path.is_file()) == before


def test_an_experiment_of_ones_own(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from seedbed.experiments import toy\nexperiment = toy.vae('8gaussians').with_config({'latents': 3})\n"
    )
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "run", "mine.py:experiment", "-n", "1", "-q", *TINY)
    assert code == 0
    assert "mine.py:experiment" in out
