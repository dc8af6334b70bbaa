"""Temporary files beside what they are to replace: of names that nobody can guess, gone with the process that made them."""

import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system: age alone tells what was left behind
    fcntl = None

STALE = 3600.0  # seconds after which a file is left behind, where locks do not tell
_OURS = re.compile(r"\..+\.[0-9a-f]{16}\.(tmp|part)", re.DOTALL)


@contextmanager
def temporary_file(path: Path, ending: str = "tmp") -> Iterator[Path]:
    """A new, empty file in the folder of ``path``, removed at the end unless it was renamed.

    Those left behind there are swept first. It is locked while it is in use, so a file whose lock is to be had is of a
    process that was killed.

    Args:
        path: what it is to become.
        ending: ``tmp``, or ``part`` of a download.

    Raises:
        OSError: if it cannot be made.
    """
    sweep(path.parent)
    place, handle = _created(path, ending)
    try:
        if fcntl is None:
            os.close(handle)  # systems without these locks rename no open file
        yield place
    finally:
        place.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(handle)


def _created(path: Path, ending: str) -> tuple[Path, int]:
    """A file that was not there before, open and locked."""
    stem = path.name[:50]  # of which no character takes more than four bytes: systems allow 255
    while True:
        place = path.with_name(f".{stem}.{secrets.token_hex(8)}.{ending}")
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if _locked(handle) is not False and os.fstat(handle).st_nlink:
            return place, handle
        os.close(handle)  # somebody swept it before it was locked


def sweep(folder: Path) -> None:
    """Remove what processes that were killed have left half-written in a folder: files of our names, and no others."""
    with suppress(OSError):  # what cannot be looked at or removed is left
        for entry in [entry for entry in os.scandir(folder) if _OURS.fullmatch(entry.name)]:
            with suppress(OSError):
                _sweep(entry.path)


def _sweep(path: str) -> None:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return
    handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        free = _locked(handle)
        old = time.time() - os.fstat(handle).st_mtime > STALE
        if free or (free is None and old):
            os.unlink(path)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool | None:
    """Take the lock of an open file: whether nobody else has it, ``None`` where nobody can tell."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network folder without locks
        return None
    return True
