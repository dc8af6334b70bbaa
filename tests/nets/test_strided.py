"""The convolutions of the Hamiltonian studies: their sizes, and that they are smooth and keep examples apart."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev, stack_module_state, vmap
from torch.nn import functional as F

from seedbed.core.errors import SeedbedError
from seedbed.nets.strided import Enlarged, ImageNorm, StridedDecoder, StridedEncoder

each = pytest.mark.parametrize("norm", [False, True])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_their_sizes_are_the_sources():
    # h-vae's but for the norms of its input (2 weights) and of z (128); the original's, its mean and scale in one layer.
    assert weights(StridedEncoder((1, 28, 28), 128, norm=True)) == 328_520 - 2
    assert weights(StridedDecoder(64, (1, 28, 28), norm=True)) == 306_615 - 128
    down = (25 * 16 + 16) + (25 * 16 * 32 + 32) + (25 * 32 * 32 + 32) + (512 * 450 + 450)
    assert weights(StridedEncoder((1, 28, 28), 128)) == down + 2 * (450 * 64 + 64)
    up = (64 * 450 + 450) + (450 * 512 + 512) + (25 * 32 * 32 + 32) + (25 * 32 * 16 + 16) + (25 * 16 + 1)
    assert weights(StridedDecoder(64, (1, 28, 28))) == up


@each
def test_they_are_of_images_and_of_any_batch_axes(norm):
    encoder, decoder = StridedEncoder((1, 28, 28), 6, norm).double(), StridedDecoder(3, (2, 28, 28), norm).double()
    assert encoder(draw(4, 2, 1, 28, 28)).shape == (4, 2, 6) and decoder(draw(4, 2, 3)).shape == (4, 2, 2, 28, 28)
    x, z = draw(5, 1, 28, 28), draw(5, 3)
    for net, at in ((encoder, x), (decoder, z)):
        torch.testing.assert_close(net(at)[1:2], net(at[1:2]))  # no example sees another
    with pytest.raises(SeedbedError, match=r"grey images \[1, 28, 28\], got \[1, 8, 8\]; use nets mlp"):
        StridedEncoder((1, 8, 8), 6)


@each
def test_an_energy_has_second_derivatives_that_are_slopes_of_the_first(norm):
    """Central differences of the gradient, relative to the largest: an error of h^2, times what is beyond the second."""
    decoder = StridedDecoder(3, (1, 28, 28), norm).double()
    energy = lambda z: F.softplus(decoder(z)).sum()
    at, h = draw(3), 1e-4
    slope = jacrev(energy)
    second = jacrev(slope)(at)
    steps = h * torch.eye(3, dtype=torch.float64)
    differences = torch.stack([(slope(at + step) - slope(at - step)) / (2 * h) for step in steps])
    assert (second - differences).abs().max() < 1e-5 * second.abs().max()
    assert second.abs().max() > 0


@each
def test_a_stack_is_each_seed_alone(norm):
    nets = [StridedDecoder(3, (1, 28, 28), norm).double() for _ in range(2)]
    params, _ = stack_module_state(nets)
    z = draw(2, 4, 3)
    together = vmap(lambda p, z: functional_call(nets[0], p, (z,)))(params, z)
    torch.testing.assert_close(together, torch.stack([net(at) for net, at in zip(nets, z, strict=True)]))


def test_an_image_norm_is_a_group_norm_of_one_group():
    norm, x = ImageNorm(3).double(), draw(2, 3, 4, 4)
    with torch.no_grad():
        norm.weight.copy_(draw(3, 1, 1))
        norm.bias.copy_(draw(3, 1, 1, seed=1))
    torch.testing.assert_close(norm(x), F.group_norm(x, 1, norm.weight.flatten(), norm.bias.flatten()))


def test_the_nearest_pixel_enlarges():
    found = Enlarged(7)(torch.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    assert found[0].tolist() == [0, 0, 1, 1, 2, 2, 3] and found[:, 0].tolist() == [0, 0, 4, 4, 8, 8, 12]
