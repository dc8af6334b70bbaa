"""Every odd input: a pure function of one seed."""

import random
from collections.abc import Callable, Iterator, Mapping

from calls import calls
from case import Case
from commands import completion, flags, names, outputs, paths
from data_files import data_files
from number_flags import numbers
from own_files import own_files
from run_folders import run_folders

SEED = 16
KINDS: Mapping[str, Callable[[random.Random], Iterator[Case]]] = {
    "numbers": numbers,
    "names": names,
    "paths": paths,
    "outputs": outputs,
    "flags": flags,
    "completion": completion,
    "data files": data_files,
    "run folders": run_folders,
    "own files": own_files,
    "Python": calls,
}


def cases(seed: int = SEED) -> dict[str, Case]:
    """All cases by their name, ``kind:number``: what is added to one kind renames no case of another."""
    found = {}
    for kind, generate in KINDS.items():
        for number, case in enumerate(generate(random.Random(f"{seed} {kind}"))):
            found[f"{kind.replace(' ', '-')}:{number}"] = case
    return found
