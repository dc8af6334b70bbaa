"""Smooth convolutions of 28 x 28 images, of two studies of Hamiltonian posteriors (Caterini et al. 2018, arXiv 1805.11328).

Both go down by three 5x5 convolutions of stride 2 with 16, 32 and 32 channels, to 32 x 4 x 4, and softplus between. Padding
is the same on every side, where the paper's is wider below and to the right.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.errors import SeedbedError
from seedbed.core.shapes import Shape, axes_of
from seedbed.nets.conv import Conv2d, ConvTranspose2d, Images
from seedbed.nets.linear import Linear
from seedbed.nets.norm import LayerNorm

SIDE = 28
CODE = (32, 4, 4)
WIDTHS = (450, 512)


class ImageNorm(nn.Module):
    """``LayerNorm`` of images: over channels, height and width of each, then scale and shift of each channel.

    Args:
        channels: of an image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Float[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch channels height width"]:
        """``[*batch, channels, height, width]``."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-3:]), self.weight)


class Enlarged(nn.Module):
    """Images of another size, each pixel that of the nearest one.

    Args:
        side: their new height and width.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels side side"]:
        """``[batch, channels, height, width]`` to ``[batch, channels, side, side]``."""
        return F.interpolate(x, (self.side, self.side), mode="nearest")


def _normed(norm: bool, *layers: nn.Module) -> Iterator[nn.Module]:
    """The layers, of which normalisations only where they are wanted."""
    return (layer for layer in layers if norm or not isinstance(layer, ImageNorm | LayerNorm))


class StridedEncoder(nn.Module):
    """The convolutions, and an affine layer of 450 units.

    Args:
        shape: of an example, ``[1, 28, 28]``.
        outputs: numbers that it tells of one.
        norm: normalise what goes into every layer but the first, within each example; then, as in h-vae, there is no
            activation after the last convolution.

    Raises:
        SeedbedError: if an example is not that.
    """

    def __init__(self, shape: Shape, outputs: int, norm: bool = False) -> None:
        super().__init__()
        if axes_of(shape) != (1, SIDE, SIDE):
            raise SeedbedError(
                f"these convolutions are of grey images [1, {SIDE}, {SIDE}], got {list(axes_of(shape))}; use nets mlp"
            )
        self.shape_in, self.shape_out = axes_of(shape), (outputs,)
        down = [Conv2d(n, m, 5, stride=2, padding=2) for n, m in ((1, 16), (16, 32), (32, 32))]
        last = ImageNorm(32) if norm else nn.Softplus()
        between = (down[0], nn.Softplus(), ImageNorm(16), down[1], nn.Softplus(), ImageNorm(32), down[2], last)
        self.images = Images(*_normed(norm, *between))
        wide = WIDTHS[0]
        self.layers = nn.Sequential(*_normed(norm, Linear(512, wide), nn.Softplus(), LayerNorm(wide), Linear(wide, outputs)))

    def forward(self, x: Float[Tensor, "*batch 1 28 28"]) -> Float[Tensor, "*batch outputs"]:
        """``[*batch, 1, 28, 28]`` to ``[*batch, outputs]``."""
        return self.layers(self.images(x).flatten(-3))


class StridedDecoder(nn.Module):
    """Affine layers of 450 and 512 units, and convolutions that enlarge 32 x 4 x 4 to 7, 14 and 28 pixels a side.

    Without ``norm`` they are three transposed ones of stride 2 with 32, 16 and 1 channels, as in the paper; with it those of
    h-vae, 32, 16, 16 and 1, enlarged between by nearest neighbours. z itself is not normalised: it would lose its length.

    Args:
        latents: size of z.
        shape: of an image, ``[parameters, 28, 28]``.
        norm: normalise what goes into every layer between, within each example.
        start: where the output starts, of each channel, ``[parameters]``.
    """

    def __init__(
        self, latents: int, shape: tuple[int, ...], norm: bool = False, start: Float[Tensor, "parameters"] | None = None
    ) -> None:
        super().__init__()
        self.shape_in, self.shape_out = (latents,), shape
        out, (wide, wider) = shape[0], WIDTHS
        self.layers = nn.Sequential(
            *_normed(norm, Linear(latents, wide), nn.Softplus(), LayerNorm(wide), Linear(wide, wider), nn.Softplus())
        )
        self.images = Images(*(_enlarging(out) if norm else _transposed(out)))
        if start is not None:
            with torch.no_grad():
                self.images.layers[-1].get_parameter("bias").copy_(start)

    def forward(self, z: Float[Tensor, "*batch latents"]) -> Float[Tensor, "*batch parameters 28 28"]:
        """``[*batch, latents]`` to ``[*batch, parameters, 28, 28]``."""
        code = self.layers(z)
        return self.images(code.reshape(*code.shape[:-1], *CODE))


def _transposed(out: int) -> Iterator[nn.Module]:
    up = [(32, 32, 0), (32, 16, 1), (16, out, 1)]
    for n, m, more in up:
        yield ConvTranspose2d(n, m, 5, stride=2, padding=2, output_padding=more)
        if m != out:
            yield nn.Softplus()


def _enlarging(out: int) -> Iterator[nn.Module]:
    yield ImageNorm(32)
    for n, m, side in ((32, 32, 7), (32, 16, 14), (16, 16, 28)):
        yield from (Conv2d(n, m, 5, padding=2), Enlarged(side), nn.Softplus())
        if side < SIDE:
            yield ImageNorm(m)
    yield Conv2d(16, out, 5, padding=2)
