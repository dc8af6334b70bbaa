"""The penalty on a critic's slope, told from outside: by a critic whose slope is 1 on the segments and steep beside them."""

from typing import Any

import torch
from torch import Tensor, nn

from seedbed.certificate.check import Finding
from seedbed.certificate.subject import Probe, Subject, need, value_of
from seedbed.core.context import Context
from seedbed.objectives.adversarial import Adversarial

EXACT = 1e-4  # of the distance: a root of a sum that may be zero carries 1e-12 within
BEND = 4.0


class Ridge(nn.Module):
    """f(x) = slope u (x - a) + bend / 2 |x - a beside u|^2, whose gradient has the norm ``slope`` along a + t u.

    Args:
        start: a, ``[size]``.
        along: u, of length 1, ``[size]``.
        slope: along the line.
        bend: beside it.
    """

    def __init__(self, start: Tensor, along: Tensor, slope: float, bend: float) -> None:
        super().__init__()
        self.start, self.along, self.slope, self.bend = start, along, slope, bend

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, *example]`` to ``[batch, 1]``."""
        offset = x.flatten(1) - self.start
        share = offset @ self.along
        beside = offset - share[:, None] * self.along
        return (self.slope * share + 0.5 * self.bend * beside.square().sum(-1))[:, None]


class Pair(nn.Module):
    """A critic, and a generator that makes one example over and over."""

    def __init__(self, critic: Ridge, fake: Tensor) -> None:
        super().__init__()
        self.critic, self.fake = critic, fake

    def generator(self, z: Tensor) -> Tensor:
        """The example, whatever z is."""
        return self.fake.expand(len(z), *self.fake.shape)

    def sample(self, count: int, ctx: Context) -> Tensor:
        """The example, ``count`` times."""
        return self.fake.expand(count, *self.fake.shape)


def on_the_segment(subject: Subject) -> Finding:
    """A critic of slope 1 on the segment between x and g(z) pays nothing; it would, for any point beside it."""
    need(isinstance(subject.model, Adversarial), "it has no critic")
    size = subject.size
    need(size > 1, "an example of one number has nothing beside the segment")
    start, end = torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64)
    along = (end - start) / size**0.5
    x = start.view(1, *subject.example).expand(64, *subject.example)

    def paid(utility: Any, slope: float, bend: float) -> Tensor:
        """What is lacking of f(x) - f(g(z)), per example."""
        pair = Pair(Ridge(start, along, slope, bend), end.view(subject.example))
        ctx = Context(subject.alone[0].noise("noise", "certificate", "penalty"))
        value = value_of(utility)(pair, x, ctx)[0]
        return -slope * size**0.5 - value

    for name, utility in subject.utilities.items():
        try:
            steep, level = paid(utility, 2.0, 0.0), paid(utility, 1.0, 0.0)
        except (AttributeError, TypeError, RuntimeError):
            continue  # it asks for more than a critic and draws
        if float(level.abs().max()) > EXACT or not bool((steep > EXACT).all()):
            continue  # no Wasserstein critic's utility, or one without a penalty
        excess = float(paid(utility, 1.0, BEND).abs().max())
        words = f"{name} charges a critic of slope 1 on the segment between x and g(z) nothing"
        if excess > EXACT:
            words = f"{name} takes the slope beside the segment between x and g(z): draw one t per example, not per number"
        return Finding(excess, EXACT, words)
    need(False, "none of its utilities is f(x) - f(g(z)) with a penalty on slopes other than 1")
    raise AssertionError("unreachable")


PROBES = (Probe("penalty", "the gradient penalty looks at the segment between x and g(z)", on_the_segment),)
