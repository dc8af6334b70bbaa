"""The 8x8 digits that ship with scikit-learn: a real image set without a download (UCI optdigits test part, 1797 images)."""

import torch
from torch import Tensor

from seedbed.core.domain import BINARY, Domain
from seedbed.core.noise import Noise, Streams
from seedbed.data.dataset import Dataset
from seedbed.data.images import bernoulli

SIZES = {"train": 1257, "valid": 270, "test": 270}
LEVELS = 17


def digits_dataset(seed: int = 0) -> Dataset:
    """Grey digits, ``[1, 8, 8]`` float32 with values 0..16, split 1257/270/270.

    Args:
        seed: seed of the split.
    """
    images, labels = _splits(seed)
    return Dataset(
        name="digits",
        domain=Domain("levels", LEVELS),
        protocol=f"scikit-learn digits 8x8, 17 grey levels, 1257/270/270, data seed {seed}",
        splits=images,
        labels=labels,
    )


def digits_binary_dataset(seed: int = 0) -> Dataset:
    """Binary digits, P(pixel = 1) = value / 16: drawn anew per batch in training, once for validation and test.

    Args:
        seed: seed of the split (the same as that of ``digits``) and of the held-out draws.
    """
    images, labels = _splits(seed)
    splits = {name: image / (LEVELS - 1) for name, image in images.items()}
    for name in ("valid", "test"):
        splits[name] = Noise((Streams(seed),), "eval", "digits-binary", name).bernoulli(splits[name])
    return Dataset(
        name="digits-binary",
        domain=BINARY,
        protocol=f"scikit-learn digits 8x8, Bernoulli(value/16) per batch, held out drawn once, 1257/270/270, seed {seed}",
        splits=splits,
        view=bernoulli,
        labels=labels,
    )


def _splits(seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    from sklearn.datasets import load_digits  # slow to import, and needed here alone

    values, classes = load_digits(return_X_y=True)
    order = torch.randperm(len(values), generator=Streams(seed).generator("split", "digits")).split(list(SIZES.values()))
    images, labels = torch.tensor(values, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(classes, dtype=torch.int64)
    parts = dict(zip(SIZES, order, strict=True))
    return {name: images[rows] for name, rows in parts.items()}, {name: labels[rows] for name, rows in parts.items()}
