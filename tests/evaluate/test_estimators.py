"""The list of estimators: what each declares is what it returns, and what it takes is what it is called with."""

import inspect
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from seedbed.core.capabilities import Sequence
from seedbed.core.domain import REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.metric import SW, Metric, declared
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.annealing import Annealing, second_opinion
from seedbed.evaluate.density import DensityMeasure, elbo_loss, elbo_sample_loss, nll
from seedbed.evaluate.distances import SlicedWasserstein
from seedbed.evaluate.estimator import Estimator, Limits, Option
from seedbed.evaluate.estimators import ESTIMATORS, offered
from seedbed.evaluate.latents import latent_use
from seedbed.evaluate.likelihood import LADDER, importance_sampling
from seedbed.evaluate.sequences import SequenceMeasure
from seedbed.models.flow import CouplingFlow
from seedbed.models.lvae import LadderVAE
from seedbed.models.vae import VAE
from seedbed.models.wgan import WGAN

SMALL = {"samples": 4, "chains": 2, "temperatures": 2, "leapfrogs": 1, "start": "posterior"}


class Letters(nn.Module, Sequence):
    """The next of three tokens, given the last."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(3, 3))

    def initial_state(self, streams):
        return {}

    def logits(self, tokens, state, ctx):
        return self.table[tokens], {}


MODELS = {
    "vae": (lambda: VAE(2, 2, (4,)), "nll by importance sampling, ais, latents, trajectory, sw"),
    "ladder": (lambda: LadderVAE(2, (2, 2), (4, 4)), "nll by importance sampling, ais, latents, sw"),
    "flow": (lambda: CouplingFlow(2, "affine", 2, (4,)), "nll, sw"),
    "gan": (lambda: WGAN(2, 2, (4,)), "sw"),
    "letters": (Letters, "nll per token"),
    "linear": (lambda: nn.Linear(2, 2), ""),
}


def small(name):
    """Two seeds of a small model, and data that it can be measured on."""
    torch.manual_seed(0)
    stack = Stack.of([MODELS[name][0]() for _ in range(2)], [Streams(0), Streams(1)])
    if name == "letters":
        tokens = torch.arange(40) % 3
        return stack, Dataset(name="abc", domain=Domain("tokens", 3), protocol="", splits={"train": tokens, "test": tokens})
    x = torch.randn(40, 2)
    truth = lambda x: -0.5 * x.square().sum(-1)
    return stack, Dataset(name="dots", domain=REAL, protocol="", splits={"train": x, "test": x}, log_density=truth)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_measured_in_the_first_way_that_it_offers(name):
    stack, data = small(name)
    ways = {"negative log-likelihood by importance sampling": " by importance sampling"}
    ways |= {"exact negative log-likelihood per token": " per token"}
    found = offered(stack, data.splits["test"][:1])
    assert ", ".join(key + ways.get(one.meaning, "") for key, one in found.items()) == MODELS[name][1]


@pytest.mark.parametrize("name", MODELS)
def test_whatever_is_measured_is_declared_with_its_unit(name):
    stack, data = small(name)
    known, seen = offered(stack, data.splits["test"][:1]), set()
    for one in known.values():
        measured = one.measure(stack, data, "test", Limits(), **one.settings(SMALL))
        one.check(measured, 2)
        for metric, (values, unit) in measured.items():
            seen |= {own for own in one.metrics if own.parse(metric) is not None}
            assert declared(metric, beside=measured).meaning and declared(metric, beside=measured).unit == unit
            low, high = declared(metric, beside=measured).range
            assert bool(((values >= low) & (values <= high)).all()), metric
    # A declaration that nothing answers to would promise what is never measured.
    layers = {"active_units_<layer>", "kl_<layer>_nats"} if name == "vae" else set()
    of_levels = {"bits_per_dim", "nll_bits_per_dim"}  # test_losses_of_levels_are_also_bits_of_each_number
    assert {own.name for one in known.values() for own in one.metrics} - {own.name for own in seen} <= layers | of_levels


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("vae", lambda data: DensityMeasure(data, elbo_loss, "neg_elbo_nats")),
        ("ladder", lambda data: DensityMeasure(data, elbo_loss, "neg_elbo_nats")),
        ("ladder", lambda data: DensityMeasure(data, elbo_sample_loss, "neg_elbo_nats")),
        ("flow", lambda data: DensityMeasure(data, nll, "nll_nats")),
        ("gan", lambda data: SlicedWasserstein(data)),
        ("letters", lambda data: SequenceMeasure(data)),
    ],
)
def test_what_training_measures_is_declared_with_its_unit(name, make):
    stack, data = small(name)
    measured = make(data)(stack, "test")
    assert measured and all(declared(metric).meaning for metric in measured)
    assert {metric: unit for metric, (_, unit) in measured.items()} == {metric: declared(metric).unit for metric in measured}


def test_the_defaults_of_flags_are_those_of_functions():
    defaults = {one.name: one.settings({}) for one in ESTIMATORS if one.options}
    of = lambda function: inspect.signature(function).parameters["samples"].default
    assert defaults["nll"] == {"samples": of(importance_sampling)}
    assert defaults["latents"] == {"samples": of(latent_use)}
    how = {field.name: getattr(Annealing(), field.name) for field in fields(Annealing)}
    assert defaults["ais"] == {**how, "samples": of(second_opinion)}
    (help_,) = {o.help for one in ESTIMATORS for o in one.options if o.name == "samples" and one.name in ("nll", "ais")}
    assert ", ".join(map(str, LADDER)) in help_


def test_the_list_is_read_without_torch():
    code = "import sys, seedbed.evaluate.estimators, seedbed.core.metric; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_setting_is_checked_and_names_the_file():
    (ais,) = (one for one in ESTIMATORS if one.name == "ais")
    assert ais.tags({}) == ["c16", "t1000", "l10", "k5000"]
    assert ais.tags({"start": "posterior", "chains": 3}) == ["c3", "t1000", "l10", "q", "k5000"]
    chains, start = ais.options[0], ais.options[3]
    width = Option(name="width", default=0.5, help="of a kernel", least=0)
    assert width.tag(0.25) == "width0.25"
    for option, value, says in (
        (chains, 1, "chains must be at least 2, got 1"),
        (chains, 2.5, "whole number"),
        (start, "middle", "unknown start 'middle'; known: posterior, prior"),
        (width, -1.0, "width must be at least 0, got -1.0"),
        (width, "wide", "width must be a finite number, at least 0 and at most 10000000, got 'wide'"),
    ):
        with pytest.raises(SeedbedError, match=says):
            option.taken(value)
    for option, value, held in ((chains, 2.0, 2), (start, "prior", "prior"), (width, np.float32(0), 0.0)):
        assert option.taken(value) == held and type(option.taken(value)) is type(held)


def own(**changes):
    """An estimator of one's own: how far draws lie from the origin."""
    settings = {
        "name": "reach",
        "meaning": "mean norm of draws",
        "needs": "draws",
        "offers": lambda stack, x: True,
        "metrics": (Metric("reach", "data units", "mean norm of draws", "higher", low=0.0),),
        "measure": lambda stack, data, split, limits: {"reach": (torch.ones(2, 5), "data units")},
    }
    return Estimator(**{**settings, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "../reach"}, "name must be lower-case letters"),
        ({"metrics": (Metric(SW.name, "m", "another"),)}, "sw_distance is declared in data units, lower is better"),
        ({"metrics": (Metric(SW.name, SW.unit, "another", "higher"),)}, "give its metric another name"),
        ({"metrics": (Metric("kl_z_nats", "nats", "a loss"),)}, "neither way better; estimator 'reach' says nats, lower"),
    ],
)
def test_an_estimator_of_ones_own_that_makes_no_sense_is_refused(changes, says):
    with pytest.raises(SeedbedError, match=says):
        own(**changes)


@pytest.mark.parametrize(
    ("measured", "says"),
    [
        ({"reach": (torch.ones(2, 5), "m")}, "returned reach in m and declares it in data units"),
        ({"spread": (torch.ones(2, 5), "m")}, "returned spread in m and declares no such metric"),
        ({"reach": (torch.ones(2), "data units")}, r"must return \[2, n\] of reach, got \[2\]"),
        ({"reach": (torch.ones(5, 2), "data units")}, r"must return \[2, n\] of reach, got \[5, 2\]"),
    ],
)
def test_what_it_did_not_declare_is_refused(measured, says):
    own().check({"reach": (torch.ones(2, 5), "data units")}, 2)
    with pytest.raises(SeedbedError, match=says):
        own().check(measured, 2)
