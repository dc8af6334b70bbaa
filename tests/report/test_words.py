"""How numbers, times and lists read."""

import math

import pytest

from seedbed.report.words import NONE, duration, fate_words, listed, number, short


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.123456, 3, "0.123"),
        (-12.3456, 2, "-12"),
        (999.4, 4, "999.4"),
        (1234.5, 2, "1234"),  # no power of ten where digits do
        (-65432.1, 3, "-65432"),
        (2.5e7, 3, "2.5e+07"),
        (0.0, 3, "0"),
        (math.nan, 3, NONE),
        (-math.inf, 3, NONE),
    ],
)
def test_numbers(value, digits, text):
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h"), (9000, "2.5 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_lists():
    assert [listed("abcdefgh"[:n]) for n in (1, 2, 3, 6)] == ["a", "a and b", "a, b and c", "a, b, c, d, e and f"]
    assert listed("abcdefgh") == "a, b, c, d, e and 3 others"


def test_names_and_fates():
    assert short("a" * 24) == "a" * 24 and len(short("a" * 25)) == 24
    assert [fate_words(fate, 7) for fate in ("finished", "diverged", "stopped_early", "worse_than_baseline")] == [
        "finished",
        "diverged at step 7",
        "stopped early at step 7",
        "worse than baseline",
    ]
