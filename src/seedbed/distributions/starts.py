"""Where a decoder's outputs may start: at raw parameters of a law with the data's moments.

Moments are those of each number as an encoder is shown it, levels on [-1, 1] (see ``logistic.centred``).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.distributions.logistic import log_shares
from seedbed.distributions.scale import Scale

DEVIATION = math.pi / math.sqrt(3)  # of a logistic distribution of scale 1


def gaussian(scale: Scale, mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]) -> Float[Tensor, "*raw"]:
    """A mean, and where it is learned a scale, one after the other on the first axis."""
    return torch.cat([mean, scale.raw(std)]) if scale.kind == "learned" else mean


def dequantised(
    levels: int, scale: Scale, mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]
) -> Float[Tensor, "*raw"]:
    """The same of y = 2 (x + 1 / 2) / L - 1, whose ends lie half a level within [-1, 1]."""
    return gaussian(scale, mean * ((levels - 1) / levels), std * ((levels - 1) / levels))


def logistic(scale: Scale, mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]) -> Float[Tensor, "*raw"]:
    """The same of a logistic distribution, whose deviation is pi / sqrt(3) scales."""
    return gaussian(scale, mean, std / DEVIATION)


def mixture(
    mixtures: int, scale: Scale, mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]
) -> Float[Tensor, "*raw"]:
    """Equal components at quantiles of a logistic distribution, half of the variance among them and half in each."""
    picture = mean.ndim > 1
    q = torch.logit((torch.arange(mixtures, dtype=mean.dtype) + 0.5) / mixtures)
    among = 0.5 if mixtures > 1 else 0.0
    if mixtures > 1:
        q = q * (among / q.square().mean()).sqrt()
    pixels = mean.shape[1:] if picture else mean.shape
    mean, std = (moment.reshape(-1, 1, *pixels) for moment in (mean, std))  # [channels, 1, *pixels]
    location = mean + std * q.view(-1, *[1] * len(pixels))
    raw = scale.raw(std * math.sqrt(1 - among) / DEVIATION).expand_as(location)
    rows = [location, raw, *([torch.zeros_like(location)] if len(location) == 3 else [])]
    found = torch.cat([torch.zeros_like(location[0]), torch.cat(rows, 1).flatten(0, 1)])
    return found if picture else found.flatten()


def categorical(levels: int, mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]) -> Float[Tensor, "*raw"]:
    """The logarithms of a logistic distribution's shares."""
    x = torch.arange(levels, dtype=mean.dtype).view(-1, *[1] * mean.ndim)
    return log_shares(x, mean, (std / DEVIATION).log(), levels).flatten(0, 1)


def grey(mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]) -> Float[Tensor, "*raw"]:
    """The logits of the mean on [0, 1], which is kept within [0.001, 0.999]."""
    return torch.logit((mean + 1) / 2, 1e-3)
