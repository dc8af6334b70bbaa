"""Sequences of tokens as text: excerpts for the page, escaped by its template."""

from collections.abc import Mapping
from dataclasses import dataclass
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

LETTERS, LINES = 280, 8  # of an excerpt
MORE = " \N{HORIZONTAL ELLIPSIS}"
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Passage:
    """Excerpts of one seed's samples, or of the data.

    Args:
        samples: one text each.
        note: one or two words above them.
    """

    samples: list[str]
    note: str = ""


def are_tokens(array: NDArray) -> bool:
    """Whether an array holds whole numbers ``[n, time]``."""
    return array.ndim == 2 and array.dtype.kind in "iu"


def vocabulary_of(reference: Mapping[str, NDArray]) -> NDArray | None:
    """The token of each number, as a run has stored it beside its data; ``None`` where it has not."""
    found = reference.get("vocabulary")
    return found if found is not None and found.ndim == 1 and found.dtype.kind == "U" else None


def passage(tokens: NDArray, vocabulary: NDArray | None, note: str = "") -> Passage:
    """Sequences ``[n, time]`` as excerpts."""
    return Passage([excerpt(text) for text in spelled(tokens, vocabulary)], note)


def spelled(tokens: NDArray, vocabulary: NDArray | None) -> list[str]:
    """Sequences ``[n, time]`` as texts: single characters run on, words and numbers stand apart.

    What cannot be shown is replaced: a control character by its picture, a number without a token by a mark.

    Args:
        tokens: whole numbers.
        vocabulary: the token of each number ``[size]``; ``None`` shows the numbers.
    """
    if vocabulary is None:
        return [" ".join(map(str, sequence)) for sequence in tokens.tolist()]
    words = ["".join(map(_visible, word)) for word in vocabulary.tolist()]
    # NumPy ends a string before the character 0, so that this one has become an empty token.
    letters = all(len(word) < 2 for word in words)
    known = (tokens >= 0) & (tokens < len(words))
    named = np.array([*(word or UNKNOWN * letters for word in words), UNKNOWN], dtype=object)
    found = named[np.where(known, tokens, len(words)).astype(int)]
    return [("" if letters else " ").join(sequence) for sequence in found.tolist()]


def _visible(letter: str) -> str:
    if letter in "\n\t":
        return letter
    if category(letter) in ("Cc", "Cs"):  # a page cannot hold the one, a file not the other
        return chr(0x2400 + ord(letter)) if ord(letter) < 32 else UNKNOWN
    return letter


def excerpt(text: str) -> str:
    """Its beginning, which ends with a word where one is near, and with an ellipsis where more follows."""
    cut = "\n".join(text.split("\n", LINES)[:LINES])
    if len(cut) > LETTERS:
        before, _, begun = cut[: LETTERS + 1].rpartition(" ")
        cut = before if before and len(begun) < 24 else cut[:LETTERS]
    return cut if cut == text else cut.rstrip() + MORE
