"""The small classifier whose inner layer pictures are compared in."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

SIZE = 64  # features


class Seen(NamedTuple):
    """What a classifier makes of pictures: standardised ``features [n, 64]`` and ``logits [n, classes + 1]``."""

    features: Float[Tensor, "n features"]
    logits: Float[Tensor, "n classes"]


class PictureNet(nn.Module):
    """Six convolutions, the mean over places, a layer of features, and logits; the last class is *none of these*.

    The features are those before their rectifier, standardised by the training pictures' moments: near to Gaussian, as the
    Frechet distance takes them to be.

    Args:
        channels: 1 or 3.
        classes: of the data, without the last.
        width: channels of the first convolution.
    """

    def __init__(self, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        widths = [channels, width, width, 2 * width, 2 * width, 3 * width, 3 * width]
        strides = (1, 2, 1, 2, 1, 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.embed = nn.Linear(widths[-1], SIZE)
        self.head = nn.Linear(SIZE, classes + 1)
        self.location: Tensor
        self.scale: Tensor
        self.register_buffer("location", torch.zeros(SIZE))
        self.register_buffer("scale", torch.ones(SIZE))

    def forward(self, x: Float[Tensor, "n channels height width"]) -> Seen:
        """Features and logits of pictures in [0, 1]."""
        h = 2 * x - 1
        for layer in self.layers:
            h = torch.relu(layer(h))
        embedded = self.embed(h.mean((2, 3)))
        return Seen((embedded - self.location) / self.scale, self.head(torch.relu(embedded)))
