"""The image flow against autodiff, and as a distribution of bits: what it bounds sums to one over all images."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from passes import at, whole_pass
from scipy import stats
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.core.stack import Stack
from seedbed.distributions.normal import DiagonalNormal
from seedbed.evaluate.estimators import offered
from seedbed.models.dequantise import CutNormal, Dequantisation, Exponential, Signs
from seedbed.models.image_flow import ConvCoupling, ImageFlow, MultiScale, PerPixel
from seedbed.models.transforms import ActNorm, Mix
from seedbed.nets.conv import DenseNet
from seedbed.objectives.bounds import elbo, iwae

Z = 4.5  # standard errors: about 20 comparisons in this file


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(module: torch.nn.Module, size: float = 0.3) -> torch.nn.Module:
    """Away from where it starts: the last layer of every net is zero there."""
    module = module.double()
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.add_(size * draw(*p.shape, seed=i))
    return module


def scales(steps: tuple[int, ...]) -> MultiScale:
    def net(inputs: int, outputs: int, size: tuple[int, int]) -> DenseNet:
        return DenseNet(inputs, outputs, size, 4, 2, 3)

    with Streams(1).scoped("init"):
        return moved(MultiScale((2, 4, 4), steps, net))


MAPS = {
    "actnorm": lambda: PerPixel(ActNorm(3)),
    "1x1": lambda: PerPixel(Mix(3, rotation=True)),
    "coupling": lambda: ConvCoupling(3, DenseNet(1, 4, (2, 4), 3, 2, 2)),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_images(name):
    with Streams(0).scoped("init"):
        transform = moved(MAPS[name]())
    x = draw(3, 3, 2, 4)
    y, log_det = transform(x)
    back, inverse_log_det = transform.inverse(y)
    assert torch.allclose(back, x, atol=1e-10) and torch.allclose(log_det, -inverse_log_det, atol=1e-10)

    def one(v: Tensor) -> Tensor:
        return transform(v.view(1, 3, 2, 4))[0].flatten()

    jacobian = torch.stack([torch.func.jacrev(one)(v.flatten()) for v in x])
    assert torch.allclose(log_det, jacobian.det().abs().log(), atol=1e-9)


@pytest.mark.parametrize("steps", [(1,), (1, 1), (0, 2), (1, 0, 1), (2, 1, 1)])
def test_scales_are_a_bijection(steps):
    transform, x = scales(steps), draw(2, 3, 32)
    y, log_det = transform(x)
    assert y.shape == x.shape and log_det.shape == (2, 3)
    back, inverse_log_det = transform.inverse(y)
    assert torch.allclose(back, x, atol=1e-9) and torch.allclose(log_det, -inverse_log_det, atol=1e-9)
    jacobian = torch.stack([torch.func.jacrev(lambda v: transform(v)[0])(v) for v in x[0]])
    assert torch.allclose(log_det[0], jacobian.det().abs().log(), atol=1e-8)


def test_what_is_sliced_off_is_done():
    """The first half of what the first scale makes of the image is the same whatever the coarser scales are."""
    transform, x = scales((1, 1)), draw(3, 32)
    before = transform(x)[0]
    with torch.no_grad():
        for p in transform.scales[1].parameters():
            p.add_(0.5)
    after = transform(x)[0]
    assert torch.equal(before[:, :16], after[:, :16]) and not torch.allclose(before[:, 16:], after[:, 16:])


def test_the_1x1_convolution_starts_as_a_rotation():
    with Streams(0).scoped("init"):
        mix = Mix(6, rotation=True).double()
    matrix, log_det = mix(torch.eye(6).double())
    assert torch.allclose(matrix @ matrix.T, torch.eye(6).double(), atol=1e-5) and log_det.abs() < 1e-5
    assert (matrix.abs() > 0.01).sum() > 12


def bits_flow(steps: tuple[int, ...]) -> tuple[ImageFlow, Tensor]:
    with Streams(0).scoped("init"):
        model = ImageFlow((1, 4, 4), 1, steps, 4, 2, 3).double()
    return model, (draw(400, 1, 4, 4) > 0.5).double()


@pytest.mark.parametrize(("steps", "channels"), [((1,), 2), ((0, 1), 8)])
def test_what_the_flow_is_set_by_comes_out_normalised(steps, channels):
    """Exactly: a rotation keeps means of 0 and the sum of the variances, and couplings do nothing yet."""
    model, x = bits_flow(steps)
    v = model.dequantise(x).draw(at().noise).value
    model.flow.data_init(v, at())
    y = model.flow.chain[0](v)[0].unflatten(1, (channels, -1))
    n = 400 * y.shape[-1]  # values of a channel; their sample variance is set to 1
    assert y.mean((0, 2)).abs().max() < 1e-9 and abs(y.square().mean() - (n - 1) / n) < 1e-5


def test_other_draws_of_the_first_batch_are_normalised():
    model, x = bits_flow((1, 1))
    model.data_init(x, at())
    y = model.flow.chain[0](model.dequantise(x).draw(at().noise).value)[0]
    for found, truth in ((y.mean(1), 0.0), (y.square().mean(1), 1.0)):
        error = (2 / len(x)) ** 0.5 * found.std()  # the draws that the flow was set by are as many
        assert abs(found.mean() - truth) < Z * error


def cut(x: Tensor, mean: Tensor, log_scale: Tensor) -> Dequantisation:
    n = x.shape[-1]
    return Dequantisation(x, CutNormal(mean[:, :n], log_scale[:, :n]), DiagonalNormal(mean[:, n:], log_scale[:, n:]))


def test_variational_dequantisation_is_a_normal_cut_off_at_zero():
    """Against scipy's density, distribution and, by d F(v) = 0, slopes; nothing has probability on the other side."""
    x = torch.tensor([[1.0, 0.0, 0.0, 1.0]]).double()
    mean = torch.tensor([[3.0, 1.0, 0.2, 0.0, 5.0, -4.0]]).double().requires_grad_()
    log_scale = torch.tensor([[0.0, 0.3, -1.0, 0.5, 0.2, -0.1]]).double().requires_grad_()
    q, count = cut(x, mean, log_scale), 20_000
    v = q.draw(at().noise, count).value[:, 0]
    m, s = mean[0].detach().numpy(), log_scale[0].detach().exp().numpy()
    truths = [stats.truncnorm(-m[i] / s[i], np.inf, m[i], s[i]) for i in range(4)] + [stats.norm(m[i], s[i]) for i in (4, 5)]
    size = (torch.cat([2 * x - 1, torch.ones(1, 2).double()], 1) * v).detach().numpy()
    for i, truth in enumerate(truths):
        assert stats.kstest(size[:, i], truth.cdf).pvalue > 1e-4
    expected = sum(truth.logpdf(size[:, i]) for i, truth in enumerate(truths))
    assert np.allclose(q.log_prob(v[:, None])[:, 0].detach(), expected, atol=1e-8)
    # A draw at quantile F stays there: dv/dm = -(dF/dm) / f, by differences of scipy's F.
    (slope,) = torch.autograd.grad(v[0, 1], mean, retain_graph=True)
    h, one = 1e-5, size[0, 1]
    ends = [stats.truncnorm.cdf(one, -(m[1] + d) / s[1], np.inf, m[1] + d, s[1]) for d in (-h, h)]
    assert abs(float(slope[0, 1]) - (ends[1] - ends[0]) / (2 * h) / truths[1].pdf(one)) < 1e-6  # x = 0: v = -|v|
    for pixel in range(4):  # one wrong bit is enough
        wrong = torch.cat([v[:, :pixel], -v[:, pixel : pixel + 1], v[:, pixel + 1 :]], 1)
        assert bool((q.log_prob(wrong[:, None]) == -math.inf).all())


class Ends(Noise):
    """Uniform noise that is 0 and the largest number below 1, as fp32 draws them about once in 17 million."""

    def uniform(self, event, *, batch=None, samples=None):
        return torch.tensor([0.0, 1 - 2.0**-24]).repeat(batch * math.prod(event) // 2).view(batch, *event)

    def normal(self, event, *, batch=None, samples=None):
        return torch.zeros(batch, *event)


@pytest.mark.parametrize("variational", [False, True])
def test_the_ends_of_uniform_noise_keep_their_bits(variational):
    x = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(1000, 4)
    mean, log_scale = torch.linspace(0, 6, 1000)[:, None].expand(1000, 5), torch.linspace(-2, 2, 5).expand(1000, 5)
    zero = torch.zeros(1000, 1)
    q = cut(x, mean, log_scale) if variational else Dequantisation(x, Exponential(x.shape), DiagonalNormal(zero, zero))
    v = q.draw(Ends([Streams(0)], "noise")).value
    assert bool((v[:, :4].sign() == 2 * x - 1).all()) and bool(
        torch.isfinite(v).all() and torch.isfinite(q.log_prob(v)).all()
    )


def test_no_draw_loses_its_bit_in_fp32():
    x = torch.tensor([[1.0, 0.0]]).expand(1000, 2)
    for mean, log_scale in ((6.0, -2.0), (3.0, 0.0), (0.0, -2.0), (0.0, 2.0)):
        q = cut(x, torch.full((1000, 3), mean), torch.full((1000, 3), log_scale))
        v = q.draw(Noise([Streams(0)], "noise"), 100).value
        assert bool((v[..., 0] > 0).all() and (v[..., 1] < 0).all()) and bool(torch.isfinite(q.log_prob(v)).all())


def test_fixed_dequantisation_is_uniform():
    """(x + u) / 2 through the quantiles of a Laplace distribution, whose own distribution function leads back."""
    x = (draw(500, 4) > 0).double()
    q = ImageFlow((1, 2, 2), 0, (0, 1), 3, 1, 2, variational=False).double().dequantise(x.view(-1, 1, 2, 2))
    v = q.draw(at().noise, 20).value
    y = torch.distributions.Laplace(0.0, 1.0).cdf(v)
    assert bool(((2 * y).floor() == x).all())
    u = (2 * y - x).flatten()
    assert abs(u.mean() - 0.5) < Z * (1 / 12 / 40_000) ** 0.5 and abs(u.var() - 1 / 12) < Z * (1 / 180 / 40_000) ** 0.5
    # log q(v | x) and that of u, which is 0, differ by the change of variables.
    slope = torch.distributions.Laplace(0.0, 1.0).log_prob(v).sum(-1) + 4 * math.log(2)
    assert torch.allclose(q.log_prob(v), slope, atol=1e-9)


@pytest.mark.parametrize("variational", [False, True])
def test_it_is_a_distribution_of_images(variational):
    """P(x) = E_q w sums to one over all 16 images of 2 x 2 bits; the bounds sum to less; draws occur as often as P says."""
    with Streams(2).scoped("init"):
        model = ImageFlow((1, 2, 2), 1, (1, 1), 3, 1, 2, variational).double()
    biases = model.dequantiser.last.bias.unflatten(0, (4, 4)) if model.dequantiser is not None else torch.zeros(4, 4)
    with torch.no_grad():  # near 0, where it is cut off
        biases += torch.tensor([-2.0, 0.0, 0.3, 0.0])[:, None]
    x = torch.tensor(list(product([0.0, 1.0], repeat=4))).double().view(-1, 1, 2, 2)
    model.data_init(x.repeat(50, 1, 1, 1), at())
    moved(model, 0.1 if variational else 0.05)
    with torch.no_grad():  # wider than p, so that its weights have a variance
        biases += torch.tensor([0.0, 0.0, 1.3, 0.6])[:, None]
    k = 8_000
    with torch.no_grad():
        z, layers, likelihood = whole_pass(model, x, at(), k)
        assert bool((likelihood.log_prob(x) == 0).all())
        log_w = layers[0].prior.log_prob(z["v"]) - layers[0].posterior.log_prob(z["v"])
        w = log_w.exp()
        p, error = w.mean(0), w.std(0) / k**0.5
        assert (w.max(0).values / w.sum(0)).max() < 0.1  # else a standard error says nothing
        assert abs(p.sum() - 1) < Z * error.square().sum().sqrt()
        bound = log_w.mean(0).exp()
        assert bound.sum() + Z * (bound * log_w.std(0) / k**0.5).square().sum().sqrt() < 1
        five = iwae(5)(model, x, at(1)).value
        assert torch.isfinite(five).all() and torch.isfinite(elbo(model, x, at(2)).value).all()
        drawn = model.sample(5_000, at(3))
    share = (drawn[:, None] == x).flatten(2).all(-1).double().mean(0)
    assert bool(((share - p).abs() < Z * (error**2 + p * (1 - p) / 5_000).sqrt()).all())


def test_signs():
    signs = Signs(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
    assert signs.log_prob(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist() == [0.0, 0.0]
    assert signs.log_prob(torch.tensor([[0.0, 0.0], [0.0, 1.0]])).tolist() == [-math.inf, 0.0]
    image = Signs(torch.tensor([[[[1.0, -2.0], [3.0, 3.0]]]]), 3)
    assert image.log_prob(torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]], [[[1.0, 0.0], [0.0, 1.0]]]])).tolist() == [
        0.0,
        -math.inf,
    ]


def test_annealing_has_no_way_through_signs():
    stack = Stack.of([ImageFlow((1, 4, 4), 1, (0, 1), 2, 1, 2)], [Streams(0)])
    found = offered(stack, torch.zeros(1, 1, 4, 4))
    assert {"nll", "latents"} <= set(found) and "ais" not in found


def test_images_that_do_not_fit():
    with pytest.raises(SeedbedError, match="3 scales need images whose sides 4 divides, such as 32 x 20; got 30 x 20"):
        ImageFlow((1, 30, 20))
    with pytest.raises(SeedbedError, match="at least 2 channels; augment"):
        ImageFlow((1, 4, 4), 0, (1, 1))
    with pytest.raises(SeedbedError, match=r"expects images \[channels, height, width\], got examples \[20\]"):
        ImageFlow((20,))
    with pytest.raises(SeedbedError, match="its sides must be even, got 3 x 5"):
        ImageFlow((1, 3, 5), 1, (1,), 4, 1, 2)
    assert ImageFlow((1, 3, 5), 1, (1,), 4, 1, 2, variational=False).flow.transforms[0].shape == (2, 3, 5)


def test_the_sources_size():
    """3,634,680 there; here with L and U apart in the 1x1 convolutions, and a bias per position in each net."""
    model = ImageFlow((1, 28, 28), variational=False)
    apart = sum(4 * (c * c + c) for c in (2, 4, 8))
    places = 4 * 64 * (784 + 196 + 49)
    assert sum(p.numel() for p in model.parameters()) == 3_634_680 + apart + places
