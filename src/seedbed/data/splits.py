"""Training, validation and test examples: splits that are given, under the names that people give them, and those made."""

from collections.abc import Iterable, Mapping
from functools import partial

import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data.source import InMemory, Rows, Source

SPLITS = ("train", "valid", "test")
HELD_OUT = 2  # examples at least, for a standard error
_ALIASES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {alias: split for split, aliases in _ALIASES.items() for alias in aliases}
KNOWN = ", ".join(_SPLIT_OF)


def split_of(name: str) -> str:
    """The split that a name stands for, in any case; empty if it stands for none."""
    return _SPLIT_OF.get(name.strip().lower(), "")


def splits_among(names: Iterable[str], where: object) -> dict[str, str]:
    """Of some names those of splits, by the split.

    Args:
        names: of folders, of arrays.
        where: what has them.

    Raises:
        SeedbedError: if two of them are of one split, or there are some but none to train on.
    """
    found: dict[str, str] = {}
    for name in names:
        split = split_of(name)
        if not split:
            continue
        if split in found:
            raise SeedbedError(
                f"{where} has {found[split]} and {name}, both names of the {split} split; keep one, or rename the other"
            )
        found[split] = name
    if found and "train" not in found:
        raise SeedbedError(f"{where} has {', '.join(found.values())} and no train; name the examples to train on train")
    return found


def completed(given: Mapping[str, Source], name: str, seed: int) -> tuple[dict[str, Source], str]:
    """Train, validation and test examples, and in words where they come from. What is missing is held out of train.

    Args:
        given: ``train``, and what there is of ``valid`` and ``test``.
        name: of the data.
        seed: of the data, which decides what is held out.

    Raises:
        SeedbedError: if there are too few examples.
    """
    for split in ("valid", "test"):
        if split in given and len(given[split]) < HELD_OUT:
            raise SeedbedError(f"{split} of {name} has {len(given[split])} example; a standard error takes {HELD_OUT}")
    if set(given) == set(SPLITS):
        return {split: given[split] for split in SPLITS}, "splits as given"
    train = given["train"]
    missing = [split for split in ("valid", "test") if split not in given]
    tenth = max(HELD_OUT, len(train) // 10)
    sizes = [len(train) - tenth * len(missing), *[tenth] * len(missing)]
    if sizes[0] < 1:
        raise SeedbedError(
            f"{name} has {len(train)} examples; at least {1 + HELD_OUT * len(missing)} are needed to split them"
        )
    order = torch.randperm(len(train), generator=Streams(seed).generator("split", "own")).split(sizes)
    # Of what is in memory the parts are copies, and the whole can go.
    take = (lambda rows: InMemory(train[rows])) if isinstance(train, InMemory) else partial(Rows, train)
    parts = {**given, **{split: take(rows) for split, rows in zip(("train", *missing), order, strict=True)}}
    said = f"a tenth of train held out for {missing[0]}" if len(missing) == 1 else "split at random"
    return {split: parts[split] for split in SPLITS}, f"{said}, data seed {seed}"
