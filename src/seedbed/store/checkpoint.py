"""Checkpoints: one safetensors file each, JSON in its metadata, written atomically, the previous one kept."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seedbed.core.errors import SeedbedError
from seedbed.store.atomic import write_atomic

if TYPE_CHECKING:
    from torch import Tensor  # who only reads tables must not pay for importing it

_Read = TypeVar("_Read")
_PATTERN = "step-*.safetensors"


class DamagedCheckpoint(SeedbedError):
    """A file that is truncated, or no checkpoint of ours."""


def flatten(tree: Mapping[str, Any], prefix: str = "") -> "dict[str, Tensor]":
    """A nested dictionary of tensors as one level, keys joined by ``/``."""
    flat: dict[str, Tensor] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}/") if isinstance(value, Mapping) else {name: value}
    return flat


def unflatten(flat: "Mapping[str, Tensor]") -> dict[str, Any]:
    """The inverse of ``flatten`` (empty branches are not kept)."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, leaf = name.split("/")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = value
    return tree


def save(folder: Path, step: int, tree: Mapping[str, Any], meta: Mapping[str, Any]) -> Path:
    """Write the checkpoint of one step, then remove all but it and the one before, and what a kill left half-written.

    Raises:
        SeedbedError: if it cannot be written; earlier checkpoints are then untouched.
    """
    from safetensors.torch import save as serialize

    path = folder / f"step-{step:010d}.safetensors"
    # Views of one flat buffer share storage, which safetensors refuses: each entry is written as an array of its own.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in flatten(tree).items()}
    # As bytes: safetensors' own writer hides the system's errors, and leaves temporary files of other names.
    content = serialize(tensors, {"seedbed": json.dumps({"step": step, **meta})})
    write_atomic(path, lambda temporary: temporary.write_bytes(content))
    older = sorted(other for other in folder.glob(_PATTERN) if other < path)
    newer = [other for other in folder.glob(_PATTERN) if other > path]  # damaged, or this run would not be behind them
    for other in (*older[:-1], *newer, *folder.glob(".step-*.tmp")):
        other.unlink(missing_ok=True)
    return path


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read one checkpoint: the nested tensors and the metadata.

    Raises:
        DamagedCheckpoint: if the file is truncated or is no checkpoint of ours.
        SeedbedError: if it cannot be read at all.
    """
    with _opened(path, "pt") as (file, meta):
        names = file.keys()  # it is no mapping: one cannot go through the file itself
        return unflatten({name: file.get_tensor(name) for name in names}), meta


def load_meta(path: Path) -> dict[str, Any]:
    """Read the metadata of one checkpoint, and none of its tensors; raises as ``load`` does."""
    with _opened(path, "np") as (_, meta):
        return meta


def latest(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The newest readable checkpoint of a folder, ``None`` if there is none. A damaged one is passed over with a warning."""
    return _newest(folder, load)


def latest_meta(folder: Path) -> dict[str, Any] | None:
    """The metadata of ``latest``, without reading its tensors: how far a run is, and whether it is done."""
    return _newest(folder, load_meta)


def _newest(folder: Path, read: Callable[[Path], _Read]) -> _Read | None:
    for path in sorted(folder.glob(_PATTERN), reverse=True):
        try:
            return read(path)
        except DamagedCheckpoint:
            # Reading changes nothing on disk: the next checkpoint that is written replaces or removes it.
            warnings.warn(f"checkpoint {path.name} is damaged; falling back to the previous one", stacklevel=3)
    return None


@contextmanager
def _opened(path: Path, framework: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A checkpoint's file, of which only the header has been read, and its metadata."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework) as file:
            yield file, json.loads((file.metadata() or {})["seedbed"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedCheckpoint(f"checkpoint {path} is truncated or corrupt; delete it and run again ({error})") from error
    except OSError as error:
        raise SeedbedError(f"cannot read checkpoint {path}: {error.strerror or error}") from error
