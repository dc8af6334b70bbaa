"""The end of a decoder: its output as p(x | z)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.context import Context
from seedbed.core.domain import BINARY, Domain
from seedbed.core.law import Distribution
from seedbed.distributions.dequantised import DequantisedNormal
from seedbed.distributions.likelihood import Likelihood


class Observed(nn.Module):
    """p(x | raw outputs) of a family, with what is no network's: a scale that all numbers share, noise that dequantises.

    Args:
        likelihood: the family.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood
        shared = likelihood.scale.kind == "shared"
        # The logarithm of the scale, but for its bounds (``Scale.bounded``).
        self.log_scale = nn.Parameter(likelihood.scale.raw_start) if shared else None

    def forward(self, raw: Float[Tensor, "*raw"], rank: int, ctx: Context) -> Distribution:
        """p(x | raw), of examples of so many axes, from ``[*batch, *likelihood.outputs(shape)]``."""
        family = self.likelihood
        if self.log_scale is not None:
            law = family.build(raw, rank, scale=family.scale.given(self.log_scale))
        else:
            law = family.build(raw, rank)
        return law.within(ctx.noise) if isinstance(law, DequantisedNormal) else law


def per_channel(start: Float[Tensor, "channels *pixels"], domain: Domain) -> Float[Tensor, "channels"]:
    """Where the raw outputs of each channel start that all pixels share, ``[channels]``, of a start for each pixel.

    Their mean; of bits the logit of the mean probability: a pixel that is never on has a logit far below what it weighs.
    """
    values = start.flatten(1)
    return torch.logit(torch.sigmoid(values).mean(1)) if domain == BINARY else values.mean(1)
