"""Distances between sets against closed forms, torchmetrics on the same features, and counting."""

import math

import pytest
import torch
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from seedbed.core.errors import SeedbedError
from seedbed.evaluate.quality.frechet import Moments, frechet, frechet_of
from seedbed.evaluate.quality.kernel import kernel_distance
from seedbed.evaluate.quality.manifold import manifolds, nearest_of, radii


def normal(seed, n, d=8):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixed(seed, n, d=8):
    """Correlated, off centre, far from unit scale in places."""
    g = torch.Generator().manual_seed(100 + seed)
    a = torch.randn(d, d, generator=g, dtype=torch.float64) * torch.logspace(-2, 1, d, dtype=torch.float64)
    return normal(seed, n, d) @ a + torch.randn(d, generator=g, dtype=torch.float64)


def exactly(mean, root, n=400):
    """Features whose sample mean and covariance are the given ones to rounding: whitened draws, coloured."""
    x = normal(3, n, len(mean))
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.mT @ x / (n - 1)).mT)
    return x @ root.mT + mean


# --------------------------------------------------------------------------------------------------------------- Frechet


def test_two_gaussians_are_as_far_apart_as_the_closed_form():
    """Covariances that commute: ``|m|^2 + sum (sqrt a - sqrt b)^2``; and in two dimensions any, by the trace of a root."""
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 0.25]).double()
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    turn = torch.linalg.qr(normal(5, 3, 3)).Q
    x = exactly(torch.zeros(3).double(), turn * a.sqrt())
    y = exactly(mean, turn * b.sqrt())
    expected = float(mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    assert frechet(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-9)
    p, q = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double(), torch.tensor([[1.0, -0.8], [-0.8, 3.0]]).double()
    x, y = (exactly(torch.zeros(2).double(), torch.linalg.cholesky(s)) for s in (p, q))
    # tr (pq)^1/2 of a 2 x 2 matrix is sqrt(tr pq + 2 sqrt(det pq)).
    root = math.sqrt(float((p @ q).trace()) + 2 * math.sqrt(float(torch.det(p @ q))))
    assert frechet(Moments.of(x), Moments.of(y)) == pytest.approx(float(p.trace() + q.trace()) - 2 * root, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_frechet_distance_is_that_of_torchmetrics(seed):
    x, y = mixed(seed, 300), mixed(seed + 50, 300)
    a, b = Moments.of(x), Moments.of(y)
    theirs = float(_compute_fid(x.mean(0), x.mT.cov(), y.mean(0), y.mT.cov()))
    assert frechet(a, b) == pytest.approx(theirs, rel=1e-4) and frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-6)
    assert abs(frechet(a, a)) < 1e-6 * float(a.covariance.trace())


def test_moments_of_parts_are_those_of_the_whole_far_from_zero():
    """Sums in fp32 would lose the covariance: the mean is 10^5 deviations away."""
    x = 1e5 + normal(1, 1000)
    whole, parts = Moments.of(x), Moments.of(x[:7]) + Moments.of(x[7:600]) + Moments.of(x[600:])
    assert parts.n == 1000 and torch.allclose(parts.mean, whole.mean, rtol=1e-13)
    assert torch.allclose(parts.covariance, whole.covariance, atol=1e-9) and torch.allclose(whole.covariance, x.mT.cov())
    assert torch.allclose(Moments.of(x.float()).covariance, x.float().double().mT.cov())


def test_the_extrapolated_distance_has_no_bias_and_the_error_is_that_of_repeats():
    """Both sets of one law: the distance is all bias, about ``c / n``; repeats of it spread as its error says."""
    found = [frechet_of(normal(10 + 2 * i, 1000), normal(11 + 2 * i, 1000)) for i in range(12)]
    values, infinity, errors = (torch.tensor([getattr(f, name) for f in found]) for name in ("value", "infinity", "error"))
    half = torch.tensor([f.by_size[500] for f in found])
    assert values.mean() > 2.5 * infinity.mean().abs() and values.mean() > 10 * values.std() / math.sqrt(12)
    assert 1.7 < half.mean() / values.mean() < 2.3
    assert infinity.mean().abs() < 4 * infinity.std() / math.sqrt(12)
    assert 0.6 < errors.mean() / values.std() < 1.7, errors.mean() / values.std()
    assert list(found[0].by_size)[-1] == 1000 and found[0].by_size[1000] == pytest.approx(found[0].value, rel=1e-9)


def test_fewer_pictures_than_features_are_refused():
    with pytest.raises(SeedbedError, match="takes more than 8 pictures, got 8 of each set"):
        frechet_of(normal(0, 8), normal(1, 8))
    with pytest.raises(SeedbedError, match="two sets of as many"):
        frechet_of(normal(0, 80), normal(1, 81))


# ---------------------------------------------------------------------------------------------------------------- kernel


@pytest.mark.parametrize(("n", "m"), [(200, 200), (1500, 1500), (40, 40)])
def test_the_kernel_distance_is_that_of_torchmetrics(n, m):
    x, y = mixed(1, n).float().double(), (mixed(1, m) + 0.3).float().double()
    theirs = float(poly_mmd(x, y, degree=3, gamma=None, coef=1.0))
    assert kernel_distance(x, y).value == pytest.approx(theirs, rel=1e-4)


def test_the_kernel_distance_is_unbiased_and_its_error_is_that_of_repeats():
    """A biased estimate of two like sets would be positive always; with a shift the truth is in closed form."""
    found = [kernel_distance(normal(2 * i, 60, 4), normal(2 * i + 1, 90, 4)) for i in range(200)]
    values = torch.tensor([f.value for f in found])
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(200) and (values < 0).float().mean() > 0.3
    shift = torch.tensor([0.8, 0.0, 0.0, 0.0]).double()
    moved = [kernel_distance(normal(2 * i, 200, 4), normal(2 * i + 1, 200, 4) + shift) for i in range(100)]
    values, errors = (torch.tensor([getattr(f, name) for f in moved]) for name in ("value", "error"))

    # E (a.b/d + 1)^3 of independent a ~ N(p, I), b ~ N(q, I): with u = a.b, E u = p.q, E u^2 = (p.q)^2 + |p|^2 + |q|^2 + d,
    # E u^3 = (p.q)^3 + 3 p.q (|p|^2 + |q|^2 + d) + 6 p.q, by moments of Gaussians.
    def kernel(dot, p, q, d=4):
        one, two = dot, dot**2 + p + q + d
        three = dot**3 + 3 * dot * (p + q + d) + 6 * dot
        return three / d**3 + 3 * two / d**2 + 3 * one / d + 1

    square = 0.64
    truth = kernel(0, 0, 0) + kernel(square, square, square) - 2 * kernel(0, 0, square)
    assert float(values.mean()) == pytest.approx(truth, abs=4 * float(values.std()) / 10)
    assert 0.75 < float(errors.mean() / values.std()) < 1.35


# -------------------------------------------------------------------------------------------------------------- manifold


def test_balls_on_a_line():
    """Examples 0, 1, ..., 9 with k = 1 reach to their neighbours; draws at 2.5 and 100."""
    x, y = torch.arange(10.0).double()[:, None], torch.tensor([[2.5], [100.0], [101.0]]).double()
    found = manifolds(x, y, nearest=1)
    assert found.precision.tolist() == [1, 0, 0] and found.density.tolist() == [2, 0, 0]
    assert found.coverage.tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    # Draws reach 97.5, 1 and 1: the first one's ball holds every example.
    assert found.recall.tolist() == [1] * 10
    assert radii(y, 1).tolist() == [97.5, 1, 1]
    assert nearest_of(y, x)[0].tolist() == [0.5, 91, 92] and nearest_of(y, x)[1].tolist()[1:] == [9, 9]
    swapped = manifolds(y, x, nearest=1)
    assert swapped.precision.tolist() == found.recall.tolist() and swapped.recall.tolist() == found.precision.tolist()


def test_against_counting_one_by_one():
    x, y, k = normal(0, 40, 3), normal(1, 30, 3) * 0.7 + 0.4, 3
    apart = lambda a, b: torch.tensor([[math.dist(p, q) for q in b.tolist()] for p in a.tolist()])
    reach = [sorted(row)[k] for row in apart(x, x).tolist()]
    reach_y = [sorted(row)[k] for row in apart(y, y).tolist()]
    across = apart(x, y).tolist()
    found = manifolds(x, y, k)
    assert found.precision.tolist() == [float(any(across[i][j] < reach[i] for i in range(40))) for j in range(30)]
    assert found.recall.tolist() == [float(any(across[i][j] < reach_y[j] for j in range(30))) for i in range(40)]
    assert found.coverage.tolist() == [float(min(across[i]) < reach[i]) for i in range(40)]
    count = [sum(across[i][j] < reach[i] for i in range(40)) / k for j in range(30)]
    assert found.density.tolist() == pytest.approx(count)


def test_like_sets_have_density_and_coverage_one_and_outliers_fool_precision_and_recall_alone():
    """Naeem et al. 2020: E density = 1 and E coverage = 1 - 2^-k of like sets of like size. Outliers among the examples make
    far draws precise, outliers among the draws recall far examples, while density and coverage hardly move."""
    x, y = normal(0, 1000, 4), normal(1, 1000, 4)
    like = manifolds(x, y)
    assert float(like.density.mean()) == pytest.approx(1, abs=0.1)
    assert float(like.coverage.mean()) == pytest.approx(1 - 0.5**5, abs=0.03)
    far = y + 6
    apart = manifolds(x, far)
    with_outliers = x.clone()
    with_outliers[:3] = torch.tensor([[6.0] * 4, [3.0] * 4, [9.0] * 4]).double()
    fooled = manifolds(with_outliers, far)
    assert apart.precision.mean() < 0.01 and fooled.precision.mean() > 0.9
    assert fooled.density.mean() < 0.65
    assert fooled.coverage.mean() < 0.01
    draws = far.clone()
    draws[:3] = torch.tensor([[0.0] * 4, [3.0] * 4, [-3.0] * 4]).double()
    assert apart.recall.mean() < 0.01
    recalled = manifolds(x, draws)
    assert recalled.recall.mean() > 0.9 and recalled.coverage.mean() < 0.05


def test_too_few_are_refused():
    with pytest.raises(SeedbedError, match="balls of 5 neighbours take more pictures"):
        manifolds(normal(0, 5), normal(1, 50))
    with pytest.raises(SeedbedError, match="two pictures of each set"):
        kernel_distance(normal(0, 1), normal(1, 50))
