"""Files of one's own that do not run, do not end, or do not hold what they should."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from case import SMOKE, A, Case, Expected

MODEL = "import torch\nfrom torch import nn\n"
EXPERIMENT = (
    "from seedbed.experiments.data import Points\nfrom seedbed.experiments.experiment import Experiment\n"
    "from seedbed.experiments.models import VAE\nfrom seedbed.experiments.objectives import Elbo\n"
    "from seedbed.experiments.training import Training\n"
)
GOOD = EXPERIMENT + "x = Experiment(Points('moons'), VAE(hidden=(4,), latents=2), Elbo(), Training(steps=4, batch_size=4))\n"
MODULE = MODEL + "class x(nn.Module):\n    def __init__(self, features):\n        super().__init__()\n"

FILES: dict[str, tuple[str, Expected]] = {
    "good": (GOOD, "fine"),
    "that prints a page": (GOOD + "print('x' * 9999)\n", "fine"),
    "empty": ("", "refused"),
    "of a syntax error": ("x = (\n", "refused"),
    "of a tab error": ("if True:\n\tx = 1\n        y = 2\n", "refused"),
    "of NUL": ("x = 1\0\n", "refused"),
    "not UTF-8": ("x = '\udcff'\n", "refused"),
    "of an unknown encoding": ("# -*- coding: nosuch -*-\nx = 1\n", "refused"),
    "that raises": ("raise ValueError('a\\nb\\nc')\n", "refused"),
    "that raises without a word": ("raise ValueError\n", "refused"),
    "whose error has no words": (
        "class E(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise E\n",
        "refused",
    ),
    "whose error's words are none": (
        "class E(Exception):\n    def __str__(self):\n        return None\nraise E\n",
        "refused",
    ),
    "whose error exits": ("class E(Exception):\n    def __str__(self):\n        raise SystemExit\nraise E\n", "refused"),
    "that colours its error": ("raise ValueError('\\x1b[31mred\\x07\\r\\n')\n", "refused"),
    "that exits": ("raise SystemExit\n", "refused"),
    "that exits with 0": ("import sys\nsys.exit(0)\n", "refused"),
    "that exits with 3": ("import sys\nsys.exit(3)\n", "refused"),
    "that ends generators": ("raise GeneratorExit\n", "refused"),
    "that raises BaseException": ("raise BaseException('no')\n", "refused"),
    "that raises a group": ("raise ExceptionGroup('many', [ValueError(1), TypeError(2)])\n", "refused"),
    "that recurses": ("def f():\n    f()\nf()\n", "refused"),
    "of a deep expression": ("x = " + "(" * 5000 + ")" * 5000 + "\n", "refused"),
    "of a long sum": ("x = " + "+".join(["1"] * 60_000) + "\n", "refused"),
    "that takes all memory": ("x = bytearray(2**60)\n", "refused"),
    "that imports what is not there": ("import nosuch\n", "refused"),
    "that imports from what is there": ("from seedbed import nosuch\n", "refused"),
    "that closes the output": (GOOD + "import sys\nsys.stdout.close()\n", "either"),
    "that forgets the output": (GOOD + "import sys\nsys.stdout = None\n", "either"),
    "that changes the folder": (GOOD + "import os\nos.chdir('/')\n", "either"),
    "of None": ("x = None\n", "refused"),
    "of a number": ("x = 5\n", "refused"),
    "of a module of Python's": ("import math as x\n", "refused"),
    "of a function": ("def x():\n    return None\n", "refused"),
    "of an instance": (MODEL + "x = nn.Linear(2, 2)\n", "refused"),
    "of a class": ("class x:\n    pass\n", "refused"),
    "of an experiment's class": (EXPERIMENT + "x = Experiment\n", "refused"),
    "of wrong parts": (EXPERIMENT + "x = Experiment(1, 2, 3, 4)\n", "refused"),
    "of parts in another order": (EXPERIMENT + "x = Experiment(VAE(), Points('moons'), Elbo(), Training())\n", "refused"),
    "of unknown data": (GOOD.replace("moons", "mooons"), "refused"),
    "of no steps": (GOOD.replace("steps=4", "steps=0"), "refused"),
    "of text for steps": (GOOD.replace("steps=4", "steps='many'"), "refused"),
    "of an unknown field": (GOOD.replace("steps=4", "stepps=4"), "refused"),
    "of a loss that is none": ("from seedbed.experiments.own import fitted\nx = fitted(None, 'moons', loss=5)\n", "refused"),
    "of a build that returns None": (
        "from seedbed.experiments.own import fitted\nx = fitted(lambda: None, 'moons', loss=lambda m, x: x.sum(-1))\n",
        "refused",
    ),
    "of a model without methods": (MODULE + "        self.a = nn.Linear(features, 2)\n", "refused"),
    "of a model that takes nothing": (
        MODEL + "class x(nn.Module):\n    def log_prob(self, x):\n        return x.sum(-1)\n",
        "refused",
    ),
    "of a model that raises": (
        MODULE + "        raise KeyError('no')\n    def log_prob(self, x):\n        return x\n",
        "refused",
    ),
    "of a model that exits": (
        MODULE + "        raise SystemExit(0)\n    def log_prob(self, x):\n        return x\n",
        "refused",
    ),
    "of a model that recurses": (
        MODULE + "        self.__init__(features)\n    def log_prob(self, x):\n        return x\n",
        "refused",
    ),
    "of densities that are None": (
        MODULE + "        self.a = nn.Linear(features, 2)\n    def log_prob(self, x):\n        return None\n",
        "refused",
    ),
    "of densities of another shape": (
        MODULE + "        self.a = nn.Linear(features, 2)\n    def log_prob(self, x):\n        return self.a(x)\n",
        "refused",
    ),
    "of densities that are text": (
        MODULE + "        self.a = nn.Linear(features, 2)\n    def log_prob(self, x):\n        return 'none'\n",
        "refused",
    ),
    "of densities that exit": (
        MODULE + "        self.a = nn.Linear(features, 2)\n    def log_prob(self, x):\n        raise SystemExit(0)\n",
        "refused",
    ),
    "of a model too large": (
        MODULE + "        self.a = nn.Linear(features, 10**12)\n    def log_prob(self, x):\n        return x\n",
        "refused",
    ),
}


def own_files(draw: random.Random) -> Iterator[Case]:
    """Each file, run, and asked for by another verb."""
    for what, (text, expects) in FILES.items():
        module = "nn.Module" in text or "class x" in text
        data = ("-d", "moons") if module or "nn." in text else ()
        small = tuple(word for word in SMOKE if word not in ("--hidden",))[:-1]
        run = ("run", "e.py:x", *data, *small)
        others: list[tuple[str, ...]] = [
            ("certify", "e.py:x", *data, "--only", "axes"),
            ("show", "e.py:x", *data),
            ("list", "e.py"),
            ("evaluate", A, "-q", "-k", "2", "--experiment", "e.py:x"),
            ("sample", A, "-n", "2", "--experiment", "e.py:x"),
            ("run", "e.py"),
            ("run", "e.py:y", *small),
            ("run", "e.py:x", "--help"),
        ]
        for argv in (run, draw.choice(others)):
            runs = argv == run
            yield Case(
                kind="own files",
                what=f"a file {what}: seedbed {' '.join(argv[:4])}",
                argv=argv,
                prepare=partial(_write, text),
                expects=expects if runs else "either",
                trains=expects != "refused",
            )


def _write(text: str, folder: Path) -> None:
    (folder / "e.py").write_bytes(text.encode("utf-8", "surrogateescape"))
