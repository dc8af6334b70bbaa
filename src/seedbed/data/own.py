"""Data of one's own: a folder of images, an array file, a ``torch.utils.data.Dataset``.

What the values are is read off them, whatever their type: if all are 0 or 1 they are binary; whole numbers 0..255, or the
fractions k/255 that ``ToTensor`` makes of them, are levels; all other floats are real. One set of examples is shuffled (by
the seed of the data) and split 80 / 10 / 10; beside a test set of its own a tenth is held out for validation.
"""

from collections.abc import Mapping
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

SPLITS = ("train", "valid", "test")
PLAIN = ("1", "L", "RGB", "I", "I;16", "F")  # Pillow's modes whose numbers are what one sees
HELD_OUT = 2  # examples at least, for a standard error
BINARISE: dict[str, Binarisation] = {"none": "none", "threshold": "threshold", "epoch": "epoch", "dynamic": "batch"}
OPTIONS = {"folder": ("size", "crop", "colour", "binarise"), "array": ("binarise",)}
Image = tuple[int, int, int] | None


def own(name: str, seed: int = 0) -> Dataset:
    """The data that a name stands for, e.g. ``folder:pics,size=28,colour=grey,binarise=dynamic`` or ``array:x.npy``.

    Args:
        name: the kind, a colon, a path, and options ``,key=value``; they are in ``OPTIONS``.
        seed: seed of the split.

    Raises:
        SeedbedError: for anything that is not as ``folder.read_folder`` or ``read_arrays`` wants it.
    """
    kind, path, options = parse(name)
    binarise = options.pop("binarise", "none")
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
    """A data set from arrays of examples, laid out flat, channels first.

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
    if binarise not in BINARISE:
        raise unknown("binarisation", binarise, BINARISE)
    if set(given) not in ({"train"}, {"train", "test"}, set(SPLITS)):
        raise SeedbedError(f"{name} has splits {', '.join(given) or 'none'}; expected train, or train and test, or {SPLITS}")
    flat = {split: _flat(array, f"{split} of {name}", channels_first) for split, array in given.items()}
    if len(shapes := {image or (values.shape[1],) for values, image in flat.values()}) > 1:
        raise SeedbedError(f"the splits of {name} hold examples of different shapes: {sorted(shapes)}; make them alike")
    values, domain = _typed({split: values for split, (values, _) in flat.items()}, name)
    splits, how = _split(values, name, seed)
    image = flat["train"][1]
    protocol = f"{how}: {' / '.join(str(len(splits[split])) for split in SPLITS)}"
    if domain == Domain("levels", 256):
        return grey_images(name, title, "own", splits, protocol, binarise=BINARISE[binarise], image=image)
    if binarise != "none":
        raise SeedbedError(
            f"{name} is {domain} data; binarise takes 8-bit levels 0..255, so leave it out or scale the values"
        )
    return Dataset(name=name, domain=domain, protocol=f"{title}, {domain} values; {protocol}", splits=splits, image=image)


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


def _flat(array: np.ndarray, what: str, channels_first: bool) -> tuple[np.ndarray, Image]:
    """Examples ``[examples, values]``, and the shape of the picture each of them is, where it is one."""
    if not array.size or array.ndim not in (2, 3, 4):
        raise SeedbedError(f"{what} has shape {list(array.shape)}; expected examples of 1 to 3 axes, and at least one value")
    if array.ndim == 2:
        return array, None
    if array.ndim == 3:
        array = array[:, None]
    else:
        axes = [axis for axis in ((1, 3) if channels_first else (3, 1)) if array.shape[axis] in (1, 3)]
        if not axes:
            raise SeedbedError(f"{what} has shape {list(array.shape)}; expected 1 or 3 channels on the second or last axis")
        array = np.moveaxis(array, axes[0], 1)
    channels, height, width = array.shape[1:]
    return array.reshape(len(array), -1), (channels, height, width)


def _typed(given: Mapping[str, np.ndarray], name: str) -> tuple[dict[str, Tensor], Domain]:
    """The values as float32 and what kind of number they are, judged over all splits together."""
    arrays = list(given.values())
    kinds = "".join(sorted({array.dtype.kind for array in arrays}))
    if set(kinds) - set("buif"):
        raise SeedbedError(f"{name} holds values of type {arrays[0].dtype}; expected whole or real numbers")
    if not all(np.isfinite(array).all() for array in arrays):
        raise SeedbedError(f"{name} holds values that are not finite; remove those examples")
    low, high = min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)
    if low >= 0 and high <= 1 and all(_whole(array) for array in arrays):
        return {split: floats(array) for split, array in given.items()}, BINARY
    if low >= 0 and high <= 255 and all(_whole(array) for array in arrays):
        return {split: floats(array) for split, array in given.items()}, Domain("levels", 256)
    if "f" not in kinds:
        raise SeedbedError(f"{name} holds whole numbers {low:g}..{high:g}; expected 8-bit levels 0..255, or floats")
    if low >= 0 and high <= 1 and all(_whole(array * 255, 1e-3) for array in arrays):
        return {split: floats(np.rint(array * 255)) for split, array in given.items()}, Domain("levels", 256)
    return {split: floats(array) for split, array in given.items()}, REAL


def _whole(values: np.ndarray, tolerance: float = 0.0) -> bool:
    return values.dtype.kind != "f" or bool((np.abs(values - np.rint(values)) <= tolerance).all())


def _split(given: Mapping[str, Tensor], name: str, seed: int) -> tuple[dict[str, Tensor], str]:
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
    parts = {split: train[rows] for split, rows in zip(SPLITS, order, strict=False)}
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
