"""The evidence lower bound of models with binary latents: by which way its gradient goes through a bit is named."""

from dataclasses import replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context, Through
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.functorch import follows
from seedbed.core.proposal import Latents, Proposal
from seedbed.core.terms import Terms
from seedbed.objectives.bounds import Bound, WarmUp, coupling, declares_coupling, elbo_kl

WAYS = ("zgr", "st", "reinforce_loo", "enumerate")

MOST_BITS = 16  # 65,536 settings of each example


def elbo_of_bits(way: str, samples: int = 4, utility: Bound = elbo_kl) -> Bound:
    """E_q[log p(x, z) - log q(z | x)] with bits among the latents, which have no gradient of their own.

    - ``zgr``, ``st``: ``utility`` at one draw, whose bits carry a surrogate gradient (``Bernoulli.surrogate``). Biased, of
      little noise.
    - ``reinforce_loo``: the mean over ``samples`` draws z_k of f_k = log p(x, z_k) - log q(z_k | x), with the gradient
      d f_k + (f_k - mean of the other f) d log q(z_k | x). Unbiased (Williams 1992; Kool et al. 2019, "Buy 4 REINFORCE
      samples, get a baseline for free"). Reparameterised layers are treated alike.
    - ``enumerate``: sum_z q(z | x) f(z) over all settings of all bits. Exact, for models of few bits.

    Args:
        way: one of these names.
        samples: draws of each example, at least 2, for ``reinforce_loo``.
        utility: ``elbo`` or ``elbo_kl`` for the surrogates, or ``beta`` or ``free_bits`` of them.

    Raises:
        SeedbedError: for an unknown way, too few samples or a warm-up; when called, for bits without a surrogate, more
            bits than can be enumerated, latents that are not bits, or draws that ``reinforce_loo`` finds to be no constants.
    """
    if way not in WAYS:
        raise unknown("way through bits", way, WAYS)
    if way == "reinforce_loo" and samples < 2:
        raise SeedbedError(f"reinforce_loo compares each draw with the others and needs at least 2 samples, got {samples}")

    if isinstance(utility, WarmUp):
        raise SeedbedError(f"warm_up goes outermost: warm_up(elbo_of_bits({way!r}), updates), not the reverse")

    through: Through = "zgr" if way == "zgr" else "st"

    def surrogate(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
        return utility(model, x, replace(ctx, through=through))

    def reinforce(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
        proposal = model.proposal(x, replace(ctx, through="constant"), samples)
        if moving := [name for name, value in proposal.z.items() if follows(value)]:
            raise SeedbedError(
                f"reinforce_loo scores draws that are constants, and a gradient goes through {moving[0]} of "
                f"{type(model).__name__}; let its `proposal` draw by `core.capabilities.drawn`, or take elbo"
            )
        log_w, log_q = proposal.log_w, proposal.log_q
        reward = log_w.detach()
        others = (reward.sum(0) - reward) / (samples - 1)
        score = ((reward - others) * (log_q - log_q.detach())).mean(0)
        value = log_w.mean(0)
        return Terms(value + score, {"elbo": value})

    def enumerated(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
        proposal = model.proposal(x, replace(ctx, through="constant"))
        z = _settings(proposal, type(model).__name__)
        assert proposal.log_q_at is not None, "asked for by _settings"
        log_q = proposal.log_q_at(z)
        _, layers, likelihood = model.descend(ctx, lambda layer: z[layer.name])
        log_prior = torch.stack([layer.prior.log_prob(z[layer.name]) for layer in layers]).sum(0)
        q = log_q.exp()
        log_likelihood, kl = (q * likelihood.log_prob(x)).sum(0), (q * (log_q - log_prior)).sum(0)
        return Terms(log_likelihood - kl, {"elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl})

    if way in ("reinforce_loo", "enumerate"):
        return {"reinforce_loo": reinforce, "enumerate": enumerated}[way]
    return coupling(surrogate) if declares_coupling(utility) else surrogate


def _settings(proposal: Proposal, model: str) -> Latents:
    """Every setting of every bit, ``[settings, batch, *latent]`` each."""
    if real := [name for name, layer in proposal.layers.items() if layer.real or name not in proposal.fixed]:
        raise SeedbedError(f"enumerate sums over bits, and {real[0]} of {model} is no bit; use 'reinforce_loo'")
    if proposal.log_q_at is None:
        raise SeedbedError(f"enumerate needs log q(z | x) at a given z, which {model} does not have; use 'reinforce_loo'")
    sizes = {name: value[0].numel() for name, value in proposal.z.items()}
    bits = sum(sizes.values())
    if bits > MOST_BITS:
        raise SeedbedError(f"enumerate sums over 2^bits settings, at most {MOST_BITS} bits; {model} has {bits}: use 'zgr'")
    like = next(iter(proposal.z.values()))
    numbers = torch.arange(2**bits, device=like.device)
    every = (numbers[:, None] >> torch.arange(bits, device=like.device) & 1).to(like.dtype)
    parts = every.split(list(sizes.values()), 1)
    return {
        name: part.reshape(-1, 1, *value.shape[1:]).expand(-1, len(proposal.x), *value.shape[1:])
        for part, (name, value) in zip(parts, proposal.z.items(), strict=True)
    }
