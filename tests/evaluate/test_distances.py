"""Sliced Wasserstein against closed forms and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from seedbed.core.capabilities import HasSample
from seedbed.core.domain import REAL
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.distances import SlicedWasserstein, sliced_wasserstein


def points(n, number=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


def along(angle):
    return torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 110, 135, 200, 300])
def test_a_shift_is_two_over_pi_of_its_length_whatever_its_direction(degrees):
    x, shift = points(200), 3.0 * along(math.radians(degrees))
    for directions in (64, 65):
        # The mean of |cos| over even angles: within (pi / directions)^2 / 6 of 2 / pi, relatively.
        found = sliced_wasserstein(x + shift, x, directions).item()
        assert found == pytest.approx(2 / math.pi * 3.0, rel=(math.pi / directions) ** 2 / 6), directions


def test_every_projection_is_scipys():
    a, b = torch.stack([1.5 * points(301, 1) + 1, points(301, 2) ** 3]), points(301, 3)
    for directions in (1, 2, 7, 64):
        found = sliced_wasserstein(a, b, directions)
        assert found.shape == (2,)
        for row in range(2):
            axes = [along(math.pi * i / directions) for i in range(directions)]
            each = [stats.wasserstein_distance((a[row] @ axis).numpy(), (b @ axis).numpy()) for axis in axes]
            assert found[row].item() == pytest.approx(np.mean(each), rel=1e-10), directions


@pytest.mark.parametrize("features", [1, 3, 7])
def test_in_other_dimensions_directions_are_drawn_from_the_sphere(features):
    x = torch.randn(50, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shift, many = torch.linspace(-1, 2, features, dtype=torch.float64), 40_000
    # A shift moves every projection by its part along the direction: in the mean |s| E|u_1|, u on the sphere.
    mean = math.gamma(features / 2) / (math.sqrt(math.pi) * math.gamma((features + 1) / 2))
    spread = math.sqrt(max(1 / features - mean**2, 0.0) / many)  # E u_1^2 = 1 / features
    found = sliced_wasserstein(x + shift, x, many).item() / shift.norm().item()
    assert abs(found - mean) <= 4 * spread + 1e-9
    assert sliced_wasserstein(x + shift, x).item() == sliced_wasserstein(x + shift, x).item()


def test_it_is_a_distance_and_turns_with_the_plane():
    a, b = 2 * points(300, 1) * torch.tensor([1.0, 0.2]), points(300, 2)
    found = sliced_wasserstein(a, b).item()
    assert sliced_wasserstein(a, a[torch.randperm(300, generator=torch.Generator().manual_seed(0))]).item() < 1e-12
    assert sliced_wasserstein(b, a).item() == pytest.approx(found, rel=1e-12)
    assert sliced_wasserstein(5 * a, 5 * b).item() == pytest.approx(5 * found, rel=1e-12)
    for angle in (0.4, math.pi / 2, 2.0):
        turn = torch.stack((along(angle), along(angle + math.pi / 2)))
        assert sliced_wasserstein(a @ turn, b @ turn).item() == pytest.approx(found, rel=2e-3), angle


class Shifted(nn.Module, HasSample):
    """The first points that it knows, in another order, moved by ``shift``."""

    def __init__(self, known, shift):
        super().__init__()
        self.shift = nn.Parameter(shift)
        self.register_buffer("known", known)

    def sample(self, count, ctx):
        return self.known[:count].flip(0) + self.shift


def test_each_seeds_draws_are_held_against_the_split():
    x, shifts = {name: points(500, i) for i, name in enumerate(("train", "valid", "test"))}, (0.0, 1.0, 4.0)
    data = Dataset(name="known", domain=REAL, protocol="as it is", splits=x)
    stack = Stack.of([Shifted(x["test"], s * along(2.2)) for s in shifts], [Streams(i) for i in range(3)], "fp64")
    for measure in (SlicedWasserstein(data), SlicedWasserstein(data, points=100)):
        found = measure(stack, "test")
        assert list(found) == ["sw_distance"] and found["sw_distance"][1] == "data units"
        value = found["sw_distance"][0]
        assert value.shape == (3, 1)
        assert value[:, 0].tolist() == pytest.approx([2 / math.pi * s for s in shifts], rel=1e-3, abs=1e-12)
    other = measure(stack, "valid")["sw_distance"][0]
    assert other[0, 0].item() == pytest.approx(sliced_wasserstein(x["test"][:100], x["valid"][:100]).item(), rel=1e-10)


def test_draws_are_the_models_own():
    """10,000 of N(v, 1) against as many of N(0, 1): every projection is moved by v, and its mean errs by sqrt(2 / n)."""

    class Normal(nn.Module, HasSample):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.tensor([6.0, -8.0]))

        def sample(self, count, ctx):
            return self.mean + ctx.noise.normal((2,), batch=count)

    x = points(12_000).float()
    data = Dataset(name="normal", domain=REAL, protocol="drawn", splits={"train": x, "test": x})
    found = SlicedWasserstein(data)(Stack.of([Normal(), Normal()], [Streams(0), Streams(1)]), "test")["sw_distance"][0]
    # Across v two samples are never equal, which adds a little: 0.02 is a hundred times what there is.
    assert ((found - 20 / math.pi).abs() < 4 * math.sqrt(2 / 10_000) + 0.02).all() and found[0] != found[1]
