"""The models of a run without its data: their numbers are in its checkpoints, the rest of what they need in its manifest."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from seedbed.core.domain import REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.units import Units
from seedbed.data.dataset import Dataset
from seedbed.data.source import InMemory, Source
from seedbed.experiments.experiment import Experiment
from seedbed.models.adapted import draws
from seedbed.train.batches import Batches
from seedbed.train.task import Task

EXAMPLES = 16  # of a placeholder; more than one, so that they have a spread


class NeedsData(SeedbedError):
    """A model was to be built without data, and reads them."""


class Absent(Source):
    """Examples that are not there: their shape is known, and reading one raises ``NeedsData``."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._shape, self._dtype = shape, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        """Of what would be gathered."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Where it would be."""
        return torch.device("cpu")

    def __len__(self) -> NoReturn:
        raise NeedsData("the number of examples was asked for, and the data are not there")

    def gather(self, rows: Tensor) -> NoReturn:
        """Nothing."""
        raise NeedsData("examples were asked for, and the data are not there")

    def map(self, function: Callable[[Tensor], Tensor]) -> "Absent":
        """As absent as before."""
        return self

    def to(self, device: torch.device) -> "Absent":
        """As absent as before."""
        return self

    def digest(self) -> NoReturn:
        """Nothing."""
        raise NeedsData("a checksum was asked for, and the data are not there")


class _Like(Batches):
    """The same batch ever again: what a model sets from its first is overwritten by what was trained."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __call__(self, streams: Sequence[Streams], number: int) -> Tensor:
        """``[seeds, EXAMPLES, *example]``."""
        return self.x.expand(len(streams), *self.x.shape)


def bare_task(experiment: Experiment, data: Mapping[str, Any]) -> Task:
    """What trained weights need of a task: the model's structure and who owns what of it; nothing to train or measure on.

    Args:
        experiment: the declaration.
        data: what the manifest says of them: domain, shape and, where they have some, units.

    Raises:
        NeedsData: if that does not say enough (older manifests). A model that reads the data for more than where its
            parameters start raises it when it is built.
    """
    if not {"name", "domain", "shape"} <= data.keys():
        raise NeedsData("the manifest does not say what the data are")
    domain, shape = Domain.parse(data["domain"]), tuple(data["shape"])
    like = _values(domain, shape)
    source = InMemory(like) if experiment.model.starts_only else Absent(shape, like.dtype)
    units = _units(data["units"]) if data.get("units") else None
    stand_in = Dataset(
        name=str(data["name"]),
        domain=domain,
        protocol=str(data.get("protocol", "")),
        splits=dict.fromkeys(("train", "valid", "test"), source),
        epoch_size=EXAMPLES,
        units=units,
    )
    return Task(
        build=lambda: experiment.build(stand_in),
        game=experiment.objective.game(experiment.training, experiment.model),
        data=stand_in,
        batches=_Like(like),
        steps=experiment.training.steps,
        eval_every=experiment.training.eval_every,
        measure=lambda stack, split: {},
        select="",
        precision=experiment.training.precision,
    )


def check_draws(module: nn.Module, experiment: str) -> None:
    """Refuse a model that no example can be drawn from.

    Raises:
        SeedbedError: by the name of its experiment.
    """
    if not draws(module):
        raise SeedbedError(f"{experiment} has no `sample(count)`: its model draws no examples")


def units_record(data: Dataset) -> dict[str, Any]:
    """The units of data as a manifest keeps them, so that their models draw in them without the data; empty if none."""
    if data.units is None:
        return {}
    return {"units": {"location": data.units.location.tolist(), "scale": data.units.scale.tolist()}}


def _units(record: Mapping[str, Any]) -> Units:
    return Units(torch.tensor(record["location"]), torch.tensor(record["scale"]))


def _values(domain: Domain, shape: tuple[int, ...]) -> Tensor:
    """Values of a domain with some spread, ``[EXAMPLES, *shape]``, the same every time."""
    ramp = torch.arange(EXAMPLES * prod(shape)).mul(7919).remainder(101).view(EXAMPLES, *shape)
    if domain == REAL:
        return ramp / 50 - 1
    whole = ramp % (domain.size or 2)
    return whole if domain.kind == "tokens" else whole.float()
