"""The Hamiltonian VAE: its walk as a map, its weights against the evidence, and the VAE that it is without steps."""

import math
from itertools import pairwise

import pytest
import torch
from passes import at
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.func import jacrev

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.distributions.likelihood import BERNOULLI, GAUSSIAN
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.experiments import find
from seedbed.models import tempered
from seedbed.models.hamiltonian import HamiltonianVAE
from seedbed.models.tempered import TemperedLeapfrog
from seedbed.models.vae import VAE
from seedbed.nets.mlp import MLP
from seedbed.objectives.bounds import elbo, elbo_kl, iwae
from seedbed.train.learner import Learner

Z = 4.5  # standard errors: about 40 comparisons in this file
KINDS = [("none", "unit"), ("fixed", "shared"), ("free", "layer"), ("fixed", "layer"), ("free", "unit")]
every_kind = pytest.mark.parametrize(("tempering", "steps_vary"), KINDS)
X = torch.tensor([[0.5, -1.0, 0.3], [2.0, 1.0, -0.5]], dtype=torch.float64)
BITS = torch.tensor([[1, 0, 1], [0, 0, 1]]).double()


def scattered(module: nn.Module, scale: float = 0.4) -> nn.Module:
    """The module in float64, every parameter moved: nothing is equal by the start alone."""
    generator = torch.Generator().manual_seed(1)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module


def walker(tempering="free", steps_vary="unit", count=3, latents=2, step_size=0.2, **options) -> TemperedLeapfrog:
    return TemperedLeapfrog(latents, count, tempering, 3.0, step_size, 0.5, steps_vary, **options)


def model(tempering="free", steps_vary="unit", count=3, likelihood=BERNOULLI, seed=0, **options) -> HamiltonianVAE:
    torch.manual_seed(seed)
    leapfrog = walker(tempering, steps_vary, count)
    return scattered(HamiltonianVAE.of_mlps(3, leapfrog, (6,), likelihood, "tanh", **options))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_density(z: Tensor) -> Tensor:
    """Neither quadratic nor separable, ``[*batch, 2]`` to ``[*batch]``."""
    return -0.25 * z.square().sum(-1).square() + torch.sin(z[..., 0] * z[..., 1]) - 0.1 * z[..., 1].exp()


def ends(leapfrog: TemperedLeapfrog, z: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    *_, (z, _, rho) = leapfrog.walk(z, rho, log_density, None)
    return z, rho


# --- the walk --------------------------------------------------------------------------------------------------------------


@every_kind
def test_its_jacobian_is_that_of_the_temperature(tempering, steps_vary):
    """|d(z_K, rho_K) / d(z_0, rho_0)| = beta_0^(l / 2): that of no step, times alpha_k^l of each."""
    leapfrog = scattered(walker(tempering, steps_vary))
    for row in draw(4, 4, seed=2):
        jacobian = jacrev(lambda both: torch.cat(ends(leapfrog, both[:2], both[2:])))(row)
        expected = leapfrog.beta.item()  # l / 2 = 1
        assert torch.linalg.det(jacobian).item() == pytest.approx(expected, rel=1e-10)
    assert (leapfrog.beta == 1) if tempering == "none" else (leapfrog.beta < 0.9)


def test_it_is_the_algorithm_written_out():
    """Caterini et al. 2018, algorithm 1: whole steps with a size of their own, and the momentum's factor after each."""
    leapfrog = scattered(walker("free", "layer"))
    sizes, factors = leapfrog.step_sizes, leapfrog.factors
    assert sizes.shape == (3, 2) and factors.shape == (3,) and len(set(sizes.flatten().tolist())) == 6
    z, rho = draw(7, 2), draw(7, 2, seed=1)
    found = ends(leapfrog, z, rho)
    slope = torch.func.grad(lambda at: log_density(at).sum())
    for k in range(3):
        half = rho + 0.5 * sizes[k] * slope(z)
        z = z + sizes[k] * half
        rho = factors[k] * (half + 0.5 * sizes[k] * slope(z))
    assert torch.allclose(found[0], z, atol=1e-12) and torch.allclose(found[1], rho, atol=1e-12)


def test_temperatures_are_the_paper_s():
    """Fixed: the root of the temperature falls quadratically to 1. Free: all factors alike at the start."""
    leapfrog = walker("fixed", count=4).double()
    root = [math.sqrt(3.0) + (1 - math.sqrt(3.0)) * k * k / 16 for k in range(5)]
    assert leapfrog.factors.tolist() == pytest.approx([b / a for a, b in pairwise(root)], rel=1e-6)
    assert walker("free", count=4).factors.tolist() == pytest.approx([3 ** (-1 / 8)] * 4, rel=1e-6)
    for tempering in ("fixed", "free"):
        assert walker(tempering).beta.item() == pytest.approx(1 / 3, rel=1e-5)
        for leapfrog in (walker(tempering), scattered(walker(tempering), 3.0)):
            assert bool(((leapfrog.factors > 0) & (leapfrog.factors < 1)).all())
    assert walker("none").step_sizes.flatten().tolist() == pytest.approx([0.2] * 6)
    assert bool((scattered(walker(), 3.0).step_sizes < 0.5).all())


def test_it_leads_back():
    leapfrog = scattered(walker("none", count=9))
    z, rho = draw(7, 2), draw(7, 2, seed=1)
    there, speed = ends(leapfrog, z, rho)
    assert (there - z).abs().max() > 0.1
    back, turned = ends(leapfrog, there, -speed)
    assert torch.allclose(back, z, atol=1e-12) and torch.allclose(turned, -rho, atol=1e-12)


def test_its_energy_is_wrong_by_the_square_of_a_step():
    """At a fixed length of 0.8, untempered: half the step, a quarter of the error, up to higher orders."""
    z, rho = draw(50, 2), draw(50, 2, seed=1)
    errors = []
    for count in (16, 32, 64):
        leapfrog = walker("none", count=count, step_size=0.8 / count).double()
        found = leapfrog.trajectory(z, rho, log_density, None)
        assert torch.allclose(found.errors.sum(0), found.energies[-1] - found.energies[0], atol=1e-10)
        errors.append(found.errors.sum(0).square().mean().sqrt().item())
    assert [a / b for a, b in pairwise(errors)] == pytest.approx([4, 4], rel=0.05)


@pytest.mark.parametrize("tempering", ["none", "fixed", "free"])
@pytest.mark.parametrize("count", [1, 4])
def test_it_takes_one_gradient_more_than_steps(tempering, count, monkeypatch):
    taken = []

    def counted(*args):
        taken.append(args)
        return original(*args)

    original = tempered.example_slope
    monkeypatch.setattr(tempered, "example_slope", counted)
    one = model(tempering, "layer", count)
    one.proposal(BITS, at(), 3).log_w.sum().backward()
    assert len(taken) == count + 1


# --- what it weighs --------------------------------------------------------------------------------------------------------


def unbiased(one: HamiltonianVAE, x: Tensor, exact: Tensor, samples: int = 20_000) -> None:
    w = (one.proposal(x, at("weights"), samples).log_w - exact).exp().detach()
    assert bool(((w.mean(0) - 1).abs() < Z * w.std(0) / samples**0.5).all()), (w.mean(0), w.std(0) / samples**0.5)


@every_kind
@pytest.mark.parametrize("start", ["learned", "prior"])
def test_weights_average_to_the_evidence_of_a_conjugate_gaussian(tempering, steps_vary, start):
    """x = W z + b + noise: log p(x) = log N(x; b, W W^T + S)."""
    torch.manual_seed(0)
    leapfrog = walker(tempering, steps_vary)
    one = scattered(HamiltonianVAE.of_mlps(3, leapfrog, (), GAUSSIAN, start=start), 0.2)
    (affine,) = one.decoder.layers
    with torch.no_grad():
        affine.weight[3:] = 0  # one scale wherever z is
    law = one.likelihood.build(one.decoder(torch.zeros(2, dtype=torch.float64)), 1)
    covariance = affine.weight[:3] @ affine.weight[:3].mT + law.scale.square().diag()
    exact = MultivariateNormal(law.mean, covariance).log_prob(X).detach()
    unbiased(one, X, exact)
    assert bool((elbo(one, X.repeat(2000, 1), at("bound")).value.view(2000, 2).mean(0) < exact).all())


def quadrature(one: HamiltonianVAE, x: Tensor) -> Tensor:
    """log p(x) on a grid over both latents."""
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    z = {"z": torch.cartesian_prod(axis, axis)[:, None]}
    return (one.joint(x, z, at()).logsumexp(0) + 2 * (axis[1] - axis[0]).log()).detach()


@every_kind
def test_its_kl_is_that_of_its_weights_on_average_with_less_noise(tempering, steps_vary):
    vae = model(tempering, steps_vary)
    vae.leapfrog.raw_steps.data -= 2  # short steps: most of the KL is that of q_0
    layer = vae.proposal(BITS, at(), 20_000).layers["z"]
    quiet, sampled = layer.kl(), -layer.log_ratio()
    error = (quiet - sampled).std(0) / len(quiet) ** 0.5
    assert ((quiet - sampled).mean(0).abs() < Z * error).all()
    assert (quiet.std(0) < 0.8 * sampled.std(0)).all()


@every_kind
def test_nll_agrees_with_quadrature(tempering, steps_vary):
    models = [model(tempering, steps_vary, seed=seed) for seed in range(2)]
    found = importance_sampling(Stack.of(models, [Streams(seed) for seed in range(2)], "fp64"), BITS, "t", 4000)
    for row, one in enumerate(models):
        error = (1 / found["ess"][0][row] - 1 / 4000).clamp(min=0).sqrt()
        assert bool(((-found["nll_nats"][0][row] - quadrature(one, BITS)).abs() < Z * error + 1e-9).all())


@pytest.mark.parametrize("likelihood", [GAUSSIAN, BERNOULLI], ids=["real", "bits"])
def test_weights_average_to_the_evidence_of_a_nonlinear_decoder(likelihood):
    one, x = model("free", "layer", likelihood=likelihood), X if likelihood is GAUSSIAN else BITS
    unbiased(one, x, quadrature(one, x))


@pytest.mark.parametrize("utility", [elbo, iwae(3)], ids=["elbo", "iwae"])
@every_kind
def test_gradients_go_through_the_gradients_of_the_energy(utility, tempering, steps_vary):
    """Of every parameter, beside a central difference at the same draws: the second order is in it."""
    one = model(tempering, steps_vary)
    value = lambda: utility(one, BITS, at("gradient")).value.sum()
    value().backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None, name
        flat, index = parameter.data.view(-1), parameter.numel() // 2
        kept, h = flat[index].item(), 1e-5
        sides = []
        for side in (kept + h, kept - h):
            flat[index] = side
            sides.append(value().item())
        flat[index] = kept
        assert parameter.grad.view(-1)[index].item() == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-5, abs=1e-8)


# --- beside the VAE, and itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("utility", [elbo, elbo_kl, iwae(3), iwae(3, "dreg")], ids=["elbo", "elbo_kl", "iwae", "dreg"])
def test_without_steps_it_is_the_vae(utility):
    torch.manual_seed(0)
    vae = VAE(3, 2, (6,), BERNOULLI, "tanh")
    torch.manual_seed(0)
    one = HamiltonianVAE.of_mlps(3, TemperedLeapfrog(2, 0), (6,), BERNOULLI, "tanh")
    assert [*dict(one.named_parameters())] == [*dict(vae.named_parameters())]
    bounds = []
    for each in (vae.double(), one.double()):
        bounds.append(utility(each, BITS, at("same")).value)
        bounds[-1].sum().backward()
    assert torch.equal(*bounds)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(vae.parameters(), one.parameters(), strict=True))
    assert torch.equal(one.trajectory(BITS, at("same")).positions[0], vae.proposal(BITS, at("same")).z["z"])


def test_its_first_position_is_the_vae_s_draw():
    one = model()
    start = one.start(BITS, at()).draw(at("same").noise, 4).value
    found = one.trajectory(BITS, at("same"), 4)
    assert torch.equal(found.positions[0], start)


@every_kind
def test_a_recorded_walk_is_the_one_that_it_proposes(tempering, steps_vary):
    one = model(tempering, steps_vary)
    proposal, found = one.proposal(BITS, at("same"), 5), one.trajectory(BITS, at("same"), 5)
    assert found.positions.shape == found.momenta.shape == (4, 5, 2, 2)
    assert found.energies.shape == (4, 5, 2) and found.errors.shape == (3, 5, 2)
    assert torch.equal(found.positions[-1], proposal.z["z"])
    joint = one.joint(BITS, {"z": found.positions}, at())
    assert torch.allclose(found.energies, 0.5 * found.momenta.square().sum(-1) - joint, atol=1e-12)
    cooled = 0.5 * found.momenta[1:].square().sum(-1) * (1 - one.leapfrog.factors.view(3, 1, 1) ** -2)
    assert torch.allclose(found.errors, found.energies.diff(dim=0) - cooled, atol=1e-12)
    hot = one.trajectory(BITS, at("hot"), 20_000).momenta[0].square().mean() * one.leapfrog.beta
    assert hot.item() == pytest.approx(1, abs=Z * (2 / 80_000) ** 0.5)


def test_the_middle_of_a_proposal_draws_nothing():
    """Reconstructions start from the mean, at rest."""
    one = model()
    found = one.trajectory(BITS, at(through="centre"), 2)
    assert torch.equal(found.positions[0, 0], one.start(BITS, at()).mean)
    assert not found.momenta[0].any() and torch.equal(found.positions[:, 0], found.positions[:, 1])
    assert not one.proposal(BITS, at(through="constant")).z["z"].requires_grad


@every_kind
def test_a_stack_equals_each_seed_alone(tempering, steps_vary):
    """The bound and its gradient, over three seeds at once and one at a time."""
    models = [model(tempering, steps_vary, seed=seed) for seed in range(3)]

    def learnt(*rows: int) -> dict[str, Tensor]:
        stack = Stack.of([models[row] for row in rows], [Streams(row) for row in rows], "fp64")
        params = {name: value.detach().requires_grad_() for name, value in stack.params.items()}
        bound = lambda model, ctx: elbo(model, BITS, ctx).value
        value = stack.replace(params).call(bound, noise=stack.noise("noise"))
        slopes = torch.autograd.grad(value.sum(), [*params.values()])
        return {"bound": value, **dict(zip(params, slopes, strict=True))}

    together = learnt(0, 1, 2)
    for row in range(3):
        for name, alone in learnt(row).items():
            assert torch.allclose(together[name][row], alone[0], atol=1e-11), name
    assert len(set(together["bound"][:, 0].tolist())) == 3


# --- what is refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, -1), "0 steps or more in 1 latent or more, got -1 steps in 2"),
        ((0, 2), "0 steps or more in 1 latent or more, got 2 steps in 0"),
        ((2, 2, "cold"), "tempering"),
        ((2, 2, "free", 1.0), "finite and above 1, got 1.0; choose tempering none"),
        ((2, 2, "fixed", 0.5), "finite and above 1, got 0.5"),
        ((2, 2, "fixed", math.inf), "finite and above 1, got inf"),
        ((2, 2, "free", math.nan), "finite and above 1, got nan"),
        ((2, 2, "free", 2.0, 0.0), "got step_size=0.0, step_size_most=0.5; start below the largest"),
        ((2, 2, "free", 2.0, -0.1), "got step_size=-0.1"),
        ((2, 2, "none", 2.0, 0.6), "got step_size=0.6, step_size_most=0.5"),
        ((2, 2, "none", 2.0, 0.5), "got step_size=0.5, step_size_most=0.5"),
        ((2, 2, "none", 2.0, 0.5, math.inf), "step_size_most=inf"),
        ((2, 2, "none", 2.0, 0.1, 0.5, "example"), "step sizes"),
    ],
)
def test_a_walk_out_of_range_is_refused(arguments, message):
    with pytest.raises(SeedbedError, match=message):
        TemperedLeapfrog(*arguments)


@pytest.mark.parametrize("tempering", ["none", "fixed", "free"])
def test_its_playback_is_the_same_to_the_last_bit(tempering):
    """The gradient of a product is computed in another way where it is recorded, with a rounding of its own."""
    small = {"hidden": (8,), "latents": 4, "leapfrogs": 5, "tempering": tempering, "lr": 0.02, "batch_size": 16}
    declared = find("hvae").on("digits-binary").with_config(small)
    streams = declared.streams(range(3))
    learner = Learner(declared.task(streams), streams, torch.device("cpu"))
    (replay,) = learner.replays.values()
    replay.after, replay.every = 2, 1
    for _ in range(12):
        learner.advance()
    assert replay.recorded and replay.played == 10


def test_without_tempering_the_temperature_has_no_say():
    assert TemperedLeapfrog(2, 2, "none", 1.0).beta == 1


def test_networks_that_do_not_fit_are_refused():
    norm = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Softplus(), nn.Linear(4, 3))
    with pytest.raises(SeedbedError, match=r"examples see each other in the decoder.*use layer or group norm"):
        HamiltonianVAE(3, MLP(3, (), 4), norm, walker())
    HamiltonianVAE(3, MLP(3, (), 4), norm, TemperedLeapfrog(2, 0))  # no energy is differentiated
    with pytest.raises(SeedbedError, match=r"the decoder of a leapfrog in 2 latents has shape_in \[2\], got \[5\]"):
        HamiltonianVAE(3, MLP(3, (), 4), MLP(5, (), 3), walker())
    with pytest.raises(SeedbedError, match=r"the encoder of a leapfrog in 2 latents has shape_out \[4\], got \[10\]"):
        HamiltonianVAE(3, MLP(3, (), 10), MLP(2, (), 3), walker())
    foreign = HamiltonianVAE(3, nn.Linear(3, 6), nn.Linear(2, 3), walker())
    with pytest.raises(SeedbedError, match="a leapfrog in 2 latents was given positions"):
        foreign.proposal(BITS.float(), Context.of(0))
    with pytest.raises(SeedbedError, match="start of a leapfrog"):
        HamiltonianVAE.of_mlps(3, walker(), start="posterior")


class Centred(nn.Module):
    """No batch norm, and yet each z is seen beside the others."""

    def __init__(self):
        super().__init__()
        self.affine = nn.Linear(2, 3)

    def forward(self, z: Tensor) -> Tensor:
        return self.affine(z - z.mean(0))


def test_a_decoder_that_couples_examples_unsaid_is_refused():
    with pytest.raises(
        SeedbedError, match=r"what the decoder, Centred, makes of one z changes with another.*a mean over the"
    ):
        HamiltonianVAE(3, MLP(3, (), 4), Centred(), walker())
    HamiltonianVAE(3, MLP(3, (), 4), Centred(), TemperedLeapfrog(2, 0))  # no energy is differentiated
    encoder, decoder = MLP(3, (), 4), nn.Sequential(nn.Linear(2, 3), nn.Dropout())
    state = torch.random.get_rng_state()
    HamiltonianVAE(3, encoder, decoder, walker())  # looking at it draws nothing, and dropout couples nothing
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_needs_the_density_of_any_z_is_refused():
    with pytest.raises(SeedbedError, match="gradient='standard'"):
        iwae(3, "dreg")(model(), BITS, at())
    with pytest.raises(SeedbedError, match="expected a posterior"):
        model().log_posterior(BITS, {"z": torch.zeros(2, 2, dtype=torch.float64)}, at())
