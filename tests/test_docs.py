"""The pages speak of what there is: every name on docs/architecture.md exists, its diagram is that of the imports, and every
command on any page is one that the command line takes."""

import re
import runpy
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import click
import pytest

import seedbed
from seedbed.cli.main import cli
from seedbed.experiments.experiment import Experiment

ROOT = Path(__file__).parents[1]
SOURCE = Path(seedbed.__file__).parent
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`([^`\n]+)`", PAGE)))
CONCEPTS = (ROOT / "docs/concepts.md").read_text(encoding="utf-8")
# Commands of docs/from-the-sources.md are run by experiments/test_sources.py.
PROSE = [PAGE, CONCEPTS, *((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))]
COMMANDS = {command for text in PROSE for command in re.findall(r"(?:^|`)(seedbed [a-z][^`#\n]*)", text, re.M)}


def found(name: str) -> object:
    """What a dotted name stands for: a module below seedbed or its contents, or another package's."""
    first = name.split(".")[0]
    parts = ["seedbed", *name.split(".")] if (SOURCE / first).is_dir() else name.split(".")
    value = import_module(parts[0])
    for count, part in enumerate(parts[1:], 2):
        try:
            value = getattr(value, part)
        except AttributeError:
            value = import_module(".".join(parts[:count]))
    return value


def parse(group: click.Group, words: list[str]) -> None:
    """Take a command apart as the command line does, and do nothing of it."""
    command = group.commands[words[0]]
    if isinstance(command, click.Group):
        parse(command, words[1:])
    elif words[1:] and "--help" not in words:  # else the page speaks of the verb
        command.make_context(words[0], words[1:])


def check(name: str) -> None:
    """Fail if a name on the page is of nothing: a command, a path, or a dotted name; anything else is no name."""
    if name.startswith("seedbed "):
        parse(cli, shlex.split(name)[1:])
    elif "/" in name or name.endswith((".md", ".py")):
        assert (ROOT / name).exists() or (SOURCE / name).exists(), f"there is no {name}"
    elif re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", name):
        found(name)


def test_the_diagram_is_that_of_the_imports():
    assert runpy.run_path(str(ROOT / "docs/layers.py"))["placed"](PAGE) == PAGE, "python docs/layers.py --write"


def test_every_layer_is_explained():
    table = PAGE.split("## The house")[1].split("<!--")[0]
    explained = [name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(explained) == sorted(p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists())


@pytest.mark.parametrize("name", NAMES)
def test_every_name_exists(name):
    check(name)


@pytest.mark.parametrize(
    "name",
    [
        "train/lop.py",
        "tests/test_nothing.py",
        "train.lop",
        "train.loop.train_grup",
        "train.learner.Learner.advanced",
        "torch.autograd.grads",
        "seedbed ran vae",
        "seedbed run vae -d 8gaussians --critic-lr 1e-3",
    ],
)
def test_a_name_of_nothing_is_noticed(name):
    with pytest.raises(BaseException, match=r"there is no|No module|ran|No such option"):
        check(name)


def test_the_page_is_full_of_names():
    assert sum(bool(re.fullmatch(r"\w+(\.\w+)+", name)) for name in NAMES) > 80


MY_MODEL = """
from torch import nn

class MyVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, 5)

    def forward(self, x):
        mean, log_var = x[:, :2], x[:, 2:4]
        return self.decoder(mean), mean, log_var
"""


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_one(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tests").symlink_to(ROOT / "tests")
    shutil.copy("tests/costs/preset.py", "my_file.py")
    Path("my_model.py").write_text(MY_MODEL)
    parse(cli, shlex.split(command)[1:])


def test_the_experiment_of_the_concepts_is_one():
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", CONCEPTS, re.S) if "experiment = " in block]
    made: dict[str, object] = {}
    exec(text, made)
    assert isinstance(made["experiment"], Experiment)
