"""What a distribution is: an event with a rank, a draw that brings its log-probability, and a registry of closed KLs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor

from seedbed.core.noise import Noise


class Drawn(NamedTuple):
    """A draw.

    Args:
        value: ``[samples, batch, *event]``, of the leading axes that there are.
        log_prob: its log-probability, in nats, evaluated when asked for: where a map was followed to get here there may be
            no other way to know it.
    """

    value: Tensor
    log_prob: Callable[[], Tensor]


@runtime_checkable
class Distribution(Protocol):
    """A distribution whose events keep their own shape; batch and sample axes lead."""

    @property
    def rank(self) -> int:
        """Axes of an event."""
        ...

    @property
    def reparameterised(self) -> bool:
        """Whether a draw is a differentiable function of the parameters, so that gradients go through it."""
        ...

    def log_prob(self, value: Shaped[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """Log-density or log-mass in nats, summed over the event's axes."""
        ...

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """One draw of each example, or ``samples`` of each, whose axis then leads.

        Args:
            noise: where it comes from.
            samples: how many of each example; parameters that carry as many already give one draw each.
            batch: examples, where the parameters have none of their own (a prior).
        """
        ...


def axes(
    shape: Sequence[int], rank: int, samples: int | None, batch: int | None
) -> tuple[tuple[int, ...], int | None, int | None]:
    """What a draw for parameters of ``shape`` is, ``(event, batch, samples)``.

    Parameters are ``[*event]`` (then the draw has the axes that are asked for), ``[batch, *event]``, or
    ``[samples, batch, *event]``, which are drawn from once each.

    Args:
        shape: of the parameters.
        rank: axes of an event.
        samples: asked for.
        batch: asked for.

    Raises:
        ValueError: if the parameters' own axes are not those that are asked for.
    """
    split = len(shape) - rank
    lead, event = tuple(shape[:split]), tuple(shape[split:])
    if len(lead) > 2:
        raise ValueError(f"expected parameters [samples, batch, *event] with {rank} event axes, got {list(shape)}")
    own_batch = lead[-1] if lead else batch
    own_samples = lead[0] if len(lead) == 2 else samples
    if (batch is not None and own_batch != batch) or (samples is not None and own_samples != samples):
        raise ValueError(
            f"asked for samples={samples}, batch={batch}; the parameters {list(shape)} have {list(lead)} of their own"
        )
    return event, own_batch, own_samples


def sum_event(values: Float[Tensor, "..."], rank: int) -> Float[Tensor, "*batch"]:
    """The sum over the last ``rank`` axes."""
    return values.sum(tuple(range(-rank, 0))) if rank else values


# KL(q || p) = sum of (terms + constant) over the components of an event.
_Terms = Callable[[Any, Any], tuple[Tensor, float]]
_CLOSED: dict[tuple[type, type], _Terms] = {}


def closed_kl(q: type, p: type) -> Callable[[_Terms], _Terms]:
    """Register the closed form of KL(q || p): a function of both that gives ``(terms [*batch, *event], constant)``."""

    def register(terms: _Terms) -> _Terms:
        _CLOSED[q, p] = terms
        return terms

    return register


def kl(q: Distribution, p: Distribution) -> Float[Tensor, "*batch"] | None:
    """KL(q || p) in nats, ``[*batch]``; ``None`` where no closed form is registered: then it is sampled."""
    closed = _CLOSED.get((type(q), type(p)))
    if closed is None:
        return None
    terms, constant = closed(q, p)
    return sum_event(terms, q.rank) + constant * terms.shape[terms.ndim - q.rank :].numel()


def moved_kl(
    q: Distribution,
    p: Distribution,
    start: Float[Tensor, "*batch size"],
    end: Float[Tensor, "*batch size"],
    more: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"] | None:
    """KL(q || p) + log p(start) - log p(end) + more, in nats, ``[*batch]``: of a posterior that moves a draw of q elsewhere.

    On average that is log q(start) - log p(end) + more, with less noise where the draw does not move far. ``None`` where
    KL(q || p) has no closed form.

    Args:
        q: where a draw starts.
        p: the prior.
        start: the draw, a vector, ``[*batch, size]``.
        end: where it ends, of the same shape.
        more: what the way adds, ``[*batch]``: less its log-Jacobian, and what else was drawn on it.
    """
    closed = kl(q, p)
    return None if closed is None else closed + p.log_prob(start) - p.log_prob(end) + more


def kl_per_unit(q: Distribution, p: Distribution) -> Float[Tensor, "..."] | None:
    """The summands of ``kl``, one per component, ``[*batch, *event]``."""
    closed = _CLOSED.get((type(q), type(p)))
    if closed is None:
        return None
    terms, constant = closed(q, p)
    return terms + constant
