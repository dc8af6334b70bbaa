"""Exact likelihood."""

from torch import Tensor

from seedbed.core.capabilities import HasLogProb
from seedbed.core.noise import Noise
from seedbed.core.terms import State, Terms


def log_likelihood(model: HasLogProb, x: Tensor, noise: Noise, state: State) -> Terms:
    """log p(x) per example, in nats. Parts: ``log_likelihood``."""
    value = model.log_prob(x)
    return Terms(value, {"log_likelihood": value})
