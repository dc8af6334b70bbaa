"""Files of one's own: executed where somebody chose to, remembered by checksum, and what is in them."""

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.experiments.adapters import adapted, is_model, says
from seedbed.experiments.beside import Beside
from seedbed.experiments.experiment import Experiment


@dataclass(frozen=True, eq=False)
class OwnFile:
    """A file that was executed.

    Args:
        module: what it made.
        path: where it is, absolute.
        sources: the SHA-256 of it and of what it imported from its folder so far, by the path below that folder.
    """

    module: ModuleType
    path: Path
    sources: Mapping[str, str]

    def record(self, also: Iterable[str] = ()) -> dict[str, Any]:
        """What a run remembers of it, ``{"file": path, "sha256": {relative path: checksum}}``.

        Args:
            also: other files below its folder, counted as they are now; empty of one that is gone.
        """
        return {"file": str(self.path), "sha256": {**checksums(self.path, also), **self.sources}}

    @property
    def held(self) -> dict[str, Any]:
        """The experiments in it and the models that it defines, by name."""
        return {
            name: value
            for name, value in vars(self.module).items()
            if not name.startswith("_")
            and (isinstance(value, Experiment) or (is_model(value) and value.__module__ == self.module.__name__))
        }

    def find(self, variable: str) -> Experiment:
        """An experiment of it, or one made of a model of it, that knows where it is from.

        Raises:
            SeedbedError: if there is none of that name, or the model cannot be told what to learn.
        """
        found = vars(self.module).get(variable)
        if found is None:
            raise unknown(f"experiment or model of {self.path.name}", variable, self.held)
        if not isinstance(found, Experiment):
            found = adapted(found, variable)
        return replace(found, source=self)


def is_in_file(name: str) -> bool:
    """Whether a name means something in a file: ``path/to/file.py:variable``."""
    return ".py:" in name


def split_name(name: str) -> tuple[Path, str]:
    """The file and the variable of ``path/to/file.py:variable``."""
    path, _, variable = name.rpartition(":")
    return Path(os.path.expanduser(path)), variable


_READ: dict[tuple[Path, tuple[tuple[str, str], ...]], OwnFile] = {}


def read_file(path: Path | str, allowed: Mapping[str, str] | None = None) -> OwnFile:
    """Execute a file, its folder before all others to import from; what has not changed since is not executed again.

    Args:
        path: the file. Name only what you trust.
        allowed: the SHA-256 of all that may be executed, by the path below its folder; ``None`` for whatever it imports.

    Raises:
        SeedbedError: if there is none, it does not run, or it is not what may be executed.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isfile(path):
        raise SeedbedError(f"no file {path}; name your experiment as path/to/file.py:variable")
    whole = path.resolve()
    key = whole, tuple(sorted((allowed or {"": ""}).items()))
    known = _READ.get(key)
    if known is None or checksums(whole, known.sources) != known.sources:
        beside = Beside(whole, allowed)
        with told(str(path)):
            try:
                with redirect_stdout(sys.stderr):  # what it prints is no part of what Seedbed says
                    module = beside.execute()
            except (Exception, KeyboardInterrupt):
                raise
            except BaseException as error:  # SystemExit and its like would end Seedbed, with their own code
                raise SeedbedError(
                    f"{path} does not run: it ends with {type(error).__name__}; let it only define"
                ) from error
        _READ[key] = OwnFile(module, whole, beside.executed)
    return _READ[key]


def checksums(path: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files below a file's folder, as they are now; empty of one that is gone."""
    return {name: _checksum(path.parent / name) for name in names}


def _checksum(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def listing(path: Path | str) -> list[str]:
    """What a file holds, a line each: experiments and models, with how to run each of them."""
    own = read_file(path)
    lines = []
    for name, value in own.held.items():
        if isinstance(value, Experiment):
            doc = f"{value.model.title} on {value.data.data or 'any data'}, {value.training.steps} steps"
            lines.append(f"{name:16} {doc}: `seedbed run {path}:{name}{'' if value.data.data else ' -d DATA'}`")
            continue
        try:
            lines.append(f"{name:16} {says(value)}: `seedbed run {path}:{name} -d DATA`")
        except SeedbedError:
            lines.append(f"{name:16} a part of another, or for seedbed.fit({name}, data, loss=...)")
    return lines or [f"{path} has no experiment and no nn.Module; see `seedbed run --help`"]
