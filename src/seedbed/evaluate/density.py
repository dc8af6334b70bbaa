"""Losses of density models on held-out points, and their distance from a density that is known exactly."""

from collections.abc import Mapping

from torch import Tensor

from seedbed.core.capabilities import HasLogProb, LatentVariable
from seedbed.core.context import Context
from seedbed.core.metric import BITS, GAP, SURPRISE, declared
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.distributions.likelihood import bits_of
from seedbed.evaluate.estimate import Losses, per_example
from seedbed.objectives.bounds import elbo, elbo_kl


def nll(model: HasLogProb, x: Tensor, ctx: Context) -> Mapping[str, Tensor]:
    """-log p(x), exact, in nats per example."""
    return {"nll_nats": -model.log_prob(x, ctx)}


def elbo_loss(model: LatentVariable, x: Tensor, ctx: Context) -> Mapping[str, Tensor]:
    """The negative ELBO with analytic KL, the KL, and that of each layer where there are several, in nats per example."""
    terms = elbo_kl(model, x, ctx)
    layers = {f"{name}_nats": part for name, part in terms.parts.items() if name.startswith("kl_")}
    return {"neg_elbo_nats": -terms.value, "kl_nats": terms.parts["kl"], **layers}


def elbo_sample_loss(model: LatentVariable, x: Tensor, ctx: Context) -> Mapping[str, Tensor]:
    """The negative ELBO with KL estimated from the same sample, for posteriors whose KL has no closed form."""
    terms = elbo(model, x, ctx)
    return {"neg_elbo_nats": -terms.value, "kl_nats": terms.parts["kl"]}


class DensityMeasure:
    """Losses per example, and ``gap_nats`` = log p*(x) - log q(x) on the same points where p* is known.

    The gap's mean estimates KL(p* || q) with far less noise than loss minus entropy: p*'s own spread cancels. For a
    latent-variable model the ELBO stands for log q. Of models of levels, whose losses are of masses, also ``bits_per_dim``,
    (-log P(x)) / (dims log 2), by the loss that a run is selected by.

    Args:
        data: the data set.
        losses: per example, in nats.
        select: the name of the one that a run is selected by.
    """

    def __init__(self, data: Dataset, losses: Losses, select: str) -> None:
        self.data = data
        self.losses = losses
        self.select = select
        self._truth: dict[str, Tensor] = {}

    def __call__(self, stack: Stack, split: str) -> dict[str, tuple[Tensor, str]]:
        """``{metric: ([seeds, n], unit)}`` on one split."""
        values = per_example(stack, self.losses, self.data.splits[split], split)
        out = {name: (value, declared(name).unit or "nats") for name, value in values.items()}
        if self.data.log_density is not None:
            truth = self._log_density(split).to(stack.device)
            # Far tails only: an example that p* gives no density cannot be drawn from it.
            out[GAP.name] = (truth + values[self.select].double(), GAP.unit)
        levels = self.data.domain.kind == "levels" and getattr(stack.module, "domain", None) == self.data.domain
        if levels and declared(self.select).of == SURPRISE.of:
            out[BITS.name] = (bits_of(values[self.select], self.data.shape), BITS.unit)
        return out

    def _log_density(self, split: str) -> Tensor:
        if split not in self._truth:
            assert self.data.log_density is not None
            self._truth[split] = self.data.log_density(self.data.splits[split][:].double())
        return self._truth[split]
