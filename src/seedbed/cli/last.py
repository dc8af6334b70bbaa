"""What is said about an error that nobody else has answered: one line, and the exit code."""

import errno

import click

from seedbed.core.errors import SeedbedError, arose, one_line, said
from seedbed.core.interrupts import exit_code

_STOPPED = "interrupted; what was done is kept: run the same command to continue"
_MEMORY = "choose fewer seeds, a smaller --batch-size or --examples, or --strategy sequential"
_SPACE = "what was written before is whole: free some space and run the same command to continue"
# How torch and its libraries say, by errors of no kind of their own, that there is no memory, or no thread, to be had.
_ALLOCATORS = ("out of memory", "not enough memory", "can't allocate", "cannot allocate", "failed to allocate", "bad_alloc")
_THREADS = ("can't start new thread", "resource temporarily unavailable", "thread creation failed")


def answer(error: BaseException) -> tuple[int, str]:
    """The exit code and the line: 2 for bad input and for what the machine refuses, 128 and the number of a signal, 1 for a
    mistake of Seedbed's own."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return exit_code(error), _STOPPED
    if isinstance(error, click.ClickException):
        return 2, one_line(error.format_message())
    if isinstance(error, SeedbedError):
        return 2, said(error)
    place = _place(error)
    if isinstance(error, MemoryError) or _speaks(error, _ALLOCATORS):
        return 2, f"there is not enough memory ({said(error, 120)}){place}; {_MEMORY}"
    if _speaks(error, _THREADS):
        return 2, f"the machine grants no more threads ({said(error, 120)}); choose fewer with --threads"
    if isinstance(error, OSError):
        return 2, _refused(error) + place
    if isinstance(error, ValueError) and "null byte" in said(error):
        return 2, "no file can have a name with a NUL within; choose another"
    if isinstance(error, UnicodeError):
        return (
            2,
            f"a name or a text cannot be read here ({said(error, 120)}){place}; save it as UTF-8, or rename it",
        )
    if isinstance(error, RecursionError):
        return 2, f"something refers to itself without end ({said(error, 120)}){place}; break the circle"
    if isinstance(error, SystemExit):
        return 2, f"code of your own ended the program, with sys.exit({said(error, 40)}){place}; let it return or raise"
    if place:
        return 2, f"code of your own does not run: {type(error).__name__}: {said(error, 200)}{place}"
    what = f"{type(error).__name__}: {said(error, 200)}"
    return 1, f"this is a mistake of Seedbed's own, {what}; run it again with SEEDBED_DEBUG=1 and report what that shows"


def _refused(error: OSError) -> str:
    reason = error.strerror or said(error, 120) or type(error).__name__
    name = next((one_line(str(name)) for name in (error.filename2, error.filename) if name), "")
    remedy = {errno.ENOSPC: f"; {_SPACE}", errno.EDQUOT: f"; {_SPACE}", errno.ENAMETOOLONG: "; choose a shorter name"}
    what = f"{name[:80] + '...' if len(name) > 200 else name}: {reason}" if name else reason
    return f"the system refuses {what}{remedy.get(error.errno or 0, '; name another place, or make it accessible')}"


def _speaks(error: BaseException, words: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError | OSError) and any(word in said(error).lower() for word in words)


def _place(error: BaseException) -> str:
    own = arose(error)
    return f" (line {own.lineno} of {one_line(own.filename)}, in {own.name})" if own is not None else ""
