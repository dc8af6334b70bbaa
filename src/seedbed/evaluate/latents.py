"""What the latents of a model are used for: rate and distortion, KL per layer and per unit, active units."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.metric import ACTIVE_OF_LAYER, ACTIVE_UNITS, DISTORTION, KL_OF_LAYER, KL_OF_UNIT, RATE, UNIT_VARIANCE
from seedbed.core.noise import BLOCK
from seedbed.core.stack import Stack
from seedbed.data.source import Source
from seedbed.evaluate.estimate import per_example
from seedbed.evaluate.likelihood import check_request, check_values
from seedbed.evaluate.memory import peak_bytes
from seedbed.evaluate.needs import need_latents

ACTIVE = 0.01  # a variance of z, whose prior's is 1


@dataclass(frozen=True)
class LatentUse:
    """What was measured.

    Args:
        totals: ``{metric: ([seeds, n] or [seeds, 1], unit)}`` of the model and of each layer.
        units: the same of every unit, named ``<metric>_<layer>_<index>``.
    """

    totals: dict[str, tuple[Tensor, str]]
    units: dict[str, tuple[Tensor, str]]


def latent_use(stack: Stack, x: Tensor | Source, address: str, samples: int = 20, *, memory_gib: float = 4.0) -> LatentUse:
    """Rate, distortion, KL and active units of every seed of a stack on the same examples.

    ``rate_nats`` = KL(q(z | x) || p(z)), summed over layers, and ``distortion_nats`` = -E_q log p(x | z) add up to the
    negative ELBO. With several layers ``kl_<layer>_nats`` = E_q KL(q(z_l | z_>l, x) || p(z_l | z_>l)). A KL is analytic
    where there is a closed form (``core.law.kl``, ``Layer.closed_kl``), else the mean of log q - log p, with none per unit.

    A unit is active if the variance over x of E_q[z_u | x] is above 0.01. The variance is estimated without bias, from two
    halves of the samples with independent errors: the variance of an average of few samples counts their noise as activity.
    A unit's mean given the layers above is taken exactly where q has one.

    Args:
        stack: latent-variable models.
        x: a source, or ``[n, *example]``, at least two.
        address: names the draws, e.g. the split.
        samples: draws of z per example, at least two.
        memory_gib: what this may take beside models and data.

    Raises:
        SeedbedError: for a model without latents, values outside of its domain, too few examples or samples, or samples that
            do not fit in memory, with how many would.

    Active units: Burda et al. 2016 (arXiv 1509.00519), section 5.1; rate, distortion: Alemi et al. 2018 (arXiv 1711.00464).
    """
    model = need_latents(stack, "latents")
    check_request(x, samples)
    check_values(model, x)
    if samples < 2 or len(x) < 2:
        raise SeedbedError(f"a variance needs at least 2 samples and 2 examples, got {samples} and {len(x)}")

    def one(model: LatentVariable, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        return _one(model, x, ctx, samples)

    need = peak_bytes(lambda: per_example(stack, one, x[:1], f"{address} latents"))
    if (fits := int(memory_gib * 2**30 / need)) < 1:
        raise SeedbedError(
            f"{samples} samples of one example take {need / 2**30:.2g} GiB, the limit is {memory_gib:g}; about "
            f"{int(samples * memory_gib * 2**30 / need)} fit: lower --samples or raise --memory-gib"
        )
    found = per_example(stack, one, x, f"{address} latents", chunk=min(BLOCK, fits))
    layers = [name.removeprefix("first ") for name in found if name.startswith("first ")]
    spread = {layer: _covariance(found[f"first {layer}"], found[f"second {layer}"]) for layer in layers}
    active = {layer: (value > ACTIVE).sum(-1, keepdim=True).double() for layer, value in spread.items()}
    kl = {layer: found[f"kl {layer}"] for layer in layers}
    totals = {
        RATE.name: (torch.stack(list(kl.values())).sum(0), RATE.unit),
        DISTORTION.name: (found["distortion"], DISTORTION.unit),
        ACTIVE_UNITS.name: (torch.stack(list(active.values())).sum(0), ACTIVE_UNITS.unit),
    }
    if len(layers) > 1:
        totals |= {f"kl_{layer}_nats": (value, KL_OF_LAYER.unit) for layer, value in kl.items()}
        totals |= {f"active_units_{layer}": (value, ACTIVE_OF_LAYER.unit) for layer, value in active.items()}
    units = {}
    for layer in layers:
        for index, value in enumerate(found.get(f"unit {layer}", kl[layer][..., :0]).unbind(-1)):
            units[f"kl_{layer}_{index}_nats"] = (value, KL_OF_UNIT.unit)
        for index, value in enumerate(spread[layer].unbind(-1)):
            units[f"mean_variance_{layer}_{index}"] = (value.unsqueeze(-1), UNIT_VARIANCE.unit)
    return LatentUse(totals, units)


def _one(model: LatentVariable, x: Tensor, ctx: Context, samples: int) -> dict[str, Tensor]:
    proposal = model.proposal(x, ctx, samples)
    out = {"distortion": -proposal.log_likelihood.mean(0)}
    for name, layer in proposal.layers.items():
        value = proposal.z[name]
        units = layer.kl_per_unit()
        if units is None:
            out[f"kl {name}"] = -layer.log_ratio().mean(0)
        else:
            out[f"unit {name}"] = units.expand(value.shape).mean(0).flatten(1)
            out[f"kl {name}"] = out[f"unit {name}"].sum(-1)
        means = layer.mean.expand(value.shape)
        first, second = means[: samples // 2], means[samples // 2 :]
        out |= {f"first {name}": first.mean(0).flatten(1), f"second {name}": second.mean(0).flatten(1)}
    return out


def _covariance(a: Tensor, b: Tensor) -> Tensor:
    """Over examples, per unit: ``[seeds, n, units]`` to ``[seeds, units]``."""
    a, b = (v.double() - v.double().mean(1, keepdim=True) for v in (a, b))
    return (a * b).sum(1) / (a.shape[1] - 1)
