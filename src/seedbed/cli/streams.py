"""Standard output and error as the work needs them: it goes on when nobody reads them any more, or their disk is full."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

_GONE = (errno.EPIPE, errno.EINVAL, errno.EBADF)  # of a reader who has gone away, which is no failure


class Enduring:
    """A stream that lets the work go on: what cannot be written is dropped, and the first reason kept in ``failed``.

    Letters that its encoding lacks, and names that are no text, are written as escapes.

    Args:
        stream: of text.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"
        self.errors = "backslashreplace"
        self.failed: OSError | None = None

    def write(self, text: str | bytes) -> int:
        """Write text, at once; or bytes, which is what click answers a shell with."""
        if isinstance(text, bytes):
            return self.write(text.decode("utf-8", "surrogateescape"))
        try:
            self._stream.write(text)
            self._stream.flush()
        except UnicodeError:
            self.write(text.encode(self.encoding, self.errors).decode(self.encoding))
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """That of the stream."""
        return self._stream.fileno()

    @property
    def lost(self) -> str:
        """Why something is not where it should be; empty if nothing is, or nobody wanted to read on."""
        return "" if self.failed is None or self.failed.errno in _GONE else self.failed.strerror or str(self.failed)

    def _give_up(self, error: OSError) -> None:
        """Write to nowhere from now on, what is still in a buffer too."""
        self.failed = self.failed or error
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def enduring() -> Iterator[Enduring]:
    """While inside, standard output and error are ``Enduring``; yields the former. Those that are closed lead nowhere."""
    _open_all()
    outside = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = (Enduring(nowhere if stream is None else stream) for stream in outside)
        sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
        try:
            yield out
        finally:
            sys.stdout, sys.stderr = outside


def _open_all() -> None:
    """Open what is closed of input, output and error: the next file would take its place, and be written to by libraries."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
