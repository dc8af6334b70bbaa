"""An estimator: the mean squared error of reconstructions, of latent-variable models."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.metric import Metric
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.estimate import per_example
from seedbed.evaluate.estimator import Estimator, Limits
from seedbed.train.task import Measurement

ERROR = Metric("reconstruction_sq_error", "data units^2", "squared error of E[x | z] at z = E_q[z | x]", low=0.0)


def losses(model: LatentVariable, x: Tensor, ctx: Context) -> Mapping[str, Tensor]:
    """|x - E[x | z]|^2 / dim(x) at the posterior's mean, ``[batch]``."""
    likelihood = model.proposal(x, replace(ctx, through="centre")).likelihood
    return {ERROR.name: (x - likelihood.mean).square().flatten(1).mean(1)}


def offers(stack: Stack, x: Tensor) -> bool:
    """Any with latents."""
    return isinstance(stack.module, LatentVariable)


def measure(stack: Stack, data: Dataset, split: str, limits: Limits) -> Measurement:
    """Of every seed, per example."""
    values = per_example(stack, losses, data.splits[split], split)
    return {name: (value, ERROR.unit) for name, value in values.items()}


reconstruction = Estimator(
    name="reconstruction",
    meaning="mean squared error of reconstructions",
    needs="latents",
    offers=offers,
    metrics=(ERROR,),
    measure=measure,
)
