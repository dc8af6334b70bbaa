"""The Wasserstein game's utilities."""

import torch
from passes import at
from torch import Tensor, nn

from seedbed.core.context import Context
from seedbed.core.noise import Noise, Streams
from seedbed.models.wgan import WGAN
from seedbed.objectives.adversarial import critic_utility, generator_utility, gradient_penalty


def build() -> WGAN:
    with Streams(0).scoped("init"):
        return WGAN(2, hidden=(8, 8), activation="tanh").double()


def ctx() -> Context:
    return at(seed=0)


def points(n: int = 16) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_critic_of_unit_slope_has_no_penalty():
    slope = torch.tensor([[0.6], [0.8]], dtype=torch.float64)
    assert gradient_penalty(lambda x: x @ slope + 3, points()).abs().max() < 1e-20
    assert torch.allclose(gradient_penalty(lambda x: 3 * x @ slope, points()), torch.full((16,), 4.0).double())


def test_a_flat_critic_has_finite_gradients():
    critic = nn.Linear(2, 1).double()
    nn.init.zeros_(critic.weight)
    penalty = gradient_penalty(critic, points())
    (gradient,) = torch.autograd.grad(penalty.sum(), critic.weight)
    assert torch.allclose(penalty, torch.ones(16).double(), atol=1e-5)
    assert torch.isfinite(gradient).all()


def test_critic_against_autograd():
    """The paper's formula, written with torch.autograd on one example at a time."""
    model, x = build(), points()
    terms = critic_utility(penalty=3.0)(model, x, ctx())
    again = ctx()
    fake = model.sample(16, again)
    mixed = (x + again.noise.uniform((1,), batch=16) * (fake - x)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.critic(mixed).sum(), mixed)
    excess = (slope.norm(dim=-1) - 1).square()
    distance = (model.critic(x) - model.critic(fake)).squeeze(-1)
    assert torch.allclose(terms.value, distance - 3 * excess)
    assert torch.allclose(terms.parts["distance"], distance)


def test_the_players_want_opposite_things():
    model, x = build(), points()
    critic, generator = critic_utility(0.0)(model, x, ctx()), generator_utility(model, x, ctx())
    assert torch.allclose(critic.value + generator.value, model.critic(x).squeeze(-1))


def test_the_penalty_is_taken_in_full_precision():
    model = build().float()
    with torch.autocast("cpu", torch.bfloat16):
        terms = critic_utility()(model, points().float(), Context(Noise([Streams(0)], "noise")))
    assert terms.value.dtype == torch.float32
