"""Nets A and B: the layers that the source lists, and what the end of a decoder makes of its pixels."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev
from torch.nn import functional as F

from seedbed.core.errors import SeedbedError
from seedbed.nets.conv import Conv2d, ConvTranspose2d
from seedbed.nets.pictures import Decoder, Encoder, Gated, coarsest, up

SHAPE = (3, 32, 32)


def kinds(net: nn.Module) -> list[tuple[str, int, int, tuple[int, ...], tuple[int, ...]]]:
    """Every convolution: its class, channels, kernel and stride, in order."""
    found = [layer for layer in net.modules() if isinstance(layer, Conv2d | ConvTranspose2d)]
    return [
        (type(one).__name__[:5], one.in_channels, one.out_channels, *({one.kernel_size[0], one.stride[0]},)) for one in found
    ]


def conv(first: int, second: int, kernel: int, stride: int = 1, kind: str = "Conv2"):
    return kind, first, second, {kernel, stride}


def back(first: int, second: int, kernel: int = 4):
    return conv(first, second, kernel, 2, "ConvT")


def test_net_a_is_the_source_s():
    encoder, decoder = Encoder("a", SHAPE, (20,)), Decoder("a", (20,), (6, 32, 32))
    assert kinds(encoder) == [conv(3, 32, 3), conv(32, 64, 3, 2), conv(64, 128, 3, 2), conv(128, 256, 3, 2)]
    assert kinds(decoder) == [back(128, 128), back(128, 64), back(64, 32), conv(32, 6, 3)]
    assert encoder.head.layers[0].weight.shape == (40, 256 * 16) and decoder.stem.layers[0].weight.shape == (128 * 16, 20)
    x = torch.randn(2, 5, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert encoder(x).shape == (2, 5, 40) and decoder(encoder(x)[..., :20]).shape == (2, 5, 6, 32, 32)


def test_net_b_is_the_source_s_but_for_its_end():
    encoder = Encoder("b", SHAPE, (50,))
    gated = [conv(256, 64, 3), conv(64, 128, 3), *[conv(64, 64, 3), conv(64, 128, 3)] * 4]
    assert kinds(encoder) == [conv(3, 128, 4, 2), conv(128, 256, 4, 2), conv(256, 256, 3), *gated]
    assert encoder.head.layers[0].weight.shape == (100, 64 * 64)
    decoder = Decoder("b", (50,), (6, 32, 32))
    assert kinds(decoder) == [conv(64, 256, 3), *gated, back(64, 128), back(128, 64), conv(64, 6, 3)]
    source = Decoder("b", (50,), (6, 32, 32), end="stride-2")
    assert kinds(source) == [conv(64, 256, 3), *gated, back(64, 128), back(128, 6)]
    assert source(torch.zeros(1, 50)).shape == (1, 6, 32, 32)


@pytest.mark.parametrize("net", ["a", "b"])
def test_samples_are_pictures_of_the_batch(net):
    """Leading axes fold and unfold: each picture is what it is alone."""
    encoder, decoder = Encoder(net, (1, 8, 8), (3,)).double(), Decoder(net, (3,), (2, 8, 8)).double()
    x = torch.randn(4, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    raw = encoder(x)
    assert torch.allclose(raw[3, 1], encoder(x[3, 1]), rtol=1e-10)
    assert torch.allclose(decoder(raw[..., :3])[2, 0], decoder(raw[2, 0, :3]), rtol=1e-10)


def test_a_gated_block_is_its_formula():
    """relu(a sigmoid(b)), without x."""
    block = Gated(3, "relu").double()
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = F.relu(F.conv2d(x, block.first.weight, block.first.bias, padding=1))
    both = F.conv2d(h, block.gate.weight, block.gate.bias, padding=1)
    assert torch.allclose(block(x), F.relu(both[:, :64] / (1 + (-both[:, 64:]).exp())), rtol=1e-10)


def reached(end: str) -> tuple[Tensor, Tensor]:
    """Slopes of the pixels of a 2x2 patch, and of a whole picture, by hidden pixels of the last transposed convolution."""
    torch.manual_seed(0)
    layers = up("a", 1, end=end).double().layers
    last = layers[4:] if end != "stride-1" else layers[6:]  # after the last activation
    hidden = torch.randn(1, last[0].in_channels, *((8, 8) if end != "stride-1" else (16, 16)), dtype=torch.float64)
    slopes = jacrev(lambda h: last(h)[0, 0])(hidden)[:, :, 0]  # [height, width, channels, h, w]
    return slopes, hidden


def test_a_patch_of_two_by_two_is_a_linear_map_of_one_hidden_pixel():
    slopes, _ = reached("patches")
    used = slopes.abs().sum(2) > 0
    for i in range(16):
        for j in range(16):
            assert used[i, j].nonzero().tolist() == [[i // 2, j // 2]]


def test_the_source_s_end_makes_a_patch_of_three_by_three_hidden_pixels_by_weights_of_their_own():
    slopes, _ = reached("stride-2")
    patch = slopes[6:8, 8:10].abs().sum((0, 1, 2)) > 0
    assert patch.nonzero().tolist() == [[i, j] for i in (2, 3, 4) for j in (3, 4, 5)]
    # What is constant before it is not after it: the same 2x2 patch all over, its four pixels apart.
    torch.manual_seed(0)
    last = up("a", 1, end="stride-2").double().layers[4]
    out = last(torch.ones(1, 64, 8, 8, dtype=torch.float64))[0, 0, 2:-2, 2:-2]
    assert torch.allclose(out, out[:2, :2].repeat(6, 6)) and float(out[:2, :2].detach().std()) > 0.02


def test_an_end_in_steps_of_one_keeps_what_is_constant():
    torch.manual_seed(0)
    last = up("a", 1).double().layers[6]
    out = last(torch.ones(1, 32, 16, 16, dtype=torch.float64))[0, 0, 1:-1, 1:-1]
    assert torch.allclose(out, out[:1, :1].expand(14, 14))


def test_codes_that_are_maps_are_read_at_every_position_alone():
    encoder, decoder = Encoder("b", (1, 8, 8), (3, 2, 2)), Decoder("b", (3, 2, 2), (2, 8, 8))
    assert kinds(encoder)[-1] == conv(64, 6, 1) and kinds(decoder)[0] == conv(3, 64, 1)
    assert encoder(torch.zeros(5, 1, 8, 8)).shape == (5, 6, 2, 2)
    assert decoder(torch.zeros(4, 5, 3, 2, 2)).shape == (4, 5, 2, 8, 8)


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(SeedbedError, match=r"expected sides that are multiples of 8, got \[28, 28\]"):
        coarsest("a", (28, 28))
    assert coarsest("b", (28, 28)) == (7, 7)
    with pytest.raises(SeedbedError, match="unknown net 'c'"):
        coarsest("c", (32, 32))
