"""Ten pictures in a row of each kind that a model makes: of data, their codes, random codes, and where chains stand."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedbed.core.metric import ENCODER_LOSS
from seedbed.report.pixels import Pixels, is_picture, sheet
from seedbed.report.stored import StoredRun

CHAIN = "chain"  # the artefact of where chains stand
ACROSS = 10
SIDE = 290  # pixels of a row at least, as far as whole enlargements allow
# What is stored of a seed under a name and a key, in the order of the rows, and what to call it.
KINDS = {
    ("reconstructions", "mean"): "reconstruction",
    ("samples", "mean"): "random code",
    (CHAIN, "mean"): "persistent chain",
}


@dataclass(frozen=True)
class Rows:
    """The pictures of one seed.

    Args:
        names: of the rows, from the top.
        pixels: all rows as one picture, each as high as the others.
    """

    names: tuple[str, ...]
    pixels: Pixels


def rows_of(run: StoredRun, seed: int) -> Rows | None:
    """Rows of data, reconstructions, random codes and, where they were stored, persistent chains; all but the data means.

    Of models of images whose encoder has a loss of its own, or which remember chains; of any other ``None``.
    """
    examples = run.arrays("reference").get("x")
    asked = ENCODER_LOSS.name in (*run.metrics("valid"), *run.metrics("test")) or bool(run.arrays(CHAIN))
    if not asked or examples is None or not is_picture(examples.shape[1:]):
        return None
    found: dict[str, NDArray] = {"data": _shares(examples)}
    for (name, key), called in KINDS.items():
        array = _of_seed(run, seed, run.arrays(name), key)
        if array is not None and array.shape[1:] == examples.shape[1:]:
            found[called] = array.astype(float)
    across = min(ACROSS, *map(len, found.values()))
    if len(found) < 2 or not across:
        return None
    grid = np.stack([array[:across] for array in found.values()])
    return Rows(tuple(found), sheet(grid, SIDE, square=False))


def _of_seed(run: StoredRun, seed: int, arrays: Mapping[str, NDArray], key: str) -> NDArray | None:
    seeds = run.manifest.seeds
    if key not in arrays or len(arrays[key]) != len(seeds):  # a group of seeds is still training
        return None
    return arrays[key][seeds.index(seed)]


def _shares(examples: NDArray) -> NDArray:
    """Examples on the scale of means, which are stored as shares of the highest level."""
    whole = examples.dtype.kind in "biu"
    return examples.astype(float) / max(1.0, float(examples.max())) if whole and examples.size else examples.astype(float)
