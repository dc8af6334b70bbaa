"""Data of one's own: tables, arrays, a folder of images, a data frame, a ``torch.utils.data.Dataset``.

What the values are is read off them, whatever their type: if all are 0 or 1 they are binary; whole numbers 0..255, or the
fractions k/255 that ``ToTensor`` makes of them, are levels; all other floats are real. One set of examples is shuffled (by
the seed of the data) and split 80 / 10 / 10; of splits that are given, a missing one is a tenth of train. An array may stay
in its file (``stream=yes``): the same splits of the same values, of which only a batch is in memory.

Real numbers keep their units: a model is shown them standardised by the training split (``core.units``), and scores and
draws them as they are.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from seedbed.core.domain import REAL, Domain
from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.data import load
from seedbed.data.columns import check_columns, listed, origins, wanted
from seedbed.data.dataset import Dataset
from seedbed.data.formats import read_arrays
from seedbed.data.images import Binarisation, floats, grey_images
from seedbed.data.items import collect, numpy_of
from seedbed.data.paths import expanded
from seedbed.data.source import InMemory, Mapped, Source, open_array
from seedbed.data.splits import KNOWN, SPLITS, completed, splits_among
from seedbed.data.tables import of_frame, read_table
from seedbed.data.units import units_of
from seedbed.data.values import kind_of

if TYPE_CHECKING:
    import pandas as pd

BINARISE: dict[str, Binarisation] = {"none": "none", "threshold": "threshold", "epoch": "epoch", "dynamic": "batch"}
_VALUES = ("binarise", "levels", "standardise")
_TABLE = ("columns", "drop", "separator", "decimal", "header", "split")
OPTIONS = {
    "folder": ("size", "crop", "colour", "stream", *_VALUES),
    "array": ("key", "columns", "drop", "stream", *_VALUES),
    "csv": (*_TABLE, *_VALUES),
}


def own(name: str, seed: int = 0) -> Dataset:
    """The data that a name stands for, e.g. ``csv:t.csv,drop=id`` or ``folder:pics,size=28,binarise=dynamic``.

    Args:
        name: the kind, a colon, a path, and options ``,key=value``; they are in ``OPTIONS``.
        seed: seed of the split.

    Raises:
        SeedbedError: for anything that is not as ``tables.read_table``, ``folder.read_folder`` or ``formats.read_arrays``
            wants it.
    """
    kind, path, options = parse(name)
    values: dict[str, Any] = {key: options.pop(key) for key in _VALUES if key in options}
    if kind == "csv":
        table = read_table(path, **options)
        return from_arrays(table.splits, name=name, title=table.title, names=table.names, table=True, seed=seed, **values)
    if (stream := options.pop("stream", "no")) not in ("yes", "no"):
        raise unknown("stream", stream, ("yes", "no"))
    if kind == "folder":
        from seedbed.data.folder import read_folder, stream_folder

        if stream == "yes":
            _refuse_epoch(values)
            paths, title = stream_folder(path, **options)
            return streamed(paths, name=name, title=title, seed=seed, **values)
        given, title = read_folder(path, **options)
        return from_arrays(given, name=name, title=title, seed=seed, **values)
    if stream == "yes":
        if options:
            raise SeedbedError(f"{next(iter(options))} has no say in an array that is streamed; leave it or stream=yes out")
        return streamed({"train": path}, name=name, title=path.name, seed=seed, **values)
    given = read_arrays(path, options.pop("key", ""))
    values |= options
    return from_arrays(given, name=name, title=path.name, seed=seed, **values)


def as_dataset(data: Any, *, name: str = "own", seed: int = 0, **options: Any) -> Dataset:
    """Whatever holds examples as a ``Dataset``.

    Args:
        data: a registered name or one of one's own (``csv:t.csv``); an array or a tensor ``[examples, ...]``;
            a mapping from splits to such; a data frame; a ``torch.utils.data.Dataset``; a ``Dataset``, which it stays.
        name: what to call it, where it has none.
        seed: seed of the split.
        options: of ``from_arrays``, and of a frame ``columns``, ``drop``, ``split``.

    Raises:
        SeedbedError: for anything else, and as ``from_arrays``.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str):
        return load(data, seed=seed)
    if isinstance(data, np.ndarray | Tensor):
        data = {"train": data}
    if isinstance(data, Mapping):
        named = {str(key): values for key, values in data.items()}
        given = {split: named[key] for split, key in splits_among(named, name).items()}
        if odd := [key for key in named if key not in splits_among(named, name).values()]:
            raise SeedbedError(f"{name} has {listed(odd)}, no splits; a split is one of {KNOWN}")
        arrays = {split: _array(values, split) for split, values in given.items()}
        return from_arrays(arrays, name=name, seed=seed, **{"channels_first": True, **options})
    if isinstance(data, TorchDataset):
        return from_torch(data, name=name, seed=seed, **options)
    if type(data).__name__ == "DataFrame" and hasattr(data, "dtypes"):
        return from_frame(data, name=name, seed=seed, **options)
    raise SeedbedError(
        "data must be a name, an array, a tensor, a mapping from splits to those, a data frame, a torch data set or a "
        f"Dataset, got {type(data).__name__}"
    )


def from_frame(
    frame: "pd.DataFrame", *, name: str = "own", columns: str = "", drop: str = "", split: str = "", **options: Any
) -> Dataset:
    """A data set of the rows of a data frame; see ``tables.of_frame`` and ``from_arrays``."""
    table = of_frame(frame, name if ":" in name else f"the data frame {name}", columns, drop, split)
    return from_arrays(table.splits, name=name, title=table.title, names=table.names, table=True, **options)


def parse(name: str) -> tuple[str, Path, dict[str, str]]:
    """Kind, path and options of a name; SeedbedError for an option that is not the kind's or is given twice, or no path."""
    kind, _, rest = name.partition(":")
    path, *parts = rest.split(",")
    while parts and "=" not in parts[0]:  # a comma of the path itself
        path += "," + parts.pop(0)
    if not path:
        raise SeedbedError(f"data {name!r} names no path; write {kind}:PATH")
    options = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in OPTIONS[kind]:
            raise unknown(f"option of {kind}:", key, OPTIONS[kind])
        if key in options:
            raise SeedbedError(f"data {name!r} has {key} twice, {options[key]} and {value}; keep one")
        options[key] = value
    return kind, expanded(path), options


def from_torch(
    train: TorchDataset[Any],
    valid: TorchDataset[Any] | None = None,
    test: TorchDataset[Any] | None = None,
    *,
    name: str = "own",
    **options: Any,
) -> Dataset:
    """A data set in memory from map-style or iterable ``torch.utils.data.Dataset`` objects.

    Args:
        train: its items are an image or a vector, or tuples that begin with one: tensors or arrays ``[values]``,
            ``[height, width]``, ``[channels, height, width]`` (or channels last), or Pillow images.
        valid: as ``train``; by default split off.
        test: as ``train``; by default split off.
        name: what to call it.
        options: of ``from_arrays``: ``binarise``, ``levels``, ``standardise``, ``seed``.

    Raises:
        SeedbedError: if the items differ in shape, are no numbers, or are too few to split.
    """
    sets = {"train": train, "valid": valid, "test": test}
    with told(f"the data set {type(train).__name__}"):
        given = {split: collect(items, split) for split, items in sets.items() if items is not None}
    return from_arrays(given, name=name, title=f"{type(train).__name__} in memory", channels_first=True, **options)


def from_arrays(
    given: Mapping[str, np.ndarray],
    *,
    name: str = "own",
    title: str = "arrays in memory",
    binarise: str = "none",
    levels: str | int = "",
    standardise: str = "yes",
    columns: str = "",
    drop: str = "",
    seed: int = 0,
    channels_first: bool = False,
    names: Sequence[str] = (),
    table: bool = False,
    plain: bool = False,
) -> Dataset:
    """A data set from arrays of examples, which keep their shape, channels first.

    Args:
        given: ``train``, and what there is of ``valid`` and ``test``. Each ``[examples, values]``, ``[examples, height,
            width]``, or with 1 or 3 channels before or behind the sides.
        name: what to call it.
        title: what it is, for the protocol.
        binarise: ``none``, ``threshold``, ``epoch`` or ``dynamic``.
        levels: how many levels the values are, or ``no`` for real numbers; by default looked up.
        standardise: ``yes`` shows a model real numbers standardised by the training split; ``no`` as they are.
        columns: of vectors those that are kept, between ``+``, by name or as ``#1``, ``#2``, ...
        drop: of vectors those that are left out.
        seed: seed of the split.
        channels_first: where both the first and the last axis of an example could be the channels, it is the first.
        names: of the numbers of a vector.
        table: whether the vectors are rows of a table (see ``values.kind_of``).
        plain: whether they are for a loss of one's own: shown as they are, of whatever columns.

    Raises:
        SeedbedError: if the arrays do not fit together, hold no usable numbers, or are too few to split; for real vectors
            also if a density of them is infinite (see ``columns.check_columns``).
    """
    if "train" not in given or set(given) - set(SPLITS):
        raise SeedbedError(f"{name} has splits {', '.join(given) or 'none'}; expected train, and of valid and test what is")
    laid = {split: _laid(array, f"{split} of {name}", channels_first) for split, array in given.items()}
    if len(shapes := {array.shape[1:] for array in laid.values()}) > 1:
        raise SeedbedError(f"the splits of {name} hold examples of different shapes: {sorted(shapes)}; make them alike")
    (shape,) = shapes
    names = list(names) or [f"#{i + 1}" for i in range(shape[0])]
    if columns or drop:
        if len(shape) > 1:
            raise SeedbedError(f"{name} holds pictures {list(shape)}; columns and drop choose numbers of vectors")
        kept = wanted(names, columns, drop, name)
        laid, names = {split: array[:, kept] for split, array in laid.items()}, [names[i] for i in kept]
    domain, numbers = kind_of(laid, name, str(levels), table, plain)
    if domain == REAL and len(shape) == 1 and not plain:
        together = np.concatenate([*laid.values()]).astype(np.float64, copy=False)
        if said := check_columns(together, names, name):
            title = f"{title}, {said}"
        start = origins(together)
        if far := [f"{names[i]} from {start[i]:.15g}" for i in np.flatnonzero(start)]:
            title = f"{title}, counted so that fp32 can tell values apart: {listed(far)}"
            numbers = partial(_counted, start)
    sources = {split: InMemory(numbers(array)) for split, array in laid.items()}
    return _dataset(sources, domain, name, title, binarise, "no" if plain else standardise, seed, names)


def _counted(start: np.ndarray, values: np.ndarray) -> Tensor:
    """fp32 of what is left beyond where each column is counted from, subtracted in fp64."""
    return floats(values.astype(np.float64) - start)


def streamed(
    given: Mapping[str, Path],
    *,
    name: str = "own",
    title: str = "arrays in files",
    binarise: str = "none",
    levels: str = "",
    standardise: str = "yes",
    seed: int = 0,
) -> Dataset:
    """The data set that ``from_arrays`` makes of the arrays in ``.npy`` files, whose examples stay there.

    Their values are passed through in pieces, to know what they are.

    Args:
        given: by split the file of an array as ``from_arrays`` takes them.
        name: what to call it.
        title: what it is, for the protocol.
        binarise: ``none``, ``threshold`` or ``dynamic``; the bits of validation and test are kept, a byte each.
        levels: see ``from_arrays``.
        standardise: see there.
        seed: seed of the split.

    Raises:
        SeedbedError: as ``from_arrays``, and for a file that is no ``.npy``.
    """
    _refuse_epoch({"binarise": binarise})
    layouts = {split: partial(_laid, what=f"{split} of {name}", channels_first=False) for split in given}
    examples = {split: layouts[split](open_array(path)) for split, path in given.items()}
    domain, numbers = kind_of(examples, name, levels)
    names = [f"#{i + 1}" for i in range(examples["train"].shape[1])]
    sources = {split: Mapped(path, layouts[split], numbers) for split, path in given.items()}
    return _dataset(sources, domain, name, title, binarise, standardise, seed, names)


def _refuse_epoch(values: Mapping[str, Any]) -> None:
    if values.get("binarise") == "epoch":
        raise SeedbedError(
            "binarise=epoch keeps all draws of a pass in memory, so it cannot be streamed; choose dynamic or threshold"
        )


def _dataset(
    given: Mapping[str, Source],
    domain: Domain,
    name: str,
    title: str,
    binarise: str,
    standardise: str,
    seed: int,
    names: Sequence[str],
) -> Dataset:
    if not isinstance(binarise, str) or binarise not in BINARISE:
        raise unknown("binarisation", binarise, BINARISE)
    if standardise not in ("yes", "no"):
        raise unknown("standardise", standardise, ("yes", "no"))
    splits, how = completed(given, name, seed)
    protocol = f"{how}: {' / '.join(str(len(splits[split])) for split in SPLITS)}"
    if domain.kind == "levels":
        assert domain.size is not None, "levels have a number"
        how = BINARISE[binarise]
        return grey_images(name, title, "own", splits, protocol, binarise=how, levels=domain.size)
    if binarise != "none":
        raise SeedbedError(
            f"{name} is {domain} data; binarise takes 8-bit levels 0..255, so leave it out or scale the values"
        )
    units = units_of(splits["train"], names, name) if domain == REAL and standardise == "yes" else None
    shown = ", models of Seedbed are shown them standardised by train" if units is not None else ""
    protocol = f"{title}, {domain} values{shown}; {protocol}"
    return Dataset(name=name, domain=domain, protocol=protocol, splits=splits, units=units)


def _array(values: Any, split: str) -> np.ndarray:
    """Examples as an array, whatever holds them."""
    if isinstance(values, TorchDataset):
        return collect(values, split)
    if np.ma.is_masked(values):
        raise SeedbedError(f"{split} has masked values; fill them, or remove their rows")
    return numpy_of(values, split) if isinstance(values, Tensor) else np.asarray(values)


def _laid(array: np.ndarray, what: str, channels_first: bool) -> np.ndarray:
    """Examples as they are kept: vectors ``[n, features]``, pictures ``[n, channels, height, width]``; a view."""
    if not array.size or array.ndim not in (2, 3, 4):
        raise SeedbedError(f"{what} has shape {list(array.shape)}; expected examples of 1 to 3 axes, and at least one value")
    if array.ndim == 2:
        return array
    if array.ndim == 3:
        return array[:, None]
    axes = [axis for axis in ((1, 3) if channels_first else (3, 1)) if array.shape[axis] in (1, 3)]
    if not axes:
        raise SeedbedError(f"{what} has shape {list(array.shape)}; expected 1 or 3 channels on the second or last axis")
    return np.moveaxis(array, axes[0], 1)
