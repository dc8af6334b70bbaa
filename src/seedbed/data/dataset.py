"""A data set: named splits as tensors, their domain, and the protocol that made them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from seedbed.core.domain import Domain
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
