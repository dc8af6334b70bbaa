"""One odd input: what lies in the folder, what is asked for, and what a good answer to it is."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# Read by libraries as they are imported, which is after this: a process that has threads must not be forked.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# ``refused`` is one line and exit code 2, ``fine`` is exit code 0, ``either`` is one of the two: never anything else.
Expected = Literal["refused", "fine", "either"]

# Two runs of one experiment that the runner made, beside each other below ``runs`` in the folder of every case.
NAME = "toy/8gaussians/vae"
A, B = f"runs/{NAME}/a", f"runs/{NAME}/b"
TINY = ("--train-size", "400", "--valid-size", "80", "--eval-size", "80", "--batch-size", "16", "--hidden", "4,4")
TINY += ("--steps", "6", "--eval-every", "3", "--threads", "1", "-q")
RUN = ("run", NAME, "-n", "2", *TINY)
# Of a model on data that a case brings.
SMOKE = ("--budget", "smoke", "-n", "2", "--threads", "1", "-q", "--steps", "4", "--batch-size", "4", "--hidden", "4")
# The same in Python.
SMALL = "train_size=400, valid_size=80, eval_size=80, batch_size=16, hidden=(4, 4), steps=6, eval_every=3, threads=1"


def nothing(folder: Path) -> None:
    """Leave the folder as it is."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One odd input.

    Args:
        kind: of fault; a row of the summary.
        what: it is, in words.
        argv: words of the command line; of a case of the Python face there are none.
        code: a Python expression, evaluated where ``seedbed``, ``np``, ``torch``, ``pd`` and ``Path`` are known.
        prepare: lays out the folder in which it happens.
        expects: the answers that are right.
        environment: what is set besides.
        stdout: where standard output goes: a file, a device that is full, or nowhere.
        trains: whether a right answer may be to train: then it is none of the quick ones.
    """

    kind: str
    what: str
    argv: tuple[str, ...] = ()
    code: str = ""
    prepare: Callable[[Path], None] = nothing
    expects: Expected = "refused"
    environment: dict[str, str] = field(default_factory=dict)
    stdout: Literal["file", "full", "closed", "ascii"] = "file"
    trains: bool = False
