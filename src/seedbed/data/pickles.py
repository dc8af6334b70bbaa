"""Pickles of arrays, read without executing anything: operations and names that arrays do not need are refused unread.

A pickle is a program. Here none of its names is ever imported: the five that arrays are made of stand for code of this file,
and an array is made of its bytes alone, never by NumPy's own ``__setstate__``, which trusts what it is given.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from seedbed.core.errors import SeedbedError

# What protocols 0 to 3 write for arrays, bytes, text, whole numbers, lists and dicts; not what makes objects of classes.
OPERATIONS = frozenset(
    (
        *("PROTO", "STOP", "MARK", "POP", "GLOBAL", "REDUCE", "BUILD", "NONE", "NEWTRUE", "NEWFALSE"),
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "UNICODE", "BINUNICODE"),
        *("PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"),
        *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    )
)
MEMO = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
MOST_PROTOCOL = 3
ADMITTED = "arrays, bytes, text, whole numbers, lists and dicts"
NUMBERS = re.compile(r"[bui][1248]|f[248]")  # codes of NumPy's numbers, as it writes them


def read_pickle(content: bytes, where: object) -> Any:
    """What a pickle of arrays holds; strings of Python 2 as bytes.

    Args:
        content: the pickle, of protocol 0 to 3.
        where: it is from, for errors.

    Returns:
        NumPy arrays of numbers, bytes, text, whole numbers, and lists and dicts of those.

    Raises:
        SeedbedError: for a pickle that wants any other name (which, and at which byte), is damaged, or holds anything else.
            Nothing of it was executed.
    """
    _scan(content, where)
    try:
        found = _Reader(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a broken pickle can raise anything here, from EOFError to MemoryError's relatives
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SeedbedError(f"{where} is a damaged pickle: {reason}; get the file anew") from error
    try:
        return _plain(found, where, "what it holds", {})
    except RecursionError:
        raise SeedbedError(f"{where} is a damaged pickle: lists within lists, too deep; get the file anew") from None


def _scan(content: bytes, where: object) -> None:
    """Look at every operation before any is carried out."""
    ended = False
    try:
        for operation, argument, at in pickletools.genops(content):
            _admit(operation.name, argument, at or 0, len(content), where)
            ended = operation.name == "STOP"
    except SeedbedError:
        raise
    except Exception as error:  # likewise
        raise SeedbedError(f"{where} is a damaged pickle: {' '.join(str(error).split())}; get the file anew") from error
    if not ended:
        raise SeedbedError(f"{where} is a damaged pickle: it does not end; get the file anew")


def _admit(operation: str, argument: Any, at: int, size: int, where: object) -> None:
    """Refuse an operation, at a byte of so many, that reading arrays does not need."""
    name = str(argument).replace(" ", ".")
    if operation == "GLOBAL" and name not in _NAMES:
        raise SeedbedError(f"{where} wants {name} at byte {at}; of a pickle only {ADMITTED} are read, and nothing is run")
    if operation == "PROTO" and argument > MOST_PROTOCOL:
        raise SeedbedError(f"{where} is a pickle of protocol {argument}; write it with pickle.dump(..., protocol=2)")
    if operation not in OPERATIONS:
        raise SeedbedError(f"{where} wants the operation {operation} at byte {at}; of a pickle only {ADMITTED} are read")
    if operation in MEMO and not 0 <= argument <= size:  # memory is taken for as many objects
        raise SeedbedError(f"{where} is a damaged pickle: it has an object number {argument} at byte {at}")


class _Type:
    """The type of an array's numbers, in the making."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        _, order, *parts = state
        if any(part is not None for part in parts[:3]):
            raise ValueError("an array of structures")
        self.order = _text(order)

    def dtype(self) -> np.dtype:
        if not NUMBERS.fullmatch(self.code) or self.order not in ("|", "<", ">", "="):
            raise ValueError(f"an array of type {self.order}{self.code}, which are no numbers")
        return np.dtype(self.code).newbyteorder(self.order)


class _Array:
    """An array in the making."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, columns, raw = state
        if not isinstance(kind, _Type):
            raise ValueError("an array without a type")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, bytes) or any(type(size) is not int or size < 0 for size in shape):
            raise ValueError("an array whose values are no bytes")
        dtype = kind.dtype()
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise ValueError(f"an array of {list(shape)} values of {dtype} in {len(raw)} bytes")
        self.values = np.frombuffer(raw, dtype).reshape(shape, order="F" if columns else "C")


class _Call:
    """A function that a pickle may call, and do nothing else with."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a function that is changed")


class _Kind:
    """``numpy.ndarray``, which a pickle hands on and does not call."""

    __slots__ = ()


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _NDARRAY:
        raise ValueError("an array of another class")
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise ValueError("bytes that are not written as latin1")
    return text.encode("latin1")


_NDARRAY = _Kind()
_MADE = _Call(_reconstruct)
_NAMES = {
    "numpy.core.multiarray._reconstruct": _MADE,
    "numpy._core.multiarray._reconstruct": _MADE,
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _Call(lambda code, *how: _Type(_text(code))),
    "_codecs.encode": _Call(_encode),
}


class _Reader(pickle.Unpickler):
    """An unpickler to which no name means anything but the five."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _NAMES[f"{module}.{name}"]


def _plain(value: Any, where: object, what: str, known: dict[int, Any]) -> Any:
    """What was read with finished arrays in it; anything but what is admitted is refused.

    Args:
        value: to look at.
        where: it is from.
        what: it is, in errors.
        known: lists and dicts that were looked at, by their identity: one may be held many times, but not by itself.
    """
    if isinstance(value, _Array) and value.values is not None:
        return value.values
    if type(value) in (bytes, str, int):
        return value
    if isinstance(value, list | dict):
        if id(value) not in known:
            known[id(value)] = None
            known[id(value)] = _parts(value, where, what, known)
        if (found := known[id(value)]) is not None:
            return found
    kind = "an array without values" if isinstance(value, _Array) else f"of type {type(value).__name__.strip('_').lower()}"
    raise SeedbedError(f"{where}: {what} is {kind}; of a pickle only {ADMITTED} are read")


def _parts(value: list[Any] | dict[Any, Any], where: object, what: str, known: dict[int, Any]) -> Any:
    if isinstance(value, list):
        return [_plain(part, where, f"{what}[{i}]", known) for i, part in enumerate(value)]
    keys = [_plain(key, where, f"a key of {what}", known) for key in value]
    parts = zip(keys, value.values(), strict=True)
    return {key: _plain(part, where, f"key {_text(key)!r}", known) for key, part in parts}
