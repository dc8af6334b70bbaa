"""Lower bounds on log p(x) of latent-variable models, per example, in nats.

Every utility here records the bound that it estimates under the bound's name, also where it optimises something else.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.noise import Noise
from seedbed.core.terms import State, Terms

Bound = Callable[[LatentVariable, Tensor, Noise, State], Terms]


def elbo(model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
    """log p(x, z) - log q(z | x) at one z ~ q: the evidence lower bound without any closed form.

    Kingma & Welling 2014 (arXiv 1312.6114), eq. 6. Parts: ``elbo``, ``log_likelihood``, ``kl`` (one-sample estimate).
    """
    z, layers, likelihood = model.posterior(x, noise)
    return _bound(likelihood.log_prob(x), {f"kl_{layer.name}": -_log_ratio(layer, z[layer.name]) for layer in layers})


def elbo_kl(model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
    """log p(x | z) - sum_l KL(q(z_l | z_>l, x) || p(z_l | z_>l)) at one z ~ q, each KL in closed form.

    Kingma & Welling 2014 (arXiv 1312.6114), eq. 7: equal to ``elbo`` in expectation, with less noise. Parts: ``elbo``,
    ``log_likelihood``, ``kl``, and with several layers ``kl_<layer>``.
    """
    _, layers, likelihood = model.posterior(x, noise)
    kls = {}
    for layer in layers:
        assert layer.posterior is not None, "a model given x must yield posteriors"
        kls[f"kl_{layer.name}"] = layer.posterior.kl(layer.prior)
    return _bound(likelihood.log_prob(x), kls)


def log_weights(model: LatentVariable, x: Tensor, noise: Noise, samples: int) -> Tensor:
    """log p(x, z_k) - log q(z_k | x) for ``samples`` independent z_k ~ q(z | x), ``[samples, batch]``."""
    z, layers, likelihood = model.posterior(x, noise, samples)
    return likelihood.log_prob(x) + sum(_log_ratio(layer, z[layer.name]) for layer in layers)


def iwae(k: int) -> Bound:
    """log 1/k sum_k w_k, the importance-weighted bound: between the ELBO (k = 1) and log p(x).

    Burda et al. 2016 (arXiv 1509.00519), eq. 8. Parts: ``iw<k>``, and ``elbo``, the mean of log w_k.

    Args:
        k: importance samples per example.
    """

    def bound(model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
        log_w = log_weights(model, x, noise, k)
        value = log_w.logsumexp(0) - math.log(k)
        return Terms(value, {f"iw{k}": value, "elbo": log_w.mean(0)})

    return bound


@dataclass(frozen=True)
class WarmUp:
    """log p(x | z) - weight * KL with a weight that rises linearly over the first updates, then stays at 1.

    Soenderby et al. 2016 (arXiv 1602.02282), section 2.3. The parts hold the true bound and ``kl_weight``.

    Args:
        utility: ``elbo`` or ``elbo_kl``.
        updates: the weight is 1 / updates at the first update and 1 from this one on.
    """

    utility: Bound
    updates: int

    def initial_state(self, model: LatentVariable, batch: Tensor) -> State:
        """No update done."""
        return {"updates": torch.zeros(())}

    def __call__(self, model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
        """One update further."""
        done = state["updates"] + 1
        weight = (done / max(self.updates, 1)).clamp(max=1.0)
        parts = self.utility(model, x, noise, state).parts
        return Terms(parts["log_likelihood"] - weight * parts["kl"], {**parts, "kl_weight": weight}, {"updates": done})


def warm_up(utility: Bound, updates: int) -> WarmUp:
    """``utility`` (``elbo`` or ``elbo_kl``) with a KL weight that rises linearly from 1 / updates to 1."""
    return WarmUp(utility, updates)


def _log_ratio(layer: Layer, z: Tensor) -> Tensor:
    """log p(z | above) - log q(z | above, x)."""
    assert layer.posterior is not None, "a model given x must yield posteriors"
    return layer.prior.log_prob(z) - layer.posterior.log_prob(z)


def _bound(log_likelihood: Tensor, kls: dict[str, Tensor]) -> Terms:
    kl = reduce(operator.add, kls.values())
    value = log_likelihood - kl
    each = kls if len(kls) > 1 else {}
    return Terms(value, {"elbo": value, "log_likelihood": log_likelihood, "kl": kl, **each})
