"""`evaluate --metric trajectory,reconstructions` and `sample --trajectory`: rows, files, pictures, and what they are not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seedbed
from seedbed.cli.main import main
from seedbed.evaluate.trajectory import Walk
from seedbed.runs.trajectories import trajectories

TINY = {"steps": 3, "eval_every": 3, "batch_size": 8, "hidden": (4,), "threads": 1, "quiet": True}
NET = """
import torch
from seedbed.evaluate.features.net import Seen

def net(x):
    "Ten classes by the brightest of as many pixels; blind has no classes."
    flat = x.flatten(1)
    return Seen(flat, 20 * torch.cat([flat[:, 20:30], flat[:, :1]], 1))

def blind(x):
    return x.flatten(1)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A learnt walk, models without one, of bits, of levels and of points, and a model that cannot walk."""
    out = tmp_path_factory.mktemp("trained") / "runs"
    bits = {"data": "digits-binary", "out": out, **TINY}
    seedbed.run("hvae", seeds=2, name="learnt", latents=2, leapfrogs=3, **bits)
    seedbed.run("vae", seeds=2, name="plain", latents=2, **bits)
    seedbed.run("symmetric-vae", seeds=1, name="bits", bits=(2, 3), **bits)
    seedbed.run("flow-vae", seeds=1, name="levels", latents=2, flows=1, masked_hidden=(4,), **(bits | {"data": "digits"}))
    seedbed.run("vae", seeds=1, name="points", latents=2, train_size=50, eval_size=50, **(bits | {"data": "8gaussians"}))
    return out


@pytest.fixture
def work(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "runs")
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def refused(capsys, *arguments: object) -> str:
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "") and len(err.strip().splitlines()) == 1 and err.startswith("seedbed: "), err
    return err


def run_of(name: str) -> seedbed.Run:
    return seedbed.load(next(Path("runs").rglob(f"{name}/run.json")).parent)


def test_energy_errors_of_runs_stand_side_by_side(capsys, work):
    for name in ("learnt", "plain", "points"):
        code, out, err = call(capsys, "evaluate", name, "--metric", "trajectory", "--examples", 30, "-q")
        assert code == 0 and "energy_drift_nats" in out and "leapfrog_step_size" in out, err
    runs = {name: run_of(name).stored for name in ("learnt", "plain", "points")}
    along = lambda n: {f"energy_error_after{k}_nats" for k in range(1, n + 1)}
    assert {*runs["learnt"].metrics("test/along")} == along(3) and {*runs["plain"].metrics("test/along")} == along(15)
    # Ten rows of the example, where its walk begins, and every second and the last position.
    assert runs["learnt"].arrays("trajectories")["grid"].shape == (2, 10, 4, 1, 8, 8)
    assert runs["plain"].arrays("trajectories")["grid"].shape == (2, 10, 10, 1, 8, 8)
    assert not runs["points"].arrays("trajectories")


def test_classes_and_sharpness_are_of_the_examples_that_are_asked_for(capsys, work):
    asked = "--metric", "reconstructions", "--features", "net.py:net", "-q"
    code, out, err = call(capsys, "evaluate", "plain", *asked, "--examples", 30)
    assert code == 0 and "walk_changed_share@net.net-" in out, err
    stored = run_of("plain").stored
    data = seedbed.data.load("digits-binary")
    x, labels = (part[: 270 // 9 * 9 : 9] for part in (data.splits["test"][:], data.labels["test"]))
    sure = (20 * torch.cat([x.flatten(1)[:, 20:30], x.flatten(1)[:, :1]], 1)).softmax(1)
    expected = ((sure[:, :-1].max(1).values > 0.9) & (sure[:, :-1].argmax(1) == labels)).double().mean()
    tag = next(metric for metric in stored.metrics("test") if metric.startswith("example_recognised")).partition("@")[2]
    assert stored.final(f"example_recognised_share@{tag}").tolist() == pytest.approx([float(expected)] * 2)
    assert {"reconstruction_undecided", "walk_undecided", "prior_undecided"} <= {*stored.judged}
    assert "example_undecided" not in stored.judged and "reconstruction_sharpness" not in stored.judged
    code, out, err = call(capsys, "evaluate", "bits", *asked)  # reconstructs, and does not walk
    assert code == 0 and "reconstruction_recognised_share" in out and "walk" not in out, err


def test_walks_are_kept_as_arrays_and_pictures(capsys, work):
    code, out, err = call(capsys, "sample", "learnt", "--trajectory", 0, "--out", "walks.npz")
    assert code == 0 and "3 leapfrogs of 10 validation examples, seeds [0, 1], of size 0.0" in out, err
    assert out.endswith("and walks-seed0.png, walks-seed1.png\n")
    with np.load("walks.npz") as file:
        arrays = dict(file)
    assert arrays["positions"].shape == (2, 4, 10, 2) and arrays["pictures"].shape == (2, 10, 3, 1, 8, 8)
    assert arrays["steps"].tolist() == [0, 2, 3] and arrays["errors"].shape == (2, 3, 10)
    valid = seedbed.data.load("digits-binary").splits["valid"]
    assert np.array_equal(arrays["x"], valid[::27][:10].numpy())
    model = run_of("learnt").models[1]
    means = torch.sigmoid(model.decoder(torch.from_numpy(arrays["positions"][1, 3]))).detach().numpy()
    assert np.allclose(arrays["pictures"][1, :, 2].reshape(10, -1), means.reshape(10, -1), atol=1e-5)
    picture = np.asarray(Image.open("walks-seed1.png"))
    assert picture.shape == (10 * 9 - 1, 4 * 9 - 1)
    assert np.array_equal(picture[9:17, :8], 255 * arrays["x"][1, 0])
    assert np.array_equal(picture[9:17, 27:35], (255 * arrays["pictures"][1, 1, 2, 0]).round())
    # Those of one seed are the same, whatever is asked for beside it.
    alone = trajectories(run_of("plain"), 4, 1, Walk(2, 0.1))
    both = trajectories(run_of("plain"), 4, None, Walk(2, 0.1))
    assert np.allclose(alone["positions"][0], both["positions"][1], atol=1e-6)
    code, out, err = call(capsys, "sample", "levels", "--trajectory", 2, "-n", 3)
    assert code == 0 and Path("runs/flow-vae/levels/trajectories-seed0.png").is_file(), err
    code, out, err = call(capsys, "sample", "points", "--trajectory", 2, "-n", 3, "--out", "points.npz")
    assert code == 0 and "png" not in out, err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sample", "bits", "--trajectory", "5"), "whose latent is not one vector of real numbers"),
        (("sample", "learnt", "--trajectory", "5"), "has learnt a walk of 3 leapfrogs, got 5"),
        (("sample", "plain", "--trajectory", "-1"), "leapfrogs must be at least 0, got -1"),
        (("sample", "plain", "--trajectory", "2", "--step-size", "11"), "step_size must be at most 10, got 11"),
        (("sample", "plain", "--step-size", "0.1"), "--step-size is of walks; say --trajectory too"),
        (("sample", "plain", "--trajectory", "2", "--grid"), "--grid is of draws"),
        (("sample", "plain", "--trajectory", "2", "--out", "folder"), "ends in .npz"),
        (("sample", "plain", "--trajectory", "2", "-n", "0"), "count must be at least 1"),
        (("evaluate", "bits", "--metric", "trajectory"), "has no estimator 'trajectory'"),
        (("evaluate", "plain", "--metric", "trajectory", "--step-size", "-1"), "step_size must be at least 0"),
        (("evaluate", "plain", "--metric", "trajectory", "--leapfrogs", "1001"), "leapfrogs must be at most 1000"),
        (("evaluate", "learnt", "--metric", "trajectory", "--step-size", "0.1"), "has learnt its step sizes"),
        (("evaluate", "points", "--metric", "reconstructions"), "has no estimator 'reconstructions'"),
        (("evaluate", "plain", "--metric", "reconstructions"), "no network of Seedbed's sees pictures [1, 8, 8]"),
        (("evaluate", "plain", "--metric", "reconstructions", "--features", "net.py:blind"), "no classifier's"),
    ],
)
def test_what_cannot_be_asked_is_refused(capsys, work, arguments, says):
    assert says in refused(capsys, *arguments)
