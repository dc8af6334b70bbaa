"""Numbers that were given: what is one, how it is made plain, and what the refusal of anything else says."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import REAL_MOST, number, shown, whole


class Silent:
    def __repr__(self):
        raise RuntimeError("no words")


KINDS = {
    "int": 3,
    "float": 3.0,
    "numpy int": np.int64(3),
    "numpy unsigned": np.uint8(3),
    "numpy float": np.float32(3),
    "numpy half": np.float16(3),
    "numpy long double": np.longdouble(3),
    "numpy array of no axes": np.array(3),
    "torch int": torch.tensor(3),
    "torch float": torch.tensor(3.0, requires_grad=True),
    "fraction": Fraction(6, 2),
}


@pytest.mark.parametrize("value", KINDS.values(), ids=KINDS)
def test_a_number_of_any_kind_becomes_a_plain_one(value):
    assert whole("n", value, 0, 10) == 3 and type(whole("n", value)) is int
    assert number("x", value, 0, 10) == 3.0 and type(number("x", value)) is float


NO_NUMBERS = {
    "truth": True,
    "numpy truth": np.True_,
    "torch truth": torch.tensor(True),
    "text": "3",
    "bytes": b"3",
    "nothing": None,
    "complex": 3j,
    "list": [3],
    "array of one": np.array([3]),
    "tensor of one": torch.ones(1),
    "text of numpy": np.array("3"),
    "date": np.datetime64("2020-01-01"),
    "tensor without values": torch.empty((), device="meta"),
    "nan": float("nan"),
    "infinity": np.float64("inf"),
    "torch nan": torch.tensor(torch.nan),
    "without words": Silent(),
}


@pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_anything_else_is_refused_in_one_line(value):
    for check, kind in ((whole, "a whole number"), (number, "a finite number")):
        with pytest.raises(SeedbedError, match=f"^n must be {kind}, at least 1 and at most 9, got ") as refused:
            check("n", value, 1, 9)
        assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: whole("n", 0.5), "n must be a whole number, got 0.5"),
        (lambda: whole("n", 0, 1), "n must be at least 1, got 0"),
        (lambda: whole("n", 11, 1, 10), "n must be at most 10, got 11"),
        (lambda: whole("n", 1e308), "n must be at most 1000000000, got 1e+308"),
        (lambda: whole("n", 10**300), "n must be at most 1000000000, got a whole number of 997 bits"),
        (lambda: whole("n", 10**5000), "n must be at most 1000000000, got a whole number of 16610 bits"),
        (lambda: number("x", -0.1, 0), "x must be at least 0, got -0.1"),
        (lambda: number("x", 0, 0, above=True), "x must be above 0, got 0"),
        (lambda: number("x", 1, 0, 1, below=True), "x must be below 1, got 1"),
        (lambda: number("x", 2, 0, 1), "x must be at most 1, got 2"),
        (lambda: number("x", 1e300), "x must be at most 3.40282e+38, got 1e+300"),
        (lambda: number("x", -(10**400)), "x must be at least -3.40282e+38, got a whole number of 1329 bits"),
        (lambda: number("x", Fraction(10**400)), "x must be a finite number, got inf"),
        (
            lambda: number("x", None, 0, 1, above=True, below=True),
            "x must be a finite number, above 0 and below 1, got None",
        ),
    ],
)
def test_what_was_expected_and_got_is_said(check, says):
    with pytest.raises(SeedbedError) as refused:
        check()
    assert str(refused.value) == says


def test_bounds_are_included_and_the_largest_is_finite_in_float32():
    assert whole("n", 1, 1, 1) == 1 and number("x", 0.0, 0, 1) == 0.0 and number("x", 1, 0, 1) == 1.0
    assert number("x", REAL_MOST) == REAL_MOST and np.isfinite(np.float32(REAL_MOST))
    assert number("x", 2**53 + 1, most=2.0**60) == float(2**53 + 1)


def test_what_was_got_is_short_and_on_one_line():
    assert shown(np.float64(0.5)) == "0.5" and shown("a\nb") == r"'a\nb'"
    assert all(len(shown(x)) < 100 and "\n" not in shown(x) for x in (torch.ones(50, 50), "x" * 1000, range(10**9)))


def test_it_imports_neither_numpy_nor_torch():
    code = "import sys, seedbed.core.numbers; sys.exit(bool({'numpy', 'torch'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
