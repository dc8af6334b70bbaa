"""Any registered model on any registered data that it fits; what does not fit is refused, and what is advised works."""

import re
from functools import cache

import pytest
import torch
from small import SMALL

from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.data import entry, names
from seedbed.data.dataset import Dataset
from seedbed.experiments import MODELS, usual
from seedbed.experiments.check import check_fit
from seedbed.experiments.data import Examples, Points
from seedbed.train.learner import Learner


def stand_in(name: str) -> Dataset:
    """A few examples of a registered set's domain and shape: its files need not be there."""
    known = entry(name)
    assert known is not None
    draws = Noise([Streams(3)], "data", name).uniform(known.shape, batch=48)
    if known.domain.kind == "binary":
        draws = (draws < 0.4).float()
    elif known.domain.kind == "levels":
        draws = (draws * (known.domain.size or 0)).floor()
    splits = {"train": draws[:24], "valid": draws[24:36], "test": draws[36:]}
    return Dataset(name=name, domain=known.domain, protocol="a stand-in", splits=splits)


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """Every set as a few examples."""
    for part in (Examples, Points):
        monkeypatch.setattr(part, "load", lambda self, seed=None: stand_in(self.data))


@cache
def one_update(model: str, domain: Domain, shape: tuple[int, ...]) -> None:
    """Once for all sets that are alike but for the values of their stand-ins."""
    data = next(
        name for name in names() if (known := entry(name)) is not None and (known.domain, known.shape) == (domain, shape)
    )
    experiment = usual(model).on(data).with_config({**SMALL[model], "batch_size": 8, "steps": 1})
    streams = experiment.streams([0, 1])
    learner = Learner(experiment.task(streams), streams, torch.device("cpu"))
    before = {name: value.clone() for name, value in learner.params.items()}
    learner.advance()
    for name, value in learner.params.items():
        assert bool(value.isfinite().all()) and not torch.equal(value, before[name]), (model, data, name)


def fits(model: str, data: str) -> bool:
    known = entry(data)
    assert known is not None
    return not MODELS[model].misfit(known.domain, known.shape)


@pytest.mark.parametrize("model", MODELS)
def test_one_update_on_every_set_that_it_fits_and_advice_that_works_on_the_others(model):
    advised: set[tuple[str, str]] = set()
    tried = 0
    for data in names():
        known = entry(data)
        assert known is not None
        if fits(model, data):
            one_update(model, known.domain, known.shape)
            tried += 1
            continue
        with pytest.raises(SeedbedError, match=f"and {data} is") as raised:
            usual(model).on(data).task([])
        said = str(raised.value)
        assert "\n" not in said
        others = re.search(r"models of such data: ([^;]*)", said)
        sets = re.search(r"data that it takes: (.*)$", said)
        assert sets, said
        advised |= {(other, data) for other in others[1].split(", ")} if others else set()
        advised |= {(model, other) for other in sets[1].split(", ")}
    assert tried, f"{model} fits no registered set"
    for other, data in sorted(advised):
        assert fits(other, data), (other, data)
        known = entry(data)
        assert known is not None
        one_update(other, known.domain, known.shape)


def test_the_same_images_in_another_form_are_advised_first():
    for data, twin in (("mnist", "mnist-threshold"), ("digits", "digits-binary"), ("omniglot", "omniglot-threshold")):
        with pytest.raises(SeedbedError, match=f"data that it takes: {twin}"):
            usual("draw").on(data).task([])


@pytest.mark.parametrize(
    ("model", "domain", "shape", "says"),
    [
        ("draw", BINARY, (3, 28, 28), "put ,colour=grey behind its name"),
        ("conv-vae", BINARY, (1, 32, 32), "put ,size=28 behind its name"),
        ("conv-vae", BINARY, (3, 32, 32), "put ,size=28,colour=grey behind its name"),
        ("draw", Domain("levels", 256), (3, 9, 8), "put ,colour=grey,binarise=dynamic behind its name"),
        ("draw", Domain("levels", 256), (1, 28, 28), "put ,binarise=dynamic behind its name"),
        ("flow", Domain("levels", 17), (1, 8, 8), "models of such data: vae, lvae, bottom-up-vae"),
    ],
)
def test_what_a_folder_s_name_may_say_is_advised(model, domain, shape, says):
    with pytest.raises(SeedbedError, match=says):
        check_fit(MODELS[model], "folder:pics", domain, shape)


def test_what_is_no_set_is_refused():
    with pytest.raises(SeedbedError, match="unknown data set 'mnist-dynamc'; did you mean 'mnist-dynamic'"):
        usual("vae").on("mnist-dynamc")
    with pytest.raises(SeedbedError, match="unknown model 'va'"):
        usual("va")
