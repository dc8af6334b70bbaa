"""The items of a ``torch.utils.data.Dataset`` as one array."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from seedbed.core.errors import SeedbedError

PLAIN = ("1", "L", "RGB", "I", "I;16", "F")  # Pillow's modes whose numbers are what one sees


def collect(items: Any, split: str) -> np.ndarray:
    """The examples of a ``torch.utils.data.Dataset`` as one array ``[n, *example]``; map-style ones are read by index.

    Args:
        items: whose items are examples, or tuples that begin with one.
        split: what they are for, in errors.

    Raises:
        SeedbedError: if they differ in shape, have no length, or are pictures whose numbers are no colours.
    """
    if not isinstance(items, IterableDataset) and not hasattr(items, "__len__"):
        raise SeedbedError(f"the {split} data set has no length; give it __len__, or make it an IterableDataset")
    rows = iter(items) if isinstance(items, IterableDataset) else (items[i] for i in range(len(items)))
    arrays: list[np.ndarray] = []
    for number, item in enumerate(rows):
        first = item[0] if isinstance(item, tuple | list) else item
        mode = getattr(first, "mode", None)  # of Pillow's images: the numbers of some are no colours, or a printer's
        if isinstance(mode, str) and mode not in PLAIN:
            raise SeedbedError(f"example {number} of {split} is an image of mode {mode}; convert it to RGB or L first")
        array = numpy_of(first, split) if isinstance(first, Tensor) else np.asarray(first)
        if array.dtype == object:
            raise SeedbedError(
                f"example {number} of {split} is a {type(first).__name__}; expected a tensor, an array or a picture, "
                "or a tuple that begins with one"
            )
        if arrays and array.shape != arrays[0].shape:
            raise SeedbedError(
                f"example {number} of {split} has shape {list(array.shape)}, the first has {list(arrays[0].shape)}; "
                "make them alike"
            )
        arrays.append(array)
    if not arrays:
        raise SeedbedError(f"the {split} data set has no examples; give it some")
    return np.stack(arrays)


def numpy_of(values: Tensor, split: str) -> np.ndarray:
    """A tensor on the CPU, floats of 8 and 16 bits as fp32: NumPy has not all of them.

    Raises:
        SeedbedError: for one that is not dense, or holds nothing, as on ``meta``.
    """
    if values.layout != torch.strided or values.is_meta or values.is_quantized or values.is_nested:
        raise SeedbedError(f"{split} is a tensor of {values.layout} {values.dtype} on {values.device}; expected a dense one")
    values = values.detach().cpu().resolve_conj().resolve_neg()
    return (values.float() if values.is_floating_point() and values.element_size() < 4 else values).numpy()
