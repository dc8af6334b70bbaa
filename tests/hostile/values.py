"""Words that are hardly numbers, names that are hardly names, and things that are no file: what flags are given."""

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

# No number at all, or none that anything can be.
NO_NUMBER = ("nan", "NaN", "inf", "-inf", "infinity", "1e400", "  ", "one", "0x10", "1..2", "½", "1 2", "--", "1\n2")
NO_NUMBER += ("1;2", "None", "[1]", "0b1", "1j", "\x00", "1\x1b[0m", "\udcff", "-" * 300)
NO_WHOLE = (*NO_NUMBER, "1.5", "-0.5", "1e-3", "9" * 30, "1" + "0" * 300, "²", "1e308", "18446744073709551616", "9" * 5000)
NO_FLOAT = (*NO_NUMBER, "1e", "e5", "\u066b5", "1e+-5", "9" * 5000)
# What Python reads as a number, and a reader may.
ODD_NUMBER = ("1_0", "٣", "+5", " 5", "5 ", "007", "-0", "1e1", "\uff15", "1.0", "")
# Larger than any memory.
HUGE = ("1000000000000", "99999999999", "4611686018427387904")

LONG = "x" * 300
NAMES = ("", " ", ".", "..", "/", "//", "-", "--", "toyy", "toy/", "toy//vae", "TOY", "/toy", "toy/8gaussians/vae/", "\t")
NAMES += ("vae\n", "a\0b", "caf\udce9", "\udcff\udcfe", "\x1b[31mred\x1b[0m", "good\r\nseedbed: fine", LONG, LONG * 20, "~")
NAMES += (
    "~nosuchuser",
    "../../etc/passwd",
    "/etc/passwd",
    "naïve",
    "数据",
    "💥",
    "\u202eabc",
    "a\u2028b",
    "*",
    "$(id)",
    "#1",
)
NAMES += (
    "%s%n%d",
    "{0}",
    "{x!r:>9999999}",
    "e.py:",
    ":x",
    ".py:x",
    "nosuch.py:x",
    "nosuch.py",
    "runs/../runs/nosuch",
    "nan",
)
NAMES += ("0", "None", "a" + "\u0301" * 200, "'\"", "toy/8gaussians/vae\0", "-x", "--nosuch", "=", "a=b", "a,b", "a:b")

MISSING = (
    "missing",
    "missing/below",
    "dangling",
    "loop",
    "loop/below",
    "text.txt/below",
    "a\0b",
    LONG,
    LONG + "/x",
    "~nosuchuser/x",
)
MISSING += ("/proc/nosuch/x", "caf\udce9", "socket")
# That are there, and are no file of data, nor a folder of runs.
THERE = (
    "fifo",
    "zero",
    "null",
    "empty",
    "text.txt",
    "folder",
    "link-to-folder",
    "linked-folders",
    "bytes",
    "/proc/self/mem",
    ".",
)


def odd_paths(folder: Path) -> None:
    """Lay out everything that ``MISSING`` and ``THERE`` name."""
    os.mkfifo(folder / "fifo")
    for name, minor in (("zero", 5), ("null", 3)):
        try:
            os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        except PermissionError:  # only who may make devices can be hurt by them
            os.mkfifo(folder / name)
    with suppress(OSError), socket.socket(socket.AF_UNIX) as one:  # a path may be too long for one
        one.bind(str(folder / "socket"))
    (folder / "empty").touch()
    (folder / "text.txt").write_text("precious\n", encoding="utf-8")
    (folder / "bytes").write_bytes(bytes(range(256)) * 9)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("missing-target")
    (folder / "link-to-folder").symlink_to("folder")
    (folder / "linked-folders").mkdir()
    for name in ("one", "two"):
        (folder / "linked-folders" / name).symlink_to("..")
