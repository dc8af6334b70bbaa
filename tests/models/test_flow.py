"""Flows against autodiff, against zuko, and by integration."""

import math

import pytest
import torch
import zuko
from passes import at
from torch import Tensor

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.models.compat import CompatFlow
from seedbed.models.flow import CouplingFlow
from seedbed.models.spline import MIN_BIN, MIN_SLOPE, SHIFT, spline_forward, spline_inverse
from seedbed.models.transforms import ActNorm, AffineCoupling, Mix, Reverse, SplineCoupling

TRANSFORMS = {
    "reverse": lambda n: Reverse(),
    "actnorm": ActNorm,
    "mix": Mix,
    "affine": lambda n: AffineCoupling(n, (8,), activation="tanh"),
    "affine-raw": lambda n: AffineCoupling(n, (8,), bound=None, activation="tanh"),
    "spline": lambda n: SplineCoupling(n, (8,), activation="tanh"),
    "flow-affine": lambda n: CouplingFlow(n, "affine", 3, (8,), "tanh"),
    "flow-spline": lambda n: CouplingFlow(n, "spline", 3, (8,), "tanh"),
    "flow-mix": lambda n: CouplingFlow(n, "spline", 3, (8,), "tanh", mix=True),
    "flow-compat": lambda n: CompatFlow(n, 3, (8,)),
}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(module: torch.nn.Module, size: float = 0.5) -> torch.nn.Module:
    """Away from the identity, reproducibly."""
    module = module.double()
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(size * draw(*p.shape, seed=i))
    return module


@pytest.mark.parametrize("features", [2, 5])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_inverse_and_log_det(name, features):
    # A raw exponential explodes: nearer to the identity, or the inverse has no digits left to compare.
    transform = moved(TRANSFORMS[name](features), 0.1 if "compat" in name else 0.5)
    x = 2.5 * draw(40, features)
    y, log_det = transform(x)
    back, inverse_log_det = transform.inverse(y)
    assert torch.allclose(back, x, atol=1e-8)
    assert torch.allclose(log_det, -inverse_log_det, atol=1e-8)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: transform(v)[0]))(x)
    assert torch.allclose(log_det.expand(40), jacobian.det().abs().log(), atol=1e-8)


@pytest.mark.parametrize("name", ["affine", "spline"])
def test_couplings_start_at_the_identity(name):
    x = 3 * draw(20, 2)
    y, log_det = TRANSFORMS[name](2).double()(x)
    assert torch.allclose(y, x, atol=1e-12)
    assert torch.allclose(log_det, torch.zeros(20).double(), atol=1e-12)


@pytest.mark.parametrize("name", ["flow-affine", "flow-spline", "flow-compat"])
def test_density_integrates_to_one(name):
    flow = moved(TRANSFORMS[name](2), 0.3)
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    with torch.no_grad():
        total = flow.log_prob(torch.cartesian_prod(axis, axis), at()).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 2e-3


def test_samples_have_the_density():
    """E over samples of log q must equal the integral of q log q."""
    flow = moved(TRANSFORMS["flow-spline"](2), 0.3)
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    with torch.no_grad():
        log_q = flow.log_prob(torch.cartesian_prod(axis, axis), at())
        entropy = -(log_q.exp() * log_q).sum() * (axis[1] - axis[0]) ** 2
        values = -flow.log_prob(flow.sample(20_000, at(seed=0)), at())
    assert abs(values.mean() - entropy) < 4 * values.std() / 20_000**0.5 + 1e-3


def test_spline_agrees_with_zuko():
    bins, bound = 6, 3.0
    raw, x = draw(200, 3 * bins - 1), 2 * draw(200, seed=1)
    y, log_slope = spline_forward(x, raw, bound)
    # zuko normalises its own parameters, so it is handed ours through the inverse of its rules.
    shares = [torch.softmax(r, -1) * (1 - bins * MIN_BIN) + MIN_BIN for r in raw[:, : 2 * bins].split(bins, -1)]
    slopes = torch.nn.functional.softplus(raw[:, 2 * bins :] + SHIFT) + MIN_SLOPE
    theirs = zuko.transforms.MonotonicRQSTransform(*(s.log() for s in shares), slopes.log(), bound=bound, slope=1e-30)
    knots = [2 * bound * torch.nn.functional.pad(s.cumsum(-1), (1, 0)) - bound for s in shares]
    theirs.horizontal, theirs.vertical = knots
    theirs.derivatives = torch.nn.functional.pad(slopes, (1, 1), value=1.0)
    expected, expected_slope = theirs.call_and_ladj(x)
    assert (x.abs() > bound).any()
    assert torch.allclose(y, expected, atol=1e-9)
    assert torch.allclose(log_slope, expected_slope, atol=1e-9)
    assert torch.allclose(spline_inverse(expected, raw, bound)[0], theirs.inv(expected), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spline_in_the_corners(dtype):
    """Extreme parameters, points on knots, on the ends, far outside, not finite: no NaN but where x is one."""
    bins = 5
    raw = (
        torch.cat((torch.zeros(1, 3 * bins - 1), 50 * draw(6, 3 * bins - 1)))[:, None]
        .to(dtype)
        .repeat(1, 7, 1)
        .requires_grad_()
    )
    x = torch.tensor([-1e30, -4.0, -2.4, 0.0, 0.8, 4.0, 7.0], dtype=dtype).expand(7, 7)
    y, log_slope = spline_forward(x, raw, 4.0)
    assert torch.isfinite(y).all() and torch.isfinite(log_slope).all()
    (gradient,) = torch.autograd.grad(y.sum() + log_slope.sum(), raw)
    assert torch.isfinite(gradient).all()
    back, _ = spline_inverse(y, raw, 4.0)
    assert torch.isfinite(back).all()
    broken, _ = spline_forward(torch.tensor([math.nan, math.inf, 0.5], dtype=dtype), raw[0, :3], 4.0)
    assert torch.isnan(broken[0]) and torch.isfinite(broken[2])


def test_affine_by_hand():
    layer = AffineCoupling(2, (), bound=2.0).double()
    with torch.no_grad():
        layer.net.layers[0].weight.copy_(torch.tensor([[1.5], [0.5]]))
    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    y, log_det = layer(x)
    s = 2 * math.tanh(1.5 * 2.0 / 2)
    assert torch.allclose(y, torch.tensor([[2.0, 3.0 * math.exp(s) + 1.0]], dtype=torch.float64))
    assert math.isclose(log_det.item(), s)
    assert layer(torch.tensor([[1e6, 1.0]]).double())[1].item() <= 2.0


@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_data_init(coupling):
    """Each ActNorm hands the next layer a batch of zero mean and unit deviation, and only the buffers in place change."""
    flow = CouplingFlow(3, coupling, 3, (8,)).double()
    before = {k: (v.data_ptr(), v.clone()) for k, v in flow.named_parameters()}
    x = draw(50, 3) * torch.tensor([3.0, 0.2, 1.0]).double() + torch.tensor([1.0, -7.0, 0.0]).double()
    flow.data_init(x, Context.of(0))
    for transform in flow.chain:
        x, _ = transform(x)
        if isinstance(transform, ActNorm):
            assert torch.allclose(x.mean(0), torch.zeros(3).double(), atol=1e-9)
            assert torch.allclose(x.std(0), torch.ones(3).double(), atol=1e-4)
    for key, p in flow.named_parameters():
        assert p.data_ptr() == before[key][0]
        assert p.requires_grad
        assert torch.equal(p, before[key][1]) or "shift" in key or "log_scale" in key


def test_errors():
    with pytest.raises(SeedbedError, match="at least 2 numbers"):
        CouplingFlow(1)
