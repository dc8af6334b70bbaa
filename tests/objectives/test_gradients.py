"""Gradient estimators of the importance-weighted bound against gradients that are known: closed forms and quadrature."""

import math
from collections.abc import Generator

import numpy as np
import pytest
import torch
from passes import at, log_posterior
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.experiments import usual
from seedbed.models.iwae import BottomUpVAE
from seedbed.models.lvae import LadderVAE
from seedbed.objectives.bounds import iwae
from seedbed.train.learner import Learner

Z = 4.5  # standard errors: about 100 comparisons in this file
N = 40_000
X = torch.tensor([0.9, -1.3], dtype=torch.float64)
# w, b (two each), log s; then q's slope a (two), offset c and log-scale t: away from the exact posterior in all of them.
POINT = torch.tensor([1.0, -0.6, 0.2, -0.1, -0.4, 0.2, -0.5, 0.4, -0.3], dtype=torch.float64)
ENCODER = slice(5, 9)
DIRECTIONS = torch.randn(8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Line(nn.Module, LatentVariable):
    """z ~ N(0, 1), x | z ~ N(w z + b, s^2 I), q(z | x) = N(a x + c, e^2t), with parameters of its own for every example.

    So the gradient of a sum over examples is the gradient of each of them.
    """

    def __init__(self, examples: int) -> None:
        super().__init__()
        self.at = nn.Parameter(POINT.expand(examples, 9).clone())

    @property
    def domain(self) -> Domain:
        return REAL

    def q(self, x: Tensor) -> DiagonalNormal:
        a, c, t = self.at[:, 5:7], self.at[:, 7:8], self.at[:, 8:9]
        return DiagonalNormal((a * x).sum(-1, keepdim=True) + c, t)

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        z = yield Layer("z", StandardNormal(1), None if x is None else self.q(x))
        mean = z * self.at[:, 0:2] + self.at[:, 2:4]
        return DiagonalNormal(mean, self.at[:, 4:5].expand(mean.shape[-2:]))


def estimates(k: int, gradient: str) -> tuple[Tensor, Tensor]:
    """The bound and its gradient at POINT, of N examples that are all X, ``[N]`` and ``[N, 9]``."""
    model = Line(N)
    value = iwae(k, gradient)(model, X.expand(N, 2), at(seed=k)).value
    return value.detach(), torch.autograd.grad(value.sum(), model.at)[0]


def closed_form() -> tuple[Tensor, Tensor]:
    """The ELBO and its gradient: E_q of a quadratic, and the KL between two Gaussians."""
    at = POINT.clone().requires_grad_()
    w, b, log_s, a, c, t = at[:2], at[2:4], at[4], at[5:7], at[7], at[8]
    m, v = (a * X).sum() + c, (2 * t).exp()
    error = (X - w * m - b).square().sum() + w.square().sum() * v
    value = -error / (2 * (2 * log_s).exp()) - 2 * log_s - math.log(2 * math.pi) - 0.5 * (m * m + v - 1) + t
    return value.detach(), torch.autograd.grad(value, at)[0]


def quadrature() -> tuple[Tensor, Tensor, Tensor]:
    """L_2 by Gauss and Hermite over both draws, its gradient, and E[sum_j v_j d log q(z_j | x)]."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(80))
    weights = weights / weights.sum()
    joint = (weights[:, None] * weights).flatten()
    model, x = Line(1), X.expand(1, 2)
    z = model.q(x).mean + model.q(x).scale * nodes[:, None, None]
    log_w = (model.joint(x, {"z": z}, at()) - log_posterior(model, x, {"z": z}, at())).squeeze(-1)
    both = torch.stack(torch.broadcast_tensors(log_w[:, None], log_w)).flatten(1)
    value = (joint * (both.logsumexp(0) - math.log(2))).sum()
    log_q = log_posterior(model, x, {"z": z.detach()}, at()).squeeze(-1)
    v = both.softmax(0).detach()
    score = (joint * (v * torch.stack(torch.broadcast_tensors(log_q[:, None], log_q)).flatten(1)).sum(0)).sum()
    gradients = (torch.autograd.grad(part, model.at, retain_graph=True)[0][0] for part in (value, score))
    return value.detach(), *gradients


def agree(samples: Tensor, truth: Tensor) -> bool:
    """Whether every column's mean is within Z standard errors of the truth (or of rounding, where nothing varies)."""
    error = samples.std(0) / len(samples) ** 0.5
    return bool(((samples.mean(0) - truth).abs() < Z * error + 1e-12).all())


def test_the_oracles_agree():
    """The mean of log w by quadrature is the closed form, and L_2 is above it."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(80))
    model, x = Line(1), X.expand(1, 2)
    z = model.q(x).mean + model.q(x).scale * nodes[:, None, None]
    log_w = (model.joint(x, {"z": z}, at()) - log_posterior(model, x, {"z": z}, at())).squeeze(-1)
    value, gradient = closed_form()
    mean = (weights / weights.sum() * log_w).sum()
    assert torch.allclose(mean, value, atol=1e-10)
    assert torch.allclose(torch.autograd.grad(mean, model.at)[0][0], gradient, atol=1e-10)
    assert quadrature()[0] > value


@pytest.mark.parametrize("gradient", ["standard", "dreg", "stl"])
def test_one_sample_is_unbiased_in_eight_directions(gradient):
    value, truth = closed_form()
    values, gradients = estimates(1, gradient)
    assert agree(values[:, None], value)
    assert agree(gradients @ DIRECTIONS.mT, DIRECTIONS @ truth)


@pytest.mark.parametrize("gradient", ["standard", "dreg"])
def test_two_samples_are_unbiased_in_eight_directions(gradient):
    value, truth, _ = quadrature()
    values, gradients = estimates(2, gradient)
    assert agree(values[:, None], value)
    assert agree(gradients @ DIRECTIONS.mT, DIRECTIONS @ truth)


def test_sticking_the_landing_is_biased_for_two_samples_as_documented():
    _, truth, score = quadrature()
    _, gradients = estimates(2, "stl")
    assert agree(gradients @ DIRECTIONS.mT, DIRECTIONS @ (truth + score))
    assert not agree(gradients @ DIRECTIONS.mT, DIRECTIONS @ truth)
    assert score[:5].abs().max() == 0  # the generative model's gradient has no bias
    # Measured here: 0.67 of the encoder's gradient in norm. The docstring of `iwae` says so.
    share = score[ENCODER].norm() / truth[ENCODER].norm()
    assert float(share) == pytest.approx(0.666, abs=0.001)


def test_less_noise_the_nearer_the_exact_posterior():
    """What the estimators are for: at q = p(z | x) the encoder's gradient has no noise at all, and the standard one has."""
    model, x = Line(500), X.expand(500, 2)
    w, b, log_s = POINT[:2], POINT[2:4], POINT[4]
    precision = 1 + w.square().sum() * (-2 * log_s).exp()
    slope = w * (-2 * log_s).exp() / precision
    with torch.no_grad():
        model.at[:, ENCODER] = torch.cat((slope, -(slope * b).sum()[None], -0.5 * precision.log()[None]))
    spread = {}
    for gradient in ("standard", "dreg", "stl"):
        value = iwae(3, gradient)(model, x, at(seed=0)).value
        spread[gradient] = torch.autograd.grad(value.sum(), model.at)[0][:, ENCODER].std(0).max()
    assert spread["dreg"] < 1e-10 and spread["stl"] < 1e-10 < 0.01 < spread["standard"]


# --- several stochastic layers: each estimator against the standard one --------------------------------------------------


def bottom_up() -> nn.Module:
    with Streams(5).scoped("init"):
        return scaled(BottomUpVAE(3, (2, 1), ((4,), (3,)), activation="tanh"))


def ladder() -> nn.Module:
    with Streams(5).scoped("init"):
        return scaled(LadderVAE(3, (2, 1), (4, 3), activation="tanh"))


def scaled(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(2)  # so that the layers depend on each other, and a path that is lost shows
    return module.double()


RUNS, BATCH = 200, 200


@pytest.fixture(scope="module", params=[bottom_up, ladder])
def stack(request) -> Stack:
    return Stack.of([request.param()] * RUNS, [Streams(s) for s in range(RUNS)], "fp64")


def gradients(stack: Stack, utility, address: str) -> Tensor:
    """Gradient of the mean over one batch, in eight directions, for every run of the stack, ``[RUNS, 8]``."""
    x = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64).expand(BATCH, 3)
    params = {k: v.clone().requires_grad_() for k, v in stack.params.items()}

    def value(model, ctx):
        return utility(model, x, ctx).value.mean()

    out = stack.replace(params).call(value, noise=stack.noise("noise", address))
    flat = torch.cat([g.flatten(1) for g in torch.autograd.grad(out.sum(), list(params.values()))], 1)
    directions = torch.randn(8, flat.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return flat @ directions.mT


@pytest.mark.parametrize(("k", "gradient"), [(1, "stl"), (1, "dreg"), (3, "dreg")])
def test_layers_agree_with_the_standard_estimator(stack, k, gradient):
    difference = gradients(stack, iwae(k, gradient), "a") - gradients(stack, iwae(k), "a")
    assert difference.std(0).min() > 1e-6
    assert agree(difference, torch.zeros(8, dtype=torch.float64))


# --- what must not change --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [bottom_up, ladder, lambda: Line(6)])
def test_values_do_not_depend_on_the_estimator(build):
    model = build()
    x = (torch.arange(18).view(6, 3) % 2).double()[:, : 2 if isinstance(model, Line) else 3]
    terms = {g: iwae(4, g)(model, x, at(seed=2)) for g in ("standard", "dreg", "stl")}
    for gradient in ("dreg", "stl"):
        assert torch.allclose(terms[gradient].value, terms["standard"].value, atol=1e-12)
        assert set(terms[gradient].parts) == {"iw4", "elbo"}
        assert torch.allclose(terms[gradient].parts["elbo"], terms["standard"].parts["elbo"], atol=1e-12)


def test_any_weight_of_an_example_scales_its_gradient():
    model = Line(5)
    weight = torch.tensor([1.0, 0.0, -2.0, 1e-3, 7.0], dtype=torch.float64)

    def gradient(scale: Tensor) -> Tensor:
        value = iwae(3, "dreg")(model, X.expand(5, 2), at(seed=0)).value
        return torch.autograd.grad((scale * value).sum(), model.at)[0]

    assert torch.allclose(gradient(weight), weight[:, None] * gradient(torch.ones_like(weight)), atol=1e-12)


@pytest.mark.parametrize("gradient", ["dreg", "stl"])
def test_an_estimator_is_recorded_and_played_back(gradient):
    """The learner compares the first playbacks with the utility itself, to the last bit, and drops them if they differ."""
    sizes = {"hidden": (8, 8), "latents": 3, "latents_above": 2, "hidden_above": (4,), "batch_size": 16, "steps": 10}
    experiment = usual("bottom-up-vae").on("digits-binary").with_config({"k": 3, "gradient": gradient, **sizes})
    streams = experiment.streams([0, 1])
    learner = Learner(experiment.task(streams), streams, torch.device("cpu"))
    (replay,) = learner.replays.values()
    replay.after = 2
    for _ in range(6):
        learner.advance()
    assert replay.recorded and replay.played == 4


@pytest.mark.parametrize("k", [0, -3])
def test_no_samples_are_refused(k):
    with pytest.raises(SeedbedError, match=f"at least 1 importance sample per example, got k = {k}"):
        iwae(k)


def test_unknown_estimators_are_refused():
    with pytest.raises(SeedbedError, match="dreg"):
        iwae(5, "dregs")
