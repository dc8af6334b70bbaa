"""What one run came to on one metric: the numbers under every table, figure and record."""

from dataclasses import dataclass
from typing import Any

from seedbed.judge.intervals import Interval

LOST = ("diverged", "worse_than_baseline")
WORSE = "worse than baseline"


@dataclass(frozen=True)
class Summary:
    """One metric of one run over its seeds.

    Args:
        experiment: its name.
        metric: with the unit in its name.
        unit: of the values.
        interval: mean over the seeds that did not diverge, and its 95 % interval over seeds.
        std: sample standard deviation over the seeds of the mean (n - 1).
        mc_se: Monte-Carlo error of the mean, from the examples, not from the seeds.
        values: of each seed in their order; none of one that diverged.
        n: examples.
        seeds: seeds that were run.
        diverged: of them, those that diverged, ended worse than their trivial baseline or in no finite number.
        finished: whether every seed came to its end.
        seconds: of training and evaluation, summed over groups.
        poor: where no seed counts, the mean over the finite values of those that ended worse than their trivial baseline.
    """

    experiment: str
    metric: str
    unit: str
    interval: Interval
    std: float
    mc_se: float
    values: tuple[float | None, ...]
    n: int
    seeds: int
    diverged: int
    finished: bool
    seconds: float
    poor: Interval | None = None

    @property
    def mean(self) -> float:
        """Over the seeds that did not diverge."""
        return self.interval.mean

    @property
    def low(self) -> float:
        """Lower end of the interval; nan of fewer than two seeds."""
        return self.interval.low

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.interval.high

    @property
    def shown(self) -> Interval:
        """The mean that a table shows: of a run that keeps no seed that of those which ended worse than their baseline."""
        return self.poor or self.interval

    @property
    def facts(self) -> dict[str, Any]:
        """Everything by name, the interval by its ends."""
        ends = {"mean": self.mean, "low": self.low, "high": self.high, "interval": self.interval.method}
        first = {"experiment": self.experiment, "metric": self.metric, "unit": self.unit, **ends}
        return first | {key: value for key, value in vars(self).items() if key not in first}
