"""Controllers: factors on the step size that validation decides, one per seed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from seedbed.core.numbers import number, whole

ControllerState = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Controller(ABC):
    """A schedule that sees each seed's validations. Its state is per seed, and part of the checkpoint."""

    @abstractmethod
    def init(self, seeds: int) -> ControllerState:
        """State before the first validation, ``[seeds]`` per entry."""

    @abstractmethod
    def see(self, state: ControllerState, value: Tensor, step: int, steps: int) -> ControllerState:
        """Take in one validation; seeds do not see each other.

        Args:
            state: what ``init`` or the last validation returned.
            value: the selected metric of each seed, ``[seeds]``, lower is better; anything of a seed that has ended.
            step: updates done.
            steps: updates of the whole run.
        """

    @abstractmethod
    def factor(self, state: ControllerState, step: int, steps: int) -> Tensor:
        """The factor on each seed's step size, ``[seeds]``."""


@dataclass(frozen=True, kw_only=True)
class Plateau(Controller):
    """Multiplies the factor by ``by`` once validation has stopped improving, as ``torch``'s ``ReduceLROnPlateau`` does.

    Args:
        by: what the factor, which starts at 1, is multiplied by.
        patience: validations without improvement that are put up with; the next one multiplies, and counting starts anew.
        least: the factor falls no lower.
        threshold: an improvement is a fall below the best value by more than this.

    Raises:
        SeedbedError: for a number that makes no sense.
    """

    by: float = 0.25
    patience: int = 0
    least: float = 1e-4
    threshold: float = 0.0

    def __post_init__(self) -> None:
        held = {
            "by": number("plateau: by", self.by, 0, 1, above=True, below=True),
            "patience": whole("plateau: patience", self.patience, 0),
            "least": number("plateau: least", self.least, 0, 1),
            "threshold": number("plateau: threshold", self.threshold, 0),
        }
        for name, value in held.items():
            object.__setattr__(self, name, value)

    def init(self, seeds: int) -> ControllerState:
        """Nothing seen yet."""
        infinite = torch.full((seeds,), torch.inf, dtype=torch.float64)
        return {"best": infinite, "since": torch.zeros(seeds, dtype=torch.int64), "factor": torch.ones_like(infinite)}

    def see(self, state: ControllerState, value: Tensor, step: int, steps: int) -> ControllerState:
        """Count the validations without improvement; a value that is no number is none."""
        better = value < state["best"] - self.threshold
        since = torch.where(better, 0, state["since"] + 1)
        due = since > self.patience
        return {
            "best": torch.where(better, value, state["best"]),
            "since": torch.where(due, 0, since),
            "factor": torch.where(due, (state["factor"] * self.by).clamp(min=self.least), state["factor"]),
        }

    def factor(self, state: ControllerState, step: int, steps: int) -> Tensor:
        """As it stands."""
        return state["factor"]
