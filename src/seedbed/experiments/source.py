"""Checksums of code that is given in Python, so that a run goes on only with the code that it was begun with."""

import ast
import functools
import hashlib
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

# Where code lies that is nobody's own.
_OTHERS = (
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


@dataclass(frozen=True)
class OwnCode:
    """Callables given in Python, by what they are for.

    Args:
        given: ``{"build": MyNet, "loss": loss}``.
    """

    given: Mapping[str, Any]

    def record(self, also: Iterable[str] = ()) -> dict[str, Any]:
        """``{"sha256": {name: checksum}}``."""
        return {"sha256": {name: fingerprint(value) for name, value in self.given.items()}}


def fingerprint(given: Any) -> str:
    """The SHA-256 of a callable's source and of what it uses of one's own code and plain numbers, however it is laid out.

    Its functions and classes, their bases, what they name of the module that they are in and of what encloses them. Of code
    whose source is nowhere, what it was compiled to.
    """
    read = _Read()
    read.add("", given)
    return hashlib.sha256("\n".join(read.found).encode()).hexdigest()


@dataclass
class _Read:
    """What was found so far, in the order of its use."""

    found: list[str] = field(default_factory=list)
    seen: dict[int, Any] = field(default_factory=dict)  # held, so that no other takes its number

    def add(self, label: str, value: Any) -> None:
        """Take in a value, and what it leads to."""
        if isinstance(value, _PLAIN):
            self.found.append(f"{label}={value!r}")
        elif id(value) in self.seen:
            return
        elif isinstance(value, (tuple, list)):
            self.seen[id(value)] = value
            for number, item in enumerate(value):
                self.add(f"{label}[{number}]", item)
        elif isinstance(value, Mapping):
            self.seen[id(value)] = value
            for key, item in value.items():
                self.add(f"{label}[{key!r}]", item)
        elif isinstance(value, functools.partial):
            self.add(label, (value.func, value.args, value.keywords))
        elif isinstance(value, MethodType):
            self.add(label, (value.__func__, value.__self__))
        elif isinstance(value, (FunctionType, type)) and _is_own(value):
            self.seen[id(value)] = value
            self.found.append(f"{label}: {_text(value)}")
            self._used(value)
        elif isinstance(value, (FunctionType, type)):
            self.found.append(f"{label}={value.__module__}.{value.__qualname__}")
        else:
            self.seen[id(value)] = value
            self.found.append(f"{label}={type(value).__module__}.{type(value).__qualname__}")
            if _is_array(value):
                self.found.append(_numbers(value))
            elif _is_own(type(value)):
                self.add(label, (type(value), dict(getattr(value, "__dict__", {}))))

    def _used(self, value: FunctionType | type) -> None:
        if isinstance(value, type):
            for base in value.__bases__:
                self.add("base", base)
        for function in _functions(value):
            if isinstance(value, type):  # of two classes of one name in a file, Python finds but one by its name
                self.found.append(_text(function))
            cells = _enclosed(function)
            for name, used in {**{n: function.__globals__.get(n) for n in _names(function.__code__)}, **cells}.items():
                plain = isinstance(used, (*_PLAIN, tuple, list, dict)) or _is_array(used)
                own = _is_own(used if isinstance(used, (FunctionType, type)) else type(used))
                if (plain and used is not None) or own or name in cells:
                    self.add(name, used)
            self.add("defaults", (function.__defaults__ or (), function.__kwdefaults__ or {}))


def _is_own(value: FunctionType | type) -> bool:
    module = sys.modules.get(value.__module__)
    file = getattr(module, "__file__", None)
    return value.__module__ == "__main__" or (file is not None and not str(file).startswith(_OTHERS))


def _is_array(value: Any) -> bool:
    """Whether something is a tensor or an array of numbers."""
    if isinstance(value, np.ndarray):
        return value.dtype != object
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta


def _numbers(values: Any) -> str:
    """Type, shape and the checksum of the numbers of an array or a tensor."""
    shape = f"{values.dtype}{list(values.shape)}"
    if not isinstance(values, np.ndarray):
        import torch

        values = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{shape}{hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()}"


def _enclosed(function: FunctionType) -> dict[str, Any]:
    """What a function uses of those around it."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not given yet
            found[name] = cell.cell_contents
    return found


def _functions(value: FunctionType | type) -> Iterator[FunctionType]:
    if isinstance(value, FunctionType):
        yield value
        return
    for member in vars(value).values():
        for one in (member, *(getattr(member, name, None) for name in ("__func__", "fget", "fset", "func"))):
            if isinstance(one, FunctionType) and one.__qualname__.startswith(value.__qualname__):
                yield one


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _text(value: FunctionType | type) -> str:
    """Source without layout and comments, or bytecode where there is none."""
    try:
        if isinstance(value, FunctionType) and value.__name__ == "<lambda>":
            return _lambda_text(value)
        return ast.dump(ast.parse(textwrap.dedent(inspect.getsource(value))))
    except (OSError, TypeError, SyntaxError):
        return "".join(_compiled(function.__code__) for function in _functions(value))


def _lambda_text(value: FunctionType) -> str:
    """Of a lambda alone: what stands beside it, such as the number of steps, is not its own."""
    lines, _ = inspect.findsource(value)
    places = [p for p in value.__code__.co_positions() if None not in p and p[3]]
    within = [
        node
        for node in ast.walk(ast.parse("".join(lines)))
        if isinstance(node, ast.Lambda) and all(_contains(node, place) for place in places)
    ]
    if not within or not places:
        raise OSError("no source of this lambda")
    return ast.dump(max(within, key=lambda node: (node.lineno, node.col_offset)))


def _contains(node: ast.Lambda, place: Any) -> bool:
    line, last, first, end = place
    begins, ends = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    return begins <= (line, first) and (last, end) <= ends


def _compiled(code: CodeType) -> str:
    parts = [part if not isinstance(part, CodeType) else _compiled(part) for part in code.co_consts]
    return repr((code.co_code.hex(), parts, code.co_names, code.co_varnames))
