"""The IWAE paper's models and the fifth source's convolutions against quadrature, enumeration and the nets spelled out."""

import pytest
import torch
from passes import at, log_posterior, whole_pass
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.models.conv_vae import ConvVAE
from seedbed.models.iwae import BottomUpVAE
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import elbo, elbo_kl, iwae

Z = 4.5  # standard errors: about 60 comparisons in this file
IMAGES = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)  # all there are, [8, 3]
GRID = torch.linspace(-12, 12, 289, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])


def one_layer() -> VAE:
    return VAE(3, 1, (5, 5), BERNOULLI, "tanh")


def two_layers() -> BottomUpVAE:
    return BottomUpVAE(3, (1, 1), ((5, 5), (4,)), activation="tanh")


@pytest.fixture(params=[one_layer, two_layers])
def model(request) -> nn.Module:
    with Streams(9).scoped("init"):
        built = request.param().double()
    with torch.no_grad():
        for name, p in built.named_parameters():
            # Far enough from 0 that latents matter.
            p.mul_(3.0 if name.startswith(("decoder.", "decoders.0")) else 1.3)
    return built


def latents(model: nn.Module) -> tuple[dict[str, Tensor], float]:
    """Every point of a grid over the latents, ``[points, 8, 1]`` each, and a point's volume."""
    names = ("z",) if isinstance(model, VAE) else ("z2", "z1")
    points = torch.cartesian_prod(*[GRID] * len(names)).view(-1, len(names))
    return {n: points[:, i, None, None].expand(-1, 8, 1) for i, n in enumerate(names)}, STEP ** len(names)


def test_the_joint_is_a_distribution_and_the_posterior_one_given_x(model):
    z, volume = latents(model)
    p = (model.joint(IMAGES, z, at()).exp().sum(0) * volume).detach()
    assert p.sum() == pytest.approx(1.0, abs=1e-6) and p.max() < 0.9
    assert torch.allclose(log_posterior(model, IMAGES, z, at()).exp().sum(0) * volume, torch.ones(8).double(), atol=1e-5)


def test_importance_weights_average_as_quadrature_says(model):
    """E_q[min(w, 3 p(x))]: cut, since w itself need not have a variance."""
    z, volume = latents(model)
    joint, log_q = model.joint(IMAGES, z, at()).detach(), log_posterior(model, IMAGES, z, at()).detach()
    limit = 3 * joint.exp().sum(0) * volume
    truth = torch.minimum(joint.exp(), limit * log_q.exp()).sum(0) * volume
    w = torch.minimum(model.proposal(IMAGES, at(seed=1), 20_000).log_w.exp().detach(), limit)
    assert bool(((w.mean(0) - truth).abs() < Z * w.std(0) / 20_000**0.5).all())
    # And they are what the joint and the posterior say of the same draws.
    few = model.proposal(IMAGES, at(seed=1), 4)
    assert list(few.z) == list(few.layers) == list(z)
    assert torch.allclose(few.log_q, log_posterior(model, IMAGES, few.z, at()), atol=1e-12)
    assert torch.allclose(few.log_w, model.joint(IMAGES, few.z, at()) - few.log_q, atol=1e-12)


@pytest.mark.parametrize(("utility", "k"), [(elbo, 1), (elbo_kl, 1), (iwae(1), 1)])
def test_the_elbo_is_its_quadrature(model, utility, k):
    """Above all ``elbo_kl`` of two layers, where KL(q(z1 | x) || p(z1 | z2)) at a drawn z2 would be wrong."""
    z, volume = latents(model)
    log_q = log_posterior(model, IMAGES, z, at())
    truth = ((model.joint(IMAGES, z, at()) - log_q) * log_q.exp()).sum(0) * volume
    values = torch.stack([utility(model, IMAGES.repeat(2500, 1), at(i, seed=1)).value for i in range(4)]).view(-1, 8)
    assert bool(((values.mean(0) - truth).abs() < Z * values.std(0) / len(values) ** 0.5).all())


def test_draws_have_the_model_s_distribution(model):
    z, volume = latents(model)
    p = (model.joint(IMAGES, z, at()).exp().sum(0) * volume).detach()
    draws = model.sample(20_000, at(seed=1))
    counted = (draws[:, None] == IMAGES).all(-1).double().mean(0)
    assert bool(((counted - p).abs() < Z * (p * (1 - p) / 20_000).sqrt()).all())


def test_which_layers_have_a_closed_kl():
    model = BottomUpVAE(3, (2, 2, 1), ((4,), (4,), (3,))).double()
    _, layers, _ = whole_pass(model, IMAGES, at(seed=1))
    assert [(layer.name, layer.closed_kl) for layer in layers] == [("z3", True), ("z2", False), ("z1", False)]
    assert set(elbo_kl(model, IMAGES, at(seed=1)).parts) == {"elbo", "log_likelihood", "kl", "kl_z3", "kl_z2", "kl_z1"}


def test_the_paper_s_sizes():
    model = BottomUpVAE(784, output_bias=torch.full((784,), -5.0))
    shapes = [[tuple(layer.weight.shape) for layer in net.layers] for net in (*model.encoders, *model.decoders)]
    assert shapes == [
        [(200, 784), (200, 200), (200, 200)],
        [(100, 100), (100, 100), (100, 100)],
        [(200, 100), (200, 200), (784, 200)],
        [(100, 50), (100, 100), (200, 100)],
    ]
    assert bool((model.decoders[0].layers[-1].bias == -5).all())


def test_layers_without_networks_are_refused():
    with pytest.raises(SeedbedError, match="one network per latent"):
        BottomUpVAE(3, (2, 2), ((4,),))


def test_convolutions_start_at_the_mean_of_the_probabilities():
    """Pixels share a bias: half of them never on, half on as often as not, they are on a quarter of the time."""
    logits = torch.cat([torch.full((1, 14, 28), -12.0), torch.zeros(1, 14, 28)], 1)
    bias = ConvVAE((1, 28, 28), 2, output_bias=logits).decoder.layers[-1].bias
    assert torch.sigmoid(bias).item() == pytest.approx(0.25, abs=1e-4)


def test_the_convolutions_are_the_source_s():
    """Its nets spelled out, with the padded convolution of a single point that is a transposed one here."""
    torch.manual_seed(0)
    model = ConvVAE(latents=6, output_bias=torch.full((1, 28, 28), -2.0)).double()
    own = dict(model.named_parameters())
    x = (torch.arange(3 * 784).view(3, 1, 28, 28) % 7 == 0).double()

    def conv(name: str, image: Tensor, padding: int = 0) -> Tensor:
        return F.conv2d(image, own[f"{name}.weight"], own[f"{name}.bias"], padding=padding)

    def twice(image: Tensor) -> Tensor:
        return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=True)

    h = F.avg_pool2d(F.elu(conv("encoder.layers.0", x)), 2)
    h = F.avg_pool2d(F.elu(conv("encoder.layers.3", h)), 2)
    h = F.elu(conv("encoder.layers.6", h)).flatten(1)
    raw = F.linear(h, own["head.weight"], own["head.bias"])
    z, (layer,), likelihood = whole_pass(model, x, at(seed=1), 2)
    assert torch.allclose(layer.posterior.mean, raw[:, :6], atol=1e-12)

    h = F.elu(F.linear(z["z"].flatten(0, 1), own["stem.weight"], own["stem.bias"]))[..., None, None]
    weight = own["decoder.layers.1.weight"].transpose(0, 1).flip(2, 3)
    h = F.elu(F.conv2d(h, weight, own["decoder.layers.1.bias"], padding=4))
    assert h.shape == (6, 64, 5, 5)
    h = F.elu(conv("decoder.layers.4", twice(h), 2))
    h = F.elu(conv("decoder.layers.7", twice(h), 2))
    logits = conv("decoder.layers.9", h, 2)
    assert logits.shape == (6, 1, 28, 28) and own["decoder.layers.9.bias"].tolist() == [-2.0]
    assert torch.allclose(likelihood.logits, logits.view(2, 3, 1, 28, 28), atol=1e-12)


def test_other_images_are_refused():
    with pytest.raises(SeedbedError, match=r"expects grey images \[1, 28, 28\]; got \[1, 8, 8\]"):
        ConvVAE((1, 8, 8))
