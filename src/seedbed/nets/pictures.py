"""Convolutional encoders and decoders of pictures: the nets A and B of the fourth source (vae-mdl).

An encoder is ``down`` and a head, a decoder a stem and ``up``. Between them lies a code: a vector, the same vector as a map
of one pixel, or a map as wide as the coarsest images. Heads to a vector and to a map of one pixel are the same affine map.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.shapes import size_of
from seedbed.nets.conv import Conv2d, ConvTranspose2d, Images
from seedbed.nets.mlp import MLP, Activation, activation_named

NetName = Literal["a", "b"]
Maps = Literal["none", "1x1", "coarse"]
End = Literal["stride-1", "stride-2", "patches"]
GATED = 64  # channels of a gated block


@dataclass(frozen=True)
class Geometry:
    """What the nets of one name make of pictures.

    Args:
        shrink: how many times smaller the coarsest images are.
        top: channels that the encoder ends in.
        bottom: channels that the decoder begins with.
    """

    shrink: int
    top: int
    bottom: int


GEOMETRY: dict[str, Geometry] = {"a": Geometry(8, 256, 128), "b": Geometry(4, GATED, GATED)}


def coarsest(net: str, size: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the coarsest images of pictures of a size.

    Raises:
        SeedbedError: for another net, or sides that cannot be halved often enough.
    """
    if net not in GEOMETRY:
        raise unknown("net", net, GEOMETRY)
    shrink = GEOMETRY[net].shrink
    if len(size) != 2 or any(side % shrink or not side for side in size):
        raise SeedbedError(
            f"net {net} halves pictures until they are {shrink} times smaller; expected sides that are multiples of "
            f"{shrink}, got {list(size)}"
        )
    return size[0] // shrink, size[1] // shrink


class Applied(nn.Module):
    """An activation by its name, as a layer.

    Args:
        name: of the activation.
    """

    def __init__(self, name: Activation) -> None:
        super().__init__()
        self.function: Callable[[Tensor], Tensor] = activation_named(name)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Of each number."""
        return self.function(x)


class Gated(nn.Module):
    """h = act(conv(x)), then act(a sigmoid(b)) with (a, b) = conv(h), both 3x3: net B's block, which has no skip.

    Args:
        channels: of x; of what comes out there are ``GATED``.
        activation: act.
    """

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.first = Conv2d(channels, GATED, 3, padding=1)
        self.gate = Conv2d(GATED, 2 * GATED, 3, padding=1)
        self.act = activation_named(activation)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch gated height width"]:
        """``[batch, channels, height, width]`` to ``[batch, 64, height, width]``."""
        a, b = self.gate(self.act(self.first(x))).chunk(2, 1)
        return self.act(a * torch.sigmoid(b))


def down(net: NetName, channels: int, activation: Activation = "relu") -> Images:
    """Pictures of so many channels to the coarsest images, ``[top, height / shrink, width / shrink]``."""
    act = lambda: Applied(activation)
    if net == "a":
        return Images(
            *(Conv2d(channels, 32, 3, padding=1), act()),
            *(Conv2d(32, 64, 3, 2, 1), act()),
            *(Conv2d(64, 128, 3, 2, 1), act()),
            *(Conv2d(128, 256, 3, 2, 1), act()),
        )
    return Images(
        *(Conv2d(channels, 128, 4, 2, 1), act()),
        *(Conv2d(128, 256, 4, 2, 1), act()),
        *(Conv2d(256, 256, 3, padding=1), act()),
        *(Gated(256 if i == 0 else GATED, activation) for i in range(5)),
    )


def up(net: NetName, channels: int, activation: Activation = "relu", end: End = "stride-1") -> Images:
    """The coarsest images of a decoder to pictures of so many channels (those of the raw outputs of a likelihood).

    Args:
        net: its name.
        channels: of what comes out.
        activation: between layers; the last is linear.
        end: ``stride-1``, a convolution at the pictures' own size, as the source's notes ask for. ``stride-2``, the
            transposed convolution of 4x4 that its model04 ends in: the four pixels of a 2x2 patch have weights of their
            own, and the whole patch is a linear map of 3x3 hidden pixels. ``patches``, one of 2x2: each patch is a
            linear map of one hidden pixel, and knows nothing of its neighbours.
    """
    act = lambda: Applied(activation)
    if net == "a":
        first, width = [ConvTranspose2d(128, 128, 4, 2, 1), act(), ConvTranspose2d(128, 64, 4, 2, 1), act()], (64, 32)
    else:
        gated = [Gated(256 if i == 0 else GATED, activation) for i in range(5)]
        first = [Conv2d(GATED, 256, 3, padding=1), act(), *gated, ConvTranspose2d(GATED, 128, 4, 2, 1), act()]
        width = (128, 64)
    if end == "stride-1":
        last = [ConvTranspose2d(*width, 4, 2, 1), act(), Conv2d(width[1], channels, 3, padding=1)]
    elif end == "stride-2":
        last = [ConvTranspose2d(width[0], channels, 4, 2, 1)]
    else:
        last = [ConvTranspose2d(width[0], channels, 2, 2)]
    return Images(*first, *last)


def code_shape(latents: int, maps: Maps, coarse: tuple[int, int]) -> tuple[int, ...]:
    """The shape of a code of so many numbers, or of so many channels where it is a map as wide as the coarsest images."""
    if maps == "coarse":
        return latents, *coarse
    return (latents, 1, 1) if maps == "1x1" else (latents,)


def doubled(code: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a mean and a raw log-scale of each number of a code, both on its first axis."""
    return 2 * code[0], *code[1:]


class Encoder(nn.Module):
    """Pictures to the raw parameters of a Gaussian of their code: ``down`` and an affine map, 1x1 where codes are maps.

    Args:
        net: its name.
        shape: of a picture.
        code: its shape.
        activation: between layers.
    """

    def __init__(self, net: NetName, shape: tuple[int, ...], code: tuple[int, ...], activation: Activation = "relu") -> None:
        super().__init__()
        coarse, top = coarsest(net, shape[1:]), GEOMETRY[net].top
        self.images = down(net, shape[0], activation)
        self.head = _between((top, *coarse), doubled(code))

    def forward(self, x: Float[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch_and_code"]:
        """``[*batch, *shape]`` to ``[*batch, *doubled(code)]``."""
        return self.head(self.images(x))


class Decoder(nn.Module):
    """A code to the raw outputs of a likelihood of pictures: an affine map, 1x1 where codes are maps, and ``up``.

    Args:
        net: its name.
        code: shape of a code.
        outputs: shape of what comes out, whose size is the pictures'.
        activation: between layers.
        end: of ``up``.
    """

    def __init__(
        self,
        net: NetName,
        code: tuple[int, ...],
        outputs: tuple[int, ...],
        activation: Activation = "relu",
        end: End = "stride-1",
    ) -> None:
        super().__init__()
        self.stem = _between(code, (GEOMETRY[net].bottom, *coarsest(net, outputs[1:])))
        self.act = activation_named(activation)
        self.images = up(net, outputs[0], activation, end)

    @property
    def last(self) -> Conv2d | ConvTranspose2d:
        """The layer whose bias every pixel of a channel shares."""
        layer = self.images.layers[-1]
        assert isinstance(layer, Conv2d | ConvTranspose2d)
        return layer

    def forward(self, z: Float[Tensor, "*batch_and_code"]) -> Float[Tensor, "*batch channels height width"]:
        """``[*batch, *code]`` to ``[*batch, *outputs]``."""
        return self.images(self.act(self.stem(z)))


def _between(start: tuple[int, ...], end: tuple[int, ...]) -> nn.Module:
    """An affine map from images to a code or back: of every position alone where both have the same, else of all of them."""
    if len(start) == len(end) == 3 and start[1:] == end[1:] and size_of(start[1:]) > 1:
        return Images(Conv2d(start[0], end[0], 1))
    return MLP(start, (), end)


def hidden_maps(start: int, widths: tuple[int, ...], end: int, activation: Activation = "relu") -> Images:
    """Maps of ``start`` channels to maps of ``end``, of one size: 3x3 convolutions with ``widths`` channels between."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [Conv2d(start, width, 3, padding=1), Applied(activation)]
        start = width
    return Images(*layers, Conv2d(start, end, 3, padding=1))
