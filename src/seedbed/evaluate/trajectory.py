"""Hamiltonian trajectories of trained models: learnt ones, or plain leapfrogs on a model's own log p(x, z)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from seedbed.core import metric as metrics
from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import number, whole
from seedbed.core.stack import Stack
from seedbed.core.units import standard_of, standardised_for
from seedbed.data.dataset import Dataset
from seedbed.data.source import Source
from seedbed.evaluate.annealing import ACCEPTED, precise
from seedbed.evaluate.chain import shown_of
from seedbed.evaluate.estimate import in_chunks
from seedbed.evaluate.likelihood import check_values
from seedbed.evaluate.needs import cannot, need_latents, traits
from seedbed.models.hamiltonian import HamiltonianVAE
from seedbed.models.tempered import Trajectory, walked

LEAPFROGS, MOST = 15, 1_000  # of models that have none of their own, as the source has them; and at most
PILOTS = 64  # examples that the rule tries step sizes on
SIZES = tuple(2 ** (-n / 2) for n in range(17))  # from 1, the prior's scale, to 1 / 256
LARGEST = 10.0
SHOWN = 10  # examples whose walks are pictured, as many as the source has


@dataclass(frozen=True)
class Walk:
    """How far models walk in z from their own z_0 ~ q(z | x).

    Args:
        leapfrogs: steps; 0 for those that a model has learnt, 15 without such.
        step_size: of each; 0 for the learnt ones, and without such for the largest of 1, 2^-1/2, 2^-1, ..., 2^-8 at which a
            Metropolis test would accept 65 % of the walks of 64 pilot examples (Beskos et al. 2013, arXiv 1001.4460).
    """

    leapfrogs: int = 0
    step_size: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "leapfrogs", whole("leapfrogs", self.leapfrogs, 0, MOST))
        object.__setattr__(self, "step_size", number("step_size", self.step_size, 0.0, LARGEST))

    def count(self, model: nn.Module) -> int:
        """Steps that a model takes.

        Raises:
            SeedbedError: for others than those that it has learnt.
        """
        learnt = _learnt(model)
        if learnt is None:
            return self.leapfrogs or LEAPFROGS
        if self.leapfrogs not in (0, learnt.leapfrog.count):
            raise SeedbedError(
                f"{type(learnt).__name__} has learnt a walk of {learnt.leapfrog.count} leapfrogs, got {self.leapfrogs}; "
                "ask for so many, or leave them out"
            )
        if self.step_size:
            raise SeedbedError(
                f"{type(learnt).__name__} has learnt its step sizes, got step_size {self.step_size:g}; leave it out"
            )
        return learnt.leapfrog.count


@dataclass(frozen=True)
class Walked:
    """Walks of some examples.

    Args:
        first: index of the first example.
        positions: z_0..z_K.
        errors: what each leapfrog changed the energy by, before its momentum was cooled, in nats.
        sizes: mean step size of each seed.
    """

    first: int
    positions: Float[Tensor, "seeds points n latents"]
    errors: Float[Tensor, "seeds steps n"]
    sizes: Float[Tensor, "seeds"]


def can_walk(stack: Stack, x: Tensor | Source) -> bool:
    """Whether the models have one latent alone, a vector of real numbers, in which log p(x, z) has a slope."""
    module = stack.module
    return isinstance(module, LatentVariable) and module.smooth and traits(stack, x).dense


def is_learnt(stack: Stack) -> bool:
    """Whether the models have learnt a walk, at whose end their posterior draws."""
    return _learnt(stack.module) is not None


def walks(
    stack: Stack,
    x: Shaped[Tensor, "n *example"] | Source,
    address: str,
    how: Walk,
    pilots: Shaped[Tensor, "pilots *example"] | Source | None = None,
) -> Iterator[Walked]:
    """The walks of every seed from its z_0 ~ q(z | x), part by part.

    Draws of z_0 and of momenta are keyed by example. Learnt walks are those of the posterior: they end at its draws. All
    others have a momentum from N(0, I) and no tempering, with nothing of any other model.

    Args:
        stack: latent-variable models.
        x: a source, or ``[n, *example]``.
        address: names the draws, e.g. the split.
        how: how far, and in which steps.
        pilots: whence the rule takes its examples; by default from ``x``.

    Raises:
        SeedbedError: for models that cannot walk, or others than the learnt leapfrogs.
    """
    model = need_latents(stack, "trajectory")
    check_values(model, x)
    if not can_walk(stack, x):
        raise cannot(f"{type(model).__name__}, whose latent is not one vector of real numbers with a slope,", "trajectory")
    stack, count = precise(stack), how.count(stack.module)
    sizes = _sizes(stack, x if pilots is None else pilots, how, count)
    for first, found in in_chunks(stack, partial(_walk, count), x, address, own=sizes):
        yield Walked(first, found["positions"].movedim(2, 1), found["errors"].movedim(2, 1), found["size"][:, 0])


def _walk(count: int, model: LatentVariable, x: Tensor, size: Tensor, ctx: Context) -> dict[str, Tensor]:
    """Of one seed: ``positions [n, K + 1, latents]``, ``errors [n, K]`` and ``size [n]``."""
    learnt = _learnt(model)
    if learnt is not None:
        found = learnt.trajectory(standardised_for(model, x), ctx)
        size = learnt.leapfrog.step_sizes.mean()
    else:
        ((name, start),) = model.proposal(x, replace(ctx, through="constant")).z.items()
        momentum = ctx.noise.normal((start.shape[1],), batch=len(start))
        log_density: Callable[[Tensor], Tensor] = lambda z: model.joint(x, {name: z}, ctx)
        # Not in training no example sees another, whatever the networks are made of: ``need_latents`` has looked.
        steps = walked(start, momentum, log_density, None, repeat(size, count), repeat(1.0, count))
        found = Trajectory.of(start, momentum, log_density, steps)
    return {"positions": found.positions.movedim(1, 0), "errors": found.errors.mT, "size": size.expand(len(x))}


def _learnt(model: object) -> HamiltonianVAE | None:
    """The model whose walk is learnt, which may stand behind one in units of its data."""
    inner = standard_of(model)
    return inner if isinstance(inner, HamiltonianVAE) and inner.leapfrog.count else None


def _sizes(stack: Stack, x: Tensor | Source, how: Walk, count: int) -> Float[Tensor, "seeds"]:
    """The step size of each seed."""
    seeds = torch.ones(len(stack.streams), dtype=stack.dtype, device=stack.device)
    if how.step_size or is_learnt(stack):
        return seeds * how.step_size
    pilots = few(x, PILOTS)
    chosen = torch.zeros_like(seeds)
    for size in SIZES:
        parts = in_chunks(stack, partial(_walk, count), pilots, "trajectory pilot", own=size * seeds)
        risen = torch.cat([part["errors"].sum(2) for _, part in parts], 1)
        accepted = (-risen).clamp(max=0).exp().nan_to_num(nan=0.0).mean(1)
        chosen = torch.where((chosen == 0) & (accepted >= ACCEPTED), size, chosen)
        if (chosen > 0).all():
            break
    return torch.where(chosen > 0, chosen, SIZES[-1])  # whose energy error tells that it is too large


def energy_errors(
    stack: Stack, x: Shaped[Tensor, "n *example"] | Source, address: str, how: Walk
) -> dict[str, tuple[Tensor, str]]:
    """What leapfrogs change the energy by, H = -log p(x, z) + |rho|^2 / 2, which exact dynamics would keep.

    ``energy_error_nats``: |change| of one leapfrog, cooling apart, on average over the K of a walk; ``energy_drift_nats``:
    of all of them together, ``along/energy_error_after<n>_nats``: of the first n. ``walked_distance``: |z_K - z_0| over the
    root of the size of z. ``leapfrog_step_size``: what they were made with.

    Returns:
        ``{metric: ([seeds, n], unit)}``; of the step size ``[seeds, 1]``.

    Raises:
        SeedbedError: as ``walks`` does, and for walks that a given step size takes beyond all numbers.
    """
    parts: dict[str, list[Tensor]] = {}
    sizes = torch.zeros(0)
    for part in walks(stack, x, address, how):
        sizes, errors, begins, ends = part.sizes, part.errors.double(), part.positions[:, 0], part.positions[:, -1]
        if how.step_size and bool((begins.isfinite().all(-1) & ~errors.isfinite().all(1)).any()):
            raise SeedbedError(f"leapfrogs of size {how.step_size:g} leave all numbers behind; give a smaller --step-size")
        along = errors.cumsum(1).abs()
        values = {
            metrics.ENERGY_ERROR: errors.abs().mean(1),
            metrics.ENERGY_DRIFT: along[:, -1],
            metrics.WALKED: (ends - begins).double().square().mean(-1).sqrt(),
        }
        named = {key.name: value for key, value in values.items()}
        named |= {metrics.ENERGY_AFTER.name.replace("<n>", str(n + 1)): along[:, n] for n in range(along.shape[1])}
        for name, value in named.items():
            parts.setdefault(name, []).append(value)
    out = {name: (torch.cat(some, 1), metrics.ENERGY_ERROR.unit) for name, some in parts.items()}
    out[metrics.WALKED.name] = out[metrics.WALKED.name][0], metrics.WALKED.unit
    return out | {metrics.STEP_SIZE.name: (sizes[:, None].double(), metrics.STEP_SIZE.unit)}


def marks_of(count: int) -> list[int]:
    """Positions of a walk of ``count`` steps that are shown: every second, and the last."""
    return [*range(0, count, 2), count]


def decoded(stack: Stack, positions: Float[Tensor, "seeds *points latents"]) -> Shaped[Tensor, "seeds *rest"]:
    """E[x | z] at positions of each seed.

    Raises:
        SeedbedError: for a likelihood without a mean.
    """

    def one(model: LatentVariable, z: Tensor, ctx: Context) -> Tensor:
        return shown_of(model.descend(ctx, lambda layer: z)[2], "mean")

    flat = positions.flatten(1, -2)
    with torch.no_grad():
        found = precise(stack).call(one, flat, noise=stack.noise("eval", "decoded"))
    return found.unflatten(1, positions.shape[1:-1])


def few(split: Source | Tensor, count: int = SHOWN) -> Tensor:
    """Examples to be pictured, evenly spread: a split may be sorted by class."""
    return split[:: max(1, len(split) // count)][:count]


def pictured(stack: Stack, split: Source | Tensor, address: str, how: Walk, count: int = SHOWN) -> dict[str, Any]:
    """The walks of ``few`` examples of a split, with E[x | z] on their way.

    Returns:
        ``x [n, *example]``, ``positions [seeds, K + 1, n, latents]``, ``errors [seeds, K, n]`` in nats, ``step_size
        [seeds]``, ``steps``, those of ``marks_of``, and ``pictures [seeds, n, marks, *example]``, the means there.

    Raises:
        SeedbedError: as ``walks`` does, or for a likelihood without a mean.
    """
    x = few(split, count).to(stack.device, stack.dtype)
    parts = [*walks(stack, x, f"{address} pictured", how, split)]
    positions, errors = (torch.cat([getattr(part, name) for part in parts], 2) for name in ("positions", "errors"))
    marks = marks_of(errors.shape[1])
    found = {"x": x, "positions": positions, "errors": errors, "step_size": parts[0].sizes, "steps": marks}
    return found | {"pictures": decoded(stack, positions[:, marks]).movedim(1, 2)}


def walked_pictures(stack: Stack, data: Dataset, split: str, how: Walk) -> Mapping[str, Mapping[str, np.ndarray]]:
    """Rows of pictures to be stored: an example, and E[x | z] along its walk, as shares of the highest level."""
    if len(data.shape) != 3:
        return {}
    found = pictured(stack, data.splits[split], split, how)
    x, along = found["x"], found["pictures"]
    rows = torch.cat([x.expand(len(along), *x.shape)[:, :, None], along], 2)
    top = (data.domain.size or 2) - 1 if data.domain.kind == "levels" else 1
    return {"trajectories": {"grid": (rows / top).half().cpu().numpy()}}
