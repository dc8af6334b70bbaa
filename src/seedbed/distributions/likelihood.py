"""Likelihoods: how the numbers that a network returns become a distribution over data."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, get_args, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor

from seedbed.core.domain import BINARY, REAL, SCORES, Domain, Family
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.law import Distribution
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions import starts
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.categorical import Categorical
from seedbed.distributions.dequantised import DequantisedNormal
from seedbed.distributions.grey import GreyBernoulli
from seedbed.distributions.logistic import DiscretisedLogistic, centred
from seedbed.distributions.logistic_mixture import LogisticMixture, outputs_of_mixture
from seedbed.distributions.normal import DiagonalNormal
from seedbed.distributions.scale import LEARNED, Scale


@runtime_checkable
class ObservationModel(Distribution, Protocol):
    """What p(x | z) offers beyond what every law does."""

    @property
    def domain(self) -> Domain:
        """What it scores: masses of bits and levels, or a density of real values."""
        ...

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """E[x], ``[*batch, *event]``."""
        ...

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """The likeliest x, ``[*batch, *event]``."""
        ...

    def tempered(self, temperature: float) -> "ObservationModel":
        """The law of draws whose noise is multiplied by a temperature above 0: sharper below 1, the mode's in the limit.

        Scales are multiplied and logits divided; 1 leaves the law as it is.
        """
        ...


def _as_it_is(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    return x


@dataclass(frozen=True)
class Likelihood:
    """A family p(x | parameters) that a decoder can end in.

    Args:
        domain: what the family scores.
        parameters: network outputs per number of an example, where channels do not share some.
        build: from raw outputs ``[*batch, *self.outputs(shape)]`` and the axes of an example to the distribution; a family
            with a scale also takes that.
        shown: what an encoder is shown of x: of levels the interval [-1, 1] that they stand for.
        scale: where the family's scale comes from.
        shaped: what a network returns for an example of a shape, where that is not so many parameters of each number.
        deviation: of a law of scale 1.
        start: raw outputs for an example from the mean and deviation of each number (as it is shown); ``None`` of bits.
    """

    domain: Domain
    parameters: int
    build: Callable[..., Distribution]
    shown: Callable[[Tensor], Tensor] = _as_it_is
    scale: Scale = LEARNED
    shaped: Callable[[Shape], tuple[int, ...]] | None = None
    start: Callable[[Tensor, Tensor], Tensor] | None = None
    deviation: float = 1.0

    def outputs(self, shape: Shape) -> tuple[int, ...]:
        """What a network returns for an example of ``shape``: all parameters of a channel (or feature) on the first axis.

        Raises:
            SeedbedError: for pictures that the family is not of.
        """
        if self.shaped is not None:
            return self.shaped(shape)
        first, *rest = axes_of(shape)
        return self.parameters * first, *rest


def gaussian(scale: Scale = LEARNED) -> Likelihood:
    """Of real values: a Gaussian of each."""
    build = partial(DiagonalNormal.from_raw, scale=scale)
    return Likelihood(REAL, scale.parameters, build, scale=scale, start=partial(starts.gaussian, scale))


GAUSSIAN = gaussian()
BERNOULLI = Likelihood(BINARY, 1, Bernoulli)


def logistic(levels: int, scale: Scale = LEARNED) -> Likelihood:
    """Of so many ordered levels: a logistic distribution's shares of them (``DiscretisedLogistic``)."""
    build = partial(DiscretisedLogistic.from_raw, levels, scale=scale)
    found = _of_levels(levels, scale.parameters, build, partial(starts.logistic, scale), scale=scale)
    return replace(found, deviation=starts.DEVIATION)


def logistic_mixture(levels: int, mixtures: int, scale: Scale = LEARNED) -> Likelihood:
    """Of so many ordered levels: mixtures of their shares, each of a whole pixel (``LogisticMixture``).

    Raises:
        SeedbedError: for a scale that is not a network's.
    """
    if scale.kind != "learned":
        raise SeedbedError(f"scales of a mixture are learned, one of each component, got {scale.kind}; leave that out")
    build = partial(LogisticMixture.from_raw, levels, mixtures, scale=scale)
    start = partial(starts.mixture, mixtures, scale)
    return _of_levels(levels, 3 * mixtures, build, start, scale=scale, shaped=partial(outputs_of_mixture, mixtures))


def categorical(levels: int) -> Likelihood:
    """Of so many levels, each of which has a share of its own (``Categorical``)."""
    return _of_levels(levels, levels, partial(Categorical.from_raw, levels), partial(starts.categorical, levels))


def dequantised(levels: int, scale: Scale = LEARNED) -> Likelihood:
    """Of so many ordered levels: a Gaussian's density of them with uniform noise (``DequantisedNormal``)."""

    def build(raw: Tensor, rank: int = 1, scale: Scale = scale) -> DequantisedNormal:
        return DequantisedNormal(levels, DiagonalNormal.from_raw(raw, rank, scale))

    return _of_levels(levels, scale.parameters, build, partial(starts.dequantised, levels, scale), scale=scale)


def grey_bernoulli(levels: int) -> Likelihood:
    """Of so many ordered levels: cross-entropy of them as shares of the highest, no better than a uniform code."""

    def build(raw: Tensor, rank: int = 1) -> GreyBernoulli:
        return GreyBernoulli(levels, raw, rank)

    return _of_levels(levels, 1, build, starts.grey)


def _of_levels(
    levels: int,
    parameters: int,
    build: Callable[..., Distribution],
    start: Callable[[Tensor, Tensor], Tensor],
    scale: Scale = LEARNED,
    shaped: Callable[[Shape], tuple[int, ...]] | None = None,
) -> Likelihood:
    shown = partial(centred, levels=levels)
    return Likelihood(Domain("levels", levels), parameters, build, shown, scale, shaped, start)


def likelihood_of(domain: Domain, family: str = "auto", *, mixtures: int = 10, scale: Scale = LEARNED) -> Likelihood:
    """The family that scores a domain: of bits Bernoulli, of real values Gaussian, of levels what is asked for.

    Args:
        domain: of the data.
        family: ``auto`` of levels is ``logistic``.
        mixtures: components of a mixture.
        scale: where the scale of a family that has one comes from.

    Raises:
        SeedbedError: if there is none, or for a family that does not score the domain.
    """
    if family not in get_args(Family):
        raise unknown("likelihood", family, get_args(Family))
    fitting = [name for name, kinds in SCORES.items() if domain.kind in kinds]
    if not fitting or (domain.kind == "levels" and domain.size is None):
        known = f"{REAL}, {BINARY}, levels of any number"
        raise SeedbedError(f"no likelihood scores {domain} data; there are {known}")
    if family not in ("auto", *fitting):
        raise SeedbedError(
            f"{family} scores {' or '.join(SCORES[family])} values, got {domain}; choose {' or '.join(fitting)}"
            + (", or say how many levels there are (levels=256)" if domain == REAL else "")
        )
    name, levels = fitting[0] if family == "auto" else family, domain.size or 0
    if name == "bernoulli":
        return BERNOULLI
    if name == "categorical":
        return categorical(levels)
    if name == "grey-bernoulli":
        return grey_bernoulli(levels)
    if name == "logistic-mixture":
        return logistic_mixture(levels, mixtures, scale)
    if name == "logistic":
        return logistic(levels, scale)
    return dequantised(levels, scale) if levels else gaussian(scale) if scale is not LEARNED else GAUSSIAN


def bits_per_dim(law: ObservationModel, value: Shaped[Tensor, "*value"]) -> Float[Tensor, "*batch"]:
    """-log2 P(x) / dims: what a number of an example costs in bits, ``[*batch]``.

    Args:
        law: of bits or levels.
        value: ``[*batch, *event]``.

    Raises:
        SeedbedError: of a density, whose logarithm depends on the units of x and is no cost of anything.
    """
    if law.domain == REAL:
        raise SeedbedError(
            "bits are of masses, and a Gaussian of real values is a density; have levels scored, by "
            "likelihood_of(Domain('levels', 256), 'gaussian') if by a Gaussian"
        )
    return bits_of(-law.log_prob(value), value.shape[value.ndim - law.rank :])


def bits_of(nats: Float[Tensor, "*shape"], example: Shape) -> Float[Tensor, "*shape"]:
    """Nats of an example of this shape as bits per number, nats / (dims log 2)."""
    return nats / (math.prod(axes_of(example)) * math.log(2))


def check_levels(x: Shaped[Tensor, "*values"], levels: int, name: str) -> None:
    """Refuse what are no levels: their logarithm would come out, of something else.

    Args:
        x: values of any shape.
        levels: L.
        name: whose they are, for the error.

    Raises:
        SeedbedError: for fractions, and for numbers below 0 or above L - 1.
    """
    wrong = (x != x.round()) | (x < 0) | (x > levels - 1)  # NaN is not what it rounds to
    if bool(wrong.any()):
        found = float(x[wrong][0])
        if 0 < found < 1:
            todo = f"multiply fractions by {levels - 1} and round"
        elif found > 0 and found.is_integer():
            todo = f"say levels={int(found) + 1}, or more"
        else:
            todo = "leave them out, or have real values scored by a Gaussian"
        raise SeedbedError(f"{name} expects whole numbers 0..{levels - 1}, got {found:g}; {todo}")
