"""Losses of density models on held-out points, and their distance from a density that is known exactly."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from seedbed.core.capabilities import HasLogProb, HasSample, LatentVariable
from seedbed.core.context import Context
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.estimate import Estimator, draw_samples, per_example
from seedbed.objectives.bounds import elbo, elbo_kl, iwae


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
    latent-variable model the ELBO stands for log q.

    Args:
        data: the data set.
        estimator: the losses; the first of them is the one a run is selected by.
        select: the name of that loss.
    """

    def __init__(self, data: Dataset, estimator: Estimator, select: str) -> None:
        self.data = data
        self.estimator = estimator
        self.select = select
        self._truth: dict[str, Tensor] = {}

    def __call__(self, stack: Stack, split: str) -> dict[str, tuple[Tensor, str]]:
        """``{metric: ([seeds, n], unit)}`` on one split."""
        values = per_example(stack, self.estimator, self.data.splits[split], split)
        out = {name: (value, "nats") for name, value in values.items()}
        if self.data.log_density is not None:
            truth = self._log_density(split).to(stack.device)
            # Far tails only: an example that p* gives no density cannot be drawn from it.
            out["gap_nats"] = (truth + values[self.select].double(), "nats")
        return out

    def _log_density(self, split: str) -> Tensor:
        if split not in self._truth:
            assert self.data.log_density is not None
            self._truth[split] = self.data.log_density(self.data.splits[split].double())
        return self._truth[split]


EXTENT, GRID, POINTS = 4.5, 120, 4000  # pictures show [-4.5, 4.5]^2 on 120 x 120 points, and 4000 draws


def toy_reference(data: Dataset) -> Mapping[str, np.ndarray]:
    """What a two-dimensional model is pictured beside: held-out points, and the true log-density on the grid."""
    out = {"x": data.splits["test"][:POINTS].cpu().numpy(), "extent": np.array([-EXTENT, EXTENT], dtype=np.float32)}
    if data.log_density is not None:
        out["log_p"] = data.log_density(_grid().double()).reshape(GRID, GRID).float().numpy()
    return out


def _grid() -> Tensor:
    axis = torch.linspace(-EXTENT, EXTENT, GRID)
    return torch.cartesian_prod(axis, axis).flip(-1)  # rows are y, columns x, as pictures are stored


def toy_artefacts(samples: int = POINTS) -> Callable[[Stack], Mapping[str, Mapping[str, np.ndarray]]]:
    """Arrays for the pictures of a two-dimensional model: draws, and its log-density on a square grid.

    Args:
        samples: draws per seed.
    """

    def make(stack: Stack) -> Mapping[str, Mapping[str, np.ndarray]]:
        def draw(model: HasSample, count: int, ctx: Context) -> Tensor:
            return model.sample(count, ctx)

        out = {"samples": {"x": draw_samples(stack, draw, samples).float().cpu().numpy()}}
        density = _log_density_of(stack.module)
        if density is not None:
            values = per_example(stack, density, _grid(), "grid", chunk=max(64, 2048 // len(stack.streams)))["log_density"]
            out["density"] = {"log_q": values.reshape(-1, GRID, GRID).float().cpu().numpy()}
        return out

    return make


def _log_density_of(module: object) -> Estimator | None:
    if isinstance(module, HasLogProb):
        return lambda model, x, ctx: {"log_density": model.log_prob(x, ctx)}
    if isinstance(module, LatentVariable):
        bound = iwae(50)  # tight enough for a picture; the numbers in tables are never taken from it
        return lambda model, x, ctx: {"log_density": bound(model, x, ctx).value}
    return None
