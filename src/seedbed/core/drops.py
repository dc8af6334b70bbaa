"""Torch's dropouts and the attention that drops, answered from the ``dropout`` stream of a call (see ``core.draws``)."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.draws import Draws, Served

# Of the self-normalising dropout (Klambauer et al. 2017, arXiv 1706.02515): what a dropped unit is, -scale * alpha of SELU.
SATURATED = -1.7580993408473766


def _checked(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _result(x: Tensor, out: Tensor, inplace: bool) -> Tensor:
    return x.copy_(out) if inplace else out


def dropped(x: Float[Tensor, "*shape"], p: float, kept: Bool[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
    """x / (1 - p) of what is kept, 0 of the rest."""
    return x * kept.to(x.dtype) / max(1 - p, 1e-12)


def dropout(
    draws: Draws, input: Float[Tensor, "*shape"], p: float = 0.5, training: bool = True, inplace: bool = False
) -> Float[Tensor, "*shape"]:
    """``torch.nn.functional.dropout``."""
    _checked(p)
    if not training or p == 0:
        return input
    return _result(input, dropped(input, p, draws.kept(input.shape, p)), inplace)


def channel_dropout(
    draws: Draws, input: Float[Tensor, "*shape"], p: float = 0.5, training: bool = True, inplace: bool = False
) -> Float[Tensor, "*shape"]:
    """``torch.nn.functional.dropout1d`` to ``3d``: whole channels of ``[batch, channels, ...]``."""
    _checked(p)
    if not training or p == 0:
        return input
    kept = draws.kept((*input.shape[:2], *[1] * (input.ndim - 2)), p)
    return _result(input, dropped(input, p, kept), inplace)


def _channels_of(axes: int) -> Served:
    """Of an image of so many axes that may come without a batch axis."""

    def served(draws: Draws, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if input.ndim != axes + 1:
            return channel_dropout(draws, input, p, training, inplace)
        return _result(input, channel_dropout(draws, input[None], p, training)[0], inplace and training)

    return served


def _alpha(channels: bool) -> Served:
    """x' = a (x or, where dropped, the negative saturation of SELU) + b, which keeps mean 0 and variance 1."""

    def served(draws: Draws, input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
        _checked(p)
        if not training or p == 0:
            return input
        shape = (*input.shape[:2], *[1] * (input.ndim - 2)) if channels else input.shape
        a = ((1 - p) * (1 + p * SATURATED**2)) ** -0.5 if p < 1 else 0.0
        kept = draws.kept(shape, p)
        return _result(input, a * torch.where(kept, input, SATURATED) - a * p * SATURATED, inplace)

    return served


def attention(
    draws: Draws,
    query: Float[Tensor, "*batch targets features"],
    key: Float[Tensor, "*_ sources features"],
    value: Float[Tensor, "*_ sources out"],
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "*batch targets out"] | None:
    """softmax(Q K^T / sqrt(features) + mask) V, of which a share of the weights is dropped; 0 where all is masked.

    ``torch.nn.functional.scaled_dot_product_attention``, which is left to torch (``None``) where one seed drops nothing.
    """
    if dropout_p == 0 and not draws.mapped:
        return None
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        whole = attn_mask.dtype == torch.bool
        scores = torch.where(attn_mask, scores, -math.inf) if whole else scores + attn_mask.to(scores.dtype)
    if attn_mask is None:
        return dropout(draws, scores.softmax(-1), dropout_p) @ value
    blind = (scores == -math.inf).all(-1, keepdim=True)  # what may see nothing is 0, as torch has it, and so is its gradient
    weights = torch.where(blind, 0.0, torch.where(blind, 0.0, scores).softmax(-1))
    return dropout(draws, weights, dropout_p) @ value


SERVED: dict[Any, Served] = {
    F.dropout: dropout,
    torch.dropout: dropout,
    F.dropout1d: _channels_of(1),
    F.dropout2d: channel_dropout,
    F.dropout3d: _channels_of(3),
    F.alpha_dropout: _alpha(channels=False),
    F.feature_alpha_dropout: _alpha(channels=True),
    F.scaled_dot_product_attention: attention,
}
