"""What an experiment hands to the loop. The loop knows no model family: everything specific is a function in here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from seedbed.core.errors import unknown
from seedbed.core.noise import Noise, Streams
from seedbed.core.numbers import whole
from seedbed.core.stack import Precision, Stack
from seedbed.data.dataset import Dataset
from seedbed.train.batches import Batches
from seedbed.train.game import Game

# (stack, split) -> {metric: (values [seeds, n], unit)}; n is 1 of what is one number of a seed, not a mean over examples.
Measurement = Mapping[str, tuple[Tensor, str]]
Measure = Callable[[Stack, str], Measurement]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A training problem for one stack of seeds.

    Args:
        build: makes one seed's model; its weights come from the scoped ``init`` stream.
        game: who maximises what.
        data: the data set, for its name, protocol and checksum.
        batches: how training batches are drawn.
        view: how a batch, a pytree, is drawn from stored examples (see ``Dataset.view``).
        steps: updates of the whole run.
        eval_every: steps between validations.
        measure: metrics of a stack on a split, per example.
        select: the validation metric that a run is judged and stopped by.
        baseline: validation value of a trivial model; a run that ends worse is ``diverged``. ``None`` declares none.
        patience: validations without improvement after which a seed stops and returns to its best; 0 for never.
        precision: see ``Stack``.
        artefacts: arrays for pictures, ``{name: {key: [seeds, ...]}}``, made once at the end.
        reference: what they are pictured beside, the same for all seeds.
        splits: measured once, at the end.
        start: weights of each seed's model by name, instead of those that ``build`` drew.
        settings: numbers that differ between the rows of the stack, one per row and name (see ``Stack``).

    Raises:
        SeedbedError: for a setting that makes no sense.
    """

    build: Callable[[], nn.Module]
    game: Game
    data: Dataset
    batches: Batches
    steps: int
    eval_every: int
    measure: Measure
    select: str
    view: Callable[[Any, Noise], Any] | None = None
    baseline: float | None = None
    patience: int = 0
    precision: Precision = "fp32"
    artefacts: Callable[[Stack], Mapping[str, Mapping[str, np.ndarray]]] | None = None
    reference: Callable[[], Mapping[str, np.ndarray]] | None = None
    splits: Sequence[str] = ("test",)
    start: Sequence[Mapping[str, Tensor]] | None = None
    settings: Mapping[str, Sequence[float]] | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("eval_every", 1), ("patience", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        if self.precision not in get_args(Precision):
            raise unknown("precision", str(self.precision), get_args(Precision))

    @property
    def dtype(self) -> torch.dtype:
        """Working precision of everything that is not a matrix product."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def batch(self, streams: Sequence[Streams], number: int, device: torch.device) -> Any:
        """Batch ``number`` of every seed, ``[seeds, batch, ...]`` per leaf, where and as it is trained on."""
        move = lambda t: t.to(device, self.dtype if t.is_floating_point() else None)
        return tree_map(move, self.batches(streams, number))

    def seen(self, batch: Any, noise: Noise) -> Any:
        """What a seed is shown of a batch."""
        # A random view of the data (binarisation) belongs to what a seed is shown, hence to its order stream.
        return batch if self.view is None else self.view(batch, noise.of("order"))
