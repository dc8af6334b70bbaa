"""The toy sets of FFJORD (Grathwohl et al. 2019, arXiv 1810.01367): sampler, exact density, entropy, Gaussian baseline."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seedbed.core.domain import REAL
from seedbed.core.errors import unknown
from seedbed.core.memory import check_memory
from seedbed.core.noise import Streams
from seedbed.core.numbers import whole
from seedbed.data.dataset import Dataset
from seedbed.data.toy_densities import (
    Checkerboard,
    Density,
    NoisyCircles,
    NoisyCurve,
    Pinwheel,
    Points,
    TwoSpirals,
    Values,
)

# A toy set stands for a density, not for its file of draws: an epoch is this many examples, whatever was drawn.
EPOCH = 51_200


@dataclass(frozen=True)
class ToyDensity:
    """A density on the plane whose truth is known.

    Args:
        name: the registered name.
        sample: ``(n, generator)`` to n i.i.d. draws, ``[n, 2]`` float32.
        log_density: exact log p*(x) in nats, ``[n, 2]`` to ``[n]``.
        entropy: H = -E[log p*(x)] in nats, the floor of any model's expected NLL; good to 1e-4.
        gaussian_nll: expected NLL in nats of the best single Gaussian, a trivial upper anchor.
        note: the recipe in one line.
    """

    name: str
    sample: Callable[[int, torch.Generator], Tensor]
    log_density: Callable[[Tensor], Tensor]
    entropy: float
    gaussian_nll: float
    note: str


def _eight_gaussians(u: Values) -> Points:
    angle = math.pi / 4 * (8 * u).floor()
    return 4 / 1.414 * torch.stack((angle.cos(), angle.sin()), -1)


def _swissroll(u: Values) -> Points:
    t = 1.5 * math.pi * (1 + 2 * u)
    return torch.stack((t * t.cos(), t * t.sin()), -1) / 5


def _moons(u: Values) -> Points:
    lower = u >= 0.5
    angle = math.pi * (2 * u - lower.to(u))
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    return torch.stack((2 * x - 1, 2 * y - 0.2), -1)


def _line(u: Values) -> Points:
    x = 5 * u - 2.5
    return torch.stack((x, x), -1)


def _cos(u: Values) -> Points:
    x = 5 * u - 2.5
    return torch.stack((x, 2.5 * x.sin()), -1)


def _toy(name: str, density: Density, entropy: float, note: str) -> ToyDensity:
    return ToyDensity(name, density.sample, density.log_density, entropy, density.gaussian_nll(), note)


# Entropies: -sum p log p over a grid of the exact density; 4 decimals stay when the grid is refined (see the tests).
_SETS = (
    _toy(
        "8gaussians",
        NoisyCurve(_eight_gaussians, std=0.5 / 1.414, panels=8),
        entropy=2.8319,
        note="8 Gaussians of std .5 at radius 4, divided by 1.414 (not sqrt 2)",
    ),
    _toy(
        "swissroll",
        NoisyCurve(_swissroll, std=0.2, panels=24),
        entropy=2.6696,
        note="((t cos t, t sin t) + N) / 5 with t = 1.5 pi (1 + 2U)",
    ),
    _toy(
        "circles",
        NoisyCircles((3.0, 1.5), std=0.24),
        entropy=3.2681,
        note="circles of radius 3 and 1.5, noise std .24",
    ),
    _toy(
        "rings",
        NoisyCircles((3.0, 2.25, 1.5, 0.75), std=0.08),
        entropy=2.6232,
        note="circles of radius 3, 2.25, 1.5 and .75, noise std .08",
    ),
    _toy(
        "moons",
        NoisyCurve(_moons, std=0.2, panels=16),
        entropy=2.3939,
        note="two half circles with noise std .1, doubled, then moved by (-1, -.2)",
    ),
    _toy(
        "pinwheel",
        Pinwheel(),
        entropy=2.3178,
        note="5 arms (1 + .3N, .1N), turned by 2 pi k/5 + .25 exp(first component), doubled",
    ),
    _toy(
        "2spirals",
        TwoSpirals(),
        entropy=2.6454,
        note="+-(m (-cos m, sin m) + .5U) / 3 + .1N with m = 3 pi sqrt(U)",
    ),
    _toy(
        "checkerboard",
        Checkerboard(),
        entropy=math.log(32),
        note="uniform on 8 squares of side 2 in [-4, 4]^2",
    ),
    _toy(
        "line",
        NoisyCurve(_line, std=0.05, panels=32),
        entropy=0.3920,
        note="y = x with x = 5U - 2.5, noise std .05 (ours: the source adds none and has no density)",
    ),
    _toy(
        "cos",
        NoisyCurve(_cos, std=0.05, panels=48),
        entropy=0.5724,
        note="y = 2.5 sin x with x = 5U - 2.5, noise std .05 (ours: the source adds none and has no density)",
    ),
)
TOY: dict[str, ToyDensity] = {toy.name: toy for toy in _SETS}


def toy_dataset(
    name: str,
    seed: int = 0,
    train_size: int = 1_024_000,
    eval_size: int = 100_000,
    valid_size: int = 10_000,
) -> Dataset:
    """Three independent splits of a toy density, float32, with its exact log-density and entropy in nats.

    An epoch is 51,200 examples whatever ``train_size``: the set stands for a density, not for its draws.

    Args:
        name: a key of ``TOY``.
        seed: the data seed; shared by every run of a study, and not the model's seed.
        train_size: examples to train on.
        eval_size: examples of the test split.
        valid_size: examples of the validation split.

    Raises:
        SeedbedError: if there is no such toy set, or it does not fit in memory.
    """
    if name not in TOY:
        raise unknown("toy data set", name, TOY)
    toy = TOY[name]
    given = {"train": train_size, "valid": valid_size, "test": eval_size}
    sizes = {split: whole(f"examples of {split}", size, 1) for split, size in given.items()}
    check_memory(
        f"{sum(sizes.values())} points of {name}", 8 * sum(sizes.values()), "draw fewer (--train-size, --eval-size)"
    )
    draws = {split: toy.sample(size, Streams(seed).generator("data", name, split)) for split, size in sizes.items()}
    return Dataset(
        name=name,
        domain=REAL,
        protocol=f"{name}, i.i.d. draws {train_size}/{valid_size}/{eval_size}, data seed {seed}",
        splits=draws,
        epoch_size=EPOCH,
        log_density=toy.log_density,
        entropy=toy.entropy,
    )
