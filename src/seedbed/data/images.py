"""Grey images as every image set offers them: as levels, or binarised in one of the ways that papers use."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seedbed.core.domain import BINARY, Domain
from seedbed.core.noise import Noise, Streams
from seedbed.data.dataset import Dataset

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
    splits: Mapping[str, Tensor],
    protocol: str,
    *,
    binarise: Binarisation = "none",
    image: tuple[int, int, int] | None = None,
    labels: Mapping[str, Tensor] | None = None,
) -> Dataset:
    """A data set of 8-bit values, as they are or binarised.

    ``batch`` and ``epoch`` store the training images as probabilities for ``view``; their validation and test images are the
    same draw for every run and seed.

    Args:
        name: the registered name.
        title: what the images are, the first words of the protocol.
        family: key of the held-out draws, shared by all binarisations of one set.
        splits: ``train``, ``valid``, ``test``, each ``[examples, values]`` float32 with whole values 0..255.
        protocol: the split, the last words of the protocol.
        binarise: how levels become 0 or 1.
        image: channels, height and width of one example.
        labels: class of each example per split.

    Source: drawing the binarisation from the grey levels: Salakhutdinov, Murray (2008); per epoch: Burda, Grosse,
    Salakhutdinov (2016), arXiv:1509.00519.
    """
    drawn = binarise in ("epoch", "batch")
    if binarise == "threshold":
        splits = {split: (grey > 127).float() for split, grey in splits.items()}
    elif drawn:
        splits = {split: grey / 255 for split, grey in splits.items()}
        for split in ("valid", "test"):
            splits[split] = bernoulli(splits[split], Noise((Streams(0),), "eval", family, split))
    return Dataset(
        name=name,
        domain=Domain("levels", 256) if binarise == "none" else BINARY,
        protocol=f"{title}, {_HOW[binarise]}; {protocol}",
        splits=splits,
        view=bernoulli if drawn else None,
        refresh="epoch" if binarise == "epoch" else "batch",
        labels=labels or {},
        image=image,
    )


def bernoulli(batch: Tensor, noise: Noise) -> Tensor:
    """0/1 draws from a batch of probabilities, ``[batch, values]``."""
    return noise.bernoulli(batch)


def floats(values: np.ndarray) -> Tensor:
    """An array as a float32 tensor of its own."""
    return torch.from_numpy(values.astype(np.float32))
