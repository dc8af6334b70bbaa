"""Schedules are tied to the run's own number of steps."""

import math

import pytest

from seedbed.train.schedules import SCHEDULES, constant, cosine, fixed_horizon, linear

# factor -> {(step, steps): value}
KNOWN = {
    "constant": (constant(), {(0, 10): 1.0, (9, 10): 1.0}),
    "cosine": (cosine(), {(0, 100): 1.0, (25, 100): 0.5 + math.sqrt(0.125), (50, 100): 0.5, (100, 100): 0.0}),
    "cosine-end": (cosine(end=0.2), {(0, 100): 1.0, (50, 100): 0.6, (100, 100): 0.2}),
    # The first update is not lost: the rise starts at 1 / (warmup * steps + 1) and meets the cosine at 1.
    "cosine-warmup": (
        cosine(warmup=0.1),
        {(0, 100): 1 / 11, (5, 100): 6 / 11, (10, 100): 1.0, (55, 100): 0.5, (100, 100): 0.0},
    ),
    "linear": (linear(), {(0, 10): 1.0, (5, 10): 0.5, (10, 10): 0.0}),
    "linear-delay": (linear(delay=0.5, end=0.1), {(0, 10): 1.0, (5, 10): 1.0, (10, 10): 0.1}),
    # The source's rule ignores the length of the run, and goes below zero beyond its horizon.
    "fixed-horizon": (fixed_horizon(10, 20), {(0, 5): 1.0, (10, 5): 1.0, (15, 5): 0.5, (20, 5): 0.0, (30, 5): -1.0}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_values(name):
    factor, known = KNOWN[name]
    for (step, steps), value in known.items():
        assert factor(step, steps) == pytest.approx(value, abs=1e-12), (step, steps)


@pytest.mark.parametrize("name", SCHEDULES)
def test_twice_the_steps_is_the_same_shape(name):
    factor = SCHEDULES[name]()
    for step in range(50, 1001, 50):  # after the warm-up, whose first update is 1 / its length
        assert factor(step, 1000) == pytest.approx(factor(2 * step, 2000), abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 30, 999])
def test_every_update_is_a_move_of_at_most_the_step_size(name, steps):
    factor = SCHEDULES[name]()
    assert all(0 < factor(step, steps) <= 1 for step in range(steps))
