"""What a utility returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """A utility and its parts, per example; **higher is better**.

    Args:
        value: ``[batch]``, in nats where it bounds a likelihood, with the paper's sign.
        parts: named summands or diagnostics, each ``[batch]`` or a scalar; recorded, never optimised.
    """

    value: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
