"""Files that are either whole or not there; the operating system's refusals as one clear line."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seedbed.core.errors import SeedbedError
from seedbed.core.temporary import temporary_file


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

    A file that is replaced keeps its permissions; nothing but a plain file is ever replaced.

    Raises:
        SeedbedError: if the file cannot be written; ``path`` is then what it was before.
    """
    with clear_os_errors(path):
        mode = replaceable(path)
        make_folder(path.parent)
        with temporary_file(path) as temporary:
            if mode is not None:
                temporary.chmod(mode)
            made = temporary.lstat()
            write(temporary)
            if not os.path.samestat(made, temporary.lstat()):
                raise OSError("something else has taken the place of its temporary file")
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
    sync_folder(path.parent)


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def replaceable(path: Path) -> int | None:
    """The permissions of a file that may be replaced, ``None`` if there is none yet.

    Raises:
        SeedbedError: for a folder, a device, a pipe, a socket, or a link: to replace it would be to lose it.
        OSError: if it cannot be looked at.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):  # the latter is told better by who makes the folder
        return None
    except ValueError as error:  # a NUL within a name, or a letter that the system cannot write
        raise SeedbedError(f"{str(path)!r} is no name of a file here ({error}); choose another") from error
    if stat.S_ISLNK(mode):
        raise SeedbedError(f"{path} is a link to {os.readlink(path)}, which is not replaced; name the file itself")
    if not stat.S_ISREG(mode):
        raise SeedbedError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'no plain file')}, not a file; choose another name")
    return stat.S_IMODE(mode) & 0o777


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each flushed to disk as a name in the one above.

    Raises:
        OSError: if one cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


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
