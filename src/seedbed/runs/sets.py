"""Sets of pictures by name: a run's draws, a split of data, a folder, an array. Any two of them can be compared."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedbed.core.errors import SeedbedError
from seedbed.data import is_own, load, names
from seedbed.judge.intervals import Interval, interval
from seedbed.runs.features import features_of
from seedbed.runs.load import Run
from seedbed.runs.load import load as load_run

if TYPE_CHECKING:
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.features.known import Features
    from seedbed.evaluate.quality.sight import Sight

ARRAYS = (".npy", ".npz")


@dataclass(frozen=True)
class PictureSet:
    """Pictures that stand for one law, or one set of them for each seed.

    Args:
        name: what it is.
        shape: of a picture.
        count: how many there are; ``None`` of a model, which draws any.
        drawn: whether a model made them.
        look: ``(n, features, memory_gib) -> one sight for each seed``.
    """

    name: str
    shape: tuple[int, ...]
    count: int | None
    drawn: bool
    look: "Callable[[int, Features, float], list[Sight]]"


@dataclass(frozen=True)
class Compared:
    """One number between two sets.

    Args:
        metric: with its features.
        value: mean over seeds, and its interval where there are two or more.
        error: of one seed's number over the pictures; ``nan`` where none is known.
    """

    metric: str
    value: Interval
    error: float


def is_set(name: str) -> bool:
    """Whether a name means pictures and no run: ``mnist:test``, ``folder:DIR``, ``array:FILE``, or a path to either."""
    path = Path(name)
    if is_own(name) or (path.suffix in ARRAYS and path.is_file()):
        return True
    data, colon, split = name.rpartition(":")
    if colon and data in names():
        return bool(split)
    return path.is_dir() and not any(path.glob("run.json")) and not any(path.glob("**/run.json"))


def picture_set(name: str) -> PictureSet:
    """The set of a name, or of a run.

    Raises:
        SeedbedError: for what holds no pictures.
    """
    if not is_set(name):
        return _of_run(load_run(name))
    path = Path(name)
    data, _, split = name.rpartition(":")
    if not is_own(name) and data in names():
        found = load(data)
        if split not in found.splits:
            raise SeedbedError(f"{data} has no split {split!r}; it has {', '.join(found.splits)}")
        return _of_data(found, [split], name)
    if path.suffix == ".npz" and (many := _of_seeds(path)) is not None:
        return many
    own = name if is_own(name) else f"{'folder' if path.is_dir() else 'array'}:{name}"
    found = load(own)
    return _of_data(found, list(found.splits), name)


def _of_data(data: "Dataset", splits: Sequence[str], name: str) -> PictureSet:
    from seedbed.evaluate.quality.sight import of_source, seen

    _check_shape(data.shape, name)

    def look(count: int, features: "Features", memory_gib: float) -> "list[Sight]":
        parts = [(data.splits[split], len(data.splits[split])) for split in splits]
        each = _shares(count, [n for _, n in parts])
        pictures = (of_source(source, data.domain, n) for (source, _), n in zip(parts, each, strict=True) if n)
        return [seen(chain.from_iterable(pictures), features)]

    return PictureSet(name, data.shape, sum(len(data.splits[split]) for split in splits), False, look)


def _shares(count: int, sizes: Sequence[int]) -> list[int]:
    """How many of each part make ``count``, in proportion."""
    ends = np.round(np.cumsum([0, *sizes]) * (count / sum(sizes))).astype(int)
    return np.diff(ends).tolist()


def _of_seeds(path: Path) -> PictureSet | None:
    """What ``seedbed sample`` wrote, a set for each seed; ``None`` of any other file."""
    import torch

    from seedbed.core.domain import REAL, Domain
    from seedbed.evaluate.quality.sight import scaled, seen

    with suppress(OSError, ValueError), np.load(path, allow_pickle=False) as arrays:
        if {"x", "seeds"} <= set(arrays.files):
            x = torch.from_numpy(arrays["x"])
            _check_shape(tuple(x.shape[2:]), str(path))
            domain = REAL if float(x.max()) <= 1 else Domain("levels", int(x.max()) + 1)
            look = lambda count, features, _: [seen([scaled(one[:count], domain)], features) for one in x]
            return PictureSet(str(path), tuple(x.shape[2:]), x.shape[1], True, look)
    return None


def _of_run(run: Run) -> PictureSet:
    from seedbed.core.domain import Domain
    from seedbed.evaluate.quality.sight import seen_models

    shape, domain = tuple(run.manifest.data.get("shape", ())), Domain.parse(str(run.manifest.data.get("domain", "real")))
    _check_shape(shape, str(run.path))

    def look(count: int, features: "Features", memory_gib: float) -> "list[Sight]":
        return [one for _, stack in run.stacks() for one in seen_models(stack, domain, count, features, memory_gib)]

    return PictureSet(run.manifest.experiment, shape, None, True, look)


def _check_shape(shape: Sequence[int], name: str) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise SeedbedError(f"{name} holds no pictures [1 or 3, height, width] but {list(shape)}")


def compare_sets(
    a: PictureSet, b: PictureSet, ways: Sequence[str], features: str = "", pictures: int = 10_000, memory_gib: float = 4.0
) -> tuple[list[Compared], str]:
    """Distances between two sets of as many pictures, and how they were measured, in words.

    Of precision and its kin the examples are the set that no model drew; of two such the second one.

    Args:
        a: one set.
        b: the other.
        ways: of ``measures.WAYS``.
        features: see ``features.features_of``.
        pictures: of each side, at most.
        memory_gib: for draws at once.

    Raises:
        SeedbedError: for pictures of unlike size, two sets of a model's, or too few for what is asked.
    """
    from seedbed.evaluate.quality.measures import compared

    if a.shape != b.shape:
        raise SeedbedError(
            f"pictures of {a.name} are {list(a.shape)}, those of {b.name} {list(b.shape)}; make them alike, e.g. "
            f"folder:DIR,size={b.shape[1]},colour={'grey' if b.shape[0] == 1 else 'rgb'}"
        )
    draws, examples = (b, a) if b.drawn and not a.drawn else (a, b)
    if examples.drawn:
        raise SeedbedError(f"{a.name} and {b.name} are both draws of models; compare each with examples, e.g. mnist:test")
    network = features_of(features, a.shape, f"{a.name} {b.name}")
    network.check(a.shape, a.name)
    count = min([pictures, *(one.count for one in (a, b) if one.count is not None)])
    seen, (held,) = draws.look(count, network, memory_gib), examples.look(count, network, memory_gib)
    found = {}
    for way in ways:
        found |= compared(way, seen, held, network)
    words = f"{count} pictures of each, {draws.name} against {examples.name}, in the features {network.words}"
    if draws.count is not None and draws.count != (examples.count or 0):
        words += f"; there are {draws.count} and {examples.count}"
    return _rows({name: values.numpy() for name, (values, _) in found.items()}), words


def _rows(found: Mapping[str, np.ndarray]) -> list[Compared]:
    rows = []
    for name, values in found.items():
        metric, _, tag = name.partition("@")
        if metric.startswith("sizes/") or metric.endswith("_error"):
            continue
        means, n = values.mean(1), values.shape[1]
        if n > 1:
            error = float(values.std(1, ddof=1).mean() / math.sqrt(n))
        else:
            error = float(found.get(f"{metric}_error@{tag}", np.array([[math.nan]])).mean())
        rows.append(Compared(name, interval(means, rng=np.random.default_rng(0)), error))
    return rows
