"""Where the scale of an observation model comes from: a network, one number that is learnt, or one that is given."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.distributions.numeric import LOG_SCALE_BOUND, soft_clamp

ScaleKind = Literal["learned", "shared", "fixed"]
NEAR = 0.99  # of the largest log-scale: at the bound itself a network's output is infinite


@dataclass(frozen=True, eq=False)
class Scale:
    """The scale s of a law with a location.

    Args:
        kind: ``learned``: one of each number, which a network returns; ``shared``: one for all, a parameter of the model;
            ``fixed``: one for all, as given.
        least: what s stays above: s = least + exp(r) for a raw log-scale r, which a soft clamp keeps within +-7.
        start: of a fixed scale its value; of a shared one where it starts.
        shared: r of a shared scale, ``[]``; see ``given``.

    Raises:
        SeedbedError: for a fixed scale that is not above 0, or lies below ``least``.
    """

    kind: ScaleKind = "learned"
    least: float = 0.0
    start: float = 1.0
    shared: Float[Tensor, ""] | None = None

    def __post_init__(self) -> None:
        if not (self.start > 0 and math.isfinite(self.start) and 0 <= self.least < math.inf):
            raise SeedbedError(f"a scale is above 0, and its bound not below; got {self.start:g}, bound {self.least:g}")
        if self.kind == "fixed" and self.start < self.least:
            raise SeedbedError(f"a fixed scale of {self.start:g} lies below its bound {self.least:g}; leave out one of them")

    @property
    def parameters(self) -> int:
        """Network outputs per number of an example: its location, and where s is learned also that."""
        return 2 if self.kind == "learned" else 1

    @property
    def raw_start(self) -> Float[Tensor, ""]:
        """r at which s is ``start``, or as near as it can be."""
        return self.raw(torch.tensor(self.start))

    def given(self, shared: Float[Tensor, ""]) -> "Scale":
        """With the parameter that all numbers share."""
        return replace(self, shared=shared)

    def split(self, raw: Float[Tensor, "*raw"], rank: int) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*#shape"]]:
        """A network's output as a location and log s, of which the latter broadcasts to the former.

        Args:
            raw: ``[*batch, parameters * features, ...]``, whose first event axis (features, or channels) holds all.
            rank: axes of an event.

        Raises:
            SeedbedError: of a shared scale that is not there.
        """
        if self.kind == "learned":
            location, r = raw.chunk(2, -rank)
            return location, self.bounded(r)
        if self.kind == "fixed":
            return raw, raw.new_full((), math.log(self.start))
        if self.shared is None:
            raise SeedbedError("a shared scale is a parameter of the model; build the law by models.observed.Observed")
        return raw, self.bounded(self.shared.to(raw))

    def bounded(self, r: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """log s = log(least + exp(r)) of raw log-scales."""
        r = soft_clamp(r)
        return torch.logaddexp(r, r.new_full((), math.log(self.least))) if self.least else r

    def raw(self, s: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """What ``bounded`` takes to make this of it, where a network can return it; else the nearest."""
        most = NEAR * LOG_SCALE_BOUND
        r = (s - self.least).clamp(min=math.exp(-most)).log().clamp(max=most)
        return LOG_SCALE_BOUND * torch.atanh(r / LOG_SCALE_BOUND)


LEARNED = Scale()
