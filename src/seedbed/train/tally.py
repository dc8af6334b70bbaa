"""What the players' utilities returned since the last record."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Tally:
    """Running sums of what the players' utilities returned since the last record."""

    count: int = 0
    names: tuple[str, ...] = ()
    sums: Tensor | None = None  # [names, seeds]

    def add(self, names: tuple[str, ...], means: Tensor) -> None:
        """Take in one update's parts, ``[names, seeds]``."""
        self.sums = means.double() if self.sums is None else self.sums + means
        self.names = names
        self.count += 1

    def means(self) -> dict[str, Tensor]:
        """Mean of each part over the updates taken in."""
        return {} if self.sums is None else dict(zip(self.names, (self.sums / self.count).unbind(), strict=True))


def means_of(value: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
    """Each part's mean over the batch, ``[1 + parts, seeds]``, the utility first; parts are ``[seeds, ...]``."""
    rows = [value, *(part.flatten(1).mean(1) if part.ndim > 1 else part for part in parts.values())]
    return torch.stack([row.detach() for row in rows])
