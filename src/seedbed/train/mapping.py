"""Whether seeds can be one stack: what one seed computes is tried under ``vmap``, and where it fails the reason is said."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from seedbed.core.errors import SeedbedError, UnmappedError, arose

# What ``vmap`` says of it, and what it is in the words of those who write it.
_REASONS = {
    "calling .item()": "a number made of a tensor",
    "data-dependent control flow": "`if` on a tensor's value",
    "dynamic shape": "a shape that depends on values",
    "random operation": "a law that is drawn by torch itself",
    "accessing `data`": "`.data`",
    "data pointer": "`.numpy()`, `.tolist()` or the like",
    "inplace arithmetic": "a change in place of a tensor that all seeds share",
    "doesn't match the broadcast shape": "a change in place of a tensor that all seeds share",
}


@contextmanager
def mapped(model: nn.Module) -> Iterator[None]:
    """While inside, several seeds do as one call what each of them has been seen to do alone.

    Raises:
        UnmappedError: for whatever goes wrong, with the reason and the place in one line.
    """
    try:
        yield
    except SeedbedError:
        raise
    except Exception as error:
        raise UnmappedError(_sentence(model, error)) from error


def _sentence(model: nn.Module, error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    what = next((said for sign, said in _REASONS.items() if sign in lines[0]), f"{type(error).__name__}, {lines[0][:120]},")
    at = arose(error)
    if at is not None and ".item(" in lines[0] and ".item(" in (at.line or ""):
        what = "`.item()`"
    place = f" in {at.name} ({Path(at.filename).name}:{at.lineno})" if at is not None else ""
    return f"{type(model).__name__} trains one seed after another: {what}{place} cannot be mapped over seeds"
