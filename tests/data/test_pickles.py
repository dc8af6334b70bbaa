"""Pickles of arrays: what Python 2 and 3 write of them, and that nothing else is read, and nothing run."""

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedbed.core.errors import SeedbedError
from seedbed.data.pickles import read_pickle

RNG = np.random.default_rng(0)
ARRAYS = {
    "bytes": RNG.integers(0, 256, (5, 7), dtype=np.uint8),
    "columns": np.asfortranarray(RNG.normal(size=(3, 4))),
    "big-endian": RNG.integers(-9, 9, (2, 3, 4)).astype(">i4"),
    "bits": RNG.integers(0, 2, 9).astype(bool),
}


def text(value: bytes) -> bytes:
    """A string as Python 2 writes it."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def array(values: np.ndarray) -> bytes:
    """An array of bytes as Python 2's cPickle wrote it by protocol 2 (the form of CIFAR-10's batches)."""
    sizes = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in values.shape) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\0\x85" + text(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + text(b"u1") + b"K\0K\1\x87R(K\3" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    return made + b"(K\1" + sizes + kind + b"\x89" + text(values.tobytes()) + b"tb"


def batch(pixels: np.ndarray, labels: list[int], note: bytes = b"training batch 1 of 5") -> bytes:
    """A batch of CIFAR-10 as Python 2 wrote it."""
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(text(b"picture_%d.png" % i) for i in range(len(labels))) + b"e"
    held = {b"batch_label": text(note), b"labels": numbers, b"data": array(pixels), b"filenames": names}
    return b"\x80\2}(" + b"".join(text(key) + value for key, value in held.items()) + b"u."


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name: str, protocol: int) -> None:
    found = read_pickle(pickle.dumps({"x": ARRAYS[name], "n": [3, -(2**70)]}, protocol), "x.pkl")
    assert found["n"] == [3, -(2**70)] and isinstance(found["x"], np.ndarray)
    assert found["x"].dtype == ARRAYS[name].dtype and np.array_equal(found["x"], ARRAYS[name])


def test_a_batch_of_python_2_is_what_pickle_reads_of_it() -> None:
    pixels = RNG.integers(0, 256, (4, 300), dtype=np.uint8)
    content = batch(pixels, [3, 1, 4, 1])
    ours, theirs = read_pickle(content, "b"), pickle.loads(content, encoding="bytes")
    assert ours.keys() == theirs.keys() == {b"batch_label", b"labels", b"data", b"filenames"}
    assert np.array_equal(ours[b"data"], theirs[b"data"]) and np.array_equal(ours[b"data"], pixels)
    assert ours[b"labels"] == [3, 1, 4, 1] and ours[b"filenames"] == theirs[b"filenames"]


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.made = (call, arguments)

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_would_make_a_file_makes_none(protocol: int, tmp_path: Path) -> None:
    target = tmp_path / "made"
    for call in (
        Runs(os.system, f"touch {target}"),
        Runs(open, str(target), "w"),
        Runs(eval, f"open({str(target)!r}, 'w')"),
    ):
        content = pickle.dumps({"data": ARRAYS["bytes"], "labels": [call]}, protocol)
        with pytest.raises(SeedbedError) as caught:
            read_pickle(content, "evil.pkl")
        said = str(caught.value)
        assert said.startswith("evil.pkl ") and "\n" not in said
        if protocol < 4:
            module = call.made[0].__module__.replace("builtins", "__builtin__" if protocol < 3 else "builtins")
            module = "io" if call.made[0] is open and module == "io" else module
            assert f" wants {module}.{call.made[0].__name__} at byte " in said, said
            assert content[int(said.partition("at byte ")[2].partition(";")[0]) :].startswith(b"c")
        else:
            assert f"protocol {protocol}" in said
    assert not target.exists()
    pickle.loads(pickle.dumps(Runs(os.system, f"touch {target}"), protocol))
    assert target.exists()  # as any other reader would have done


ODD = {
    "objects": pickle.dumps(np.array([{}, 1], dtype=object), 2),
    "words": pickle.dumps(np.array(["a", "b"]), 2),
    "dates": pickle.dumps(np.array(["2020-01-01"], dtype="M8[D]"), 2),
    "structures": pickle.dumps(np.zeros(2, [("a", "u1")]), 2),
    "a class": pickle.dumps(Path("x"), 2),
    "a fraction": pickle.dumps([1.5], 2),
    "nothing": pickle.dumps({"data": None}, 2),
    "a pair": pickle.dumps([(1, 2)], 2),
    "a set": pickle.dumps({1, 2}, 2),
    "a truth": pickle.dumps([True], 2),
    "a type": b"cnumpy\nndarray\n.",
    "a function": b"c_codecs\nencode\n.",
    "numbers' type": pickle.dumps(np.dtype("u1"), 2),
    "an array unfinished": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
    "an array of another class": b"cnumpy.core.multiarray\n_reconstruct\n(S'a'\n(I0\ntS'b'\ntR.",
    "a type called": b"cnumpy\nndarray\n(I100000000000\ntR.",
    "a function changed": b"c_codecs\nencode\n}S'a'\nI1\nsb.",
    "a name within a name": b"cnumpy\ncore multiarray._reconstruct\n.",
    "too many bytes": array(ARRAYS["bytes"]).replace(b"J\x05\0\0\0", b"J\x05\0\0\x05") + b".",
    "fewer than none": array(ARRAYS["bytes"]).replace(b"J\x05\0\0\0", b"J\xff\xff\xff\xff") + b".",
    "itself": b"]q\0h\0a.",
    "very deep": b"]" * 5_000 + b"a" * 4_999 + b".",
    "an object far off": b"\x80\2]r\xff\xff\xff\x7f.",
    "a number before any": b"(p-1\nt.",
    "a text cut off": batch(ARRAYS["bytes"], [1])[:200],
    "no end": batch(ARRAYS["bytes"], [1])[:-1],
    "empty": b"",
    "text": b"<html>not found</html>",
    "an empty stack": b"\x80\2a.",
    "nowhere": b"h\7.",
    "persistent": b"P17\n.",
    "extension": b"\x80\2\x82\1.",
}


@pytest.mark.parametrize("name", ODD)
def test_anything_else_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(SeedbedError) as caught:
        read_pickle(ODD[name], "odd.pkl")
    assert str(caught.value).startswith("odd.pkl") and "\n" not in str(caught.value)


def test_what_is_refused_is_named() -> None:
    for name, says in {
        "a fraction": "wants the operation BINFLOAT at byte ",
        "nothing": "key 'data' is of type nonetype",
        "structures": "an array of structures",
        "objects": "an array whose values are no bytes",
        "too many bytes": "values of uint8 in 35 bytes",
        "an object far off": "an object number 2147483647",
    }.items():
        with pytest.raises(SeedbedError, match=says):
            read_pickle(ODD[name], "odd.pkl")


def test_a_list_held_many_times_is_looked_at_once() -> None:
    held: list[Any] = [1]
    for _ in range(60):
        held = [held, held]
    found = read_pickle(pickle.dumps(held, 2), "x")
    assert found[0] is found[1]


def test_of_damaged_batches_none_is_read_as_another() -> None:
    """Single bytes changed: refused, or the arrays are what the bytes say; never another error."""
    content = batch(RNG.integers(0, 256, (2, 40), dtype=np.uint8), [3, 1])
    for _ in range(3000):
        at, value = int(RNG.integers(len(content))), int(RNG.integers(256))
        try:
            read_pickle(content[:at] + bytes([value]) + content[at + 1 :], "x")
        except SeedbedError as error:
            assert "\n" not in str(error)
