"""Where what a user asks for may be written: a file of its own, never one that a run is made of."""

import os
from pathlib import Path

from seedbed.core.errors import SeedbedError
from seedbed.store.atomic import clear_os_errors, replaceable
from seedbed.store.manifest import FILE

OWN = ("table", "checkpoints", "evaluations", "artefacts", "figures")  # folders that a run keeps for itself


def output(path: Path | str, suffixes: tuple[str, ...] = ()) -> Path:
    """A file that somebody names to be written, looked at before anything is computed for it.

    Args:
        path: its name.
        suffixes: how it may end, e.g. ``(".npz",)``; in any way by default.

    Raises:
        SeedbedError: if it ends otherwise, is no plain file, or is one of those that a run consists of.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise SeedbedError(f"expected the name of a file to write, got {path!r}; choose one")
    path = Path(path)
    with clear_os_errors(path):
        replaceable(path)
        whole = Path(os.path.realpath(path.parent), path.name)
    if suffixes and path.suffix not in suffixes:
        raise SeedbedError(f"expected a name that ends in {' or '.join(suffixes)}, got {path}; choose such a name")
    for folder in whole.parents:
        first = whole.relative_to(folder).parts[0].casefold()  # some systems do not tell A from a
        if (first in OWN or first == FILE or first.startswith(".")) and (folder / FILE).is_file():
            raise SeedbedError(f"{path} is of the run {folder} itself, which would be lost; choose another name")
    return path
