"""What a run was: enough to repeat it, and to refuse continuing it as something else."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from seedbed.core.errors import SeedbedError
from seedbed.store.atomic import write_atomic
from seedbed.store.schema import Check, is_group, is_list, is_number, is_table, is_text, is_whole, mismatch

FORMAT = 1
FILE = "run.json"
# Written before it, and read where it is missing or torn: not every file system renames in one piece when the power fails.
COPY = ".run.json"


def config_hash(experiment: str, config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that name an experiment with its settings (not its seeds, device or strategy)."""
    text = json.dumps([experiment, config], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def versions() -> dict[str, str]:
    """What decides a number's last bits: versions of the code (and its ``commit``, where it runs from a checkout) and of the
    libraries, and the processor."""
    names = ("seedbed", "torch", "numpy", "scipy")
    commit = _commit()
    found = {"python": platform.python_version(), **{name: version(name) for name in names}, "processor": processor()}
    return found | ({"commit": commit} if commit else {})


@cache
def processor() -> str:
    """The processor by its name, with its widest instructions where it says them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not on this system
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = told.get("flags", "").split()
    widest = next((name for flag, name in _INSTRUCTIONS.items() if flag in flags), "")
    return ", ".join(filter(None, (told.get("model name") or platform.processor() or platform.machine(), widest)))


_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512f": "AVX-512", "avx2": "AVX2"}  # widest first


@cache
def _commit() -> str | None:
    """Of the checkout that this file is part of, ``-dirty`` if it was changed since; ``None`` of an installed package."""
    here = Path(__file__).resolve()

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an environment may lie in some other project's checkout
        return git("describe", "--always", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record of one run folder.

    Args:
        experiment: registered name, or ``file.py:name``.
        config: every declared field with its value.
        groups: the seeds that train together, in order; frozen, since it decides the last bits of a number.
        strategy: how the groups are executed.
        reason: why they are, where the model left no choice.
        threads: threads per group.
        device: where it runs, with the device's name.
        data: name, protocol and checksum of the data, and the shape of an example, of which artefacts have theirs.
        versions: code and libraries.
        command: what was typed.
        created: ISO time.
        source: code of one's own that it was made with: ``sha256`` by name, and the ``file`` where it is one.
    """

    experiment: str
    config: dict[str, Any]
    groups: list[list[int]]
    strategy: str
    threads: int
    device: str
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    command: str = ""
    created: str = ""
    reason: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def seeds(self) -> list[int]:
        """All seeds of the run, in order."""
        return sorted(seed for group in self.groups for seed in group)

    @property
    def hash(self) -> str:
        """The hash of experiment and settings."""
        return config_hash(self.experiment, self.config)

    def write(self, folder: Path) -> None:
        """Write ``run.json`` and its copy, each atomically."""
        text = json.dumps({**asdict(self), "hash": self.hash}, indent=1, default=list)
        for name in (COPY, FILE):
            write_atomic(folder / name, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a run folder; of one that is torn the copy, with a warning.

        Raises:
            SeedbedError: if there is none, it is damaged, or another version of the format wrote it.
        """
        path = folder / FILE
        data, why = _loaded(path)
        if data is None and why:
            data, _ = _loaded(folder / COPY)
            if data is None:
                raise SeedbedError(f"{path} is damaged ({why}); {_REMEDY}")
            warnings.warn(
                f"{path} is damaged ({why}); its copy is read, and written back when the run goes on", stacklevel=2
            )
        if data is None and (data := _loaded(folder / COPY)[0]) is None:
            raise SeedbedError(f"{folder} is no run folder: it has no {FILE}; name a folder that `seedbed run` wrote")
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, dict) else None
            raise SeedbedError(
                f"{folder} was written in run format {got}, this version reads {FORMAT}; "
                "use the version that wrote it or choose another folder with --name"
            )
        if wrong := _wrong(data):
            raise SeedbedError(f"{path} is damaged ({wrong}); {_REMEDY}")
        data.pop("hash", None)
        return cls(**data)


_REMEDY = f"restore it (a copy is in {COPY}), start over with --again, or choose another --name"


def is_manifest(folder: Path) -> bool:
    """Whether a folder has a manifest, be it damaged, or the whole copy of one."""
    return os.path.lexists(folder / FILE) or _loaded(folder / COPY)[0] is not None


def _loaded(path: Path) -> tuple[Any, str]:
    """What a file of JSON holds, and what is wrong with it; nothing of either if it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8")), ""
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as error:
        return None, error.strerror or str(error)
    except (ValueError, RecursionError) as error:
        return None, str(error)


def _wrong(data: dict[str, Any]) -> str:
    """What is not as it must be in a manifest, in words; empty if nothing is."""
    own = {entry.name: entry for entry in fields(Manifest)}
    if unknown := sorted(data.keys() - own.keys() - {"hash"}):
        return f"unknown entry {unknown[0]!r}"
    needed = [name for name, entry in own.items() if entry.default is MISSING and entry.default_factory is MISSING]
    if missing := [name for name in needed if name not in data]:
        return f"{missing[0]} is missing"
    if (
        wrong := mismatch(data, _FIELDS)
        or mismatch(data.get("data", {}), _DATA)
        or mismatch(data.get("source", {}), _SOURCE)
    ):
        return wrong
    if data.get("data") and "checksum" not in data["data"]:
        return "the checksum of the data is missing"
    if ".py:" in data["experiment"] and data.get("source") and not data["source"].keys() >= {"file", "sha256"}:
        return "the file of the experiment or its checksums are missing"
    if data.get("hash", found := config_hash(data["experiment"], data["config"])) != found:
        return "experiment and settings are not those of its hash"
    return ""


def _is_groups(value: Any) -> bool:
    return is_list(value, is_group) and is_group([seed for group in value for seed in group])


def _is_units(value: Any) -> bool:
    return is_table(value, _are_numbers) and value.keys() == {"location", "scale"}


def _are_numbers(value: Any) -> bool:
    return is_number(value) or is_list(value, _are_numbers)


_FIELDS: dict[str, tuple[str, Check]] = {
    "experiment": ("a name", is_text),
    "config": ("an object", is_table),
    "groups": ("lists of distinct seeds", _is_groups),
    "strategy": ("a name", is_text),
    "threads": ("a whole number of at least 1", lambda value: is_whole(value, 1)),
    "device": ("a name", is_text),
    "data": ("an object", is_table),
    "versions": ("an object of texts", lambda value: is_table(value, is_text)),
    "command": ("a text", is_text),
    "created": ("a text", is_text),
    "reason": ("a text", is_text),
    "source": ("an object", is_table),
    "hash": ("a text", is_text),
}
_DATA: dict[str, tuple[str, Check]] = {
    "name": ("a name", is_text),
    "protocol": ("a text", is_text),
    "checksum": ("a text", is_text),
    "domain": ("a text", is_text),
    "shape": ("a list of sizes", lambda value: is_list(value, is_whole)),
    "units": ("an object of location and scale", _is_units),
    "place": ("a text", is_text),
    "baseline": ("an object of numbers", lambda value: is_table(value, is_number)),
}
_SOURCE: dict[str, tuple[str, Check]] = {
    "sha256": ("an object of texts", lambda value: is_table(value, is_text)),
    "file": ("a text", is_text),
}


def command_line() -> str:
    """What was typed, for the manifest."""
    program = Path(sys.argv[0]).name
    return " ".join(["seedbed" if program in ("seedbed", "__main__.py") else program, *sys.argv[1:]])
