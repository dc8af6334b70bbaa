"""Models in the units of their data: what the change of variables says, with every capability that they had."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seedbed.core.capabilities import HasDataInit, HasLogProb, HasSample, HasState, LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.stack import Stack
from seedbed.core.units import HasUnits, Units
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.evaluate.annealing import Annealing, annealed_importance_sampling
from seedbed.evaluate.estimators import offered
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.models.flow import CouplingFlow
from seedbed.models.lvae import LadderVAE
from seedbed.models.standardised import InUnits, standardised
from seedbed.models.vae import VAE
from seedbed.models.wgan import WGAN
from seedbed.objectives.adversarial import critic_utility, generator_utility
from seedbed.objectives.bounds import elbo, elbo_kl, iwae

CAPABILITIES = (LatentVariable, HasLogProb, HasSample, HasDataInit, HasState)
UNITS = Units(torch.tensor([50.0, -2e4, 3e-3]), torch.tensor([12.0, 3e3, 1e-4]))
LOG_VOLUME = math.log(12.0) + math.log(3e3) + math.log(1e-4)


def lasting(model: nn.Module) -> tuple[nn.Module, Any]:
    """A model and the same in units, with weights that are not those that it starts from."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model, standardised(model, UNITS)


def context(name: str = "x") -> Context:
    return Context(EvalNoise([Streams(0)], name))


X = UNITS.outward(torch.linspace(-2, 2, 24).view(8, 3).sin())


@pytest.mark.parametrize(
    "build",
    [
        lambda: VAE(3, 2, (8,)),
        lambda: LadderVAE(3, (2, 2), (8, 8)),
        lambda: CouplingFlow(3, "affine", 2, (8,)),
        lambda: WGAN(3, 2, (8,)),
        lambda: Remembering(),
        lambda: nn.Linear(3, 1),
    ],
)
def test_it_can_do_what_it_could_and_nothing_else(build):
    model, inside = lasting(build())
    assert isinstance(inside, HasUnits) and inside.standard is model
    assert [isinstance(inside, kind) for kind in CAPABILITIES] == [isinstance(model, kind) for kind in CAPABILITIES]
    names = {name for name, _ in model.named_parameters()}
    assert {name for name, _ in inside.named_parameters()} == names or isinstance(model, nn.Linear)
    assert standardised(model, None) is model and type(standardised(model, UNITS)) is type(inside)


class Remembering(nn.Module, HasLogProb, HasState):
    """A density that counts, as it says."""

    def state(self) -> dict[str, Tensor]:
        return {"count": torch.zeros(())}

    def log_prob(self, x, ctx):
        return -x.flatten(1).square().sum(-1)


@pytest.mark.parametrize("bound", [elbo, elbo_kl, iwae(5), iwae(5, "dreg")])
@pytest.mark.parametrize("build", [lambda: VAE(3, 2, (8,)), lambda: LadderVAE(3, (2, 2), (8, 8))])
def test_bounds_are_less_the_log_volume(build, bound):
    model, inside = lasting(build())
    ours, theirs = bound(inside, X, context()).value, bound(model, UNITS.inward(X), context()).value
    assert torch.allclose(ours, theirs - LOG_VOLUME, atol=1e-4)


def test_an_exact_density_integrates_to_one_over_the_units():
    units = Units(torch.tensor([1e3, -5.0]), torch.tensor([200.0, 0.01]))
    model = CouplingFlow(2, "affine", 2, (8,))
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    inside: Any = standardised(model, units)
    side = torch.linspace(-12, 12, 481)
    grid = units.outward(torch.cartesian_prod(side, side))
    cell = (0.05 * 200.0) * (0.05 * 0.01)
    with torch.no_grad():
        assert float(inside.log_prob(grid, context()).double().exp().sum()) * cell == pytest.approx(1, abs=2e-3)


def test_the_scale_of_a_channel_counts_for_each_of_its_pixels():
    units = Units(torch.tensor([1.0, -2.0]).view(2, 1, 1), torch.tensor([3.0, 0.5]).view(2, 1, 1))
    law = InUnits(DiagonalNormal(torch.zeros(6, 2, 4, 5), torch.zeros(6, 2, 4, 5), 3), units)
    drawn = law.draw(context().noise)
    truth = torch.distributions.Normal(units.location, units.scale).log_prob(drawn.value).sum((1, 2, 3))
    assert torch.allclose(law.log_prob(drawn.value), truth, atol=1e-4) and torch.allclose(drawn.log_prob(), truth, atol=1e-4)


def test_draws_are_those_of_the_model_in_units():
    for build in (lambda: VAE(3, 2, (8,)), lambda: CouplingFlow(3, "affine", 2, (8,)), lambda: WGAN(3, 2, (8,))):
        model, inside = lasting(build())
        assert torch.allclose(inside.sample(50, context()), UNITS.outward(model.sample(50, context())))
    vae = lasting(VAE(3, 2, (8,)))[1]
    z, likelihood = vae.generate(20, context())
    drawn = likelihood.draw(context("draw").noise)
    assert torch.allclose(drawn.log_prob(), likelihood.log_prob(drawn.value), atol=1e-3)
    assert torch.allclose(
        vae.joint(drawn.value, z, context()),
        likelihood.log_prob(drawn.value) + vae.inner.prior.prior.log_prob(z["z"]),
        atol=1e-3,
    )


class Linear(nn.Module, LatentVariable):
    """u = W z + noise: everything about it is known."""

    domain = REAL

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.5], [-0.3, 0.8], [0.2, 0.4]]))

    def layers(self, x, ctx):
        weight, noise = self.weight, 0.5
        posterior = None
        if x is not None:
            precision = torch.eye(2) + weight.T @ weight / noise**2
            mean = torch.linalg.solve(precision, weight.T @ x.mT / noise**2).mT
            posterior = DiagonalNormal(mean, torch.linalg.inv(precision).diagonal().sqrt().log().expand(mean.shape))
        z = yield Layer("z", StandardNormal(2), posterior)
        out = z @ weight.T
        return DiagonalNormal(out, torch.full_like(out, math.log(noise)))


def test_likelihoods_of_a_linear_gaussian_model_are_the_closed_form_in_units():
    model = Linear()
    with torch.no_grad():
        scale = torch.diag(UNITS.scale.double())
        covariance = model.weight.double() @ model.weight.double().T + 0.25 * torch.eye(3)
    truth = torch.distributions.MultivariateNormal(UNITS.location.double(), scale @ covariance @ scale)
    exact = truth.log_prob(X.double())
    stack = Stack.of([standardised(model, UNITS)], [Streams(0)])
    assert {"nll", "ais", "latents"} <= offered(stack, X).keys()
    sampled, _ = importance_sampling(stack, X, "test", 2000)["nll_nats"]
    assert (sampled[0].double() + exact).abs().max() < 0.1
    assert (sampled[0].double() + exact).mean().abs() < 0.03


def test_annealing_is_that_of_the_model_and_the_log_volume():
    model, how = Linear(), Annealing(chains=2, temperatures=10, leapfrogs=2)
    found = [
        annealed_importance_sampling(Stack.of([module], [Streams(0)]), x, "test", how)["nll_ais_nats"][0]
        for module, x in ((standardised(model, UNITS), X[:3]), (model, UNITS.inward(X[:3])))
    ]
    assert torch.allclose(found[0], found[1] + LOG_VOLUME, atol=1e-3)


def test_a_game_is_played_in_standard_units():
    """A penalty on a slope in units of thousands would be one on nothing."""
    model, inside = lasting(WGAN(3, 2, (8,)))
    for utility in (critic_utility(10.0), generator_utility):
        ours, theirs = utility(inside, X, context()), utility(model, UNITS.inward(X), context())
        assert torch.allclose(ours.value, theirs.value, atol=1e-5)
