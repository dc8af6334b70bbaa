"""Files that are either whole or not there; the operating system's refusals as one clear line."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seedbed.core.errors import SeedbedError


@contextmanager
def clear_os_errors(path: Path) -> Iterator[None]:
    """Turn a failed write into a one-line error that says what to do.

    Raises:
        SeedbedError: for a full disk, a read-only place or any other refusal to write.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SeedbedError(
                f"no space left to write {path}; what was written before is whole: "
                "free some space and run the same command to continue"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise SeedbedError(f"cannot write {path}: {error.strerror}; choose a writable folder with --out") from error
        raise SeedbedError(f"cannot write {path}: {error.strerror or error}") from error


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk, then rename it into place.

    Raises:
        SeedbedError: if the file cannot be written; ``path`` is then what it was before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with clear_os_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk: without it a power failure may lose a file that was itself flushed."""
    with suppress(OSError):  # not every system can; what was renamed is in place either way
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def tentative(folder: Path) -> Iterator[None]:
    """Remove the folders on the way to a place that were made inside and are empty, if what is done inside fails."""
    new = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        yield
    except BaseException:
        for place in new:
            with suppress(OSError):  # there is something in it
                place.rmdir()
        raise
