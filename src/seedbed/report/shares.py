"""Where the variance over seeds comes from, as shares of what it is when everything varies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seedbed.core.errors import SeedbedError
from seedbed.report.statistics import RESAMPLES, Interval, finite


@dataclass(frozen=True)
class VarianceShares:
    """Which source of randomness makes seeds differ, as shares of the variance when all vary.

    Args:
        shares: per source, ``var(only this varies) / var(all vary)``.
        remainder: one minus the sum of the shares: interaction where the sources do not add up. May be negative.
        diverged: seeds left out per arm, for the record.
    """

    shares: dict[str, Interval]
    remainder: Interval
    diverged: dict[str, int]


def variance_shares(
    only: Mapping[str, ArrayLike],
    everything: ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    diverged: Mapping[str, int] | None = None,
) -> VarianceShares:
    """Share of each stream in the seed variance: ``s_j = var(only j varies) / var(all vary)``, sample variances (n - 1).

    Bounds are percentile bootstrap (Efron, 1979), each arm resampled alone; simulated coverage is 90 to 95 % for 10 to 50
    seeds. A share is conditional on the values at which the other streams are held.
    """
    arms = {name: finite(values, name) for name, values in {**only, "all": everything}.items()}
    if small := [name for name, x in arms.items() if x.size < 2]:
        raise SeedbedError(f"a variance needs at least 2 values; got fewer for {', '.join(small)}")
    variance = {name: float(x.var(ddof=1)) if np.ptp(x) else 0.0 for name, x in arms.items()}
    drawn = {k: x[rng.integers(0, x.size, (resamples, x.size))].var(axis=1, ddof=1) for k, x in arms.items()}
    proper = drawn["all"] > 0  # few distinct values can resample to a constant, against which no share is defined

    def share(names: list[str], sign: float, offset: float) -> Interval:
        if variance["all"] == 0:
            return Interval(math.nan, math.nan, math.nan, arms["all"].size, "none")
        ratio = sum(drawn[k][proper] for k in names) / drawn["all"][proper]
        low, high = np.quantile(offset + sign * ratio, [(1 - level) / 2, (1 + level) / 2])
        mean = offset + sign * sum(variance[k] for k in names) / variance["all"]
        return Interval(mean, float(low), float(high), min(arms[k].size for k in [*names, "all"]), "bootstrap percentile")

    shares = {name: share([name], 1.0, 0.0) for name in only}
    return VarianceShares(shares, share(list(only), -1.0, 1.0), dict(diverged or {}))
