"""Lower bounds on log p(x) of latent-variable models, per example, in nats.

Every utility here records the bound that it estimates under the bound's name, also where it optimises something else.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from seedbed.core.capabilities import LatentVariable, Layer, posterior_of
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.noise import Noise
from seedbed.core.terms import State, Terms
from seedbed.objectives.pathwise import pathwise_log_weights

Bound = Callable[[LatentVariable, Tensor, Noise, State], Terms]
GRADIENTS = ("standard", "dreg", "stl")


def elbo(model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
    """log p(x, z) - log q(z | x) at one z ~ q: the evidence lower bound without any closed form.

    Kingma & Welling 2014 (arXiv 1312.6114), eq. 6. Parts: ``elbo``, ``log_likelihood``, ``kl`` (one-sample estimate).
    """
    z, layers, likelihood = model.posterior(x, noise)
    return _bound(likelihood.log_prob(x), {f"kl_{layer.name}": -_log_ratio(layer, z[layer.name]) for layer in layers})


def elbo_kl(model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
    """log p(x | z) - sum_l KL(q(z_l | z_>l, x) || p(z_l | z_>l)) at one z ~ q, each KL in closed form.

    Kingma & Welling 2014 (arXiv 1312.6114), eq. 7: equal to ``elbo`` in expectation, with less noise. A KL that has no
    closed form at the other latents (``Layer.closed_kl``: all but the top layer's of a bottom-up posterior) is sampled.
    Parts: ``elbo``, ``log_likelihood``, ``kl``, and with several layers ``kl_<layer>``.
    """
    z, layers, likelihood = model.posterior(x, noise)
    kls = {}
    for layer in layers:
        kl = posterior_of(layer).kl(layer.prior) if layer.closed_kl else -_log_ratio(layer, z[layer.name])
        kls[f"kl_{layer.name}"] = kl
    return _bound(likelihood.log_prob(x), kls)


def log_weights(model: LatentVariable, x: Tensor, noise: Noise, samples: int) -> Tensor:
    """log p(x, z_k) - log q(z_k | x) for ``samples`` independent z_k ~ q(z | x), ``[samples, batch]``."""
    z, layers, likelihood = model.posterior(x, noise, samples)
    return likelihood.log_prob(x) + sum(_log_ratio(layer, z[layer.name]) for layer in layers)


def iwae(k: int, gradient: str = "standard") -> Bound:
    """log 1/k sum_k w_k, the importance-weighted bound: between the ELBO (k = 1) and log p(x).

    Burda et al. 2016 (arXiv 1509.00519), eq. 8. Parts: ``iw<k>``, and ``elbo``, the mean of log w_k. With v_j = w_j / sum w,
    the gradient is estimated, always of the same bound, by

    - ``standard``: sum_j v_j d log w_j, reparameterised. Unbiased.
    - ``stl``: the same without the score of q, d log q(z_j | x) at a fixed z_j ("sticking the landing", Roeder et al. 2017,
      arXiv 1703.09194, with its extension to k > 1). No noise at all at the exact posterior. Unbiased for k = 1. For k > 1
      the encoder's gradient has the bias E[sum_j v_j d log q(z_j | x)]: 0.67 of its length on the linear Gaussian model of
      ``tests/objectives/test_gradients.py`` at k = 2, where q is far off; 0 at the exact posterior.
    - ``dreg``: the score's expectation is turned into a path derivative as well, which leaves
      sum_j v_j^2 (d log w_j / d z_j) (d z_j) for the encoder (Tucker et al. 2018, arXiv 1810.04152, eq. 8). Unbiased;
      equal to ``stl`` for k = 1.

    The generative model's gradient is the standard one in all three.

    Args:
        k: importance samples per example.
        gradient: how the gradient is estimated, one of these names; no value recorded depends on it.

    Raises:
        SeedbedError: if k is below 1, or for an unknown estimator.
    """
    if k < 1:
        raise SeedbedError(f"iwae needs k of at least 1 importance sample per example, got k = {k}")
    if gradient not in GRADIENTS:
        raise unknown("gradient estimator", gradient, GRADIENTS)

    def bound(model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
        if gradient == "standard":
            log_w = log_weights(model, x, noise, k)
            value = log_w.logsumexp(0) - math.log(k)
        else:
            log_w, zero = pathwise_log_weights(model, x, noise, k, squared=gradient == "dreg")
            value = log_w.logsumexp(0) - math.log(k) + zero
        return Terms(value, {f"iw{k}": value, "elbo": log_w.mean(0)})

    return bound


def beta(utility: Bound, weight: float) -> Bound:
    """log p(x | z) - weight * KL (Higgins et al. 2017, the beta-VAE). The parts hold the true bound, and ``penalty``.

    Args:
        utility: ``elbo``, ``elbo_kl`` or ``free_bits`` of one of them.
        weight: on the KL, or on what ``free_bits`` makes of it.
    """
    _check_stateless(utility)

    def bound(model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
        terms = utility(model, x, noise, state)
        return _penalised(terms.parts, weight * _penalty(terms.parts))

    return bound


def free_bits(utility: Bound, nats: float) -> Bound:
    """log p(x | z) - sum_l max(nats, mean over the batch of KL_l), KL_l that of stochastic layer l.

    A layer's KL is free up to ``nats``, so that it is not driven to 0 early on. Kingma et al. 2016 (arXiv 1606.04934),
    appendix C.8, with one group per layer. Couples the examples of a batch: what one is charged depends on the others, so
    batches of another size have another value. The parts hold the true bound, and ``penalty``.

    Args:
        utility: ``elbo`` or ``elbo_kl``.
        nats: per layer.
    """
    _check_stateless(utility)

    def bound(model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
        parts = utility(model, x, noise, state).parts
        _penalty(parts)
        if "penalty" in parts:
            raise SeedbedError("free bits take the KL itself; write beta(free_bits(utility, nats), weight), not the reverse")
        layers = [part for name, part in parts.items() if name.startswith("kl_")] or [parts["kl"]]
        charged = reduce(operator.add, (kl.mean(0).clamp(min=nats) for kl in layers))
        return _penalised(parts, charged.expand_as(parts["kl"]))

    return bound


@dataclass(frozen=True)
class WarmUp:
    """log p(x | z) - weight * KL with a weight that rises linearly over the first updates, then stays at 1.

    Soenderby et al. 2016 (arXiv 1602.02282), section 2.3. The parts hold the true bound and ``kl_weight``.

    Args:
        utility: ``elbo``, ``elbo_kl``, or ``beta`` or ``free_bits`` of them, whose penalty then takes the KL's place.
        updates: the weight is 1 / updates at the first update and 1 from this one on.
    """

    utility: Bound
    updates: int

    def __post_init__(self) -> None:
        _check_stateless(self.utility)

    def initial_state(self, model: LatentVariable, batch: Tensor) -> State:
        """No update done."""
        return {"updates": torch.zeros(())}

    def __call__(self, model: LatentVariable, x: Tensor, noise: Noise, state: State) -> Terms:
        """One update further."""
        done = state["updates"] + 1
        weight = (done / max(self.updates, 1)).clamp(max=1.0)
        parts = self.utility(model, x, noise, state).parts
        value = parts["log_likelihood"] - weight * _penalty(parts)
        return Terms(value, {**parts, "kl_weight": weight}, {"updates": done})


def warm_up(utility: Bound, updates: int) -> WarmUp:
    """``utility`` (``elbo``, ``elbo_kl``, or ``beta`` or ``free_bits`` of them) with a KL weight that rises to 1."""
    return WarmUp(utility, updates)


def _check_stateless(utility: Bound) -> None:
    if isinstance(utility, WarmUp):
        raise SeedbedError("warm_up goes outermost: warm_up(beta(elbo_kl, 4.0), updates), not beta(warm_up(...), 4.0)")


def _penalty(parts: Mapping[str, Tensor]) -> Tensor:
    """What a utility subtracts from log p(x | z): the KL, or what stands in its place."""
    if "kl" not in parts:
        raise SeedbedError(f"beta, free_bits and warm_up weigh the KL of elbo or elbo_kl; this bound has {', '.join(parts)}")
    return parts.get("penalty", parts["kl"])


def _penalised(parts: Mapping[str, Tensor], penalty: Tensor) -> Terms:
    return Terms(parts["log_likelihood"] - penalty, {**parts, "penalty": penalty})


def _log_ratio(layer: Layer, z: Tensor) -> Tensor:
    """log p(z | above) - log q(z | above, x)."""
    return layer.prior.log_prob(z) - posterior_of(layer).log_prob(z)


def _bound(log_likelihood: Tensor, kls: dict[str, Tensor]) -> Terms:
    kl = reduce(operator.add, kls.values())
    value = log_likelihood - kl
    each = kls if len(kls) > 1 else {}
    return Terms(value, {"elbo": value, "log_likelihood": log_likelihood, "kl": kl, **each})
