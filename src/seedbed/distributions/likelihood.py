"""Likelihoods: how the numbers that a network returns become a distribution over data."""

from collections.abc import Callable
from dataclasses import dataclass

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.law import Distribution
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.normal import DiagonalNormal


@dataclass(frozen=True)
class Likelihood:
    """A family p(x | parameters) that a decoder can end in.

    Args:
        domain: what the family scores.
        parameters: network outputs per feature.
        build: from raw outputs ``[*batch, parameters * features]`` (or ``[*batch, parameters * channels, height, width]``
            with ``rank=3``) to the distribution.
    """

    domain: Domain
    parameters: int
    build: Callable[..., Distribution]


GAUSSIAN = Likelihood(REAL, 2, DiagonalNormal.from_raw)
BERNOULLI = Likelihood(BINARY, 1, Bernoulli)
