"""What an error about data or their model advises works: every piece of it is followed."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import SMALL

from seedbed.cli.run import chosen
from seedbed.core.errors import SeedbedError
from seedbed.data import entry, load
from seedbed.experiments import MODELS, Experiment, usual
from seedbed.train.learner import Learner

RNG = np.random.default_rng(0)
SETS = {
    "table": "array:tab.npy",  # a table of real numbers
    "rows": "csv:tab.csv",
    "pictures": "array:grey.npy",  # real values, no levels
    "digits": "array:d16.npy",  # whole numbers 0..16
    "photographs": "folder:pics",
    "bits": "array:bits.npy",
    "counts": "array:counts.npy",  # whole numbers beyond 255
}
TARGETS = [
    ("mnist", "vae"),
    ("mnist-convergence", "flow"),
    ("toy", "spline-flow"),
    ("toy", "vae"),
    *((m, None) for m in MODELS),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each."""
    path = tmp_path_factory.mktemp("advice")
    table = RNG.normal(size=(60, 5)) * [1, 100, 1e4, 1e-3, 1]
    np.save(path / "tab.npy", table.astype("f4"))
    np.savetxt(path / "tab.csv", table, delimiter=",", header="a,b,c,d,e", comments="")
    np.save(path / "grey.npy", RNG.random((60, 16, 16)).astype("f4"))
    np.save(path / "d16.npy", RNG.integers(0, 17, (60, 8, 8)))
    np.save(path / "bits.npy", (RNG.random((60, 8, 8)) < 0.4).astype("u1"))
    np.save(path / "counts.npy", RNG.integers(0, 1000, (60, 4)))
    (path / "pics").mkdir()
    for i in range(20):
        Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(path / "pics" / f"{i}.png")
    return path


def one_update(experiment: Experiment, model: str) -> None:
    small = {k: v for k, v in SMALL.get(model, {}).items() if k in experiment.settings}
    experiment = experiment.with_config({**small, "batch_size": 4, "steps": 1})
    streams = experiment.streams([0])
    learner = Learner(experiment.task(streams), streams, torch.device("cpu"))
    learner.advance()
    assert all(bool(value.isfinite().all()) for value in learner.params.values())


def options_of(said: str) -> list[str]:
    """What is to be put behind a name: ``,key=value``, one or more of them."""
    return re.findall(r"((?:,[a-z]+=[^\s,;)]+)+)", said)


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize(("target", "model"), TARGETS)
def test_a_model_trains_or_what_is_advised_does(target, model, kind, here, monkeypatch):
    monkeypatch.chdir(here)
    data = SETS[kind]
    (found,) = chosen(target, model, data).values()
    name = model or target
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            one_update(found, name)
        except SeedbedError as error:
            follow(str(error), name, data, model is None)


def follow(said: str, model: str, data: str, by_name: bool) -> None:
    """Every model, every option and every data set that is named; what an option leads to may need another step."""
    assert "\n" not in said
    models, sets = re.search(r"models of such data: ([^;]*)", said), re.search(r"data that it takes: ([^;]*)$", said)
    options = options_of(said.replace(data, "it"))
    assert models or sets or options, said
    for other in models[1].split(", ") if models else ():
        one_update(usual(other).on(data), other)
    for other in sets[1].split(", ") if sets and by_name else ():
        known = entry(other)
        assert known is not None and not MODELS[model].misfit(known.domain, known.shape), (model, other)
    for option in options:
        assert option.lstrip(",").split("=")[0] + "=" not in data, said  # nothing is advised twice
        load(f"{data}{option}")
        try:
            if by_name:
                one_update(usual(model).on(f"{data}{option}"), model)
        except SeedbedError as error:
            follow(str(error), model, f"{data}{option}", by_name)


def test_levels_that_do_not_reach_their_top_are_questioned(here, monkeypatch):
    """Taken for 8-bit levels the digits are black pictures, with a superb likelihood."""
    monkeypatch.chdir(here)
    for binarise in ("", ",binarise=threshold", ",binarise=dynamic"):
        with pytest.raises(SeedbedError, match=r"whole numbers 0\.\.16, far below the 255 .*,levels=17"):
            load(f"array:d16.npy{binarise}")
        data = load(f"array:d16.npy,levels=17{binarise}")
        assert data.domain.size == 17 if not binarise else 0.3 < float(data.splits["test"][:].mean()) < 0.7
    assert load("array:d16.npy,levels=no").domain.kind == "real"
    with pytest.raises(SeedbedError, match="binarise=threshold leaves nothing but 0"):
        load("array:d16.npy,levels=256,binarise=threshold")


def test_a_table_given_as_an_array_is_named_as_one(here, monkeypatch):
    monkeypatch.chdir(here)
    with pytest.raises(SeedbedError, match=r"is text and cannot be read as .npy or .npz; read it as a table: csv:tab.csv"):
        load("array:tab.csv")
    assert load("csv:tab.csv").shape == (5,)
