"""The Frechet distance of two sets by the means and covariances of their features, its bias with n, and its error."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.errors import SeedbedError

POINTS = 15  # sizes that the extrapolation goes through
BLOCKS = 10  # of the jackknife


@dataclass(frozen=True)
class Moments:
    """How many features there were, their mean ``[d]`` and their scatter about it ``[d, d]``, in float64.

    Moments of parts add up to those of the whole, so that features can be streamed (Chan, Golub, LeVeque, 1983).
    """

    n: int
    mean: Float[Tensor, "d"]
    scatter: Float[Tensor, "d d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> "Moments":
        """Of features that are there at once."""
        x = features.double()
        centred = x - x.mean(0)
        return cls(len(x), x.mean(0), centred.mT @ centred)

    def __add__(self, other: "Moments") -> "Moments":
        """Of both together."""
        n, apart = self.n + other.n, other.mean - self.mean
        between = torch.outer(apart, apart) * (self.n * other.n / n)
        return Moments(n, self.mean + apart * (other.n / n), self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Unbiased: the scatter over ``n - 1``."""
        return self.scatter / (self.n - 1)


def check_enough(n: int, features: int, whose: str) -> None:
    """Refuse fewer pictures than a covariance of so many features takes.

    Raises:
        SeedbedError: for ``n <= features``: such a covariance has no full rank, and the distance no meaning.
    """
    if n <= features:
        raise SeedbedError(
            f"a Frechet distance of {features} features takes more than {features} pictures, got {n} of {whose}; "
            "take more, or features that are fewer (kid is unbiased for any number)"
        )


def frechet(a: Moments, b: Moments) -> float:
    """``|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2)``: 0 of equal Gaussians.

    The trace of the root is the sum over the roots of the eigenvalues of a symmetric matrix: real, whatever the rounding
    (Frechet, 1957; Dowson and Landau, 1982; as a distance of pictures Heusel et al., 2017, arXiv 1706.08500).
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    product = torch.linalg.eigvalsh(root @ b.covariance @ root)
    traces = a.covariance.trace() + b.covariance.trace() - 2 * product.clamp(min=0).sqrt().sum()
    return max(0.0, float((a.mean - b.mean).square().sum() + traces))


@dataclass(frozen=True)
class Frechet:
    """The distance of two sets, and how far it may be trusted.

    Args:
        value: of all pictures.
        by_size: of the first so many of both, by how many.
        half: of half of them; ``None`` where these are not more than the features.
        infinity: what these tend to: the intercept of a line in ``1 / n``, without the bias (see ``frechet_of``); ``None``
            of fewer pictures than four times the features.
        error: standard error of the value over pictures of both sets; ``None`` where a tenth fewer are too few.
    """

    value: float
    by_size: dict[int, float]
    half: float | None
    infinity: float | None
    error: float | None


def frechet_of(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Frechet:
    """The Frechet distance of two sets of as many features, in an order that means nothing.

    A distance of n pictures is too large by about ``c / n``: a line through its values at 15 sizes from n / 10 on (or twice
    the features), against ``1 / n``, meets ``1 / n = 0`` at what it would be of infinitely many (after Chong and Forsyth,
    2020, arXiv 1911.07023, who keep the examples whole; here both sets shrink together). The error is that of a jackknife
    which leaves a tenth of both sets out at a time, of the value at n alone; of like sets it is rather too large.

    Raises:
        SeedbedError: for sets of unlike size, or no more pictures than features.
    """
    n, d = x.shape
    if x.shape != y.shape:
        raise SeedbedError(f"expected two sets of as many features, got {list(x.shape)} and {list(y.shape)}")
    check_enough(n, d, "each set")
    edges = [round(n * i / BLOCKS) for i in range(BLOCKS + 1)]
    parts = [[Moments.of(z[a:b]) for a, b in pairwise(edges)] for z in (x, y)]
    whole = [_sum(of) for of in parts]
    value = frechet(whole[0], whole[1])
    error = None
    if (BLOCKS - 1) * n > BLOCKS * (d + 1):
        without = [frechet(*(_sum(of[:i] + of[i + 1 :]) for of in parts)) for i in range(BLOCKS)]
        spread = torch.tensor(without, dtype=torch.float64)
        error = float(((BLOCKS - 1) / BLOCKS * (spread - spread.mean()).square().sum()).sqrt())
    halves = [n // 2] if n // 2 > d else []
    sizes = sorted({*torch.linspace(min(max(n // 10, 2 * d), n), n, POINTS).round().int().tolist(), *halves})
    by_size = {size: frechet(Moments.of(x[:size]), Moments.of(y[:size])) for size in sizes}
    return Frechet(value, by_size, by_size.get(n // 2), _intercept(by_size) if n >= 4 * d else None, error)


def _sum(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _intercept(by_size: dict[int, float]) -> float:
    """Of the least-squares line in ``1 / n``."""
    at = torch.tensor([[1.0, 1 / n] for n in by_size], dtype=torch.float64)
    values = torch.tensor(list(by_size.values()), dtype=torch.float64)
    return float(torch.linalg.lstsq(at, values[:, None]).solution[0])
