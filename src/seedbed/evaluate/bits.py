"""What bits tell of x, whether encoder and decoder mean the same bits, and the losses of the two players."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seedbed.core import metric as metrics
from seedbed.core.capabilities import LatentVariable, drawn
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution
from seedbed.core.noise import EvalNoise
from seedbed.core.proposal import Proposal
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.data.source import Source
from seedbed.evaluate.density import elbo_sample_loss
from seedbed.evaluate.estimate import per_example
from seedbed.evaluate.likelihood import check_values
from seedbed.evaluate.memory import GIB, peak_bytes
from seedbed.evaluate.needs import need_latents, traits
from seedbed.objectives.equilibrium import encoder_utility


def information(p: Tensor) -> Tensor:
    """``H(mean p) - mean H(p)`` in nats of each bit, ``[..., n, bits]`` to ``[..., bits]``: from 0 to log 2.

    The mutual information of a bit and of the example it is drawn for, with probability ``p``; that of all bits together is
    neither more than their sum nor less than the largest, where bits are independent given the example.
    """
    p = p.double()
    return (_entropy(p.mean(-2)) - _entropy(p).mean(-2)).clamp(min=0)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p) + torch.special.entr(1 - p)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL of bits of probability ``p`` from those of ``q``, in nats each."""
    p, q = p.double(), q.double().clamp(1e-12, 1 - 1e-12)
    return torch.special.xlogy(p, p / q) + torch.special.xlogy(1 - p, (1 - p) / (1 - q))


def bits_of(proposal: Proposal) -> dict[str, Tensor]:
    """Probabilities of the bits of each layer at a draw of those that came before, ``[batch, bits]``."""
    layers = {name: layer.mean for name, layer in proposal.layers.items() if not layer.real}
    return {name: mean.expand(proposal.z[name].shape).flatten(1) for name, mean in layers.items()}


@dataclass(frozen=True)
class BitsUse:
    """What was measured.

    Args:
        totals: ``{metric: ([seeds, n] or [seeds, 1], unit)}``.
        units: the same of every bit, named ``<metric>_<layer>_<index>``.
    """

    totals: dict[str, tuple[Tensor, str]]
    units: dict[str, tuple[Tensor, str]]


def bits_use(stack: Stack, x: "Tensor | Source", address: str, mixed: int = 1000, *, memory_gib: float = 4.0) -> BitsUse:
    """What the bits of every seed of a stack tell of the same examples, and whether q and p mean the same bits.

    ``information_<layer>_nats``, of each bit and added up, see ``information``; a bit is dead below 0.01 nats. A bit's
    probability is q's, given x and the bits that it was drawn after, which then count as what it is told: a second layer
    is alive where it repeats the first, also at the trivial equilibrium, which the rate tells. All added up are no less
    than the mutual information of x and z. ``fed`` is the same under the model itself: what the layers above tell of a bit
    that is drawn from p(z).

    ``marginals_kl_nats`` is the KL of every bit's mean probability under q from that under p, added up.
    ``aggregate_kl_nats`` is KL(q(z) || p(z)) of q(z) = E_x q(z | x), the average over ``mixed`` examples x_m in its place,

        E_m [log 1/M sum_j q(z_m | x_j) - log p(z_m)],  z_m ~ q(z | x_m).

    It is the rate less a lower bound of the mutual information of x and z that is never above log M (Hoffman and Johnson
    2016, "ELBO surgery"; van den Oord et al. 2018, arXiv 1807.03748), hence an upper bound in expectation: the KL of an
    average over some examples, and a KL is convex.

    Args:
        stack: models with bits among their latents.
        x: a source, or ``[n, *example]``.
        address: names the draws, e.g. the split.
        mixed: examples M that q is averaged over, evenly spread.
        memory_gib: what this may take beside models and data.

    Raises:
        SeedbedError: for a posterior that cannot score a z that it did not draw.
    """
    model = need_latents(stack, "bits")
    check_values(model, x)
    if not traits(stack, x).scores:
        raise SeedbedError(f"`bits` scores q(z | x) at other draws than its own, which {type(model).__name__} cannot")
    found = per_example(stack, _uses, x, f"{address} bits")
    q, p = ({name[2:]: v for name, v in found.items() if name[:2] == side} for side in ("q ", "p "))
    told, fed = ({name: information(v) for name, v in side.items()} for side in (q, p))
    marginals = [divergence(q[name].double().mean(1), p[name].double().mean(1)).sum(-1, keepdim=True) for name in q]
    totals = {
        metrics.INFORMATION.name: (_added(list(told.values())), metrics.INFORMATION.unit),
        metrics.MARGINALS.name: (torch.stack(marginals).sum(0), metrics.MARGINALS.unit),
        metrics.AGGREGATE.name: (_aggregate(stack, x, address, mixed, memory_gib), metrics.AGGREGATE.unit),
        metrics.RATE.name: (found["rate"], metrics.RATE.unit),
    }
    units = {}
    for name, value in told.items():
        dead = (value < metrics.DEAD_BELOW).double().sum(-1, keepdim=True)
        totals[f"information_{name}_nats"] = _added([value]), metrics.INFORMATION_OF_LAYER.unit
        totals[f"dead_bits_{name}"] = dead, metrics.DEAD_OF_LAYER.unit
        for index in range(value.shape[-1]):
            units[f"information_{name}_{index}_nats"] = value[:, index, None], metrics.INFORMATION_OF_UNIT.unit
            units[f"fed_{name}_{index}_nats"] = fed[name][:, index, None], metrics.FED_OF_UNIT.unit
    return BitsUse(totals, units)


def _uses(model: LatentVariable, x: Tensor, ctx: Context) -> dict[str, Tensor]:
    proposal = model.proposal(x, ctx)
    told = bits_of(proposal)
    _, layers, _ = model.descend(ctx, lambda layer: drawn(layer.prior, ctx, None, len(x)).value)
    under = {layer.name: _mean(layer.prior).expand(told[layer.name].shape) for layer in layers if layer.name in told}
    rate = proposal.log_likelihood - proposal.log_w
    return {"rate": rate, **{f"q {n}": v for n, v in told.items()}, **{f"p {n}": v for n, v in under.items()}}


def _mean(law: Distribution) -> Tensor:
    mean = getattr(law, "mean", None)
    assert mean is not None, "bits have a probability"
    return mean


def _aggregate(stack: Stack, x: "Tensor | Source", address: str, mixed: int, memory_gib: float) -> Tensor:
    count = min(mixed, len(x))
    some = x[torch.arange(count) * len(x) // count].to(stack.device, stack.dtype)

    def draws(model: LatentVariable, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        proposal = model.proposal(x, ctx)
        return {"log p": proposal.log_w - proposal.log_likelihood + proposal.log_q, **proposal.z}

    def scores(model: LatentVariable, x: Tensor, z: dict[str, Tensor], ctx: Context) -> Tensor:
        wide = {name: value[:, None].expand(-1, len(x), *value.shape[1:]) for name, value in z.items()}
        return model.log_posterior(x, wide, ctx)

    z = per_example(stack, draws, some, f"{address} mixed")
    log_p = z.pop("log p").double()
    noise = lambda: EvalNoise(stack.streams, f"{address} mixture", device=stack.device, dtype=stack.dtype)

    def against(part: Tensor) -> Tensor:
        with torch.no_grad():
            return stack.call(scores, z, noise=noise(), shared=(part,))

    chunk = max(1, int(memory_gib * GIB / max(1, peak_bytes(lambda: against(some[:1])))))
    log_q = torch.cat([against(part).double() for part in some.split(min(chunk, 16))], 2)
    return log_q.logsumexp(2) - math.log(count) - log_p


class BitsMeasure:
    """The bound, the encoder's loss and what the bits of each layer tell of x, on a split.

    Args:
        data: the data set.
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def __call__(self, stack: Stack, split: str) -> dict[str, tuple[Tensor, str]]:
        """``{metric: ([seeds, n] or [seeds, 1], unit)}``."""
        found = per_example(stack, _losses, self.data.splits[split], split)
        told = {name.removeprefix("bits "): information(p) for name, p in found.items() if name.startswith("bits ")}
        out = {name: (value, "nats") for name, value in found.items() if not name.startswith("bits ")}
        if told:
            out[metrics.INFORMATION.name] = _added(list(told.values())), metrics.INFORMATION.unit
        if len(told) > 1:
            out |= {f"information_{name}_nats": (_added([value]), metrics.INFORMATION.unit) for name, value in told.items()}
        return out


def _losses(model: LatentVariable, x: Tensor, ctx: Context) -> Mapping[str, Tensor]:
    # In this order: the draws of the bound are those that it has elsewhere.
    losses = elbo_sample_loss(model, x, ctx)
    probabilities = bits_of(model.proposal(x, replace(ctx, through="constant")))
    told = {f"bits {name}": p for name, p in probabilities.items()}
    return {**losses, metrics.ENCODER_LOSS.name: -encoder_utility(model, x, ctx).value, **told}


def _added(told: "list[Tensor]") -> Tensor:
    return torch.stack([value.sum(-1, keepdim=True) for value in told]).sum(0)
