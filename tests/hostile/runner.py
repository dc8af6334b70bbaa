"""Hundreds of odd inputs, each answered in one clear line? ``python tests/hostile/runner.py [--only NAME] [--kind KIND]``.

Importing torch takes longer than refusing anything, so this process imports once, has two good runs made, and forks a
child for every case (``grammar.cases``). A child has a folder of its own with copies of these runs, limits on memory
and no network. What it said, how it ended and what is in the folder then is judged by ``verdict``:

- refused: exit code 2, one line on standard error that begins with ``seedbed: `` (warnings may stand before it), and every
  file as it was;
- fine: exit code 0, and no file that was there is gone;
- no traceback, no hang, no crash, nothing that a terminal would obey, in either.

The status is 1 if a case fails; each that does is told with how to replay it alone.
"""

import argparse
import gc
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from case import RUN, A, B, Case
from grammar import cases

SECONDS = 20.0  # of one case, after which it hangs; on two free cores none takes ten
MEMORY = 4 << 30  # bytes beyond those that importing takes
LARGEST = 1 << 28  # bytes of a file
CHILDREN = 2
QUICK = 60  # cases of the quick half
# Lines beside the one that refuses: what happened on the way there.
BESIDE = ("seedbed: warning: ", "left out: ", "wrote ", "toy: ", "  runs/")
# Answers of a few verbs that are no error: a check that found something.
CHECKS = ("certify", "check")

Snapshot = Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """How a case ended.

    Args:
        code: the exit status; negative, the signal that killed it; ``None`` of one that was killed here, as it hung.
        out: standard output.
        err: standard error.
        before: what the folder held before.
        after: and after.
        seconds: how long it took.
    """

    code: int | None
    out: str
    err: str
    before: Snapshot
    after: Snapshot
    seconds: float = 0.0


def verdict(case: Case, ended: Ended) -> list[str]:
    """What is wrong with an answer, in words; nothing if it is right."""
    if ended.code is None:
        return ["hung"]
    if ended.code < 0:
        return [f"crashed by {signal.Signals(-ended.code).name}"]
    faults = ["a traceback"] if "Traceback (most recent call last)" in ended.out + ended.err else []
    if any(ord(c) < 32 and c not in "\n\r\t" for c in ended.err):
        faults.append("control characters on standard error")
    allowed = {"refused": (2,), "fine": (0,), "either": (0, 2)}[case.expects]
    if set(case.argv[:2]) & set(CHECKS) and case.expects != "fine":
        allowed += (1,)
    if ended.code not in allowed and not faults:
        faults.append(f"exit code {ended.code}, expected {' or '.join(map(str, allowed))}")
    if ended.code == 2:
        lines = [line for line in ended.err.splitlines() if line.strip() and not line.startswith(BESIDE)]
        usage = lines and lines[0].startswith("Usage: ")  # of a group without a command
        if not usage and (len(lines) != 1 or not lines[0].startswith("seedbed: ")) and not faults:
            faults.append(f"{len(lines)} lines, expected one that begins with 'seedbed: '")
        # What training did before it was refused is kept, as after an interruption.
        changed = [] if case.trains else sorted(path for path in {*ended.before, *ended.after} if _differs(path, ended))
        faults += [f"refused, and changed {', '.join(changed[:3])}"] if changed else []
    if ended.code != 2 or case.trains:
        lost = sorted({*ended.before} - {*ended.after})
        faults += [f"lost {', '.join(lost[:3])}"] if lost else []
    return faults


def _differs(path: str, ended: Ended) -> bool:
    return ended.before.get(path) != ended.after.get(path)


def snapshot(folder: Path) -> dict[str, str]:
    """Everything below a folder but locks: of a file its checksum, of a link its target, of others their kind."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(at, name)
            kept = os.path.relpath(path, folder)
            mode = os.lstat(path).st_mode
            if name.startswith(".lock"):
                continue
            if stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    found[kept] = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                found[kept] = os.readlink(path) if stat.S_ISLNK(mode) else str(stat.S_IFMT(mode))
    return found


def imported() -> None:
    """Import whatever some case will need. No tensor is touched: a process that has threads must not be forked."""
    import pkgutil
    from importlib import import_module

    import jinja2
    import matplotlib
    import pandas
    import PIL.Image
    import scipy.io
    import sklearn.datasets
    import torch

    import seedbed

    matplotlib.use("agg")
    assert jinja2 and pandas and PIL.Image and scipy.io and sklearn.datasets
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(seedbed.__path__, "seedbed."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    gc.collect()
    gc.freeze()  # what is here now is shared with the children, and none of them need look through it


def child(case: Case, place: Path, good: Path | None) -> None:
    """Be one case: never returns."""
    code = 70
    try:
        os.setsid()
        folder = place / "here"
        folder.mkdir(parents=True)
        os.chdir(folder)
        if good is not None:
            shutil.copytree(good / "runs", folder / "runs")
        case.prepare(folder)
        (place / "before.json").write_text(json.dumps(snapshot(folder)))
        _confined(place, case)
        code = _answer(case)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)


def _confined(place: Path, case: Case) -> None:
    """Own streams, own home, limits, and no network."""
    import socket

    def unreachable(*_: Any) -> None:
        raise OSError(101, "Network is unreachable")

    os.environ |= {"HOME": str(place / "home"), "XDG_STATE_HOME": str(place / "home"), "SEEDBED_CACHE": str(place / "cache")}
    os.environ.pop("SEEDBED_DATA", None)
    os.environ |= case.environment
    socket.socket.connect = unreachable
    socket.getaddrinfo = unreachable
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    files = [os.open(os.devnull, os.O_RDONLY)]
    files.append(os.open("/dev/full" if case.stdout == "full" else place / "out", os.O_WRONLY | os.O_CREAT))
    files.append(os.open(place / "err", os.O_WRONLY | os.O_CREAT))
    for number, file in enumerate(files):
        os.dup2(file, number)
    encoding = "ascii" if case.stdout == "ascii" else "utf-8"
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding)
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding, "backslashreplace")
    if case.stdout == "closed":
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(reader)


def _answer(case: Case) -> int:
    """The exit code of a command; of an expression that of a command that did the same."""
    import seedbed

    if not case.code:
        from seedbed.cli.main import main

        sys.argv = ["seedbed", *case.argv]
        try:
            main(list(case.argv))
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return 0
    import numpy as np
    import pandas as pd
    import torch

    from seedbed.data.own import as_dataset
    from seedbed.runs.evaluate import Request, evaluate

    known = {"seedbed": seedbed, "np": np, "pd": pd, "torch": torch, "Path": Path, "as_dataset": as_dataset}
    known |= {"Request": Request, "evaluate": evaluate}
    try:
        eval(case.code, known)
    except seedbed.SeedbedError as error:
        print(f"seedbed: {error}", file=sys.stderr)
        return 2
    except TypeError as error:
        # Python's own to refuse, in its own words: a call that does not fit the signature.
        if not any(words in str(error) for words in ("unexpected keyword", "required", "positional argument")):
            raise
        print(f"seedbed: {error}", file=sys.stderr)
        return 2
    except AttributeError as error:
        if "has no attribute 'nosuch'" not in str(error):
            raise
    return 0


def answers(chosen: Mapping[str, Case], good: Path | None, seconds: float = SECONDS) -> Iterator[tuple[str, Ended]]:
    """How each case ended, as it ends; so many at a time."""
    waiting = list(chosen.items())[::-1]
    running: dict[int, tuple[str, Path, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < CHILDREN:
                name, case = waiting.pop()
                place = Path(tempfile.mkdtemp(prefix="seedbed-"))
                sys.stdout.flush()
                if not (pid := os.fork()):
                    child(case, place, good)
                running[pid] = name, place, time.monotonic()
            for pid, (name, place, began) in list(running.items()):
                took = time.monotonic() - began
                done, status = os.waitpid(pid, os.WNOHANG)
                if not done and took < seconds:
                    continue
                if not done:
                    _kill(pid)
                    os.waitpid(pid, 0)
                _kill(pid)  # what it started goes with it
                del running[pid]
                code = os.waitstatus_to_exitcode(status) if done else None
                yield name, _ended(place, code, took)
                shutil.rmtree(place, ignore_errors=True)
            time.sleep(0.005)
    finally:
        for pid, (_, place, _) in running.items():
            _kill(pid)
            shutil.rmtree(place, ignore_errors=True)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _ended(place: Path, code: int | None, seconds: float) -> Ended:
    def text(name: str) -> str:
        path = place / name
        return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""

    before = json.loads(text("before.json") or "{}")
    return Ended(code, text("out"), text("err"), before, snapshot(place / "here"), seconds)


def made_runs(place: Path) -> Path:
    """Two good runs that differ in their step size, made by children as any case is."""
    made = {
        "a": Case(kind="", what="", argv=(*RUN, "--name", "a")),
        "b": Case(kind="", what="", argv=(*RUN, "--name", "b", "--lr", "2e-3")),
    }
    for name, case in made.items():
        pid = os.fork()
        if not pid:
            child(case, place / name, None)
        if os.waitpid(pid, 0)[1]:
            raise SystemExit(f"no good run could be made: {(place / name / 'err').read_text()}")
    for path in (A, B):
        name = path.rpartition("/")[2]
        shutil.move(place / name / "here" / path, place / path)
        shutil.rmtree(place / path / "figures")  # large, and nothing reads them
    return place


def quick(found: Mapping[str, Case]) -> dict[str, Case]:
    """Some of every kind that need no training."""
    short = [name for name, case in found.items() if not case.trains]
    return {name: found[name] for name in short[:: max(1, len(short) // QUICK)]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Put all cases, or those that are chosen, and say what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", default=[], help="this case, e.g. numbers:12; shows its answer")
    parser.add_argument("--kind", action="append", default=[], help="cases of this kind")
    parser.add_argument("--quick", action="store_true", help="the quick half alone")
    parser.add_argument("--list", action="store_true", help="name the cases and what they are")
    options = parser.parse_args(arguments)
    found = cases()
    if odd := [name for name in options.only if name not in found]:
        parser.error(f"no case {odd[0]}; see --list")
    chosen = {name: found[name] for name in options.only} or (quick(found) if options.quick else found)
    chosen = {name: case for name, case in chosen.items() if not options.kind or case.kind in options.kind}
    if options.list:
        print("\n".join(f"{name:18} {case.expects:8} {case.what}" for name, case in chosen.items()))
        return 0
    imported()
    place = Path(tempfile.mkdtemp(prefix="seedbed-good-"))
    try:
        return told(chosen, answers(chosen, made_runs(place)), bool(options.only))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def told(chosen: Mapping[str, Case], ended: Iterator[tuple[str, Ended]], show: bool = False) -> int:
    """Print what failed and a summary by kind; 1 if anything failed."""
    began, count, wrong, longest = time.monotonic(), Counter[str](), Counter[str](), (0.0, "")
    for name, end in ended:
        case = chosen[name]
        faults = verdict(case, end)
        count[case.kind] += 1
        wrong[case.kind] += bool(faults)
        longest = max(longest, (end.seconds, name))
        if faults:
            said = [line for line in end.err.splitlines() if line.strip()][-1:] or ["said nothing"]
            print(f"FAILED {name}: {case.what!r:.150}\n       {'; '.join(faults)!r:.200}: {said[0]!r:.200}", flush=True)
            print(f"       python tests/hostile/runner.py --only {name}", flush=True)
        if show:
            print(f"{name}: {case.what}\nexpected {case.expects}, exit code {end.code}\n{end.out}{end.err}", flush=True)
    for kind in count:
        print(f"{kind:14} {count[kind] - wrong[kind]:5} of {count[kind]:5}")
    seconds = time.monotonic() - began
    right = (count - wrong).total()
    print(f"{'all':14} {right:5} of {count.total():5} in {seconds:.0f} s; the longest {longest[1]}, {longest[0]:.1f} s")
    return int(wrong.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
