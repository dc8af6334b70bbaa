"""The evidence lower bound of a data set that has one latent (``models.one_latent``)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from seedbed.core.context import Context
from seedbed.core.terms import Terms
from seedbed.data.gaussian_sets import Statistics


@runtime_checkable
class WeighsSets(Protocol):
    """A model of data sets of ``count`` examples that weighs draws of their latent."""

    count: int

    def log_weights(self, data: Statistics, ctx: Context, samples: int) -> Float[Tensor, "samples"]:
        """log p(D, z) - log q(z | D), ``[samples]``."""
        ...


def of_batch(batch: Mapping[str, Float[Tensor, "1 d"]], count: int) -> Statistics:
    """The data set of a batch of one.

    Args:
        batch: ``mean`` and ``scatter``, ``[1, d]`` each; of a minibatch, scaled to all N (see ``statistics_of``).
        count: N.
    """
    return Statistics(count, batch["mean"][0], batch["scatter"][0])


@dataclass(frozen=True)
class BoundOfSet:
    """1/N E_q[log p(D, z) - log q(z | D)], by the mean over draws: nats per example.

    Args:
        draws: of z.
    """

    draws: int

    def __call__(self, model: WeighsSets, batch: Mapping[str, Float[Tensor, "1 d"]], ctx: Context) -> Terms:
        """``value`` is ``[1]``; the part ``elbo`` is the same."""
        log_w = model.log_weights(of_batch(batch, model.count), ctx, self.draws)
        value = log_w.mean(0, keepdim=True) / model.count
        return Terms(value, {"elbo": value})
