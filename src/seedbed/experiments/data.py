"""The data of an experiment: which set, and what of it a run is given."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seedbed.core.errors import SeedbedError
from seedbed.core.memory import check_memory
from seedbed.core.numbers import SEED_MOST
from seedbed.data import entry as registered
from seedbed.data import load
from seedbed.experiments.fields import Part, option, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seedbed.core.noise import Noise, Streams
    from seedbed.data import Entry
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.pictures import Artefacts, Reference
    from seedbed.experiments.training import Training
    from seedbed.train.batches import Batches


@dataclass(frozen=True)
class Data(Part):
    """A data set, its splits, and how batches are drawn from it."""

    data: str = option("", "data set")
    data_seed: int = option(0, "seed of the data, apart from the models'", least=0, most=SEED_MOST)

    @abstractmethod
    def load(self, seed: int | None = None) -> "Dataset":
        """The data of the declared data seed, or of another."""

    @property
    def entry(self) -> "Entry | None":
        """What a registered set is, before it is loaded; ``None`` of one's own."""
        return None

    def renamed(self, name: str) -> "Data | None":
        """The same kind of data of another name, where that is one of its own that no registry has."""
        return None

    @property
    def epoch_examples(self) -> int:
        """Examples that count as one epoch, known before the data are loaded; 0 where they are not."""
        return self.entry.examples if self.entry is not None else 0

    def batches(
        self, data: "Dataset", training: "Training", streams: "Sequence[Streams]"
    ) -> "tuple[Batches, Callable[[Any, Noise], Any] | None]":
        """Batches of the training split, at most all of it, and the view that is left to draw of each (see ``Task``).

        Raises:
            SeedbedError: if every seed shall have data of its own, and there are no more of them.
        """
        from seedbed.train.batches import batches_of

        if training.data_vary:
            raise SeedbedError(f"{data.name} has the same examples for every seed; vary init, order, noise or model")
        return batches_of(data, min(training.batch_size, len(data.splits["train"])))

    def pictured(self, data: "Dataset", codes: bool) -> "tuple[Artefacts | None, Reference | None]":
        """What is pictured of a model of these data at its end, and what that stands beside (see ``Task``).

        Args:
            data: the loaded data.
            codes: whether the model's latents mean something to the eye.
        """
        from seedbed.evaluate.pictures import artefacts_of

        return artefacts_of(data, codes)

    def baseline(self, data: "Dataset") -> float | None:
        """Validation loss in nats of a model that a trained one must beat; ``None`` where there is none."""
        from seedbed.evaluate.baseline import baseline

        return baseline(data)


@dataclass(frozen=True)
class Points(Data):
    """Independent draws of a two-dimensional density whose entropy is known."""

    data: str = option("8gaussians", "toy set")
    train_size: int = option(1_024_000, "training points", least=1)
    eval_size: int = option(100_000, "test points", least=1)
    valid_size: int = option(10_000, "validation points", least=1)

    @property
    def entry(self) -> "Entry | None":
        """Of the registry."""
        return registered(self.data)

    def load(self, seed: int | None = None) -> "Dataset":
        """The points of the declared data seed, or of another."""
        sizes = {"train_size": self.train_size, "eval_size": self.eval_size, "valid_size": self.valid_size}
        return load(self.data, seed=self.data_seed if seed is None else seed, **sizes)

    def batches(
        self, data: "Dataset", training: "Training", streams: "Sequence[Streams]"
    ) -> "tuple[Batches, Callable[[Any, Noise], Any] | None]":
        """Batches of the points, or of each seed's own."""
        import torch

        from seedbed.train.batches import Shuffled

        if not training.data_vary:
            return super().batches(data, training, streams)
        need = 8 * self.train_size * len(streams)
        check_memory(f"data of their own for {len(streams)} seeds", need, "make them fewer (--seeds, --train-size)")
        own = [self.load(self.data_seed + 1 + stream.seed).splits["train"][:] for stream in streams]
        return Shuffled(torch.stack(own), training.batch_size, per_seed=True), None

    def baseline(self, data: "Dataset") -> float:
        """Of the best single Gaussian, exactly."""
        from seedbed.data.toy import TOY

        return TOY[self.data].gaussian_nll


@dataclass(frozen=True)
class Examples(Data):
    """A registered data set, or one's own: ``csv:FILE``, ``array:FILE``, ``folder:PATH``."""

    @property
    def entry(self) -> "Entry | None":
        """Of the registry, unless it is one's own."""
        return registered(self.data) if self.data else None

    def load(self, seed: int | None = None) -> "Dataset":
        """The data of the declared seed, or of another.

        Raises:
            SeedbedError: if no data set is named, or there is none of that name.
        """
        if not self.data:
            raise SeedbedError("no data set is named; say which with -d, e.g. -d 8gaussians (see `seedbed data list`)")
        if self.data_seed and self.entry is not None and not self.entry.seeded:
            raise SeedbedError(f"{self.data} is the same for every seed of the data; leave --data-seed out")
        return load(self.data, seed=self.data_seed if seed is None else seed)


def data_named(name: str, like: Data | None = None) -> Data:
    """The declaration of a data set by name.

    Args:
        name: of a registered set, or of one's own.
        like: a declaration whose other settings it keeps, where it has them.

    Raises:
        SeedbedError: if there is no such data set.
    """
    if like is not None and (same := like.renamed(name)) is not None:
        return same
    found = registered(name) if name else None
    part = Points if found is not None and found.density else Examples
    kept = {} if like is None else {f.name: getattr(like, f.name) for f in settings_of(part) if hasattr(like, f.name)}
    return part(**{**kept, "data": name})
