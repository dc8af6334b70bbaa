"""Walks in z of trained models: against leapfrogs written out, learnt walks against their posterior, and the rule."""

from typing import Any

import pytest
import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.stack import Stack
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.evaluate.annealing import ACCEPTED
from seedbed.evaluate.trajectory import SIZES, Walk, decoded, energy_errors, marks_of, pictured, walks
from seedbed.models.gaussian import Gaussian
from seedbed.models.hamiltonian import HamiltonianVAE
from seedbed.models.lvae import LadderVAE
from seedbed.models.tempered import TemperedLeapfrog


@pytest.fixture
def linear(linear_gaussian):
    """Two seeds of the exact posterior N(m, S), U = (z - m)' S^-1 (z - m) / 2 + a constant."""
    return Stack.of([linear_gaussian()[0] for _ in range(2)], [Streams(0), Streams(1)], "fp64")


def hamiltonian(count=3):
    torch.manual_seed(0)
    models = [HamiltonianVAE.of_mlps(12, TemperedLeapfrog(2, count, "free", 2.0, 0.1), (6,), BERNOULLI) for _ in range(2)]
    return Stack.of([model.double() for model in models], [Streams(0), Streams(1)], "fp64")


def examples(n=40, features=3):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def joined(stack, x, how, address="test"):
    parts = [*walks(stack, x, address, how)]
    return torch.cat([part.positions for part in parts], 2), torch.cat([part.errors for part in parts], 2), parts[0].sizes


def test_a_plain_walk_is_leapfrogs_written_out(linear):
    x, size = examples(), 0.3
    positions, errors, sizes = joined(linear, x, Walk(5, size))
    assert positions.shape == (2, 6, 40, 2) and sizes.tolist() == [size, size]
    model = linear.model(0).requires_grad_(False)
    precision = torch.eye(2).double() + model.weight.mT @ model.weight * (-2 * model.log_s).exp()
    mean = x @ model.weight * (-2 * model.log_s).exp() / precision.diagonal()
    z = positions[:, 0]
    rho = (positions[:, 1] - z) / size + size / 2 * (z - mean) @ precision
    energy = lambda z, rho: 0.5 * (((z - mean) @ precision) * (z - mean)).sum(-1) + 0.5 * rho.square().sum(-1)
    for step in range(5):
        before = energy(z, rho)
        rho = rho - size / 2 * (z - mean) @ precision
        z = z + size * rho
        rho = rho - size / 2 * (z - mean) @ precision
        assert torch.allclose(positions[:, step + 1], z, atol=1e-10)
        assert torch.allclose(errors[:, step], energy(z, rho) - before, atol=1e-10)


def test_its_energy_error_falls_with_the_square_of_its_steps(linear):
    found = [energy_errors(linear, examples(), "test", Walk(count, 0.8 / count)) for count in (8, 16)]
    coarse, fine = (one["energy_drift_nats"][0].mean() for one in found)
    assert float(coarse / fine) == pytest.approx(4, rel=0.15)


def test_errors_are_of_one_of_all_and_of_the_first_leapfrogs(linear):
    positions, errors, _ = joined(linear, examples(), Walk(4, 0.4))
    found = {name: value for name, (value, _) in energy_errors(linear, examples(), "test", Walk(4, 0.4)).items()}
    assert torch.allclose(found["energy_error_nats"], errors.abs().mean(1))
    assert torch.allclose(found["energy_drift_nats"], errors.sum(1).abs())
    assert torch.allclose(found["along/energy_error_after2_nats"], errors[:, :2].sum(1).abs())
    assert len([name for name in found if name.startswith("along/")]) == 4
    assert torch.allclose(found["walked_distance"], (positions[:, 4] - positions[:, 0]).square().mean(-1).sqrt())
    assert found["leapfrog_step_size"].tolist() == [[0.4], [0.4]]


def test_a_learnt_walk_ends_at_a_draw_of_the_posterior_and_is_the_models_own():
    stack, x = hamiltonian(), (examples(features=12) > 0).double()
    positions, errors, sizes = joined(stack, x, Walk())
    noise = lambda: EvalNoise(stack.streams, "test", dtype=torch.float64)
    drawn = stack.call(lambda model, x, ctx: model.proposal(x, ctx).z["z"], noise=noise(), shared=(x,))
    assert positions.shape == (2, 4, 40, 2) and torch.equal(positions[:, -1], drawn)
    own = stack.call(lambda model, x, ctx: model.trajectory(x, ctx).errors, noise=noise(), shared=(x,))
    assert torch.allclose(errors, own, atol=1e-12)
    assert sizes.tolist() == pytest.approx([0.1, 0.1], rel=1e-6)


def test_without_leapfrogs_it_walks_as_a_vae_does():
    positions, _, sizes = joined(hamiltonian(0), (examples(features=12) > 0).double(), Walk())
    assert positions.shape[1] == 16 and set(sizes.tolist()) <= set(SIZES)


def test_the_rule_takes_the_largest_size_that_is_accepted_seed_by_seed(linear):
    """The seeds' posteriors are of other widths, and what is beside a model does not matter."""
    models: list[Any] = [linear.model(0), linear.model(1)]
    with torch.no_grad():
        models[1].log_s.fill_(-2.5)
    streams = [Streams(0), Streams(1)]
    x = examples(64)
    both = joined(Stack.of(models, streams, "fp64"), x, Walk())[2]
    for row in range(2):
        stack = Stack.of(models[row : row + 1], streams[row : row + 1], "fp64")
        chosen = joined(stack, x, Walk())[2].item()
        assert both[row].item() == chosen
        # 64 examples are all the pilots: their own walks tell what the rule saw.
        accepted = lambda size, stack=stack: (
            (-joined(stack, x, Walk(15, size), "trajectory pilot")[1].sum(1)).clamp(max=0).exp().nan_to_num(nan=0.0).mean()
        )
        assert accepted(chosen) >= ACCEPTED
        assert all(accepted(size) < ACCEPTED for size in SIZES if size > chosen)
    assert both[1] < both[0] / 2


def test_pictures_are_means_at_every_second_position_and_the_last(linear):
    assert marks_of(5) == [0, 2, 4, 5] and marks_of(4) == [0, 2, 4] and marks_of(1) == [0, 1]
    found = pictured(linear, examples(), "test", Walk(3, 0.2), 4)
    assert found["x"].shape == (4, 3) and torch.equal(found["x"], examples()[::10])
    assert found["steps"] == [0, 2, 3] and found["pictures"].shape == (2, 4, 3, 3)
    weight = linear.model(0).weight.detach()
    assert torch.allclose(found["pictures"], found["positions"][:, [0, 2, 3]].movedim(1, 2) @ weight.mT)
    assert torch.allclose(decoded(linear, found["positions"]), found["positions"] @ weight.mT)


def test_what_cannot_walk_is_refused(linear):
    bits = (examples(features=12) > 0).double()
    with pytest.raises(SeedbedError, match="has learnt a walk of 3 leapfrogs, got 15; ask for so many"):
        joined(hamiltonian(), bits, Walk(15))
    with pytest.raises(SeedbedError, match=r"has learnt its step sizes, got step_size 0\.1; leave it out"):
        joined(hamiltonian(), bits, Walk(0, 0.1))
    with pytest.raises(SeedbedError, match="leave all numbers behind; give a smaller --step-size"):
        energy_errors(linear, examples(), "test", Walk(1000, 10.0))
    ladder = Stack.of([LadderVAE(12, (4, 2), (6, 6), BERNOULLI).double()], [Streams(0)], "fp64")
    with pytest.raises(SeedbedError, match="whose latent is not one vector of real numbers"):
        joined(ladder, bits, Walk())
    with pytest.raises(SeedbedError, match="has no latents"):
        joined(Stack.of([Gaussian(3).double()], [Streams(0)], "fp64"), examples(), Walk())
    for wrong in ({"leapfrogs": -1}, {"leapfrogs": 1001}, {"step_size": -0.1}, {"step_size": 11.0}):
        with pytest.raises(SeedbedError, match=next(iter(wrong))):
            Walk(**wrong)
