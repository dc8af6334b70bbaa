"""Normalisation without hidden state."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.Module):
    """(x - mean) / std over the batch axis, then scale and shift (Ioffe & Szegedy 2015, arXiv 1502.03167).

    There are no running statistics: a batch is always normalised by itself, in evaluation too. That keeps the layer a pure
    function of its input under ``vmap``, at the price that examples of one batch see each other.

    Args:
        features: size of the last axis.
    """

    couples_examples = True

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        """``[*batch, features]``; with several batch axes they are pooled."""
        flat = x.reshape(-1, x.shape[-1])
        out = F.batch_norm(flat, None, None, self.weight, self.bias, training=True)
        return out.reshape(x.shape)


class LayerNorm(nn.Module):
    """(x - mean) / std over the features of each example, then scale and shift (Ba et al. 2016, arXiv 1607.06450).

    Examples do not see each other, and there is nothing to remember.

    Args:
        features: size of the last axis.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        """``[*batch, features]``."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)
