"""Closed pipes, full disks, signals and code of one's own that ends badly: one line, the right exit code, the work done."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seedbed.cli.last import answer
from seedbed.cli.main import main
from seedbed.core.errors import SeedbedError
from seedbed.core.interrupts import Interrupted, interrupts


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def shell(command, **environment):
    """What a shell makes of it; ``$SB`` is this very Seedbed."""
    variables = {**os.environ, "SB": f"{sys.executable} -m seedbed", **environment}
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=variables, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("set -o pipefail; $SB list toy | true", 0, ""),
        ("$SB list >&-", 0, ""),
        ("$SB lst 2>&-", 2, ""),
        pytest.param(
            "$SB list > /dev/full",
            2,
            "No space left",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full"),
        ),
    ],
)
def test_an_output_that_goes_nowhere_ends_quietly(command, code, says):
    got, _, err = shell(command)
    assert got == code
    assert (says in err and len(err.splitlines()) == 1) if says else not err


def test_letters_that_an_encoding_lacks_are_escaped(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("raise ValueError('\\u2211 \\x1b[31m \\udcff')", encoding="utf-8")
    code, _, err = shell(f"$SB list {own}", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert code == 2 and r"\u2211 \x1b[31m \udcff" in err and len(err.splitlines()) == 1


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no")


ERRORS = {
    "bad input": (SeedbedError("a\nb\x1b[31m"), 2, r"a b\x1b[31m"),
    "a full disk": (OSError(28, "No space left on device", "/x/y"), 2, "/x/y: No space left on device; what was written"),
    "a name that is too long": (OSError(36, "File name too long", "n" * 999), 2, "choose a shorter name"),
    "an odd error of the system": (OSError("odd"), 2, "the system refuses odd"),
    "memory": (MemoryError(), 2, "not enough memory"),
    "an allocator's": (
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"),
        2,
        "fewer",
    ),
    "threads": (RuntimeError("can't start new thread"), 2, "--threads"),
    "letters": (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2, "invalid start byte"),
    "recursion": (RecursionError("maximum recursion depth exceeded"), 2, "without end"),
    "an exit": (SystemExit(0), 2, "sys.exit(0)"),
    "ctrl-c": (KeyboardInterrupt(), 130, "the same command"),
    "sigterm": (Interrupted(signal.SIGTERM), 143, "the same command"),
    "a mistake of ours": (KeyError("x"), 1, "KeyError: 'x'; run it again with SEEDBED_DEBUG=1"),
    "one that says nothing": (Mute(), 1, "Mute: Mute"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_one_line_and_its_code(kind):
    error, code, says = ERRORS[kind]
    got, line = answer(error)
    assert got == code and says in line and line.isprintable()


def test_the_last_handler_shows_the_traceback_if_asked(capsys, monkeypatch):
    monkeypatch.setattr("seedbed.experiments.files.listing", None)
    code, _, err = call(capsys, "list", "own.py")
    assert code == 1 and len(err.splitlines()) == 1 and "mistake of Seedbed's own" in err
    monkeypatch.setenv("SEEDBED_DEBUG", "1")
    assert "Traceback" in call(capsys, "list", "own.py")[2]


OWN = {
    "ends with 0": ("raise SystemExit", "SystemExit"),
    "ends with 3": ("import sys; sys.exit(3)", "SystemExit"),
    "is closed": ("raise GeneratorExit", "GeneratorExit"),
    "says several lines": ("raise ValueError('a\\nb')", "ValueError: a"),
    "cannot say": ("class E(Exception):\n  def __str__(self): raise SystemExit\nraise E", "E: no message"),
    "has no end": ("f = lambda: f()\nf()", "RecursionError"),
    "is no text": (b"x = '\xff'", "SyntaxError"),
    "holds a NUL": (b"x = 1\0", "null bytes"),
    "prints a page": ("print('a\\n' * 9)\nraise ValueError('then')", "ValueError: then"),
    "has an experiment that is none": ("x = None", "unknown experiment"),
}


@pytest.mark.parametrize("kind", OWN)
def test_own_files_that_end_badly(capsys, tmp_path, kind):
    content, says = OWN[kind]
    path = tmp_path / "own.py"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = call(capsys, "run", f"{path}:x", "--budget", "smoke", "-q")
    assert code == 2 and not out and says in err.splitlines()[-1]
    assert "Traceback" not in err and len(err.splitlines()) == (1 if kind != "prints a page" else 10 + 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "n" * 300],
        ["show", "n" * 300 + ".py:x"],
        ["list", "folder.py"],
        ["data", "show", "folder:" + "n" * 300],
        ["data", "show", "array:~nosuchuser/x.npy"],
        ["data", "check", "mnist", "--data-dir", "n" * 300],
        ["run", "digits/digits-binary/vae", "--budget", "smoke", "--name", "n" * 300],
        ["run", "digits/digits-binary/vae", "--budget", "smoke", "--out", "n" * 300],
        ["run", "digits/digits-binary/vae", "--budget", "smoke", "--out", "file"],
    ],
)
def test_names_that_no_file_can_have(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "file").touch()
    code, _, err = call(capsys, *arguments, *(["-q", "-n", "1"] if arguments[0] == "run" else []))
    assert code == 2 and "Traceback" not in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_are_alike(name):
    number = getattr(signal, name)
    outside = signal.signal(number, signal.default_int_handler)  # the tests may have been started with it ignored
    try:
        with interrupts() as stop:
            os.kill(os.getpid(), number)
            assert stop.seen  # and what is at hand goes on
            with pytest.raises(Interrupted) as second:
                os.kill(os.getpid(), number)
            assert second.value.code == 128 + number
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, outside)


def test_what_outlives_its_terminal_goes_on_doing_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts(patient=False):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
