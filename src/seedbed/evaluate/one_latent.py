"""How well the Gaussian model was learnt: against the truth, the maximum likelihood, and log p(D), which are known."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core import metric as metrics
from seedbed.core.context import Context
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.stack import Stack
from seedbed.data.gaussian_sets import GaussianSet, Statistics
from seedbed.evaluate.gaussian_sets import hamiltonian_optimum
from seedbed.models.gaussian_sets import flow_optimum, log_evidence, maximum_likelihood, parameter_errors, sigma_floor
from seedbed.models.one_latent import OneLatent

DRAWS = {"valid": 100, "test": 2_000}  # of z for the bound: along the run, and at its end


def optimal_sigma(model: OneLatent, data: Statistics) -> Float[Tensor, "d"] | None:
    """Sigma where the bound of a model's posterior is highest: its maximum likelihood if q can be the true posterior.

    From the prior, a leapfrog's is found by descent (``hamiltonian_optimum``), of one step size for each unit; ``None`` of
    any others, for which it is not known. Planar maps leave q's variance 1 along all
    directions but theirs, which are neglected: sigma^2 = S/N + 1.

    Args:
        model: whose posterior, and whether it is ``compat``.
        data: N, x-bar and S, ``[d]``.
    """
    if model.leapfrog is not None and not model.learned:
        sizes = model.leapfrog.raw_steps
        if sizes.ndim != 1 and len(sizes.reshape(-1)) != len(data.mean):
            return None
        return hamiltonian_optimum(data, model.leapfrog.count, model.leapfrog.tempering).sigma
    return flow_optimum(data, 1.0 if model.name == "planar" else None, compat=model.compat)[1]


class SetMeasure:
    """Errors of Delta and sigma, and gaps to the exact log p(D), each one number of a seed and its own data set.

    In fp64, since a bound of a million nats has no room for its gap in fp32.

    Args:
        set_of: the data set of a seed.
    """

    def __init__(self, set_of: Callable[[Streams], GaussianSet]) -> None:
        self.set_of = set_of

    def __call__(self, stack: Stack, split: str) -> dict[str, tuple[Tensor, str]]:
        """``{metric: ([seeds, 1], unit)}``; on ``test`` also what takes an optimum to compare with."""
        sets = [self.set_of(streams) for streams in stack.streams]
        params = {name: value.double() if value.is_floating_point() else value for name, value in stack.params.items()}
        exact = replace(stack.replace(params), precision="fp64")
        each = [one.statistics for one in sets]
        batch = {
            "mean": torch.stack([one.mean for one in each]).to(stack.device),
            "scatter": torch.stack([one.scatter for one in each]).to(stack.device),
        }
        noise = EvalNoise(stack.streams, split, device=stack.device, dtype=torch.float64)
        with torch.no_grad():
            found = exact.call(_measured, batch, noise=noise, shared=(DRAWS.get(split, DRAWS["test"]),))
        rows = [
            self._of_seed(
                one, {name: value[i].cpu() for name, value in found.items()}, stack.module if split == "test" else None
            )
            for i, one in enumerate(sets)
        ]
        return {name: (torch.stack([row[name] for row in rows])[:, None], metrics.declared(name).unit) for name in rows[0]}

    def _of_seed(self, data: GaussianSet, found: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
        have, delta, sigma = data.statistics, found["delta"], found["log_sigma"].exp()
        best_delta, best_sigma = maximum_likelihood(have)
        errors = parameter_errors(delta, sigma, data.delta, data.sigma)
        best = parameter_errors(best_delta, best_sigma, data.delta, data.sigma)
        evidence = log_evidence(have, delta, found["log_sigma"])
        out = {
            metrics.NEG_ELBO.name: -found["elbo"] / have.count,
            metrics.DELTA_ERROR.name: errors["delta"],
            metrics.SIGMA_ERROR.name: errors["sigma"],
            metrics.THETA_ERROR.name: errors["theta"],
            metrics.DELTA_FROM_MEAN.name: (delta - have.mean).square().sum(),
            metrics.THETA_EXCESS.name: errors["theta"] - best["theta"],
            metrics.SIGMA_OVER_FLOOR.name: errors["sigma"] / sigma_floor(data.sigma, have.count),
            metrics.BOUND_GAP.name: evidence - found["elbo"],
            metrics.EVIDENCE_GAP.name: log_evidence(have, best_delta, best_sigma.log()) - evidence,
        }
        optimal = None if model is None else optimal_sigma(model, have)
        if optimal is not None:
            expected = parameter_errors(best_delta, optimal, data.delta, data.sigma)["sigma"]
            out[metrics.SIGMA_OVER_OPTIMUM.name] = errors["sigma"] / expected
        return out


def _measured(model: OneLatent, draws: int, batch: Mapping[str, Tensor], ctx: Context) -> dict[str, Tensor]:
    data = Statistics(model.count, batch["mean"], batch["scatter"])
    elbo = model.log_weights(data, ctx, draws).mean()
    return {"elbo": elbo, "delta": model.delta, "log_sigma": model.log_sigma}
