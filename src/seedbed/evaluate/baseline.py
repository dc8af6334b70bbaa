"""The simplest models of a data set: where a decoder may start, and what a trained model must beat."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.data.dataset import Dataset
from seedbed.data.source import Source
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.likelihood import Likelihood, check_levels
from seedbed.distributions.logistic import DiscretisedLogistic, centred
from seedbed.distributions.normal import DiagonalNormal
from seedbed.distributions.numeric import LOG_SCALE_BOUND
from seedbed.distributions.scale import NEAR


def baseline(data: Dataset) -> float | None:
    """Validation loss in nats of the likelihood with what ``training_output`` says; ``None`` of tokens."""
    if data.units is not None:
        loss = baseline(data.standardised)
        return None if loss is None else loss + float(data.units.log_volume(data.shape))
    found = _simplest(data)
    return None if found is None else found[1]


def training_output(data: Dataset) -> Float[Tensor, "*output"]:
    """Raw outputs of the likelihood under which components are independent, with the training data's moments.

    Raises:
        SeedbedError: for a domain that no likelihood scores.
    """
    found = _simplest(data)
    if found is None:
        raise SeedbedError(f"{data.name} is {data.domain} data, which no likelihood scores; set --output-bias none")
    return found[0]


def start_of(data: Dataset, likelihood: Likelihood) -> tuple[Float[Tensor, "*output"], Likelihood]:
    """Raw outputs of any family at the training data's moments, and the family with a shared scale that starts there too.

    Raises:
        SeedbedError: for values that are no levels, where the data say that they are.
    """
    if likelihood.start is None:
        return training_output(data), likelihood
    mean, variance = moments(data)
    typical = float(variance.mean().sqrt()) / likelihood.deviation
    least = max(typical, 1e-3, 1.01 * likelihood.scale.least)
    shared = likelihood.scale.kind == "shared"
    started = replace(likelihood, scale=replace(likelihood.scale, start=least)) if shared else likelihood
    return likelihood.start(mean, variance.sqrt()).float(), started


def moments(data: Dataset) -> tuple[Float[Tensor, "*example"], Float[Tensor, "*example"]]:
    """Mean and variance of each number of the training data, in fp64; of levels on [-1, 1], and a level's width wider:

    a pixel that never changed in training can then change.

    Raises:
        SeedbedError: for values that are no levels, where the data say that they are.
    """
    train, levels = data.splits["train"], data.domain.size

    def shown(x: Tensor) -> Tensor:
        if levels is None:
            return x
        check_levels(x, levels, data.name)
        return centred(x, levels)

    mean = _sum(train, shown) / len(train)
    variance = _sum(train, lambda x: (shown(x) - mean).square()) / len(train)
    return mean, variance if levels is None else variance + (2 / (levels - 1)) ** 2


def _simplest(data: Dataset) -> tuple[Tensor, float] | None:
    """Of one data set it is asked for by every seed, and takes a pass over the data."""
    if data.domain.kind not in _FACTORISED:
        return None
    make = _FACTORISED[data.domain.kind]
    return data.once("simplest model", lambda: make(data))


def factorised_bernoulli(data: Dataset) -> tuple[Float[Tensor, "*example"], float]:
    """Logits of the training means, each counted with half a 0 and half a 1 more, and their validation loss in nats.

    The loss is that of the best model whose pixels are independent, so a model worth training is below it.
    """
    train, valid = data.splits["train"], data.splits["valid"]
    logits = torch.logit((_sum(train) + 0.5) / (len(train) + 1))
    # The loss is linear in x, so its mean is the loss of the mean.
    return logits.float(), -float(Bernoulli(logits, len(data.shape)).log_prob(_sum(valid) / len(valid)))


def factorised_normal(data: Dataset) -> tuple[Float[Tensor, "*output"], float]:
    """Raw means and log-deviations of the training data, one after the other, and their validation loss in nats.

    Deviations are those that a network can return: its log-scale is within +-7 by a soft clamp, which is undone here.
    """
    valid = data.splits["valid"]
    mean, variance = moments(data)
    log_scale = variance.sqrt().log().clamp(-NEAR * LOG_SCALE_BOUND, NEAR * LOG_SCALE_BOUND)
    law = DiagonalNormal(mean, log_scale, len(data.shape))
    loss = sum(-float(law.log_prob(piece.double()).sum()) for piece in valid.pieces()) / len(valid)
    raw = LOG_SCALE_BOUND * torch.atanh(log_scale / LOG_SCALE_BOUND)
    return torch.cat([mean, raw]).float(), loss


def factorised_logistic(data: Dataset) -> tuple[Float[Tensor, "*output"], float]:
    """Raw means and log-scales of discretised logistics with the training data's moments, and their validation loss in nats.

    A logistic distribution of variance v has the scale sqrt(3 v) / pi.

    Raises:
        SeedbedError: for values that are no levels.
    """
    levels = data.domain.size
    assert levels is not None, "levels have a number"
    valid = data.splits["valid"]
    mean, variance = moments(data)
    log_scale = (3 * variance).sqrt().div(math.pi).log()
    law = DiscretisedLogistic(levels, mean, log_scale, len(data.shape))
    loss = sum(-float(law.log_prob(piece.double()).sum()) for piece in valid.pieces()) / len(valid)
    return torch.cat([mean, _unclamped(log_scale)]).float(), loss


_FACTORISED = {"binary": factorised_bernoulli, "real": factorised_normal, "levels": factorised_logistic}


def _unclamped(log_scale: Tensor) -> Tensor:
    """What the soft clamp of a network's log-scale makes this of."""
    return torch.atanh(log_scale / LOG_SCALE_BOUND) * LOG_SCALE_BOUND


def _sum(source: Source, of: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """Over examples, in fp64: exact of bits and of 256 levels, in whatever pieces."""
    return sum((of(piece.double()).sum(0) for piece in source.pieces()), torch.zeros(()))
