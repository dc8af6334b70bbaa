"""Whether a model can be one of some data, whether a batch can be, and what to do where it cannot."""

import warnings
from typing import TYPE_CHECKING

from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.experiments.model import Model
from seedbed.experiments.models import MODELS
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from seedbed.data.dataset import Dataset


def check_batch(model: Model, training: Training, data: "Dataset") -> None:
    """Before a new run: say that a usual batch is all of the data, where they are fewer, and refuse one that was chosen.

    Raises:
        SeedbedError: with the largest batch that there is.
    """
    size, there = training.batch_size, len(data.splits["train"])
    if size <= there:
        return
    if size not in {usual.batch_size for usual in (Training(), model.training, model.training_on(data.name))}:
        raise SeedbedError(
            f"batch size {size} is larger than the {there} training examples of {data.name}; say --batch-size {there} "
            f"(batch_size={there} in Python), or less"
        )
    warnings.warn(f"{data.name} has {there} training examples, so a batch is all of them, not {size}", stacklevel=2)


def check_fit(model: Model, name: str, domain: Domain, shape: tuple[int, ...]) -> None:
    """Refuse a model of data that it cannot be of, before anything is trained.

    Raises:
        SeedbedError: with the models that take such data, and data that the model takes.
    """
    from seedbed.data import entry, names

    why = model.misfit(domain, shape)
    if not why:
        return
    found = f"{name} is {domain}, [{', '.join(map(str, shape))}]"
    others = [key for key, other in MODELS.items() if not other.misfit(domain, shape)]
    sets = [key for key in names() if (e := entry(key)) is not None and not model.misfit(e.domain, e.shape)]
    # Of the same images in another form first.
    stem = name.partition(",")[0].split("-")[0]
    sets.sort(key=lambda key: (key.split("-")[0] != stem, len(e.shape) != len(shape) if (e := entry(key)) else True))
    advice = []
    if others:
        advice.append(f"models of such data: {', '.join(others)}")
    if options := _options(model, name, domain, shape):
        advice.append(f"put {options} behind its name")
    if sets:
        advice.append(f"data that it takes: {', '.join(sets[:4])}")
    raise SeedbedError(f"{model.title} {why}, and {found}; {'; '.join(advice) or 'choose another model'}")


def _options(model: Model, name: str, domain: Domain, shape: tuple[int, ...]) -> str:
    """What makes data of one's own fit a model, as it is put behind their name; empty where nothing does."""
    shapes = {"": shape}
    if name.startswith("folder:") and len(shape) == 3:
        sides = (28, 28)
        shapes |= {",colour=grey": (1, *shape[1:]), ",size=28": (shape[0], *sides), ",size=28,colour=grey": (1, *sides)}
    domains = {"": domain, **({",binarise=dynamic": BINARY} if domain.kind == "levels" and ":" in name else {})}
    found = (
        layout + kind
        for kind, numbers in domains.items()
        for layout, sides in shapes.items()
        if not model.misfit(numbers, sides) and not any(part.split("=")[0] in name for part in layout.split(",") if part)
    )
    return next(found, "")
