"""What the models of a stack hold besides parameters and buffers: what all seeds would share without a word is refused."""

from collections import deque
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from seedbed.core.errors import SeedbedError
from seedbed.train.replay import same

DEPTH = 4  # containers in containers that are looked into
CONTAINERS = (list, tuple, set, frozenset, deque, Mapping)
# What ``nn.Module`` keeps for itself: numbers are lent to the first two, so these are looked at by themselves.
OF_TORCH = ("_parameters", "_buffers", "_modules")
_RECURRENT = ("_flat_weights", "_flat_weight_refs")  # weights again, which ``Slots`` knows


def check_parameters(model: nn.Module) -> None:
    """Refuse parameters where a module does not know of them: every seed of a stack would compute with those of the first.

    The same holds of a weight that a hook makes and leaves on a layer.

    Raises:
        SeedbedError: with the attribute that holds them, and what to do.
    """
    for name, parameter in model.named_parameters():
        if not parameter.numel() or parameter.is_complex():
            what = "complex" if parameter.is_complex() else f"empty, {list(parameter.shape)}"
            raise SeedbedError(
                f"parameter {name} is {what}; parameters are real numbers, at least one: look for a size of 0"
            )
    known = set(model.modules())
    for path, part in model.named_modules():
        _check_hooks(part, path)
        for attribute, value in part.__dict__.items():
            if attribute in OF_TORCH or (isinstance(part, nn.RNNBase) and attribute in _RECURRENT):
                continue
            for held in contents(value):
                place = place_of(part, path, attribute)
                if isinstance(held, nn.Module) and held not in known and any(True for _ in held.parameters()):
                    kind = "nn.ModuleDict" if isinstance(value, Mapping) else "nn.ModuleList"
                    raise SeedbedError(
                        f"{place} holds a module that the model does not know of: its parameters would be the first seed's "
                        f"for all, and never trained; make it a {kind}"
                    )
                if isinstance(held, Tensor) and (isinstance(held, nn.Parameter) or (held.is_leaf and held.requires_grad)):
                    kind = "nn.ParameterDict" if isinstance(value, Mapping) else "nn.ParameterList"
                    if isinstance(value, Tensor):
                        kind = "nn.Parameter"
                    raise SeedbedError(
                        f"{place} holds a parameter where the model does not know of it: it would be the first seed's for "
                        f"all, and never trained; make it an {kind}"
                    )


def _check_hooks(part: nn.Module, path: str) -> None:
    held = [(part._backward_hooks, "the layer"), (part._backward_pre_hooks, "the layer")]
    held += [(parameter._backward_hooks, name) for name, parameter in part.named_parameters(recurse=False)]
    for name in [name for hooks, name in held if hooks]:
        raise SeedbedError(
            f"{place_of(part, path, name)} has a hook on its gradient, which a stack of seeds would not call; write it into "
            "the loss, e.g. with detach()"
        )
    for hook in part._forward_pre_hooks.values():
        for kind, old in ((SpectralNorm, "spectral_norm"), (WeightNorm, "weight_norm")):
            if isinstance(hook, kind):
                raise SeedbedError(
                    f"{place_of(part, path, hook.name)} is made in a hook of nn.utils.{old}, which leaves it on the layer, "
                    f"where seeds would share it; use nn.utils.parametrizations.{old}"
                )


def check_alike(first: nn.Module, other: nn.Module) -> None:
    """Refuse what differs between seeds besides parameters and buffers: all would compute with the first one's.

    Raises:
        SeedbedError: with the attribute.
    """
    for (path, part), (_, twin) in zip(first.named_modules(), other.named_modules(), strict=False):
        for attribute, value in part.__dict__.items():
            if attribute in OF_TORCH or (isinstance(part, nn.RNNBase) and attribute in _RECURRENT):
                continue
            pairs = zip(contents(value), contents(twin.__dict__.get(attribute)), strict=False)
            if not all(_alike(one, two) for one, two in pairs):
                raise SeedbedError(
                    f"{place_of(part, path, attribute)} differs between seeds, and all would compute with the first's; make "
                    "it a buffer (register_buffer), or the same in all"
                )


def check_again(once: nn.Module, twice: nn.Module) -> None:
    """Refuse a model of one seed that is another when it is built again.

    Raises:
        SeedbedError: with the first parameter that differs.
    """
    others = dict(twice.state_dict())
    for name, value in once.state_dict().items():
        if name not in others or not _alike(value, others[name]):
            raise SeedbedError(
                f"`build` gives another {name} when called again for the same seed; draw from torch's own generator alone, "
                "which is set to the seed, not from numpy's or Python's"
            )


def _alike(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and one.dtype == two.dtype and same(one.detach(), two.detach())
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return np.array_equal(one, two, equal_nan=one.dtype.kind in "fc")
    if isinstance(one, (bool, int, float, complex, str, bytes)):
        return type(one) is type(two) and (one == two or one != one)
    return True


def check_owned(model: nn.Module, owned: Mapping[str, list[str]]) -> None:
    """Refuse to train what was marked as not to be trained, by torch's own mark.

    Raises:
        SeedbedError: with the parameter, its owner, and what to do.
    """
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    for player, names in owned.items():
        for name in names:
            if name in still:
                raise SeedbedError(
                    f"player {player!r} owns {name}, whose requires_grad is False; declare it frozen, or let it be True"
                )


def entries(container: Any) -> tuple[list[Any], list[Any]]:
    """A container's keys and items."""
    pairs = list(container.items() if isinstance(container, Mapping) else enumerate(container))
    return [key for key, _ in pairs], [item for _, item in pairs]


def contents(value: Any, depth: int = DEPTH) -> Iterator[Any]:
    """A value, and what is in it if it is a container."""
    yield value
    if isinstance(value, CONTAINERS) and depth:
        for item in entries(value)[1]:
            yield from contents(item, depth - 1)
    elif (
        depth
        and hasattr(value, "__dict__")
        and not isinstance(value, (nn.Module, Tensor, type, ModuleType, torch.Generator))
    ):
        for item in vars(value).values():  # a law, say
            yield from contents(item, depth - 1)


def has_parameters(value: Any) -> bool:
    """Whether it is a parameter, or a module with some."""
    if isinstance(value, nn.Module):
        return any(True for _ in value.parameters())
    return isinstance(value, nn.Parameter)


def place_of(part: nn.Module, path: str, attribute: str) -> str:
    """``Module.attribute (path)``."""
    return f"{type(part).__name__}.{attribute}" + (f" ({path})" if path else "")
