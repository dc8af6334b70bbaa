"""Sets of pictures by name: a run's draws, a split of data, a folder, an array. Any two of them can be compared."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from seedbed.core.errors import SeedbedError
from seedbed.core.metric import declared
from seedbed.core.numbers import whole
from seedbed.data import is_own, load, names
from seedbed.data.folder import SUFFIXES
from seedbed.judge.intervals import Interval, interval
from seedbed.runs.album import NOTE
from seedbed.runs.features import features_of
from seedbed.runs.load import Run
from seedbed.runs.load import load as load_run

if TYPE_CHECKING:
    from seedbed.core.domain import Domain
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
        data: the data set that they are of; empty where it is not known.
    """

    name: str
    shape: tuple[int, ...]
    count: int | None
    drawn: bool
    look: "Callable[[int, Features, float], list[Sight]]"
    data: str = ""


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
    """Whether a name means pictures and no run: ``mnist:test``, ``folder:DIR``, ``array:FILE``, or a path to either.

    Raises:
        SeedbedError: for a folder that holds both.
    """
    path = Path(name)
    if is_own(name) or (path.suffix in ARRAYS and path.is_file()):
        return True
    data, colon, split = name.rpartition(":")
    if colon and data in names():
        return bool(split)
    if not path.is_dir():
        return False
    runs = next(path.glob("**/run.json"), None)
    if runs is not None and any(one.suffix.lower() in SUFFIXES for one in path.iterdir()):
        raise SeedbedError(f"{name} holds pictures, and a run in {runs.parent}; say folder:{name}, or name the run")
    return runs is None


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
        return _of_data(found, [split], name, data)
    if path.suffix == ".npz" and (many := _of_seeds(path)) is not None:
        return many
    if path.is_dir() and (path / NOTE).is_file():
        return _of_files(path)
    own = name if is_own(name) else f"{'folder' if path.is_dir() else 'array'}:{name}"
    found = load(own)
    one = _of_data(found, list(found.splits), name, "")
    return replace(one, drawn=path.is_dir() and (path.parent / NOTE).is_file())


def _of_data(data: "Dataset", splits: Sequence[str], name: str, of: str) -> PictureSet:
    from seedbed.evaluate.quality.sight import of_source, seen, shuffled

    _check_shape(data.shape, name)
    if data.view is not None and "train" in splits:
        raise SeedbedError(f"{data.name} draws its training images anew; compare with its test or valid")

    def look(count: int, features: "Features", memory_gib: float) -> "list[Sight]":
        parts = [(data.splits[split], len(data.splits[split])) for split in splits]
        each = _shares(count, [n for _, n in parts])
        pictures = (of_source(source, data.domain, n) for (source, _), n in zip(parts, each, strict=True) if n)
        return [shuffled(seen(chain.from_iterable(pictures), features))]

    return PictureSet(name, data.shape, sum(len(data.splits[split]) for split in splits), False, look, of)


def _shares(count: int, sizes: Sequence[int]) -> list[int]:
    """How many of each part make ``count``, in proportion."""
    ends = np.round(np.cumsum([0, *sizes]) * (count / sum(sizes))).astype(int)
    return np.diff(ends).tolist()


def _of_files(path: Path) -> PictureSet:
    """A folder that ``seedbed sample`` wrote, a set for each seed."""
    many = [picture_set(f"folder:{seed}") for seed in sorted(path.glob("seed*")) if seed.is_dir()]
    if not many:
        raise SeedbedError(f"{path} holds no pictures of any seed yet; run the same `seedbed sample` command again")
    look = lambda count, features, gib: [one for part in many for one in part.look(count, features, gib)]
    return PictureSet(str(path), many[0].shape, min(part.count or 0 for part in many), True, look)


def _of_seeds(path: Path) -> PictureSet | None:
    """What ``seedbed sample`` wrote, a set for each seed; ``None`` of any other file."""
    import torch

    from seedbed.core.domain import Domain
    from seedbed.evaluate.quality.sight import scaled, seen

    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not {"x", "seeds"} <= set(arrays.files):
                return None
            array, said = arrays["x"], str(arrays["domain"]) if "domain" in arrays.files else ""
    except (OSError, ValueError, EOFError, BadZipFile):
        return None
    if array.dtype.kind not in "buif" or array.ndim != 5 or not array.size:
        raise SeedbedError(f"x of {path} must be draws [seeds, n, channels, height, width], got {list(array.shape)}")
    if lost := int((~np.isfinite(array.astype(float)).all(axis=(2, 3, 4))).sum()):
        raise SeedbedError(
            f"{lost} of {array.shape[0] * array.shape[1]} draws in {path} are not finite; leave that seed out"
        )
    _check_shape(array.shape[2:], str(path))
    x, domain = torch.from_numpy(array), Domain.parse(said) if said else _domain_of(array, path)
    look = lambda count, features, _: [seen([scaled(one[:count], domain, drawn=True)], features) for one in x]
    return PictureSet(str(path), tuple(x.shape[2:]), x.shape[1], True, look)


def _domain_of(array: np.ndarray, path: Path) -> "Domain":
    """What an older file of draws holds, which does not say it."""
    from seedbed.core.domain import BINARY, REAL, Domain

    if array.dtype.kind == "f" and (array != np.round(array)).any():
        return REAL
    if array.min() < 0 or array.max() > 255:
        raise SeedbedError(f"{path} does not say what its numbers are, and they are no grey levels; draw them again")
    return BINARY if array.max() <= 1 else Domain("levels", 256)


def _of_run(run: Run) -> PictureSet:
    from seedbed.core.domain import Domain
    from seedbed.evaluate.quality.sight import seen_models

    shape, domain = tuple(run.manifest.data.get("shape", ())), Domain.parse(str(run.manifest.data.get("domain", "real")))
    _check_shape(shape, str(run.path))
    stored = run.stored
    if not stored.finished:
        raise SeedbedError(f"{run.folder} is not finished; run the same command again to continue it, then compare")
    kept = [seed for seed in run.seeds if seed not in stored.lost]
    if not kept:
        raise SeedbedError(
            f"every seed of {run.folder} diverged or ended worse than its baseline; there is nothing to compare"
        )
    left = f" without {len(stored.lost)} of {len(run.seeds)} seeds that diverged" if stored.lost else ""

    def look(count: int, features: "Features", memory_gib: float) -> "list[Sight]":
        looked = {
            seed: one
            for group, stack in run.stacks(groups=run.groups_of(kept))
            for seed, one in zip(group, seen_models(stack, domain, shape, count, features, memory_gib)[0], strict=True)
        }
        return [looked[seed] for seed in kept]

    return PictureSet(run.manifest.experiment + left, shape, None, True, look, str(run.manifest.data.get("name", "")))


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

    pictures = whole("pictures", pictures, 2)
    if a.shape != b.shape:
        raise SeedbedError(
            f"pictures of {a.name} are {list(a.shape)}, those of {b.name} {list(b.shape)}; make them alike, e.g. "
            f"folder:DIR,size={b.shape[1]},colour={'grey' if b.shape[0] == 1 else 'rgb'}"
        )
    draws, examples = (b, a) if b.drawn and not a.drawn else (a, b)
    if examples.drawn:
        raise SeedbedError(f"{a.name} and {b.name} are both draws of models; compare each with examples, e.g. mnist:test")
    network = features_of(features, a.shape, f"{a.data} {b.data}")
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
        if metric.startswith(("sizes/", "along/")) or metric.endswith("_error"):
            continue
        means, n = values.mean(1), values.shape[1]
        if n > 1:
            error = float(values.std(1, ddof=1).mean() / math.sqrt(n))
        else:
            error = float(found.get(f"{metric}_error@{tag}", np.array([[math.nan]])).mean())
        rows.append(Compared(name, interval(means, rng=np.random.default_rng(0), within=declared(metric).range), error))
    return rows
