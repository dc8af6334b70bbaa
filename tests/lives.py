"""Lives and deaths of one run, each in a process of its own: ``python tests/lives.py``, one job (JSON) a line on its input.

Importing torch takes longer than these trainings, so this process imports once and forks one child per life. A job names
the folder of the runs and how its life ends: ``{"out": ..., "seeds": [...], "settings": {...}, "death": null | {...}}``.
The answer is ``{"killed": bool, "code": int, "seconds": float}``, the time from the first step on.
"""

import io
import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import seedbed
import seedbed.runs.api  # loads torch
from seedbed.store import atomic, table
from seedbed.train import learner, loop

NAME = "toy/8gaussians/vae"
STARTED = "SEEDBED_TEST_STARTED"


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner, name, act):
    """Call ``act(count, *args)`` before each call of ``owner.name``."""
    original, count = getattr(owner, name), [0]

    def wrapped(*args, **options):
        act(count[0], *args)
        count[0] += 1
        return original(*args, **options)

    setattr(owner, name, wrapped)


def after(owner, name, number):
    """Die after call ``number`` of ``owner.name``."""
    original, count = getattr(owner, name), [0]

    def wrapped(*args, **options):
        out = original(*args, **options)
        if count[0] == number:
            die()
        count[0] += 1
        return out

    setattr(owner, name, wrapped)


def half_written(owner, name, number, is_it=lambda path: True):
    """Die in the middle of writing, the ``number``-th time: half of the bytes have reached the file."""
    original, count = getattr(owner, name), [0]

    def wrapped(target, data, *args):
        if is_it(target):
            if count[0] == number:
                original(target, data[: len(data) // 2], *args)
                die()
            count[0] += 1
        return original(target, data, *args)

    setattr(owner, name, wrapped)


class Rows(io.FileIO):
    """The table's file, dying in the middle of a write."""

    left = 0  # whole writes before it

    def write(self, data):
        if Rows.left == 0:
            super().write(data[: len(data) // 2])
            die()
        Rows.left -= 1
        return super().write(data)


def is_checkpoint(path):
    return "step-" in path.name


def arm(death):
    """Prepare how this life ends."""
    kind, when = death["kind"], death["when"]
    if kind == "time":

        def start(count, *_):
            if count == 0:
                threading.Thread(target=lambda: (time.sleep(when), die()), daemon=True).start()

        before(learner.Learner, "advance", start)
    elif kind == "step":
        before(learner.Learner, "advance", lambda count, *_: die() if count == when else None)
    elif kind == "row half written":
        Rows.left, table.open = when, lambda path, mode, **_: Rows(path, mode)
    elif kind == "rows written":
        after(table.LongTable, "append", when)
    elif kind == "checkpoint half written":
        half_written(Path, "write_bytes", when, is_checkpoint)
    elif kind == "checkpoint not renamed":
        renamed = itertools.count()
        before(atomic.os, "replace", lambda _, *paths: die() if is_checkpoint(paths[1]) and next(renamed) == when else None)
    elif kind == "checkpoint renamed":
        after(loop.checkpoint, "write_atomic", when)
    elif kind == "picture half written":
        before(atomic.os, "replace", lambda count, *paths: die() if Path(paths[1]).suffix == ".npz" else None)
    else:
        raise ValueError(kind)


def live(job, pipe):
    before(learner.Learner, "advance", lambda count, *_: os.write(pipe, b"x") if count == 0 else None)
    if job["death"] is not None:
        arm(job["death"])
    seedbed.run(NAME, job["seeds"], out=job["out"], name="run", threads=1, checkpoint_seconds=0, **job["settings"])


def life(job):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            live(job, writer)
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    os.close(writer)
    os.read(reader, 1)
    started = time.perf_counter()
    _, status = os.waitpid(child, 0)
    os.close(reader)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"killed": killed, "code": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(life(json.loads(line))), flush=True)
