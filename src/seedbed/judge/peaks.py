"""Seeds that fell into two groups, such as those that collapsed and those that did not: no mean describes them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seedbed.judge.intervals import finite

FEWEST = 6  # values below which two groups cannot be told from chance
# Share of the variance that is left within two groups, at most, by the number of values: of 40,000 samples each of normal,
# uniform, log-normal, exponential and Student's t(3) values at most 1 in 100 leave so little.
_LIMITS = ((6, 0.018), (7, 0.024), (8, 0.031), (10, 0.04), (12, 0.049), (15, 0.062), (20, 0.079), (30, 0.104), (50, 0.14))


@dataclass(frozen=True)
class Peaks:
    """Two groups of values.

    Args:
        low: how many lie in the lower one.
        high: and in the upper.
        low_mean: their mean.
        high_mean: and that of the others.
    """

    low: int
    high: int
    low_mean: float
    high_mean: float

    def words(self) -> str:
        """``7 of 10 seeds near 0.1, 3 near 2.3``."""
        first, second = ((self.low, self.low_mean), (self.high, self.high_mean))
        if self.high > self.low:
            first, second = second, first
        return f"{first[0]} of {self.low + self.high} seeds near {first[1]:.3g}, {second[0]} near {second[1]:.3g}"


def two_peaks(values: ArrayLike) -> Peaks | None:
    """Whether values lie in two groups of two at least: the best split leaves less variance within than chance does.

    ``within / total`` of the split that makes it least (one-dimensional k-means, k = 2), against what unimodal values reach.

    Raises:
        SeedbedError: for a value that is not finite.
    """
    x = np.sort(finite(values, "two peaks"))
    n = x.size
    if n < FEWEST or not np.ptp(x):
        return None
    y = (x - x.mean()) / np.ptp(x)
    first = np.arange(1, n)
    between = np.cumsum(y)[:-1] ** 2 * (1 / first + 1 / (n - first))
    between[[0, -1]] = 0.0  # one value alone is an outlier
    at = int(np.argmax(between)) + 1
    within = 1 - between[at - 1] / float((y**2).sum())
    if within > np.interp(n, [size for size, _ in _LIMITS], [limit for _, limit in _LIMITS]):
        return None
    return Peaks(at, n - at, float(x[:at].mean()), float(x[at:].mean()))
