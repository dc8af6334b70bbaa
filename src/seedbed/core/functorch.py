"""The stack of seeds behind ``vmap``, seen from inside.

``vmap`` over seeds turns ``F.linear`` into slow generic products. Code that knows a better way on the whole stack may ask
for it here. This is the only file that touches functorch's private names; a torch without them takes the native path.
"""

from torch import Tensor

try:
    from torch._C._functorch import (  # pyright: ignore[reportMissingImports]
        TransformType,
        _add_batch_dim,
        get_interpreter_stack,
        get_unwrapped,
        is_batchedtensor,
        maybe_current_level,
        maybe_get_bdim,
        maybe_get_level,
        unwrap_if_dead,
    )

    AVAILABLE = True
except ImportError:  # pragma: no cover - depends on the torch release
    AVAILABLE = False


def unstack(*tensors: Tensor) -> tuple[list[Tensor], int] | None:
    """The stacks ``[seeds, *shape]`` behind ``tensors`` and their ``vmap`` level.

    ``None`` unless every tensor is batched, outermost, at one and the same level: not under a nested ``torch.func.grad``
    that tracks one of them, and not where one of them is shared by all seeds.
    """
    if not AVAILABLE or not all(is_batchedtensor(tensor) for tensor in tensors):
        return None
    level = maybe_get_level(tensors[0])
    if any(maybe_get_level(tensor) != level for tensor in tensors[1:]):
        return None
    return [_seeds_first(get_unwrapped(tensor), maybe_get_bdim(tensor)) for tensor in tensors], level


def _seeds_first(stack: Tensor, axis: int) -> Tensor:
    # A view costs little, but twice, forward and backward, for every parameter of every layer.
    return stack if axis == 0 else stack.movedim(axis, 0)


def restack(stack: Tensor, level: int) -> Tensor:
    """Hide the leading seed axis of ``stack`` again: the inverse of :func:`unstack`."""
    return _add_batch_dim(stack, 0, level)


def follows(tensor: Tensor) -> bool:
    """Whether a gradient would go through ``tensor``, which under ``vmap`` does not know it itself."""
    while AVAILABLE and is_batchedtensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor.requires_grad


def alive(tensor: Tensor) -> Tensor:
    """What a tensor that was made inside of a transform is outside of it."""
    return unwrap_if_dead(tensor) if AVAILABLE else tensor


def depth() -> int:
    """How many transforms (``vmap``, ``grad``) the caller is inside of."""
    return (maybe_current_level() or 0) if AVAILABLE else 0


def mapped_within(level: int) -> bool:
    """Whether the caller is inside of a ``vmap`` that lies deeper than ``level``."""
    if not AVAILABLE:
        return False
    return any(at.level() > level and at.key() == TransformType.Vmap for at in get_interpreter_stack() or ())
