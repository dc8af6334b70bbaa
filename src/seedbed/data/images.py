"""Grey images as every image set offers them: as levels, or binarised in one of the ways that papers use."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.data.dataset import Dataset
from seedbed.data.source import InMemory, Source, in_memory

Binarisation = Literal["none", "share", "threshold", "epoch", "batch"]
_HOW = {
    "none": "grey levels 0..{top}",
    "share": "grey/{top}, real numbers from 0 to 1",
    "threshold": "binary: grey > {above}",
    "epoch": "binary: Bernoulli(grey/{top}), train drawn anew per epoch, valid and test drawn once (eval stream of seed 0)",
    "batch": "binary: Bernoulli(grey/{top}), train drawn anew per batch, valid and test drawn once (eval stream of seed 0)",
}


def grey_images(
    name: str,
    title: str,
    family: str,
    splits: Mapping[str, Tensor | Source],
    protocol: str,
    *,
    binarise: Binarisation = "none",
    labels: Mapping[str, Tensor] | None = None,
    levels: int = 256,
    threshold: float = 0.5,
) -> Dataset:
    """A data set of levels, of 8 bits or of any number, as they are, as shares of the highest, or binarised.

    ``batch`` and ``epoch`` store the training images as probabilities for ``view``; their validation and test images are the
    same draw for every run and seed.

    Args:
        name: the registered name.
        title: what the images are, the first words of the protocol.
        family: key of the held-out draws, shared by all binarisations of one set.
        splits: ``train``, ``valid``, ``test``, each ``[examples, *shape]`` float32 with whole values from 0.
        protocol: the split, the last words of the protocol.
        binarise: how levels become 0 or 1.
        labels: class of each example per split.
        levels: how many there are.
        threshold: share of the highest level above which a bit is 1, with ``binarise="threshold"``.

    Raises:
        SeedbedError: if binarising leaves one value alone.

    Source: drawing the binarisation from the grey levels: Salakhutdinov, Murray (2008); per epoch: Burda, Grosse,
    Salakhutdinov (2016), arXiv:1509.00519.
    """
    drawn, sources, top = binarise in ("epoch", "batch"), in_memory(splits), levels - 1
    above = int(top * threshold)
    if binarise == "threshold":
        sources = {split: grey.map(lambda values: (values > above).float()) for split, grey in sources.items()}
    elif drawn or binarise == "share":
        sources = {split: grey.map(lambda values: values / top) for split, grey in sources.items()}
    if binarise not in ("none", "share"):
        _check_bits(sources["train"], name, binarise)
    if drawn:
        for split in ("valid", "test"):
            sources[split] = _drawn_once(sources[split], Streams(0).generator("eval", family, split, 1))
    return Dataset(
        name=name,
        domain={"none": Domain("levels", levels), "share": REAL}.get(binarise, BINARY),
        protocol=f"{title}, {_HOW[binarise].format(top=top, above=above)}; {protocol}",
        splits=sources,
        view=bernoulli if drawn else None,
        refresh="epoch" if binarise == "epoch" else "batch",
        labels=labels or {},
    )


def _check_bits(train: Source, name: str, binarise: str) -> None:
    """Refuse probabilities of which all are 0, or all 1: there is nothing to learn, and a likelihood without equal."""
    low, high = 1.0, 0.0
    for piece in train.pieces():
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
        if low < high:
            return
    if low in (0.0, 1.0):
        how = "dynamic" if binarise == "batch" else binarise
        raise SeedbedError(
            f"binarise={how} leaves nothing but {low:g} in the training examples of {name}; say how many levels there are, "
            "e.g. ,levels=17, or scale the values"
        )


def _drawn_once(probabilities: Source, generator: torch.Generator) -> InMemory:
    """Bits as ``noise.bernoulli`` draws them all at once, ``[n, *shape]``; of what is streamed a byte each is kept."""
    keep = torch.float32 if isinstance(probabilities, InMemory) else torch.uint8
    bits = torch.empty((len(probabilities), *probabilities.shape), dtype=keep)
    done = 0
    for piece in probabilities.pieces():
        bits[done : done + len(piece)] = torch.empty_like(piece).uniform_(generator=generator) < piece
        done += len(piece)
    return InMemory(bits, probabilities.dtype)


def bernoulli(batch: Tensor, noise: Noise) -> Tensor:
    """0/1 draws from a batch of probabilities, ``[batch, *shape]``."""
    return noise.bernoulli(batch)


def floats(values: np.ndarray) -> Tensor:
    """An array as a float32 tensor of its own."""
    return torch.from_numpy(values.astype(np.float32, order="C"))
