"""Convolutional networks, aware of the stack of seeds."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.products import per_seed


class Conv2d(nn.Conv2d):
    """``torch.nn.Conv2d`` with a bias (same parameters, same initialisation), fast under ``vmap`` over seeds."""

    def forward(self, input: Float[Tensor, "batch in height width"]) -> Float[Tensor, "batch out height_out width_out"]:
        """``[batch, in, height, width]`` to ``[batch, out, height', width']``."""
        assert self.bias is not None, "made with one"
        return per_seed(self._conv_forward, input, self.weight, self.bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d`` with a bias (same parameters, same initialisation), fast under ``vmap`` over seeds."""

    def forward(
        self, input: Float[Tensor, "batch in height width"], output_size: None = None
    ) -> Float[Tensor, "batch out height_out width_out"]:
        """``[batch, in, height, width]`` to ``[batch, out, height', width']``; the size follows from the settings."""
        assert self.bias is not None, "made with one"
        return per_seed(self._transpose, input, self.weight, self.bias)

    def _transpose(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        settings = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, weight, bias, *settings)  # pyright: ignore[reportArgumentType] - padding is no string


class Images(nn.Module):
    """Layers that map images to images, of any batch axes: ``[*batch, channels, height, width]`` to such images.

    Args:
        layers: applied in order.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(
        self, x: Float[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels_out height_out width_out"]:
        """Fold every batch axis into one, so that samples are images of the batch too, and unfold it again."""
        batch = x.shape[:-3]
        out = self.layers(x.reshape(math.prod(batch), *x.shape[-3:]))
        return out.reshape(*batch, *out.shape[1:])


class DenseNet(nn.Module):
    """Images to images of the same size, each layer reading all before it (Huang et al. 2017, arXiv 1608.06993).

    1x1 to ``width``; h = h + gate(dense(h)) with ``depth`` layers of 1x1, ReLU, 3x3 to ``growth``, ReLU, concatenated to
    what they read, and gate(d) = a + b sigmoid(c) of a 1x1; 1x1 to ``outputs``, all zero before training. As
    in the couplings of Nielsen et al. 2020 (arXiv 2007.02731). The first layer has a bias per position, so that the net
    knows where it is.

    Args:
        inputs: channels.
        outputs: channels.
        size: height and width.
        width: channels of h.
        depth: layers that are concatenated.
        growth: channels that each of them adds.
    """

    def __init__(
        self, inputs: int, outputs: int, size: tuple[int, int], width: int = 64, depth: int = 8, growth: int = 16
    ) -> None:
        super().__init__()
        self.first = Conv2d(inputs, width, 1)
        self.place = nn.Parameter(torch.zeros(width, *size))
        widths = [width + i * growth for i in range(depth)]
        self.mixes = nn.ModuleList(Conv2d(n, n, 1) for n in widths)
        self.grows = nn.ModuleList(Conv2d(n, growth, 3, padding=1) for n in widths)
        self.gate = Conv2d(width + depth * growth, 3 * width, 1)
        self.last = Conv2d(width, outputs, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs height width"]:
        """``[batch, inputs, height, width]`` to ``[batch, outputs, height, width]``."""
        h = self.first(x)
        h = h + self.place.to(h.dtype)
        dense = h
        for mix, grow in zip(self.mixes, self.grows, strict=True):
            dense = torch.cat([dense, torch.relu(grow(torch.relu(mix(dense))))], 1)
        a, b, c = self.gate(dense).chunk(3, 1)
        return self.last(h + a + b * torch.sigmoid(c))
