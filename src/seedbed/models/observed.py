"""The end of a decoder: its output as p(x | z)."""

from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.context import Context
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
