"""Step-size schedules: a factor on the optimiser's step size, tied to the run's own number of steps."""

import math
from collections.abc import Callable

# (updates done, updates of the whole run) -> factor.
Schedule = Callable[[int, int], float]


def constant() -> Schedule:
    """The factor 1."""
    return lambda step, steps: 1.0


def cosine(warmup: float = 0.0, end: float = 0.0) -> Schedule:
    """Rise linearly over the fraction ``warmup``, then fall to ``end`` along half a cosine (arXiv 1608.03983)."""

    def factor(step: int, steps: int) -> float:
        done = step / max(steps, 1)
        if done < warmup:
            return (step + 1) / (warmup * steps + 1)
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(1 - warmup, 1e-12)))

    return factor


def linear(delay: float = 0.0, end: float = 0.0) -> Schedule:
    """1 over the fraction ``delay``, then a straight line to ``end`` at the last step."""

    def factor(step: int, steps: int) -> float:
        done = step / max(steps, 1)
        return 1.0 if done < delay else 1 - (1 - end) * (done - delay) / max(1 - delay, 1e-12)

    return factor


def fixed_horizon(delay: int, horizon: int) -> Schedule:
    """1 - max(0, step - delay) / (horizon - delay): the first source's rule, whose horizon ignores the run's length.

    It turns negative beyond ``horizon``; kept as a named ablation only.
    """
    return lambda step, steps: 1 - max(0, step - delay) / (horizon - delay)


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "constant": constant,
    "cosine": lambda: cosine(warmup=0.02),
    "linear": lambda: linear(delay=0.5),
}
