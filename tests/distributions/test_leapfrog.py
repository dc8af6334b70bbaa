"""The leapfrog scheme as a map: what it is for an oscillator, that it leads back, and how it changes volume."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from seedbed.distributions.leapfrog import leapfrog


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_density(z: Tensor) -> Tensor:
    """Neither quadratic nor separable, ``[*batch, 3]`` to ``[*batch]``."""
    return -0.25 * z.square().sum(-1).square() + torch.sin(z[..., 0] * z[..., 1]) - 0.1 * z[..., 2].exp()


def slope(z: Tensor) -> tuple[Tensor]:
    return (grad(lambda at: log_density(at).sum())(z),)


STEP = torch.tensor([0.11, 0.07, 0.16], dtype=torch.float64)


def test_an_oscillator_is_a_product_of_matrices():
    """One step of U = w^2 z^2 / 2 is [[1 - a, e], [-e w^2 (1 - a / 2), 1 - a]] with a = e^2 w^2 / 2."""
    w2, e, count = 1.7, 0.3, 5
    a = e * e * w2 / 2
    matrix = torch.tensor([[1 - a, e], [-e * w2 * (1 - a / 2), 1 - a]], dtype=torch.float64)
    start = draw(2, 9)
    expected = torch.linalg.matrix_power(matrix, count) @ start
    z, p, (force,) = leapfrog(*start, lambda z: (-w2 * z,), e, count)
    assert torch.allclose(torch.stack([z, p]), expected, atol=1e-13)
    assert torch.equal(force, -w2 * z)


@pytest.mark.parametrize("step", [0.1, STEP, 0.05 + 0.1 * torch.rand(7, 1).double()], ids=["number", "axes", "examples"])
def test_it_leads_back(step):
    z, p = draw(7, 3), draw(7, 3, seed=1)
    there, speed, _ = leapfrog(z, p, slope, step, 9)
    assert (there - z).abs().max() > 0.1
    back, reversed_p, _ = leapfrog(there, -speed, slope, step, 9)
    assert torch.allclose(back, z, atol=1e-12) and torch.allclose(reversed_p, -p, atol=1e-12)


def jacobian(step: Tensor | float = STEP, **options) -> Tensor:
    """Of (z, p) after 4 steps in (z, p) before, ``[5, 6, 6]``."""

    def moved(both: Tensor) -> Tensor:
        return torch.cat(leapfrog(both[:3], both[3:], slope, step, 4, **options)[:2])

    return vmap(jacrev(moved))(draw(5, 6))


def test_volume_is_kept():
    assert torch.allclose(jacobian().det(), torch.ones(5).double(), atol=1e-11)
    # With one step size for all axes the map is symplectic, which says more.
    found = jacobian(0.13)
    j = torch.kron(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.eye(3)).double()
    assert torch.allclose(found.mT @ j @ found, j.expand(5, 6, 6), atol=1e-11)


def test_tempered_volume_is_the_product_of_the_factors():
    factors = [0.7, 1.1, 0.9, 0.5]
    found = jacobian(temper=lambda number, p: factors[number] * p).det()
    assert torch.allclose(found, torch.full((5,), math.prod(factors) ** 3).double(), rtol=1e-10)


def test_tempering_from_b_to_1_changes_volume_by_the_root_of_b_for_each_number():
    """Caterini et al. 2018, section 3.2: momenta by sqrt(b_{k-1} / b_k), whose product is b_0^(1/2)."""
    b0, last = 0.3, 4
    root = lambda k: (1 - b0**-0.5) * k**2 / last**2 + b0**-0.5  # b_k^(-1/2), quadratic in k

    def temper(number: int, p: Tensor) -> Tensor:
        return p * (root(number + 1) / root(number))

    assert torch.allclose(jacobian(temper=temper).det(), torch.full((5,), b0**1.5).double(), rtol=1e-10)


def test_tempered_steps_spelled_out():
    """Algorithm 1 of Caterini et al. 2018: a whole leapfrog step, and then the momentum's factor."""
    z, p = draw(7, 3), draw(7, 3, seed=1)
    factors = [0.7, 1.1, 0.9]
    found = leapfrog(z, p, slope, STEP, 3, temper=lambda number, p: factors[number] * p)
    for factor in factors:
        half = p + STEP / 2 * slope(z)[0]
        z = z + STEP * half
        p = factor * (half + STEP / 2 * slope(z)[0])
    assert torch.allclose(found[0], z, atol=1e-13) and torch.allclose(found[1], p, atol=1e-13)


def test_a_temper_of_1_is_none():
    z, p = draw(7, 3), draw(7, 3, seed=1)
    plain = leapfrog(z, p, slope, STEP, 4)
    tempered = leapfrog(z, p, slope, STEP, 4, temper=lambda number, p: p)
    for a, b in zip((*plain[:2], *plain[2]), (*tempered[:2], *tempered[2]), strict=True):
        assert torch.allclose(a, b, atol=1e-13)


def test_energy_errs_by_the_square_of_the_step():
    z, p = draw(200, 3), draw(200, 3, seed=1)
    energy = lambda z, p: 0.5 * p.square().sum(-1) - log_density(z)
    errors = []
    for count in (64, 128, 256):
        there, speed, _ = leapfrog(z, p, slope, 1.0 / count, count)
        errors.append((energy(there, speed) - energy(z, p)).square().mean().sqrt())
    assert errors[0] < 0.01
    for coarse, fine in pairwise(errors):
        assert float(coarse / fine) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("temper", [None, lambda number, p: 0.9 * p])
@pytest.mark.parametrize("count", [0, 1, 6])
def test_the_slope_is_taken_once_more_than_there_are_steps_and_once_less_where_the_first_is_known(temper, count):
    z, p, calls = draw(7, 3), draw(7, 3, seed=1), []

    def counted(z: Tensor) -> tuple[Tensor, ...]:
        calls.append(z)
        return *slope(z), log_density(z)

    found = leapfrog(z, p, counted, STEP, count, temper=temper)
    assert len(calls) == count + 1
    assert torch.equal(found[2][1], log_density(found[0]))  # of where it ends
    known = leapfrog(z, p, counted, STEP, count, temper=temper, first=counted(z))
    assert len(calls) == 2 * count + 2
    for a, b in zip((*found[:2], *found[2]), (*known[:2], *known[2]), strict=True):
        assert torch.equal(a, b)


def test_no_step_is_where_it_was():
    z, p = draw(7, 3), draw(7, 3, seed=1)
    for temper in (None, lambda number, p: 0.5 * p):
        there, speed, _ = leapfrog(z, p, slope, STEP, 0, temper=temper)
        assert torch.equal(there, z) and torch.equal(speed, p)


def test_annealing_moves_as_it_did_to_the_last_bit():
    """Its own loop, as it was before there was one leapfrog: of every chain and example a step of its own, in fp32."""
    z, p = draw(2, 5, 3).float(), draw(2, 5, 3, seed=1).float()
    step = (0.1 + 0.05 * draw(2, 5, 1, seed=2).abs()).float()

    def densities(z: Tensor) -> tuple[Tensor, Tensor]:
        return log_density(z), slope(z)[0]

    start, first = densities(z)
    moved, speed = z, p + 0.5 * step * first
    for number in range(10):
        moved = moved + step * speed
        joint, force = densities(moved)
        speed = speed + (0.5 if number == 9 else 1.0) * step * force
    found = leapfrog(z, p, lambda z: densities(z)[::-1], step, 10, first=(first, start))
    assert torch.equal(found[0], moved) and torch.equal(found[1], speed)
    assert torch.equal(found[2][0], force) and torch.equal(found[2][1], joint)


def test_gradients_go_through_a_trajectory():
    """What a Hamiltonian posterior differentiates: where it ends, in the step, the start and the target's own numbers."""
    z, p, scale = draw(2, 3).requires_grad_(), draw(2, 3, seed=1).requires_grad_(), draw(3, seed=2).requires_grad_()

    def end(z: Tensor, p: Tensor, scale: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        force = lambda at: (grad(lambda at: log_density(at * scale).sum())(at),)
        return leapfrog(z, p, force, step, 3)[:2]

    assert torch.autograd.gradcheck(end, (z, p, scale, STEP.clone().requires_grad_()))
