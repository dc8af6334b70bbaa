"""Data of one's own on the command line: shown, checked, trained on, refused in one line; never mistaken for a study's."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedbed.cli.main import main
from seedbed.cli.run import chosen, with_flags
from seedbed.cli.targets import find_targets
from seedbed.core.errors import SeedbedError
from seedbed.report.stored import StoredRun
from seedbed.store.folder import find_runs

TINY = ["-n", "1", "--steps", "4", "--eval-every", "2", "--batch-size", "4", "--hidden", "4,4", "--quiet"]
VAE = "mnist/mnist-dynamic/vae"
PICS = "folder:pics,size=6x5,colour=grey,binarise=dynamic"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code, _, err = call(capsys, *arguments)
    assert code == 2 and "Traceback" not in err and len(err.strip().splitlines()) == 1, err
    assert not Path("runs").exists() or not find_runs(Path("runs"))  # nothing is left of a refused run
    return err


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with twelve colour images, binary 28 x 20 pictures, and nothing of MNIST."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEDBED_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    Path("pics").mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(f"pics/{i:02}.png")
    np.save("x.npy", rng.integers(0, 2, (12, 28, 20)))


def test_shown_and_checked(capsys):
    code, out, _ = call(capsys, "data", "show", "folder:pics,size=6")
    assert code == 0 and "pictures 6 x 6, RGB" in out and "images of pics, 6 x 6 RGB, cropped at the centre to size" in out
    code, out, _ = call(capsys, "data", "check", "folder:pics", "array:x.npy")
    assert code == 0 and out == "folder:pics: 12 examples, all read\narray:x.npy: 12 examples, all read\n"
    assert call(capsys, "data", "fetch", "array:x.npy")[1] == "array:x.npy: needs no file\n"
    assert "folder:PATH" in call(capsys, "data", "list")[1]


def test_trained_on_and_told_apart(capsys):
    command = ["run", "mnist", "-m", "vae", "-d", PICS, *TINY]
    assert call(capsys, *command)[0] == 0
    (path,) = find_runs(Path("runs"))
    run = StoredRun.read(path)
    assert run.data == PICS and run.manifest.config["data"] == PICS and run.finished
    assert run.arrays("samples")["x"].shape == (1, 64, 1, 6, 5)
    assert run.arrays("interpolations")["grid"].shape == (1, 1, 8, 1, 6, 5)
    # -d of a report or an evaluation means what a run was trained on, whatever the experiment is called.
    meant = {"out": "runs", "name": None, "models": ()}
    assert [run.data for run in find_targets(["mnist"], {**meant, "sets": (PICS,)}).runs] == [PICS]
    assert VAE in find_targets([VAE], {**meant, "sets": ()}).missing
    for sets in ((), ("mnist-dynamic",)):
        with pytest.raises(SeedbedError, match="no run"):
            find_targets(["mnist"], {**meant, "sets": sets})
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save("pics/00.png")
    code, _, err = call(capsys, *command[:6], "-n", "2", *TINY[2:])
    assert code == 2 and "have changed since it began" in err


def test_epochs_are_of_the_given_data():
    experiment = chosen(VAE, None, "array:x.npy")[VAE]
    settings = {"budget": "laptop", "epochs": 3, "steps": None, "batch_size": 4}
    assert with_flags({VAE: experiment}, settings)[VAE].training.steps == 3 * (8 // 4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-d", "folder:none"], "none is not a folder"),
        (["-d", "array:none.npy"], "none.npy cannot be read as .npy or .npz without pickle: no such file"),
        (["-d", "array:x.npy", "--record"], "are those on mnist-dynamic, not on array:x.npy; leave --record out"),
        (["-d", "mnist-static"], "is on mnist-dynamic; for other data name a model: `seedbed run vae -d mnist-static`"),
    ],
)
def test_refused_before_anything_is_written(arguments, says, capsys):
    assert says in refused(capsys, "run", VAE, *TINY, *arguments)


def test_a_batch_larger_than_the_data_is_all_of_them(capsys):
    tiny = ["-n", "1", "--steps", "2", "--eval-every", "1", "--hidden", "4", "--quiet"]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, _, err = call(capsys, "run", "vae", "-d", "array:x.npy", *tiny)
    assert code == 0 and err.count("array:x.npy has 8 training examples, so a batch is all of them, not 128") == 1
    code, _, err = call(capsys, "run", "vae", "-d", "array:x.npy", *tiny, "-n", "2")  # what is known is not said again
    assert code == 0 and "training examples" not in err
    chosen("vae", None, "array:x.npy")["vae"].task([])  # nor of a task, as a stored run is measured by


def test_a_batch_that_was_chosen_and_is_larger_than_the_data_is_refused(capsys):
    tiny = ["-n", "1", "--steps", "2", "--eval-every", "1", "--hidden", "4", "--quiet"]
    says = refused(capsys, "run", "vae", "-d", "array:x.npy", *tiny, "--batch-size", "64")
    assert "batch size 64 is larger than the 8 training examples of array:x.npy; say --batch-size 8" in says
    code, _, err = call(capsys, "run", "vae", "-d", "array:x.npy", *tiny, "--batch-size", "8")
    assert code == 0 and "training examples" not in err


def test_refusals_name_the_file_and_what_a_net_takes(capsys):
    says = refused(capsys, "run", "conv-vae", "-d", "array:x.npy", "--steps", "2")
    assert "ConvVAE takes grey pictures of 28 x 28, and array:x.npy is binary, [1, 28, 20]; models of such data: vae" in says
    Path("pics/05.png").write_bytes(b"no image")
    for verb in (["data", "show"], ["data", "check"], ["run", VAE, *TINY, "-d"]):
        assert "pics/05.png cannot be read as an image" in refused(capsys, *verb, PICS)


def test_a_model_by_its_name_on_data_of_ones_own(capsys):
    tiny = ["--eval-every", "2", "--batch-size", "4", "--hidden", "4", "--quiet"]
    for data in (["-d", "array:x.npy"], ["--data=array:x.npy"], ["-darray:x.npy"]):
        code, out, err = call(capsys, "run", "vae", *data, "-n", "1", "-e", "2", *tiny)
        assert code == 0 and "neg_elbo_nats" in out, err
    (path,) = find_runs(Path("runs/vae"))
    run = StoredRun.read(path)
    assert (
        run.steps == 2 * (8 // 4) and run.manifest.data["shape"] == [1, 28, 20] and run.manifest.data["domain"] == "binary"
    )
    assert [r.folder.path for r in find_targets(["vae"], {"out": "runs", "name": None, "models": (), "sets": ()}).runs] == [
        path.absolute()
    ]
    assert "say on which data" in call(capsys, "run", "vae")[2]
    assert "No such option '--train-size'" in call(capsys, "run", "vae", "-d", "array:x.npy", "--train-size", "9")[2]
    assert "unknown data set" in call(capsys, "run", "vae", "-d", "moon", "--train-size", "9")[2]
    assert "seedbed run toyy" not in call(capsys, "run", "toyy")[2]
    code, _, err = call(capsys, "run", "wgan-gp", "-d", "moons", "--train-size", "64", "--steps", "0")
    assert code == 2 and "steps must be at least 1" in err  # the data's own settings are flags


def test_data_that_changed_are_neither_measured_nor_joined(capsys):
    run = ["run", "vae", "-d", "array:x.npy", "--steps", "2", *TINY[4:]]
    assert call(capsys, *run, "-n", "1")[0] == 0
    (path,) = find_runs(Path("runs"))
    before = (path / "run.json").read_bytes()
    np.save("x.npy", 1 - np.load("x.npy"))
    code, _, err = call(capsys, *run, "-n", "2")
    assert code == 2 and "have changed since it began" in err and (path / "run.json").read_bytes() == before
    code, _, err = call(capsys, "evaluate", str(path), "-k", "3", "-q")
    assert code == 2 and "are not those that it was trained on" in err and not (path / "evaluations").exists()


HAMILTONIAN = """
import torch
from torch import nn

from seedbed.models.hamiltonian import HamiltonianVAE
from seedbed.models.tempered import TemperedLeapfrog
from seedbed.nets.mlp import MLP


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine = nn.Linear(2, 64)

    def forward(self, z):
        return self.affine(z - z.mean(0)).unflatten(-1, (1, 8, 8))


def image():
    return nn.Unflatten(-1, (1, 8, 8))


def normed() -> HamiltonianVAE:
    net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 64), image())
    return HamiltonianVAE((1, 8, 8), MLP((1, 8, 8), (), 4), net, TemperedLeapfrog(2, 2))


def centred() -> HamiltonianVAE:
    return HamiltonianVAE((1, 8, 8), MLP((1, 8, 8), (), 4), Centred(), TemperedLeapfrog(2, 2))


def other_size() -> HamiltonianVAE:
    return HamiltonianVAE((1, 8, 8), MLP((1, 8, 8), (), 4), MLP(3, (), (1, 8, 8)), TemperedLeapfrog(2, 2))


def plain_size() -> HamiltonianVAE:
    return HamiltonianVAE((1, 8, 8), MLP((1, 8, 8), (), 4), nn.Linear(3, 64), TemperedLeapfrog(2, 2))


def far() -> HamiltonianVAE:
    return HamiltonianVAE((1, 8, 8), MLP((1, 8, 8), (), 4), MLP(2, (), (1, 8, 8)), TemperedLeapfrog(2, 2, step_size=1.0))


def fine() -> HamiltonianVAE:
    net = nn.Sequential(nn.Linear(2, 8), nn.LayerNorm(8), nn.Softplus(), nn.Linear(8, 64), image())
    return HamiltonianVAE((1, 8, 8), MLP((1, 8, 8), (), 4), net, TemperedLeapfrog(2, 2))
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("normed", "examples see each other in the decoder (a batch norm)"),
        ("centred", "what the decoder, Centred, makes of one z changes with another one of the batch"),
        ("other_size", "the decoder of a leapfrog in 2 latents has shape_in [2], got [3]"),
        ("plain_size", "the decoder of a leapfrog in 2 latents does not run"),
        ("far", "step sizes lie between 0 and their largest, got step_size=1.0"),
    ],
)
def test_a_walk_that_is_none_is_refused(capsys, name, says):
    Path("mine.py").write_text(HAMILTONIAN)
    short = ["-d", "digits-binary", "-n", "1", "--steps", "2", "--eval-every", "1", "--quiet"]
    assert says in refused(capsys, "run", f"mine.py:{name}", *short)


def test_a_decoder_of_layer_norms_walks(capsys):
    Path("mine.py").write_text(HAMILTONIAN)
    short = ["-d", "digits-binary", "-n", "1", "--steps", "2", "--eval-every", "1", "--quiet"]
    code, _, err = call(capsys, "run", "mine.py:fine", *short)
    assert code == 0, err
