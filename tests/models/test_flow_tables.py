"""The presets of tables beside zuko's flows of the same kind and size, on a table whose density is known."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seedbed.data.dataset import Dataset
from seedbed.data.own import from_arrays
from seedbed.evaluate.density import nll
from seedbed.evaluate.estimate import per_example
from seedbed.experiments import CouplingFlow, Experiment, Likelihood
from seedbed.experiments.data import Examples
from seedbed.experiments.tables import MODELS
from seedbed.train.learner import Learner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from tables_zuko import theirs, trained

STEPS = 1_000


def table() -> tuple[Dataset, torch.Tensor]:
    """A bent and skewed table in units far from 1, and -log p of its test rows."""
    z = np.random.default_rng(0).normal(size=(8_000, 3))
    a, b = z[:, 0], z[:, 1] + 0.5 * z[:, 0] ** 2
    skewed = np.exp(0.5 * z[:, 2])
    rows, scale = np.column_stack([a, b, skewed + b]), np.array([100.0, 1.0, 1e-2])
    # Shears keep volume; exp(z / 2) and the scales do not.
    truth = (z**2).sum(1) / 2 + 1.5 * math.log(2 * math.pi) + 0.5 * z[:, 2] + math.log(0.5) + np.log(scale).sum()
    parts = {"train": slice(0, 5_000), "valid": slice(5_000, 6_000), "test": slice(6_000, None)}
    data = from_arrays({name: (rows * scale)[part] for name, part in parts.items()}, name="csv:t.csv")
    return data, torch.tensor(truth[parts["test"]])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flow", "spline-flow"])
def test_a_table_is_learnt_as_well_as_by_zuko(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, truth = table()
    assert data.units is not None
    model = MODELS[kind]
    assert isinstance(model, CouplingFlow)
    monkeypatch.setattr(Examples, "load", lambda self, seed=None: data)
    training = model.training_on("csv:t.csv")
    experiment = Experiment(Examples("csv:t.csv"), model, Likelihood(), training).with_config({"steps": STEPS})
    streams = experiment.streams([0])
    learner = Learner(experiment.task(streams), streams, torch.device("cpu"))
    for _ in range(STEPS):
        learner.advance()
    ours = per_example(learner.stack(), nll, data.splits["test"], "test")["nll_nats"][0].double()
    x = {name: source[:] for name, source in data.standardised.splits.items()}
    torch.manual_seed(0)
    best = trained(theirs(model, data.features), experiment.training, x["train"], x["valid"], 0, STEPS)
    with torch.no_grad():
        other = (-best().log_prob(x["test"]) + data.units.log_volume(data.shape)).double()
    gap, beside = ours - truth, ours - other
    assert -4.5 * gap.std() / len(gap) ** 0.5 < gap.mean() < 0.15
    assert beside.mean() < 4.5 * beside.std() / len(beside) ** 0.5
