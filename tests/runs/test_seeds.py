"""Which seeds a run trains, and how many threads: whole numbers of any kind, bounded, refused before there is a folder."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import seedbed
from seedbed.cli.options import parse_seeds
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import SEED_MOST
from seedbed.runs.machine import check_threads, granted_cores
from seedbed.runs.seeds import SEEDS_MOST, check_seeds

TAKEN = {
    "a count": (3, [0, 1, 2]),
    "a count of NumPy": (np.int64(2), [0, 1]),
    "a count without axes": (np.array(2), [0, 1]),
    "a whole float": (2.0, [0, 1]),
    "a list": ([5, 0], [5, 0]),
    "floats": ([0.0, 1.0], [0, 1]),
    "a range": (range(3, 6), [3, 4, 5]),
    "a generator": ((2 * i for i in range(3)), [0, 2, 4]),
    "an array": (np.arange(2), [0, 1]),
    "an array of floats": (np.array([4.0, 2.0]), [4, 2]),
    "a tensor": (torch.tensor([1, 7]), [1, 7]),
    "the largest": ([SEED_MOST], [SEED_MOST]),
}


@pytest.mark.parametrize(("given", "seeds"), TAKEN.values(), ids=TAKEN)
def test_whole_numbers_of_any_kind_are_plain_seeds(given, seeds):
    found = check_seeds(given)
    assert found == seeds and all(type(seed) is int for seed in found)


# As a person writes them in a shell of Python: refused there without the help of types.
REFUSED = {
    "0": "seeds must be at least 1, got 0",
    "-1": "seeds must be at least 1, got -1",
    "[]": "seeds must be at least 1, got none",
    "[-2]": "seeds must be at least 0, got -2",
    "[1, 1]": "seeds must be distinct, got 1 more than once",
    "[1, 1.0]": "seeds must be distinct, got 1 more than once",
    "0.5": "seeds must be a whole number, at least 1 and at most 100000, got 0.5",
    "[0.5, 1.5]": "seeds must be a whole number, at least 0",
    "[float('nan')]": "got nan",
    "float('inf')": "got inf",
    "'2'": "seeds must be how many, or whole numbers in an order, got '2'",
    "b'ab'": "seeds must be how many",
    "['1', '2']": "got '1'",
    "True": "seeds must be how many",
    "[True]": "got True",
    "None": "seeds must be how many",
    "{0, 1}": "in an order",
    "{0: 1}": "in an order",
    "10**12": "seeds must be at most 100000, got 1000000000000",
    "range(10**30)": "seeds must be at most 100000, got more",
    "itertools.count()": "seeds must be at most 100000, got more",
    "[10**300]": "seeds must be at most 9223372036854775807, got a whole number of 997 bits",
    "numpy.eye(2)": "seeds must be a whole number",
    "open": "seeds must be how many",
}
SCRIPT = """
import itertools, sys, numpy, seedbed
for text in sys.argv[1:]:
    try:
        seedbed.run("toy/8gaussians/vae", seeds=eval(text), out="runs")
        print("trained")
    except seedbed.SeedbedError as error:
        print(error)
"""


def test_anything_else_is_refused_and_leaves_no_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *REFUSED], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=60
    )
    said = done.stdout.splitlines()
    assert len(said) == len(REFUSED) and all(wanted in line for wanted, line in zip(REFUSED.values(), said, strict=True)), (
        said
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("99999999999", "seeds must be at most 100000, got 99999999999"),
        ("0:99999999999", "seeds must be at most 100000, got more"),
        ("5:3", "seeds must be at least 1, got none"),
        ("-1:3", "seeds must be at least 0, got -1"),
        ("1,1", "seeds must be distinct"),
        ("9" * 300, "got a whole number of 997 bits"),
        ("9" * 5000, "a list (1,5,9), got '999"),
        ("1.5", "a list (1,5,9), got '1.5'"),
        ("nan", "a list (1,5,9), got 'nan'"),
        ("True", "a list (1,5,9), got 'True'"),
        ("1:2:3", "a list (1,5,9), got '1:2:3'"),
    ],
)
def test_the_command_line_refuses_the_same(text, says):
    with pytest.raises(SeedbedError) as refused:
        parse_seeds(text)
    assert says in str(refused.value) and len(str(refused.value)) < 200
    assert parse_seeds("2,0") == [2, 0] and parse_seeds("3:5") == [3, 4] and parse_seeds("2") == [0, 1]


def test_threads_are_at_most_the_cores_that_there_are(tmp_path):
    there = granted_cores()
    assert check_threads(None) is None and check_threads(1) == 1 and check_threads(there) == there
    for count, says in (
        (there + 1, f"at most {there}, the cores that there are"),
        (0, "at least 1"),
        (2.5, "whole"),
    ):
        with pytest.raises(SeedbedError, match=f"threads must be .*{says}"):
            check_threads(count)
    with pytest.raises(SeedbedError, match="threads must be at most"):
        seedbed.run("toy/8gaussians/vae", seeds=1, threads=100_000, out=tmp_path)
    assert SEEDS_MOST == 100_000 and not any(tmp_path.iterdir())
