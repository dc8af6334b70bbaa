"""What a utility returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# Whatever outlives a step besides parameters: a (nested) dictionary of tensors, one entry per seed once stacked.
State = Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """A utility and its parts, per example; **higher is better**.

    Args:
        value: ``[batch]``, in nats where it bounds a likelihood, with the paper's sign.
        parts: named summands or diagnostics, each ``[batch]`` or a scalar; recorded, never optimised.
        state: what the next step needs (recurrent state, counters).
    """

    value: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    state: State = field(default_factory=dict)
