"""Ordered levels as if they had no order: a share for each."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seedbed.core.domain import Domain
from seedbed.core.law import Drawn, axes, sum_event
from seedbed.core.noise import Noise
from seedbed.distributions.numeric import above_zero, full


def category(shares: Float[Tensor, "*shape"], u: Float[Tensor, "*#draws"], axis: int) -> Int[Tensor, "*draws"]:
    """Which of the shares along an axis a uniform u falls in; the axis stays, of size 1."""
    return (shares.cumsum(axis) <= u).sum(axis, keepdim=True).clamp(max=shares.shape[axis] - 1)


class Categorical:
    """Independent levels x = 0..L-1, P(x) = exp(l_x) / sum_k exp(l_k).

    As the pixels of van den Oord et al. 2016 (arXiv 1601.06759), section 3.3.

    Args:
        logits: l, ``[*batch, L, *event]``.
        rank: axes of an event, L's not among them.
    """

    reparameterised = False

    def __init__(self, logits: Float[Tensor, "*logits"], rank: int = 1) -> None:
        self.logits, self.rank = full(logits), rank
        self.levels = self.logits.shape[-rank - 1]

    @classmethod
    def from_raw(cls, levels: int, raw: Float[Tensor, "*raw"], rank: int = 1) -> "Categorical":
        """Read ``[*batch, L * features, ...]``: for the first level the logits of all features (or channels), and so on.

        Args:
            levels: L.
            raw: whose first event axis holds all.
            rank: axes of an event.
        """
        return cls(raw.unflatten(-rank, (levels, -1)), rank)

    @property
    def domain(self) -> Domain:
        """So many levels."""
        return Domain("levels", self.levels)

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """sum_k k P(k), ``[*batch, *event]``."""
        return (self.logits.softmax(self._axis) * self._each).sum(self._axis)

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """The likeliest level, ``[*batch, *event]``."""
        return self.logits.argmax(self._axis).to(self.logits.dtype)

    def tempered(self, temperature: float) -> "Categorical":
        """The law whose masses are raised to 1 / temperature: Gumbel noise that is multiplied by it."""
        return Categorical(self.logits / above_zero(temperature), self.rank)

    def log_prob(self, value: Float[Tensor, "*value"]) -> Float[Tensor, "*batch"]:
        """sum_d log P(x_d) in nats, ``[*batch]``."""
        # Looked up by comparison: an index that a stack of seeds shares would have to be copied for each of them.
        mine = full(value).unsqueeze(self._axis) == self._each
        log_shares = torch.where(mine, self.logits, 0.0).sum(self._axis) - self.logits.logsumexp(self._axis)
        return sum_event(log_shares, self.rank)

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """Levels, through which no gradient goes, ``[samples, batch, *event]``."""
        shape = self.logits.shape
        at = len(shape) - self.rank
        event, batch, samples = axes((*shape[: at - 1], *shape[at:]), self.rank, samples, batch)
        u = noise.uniform(event, batch=batch, samples=samples).unsqueeze(self._axis)
        value = category(self.logits.softmax(self._axis), u, self._axis).squeeze(self._axis).to(self.logits.dtype)
        return Drawn(value, lambda: self.log_prob(value))

    @property
    def _axis(self) -> int:
        """Of the levels."""
        return -self.rank - 1

    @property
    def _each(self) -> Tensor:
        """All levels, along their axis."""
        return torch.arange(self.levels, device=self.logits.device, dtype=self.logits.dtype).view(-1, *[1] * self.rank)
