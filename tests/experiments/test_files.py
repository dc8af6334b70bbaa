"""Files of one's own: helpers, annotations, what they hold, and that nothing is executed that nobody chose."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import seedbed
from seedbed.cli.main import main
from seedbed.core.errors import SeedbedError
from seedbed.evaluate.pictures import points
from seedbed.experiments import find
from seedbed.experiments.files import read_file
from seedbed.runs.trust import chosen, state_file

HEAD = "from seedbed.experiments import Elbo, Experiment, Points, Training, VAE\n"
SMALL = (
    "Experiment(Points('moons', train_size=64, eval_size=16, valid_size=16), VAE(latents=2, hidden=(4,)), Elbo(), "
    "Training(steps=4, eval_every=2, batch_size=8))\n"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(points, "GRID", 6)
    monkeypatch.setattr(points.point_artefacts, "__defaults__", (20,))


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out + out.err


def trained() -> Path:
    """A run of a file with a helper beside it."""
    Path("sizes.py").write_text("LATENTS = 2\n")
    Path("mine.py").write_text(HEAD + "from sizes import LATENTS\nexperiment = " + SMALL)
    return seedbed.run("mine.py:experiment", seeds=2).path


def test_helpers_of_one_name_are_kept_apart_and_found_late():
    for number in (1, 2):
        folder = Path(f"f{number}")
        folder.mkdir()
        (folder / "helper.py").write_text(f"from deeper.value import VALUE\nNAME = {number}\n")
        (folder / "deeper").mkdir()
        (folder / "deeper" / "__init__.py").write_text("")
        (folder / "deeper" / "value.py").write_text(f"VALUE = {number * 10}\n")
        (folder / "mine.py").write_text(
            "import deeper.value\nfrom deeper import value\nimport helper\n"
            "def late():\n    import helper as again\n    import json\n    return again.NAME, value.VALUE, json.dumps(1)\n"
        )
    before = [*sys.path]
    own = [read_file(f"f{number}/mine.py") for number in (1, 2)]
    assert [o.module.late() for o in own] == [(1, 10, "1"), (2, 20, "1")]
    assert [o.module.helper.VALUE for o in own] == [10, 20] and own[0].module.deeper.value.VALUE == 10
    assert sys.path == before and "helper" not in sys.modules
    assert sorted(own[0].sources) == ["deeper/__init__.py", "deeper/value.py", "helper.py", "mine.py"]
    assert not list(Path("f1").rglob("*.pyc"))  # what is executed is what was hashed


def test_a_file_is_read_once_until_something_of_it_changes():
    Path("helper.py").write_text("N = 1\n")
    Path("mine.py").write_text("import helper\nN = helper.N\n")
    first = read_file("mine.py")
    assert read_file("mine.py") is first and first.module.N == 1
    Path("helper.py").write_text("N = 2\n")
    assert read_file("mine.py").module.N == 2


def test_postponed_annotations():
    Path("mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import Literal\n"
        "from seedbed.experiments import Elbo, Experiment, Points, Training, VAE, option\n"
        "Kind = Literal['a', 'b']\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Mine(VAE):\n    kind: Kind = option('a', 'which')\n"
        "e = Experiment(Points('moons'), Mine(), Elbo(), Training(steps=4))\n"
    )
    assert find("mine.py:e").settings["kind"] == "a"
    with pytest.raises(SeedbedError, match="unknown kind 'c'"):
        find("mine.py:e").changed({"kind": "c"})


@pytest.mark.slow
def test_every_verb_takes_it(capsys):
    path = trained()
    record = json.loads((path / "run.json").read_text())["source"]
    assert record["file"] == str(Path("mine.py").resolve()) and sorted(record["sha256"]) == ["mine.py", "sizes.py"]
    seedbed.run("mine.py:experiment", seeds=2, steps=6)
    for arguments in (
        ("show", "mine.py:experiment"),
        ("compare", "mine.py:experiment"),
        ("evaluate", "mine.py:experiment", "-k", "2", "-q"),
        ("sample", str(path), "-n", "3"),
    ):
        code, text = call(capsys, *arguments)
        assert code == 0, (arguments, text)
    assert len(seedbed.load(path).models) == 2
    code, text = call(capsys, "run", "mine.py")
    assert code == 0 and "seedbed run mine.py:experiment" in text


def test_no_file_is_executed_because_a_folder_names_it(capsys):
    path = trained()
    state_file().unlink()  # as on another machine, or for another user
    assert "neg_elbo_nats" in set(seedbed.load(path).table["metric"])
    for ask in (lambda: seedbed.load(path).models, lambda: seedbed.load(path).sample(2)):
        with pytest.raises(SeedbedError, match="not run here; if you trust it"):
            ask()
    code, text = call(capsys, "sample", str(path))
    assert code == 2 and "if you trust it" in text and len(text.splitlines()) == 1
    assert call(capsys, "sample", str(path), "--experiment", "mine.py:experiment")[0] == 0
    assert len(chosen()) == 2 and len(seedbed.load(path).models) == 2


def test_nothing_new_beside_a_chosen_file_is_executed():
    """A module that is put where the file's own imports find it first is no part of what was chosen."""
    path = trained()
    Path("seedbed.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(SeedbedError, match=r"seedbed\.py is not what the run was made with"):
        len(seedbed.load(path).models)


@pytest.mark.parametrize("name", ["mine.py", "sizes.py"])
def test_a_changed_file_is_refused_by_name(name, capsys):
    path = trained()
    Path(name).write_text(Path(name).read_text() + "# changed\n")
    says = rf"{name} changed since this run was made; to use what there is now: --experiment"
    with pytest.raises(SeedbedError, match=says):
        len(seedbed.load(path).models)
    with pytest.raises(SeedbedError, match="changed since"):
        seedbed.run("mine.py:experiment", seeds=3)
    assert len(seedbed.load(path, "mine.py:experiment").models) == 2  # the settings are the same, and somebody insists
    assert call(capsys, "evaluate", str(path), "-k", "2", "-q", "--experiment", "mine.py:experiment")[0] == 0
    assert seedbed.run("mine.py:experiment", seeds=2, again=True).path == path


def test_other_settings_are_not_the_run():
    path = trained()
    more = (
        "from dataclasses import dataclass\nfrom seedbed.experiments import option\n"
        "@dataclass(frozen=True, kw_only=True)\nclass VAE(VAE):\n    more: int = option(1, 'more')\n"
    )
    Path("mine.py").write_text(HEAD + more + "experiment = " + SMALL)
    with pytest.raises(SeedbedError, match="with other settings than the experiment that is given"):
        seedbed.load(path, "mine.py:experiment")


def test_a_file_that_moved(capsys):
    path = trained()
    Path("there").mkdir()
    for name in ("mine.py", "sizes.py"):
        shutil.move(name, f"there/{name}")
    with pytest.raises(SeedbedError, match="not there any more; say where it is now: --experiment"):
        len(seedbed.load(path).models)
    assert call(capsys, "sample", str(path), "--experiment", "there/mine.py:experiment")[0] == 0


def test_a_state_file_that_cannot_be_written_is_no_error(monkeypatch):
    Path("file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", "file")
    path = trained()
    with pytest.raises(SeedbedError, match="if you trust it"):
        len(seedbed.load(path).models)
    assert len(seedbed.load(path, "mine.py:experiment").models) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nowhere\n", r"mine.py does not run: ModuleNotFoundError: No module named 'nowhere' \(line 1"),
        ("x = 1 +\n", "mine.py does not run: SyntaxError"),
        ("raise SystemExit\n", "mine.py does not run: it ends with SystemExit; let it only define"),
        ("raise ValueError('a\\nb')\n", r"mine.py does not run: ValueError: a \(line 1"),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E\n", "mine.py does not run: E: no message"),
        ("x = 1\n", "unknown experiment or model of mine.py 'experiment'"),
        ("experiment = 3\n", "experiment is neither an Experiment nor a class of nn.Module"),
    ],
)
def test_refusals(text, says, capsys):
    Path("mine.py").write_text(text)
    code, out = call(capsys, "run", "mine.py:experiment")
    assert code == 2 and re.search(says, out) and len(out.splitlines()) == 1 and not Path("runs").exists()


def test_registered_data_and_processes():
    Path("mine.py").write_text(
        "import numpy as np, torch, seedbed.data\nfrom torch.utils.data import TensorDataset\nimport sizes\n"
        "from seedbed.experiments import Elbo, Examples, Experiment, Training, VAE\n"
        "seedbed.data.register('mine', TensorDataset(torch.tensor(np.load('x.npy'))))\n"
        "e = Experiment(Examples('mine'), VAE(latents=sizes.N, hidden=(4,)), Elbo(), Training(steps=4, batch_size=8))\n"
    )
    Path("sizes.py").write_text("N = 3\n")
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 4)).astype("float32"))
    run = seedbed.run("mine.py:e", seeds=2, strategy="processes", threads=1)
    assert set(run.table[run.table["split"] == "test"]["seed"]) == {0, 1}
