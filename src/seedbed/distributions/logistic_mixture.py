"""Ordered levels of pictures: mixtures of discretised logistics, in which the channels of a pixel depend on each other."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Drawn, axes, sum_event
from seedbed.core.noise import Noise
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions.categorical import category
from seedbed.distributions.logistic import centred, likeliest, log_shares, mean_level, nearest
from seedbed.distributions.numeric import above_zero, full
from seedbed.distributions.scale import LEARNED, Scale


def channels_of(shape: Shape) -> int:
    """Channels of an example: numbers of a vector stand alone.

    Raises:
        SeedbedError: for pictures that are neither grey nor of three colours.
    """
    first, *rest = axes_of(shape)
    channels = first if rest else 1
    if channels not in (1, 3):
        raise SeedbedError(
            f"a mixture of logistics is of vectors, or pictures of 1 or 3 channels, got {channels}; choose logistic"
        )
    return channels


def outputs_of_mixture(mixtures: int, shape: Shape) -> tuple[int, ...]:
    """What a network returns for an example of ``shape``: 10 K numbers per pixel of three channels, 3 K per other number.

    Raises:
        SeedbedError: for pictures that are neither grey nor of three colours.
    """
    first, *rest = axes_of(shape)
    channels = channels_of(shape)
    return (10 if channels == 3 else 3) * mixtures * (1 if rest else first), *rest


class LogisticMixture:
    """Pixels, each of which has one of K components for all of its channels.

        log P(x) = sum_pixels logsumexp_k [log pi_k + sum_c log P(x_c | mu_kc, s_kc)],

    each P a discretised logistic's share (``logistic.DiscretisedLogistic``), and with x on [-1, 1] the locations of three
    channels are mu_R = m_R, mu_G = m_G + c_0 x_R and mu_B = m_B + c_1 x_R + c_2 x_G, so that the channels of a component
    need not be independent. A number of a vector is a pixel of one channel.

    Salimans et al. 2017 (arXiv 1701.05517), section 2. They draw the next channel given the draw of the last before it was
    rounded to a level, which are not draws of this mass; here it is given the level.

    Args:
        levels: L.
        logits: log pi up to a constant, ``[*batch, K, *pixels]``; ``pixels`` are the event's axes without channels.
        location: m, ``[*batch, channels, K, *pixels]``.
        log_scale: log s, of the same shape.
        coefficients: c, ``[*batch, 3, K, *pixels]``; ``None`` of one channel.
        rank: axes of an event.
    """

    reparameterised = False

    def __init__(
        self,
        levels: int,
        logits: Float[Tensor, "*mixed"],
        location: Float[Tensor, "*channels"],
        log_scale: Float[Tensor, "*channels"],
        coefficients: Float[Tensor, "*channels"] | None = None,
        rank: int = 3,
    ) -> None:
        self.levels, self.rank = levels, rank
        self.logits, self.location, self.log_scale = full(logits), full(location), full(log_scale)
        self.coefficients = None if coefficients is None else full(coefficients)
        # Negative, so that batch and samples may lead: of channels, then of components, then of pixels.
        self._pixels = max(rank - 1, 1)
        self._component, self._channel = -self._pixels - 1, -self._pixels - 2

    @classmethod
    def from_raw(
        cls, levels: int, mixtures: int, raw: Float[Tensor, "*raw"], rank: int = 3, scale: Scale = LEARNED
    ) -> "LogisticMixture":
        """Read ``[*batch, *outputs_of_mixture(mixtures, shape)]``.

        In the order of the paper's own code: K logits, then of each channel K locations, K raw log-scales and, of three
        channels, K raw coefficients, whose tanh are c_0, c_1 and c_2.

        Args:
            levels: L.
            mixtures: K.
            raw: whose first event axis (features, or channels) holds all.
            rank: axes of an event.
            scale: what the scales stay above.
        """
        pixels = 1 if rank == 1 else rank - 1
        raw = full(raw)
        if rank == 1:
            raw = raw.unflatten(-1, (3 * mixtures, -1))
        axis = -pixels - 1
        channels = 3 if raw.shape[axis] == 10 * mixtures else 1
        if raw.shape[axis] != mixtures * (10 if channels == 3 else 3):
            raise SeedbedError(
                f"a mixture of {mixtures} logistics reads {10 * mixtures} numbers per pixel of three channels, "
                f"{3 * mixtures} of one; got {raw.shape[axis]}"
            )
        logits, rest = raw.split([mixtures, raw.shape[axis] - mixtures], axis)
        rows = rest.unflatten(axis, (channels, -1)).unflatten(axis, (-1, mixtures)).unbind(axis - 1)
        coefficients = torch.tanh(rows[2]) if channels == 3 else None
        return cls(levels, logits, rows[0], scale.bounded(rows[1]), coefficients, rank)

    @property
    def domain(self) -> Domain:
        """So many levels."""
        return Domain("levels", self.levels)

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """E[x] in levels, ``[*batch, *event]``: exact of the first channel, of the others at the means of those before them.

        That differs from E[x] only by what a component's tails lose beyond the lowest and highest level.
        """
        weights = self.logits.softmax(self._component)
        each = self._descend(lambda location, log_scale: mean_level(location, log_scale, self.levels))
        return self._event([(weights * x).sum(self._component, keepdim=True) for x in each])

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """The likeliest levels of one component, channel by channel: of that which gives them most mass.

        ``[*batch, *event]``. Mass that several components share is not added up.
        """
        each = self._descend(lambda location, log_scale: likeliest(location, log_scale, self.levels))
        which = self._joint(each).argmax(self._component, keepdim=True)
        return self._event([self._chosen(x, which) for x in each])

    def tempered(self, temperature: float) -> "LogisticMixture":
        """The law of draws whose noise is multiplied by it: logits are divided, every s is multiplied."""
        log_scale = self.log_scale + math.log(above_zero(temperature))
        logits = self.logits / above_zero(temperature)
        return LogisticMixture(self.levels, logits, self.location, log_scale, self.coefficients, self.rank)

    def log_prob(self, value: Float[Tensor, "*value"]) -> Float[Tensor, "*batch"]:
        """log P(x) in nats, ``[*batch]``."""
        x = full(value).unsqueeze(-2) if self.rank == 1 else full(value)
        # Where x has its channels, parameters have their components.
        each = [channel.unsqueeze(self._component) for channel in x.unbind(self._component)]
        return sum_event(self._joint(each).logsumexp(self._component), self._pixels)

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """A component, then channel by channel the level nearest to mu + s logit(u), ``[samples, batch, *event]``."""
        shape = self.logits.shape
        lead, pixels = shape[: len(shape) - self._pixels - 1], shape[len(shape) - self._pixels :]
        _, batch, samples = axes((*lead, *pixels), self._pixels, samples, batch)
        v = noise.uniform(pixels, batch=batch, samples=samples)
        which = category(self.logits.softmax(self._component), v.unsqueeze(self._component), self._component)
        u = noise.uniform((self.location.shape[self._channel], *pixels), batch=batch, samples=samples)
        logistic = iter(torch.logit(u).unsqueeze(self._component).unbind(self._channel))

        def level(location: Tensor, log_scale: Tensor) -> Tensor:
            m, s = (self._chosen(each, which) for each in (location, log_scale.exp()))
            return nearest(m + s * next(logistic), self.levels)

        value = self._event(self._descend(level))
        return Drawn(value, lambda: self.log_prob(value))

    def _descend(self, level: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        """Channel by channel a level for its location, which depends on those before, and its log-scale."""
        found: list[Tensor] = []
        for c, log_scale in enumerate(self.log_scale.unbind(self._channel)):
            found.append(level(self._location(c, found), log_scale))
        return found

    def _location(self, c: int, before: Sequence[Tensor]) -> Tensor:
        """mu of a channel, given levels of those before it."""
        location = self.location.select(self._channel, c)
        if self.coefficients is None:
            return location
        c0, c1, c2 = self.coefficients.unbind(self._channel)
        for coefficient, x in zip(((), (c0,), (c1, c2))[c], before, strict=False):
            location = location + coefficient * centred(x, self.levels)
        return location

    def _joint(self, each: Sequence[Tensor]) -> Tensor:
        """log P(x, k) of every pixel, of levels channel by channel, in nats, ``[*batch, K, *pixels]``."""
        total = self.logits.log_softmax(self._component)
        for c, log_scale in enumerate(self.log_scale.unbind(self._channel)):
            total = total + log_shares(each[c], self._location(c, each), log_scale, self.levels)
        return total

    def _chosen(self, values: Tensor, which: Tensor) -> Tensor:
        """Of the chosen component, whose axis stays."""
        components = torch.arange(values.shape[self._component], device=values.device)
        mine = which == components.view(-1, *[1] * self._pixels)
        return torch.where(mine, values, 0.0).sum(self._component, keepdim=True)

    def _event(self, each: Sequence[Tensor]) -> Tensor:
        """Channels, ``[*batch, 1, *pixels]`` each, as an event."""
        return each[0].squeeze(-2) if self.rank == 1 else torch.cat(list(each), self._component)
