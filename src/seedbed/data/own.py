"""Data of one's own: a folder of images, an array file, a ``torch.utils.data.Dataset``.

What the values are is read off them, whatever their type: if all are 0 or 1 they are binary; whole numbers 0..255, or the
fractions k/255 that ``ToTensor`` makes of them, are levels; all other floats are real. One set of examples is shuffled (by
the seed of the data) and split 80 / 10 / 10; beside a test set of its own a tenth is held out for validation. An array may
stay in its file (``stream=yes``): the same splits of the same values, of which only a batch is in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.noise import Streams
from seedbed.data.dataset import Dataset
from seedbed.data.images import Binarisation, floats, grey_images
from seedbed.data.source import PIECE, InMemory, Mapped, Rows, Source, open_array

SPLITS = ("train", "valid", "test")
PLAIN = ("1", "L", "RGB", "I", "I;16", "F")  # Pillow's modes whose numbers are what one sees
HELD_OUT = 2  # examples at least, for a standard error
BINARISE: dict[str, Binarisation] = {"none": "none", "threshold": "threshold", "epoch": "epoch", "dynamic": "batch"}
OPTIONS = {"folder": ("size", "crop", "colour", "binarise"), "array": ("binarise", "stream")}


def own(name: str, seed: int = 0) -> Dataset:
    """The data that a name stands for, e.g. ``folder:pics,size=28,binarise=dynamic`` or ``array:x.npy,stream=yes``.

    Args:
        name: the kind, a colon, a path, and options ``,key=value``; they are in ``OPTIONS``.
        seed: seed of the split.

    Raises:
        SeedbedError: for anything that is not as ``folder.read_folder`` or ``read_arrays`` wants it.
    """
    kind, path, options = parse(name)
    binarise = options.pop("binarise", "none")
    if (stream := options.pop("stream", "no")) not in ("yes", "no"):
        raise unknown("stream", stream, ("yes", "no"))
    if kind == "array" and stream == "yes":
        return streamed(path, name=name, binarise=binarise, seed=seed)
    if kind == "array":
        given, title = read_arrays(path), path.name
    else:
        from seedbed.data.folder import read_folder

        given, title = read_folder(path, **options)
    return from_arrays(given, name=name, title=title, binarise=binarise, seed=seed)


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
    return kind, Path(path).expanduser(), options


def from_torch(
    train: TorchDataset[Any],
    valid: TorchDataset[Any] | None = None,
    test: TorchDataset[Any] | None = None,
    *,
    name: str = "own",
    binarise: str = "none",
    seed: int = 0,
) -> Dataset:
    """A data set in memory from map-style or iterable ``torch.utils.data.Dataset`` objects.

    Args:
        train: its items are an image or a vector, or tuples that begin with one: tensors or arrays ``[values]``,
            ``[height, width]``, ``[channels, height, width]`` (or channels last), or Pillow images.
        valid: as ``train``; by default split off.
        test: as ``train``; by default split off.
        name: what to call it.
        binarise: ``none``, ``threshold``, ``epoch`` or ``dynamic``.
        seed: seed of the split.

    Raises:
        SeedbedError: if the items differ in shape, are no numbers, or are too few to split.
    """
    sets = {"train": train, "valid": valid, "test": test}
    given = {split: _collect(items, split) for split, items in sets.items() if items is not None}
    title = f"{type(train).__name__} in memory"
    return from_arrays(given, name=name, title=title, binarise=binarise, seed=seed, channels_first=True)


def from_arrays(
    given: Mapping[str, np.ndarray],
    *,
    name: str = "own",
    title: str = "arrays in memory",
    binarise: str = "none",
    seed: int = 0,
    channels_first: bool = False,
) -> Dataset:
    """A data set from arrays of examples, which keep their shape, channels first.

    Args:
        given: ``train``; ``train`` and ``test``; or these and ``valid``. Each ``[examples, values]``, ``[examples, height,
            width]``, or with 1 or 3 channels before or behind the sides.
        name: what to call it.
        title: what it is, for the protocol.
        binarise: ``none``, ``threshold``, ``epoch`` or ``dynamic``.
        seed: seed of the split.
        channels_first: where both the first and the last axis of an example could be the channels, it is the first.

    Raises:
        SeedbedError: if the arrays do not fit together, hold no usable numbers, or are too few to split.
    """
    if set(given) not in ({"train"}, {"train", "test"}, set(SPLITS)):
        raise SeedbedError(f"{name} has splits {', '.join(given) or 'none'}; expected train, or train and test, or {SPLITS}")
    laid = {split: _laid(array, f"{split} of {name}", channels_first) for split, array in given.items()}
    if len(shapes := {array.shape[1:] for array in laid.values()}) > 1:
        raise SeedbedError(f"the splits of {name} hold examples of different shapes: {sorted(shapes)}; make them alike")
    domain, numbers = _typed(laid, name)
    sources = {split: InMemory(numbers(array)) for split, array in laid.items()}
    return _dataset(sources, domain, name, title, binarise, seed)


def streamed(path: Path, *, name: str = "own", binarise: str = "none", seed: int = 0) -> Dataset:
    """The data set that ``from_arrays`` makes of an ``.npy`` file, whose examples stay there.

    Its values are passed through once, in pieces, to know what they are.

    Args:
        path: an array as ``from_arrays`` takes them.
        name: what to call it.
        binarise: ``none``, ``threshold`` or ``dynamic``; the bits of validation and test are kept, a byte each.
        seed: seed of the split.

    Raises:
        SeedbedError: as ``from_arrays``, and for a file that is no ``.npy``.
    """
    if binarise == "epoch":
        raise SeedbedError(
            "binarise=epoch keeps all draws of a pass in memory, so it cannot be streamed; choose dynamic or threshold"
        )
    layout = partial(_laid, what=f"train of {name}", channels_first=False)
    domain, numbers = _typed({"train": layout(open_array(path))}, name)
    return _dataset({"train": Mapped(path, layout, numbers)}, domain, name, path.name, binarise, seed)


def _dataset(given: Mapping[str, Source], domain: Domain, name: str, title: str, binarise: str, seed: int) -> Dataset:
    if binarise not in BINARISE:
        raise unknown("binarisation", binarise, BINARISE)
    splits, how = _split(given, name, seed)
    protocol = f"{how}: {' / '.join(str(len(splits[split])) for split in SPLITS)}"
    if domain == Domain("levels", 256):
        return grey_images(name, title, "own", splits, protocol, binarise=BINARISE[binarise])
    if binarise != "none":
        raise SeedbedError(
            f"{name} is {domain} data; binarise takes 8-bit levels 0..255, so leave it out or scale the values"
        )
    return Dataset(name=name, domain=domain, protocol=f"{title}, {domain} values; {protocol}", splits=splits)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What an ``.npy`` file holds, or an ``.npz``: ``train`` (and ``test``, ``valid``), or one array of any name.

    Raises:
        SeedbedError: for a file that is none of this; a pickle is never opened.
    """
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"train": found}
        with found:
            names = list(found)
            arrays = {key: found[key] for key in (names if len(names) == 1 else SPLITS) if key in names}
    except Exception as error:  # a broken file can raise anything here, from zlib.error to MemoryError's relatives
        reason = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        raise SeedbedError(f"{path} cannot be read as .npy or .npz without pickle: {reason}") from error
    if not arrays:
        held = ", ".join(names) or "none"
        raise SeedbedError(f"{path} holds the arrays {held}; name them train, valid and test, or keep one alone")
    return {"train": next(iter(arrays.values()))} if len(names) == 1 else arrays


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


def _typed(given: Mapping[str, np.ndarray], name: str) -> tuple[Domain, Callable[[np.ndarray], Tensor]]:
    """What kind of number the values are, judged over all splits together, and how they become fp32."""
    kinds = "".join(sorted({array.dtype.kind for array in given.values()}))
    if set(kinds) - set("buif"):
        raise SeedbedError(f"{name} holds values of type {given['train'].dtype}; expected whole or real numbers")
    low, high, whole, shares = np.inf, -np.inf, True, True
    for values in (piece for array in given.values() for piece in _pieces(array)):
        if not np.isfinite(values).all():
            raise SeedbedError(f"{name} holds values that are not finite; remove those examples")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        whole = whole and _whole(values)
        shares = shares and low >= 0 and high <= 1 and _whole(values * 255, 1e-3)
    if low >= 0 and high <= 1 and whole:
        return BINARY, floats
    if low >= 0 and high <= 255 and whole:
        return Domain("levels", 256), floats
    if "f" not in kinds:
        raise SeedbedError(f"{name} holds whole numbers {low:g}..{high:g}; expected 8-bit levels 0..255, or floats")
    return (Domain("levels", 256), _levels) if shares else (REAL, floats)


def _levels(shares: np.ndarray) -> Tensor:
    """Of the fractions k / 255 the levels k."""
    return floats(np.rint(shares * 255))


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    count = max(1, PIECE // (array.itemsize * max(1, array[0].size)))
    return (np.asarray(array[first : first + count]) for first in range(0, len(array), count))


def _whole(values: np.ndarray, tolerance: float = 0.0) -> bool:
    return values.dtype.kind != "f" or bool((np.abs(values - np.rint(values)) <= tolerance).all())


def _split(given: Mapping[str, Source], name: str, seed: int) -> tuple[dict[str, Source], str]:
    """Train, validation and test examples, and in words where they come from."""
    for split in {"valid", "test"} & set(given):
        if len(given[split]) < HELD_OUT:
            raise SeedbedError(f"{split} of {name} has {len(given[split])} example; a standard error takes {HELD_OUT}")
    if set(given) == set(SPLITS):
        return dict(given), "splits as given"
    train, test = given["train"], given.get("test")
    tenth = max(HELD_OUT, len(train) // 10)
    sizes = [len(train) - tenth, tenth] if test is not None else [len(train) - 2 * tenth, tenth, tenth]
    if sizes[0] < 1:
        raise SeedbedError(
            f"{name} has {len(train)} examples; at least {1 + HELD_OUT * (len(sizes) - 1)} are needed to split them"
        )
    order = torch.randperm(len(train), generator=Streams(seed).generator("split", "own")).split(sizes)
    # Of what is in memory the parts are copies, and the whole can go.
    take = (lambda rows: InMemory(train[rows])) if isinstance(train, InMemory) else partial(Rows, train)
    parts = {split: take(rows) for split, rows in zip(SPLITS, order, strict=False)}
    said = "a tenth of train held out for valid" if test is not None else "split at random"
    return parts | ({"test": test} if test is not None else {}), f"{said}, data seed {seed}"


def _collect(items: Any, split: str) -> np.ndarray:
    """The examples of a ``torch.utils.data.Dataset`` as one array; map-style ones are read by index."""
    if not isinstance(items, IterableDataset) and not hasattr(items, "__len__"):
        raise SeedbedError(f"the {split} data set has no length; give it __len__, or make it an IterableDataset")
    rows = iter(items) if isinstance(items, IterableDataset) else (items[i] for i in range(len(items)))
    arrays: list[np.ndarray] = []
    for number, item in enumerate(rows):
        first = item[0] if isinstance(item, tuple | list) else item
        mode = getattr(first, "mode", None)  # of Pillow's images: the numbers of some are no colours, or a printer's
        if isinstance(mode, str) and mode not in PLAIN:
            raise SeedbedError(f"example {number} of {split} is an image of mode {mode}; convert it to RGB or L first")
        array = _numpy(first) if isinstance(first, Tensor) else np.asarray(first)
        if arrays and array.shape != arrays[0].shape:
            raise SeedbedError(
                f"example {number} of {split} has shape {list(array.shape)}, the first has {list(arrays[0].shape)}; "
                "make them alike"
            )
        arrays.append(array)
    if not arrays:
        raise SeedbedError(f"the {split} data set has no examples; give it some")
    return np.stack(arrays)


def _numpy(example: Tensor) -> np.ndarray:
    example = example.detach().cpu()
    return (example.float() if example.dtype == torch.bfloat16 else example).numpy()  # NumPy has no bfloat16
