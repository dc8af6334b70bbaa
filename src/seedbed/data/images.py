"""Grey images as every image set offers them: as levels, or binarised in one of the ways that papers use."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seedbed.core.domain import BINARY, Domain
from seedbed.core.noise import Noise, Streams
from seedbed.data.dataset import Dataset
from seedbed.data.source import InMemory, Source, in_memory

Binarisation = Literal["none", "threshold", "epoch", "batch"]
_HOW = {
    "none": "grey levels 0..255",
    "threshold": "binary: grey > 127",
    "epoch": "binary: Bernoulli(grey/255), train drawn anew per epoch, valid and test drawn once (eval stream of seed 0)",
    "batch": "binary: Bernoulli(grey/255), train drawn anew per batch, valid and test drawn once (eval stream of seed 0)",
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
) -> Dataset:
    """A data set of 8-bit values, as they are or binarised.

    ``batch`` and ``epoch`` store the training images as probabilities for ``view``; their validation and test images are the
    same draw for every run and seed.

    Args:
        name: the registered name.
        title: what the images are, the first words of the protocol.
        family: key of the held-out draws, shared by all binarisations of one set.
        splits: ``train``, ``valid``, ``test``, each ``[examples, *shape]`` float32 with whole values 0..255.
        protocol: the split, the last words of the protocol.
        binarise: how levels become 0 or 1.
        labels: class of each example per split.

    Source: drawing the binarisation from the grey levels: Salakhutdinov, Murray (2008); per epoch: Burda, Grosse,
    Salakhutdinov (2016), arXiv:1509.00519.
    """
    drawn, sources = binarise in ("epoch", "batch"), in_memory(splits)
    if binarise == "threshold":
        sources = {split: grey.map(lambda levels: (levels > 127).float()) for split, grey in sources.items()}
    elif drawn:
        sources = {split: grey.map(lambda levels: levels / 255) for split, grey in sources.items()}
        for split in ("valid", "test"):
            sources[split] = _drawn_once(sources[split], Streams(0).generator("eval", family, split, 1))
    return Dataset(
        name=name,
        domain=Domain("levels", 256) if binarise == "none" else BINARY,
        protocol=f"{title}, {_HOW[binarise]}; {protocol}",
        splits=sources,
        view=bernoulli if drawn else None,
        refresh="epoch" if binarise == "epoch" else "batch",
        labels=labels or {},
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
