"""Paths of data, as people name them: looked at before they are opened, since a pipe or a device may never end."""

import os
import stat
from pathlib import Path

from seedbed.core.errors import SeedbedError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def expanded(path: str | Path) -> Path:
    """A path with ``~`` as the home folder; of a user whom there is none of, as it is."""
    return Path(os.path.expanduser(path))


def check_file(path: Path, form: str) -> None:
    """Refuse what is no file, links followed.

    Args:
        path: that is about to be opened.
        form: of file that it should be, e.g. ``a table``.

    Raises:
        SeedbedError: if there is nothing, or a folder, pipe, device or socket.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise SeedbedError(f"{path} cannot be read as {form}: no such file") from None
    except (OSError, ValueError) as error:  # the latter of a name that no file can have
        raise SeedbedError(f"{path} cannot be read as {form}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise SeedbedError(f"{path} cannot be read as {form}: it is {kind}; name a file")
