"""What bits tell of x, whether encoder and decoder mean the same bits, and the losses of the two players."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seedbed.core import metric as metrics
from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.proposal import Proposal
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.density import elbo_sample_loss
from seedbed.evaluate.estimate import per_example
from seedbed.objectives.equilibrium import encoder_utility

if TYPE_CHECKING:
    pass

DEAD = 0.01  # nats that a bit tells of x


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
