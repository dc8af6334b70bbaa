"""What is recorded of a measurement and of the updates between two: means, their errors, and of whom."""

import math

import pytest
import torch

from seedbed.store.table import Row
from seedbed.train.learner import Tally
from seedbed.train.loop import rows_of


def test_a_measurement_is_the_mean_and_its_standard_error_of_each_chosen_seed():
    values = torch.tensor([[1.0, 3.0, 8.0], [2.0, 2.0, 2.0], [0.0, 1.0, 5.0]])
    measured = {"loss": (values, "nats"), "distance": (values[:, :1], "data units")}
    chosen, steps = torch.tensor([True, False, True]), torch.tensor([20, 20, 10])
    rows = rows_of(measured, (4, 7, 9), chosen, steps, "valid", 1.5)
    assert [row.se for row in rows] == [pytest.approx(math.sqrt(13 / 3)), pytest.approx(math.sqrt(7 / 3)), 0.0, 0.0]
    assert rows == [
        Row(4, 20, "valid", "loss", 4.0, "nats", 3, rows[0].se, 1.5),
        Row(9, 10, "valid", "loss", 2.0, "nats", 3, rows[1].se, 1.5),
        Row(4, 20, "valid", "distance", 1.0, "data units", 1, 0.0, 1.5),  # of one value there is no error to know
        Row(9, 10, "valid", "distance", 0.0, "data units", 1, 0.0, 1.5),
    ]


def test_updates_are_recorded_by_their_mean():
    tally = Tally()
    assert tally.means() == {}
    for means in ([[1.0, 2.0], [3.0, 4.0]], [[2.0, 2.0], [0.0, 1.0]], [[6.0, 2.0], [0.0, 1.0]]):
        tally.add(("utility", "kl"), torch.tensor(means))
    assert {name: value.tolist() for name, value in tally.means().items()} == {"utility": [3.0, 2.0], "kl": [1.0, 2.0]}
