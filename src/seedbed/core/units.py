"""The units of real data, and numbers without any: a location and a scale for each value of an example."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Units:
    """x = location + scale * u, with u what a model is shown and x what its data are kept in.

    A density of u is one of x once log |det dx/du| = sum log scale is taken off, whatever the two numbers are: they need not
    be the moments exactly, so they are kept as fp32.

    Args:
        location: ``[features]`` of vectors, ``[channels, 1, 1]`` of pictures.
        scale: of the same shape, above 0.
    """

    location: Float[Tensor, "..."]
    scale: Float[Tensor, "..."]

    def inward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """u = (x - location) / scale, ``[*batch, *example]``."""
        return (x - self.location.to(x)) / self.scale.to(x)

    def outward(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """x = location + scale * u, ``[*batch, *example]``."""
        return torch.addcmul(self.location.to(u), self.scale.to(u), u)

    def log_volume(self, shape: tuple[int, ...]) -> Float[Tensor, ""]:
        """sum log scale over the values of an example of ``shape``, in nats."""
        return self.scale.log().expand(shape).sum()


class HasUnits(ABC):
    """A model of standardised values that scores and draws examples in the units of its data."""

    @property
    @abstractmethod
    def standard(self) -> nn.Module:
        """The model of the standardised values."""

    @property
    @abstractmethod
    def units(self) -> Units:
        """Of the data."""


def standard_of(model: Any) -> Any:
    """The model of the standardised values, of a model that has units; another as it is.

    A game whose value depends on the distance of examples, such as a penalty on a slope, is played there: in units of their
    own a column of thousands would drown one of fractions.
    """
    return model.standard if isinstance(model, HasUnits) else model


def standardised_for(model: Any, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """What ``standard_of`` of the model is shown of examples ``[*batch, *example]``."""
    return model.units.inward(x) if isinstance(model, HasUnits) else x
