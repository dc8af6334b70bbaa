"""Annealed importance sampling: a second opinion on a likelihood, whose error does not depend on how good q(z | x) is."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.metric import (
    AIS_ACCEPTED,
    AIS_ERROR,
    AIS_MINUS_IS,
    AIS_MINUS_IS_ERROR,
    ESS,
    NLL_AIS,
    NLL_SAMPLED,
)
from seedbed.core.noise import BLOCK, EvalNoise
from seedbed.core.stack import Stack
from seedbed.data.source import Source
from seedbed.distributions.leapfrog import leapfrog
from seedbed.evaluate.likelihood import (
    LARGE,
    TILE,
    Progress,
    check_request,
    check_values,
    importance_sampling,
    monte_carlo_error,
)
from seedbed.evaluate.memory import GIB, peak_bytes
from seedbed.evaluate.needs import cannot, need_latents, traits

ACCEPTED = 0.65  # share of proposals for which Hamiltonian trajectories cost least (Beskos et al. 2013, arXiv 1001.4460)
PILOTS = 4  # chains of the pilot run, on a quarter of the temperatures: it costs what one chain costs
STEEP = 4.0  # of the sigmoid from which the temperatures are taken


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """How to anneal.

    Args:
        chains: independent runs per example; its error comes from their spread.
        temperatures: steps from the start to the posterior.
        leapfrogs: gradient steps of one Hamiltonian trajectory, of which there is one per temperature.
        start: the distribution at temperature 0: ``prior`` p(z) owes nothing to q, ``posterior`` q(z | x) is nearer.
    """

    chains: int = 16
    temperatures: int = 1000
    leapfrogs: int = 10
    start: Literal["prior", "posterior"] = "prior"

    def __post_init__(self) -> None:
        for name, least in (("chains", 2), ("temperatures", 1), ("leapfrogs", 1)):
            if getattr(self, name) < least:
                raise SeedbedError(f"{name} must be at least {least}, got {getattr(self, name)}")


def annealed_importance_sampling(
    stack: Stack,
    x: Tensor | Source,
    address: str,
    how: Annealing,
    *,
    memory_gib: float = 4.0,
    progress: Progress | None = None,
) -> dict[str, tuple[Tensor, str]]:
    """-log p(x) ~= -log 1/C sum_c w_c over C chains, log w = sum_t (b_t - b_{t-1}) (log p(x, z_{t-1}) - log f_0(z_{t-1})).

    z_0 ~ f_0 (the prior or q), and z_t comes from z_{t-1} by one Hamiltonian transition that leaves
    f_0^(1 - b_t) p(x, z)^b_t invariant. E[w] = p(x) whatever the transitions' quality, so ``nll_ais_nats`` is an upper
    bound on the negative log-likelihood in expectation, as importance sampling is. Step sizes are tuned per example and
    temperature by a pilot run with draws of its own, then held: a rule that looks at the chains it steers biases them.

    Densities are fp32 (fp64 in an fp64 stack) even where the stack is bf16: rounded energies would bias the acceptance.
    Draws are keyed by example and chain.

    Args:
        stack: latent-variable models.
        x: a source, or ``[n, *example]``, in the domain that they score.
        address: names the draws, e.g. the split.
        how: chains, temperatures, trajectories.
        memory_gib: what this may take beside models and data.
        progress: called as examples are done.

    Returns:
        ``{metric: ([seeds, n], unit)}``: ``nll_ais_nats`` and the share of accepted proposals ``ais_accepted_share``.
        ``ais_error_nats``, ``[seeds, 1]``, is the standard error that the chains' spread gives the mean of ``nll_ais_nats``
        (delta method; the spread over examples has no part in it).

    Raises:
        SeedbedError: for a model without latents, or with latents that are not real numbers, for values outside of its
            domain, for a start that cannot be scored, or if one example does not fit.

    Neal 2001 (arXiv physics/9803008); for decoders Wu et al. 2017 (arXiv 1611.04273), whose temperatures these are.
    """
    model = need_latents(stack, "ais")
    check_request(x, how.chains)
    check_values(model, x)
    found = traits(stack, x)
    if not found.real:
        raise cannot(f"{type(model).__name__}, whose latents are not all real numbers,", "ais")
    if how.start == "posterior" and not found.scores:
        raise SeedbedError(
            f"the posterior of {type(model).__name__} cannot score a z that it did not draw, so ais cannot start from it; "
            "start from the prior"
        )
    stack = precise(stack)
    at_once = min(len(x), _examples_at_once(stack, x[:1].to(stack.device, stack.dtype), how, memory_gib))
    weights, accepted = [], []
    for first in range(0, len(x), at_once):
        part = x[first : first + at_once].to(stack.device, stack.dtype)

        def report(share: float, first: int = first, count: int = len(part)) -> None:
            if progress is not None:
                progress(first + int(share * count), len(x))

        log_w, rate = _Path(stack, part, address, first, how).weights(report)
        weights.append(log_w)
        accepted.append(rate)
    log_w = torch.cat(weights, 2)
    log_mean = log_w.logsumexp(1) - math.log(how.chains)
    relative = (log_w - log_mean.unsqueeze(1)).exp()
    error = (relative.var(1) / how.chains).sum(1, keepdim=True).sqrt() / len(x)
    return {
        NLL_AIS.name: (-log_mean, NLL_AIS.unit),
        AIS_ERROR.name: (error, AIS_ERROR.unit),
        AIS_ACCEPTED.name: (torch.cat(accepted, 1), AIS_ACCEPTED.unit),
    }


def second_opinion(
    stack: Stack,
    x: Tensor | Source,
    address: str,
    how: Annealing,
    samples: int = 5000,
    *,
    memory_gib: float = 4.0,
    progress: Progress | None = None,
) -> dict[str, tuple[Tensor, str]]:
    """Annealed and plain importance sampling on the same examples.

    Beside the former's metrics: ``ais_minus_is_nats``, the difference of the two negative log-likelihoods per example (below
    zero, importance sampling had missed mass), and ``ais_minus_is_error_nats``, ``[seeds, 1]``, the error of its mean that
    both estimators' draws give it.

    Args:
        stack: latent-variable models.
        x: a source, or ``[n, *example]``.
        address: names the draws.
        how: chains, temperatures, trajectories.
        samples: of the plain estimator.
        memory_gib: what this may take beside models and data.
        progress: called as examples are done.

    Raises:
        SeedbedError: as the two estimators do.
    """
    stack = precise(stack)
    plain = importance_sampling(stack, x, address, samples, ladder=(), memory_gib=memory_gib)
    found = annealed_importance_sampling(stack, x, address, how, memory_gib=memory_gib, progress=progress)
    errors = found[AIS_ERROR.name][0], monte_carlo_error(plain[ESS.name][0], samples)
    return {
        **found,
        AIS_MINUS_IS.name: (found[NLL_AIS.name][0] - plain[NLL_SAMPLED.name][0], AIS_MINUS_IS.unit),
        AIS_MINUS_IS_ERROR.name: (torch.hypot(*errors), AIS_MINUS_IS_ERROR.unit),
    }


def precise(stack: Stack) -> Stack:
    """The same models in full precision where they are of bf16: rounded energies say nothing."""
    return replace(stack, precision="fp32") if stack.precision == "bf16" else stack


class _Path:
    """The way from f_0 to p(x, z) for one chunk of examples and every seed, all latents side by side in one vector."""

    def __init__(self, stack: Stack, x: Tensor, address: str, first: int, how: Annealing) -> None:
        self.stack = stack
        self.x = x
        self.address = address
        self.first = first
        self.how = how
        self.shapes: dict[str, tuple[int, ...]] = {}

    def weights(self, report: Callable[[float], None]) -> tuple[Tensor, Tensor]:
        """log w, ``[seeds, chains, batch]`` in fp64, and the share of accepted proposals, ``[seeds, batch]``."""
        pilot = replace(self.how, chains=min(PILOTS, self.how.chains), temperatures=max(40, self.how.temperatures // 4))
        _, _, tuned = self._run(pilot, "pilot", None, lambda share: report(0.2 * share))
        log_w, rate, _ = self._run(self.how, "chains", tuned, lambda share: report(0.2 + 0.8 * share))
        report(1.0)
        return log_w, rate

    def _run(
        self, how: Annealing, name: str, steps: list[Tensor] | None, report: Callable[[float], None]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Every chain along every temperature; ``steps`` are log step sizes to keep to, or they are tuned on the way."""
        z, last = self.begin(how.chains, name), how.temperatures
        log_w = torch.zeros(z.shape[:-1], dtype=torch.float64, device=z.device)
        accepted = torch.zeros(z.shape[0], z.shape[2], dtype=torch.float64, device=z.device)
        log_step = torch.full_like(accepted, -0.25 * math.log(z.shape[-1]), dtype=z.dtype)
        used, before = [], 0.0
        for t in range(1, last + 1):
            b = _temperature(t, last)
            start, joint, slope = self.densities(z, b)
            log_w += (b - before) * (joint - start).double()
            before = b
            if t == last:
                break
            if steps is not None:
                log_step = steps[(t - 1) * len(steps) // (last - 1)]
            draws = self.stack.call(_draws, noise=self._noise(name, t), shared=(how.chains, *z.shape[2:]))
            z, probability = self._transition(z, b, (start, joint, slope), log_step, draws)
            rate = probability.mean(1)
            accepted += rate
            if steps is None:
                used.append(log_step)
                log_step = log_step + 0.1 * (rate - ACCEPTED)
            if t % 16 == 0:
                report(t / last)
        return log_w, accepted / max(1, last - 1), used or [log_step]

    def _noise(self, *address: int | str) -> EvalNoise:
        streams, x = self.stack.streams, self.x
        return EvalNoise(streams, "ais", self.address, *address, first=self.first, device=x.device, dtype=x.dtype)

    def begin(self, chains: int, name: str) -> Tensor:
        """z_0, ``[seeds, chains, batch, size of all latents]``."""
        with torch.no_grad():
            z = self.stack.call(_begin, noise=self._noise(name, 0), shared=(self.x, chains, self.how.start))
        self.shapes = {layer: tuple(value.shape[3:]) for layer, value in z.items()}
        return torch.cat([value.flatten(3) for value in z.values()], -1)

    def densities(self, z: Tensor, b: float) -> tuple[Tensor, Tensor, Tensor]:
        """log f_0(z), log p(x, z), and the slope of (1 - b) log f_0 + b log p(x, z) in z."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            start, joint = self.stack.call(
                _densities, z, noise=self._noise("densities"), shared=(self.x, self.shapes, self.how.start)
            )
            (slope,) = torch.autograd.grad((start + b * (joint - start)).sum(), z)
        return start.detach(), joint.detach(), slope

    def _transition(
        self,
        z: Tensor,
        b: float,
        here: tuple[Tensor, Tensor, Tensor],
        log_step: Tensor,
        draws: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """One Hamiltonian trajectory, accepted or not, and its probability (Neal 2011, arXiv 1206.1901)."""
        momentum, jitter, uniform = draws
        # A trajectory of one fixed length can be a whole period of some direction and lead back to where it began.
        step = (log_step.exp().unsqueeze(1) * (0.8 + 0.4 * jitter)).unsqueeze(-1)
        start, joint, _ = here
        energy = 0.5 * momentum.square().sum(-1) - (start + b * (joint - start))

        def force(z: Tensor) -> tuple[Tensor, ...]:
            start, joint, slope = self.densities(z, b)
            return slope, start, joint

        first = (here[2], *here[:2])
        moved, speed, (_, start, joint) = leapfrog(z, momentum, force, step, self.how.leapfrogs, first=first)
        ahead = 0.5 * speed.square().sum(-1) - (start + b * (joint - start))
        # A trajectory that left all numbers behind is not accepted.
        probability = (energy - ahead).clamp(max=0).exp().nan_to_num(nan=0.0)
        return torch.where((uniform < probability).unsqueeze(-1), moved, z), probability


def _temperature(t: int, last: int) -> float:
    """b_t, from 0 to 1 along a sigmoid: slowly where little evidence decides much, and at the end."""
    s = lambda share: 1 / (1 + math.exp(-STEEP * (2 * share - 1)))
    return (s(t / last) - s(0)) / (s(1) - s(0))


def _begin(model: LatentVariable, x: Tensor, chains: int, start: str, ctx: Context) -> Mapping[str, Tensor]:
    return model.proposal(x, ctx, chains).z if start == "posterior" else model.generate(len(x), ctx, chains)[0]


def _densities(
    model: LatentVariable, x: Tensor, shapes: Mapping[str, tuple[int, ...]], start: str, flat: Tensor, ctx: Context
) -> tuple[Tensor, Tensor]:
    parts = flat.split([math.prod(shape) for shape in shapes.values()], -1)
    z = {name: part.unflatten(-1, shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
    _, layers, likelihood = model.descend(ctx, lambda layer: z[layer.name])
    log_prior = torch.stack([layer.prior.log_prob(z[layer.name]) for layer in layers]).sum(0)
    joint = log_prior + likelihood.log_prob(x)
    if start == "prior":
        return log_prior, joint
    log_q_at = model.proposal(x, replace(ctx, through="centre")).log_q_at
    assert log_q_at is not None, "checked before"
    return log_q_at(z), joint


def _draws(model: LatentVariable, chains: int, batch: int, size: int, ctx: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Momenta, what a step size is varied by, and what a proposal's probability is held against."""
    momentum = ctx.noise.normal((size,), batch=batch, samples=chains)
    jitter, uniform = (ctx.noise.uniform((), batch=batch, samples=chains) for _ in range(2))
    return momentum, jitter, uniform


def _examples_at_once(stack: Stack, x: Tensor, how: Annealing, memory_gib: float) -> int:
    """How many examples' chains move together: as many as are fast, in whole blocks of draws, and fit."""

    def need(count: int) -> int:
        path = _Path(stack, x.repeat_interleave(count, 0), "", 0, how)
        return peak_bytes(lambda: path.densities(path.begin(how.chains, ""), 0.5))

    one, three = need(1), need(3)
    # Beside the densities: momenta, draws, proposals, of no more than the densities' own size.
    row, limit = max(three - one, 2) * 1.5 / 2, memory_gib * GIB
    if 1.5 * one > limit:
        raise SeedbedError(
            f"{how.chains} chains of one example need {1.5 * one / GIB:.3g} GiB, the limit is {limit / GIB:.3g}; "
            "ask for fewer chains or raise --memory-gib"
        )
    count = max(1, int(min(limit, TILE.get(stack.device.type, LARGE)) / row))
    return count - count % BLOCK if count > BLOCK else count
