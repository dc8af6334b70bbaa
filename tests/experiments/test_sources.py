"""docs/from-the-sources.md: every command that is said to work does, tiny."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from seedbed.cli.main import main
from seedbed.core.domain import BINARY, Domain
from seedbed.data import DATA
from seedbed.data.dataset import Dataset
from seedbed.evaluate.pictures import points

PAGE = Path(__file__).parents[2] / "docs/from-the-sources.md"
SIZES = {
    "toy": "--train-size 400 --valid-size 40 --eval-size 40 --batch-size 16",
    "toy-variance": "--train-size 400 --valid-size 40 --eval-size 40 --batch-size 16",
    "mnist": "--batch-size 8 --hidden 8,4 --latents 2",
    "mnist-convergence": "--batch-size 2",
    "omniglot-convergence": "--batch-size 2",
    "iwae": "--batch-size 8 --hidden 8,4 --latents 2",
    "vae-static": "--batch-size 8 --latents 2",
    "observation-models": "--batch-size 2 --latents 2 --steps 3",
    "symmetric": "--batch-size 4 --bits 2,3 --hidden 4 -n 2",
    "gaussian": "--set-size 20 --batch-size 20",
    "hvae-mnist": "--batch-size 2 --latents 2 --steps 3",
    "draw": "--batch-size 2 --hidden 8",
    "lvae": "--batch-size 2",
}


def rows() -> list[tuple[list[str], str]]:
    """Our commands and their status, row by row."""
    table = [line.strip("|").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [(re.findall(r"`(seedbed [^`]+)`", ours), today.strip(" |")) for _, ours, today in table]


def tiny(command: str) -> list[str]:
    """The same command on next to nothing."""
    words = shlex.split(command)[1:]
    if words[0] != "run":
        smaller = {("--chain", "1000"): "3", ("-n", "1000"): "150", ("--samples", "5000"): "50"}
        return [smaller.get(pair, pair[1]) for pair in pairwise(["", *words])]
    for flag, instead in (("-e", ["--steps", "3"]), ("-n", ["-n", "2"])):
        if flag in words:
            at = words.index(flag)
            words[at : at + 2] = instead
    return [*words, *SIZES[words[1].split("/")[0]].split(), "--budget", "smoke", "--threads", "1", "-q"]


WORKS = [(found, now) for found, now in rows() if found and "work" in now and not now.endswith("by hand")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which all rows are tried, in their order: a later one names what an earlier one has made."""

    def images(name: str) -> Dataset:
        count = 40 if name != "mnist-threshold-0.4375" else 150  # more than a network's features
        grey = torch.rand(3, count, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        splits = {"train": grey[0].round(), "valid": grey[1].round(), "test": grey[2].round()}
        protocol = "stands in for files that nobody has to have"
        return Dataset(name=name, domain=BINARY, protocol=protocol, splits=splits)

    def photographs(name: str) -> Dataset:
        levels = torch.randint(0, 256, (18, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
        splits = dict(zip(("train", "valid", "test"), levels.split(6), strict=True))
        return Dataset(name=name, domain=Domain("levels", 256), protocol="stands in for large files", splits=splits)

    folder = tmp_path_factory.mktemp("sources")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("svhn", "cifar10-batch1"):
            patch.setitem(DATA, name, lambda seed=0, name=name: photographs(name))
        for name in ("mnist-dynamic", "mnist-static", "omniglot-dynamic", "mnist-threshold-0.4375"):
            patch.setitem(DATA, name, lambda seed=0, name=name: images(name))
        patch.setattr(points, "GRID", 6)
        patch.chdir(folder)
        yield folder


# One test a row: a file of many is begun early by whoever runs files side by side.
@pytest.mark.parametrize(("commands", "today"), WORKS, ids=range(len(WORKS)))
def test_every_command_that_works_works(commands, today, place, capsys):
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main(tiny(command))
        out = capsys.readouterr()
        assert (stop.value.code or 0) == (2 if "refusing" in today else 0), f"{command}: {out.err}"


def test_enough_was_tried_and_is_there(place):
    assert sum(len(commands) for commands, _ in WORKS) >= 55
    assert {"codes.npz", "images", "theirs.html", "vae.html"} <= {path.name for path in place.iterdir()}


def test_every_row_says_where_it_stands():
    stands = {today for _, today in rows() if today != "today"}
    known = {"**works**", "works by hand", "works, by refusing", "works for ours", "not needed", "not yet"}
    assert stands == known
