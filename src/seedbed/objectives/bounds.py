"""Lower bounds on log p(x) of latent-variable models, per example, in nats.

Every utility here records the bound that it estimates under the bound's name, also where it optimises something else.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.proposal import Proposal
from seedbed.core.terms import Terms
from seedbed.objectives.pathwise import pathwise_log_weights

Bound = Callable[[LatentVariable, Tensor, Context], Terms]
GRADIENTS = ("standard", "dreg", "stl")


def elbo(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
    """log p(x, z) - log q(z | x) at one z ~ q: the evidence lower bound without any closed form.

    Kingma & Welling 2014 (arXiv 1312.6114), eq. 6. Parts: ``elbo``, ``log_likelihood``, ``kl`` (one-sample estimate).

    Raises:
        SeedbedError: in training, if no gradient goes through a latent's draw (bits; see ``objectives.bits``).
    """
    proposal = differentiable(model.proposal(x, ctx), ctx, "elbo")
    log_likelihood = proposal.log_likelihood
    return _bound(log_likelihood, {f"kl_{name}": -layer.log_ratio() for name, layer in proposal.layers.items()})


def elbo_kl(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
    """log p(x | z) - sum_l KL(q(z_l | z_>l, x) || p(z_l | z_>l)) at one z ~ q, each KL in closed form.

    Kingma & Welling 2014 (arXiv 1312.6114), eq. 7: equal to ``elbo`` in expectation, with less noise. A KL that has no
    closed form (``core.law.kl``), or none at the other latents (``Layer.closed_kl``: all but the top layer's of a bottom-up
    posterior), is sampled. Parts: ``elbo``, ``log_likelihood``, ``kl``, and with several layers ``kl_<layer>``.

    Raises:
        SeedbedError: in training, if no gradient goes through a latent's draw (bits; see ``objectives.bits``).
    """
    proposal = differentiable(model.proposal(x, ctx), ctx, "elbo_kl")
    kls = {}
    for name, layer in proposal.layers.items():
        closed = layer.kl()
        kls[f"kl_{name}"] = -layer.log_ratio() if closed is None else closed
    return _bound(proposal.log_likelihood, kls)


def differentiable(proposal: Proposal, ctx: Context, bound: str) -> Proposal:
    """The proposal, if gradients may take the path of its draws.

    Raises:
        SeedbedError: in training, where they cannot and no other way is named.
    """
    if ctx.training and ctx.through == "path" and proposal.fixed:
        raise SeedbedError(
            f"{bound} takes its gradient along the draws of z, and none goes through those of {', '.join(proposal.fixed)}; "
            "name another way: elbo_of_bits('zgr'), 'st', 'reinforce_loo' or 'enumerate'"
        )
    return proposal


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
        gradient: how the gradient is estimated, one of these names; no value recorded depends on it, but for the masks of
            dropout: ``stl`` and ``dreg`` pass through the generative model a second time.

    Raises:
        SeedbedError: if k is below 1, or for an unknown estimator; in training, if no gradient goes through a latent's draw,
            or the posterior cannot score another z where the estimator needs it.
    """
    if k < 1:
        raise SeedbedError(f"iwae needs k of at least 1 importance sample per example, got k = {k}")
    if gradient not in GRADIENTS:
        raise unknown("gradient estimator", gradient, GRADIENTS)

    def bound(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
        proposal = differentiable(model.proposal(x, ctx, k), ctx, "iwae")
        if gradient == "standard":
            log_w = proposal.log_w
            value = log_w.logsumexp(0) - math.log(k)
        else:
            log_w, zero = pathwise_log_weights(model, proposal, ctx, gradient)
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

    def bound(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
        terms = utility(model, x, ctx)
        return _penalised(terms.parts, weight * _penalty(terms.parts))

    return coupling(bound) if declares_coupling(utility) else bound


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

    def bound(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
        parts = utility(model, x, ctx).parts
        _penalty(parts)
        if "penalty" in parts:
            raise SeedbedError("free bits take the KL itself; write beta(free_bits(utility, nats), weight), not the reverse")
        layers = [part for name, part in parts.items() if name.startswith("kl_")] or [parts["kl"]]
        charged = reduce(operator.add, (kl.mean(0).clamp(min=nats) for kl in layers))
        return _penalised(parts, charged.expand_as(parts["kl"]))

    return coupling(bound)


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

    def initial_state(self, model: LatentVariable, batch: Shaped[Tensor, "batch *example"]) -> Mapping[str, Tensor]:
        """No update done."""
        return {"updates": torch.zeros(())}

    @property
    def couples_examples(self) -> bool:
        """Whether its utility does."""
        return declares_coupling(self.utility)

    def __call__(self, model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
        """One update further."""
        done = ctx.state["updates"] + 1
        ctx.state["updates"] = done
        weight = (done / max(self.updates, 1)).clamp(max=1.0)
        parts = self.utility(model, x, ctx).parts
        value = parts["log_likelihood"] - weight * _penalty(parts)
        return Terms(value, {**parts, "kl_weight": weight})


def warm_up(utility: Bound, updates: int) -> WarmUp:
    """``utility`` (``elbo``, ``elbo_kl``, or ``beta`` or ``free_bits`` of them) with a KL weight that rises to 1."""
    return WarmUp(utility, updates)


def declares_coupling(utility: object) -> bool:
    """Whether a utility declares that what one example is worth depends on the others of its batch."""
    return bool(getattr(utility, "couples_examples", False))


def coupling(bound: Bound) -> Bound:
    """The bound, declared to couple examples."""
    vars(bound).update(couples_examples=True)  # a function's declaration, read by `declares_coupling`
    return bound


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


def _bound(log_likelihood: Tensor, kls: dict[str, Tensor]) -> Terms:
    kl = reduce(operator.add, kls.values())
    value = log_likelihood - kl
    each = kls if len(kls) > 1 else {}
    return Terms(value, {"elbo": value, "log_likelihood": log_likelihood, "kl": kl, **each})
