"""Checkpoints: one safetensors file each, JSON in its metadata, written atomically, the previous one kept.

Each carries the SHA-256 of all that is in it, and the rows of the table up to its step: what is trained and what was
measured are one state, and either is whole or the file is damaged.
"""

import hashlib
import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seedbed.core.errors import SeedbedError
from seedbed.store.atomic import write_atomic
from seedbed.store.schema import Check, is_group, is_list, is_number, is_table, is_text, is_whole, mismatch

if TYPE_CHECKING:
    from torch import Tensor  # who only reads tables must not pay for importing it

_Read = TypeVar("_Read")
_PATTERN = "step-*.safetensors"
_ROWS = "rows"  # the name of the tensor with the table's bytes, and of their checksum
SEALED = 3  # the first layout (see ``train.weights``) whose checkpoints have checksums: one without is damaged


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


def save(folder: Path, step: int, tree: Mapping[str, Any], meta: Mapping[str, Any], rows: bytes | None = None) -> Path:
    """Write the checkpoint of one step, then remove all but it and the one before, and what a kill left half-written.

    Args:
        folder: of the checkpoints.
        step: of this one.
        tree: nested tensors.
        meta: what JSON can hold.
        rows: the table up to this step, as it is on disk.

    Raises:
        SeedbedError: if it cannot be written; earlier checkpoints are then untouched.
    """
    import torch
    from safetensors.torch import save as serialize

    path = place(folder, step)
    # Views of one flat buffer share storage, which safetensors refuses: each entry is written as an array of its own.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in flatten(tree).items()}
    about: dict[str, Any] = {"step": step, **meta}
    if rows is not None:
        packed = zlib.compress(rows, 1)
        about[_ROWS] = hashlib.sha256(packed).hexdigest()
        tensors[_ROWS] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    about["header"] = _header_sum(about, {name: tensor.shape for name, tensor in tensors.items()})
    about["sha256"] = _whole_sum(about["header"], tensors)
    # As bytes: safetensors' own writer hides the system's errors, and leaves temporary files of other names.
    content = serialize(tensors, {"seedbed": json.dumps(about)})
    write_atomic(path, lambda temporary: temporary.write_bytes(content))
    older = [other for other in steps(folder) if other < path]
    newer = [other for other in steps(folder) if other > path]  # damaged, or this run would not be behind them
    for other in (*older[:-1], *newer, *folder.glob(".step-*.tmp")):
        other.unlink(missing_ok=True)
    return path


def place(folder: Path, step: int) -> Path:
    """The file of one step's checkpoint."""
    return folder / f"step-{step:010d}.safetensors"


def steps(folder: Path) -> list[Path]:
    """The files of all checkpoints of a folder, the newest last."""
    return sorted(folder.glob(_PATTERN))


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read one checkpoint: the nested tensors and the metadata.

    Raises:
        DamagedCheckpoint: if the file is truncated, is no checkpoint of ours, or is not what was written.
        SeedbedError: if it cannot be read at all.
    """
    with _opened(path, "pt") as (file, about):
        names = file.keys()  # it is no mapping: one cannot go through the file itself
        tensors = {name: file.get_tensor(name) for name in names}
        if "sha256" in about and _whole_sum(about["header"], tensors) != about["sha256"]:
            raise ValueError("its tensors are not those of its checksum")
        tensors.pop(_ROWS, None)
        return unflatten(tensors), _told(about)


def load_meta(path: Path) -> dict[str, Any]:
    """Read the metadata of one checkpoint, and none of its tensors; raises as ``load`` does."""
    with _opened(path, "np") as (_, about):
        return _told(about)


def load_rows(path: Path) -> bytes | None:
    """The table up to one checkpoint, ``None`` if it carries none; raises as ``load`` does."""
    with _opened(path, "np") as (file, about):
        if _ROWS not in about:
            return None
        packed = file.get_tensor(_ROWS).tobytes()
        if hashlib.sha256(packed).hexdigest() != about[_ROWS]:
            raise ValueError("its rows are not those of their checksum")
        return zlib.decompress(packed)


def _told(about: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata without what is about the file itself."""
    return {name: value for name, value in about.items() if name not in ("header", "sha256", _ROWS)}


def _header_sum(about: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> str:
    """SHA-256 of the metadata, and of names and shapes of the tensors."""
    header = [_told(about), about.get(_ROWS), sorted([name, list(shape)] for name, shape in shapes.items())]
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _whole_sum(header: str, tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 of the header's, and of types and bytes of the tensors."""
    import torch

    found = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        found.update(str(tensors[name].dtype).encode())
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def latest(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The newest readable checkpoint of a folder, ``None`` if there is none. A damaged one is passed over with a warning."""
    return _newest(folder, load)


def latest_meta(folder: Path) -> dict[str, Any] | None:
    """The metadata of ``latest``, without reading its tensors: how far a run is, and whether it is done."""
    return _newest(folder, load_meta)


def latest_rows(folder: Path) -> bytes | None:
    """The table up to ``latest_meta``; ``None`` if there is no checkpoint, or it carries none."""
    return _newest(folder, load_rows)


def _newest(folder: Path, read: Callable[[Path], _Read]) -> _Read | None:
    for path in reversed(steps(folder)):
        try:
            return read(path)
        except DamagedCheckpoint:
            # Reading changes nothing on disk: the next checkpoint that is written replaces or removes it.
            warnings.warn(f"checkpoint {path.name} is damaged; falling back to the previous one", stacklevel=3)
    return None


@contextmanager
def _opened(path: Path, framework: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A checkpoint's file, of which only the header has been read, and its metadata with those about the file itself."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework) as file:
            about = json.loads((file.metadata() or {})["seedbed"])
            if wrong := _wrong(path, about):
                raise ValueError(wrong)
            if "header" in about:
                names = file.keys()
                shapes = {name: file.get_slice(name).get_shape() for name in names}
                if _header_sum(about, shapes) != about["header"]:
                    raise ValueError("its header is not that of its checksum")
            yield file, about
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise DamagedCheckpoint(f"checkpoint {path} is truncated or corrupt; delete it and run again ({error})") from error
    except OSError as error:
        raise SeedbedError(f"cannot read checkpoint {path}: {error.strerror or error}") from error


def _wrong(path: Path, about: Any) -> str:
    """What is not as it must be in the metadata, in words; empty if nothing is."""
    if not is_table(about):
        return "its metadata are no object"
    if wrong := mismatch(about, _FIELDS):
        return wrong
    if path != place(path.parent, about.get("step", -1)):
        return f"it is of step {about.get('step')}"
    if about.get("layout", 1) >= SEALED and not {"header", "sha256"} <= about.keys():
        return "its checksum is missing"
    return ""


def _is_count(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and is_whole(value[0]) and is_list(value[1], is_text)


_FIELDS: dict[str, tuple[str, Check]] = {
    "step": ("a whole number", is_whole),
    "layout": ("a whole number", is_whole),
    "done": ("true or false", lambda value: isinstance(value, bool)),
    "wall_s": ("a number of seconds", lambda value: is_number(value) and 0 <= value < float("inf")),
    "seeds": ("distinct seeds", is_group),
    "counts": ("updates and names by player", lambda value: is_table(value, _is_count)),
    **dict.fromkeys(("header", "sha256", _ROWS), ("a text", is_text)),
}
