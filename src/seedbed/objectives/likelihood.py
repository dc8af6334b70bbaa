"""Exact likelihood."""

from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.capabilities import HasLogProb
from seedbed.core.context import Context
from seedbed.core.terms import Terms


def log_likelihood(model: HasLogProb, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
    """log p(x) per example, in nats. Parts: ``log_likelihood``."""
    value = model.log_prob(x, ctx)
    return Terms(value, {"log_likelihood": value})
