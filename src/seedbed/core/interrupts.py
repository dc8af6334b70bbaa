"""Signals that ask to stop: Ctrl-C, and those by which a machine ends a process (SIGTERM, SIGHUP), to the same effect."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # not every system has the last


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop; where something was being trained, a checkpoint of the step that it arrived in was written.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number

    @property
    def code(self) -> int:
        """What shells call a process that it ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


class Stop:
    """What a signal does: a first one lets a step be finished, a second one interrupts at once; so does any once it obeys.

    Args:
        patient: whether there is something to finish first.
    """

    def __init__(self, patient: bool = True) -> None:
        self.patient = patient
        self.number = 0

    @property
    def seen(self) -> bool:
        """Whether a signal arrived."""
        return self.number != 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        again, self.number = self.seen, number
        if again or not self.patient:
            raise Interrupted(number)

    def interrupt(self) -> None:
        """Interrupt, if a signal has arrived.

        Raises:
            Interrupted: by its number.
        """
        if self.seen:
            raise Interrupted(self.number)

    def obey(self) -> None:
        """From now on, and if one has arrived already, interrupt at once."""
        self.patient = False
        self.interrupt()


@contextmanager
def interrupts(patient: bool = True) -> Iterator[Stop]:
    """Handle the signals for a while, those of the main thread: in any other they are somebody else's.

    One that is ignored because a process is to outlive its terminal (``nohup``) stays ignored.

    Args:
        patient: see ``Stop``.
    """
    stop, before = Stop(patient), {}
    try:
        with suppress(ValueError):  # not the main thread
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                outlives = number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN
                if not outlives:
                    before[number] = signal.signal(number, stop)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def exit_code(error: BaseException) -> int:
    """The exit code of a program that an interrupt ended; libraries wrap it into errors of their own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Interrupted):
            return cause.code
        cause = cause.__cause__ or cause.__context__
    return 128 + signal.SIGINT
