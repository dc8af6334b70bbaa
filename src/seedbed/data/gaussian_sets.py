"""Data sets of the Gaussian model: one latent z for all N examples, x_i | z ~ N(z + Delta, diag sigma^2).

A data set is its sufficient statistics, so that 10,000 examples in 400 dimensions cost what one costs. It is a function of
the ``data`` stream and its sizes alone: every method sees the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data.dataset import Dataset

EXAMPLES = 10_000  # of the study


def true_parameters(dimensions: int) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Delta_j = (j - (d + 1)/2)/5 and sigma_j = 0.1 + 0.9 ((2j - d - 1)/(d - 1))^2, j = 1..d: 1 at the ends, 0.1 between.

    Args:
        dimensions: d.

    Returns:
        Delta and sigma, float64 ``[d]``, in the unit of x.

    Raises:
        SeedbedError: for less than two dimensions.

    Caterini, Doucet & Sejdinovic 2018 (arXiv 1805.11328), section 5.1.
    """
    if dimensions < 2:
        raise SeedbedError(f"the Gaussian model spreads sigma over d >= 2 dimensions, got d = {dimensions}; choose d >= 2")
    j = torch.arange(1, dimensions + 1, dtype=torch.float64)
    return (j - (dimensions + 1) / 2) / 5, 0.1 + 0.9 * ((2 * j - dimensions - 1) / (dimensions - 1)).square()


@dataclass(frozen=True)
class Statistics:
    """All that a Gaussian with a diagonal covariance knows of its examples.

    Args:
        count: N.
        mean: x-bar, ``[*stack, d]``.
        scatter: S = sum_i (x_i - x-bar)^2, ``[*stack, d]``.
    """

    count: int
    mean: Float[Tensor, "*stack d"]
    scatter: Float[Tensor, "*stack d"]

    @property
    def variance(self) -> Float[Tensor, "*stack d"]:
        """s^2 = S / N."""
        return self.scatter / self.count

    def to(self, like: Float[Tensor, "..."]) -> "Statistics":
        """The same in the precision, and on the device, of a tensor."""
        return Statistics(self.count, self.mean.to(like), self.scatter.to(like))


def statistics_of(rows: Float[Tensor, "*stack n d"], count: int | None = None) -> Statistics:
    """N, x-bar and S of examples; of a minibatch they stand for all ``count``: S is scaled by N/n.

    Whatever is linear in the examples' log-likelihoods, so log p(D | z), is then estimated without a bias, and the prior of
    the one z is counted once.

    Args:
        rows: ``[*stack, n, d]``.
        count: N; as many as there are rows if not given.

    Raises:
        SeedbedError: for no rows, or for more than N.
    """
    found = rows.shape[-2]
    count = found if count is None else count
    if not 0 < found <= count:
        raise SeedbedError(f"expected 1 to {count} rows of a data set of {count}, got {found}; give n rows and the N of all")
    mean = rows.mean(-2)
    scatter = (rows - mean.unsqueeze(-2)).square().sum(-2)
    return Statistics(count, mean, scatter * (count / found))


@dataclass(frozen=True)
class GaussianSet:
    """One data set, and what it was drawn from.

    Args:
        delta: the true Delta, ``[d]``.
        sigma: the true sigma, ``[d]``.
        z: the one latent of all examples, ``[d]``.
        statistics: of the N examples.
        streams: of the seed whose data set it is.
    """

    delta: Float[Tensor, "d"]
    sigma: Float[Tensor, "d"]
    z: Float[Tensor, "d"]
    statistics: Statistics
    streams: Streams

    def rows(self) -> Float[Tensor, "n d"]:
        """Examples of exactly these statistics, float64 ``[N, d]``.

        Given x-bar and S, what is left of N normal draws is a uniform direction among those that sum to zero: x_i = x-bar +
        sqrt(S) u_i, whatever sigma. So rows and statistics are one data set, and either is drawn from its own law.
        """
        have = self.statistics
        generator = self.streams.generator("data", "gaussian", len(have.mean), have.count, "rows")
        u = torch.randn(have.count, len(have.mean), generator=generator, dtype=torch.float64)
        u -= u.mean(0)
        return have.mean + u * (have.scatter.sqrt() / u.norm(dim=0))


def gaussian_set(streams: Streams, dimensions: int, count: int = EXAMPLES) -> GaussianSet:
    """The data set of a seed: z ~ N(0, I), x-bar ~ N(z + Delta, sigma^2/N), S ~ sigma^2 chi^2_(N-1), the latter independent.

    Args:
        streams: of the seed; ``data`` decides.
        dimensions: d.
        count: N.

    Returns:
        Its statistics, float64, and the truth.

    Raises:
        SeedbedError: for less than two dimensions or examples.
    """
    if count < 2:
        raise SeedbedError(f"a scatter is of two examples at least, got {count}; choose count >= 2")
    delta, sigma = true_parameters(dimensions)
    generator = streams.generator("data", "gaussian", dimensions, count)
    z, error = torch.randn(2, dimensions, generator=generator, dtype=torch.float64)
    with streams.scoped("data", "gaussian", dimensions, count, "scatter"):  # torch's own law takes no generator
        degrees = torch.tensor(count - 1.0, dtype=torch.float64)
        scatter = sigma.square() * torch.distributions.Chi2(degrees).sample((dimensions,))
    mean = z + delta + sigma * error / count**0.5
    return GaussianSet(delta, sigma, z, Statistics(count, mean, scatter), streams)


@dataclass(frozen=True, init=False)
class GaussianSets(Dataset):
    """Examples of one data set, as any other data; and the data set of every seed, which has one of its own.

    Args:
        set_of: the data set of a seed, by its streams.
    """

    set_of: Callable[[Streams], GaussianSet]

    def __init__(self, set_of: Callable[[Streams], GaussianSet], **of_one: Any) -> None:
        super().__init__(**of_one)
        vars(self).update(set_of=set_of)


def gaussian_sets(name: str, dimensions: int, count: int, seed: int = 0) -> GaussianSets:
    """The data sets of all seeds, seed s plus ``seed`` for seed s; and the examples of one, whose streams are held.

    Nothing is held out: what is learnt are parameters, and the truth is known.

    Args:
        name: of the data.
        dimensions: d.
        count: N.
        seed: of the data.

    Raises:
        SeedbedError: for less than two dimensions or examples.
    """

    def set_of(streams: Streams) -> GaussianSet:
        return gaussian_set(replace(streams, seed=streams.seed + seed, held=streams.held + seed), dimensions, count)

    rows = set_of(Streams(0, frozenset())).rows().float()
    return GaussianSets(
        set_of,
        name=name,
        domain=REAL,
        protocol=f"{count:,} examples that share one z; nothing held out: parameters are judged by the truth",
        splits={"train": rows, "valid": rows, "test": rows},
    )
