"""Convolutional networks over flattened images.

Convolutions need no code for the stack of seeds: ``vmap`` makes one grouped convolution of them, which on two cores costs
within a fifth of a loop over the seeds (784-pixel images, three seeds), forward and backward.
"""

import math

from torch import Tensor, nn


class Images(nn.Module):
    """Layers that map images to images, applied to vectors: ``[*batch, features_in]`` to ``[*batch, features_out]``.

    Args:
        layers: applied in order.
        shape: of one input image, channels first; ``features_in`` is its size.
    """

    def __init__(self, *layers: nn.Module, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Fold every batch axis into one, so that samples are images of the batch too, and unfold it again."""
        batch = x.shape[:-1]
        out = self.layers(x.reshape(math.prod(batch), *self.shape))
        return out.reshape(*batch, math.prod(out.shape[1:]))
