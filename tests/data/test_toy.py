"""Toy densities against FFJORD's recipes, written again here in numpy, and against other numerics."""

import math
import os
import pickle
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from scipy.integrate import simpson
from scipy.stats import norm
from sklearn.datasets import make_circles, make_moons, make_swiss_roll

import seedbed.data
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.data.toy import TOY, toy_dataset

# name: entropy, Gaussian NLL, per-axis std (reference/convergence.md, section 5).
TABLE = {
    "8gaussians": (2.8319, 4.2552, (2.031, 2.031)),
    "swissroll": (2.6696, 3.4658, (1.340, 1.405)),
    "circles": (3.2681, 3.8922, (1.694, 1.694)),
    "rings": (2.6232, 3.5873, (1.455, 1.455)),
    "moons": (2.3939, 3.2946, (1.744, 1.008)),
    "pinwheel": (2.3178, 3.6263, (1.483, 1.483)),
    "2spirals": (2.6454, 3.7473, (1.610, 1.584)),
    "checkerboard": (3.4657, 4.5119, (2.309, 2.309)),
}
MEANS = {"swissroll": (0.400, 0.042), "moons": (0.0, 0.3)}
# name: half width and spacing of a grid on which sums are integrals (spacing at most 0.6 of the narrowest std).
GRIDS = {
    "8gaussians": (6.0, 0.15),
    "swissroll": (4.6, 0.1),
    "circles": (5.0, 0.12),
    "rings": (3.8, 0.04),
    "moons": (4.4, 0.1),
    "pinwheel": (6.5, 0.08),
    "2spirals": (4.4, 0.055),
    "checkerboard": (4.0, 0.04),
    "line": (3.0, 0.03),
    "cos": (3.0, 0.03),
}
SETS = pytest.mark.parametrize("name", TOY)
FEATURES = 48


def z(comparisons: int) -> float:
    """Two-sided bound that holds for all comparisons together with probability 0.999."""
    return float(norm.isf(0.001 / 2 / comparisons))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def grid(name: str) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Cell middles, density there, area of a cell."""
    half, spacing = GRIDS[name]
    count = round(2 * half / spacing)
    axis = (torch.arange(count, dtype=torch.float64) + 0.5) / count * 2 * half - half
    x = torch.cartesian_prod(axis, axis)
    return x, TOY[name].log_density(x).exp(), (2 * half / count) ** 2


def recipe(name: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """FFJORD's recipe as published: equally spaced angles, counted classes."""
    seed = int(rng.integers(2**31))
    if name == "8gaussians":
        angle = rng.integers(8, size=n) * np.pi / 4
        return (4 * np.stack((np.cos(angle), np.sin(angle)), 1) + 0.5 * rng.normal(size=(n, 2))) / 1.414
    if name == "swissroll":
        return make_swiss_roll(n, noise=1.0, random_state=seed)[0][:, [0, 2]] / 5
    if name == "circles":
        return 3 * make_circles(n, factor=0.5, noise=0.08, random_state=seed)[0]
    if name == "rings":
        sizes = (n // 4, n // 4, n // 4, n - 3 * (n // 4))
        angle = [np.linspace(0, 2 * np.pi, size, endpoint=False) for size in sizes]
        x = np.concatenate(
            [r * np.stack((np.cos(a), np.sin(a)), 1) for r, a in zip((1, 0.75, 0.5, 0.25), angle, strict=True)]
        )
        return rng.permutation(3 * x) + 0.08 * rng.normal(size=(n, 2))
    if name == "moons":
        return 2 * make_moons(n, noise=0.1, random_state=seed)[0] + np.array([-1, -0.2])
    if name == "pinwheel":
        f = rng.normal(size=(5 * (n // 5), 2)) * np.array([0.3, 0.1]) + np.array([1.0, 0.0])
        angle = 2 * np.pi * np.repeat(np.arange(5), n // 5) / 5 + 0.25 * np.exp(f[:, 0])
        turn = np.stack((np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)), 1).reshape(-1, 2, 2)
        return 2 * rng.permutation(np.einsum("ti,tij->tj", f, turn))
    if name == "2spirals":
        m = np.sqrt(rng.random((n // 2, 1))) * 540 * (2 * np.pi) / 360
        d = np.hstack((-np.cos(m) * m + rng.random((n // 2, 1)) * 0.5, np.sin(m) * m + rng.random((n // 2, 1)) * 0.5))
        return np.vstack((d, -d)) / 3 + 0.1 * rng.normal(size=(2 * (n // 2), 2))
    if name == "checkerboard":
        x1 = rng.random(n) * 4 - 2
        return 2 * np.stack((x1, rng.random(n) - rng.integers(2, size=n) * 2 + np.floor(x1) % 2), 1)
    x = rng.random(n) * 5 - 2.5
    y = x if name == "line" else 2.5 * np.sin(x)
    return np.stack((x, y), 1) + 0.05 * rng.normal(size=(n, 2))


@SETS
def test_density_integrates_to_one(name):
    _, p, area = grid(name)
    assert float(p.sum()) * area == pytest.approx(1, abs=1e-6)


@SETS
def test_entropy_is_that_of_the_density(name):
    _, p, area = grid(name)
    assert -float(torch.special.xlogy(p, p).sum()) * area == pytest.approx(TOY[name].entropy, abs=1e-4)


@SETS
def test_entropy_is_the_expected_nll_of_draws(name):
    nll = -TOY[name].log_density(TOY[name].sample(20_001, generator(1))).double()
    assert nll.isfinite().all()  # a checkerboard draw that float32 rounds onto an edge is inside
    # The checkerboard has no spread; its draws are compared to float32 accuracy.
    assert float(nll.mean()) == pytest.approx(TOY[name].entropy, abs=z(len(TOY)) * float(nll.std()) / 20_001**0.5 + 1e-6)


@pytest.mark.parametrize("name", TABLE)
def test_published_table(name):
    x, p, area = grid(name)
    entropy, gauss, stds = TABLE[name]
    assert TOY[name].entropy == pytest.approx(entropy, abs=0.005)
    mean = (p @ x) * area
    variance = (p @ (x - mean).square()) * area
    assert variance.sqrt().tolist() == pytest.approx(stds, abs=0.001)
    assert mean.tolist() == pytest.approx(MEANS.get(name, (0, 0)), abs=0.001)
    if name == "checkerboard":
        # The table multiplies the two marginal Gaussians; the coordinates have correlation 3/16, which is worth 0.018.
        gauss += 0.5 * math.log(1 - (3 / 16) ** 2)
    assert TOY[name].gaussian_nll == pytest.approx(gauss, abs=1e-3)


@SETS
def test_gaussian_nll_has_the_moments_of_the_density(name):
    x, p, area = grid(name)
    centred = x - (p @ x) * area
    covariance = (centred.T * p) @ centred * area
    expected = math.log(2 * math.pi * math.e) + 0.5 * float(torch.logdet(covariance))
    assert TOY[name].gaussian_nll == pytest.approx(expected, abs=5e-4)  # 3e-4 is the checkerboard's, O(spacing^2)
    assert TOY[name].gaussian_nll > TOY[name].entropy


@pytest.mark.parametrize("source", ["seedbed", "recipe"])
@SETS
def test_characteristic_function(name, source):
    """E[exp(i w x)] of draws, ours and the recipe's, against its integral under the density."""
    rng = np.random.default_rng(7)
    angle, length = rng.uniform(0, math.pi, FEATURES), np.exp(rng.uniform(math.log(0.3), math.log(12), FEATURES))
    w = torch.from_numpy(np.stack((length * np.cos(angle), length * np.sin(angle))))
    draws = (
        TOY[name].sample(60_000, generator(2)).double()
        if source == "seedbed"
        else torch.from_numpy(recipe(name, 60_000, rng))
    )
    x, p, area = grid(name)
    for wave in (torch.cos, torch.sin):
        seen, expected = wave(draws @ w), p @ wave(x @ w) * area
        score = (seen.mean(0) - expected) / (seen.std(0) / len(draws) ** 0.5)
        assert float(score.abs().max()) < z(2 * 2 * FEATURES * len(TOY))


def moments(x: torch.Tensor) -> torch.Tensor:
    x1, x2 = x.double().unbind(-1)
    return torch.stack((x1, x2, x1 * x2, x1 * x1 + x2 * x2), -1)


def dispersion(batches: torch.Tensor) -> torch.Tensor:
    """Variance of the means of batches, over what independent draws have; 1 if i.i.d. ``[batches, n, 2]`` to ``[4]``."""
    stats = moments(batches)
    return stats.mean(1).var(0) * stats.shape[1] / stats.flatten(0, 1).var(0)


@SETS
def test_draws_are_independent(name):
    draws = generator(3)
    ratio = dispersion(torch.stack([TOY[name].sample(40, draws) for _ in range(400)]))
    assert float((ratio - 1).abs().max()) < z(4 * len(TOY)) * (2 / 399) ** 0.5
    first, second = moments(TOY[name].sample(40_000, draws)).chunk(2)
    score = (first.mean(0) - second.mean(0)) / ((first.var(0) + second.var(0)) / 20_000).sqrt()
    assert float(score.abs().max()) < z(4 * len(TOY))


@pytest.mark.parametrize("name", ["circles", "rings", "moons", "pinwheel"])
def test_published_recipes_are_not_independent(name):
    """Why ours differ, and proof that the test above sees it."""
    rng = np.random.default_rng(3)
    ratio = dispersion(torch.stack([torch.from_numpy(recipe(name, 40, rng)) for _ in range(400)]))
    assert float((ratio - 1).abs().max()) > z(4 * len(TOY)) * (2 / 399) ** 0.5


def curve_reference(name: str, x: np.ndarray) -> float:
    """Density at one point by Simpson's rule over the curve parameter, 40,001 nodes."""

    def integral(low, high, weight, curve, kernel):
        t = np.linspace(low, high, 40_001)
        c = curve(t)
        return simpson(weight(t) * kernel(x[0] - c[0]) * kernel(x[1] - c[1]), x=t)

    def even(low, high, curve, std):
        return integral(low, high, lambda t: np.full_like(t, 1 / (high - low)), curve, norm(scale=std).pdf)

    if name == "swissroll":
        return even(1.5 * np.pi, 4.5 * np.pi, lambda t: (t * np.cos(t) / 5, t * np.sin(t) / 5), 0.2)
    if name in ("circles", "rings"):
        radii, std = {"circles": ((3, 1.5), 0.24), "rings": ((3, 2.25, 1.5, 0.75), 0.08)}[name]
        return np.mean([even(0, 2 * np.pi, lambda t, r=r: (r * np.cos(t), r * np.sin(t)), std) for r in radii])
    if name == "moons":
        upper = even(0, np.pi, lambda t: (2 * np.cos(t) - 1, 2 * np.sin(t) - 0.2), 0.2)
        return (upper + even(0, np.pi, lambda t: (1 - 2 * np.cos(t), 0.8 - 2 * np.sin(t)), 0.2)) / 2
    if name == "2spirals":
        arms = []
        for sign in (1, -1):
            arms.append(
                integral(
                    0,
                    3 * np.pi,
                    lambda m: 2 * m / (9 * np.pi**2),
                    lambda m, s=sign: (-s * m * np.cos(m) / 3, s * m * np.sin(m) / 3),
                    lambda y, s=sign: (norm.cdf(s * y / 0.1) - norm.cdf((s * y - 0.5 / 3) / 0.1)) / (0.5 / 3),
                )
            )
        return np.mean(arms)
    return even(-2.5, 2.5, lambda t: (t, t if name == "line" else 2.5 * np.sin(t)), 0.05)


@pytest.mark.parametrize("name", ["swissroll", "circles", "rings", "moons", "2spirals", "line", "cos"])
def test_log_density_of_a_curve(name):
    x = TOY[name].sample(8, generator(4)).double()
    x[-2:] += 0.3  # off the curve too
    expected = [math.log(curve_reference(name, point)) for point in x.numpy()]
    assert TOY[name].log_density(x).tolist() == pytest.approx(expected, abs=1e-6)


def test_log_density_of_eight_gaussians():
    x = TOY["8gaussians"].sample(20, generator(5)).double()
    centres = [(4 / 1.414 * math.cos(k * math.pi / 4), 4 / 1.414 * math.sin(k * math.pi / 4)) for k in range(8)]
    p = [np.mean([np.prod(norm.pdf(point, centre, 0.5 / 1.414)) for centre in centres]) for point in x.numpy()]
    assert TOY["8gaussians"].log_density(x).tolist() == pytest.approx(np.log(p), abs=1e-9)


def test_log_density_of_pinwheel_is_the_change_of_variables():
    """One arm explains nearly every draw: there the density is N(f) / (5 |dx/df|) with an autodiff Jacobian."""
    f = torch.from_numpy(np.array([1.0, 0.0]) + np.array([0.3, 0.1]) * np.random.default_rng(6).normal(size=(500, 2)))
    arm = torch.randint(5, (500,), generator=generator(6)).double()

    def forward(f, k):
        a = 2 * math.pi * k / 5 + 0.25 * f[0].exp()
        return 2 * torch.stack((f[0] * a.cos() + f[1] * a.sin(), f[1] * a.cos() - f[0] * a.sin()))

    log_det = torch.vmap(torch.func.jacrev(forward))(f, arm).det().abs().log()
    log_f = torch.from_numpy(norm.logpdf(f[:, 0], 1, 0.3) + norm.logpdf(f[:, 1], 0, 0.1))
    excess = TOY["pinwheel"].log_density(torch.vmap(forward)(f, arm)) - (log_f - math.log(5) - log_det)
    assert float(excess.min()) > -1e-9  # the other arms can only add
    assert float(excess.quantile(0.75)) < 1e-6


def test_checkerboard_is_flat_on_its_squares_and_empty_outside():
    middle = torch.arange(-3, 4, 2).double()
    middles = torch.cartesian_prod(middle, middle)
    inside = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]).flatten().bool()
    jitter = torch.rand(16, 2, generator=generator(7), dtype=torch.float64) * 1.98 - 0.99
    log_p = TOY["checkerboard"].log_density(middles + jitter)
    assert log_p[inside].tolist() == pytest.approx([-math.log(32)] * 8, abs=1e-12)
    assert (log_p[~inside] == -math.inf).all()
    outer = torch.tensor([[4.001, 3.0], [-3.0, -4.001], [5.0, 5.0], [-1e6, 0.0]])
    assert (TOY["checkerboard"].log_density(outer) == -math.inf).all()
    edge = torch.tensor([[4.0, 3.0], [-4.0, -3.0], [2.0, 1.0], [1.0, 0.0]])
    assert TOY["checkerboard"].log_density(edge).isfinite().all()


@pytest.mark.parametrize("name", [name for name in TOY if name != "checkerboard"])
def test_tails_are_finite_and_fall(name):
    ray = torch.tensor([[-0.6, 0.8]]) * torch.tensor([5.0, 10.0, 50.0, 1000.0])[:, None]
    log_p = TOY[name].log_density(ray)
    assert log_p.isfinite().all()
    assert (log_p.diff() < 0).all()


@SETS
@pytest.mark.parametrize("n", [0, 1, 7, 1001])
def test_exact_number_of_draws(name, n):
    x = TOY[name].sample(n, generator(8))
    assert x.shape == (n, 2)
    assert x.dtype == torch.float32
    assert TOY[name].log_density(x).shape == (n,)


@SETS
def test_draws_follow_their_generator_alone(name):
    before = torch.get_rng_state()
    once = TOY[name].sample(50, generator(9))
    assert torch.equal(before, torch.get_rng_state())
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        again = TOY[name].sample(50, generator(9))
    finally:
        torch.set_default_dtype(default)
    assert torch.equal(once, again)
    assert not torch.equal(once, TOY[name].sample(50, generator(10)))


@SETS
def test_log_density_keeps_dtype_and_does_not_depend_on_chunks(name):
    x = TOY[name].sample(5000, generator(11))
    log_p = TOY[name].log_density(x)
    assert log_p.dtype == torch.float32
    assert TOY[name].log_density(x.double()).dtype == torch.float64
    torch.testing.assert_close(TOY[name].log_density(x[2040:2060]), log_p[2040:2060], rtol=1e-6, atol=1e-6)


def test_log_density_refuses_other_shapes():
    # Type checking of the test run is faster than our own message.
    with pytest.raises((ValueError, TypeCheckError)):
        TOY["moons"].log_density(torch.zeros(3, 3))


@SETS
def test_dataset(name):
    data = toy_dataset(name, seed=3, train_size=501, eval_size=99, valid_size=33)
    assert {split: (len(x), *x.shape) for split, x in data.splits.items()} == {
        "train": (501, 2),
        "valid": (33, 2),
        "test": (99, 2),
    }
    assert (data.domain, data.epoch_size, data.entropy) == (REAL, 51_200, TOY[name].entropy)
    assert data.protocol == f"{name}, i.i.d. draws 501/33/99, data seed 3"
    assert data.log_density is not None
    assert data.log_density(data.splits["test"][:]).isfinite().all()
    # Equal sizes: with one generator for all splits they would be the same draws.
    splits = toy_dataset(name, train_size=20, eval_size=20, valid_size=20).splits
    assert len(torch.cat([x[:] for x in splits.values()]).unique(dim=0)) == 60


def test_dataset_follows_its_seed():
    first, again, other = (toy_dataset("rings", seed, train_size=100, eval_size=10, valid_size=10) for seed in (0, 0, 1))
    assert first.checksum() == again.checksum() != other.checksum()


def test_dataset_travels_to_another_process():
    data = toy_dataset("pinwheel", train_size=10, eval_size=10, valid_size=10)
    back = pickle.loads(pickle.dumps(data))
    assert torch.equal(back.log_density(back.splits["test"][:]), data.log_density(data.splits["test"][:]))


def test_unknown_names_say_what_was_meant():
    with pytest.raises(SeedbedError, match="unknown toy data set '8gausians'; did you mean '8gaussians'"):
        toy_dataset("8gausians")
    with pytest.raises(SeedbedError, match="unknown data set 'pinwhel'; did you mean 'pinwheel'"):
        seedbed.data.load("pinwhel")


def test_every_toy_set_is_registered():
    assert set(TOY) <= set(seedbed.data.names())
    data = seedbed.data.load("moons", seed=2, train_size=64, eval_size=8, valid_size=8)
    assert data.checksum() == toy_dataset("moons", seed=2, train_size=64, eval_size=8, valid_size=8).checksum()


def test_the_list_of_names_needs_no_torch():
    code = "import sys, seedbed.data; seedbed.data.names(); print({'torch', 'sklearn', 'numpy', 'scipy'} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    assert loaded.strip() == "set()"
