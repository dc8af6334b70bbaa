"""Who may write: a lock file that says which process, on which machine, does what; an empty place once it is done.

Processes of one machine are kept apart by the system's own lock on the file (``flock``), which ends with its process
however that ends. Machines that share a folder need not see each other's, and some folders have none: there the file itself
is the lock. It is made by one process alone (``O_EXCL``), its owner rewrites it every ``BEAT`` seconds, and it is taken over
once it has been watched for ``SILENT`` seconds without a change. Clocks of two machines are never compared.
"""

import errno
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from seedbed.core.errors import SeedbedError
from seedbed.store.atomic import clear_os_errors, make_folder

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None

BEAT = 2.0  # seconds between two signs of life
SILENT = 10.0  # seconds without one after which a lock is of nobody any more
PAUSE = 0.05  # seconds between two attempts
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class Busy(SeedbedError):
    """Another process holds what was asked for."""


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


def machine() -> str:
    """What tells this machine from others of its name: processes that see the same system locks have the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not on this system
        return host()


class Lock:
    """A lock that is held, see ``held``.

    Args:
        path: of its file.
        handle: which is open and, where the system can, locked.
        entry: what the file says of its holder.
    """

    def __init__(self, path: Path, handle: int, entry: dict[str, Any]) -> None:
        self.path, self._handle, self._entry = path, handle, entry
        self._lost, self._ended = False, threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """See that it is still held, as far as is known; before something is written that counts on it.

        Raises:
            Busy: if this process was silent for so long that another one took over.
        """
        if self._lost:
            raise Busy(
                f"another process took over {self.path.parent}, since this one stood still for {SILENT:g} seconds; "
                "what was written before is whole: wait for it"
            )

    def moved(self, path: Path) -> None:
        """Follow its file, whose folder has been renamed."""
        self.path = path

    def release(self) -> None:
        """Remove the file and let go."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            if _same(self._handle, self.path):
                self.path.unlink()
        os.close(self._handle)

    def _live(self) -> None:
        beats = 0
        while not self._ended.wait(BEAT):
            beats += 1
            # A network may be away for a while. It is opened anew, for what is closed is what other machines see.
            with suppress(OSError), open(self.path, "r+b") as file:
                self._lost = _parsed(file.read()).get("token") != self._entry["token"]
                if self._lost:
                    return
                file.seek(0)
                file.write(_text({**self._entry, "beats": beats}))
                file.truncate()


@contextmanager
def held(path: Path, doing: str, *, wait: float = 0.0) -> Iterator[Lock]:
    """Hold a lock while inside.

    Args:
        path: of the lock's file; its folder is made if there is none.
        doing: what for, e.g. ``training seeds 0 to 9 of runs/x``; others are told.
        wait: seconds to wait for it, if another process has it.

    Raises:
        Busy: if it is not to be had in that time; the message says who has it.
        SeedbedError: if the file cannot be written.
    """
    until = time.monotonic() + wait
    entry = {"host": host(), "machine": machine(), "pid": os.getpid(), "doing": doing}
    entry |= {"since": datetime.now(UTC).isoformat(timespec="seconds"), "token": secrets.token_hex(8)}
    while True:
        with clear_os_errors(path.parent):
            found = _attempt(path, entry)
        if isinstance(found, int):
            break
        if found is not None and time.monotonic() >= until:
            raise Busy(_who(found, path))
        time.sleep(PAUSE if found is not None else 0.0)
    lock = Lock(path, found, entry)
    try:
        yield lock
    finally:
        lock.release()


def _attempt(path: Path, entry: dict[str, Any]) -> int | bytes | None:
    """An open file that is ours, or what the file of who holds it says, or ``None`` if there is to be another attempt."""
    make_folder(path.parent)
    handle = -1
    try:
        handle, made = _opened(path)
        if made:
            _write(handle, entry)
        system = _system_lock(handle, path)
        if system is False:
            return _content(handle) or b"{}"
        if not _same(handle, path):  # released and removed, or its folder renamed, meanwhile
            return None
        if not made:
            before = _content(handle)
            if system and _parsed(before).get("machine") == entry["machine"]:  # of a process that is no more
                _write(handle, entry)
            elif (seen := _watched(path, before)) is not None:
                return seen
            else:
                _take_over(path, handle, entry)
        taken, handle = handle, -1
        return taken
    except FileNotFoundError:  # it was released, or its folder removed or renamed, meanwhile
        return None
    finally:
        if handle >= 0:
            os.close(handle)


def _opened(path: Path) -> tuple[int, bool]:
    """A lock's file, and whether it was made."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, os.O_RDWR), False


def _system_lock(handle: int, path: Path) -> bool | None:
    """Whether the system's lock is ours; ``None`` where there are none such."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _say_unlocked(path.parent)
        return None
    return True


@cache
def _say_unlocked(folder: Path) -> None:
    said = f"{folder} has no file locks: a killed writer there is known by {SILENT:g} seconds of silence"
    print(f"seedbed: {said}", file=sys.stderr)


def _watched(path: Path, before: bytes) -> bytes | None:
    """What a lock's file says once it has changed; ``None`` if it does not within ``SILENT`` seconds.

    Raises:
        FileNotFoundError: if it was released.
    """
    until = time.monotonic() + SILENT
    while time.monotonic() < until:
        time.sleep(min(PAUSE, BEAT))
        if (now := path.read_bytes()) != before:
            return now
    return None


def _take_over(path: Path, handle: int, entry: dict[str, Any]) -> None:
    """Write our name into a silent lock, and see whether it is still there after a beat: others may do the same.

    Raises:
        Busy: if it is not.
    """
    _write(handle, entry)
    os.fsync(handle)
    time.sleep(BEAT)
    now = path.read_bytes()
    if _parsed(now).get("token") != entry["token"]:
        raise Busy(_who(now, path))


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _content(handle: int) -> bytes:
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, 1 << 16)


def _write(handle: int, entry: dict[str, Any]) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, _text(entry))
    os.ftruncate(handle, len(_text(entry)))


def _text(entry: dict[str, Any]) -> bytes:
    return (json.dumps(entry) + "\n").encode()


def _parsed(content: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):  # half of it is written, or it is no lock of ours
        if isinstance(found := json.loads(content), dict):
            return found
    return {}


def _who(content: bytes, path: Path) -> str:
    """Who holds a lock, in words."""
    entry = _parsed(content)
    who = f"process {entry['pid']} on {entry['host']}" if {"pid", "host"} <= entry.keys() else "another process"
    since = f" since {entry['since']}" if "since" in entry else ""
    return f"{who} is {entry.get('doing', f'writing to {path.parent}')}{since}; wait for it, or choose another --name"
