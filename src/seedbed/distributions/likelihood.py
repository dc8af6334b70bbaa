"""Likelihoods: how the numbers that a network returns become a distribution over data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.logistic import DiscretisedLogistic, centred
from seedbed.distributions.normal import DiagonalNormal


def _as_it_is(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    return x


@dataclass(frozen=True)
class Likelihood:
    """A family p(x | parameters) that a decoder can end in.

    Args:
        domain: what the family scores.
        parameters: network outputs per number of an example.
        build: from raw outputs ``[*batch, *self.outputs(shape)]`` and the axes of an example to the distribution.
        shown: what an encoder is shown of x: of levels the interval [-1, 1] that they stand for.
    """

    domain: Domain
    parameters: int
    build: Callable[[Tensor, int], Distribution]
    shown: Callable[[Tensor], Tensor] = _as_it_is

    def outputs(self, shape: Shape) -> tuple[int, ...]:
        """What a network returns for an example of ``shape``: all parameters of a channel (or feature) on the first axis."""
        first, *rest = axes_of(shape)
        return self.parameters * first, *rest


GAUSSIAN = Likelihood(REAL, 2, DiagonalNormal.from_raw)
BERNOULLI = Likelihood(BINARY, 1, Bernoulli)
LIKELIHOODS = (GAUSSIAN, BERNOULLI)


def logistic(levels: int) -> Likelihood:
    """Of so many ordered levels: a logistic distribution's shares of them (``DiscretisedLogistic``)."""
    build = partial(DiscretisedLogistic.from_raw, levels)
    return Likelihood(Domain("levels", levels), 2, build, partial(centred, levels=levels))


def likelihood_of(domain: Domain) -> Likelihood:
    """The family that scores a domain.

    Raises:
        SeedbedError: if there is none.
    """
    if domain.kind == "levels" and domain.size is not None:
        return logistic(domain.size)
    for likelihood in LIKELIHOODS:
        if likelihood.domain == domain:
            return likelihood
    known = ", ".join([*(str(e.domain) for e in LIKELIHOODS), "levels of any number"])
    raise SeedbedError(f"no likelihood scores {domain} data; there are {known}")
