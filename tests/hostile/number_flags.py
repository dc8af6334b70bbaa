"""Flags of numbers and what is no number: a kind of odd input, and the words that all kinds of command share."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from case import RUN, SMOKE, TINY, A, Case, Expected
from values import HUGE, NO_FLOAT, NO_WHOLE, ODD_NUMBER

NEW = (*RUN, "--name", "new")
EVALUATE = ("evaluate", A, "-q", "-k", "2")
ONE = "{}"  # where the odd word goes


# Flags of whole numbers and of others, each with the least that it can be and whether a huge one costs memory.
WHOLE = {
    (*NEW, "-n", ONE): (1, True),
    (*NEW, "--steps", ONE): (1, False),
    (*NEW, "-e", ONE): (1, False),
    (*NEW, "--threads", ONE): (1, True),
    (*NEW, "--data-seed", ONE): (0, False),
    (*NEW, "--hidden", ONE): (1, True),
    (*NEW, "--latents", ONE): (1, True),
    (*NEW, "--k", ONE): (1, True),
    (*NEW, "--batch-size", ONE): (1, True),
    (*NEW, "--eval-every", ONE): (1, False),
    (*NEW, "--patience", ONE): (0, False),
    (*NEW, "--train-size", ONE): (1, True),
    (*NEW, "--eval-size", ONE): (1, True),
    (*NEW, "--prior", "vamp", "--pseudo-inputs", ONE): (1, True),
    ("sample", A, "-n", ONE): (1, True),
    ("sample", A, "--seed", ONE): (0, False),
    ("sample", A, "-n", "2", "-q", "--start", "limiting", "--chain", ONE): (1, True),
    (*EVALUATE, "-k", ONE): (1, True),
    (*EVALUATE, "--examples", ONE): (1, False),
    (*EVALUATE, "--threads", ONE): (1, True),
    (*EVALUATE, "--metric", "ais", "--chains", ONE): (1, True),
    (*EVALUATE, "--metric", "ais", "--examples", "2", "--temperatures", ONE): (1, False),
    ("data", "show", "moons", "--seed", ONE): (0, False),
    ("certify", "vae", "--only", "axes", "--domain", "real", "--shape", ONE): (1, True),
    ("certify", "vae", "--only", "axes", "--shape", "2", "--domain", f"levels:{ONE}"): (2, True),
    ("data", "show", f"array:rows.npy,levels={ONE}"): (2, False),
    ("data", "show", f"folder:pictures,size={ONE}"): (1, True),
}
FLOAT = {
    (*NEW, "--lr", ONE): (0.0, True),
    (*NEW, "--beta", ONE): (0.0, True),
    (*NEW, "--free-bits", ONE): (0.0, True),
    (*NEW, "--warm-up", ONE): (0.0, True),
    (*NEW, "--clip", ONE): (0.0, True),
    (*NEW, "--ema", ONE): (0.0, True),
    (*NEW, "--optimizer", "adam", "--betas", f"0.9,{ONE}"): (0.0, True),
    (*NEW, "--checkpoint-seconds", ONE): (0.0, False),
    (*EVALUATE, "--memory-gib", ONE): (0.0, True),
    ("report", A, "--threshold", ONE): (None, False),
    ("report", A, "--follow", "--every", ONE): (1.0, False),
}

# Verbs with a place for a name, what there may be, and which names would be right there.


def examples(folder: Path) -> None:
    """Small good data: a table, an array, and a folder of pictures."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    np.savetxt(folder / "table.csv", draw.normal(size=(40, 3)), delimiter=",", header="a,b,c", comments="")
    np.save(folder / "rows.npy", draw.integers(0, 17, (40, 6)))
    (folder / "pictures").mkdir()
    for i in range(20):
        Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / "pictures" / f"{i}.png")


def filled(words: Sequence[str], word: str) -> tuple[str, ...]:
    """A command with the odd word in its place."""
    return tuple(part.replace(ONE, word) for part in words)


def said(argv: Sequence[str]) -> str:
    """A command as it is shown, without what makes a run small."""
    words = [repr(word)[1:-1] if len(word) < 60 else f"{word[:20]!r}({len(word)})" for word in argv]
    return " ".join(["seedbed", *words]).replace(" ".join(TINY), "...").replace(" ".join(SMOKE), "...")


def numbers(draw: random.Random) -> Iterator[Case]:
    """Every flag of a number, with some of what is none."""
    for flags, none in ((WHOLE, NO_WHOLE), (FLOAT, NO_FLOAT)):
        for words, (least, large) in flags.items():
            wrong = draw.sample(none, 4)
            if flags is WHOLE:
                wrong += [str(least - 1), *(draw.sample(HUGE, 1) if large else [])]
            else:
                wrong += ["nan", *(["-1"] if least is not None else []), *(["1e308"] if large else [])]
            for word in dict.fromkeys(wrong):
                yield _number(words, word, "refused")
            yield _number(words, draw.choice(ODD_NUMBER), "either")


def _number(words: Sequence[str], word: str, expects: Expected) -> Case:
    # An empty list of widths, or of decays, is a list.
    expects = "either" if not word.strip() else expects
    what = said(filled(words, word))
    trains = words[0] in ("run", "evaluate", "sample") and expects == "either"
    return Case(kind="numbers", what=what, argv=filled(words, word), prepare=examples, expects=expects, trains=trains)
