"""A data set: named splits as tensors, their domain, and the protocol that made them."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Splits in memory, ready to be gathered from.

    Args:
        name: the registered name.
        domain: what one component of an example is (after ``view``).
        protocol: one line that names the split, binarisation and sizes; goes into every result row.
        splits: ``train``, ``valid`` and ``test``, each ``[examples, *shape]``. ``valid`` and ``test`` are final:
            a random binarisation of them was drawn once, from the ``eval`` stream.
        view: how a training batch is drawn from stored examples, e.g. a Bernoulli draw per batch; ``None`` as stored.
        refresh: how long one draw of ``view`` lasts. ``batch``: each batch is drawn anew. ``epoch``: an example is the same
            whenever it is met within a pass, so its noise is keyed by seed, pass and example (see ``batches.Redrawn``).
        epoch_size: examples that count as one epoch; the size of ``train`` unless the set stands for a density.
        log_density: exact ``log p*(x)`` in nats where it is known, else ``None``.
        entropy: differential entropy of ``log_density`` in nats, the floor of any model's expected loss.
        labels: class of each example per split, where there are any.
        image: channels, height and width of an example that is a picture laid out flat: ``x.view(-1, *image)`` shows it.
    """

    name: str
    domain: Domain
    protocol: str
    splits: Mapping[str, Tensor]
    view: Callable[[Tensor, Noise], Tensor] | None = None
    refresh: Literal["batch", "epoch"] = "batch"
    epoch_size: int = 0
    log_density: Callable[[Tensor], Tensor] | None = None
    entropy: float | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    image: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not self.epoch_size:
            object.__setattr__(self, "epoch_size", len(self.splits["train"]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.splits["train"].shape[1:])

    @property
    def features(self) -> int:
        """Numbers per example."""
        return math.prod(self.shape)

    def picture(self, model: str, *, side: int = 0, multiple: int = 1, channels: int = 1) -> tuple[int, int, int]:
        """Channels, height and width, once they are such that a net can take them.

        Args:
            model: what needs them, for the error.
            side: the only height and width that it takes; 0 for any.
            multiple: what height and width must be multiples of.
            channels: how many it takes; 0 for any.

        Raises:
            SeedbedError: otherwise, with the sizes that work.
        """
        works = f"{side} x {side}" if side else "any size" if multiple == 1 else f"sides that are multiples of {multiple}"
        works += {0: "", 1: ", grey"}.get(channels, f", {channels} channels")
        if self.image is None:
            raise SeedbedError(
                f"{model} takes images of {works}; {self.name} has {list(self.shape)} values that are no picture; "
                "store them as [examples, height, width]"
            )
        found, height, width = self.image
        fits = all(length == side if side else length % multiple == 0 for length in (height, width))
        if not fits or found != (channels or found):
            raise SeedbedError(
                f"{model} takes images of {works}; {self.name} has {height} x {width} with {found} channel"
                f"{'s' * (found > 1)}; of a folder, choose size= and colour="
            )
        return self.image

    def to(self, device: torch.device) -> "Dataset":
        """The same set on another device."""
        moved = {k: v.to(device) for k, v in self.splits.items()}
        return Dataset(**{**self.__dict__, "splits": moved})

    def checksum(self) -> str:
        """SHA-256 over all splits, for the manifest."""
        digest = hashlib.sha256()
        for name in sorted(self.splits):
            digest.update(name.encode())
            digest.update(self.splits[name].cpu().contiguous().numpy().data)
        return digest.hexdigest()
