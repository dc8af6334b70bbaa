"""A data set: named splits, their domain, and the protocol that made them."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from seedbed.core.domain import Domain
from seedbed.core.noise import Noise
from seedbed.core.units import Units
from seedbed.data.source import Source, in_memory

Value = TypeVar("Value")


@dataclass(frozen=True, init=False)
class Dataset:
    """Splits, ready to be gathered from.

    Args:
        name: the registered name.
        domain: what one component of an example is (after ``view``).
        protocol: one line that names the split, binarisation and sizes; goes into every result row.
        splits: ``train``, ``valid`` and ``test``, each a ``Source`` (a tensor becomes one in memory): pictures are
            ``[channels, height, width]``, vectors ``[features]``, a sequence of tokens ``[]``. ``valid`` and ``test`` are
            final: a random binarisation of them was drawn once, from the ``eval`` stream.
        view: how a training batch is drawn from stored examples, e.g. a Bernoulli draw per batch; ``None`` as stored.
        refresh: how long one draw of ``view`` lasts. ``batch``: each batch is drawn anew. ``epoch``: an example is the same
            whenever it is met within a pass, so its noise is keyed by seed, pass and example (see ``batches.Redrawn``).
        epoch_size: examples that count as one epoch; the size of ``train`` unless the set stands for a density.
        log_density: exact ``log p*(x)`` in nats where it is known, else ``None``.
        entropy: differential entropy of ``log_density`` in nats, the floor of any model's expected loss.
        labels: class of each example per split, where there are any.
        units: of real data of one's own: the splits are in them, and a model is shown ``standardised`` values (see
            ``models.standardised``). ``None`` of what a model is shown as it is.
    """

    name: str
    domain: Domain
    protocol: str
    splits: Mapping[str, Source]
    view: Callable[[Tensor, Noise], Tensor] | None
    refresh: Literal["batch", "epoch"]
    epoch_size: int
    log_density: Callable[[Tensor], Tensor] | None
    entropy: float | None
    labels: Mapping[str, Tensor]
    units: Units | None

    def __init__(
        self,
        *,
        name: str,
        domain: Domain,
        protocol: str,
        splits: Mapping[str, Tensor | Source],
        view: Callable[[Tensor, Noise], Tensor] | None = None,
        refresh: Literal["batch", "epoch"] = "batch",
        epoch_size: int = 0,
        log_density: Callable[[Tensor], Tensor] | None = None,
        entropy: float | None = None,
        labels: Mapping[str, Tensor] | None = None,
        units: Units | None = None,
    ) -> None:
        sources = in_memory(splits)
        vars(self).update(name=name, domain=domain, protocol=protocol, splits=sources, view=view, refresh=refresh)
        vars(self).update(epoch_size=epoch_size or len(sources["train"]), log_density=log_density, entropy=entropy)
        vars(self).update(labels=labels or {}, units=units)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.splits["train"].shape

    @property
    def features(self) -> int:
        """Numbers per example."""
        return math.prod(self.shape)

    @property
    def standardised(self) -> "Dataset":
        """The same examples without units, as a model is shown them; the data themselves where they have none."""
        units = self.units
        if units is None:
            return self
        splits = {name: source.map(units.inward) for name, source in self.splits.items()}
        return self.once("standardised", lambda: replace(self, splits=splits, units=None))

    def once(self, name: str, make: Callable[[], Value]) -> Value:
        """What is made of the data is made once, and kept with them.

        Args:
            name: what it is.
            make: makes it.
        """
        kept: dict[str, Any] = vars(self).setdefault("_once", {})
        if name not in kept:
            kept[name] = make()
        return kept[name]

    def to(self, device: torch.device) -> "Dataset":
        """The same set on another device."""
        return replace(self, splits={name: source.to(device) for name, source in self.splits.items()})

    def checksum(self) -> str:
        """SHA-256 over all splits, for the manifest; of what is streamed, over the checksum of its file."""
        digest = hashlib.sha256()
        for name in sorted(self.splits):
            digest.update(name.encode())
            digest.update(self.splits[name].digest())
        return digest.hexdigest()
