"""Normalisation without hidden state."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.Module):
    """(x - mean) / std over the batch axis, then scale and shift (Ioffe & Szegedy 2015, arXiv 1502.03167).

    There are no running statistics: a batch is always normalised by itself, in evaluation too. That keeps the layer a pure
    function of its input under ``vmap``, at the price that examples of one batch see each other.

    Args:
        features: size of the last axis.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """``[*batch, features]``; with several batch axes they are pooled."""
        flat = x.reshape(-1, x.shape[-1])
        out = F.batch_norm(flat, None, None, self.weight, self.bias, training=True)
        return out.reshape(x.shape)
