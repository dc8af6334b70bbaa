"""What a run was: enough to repeat it, and to refuse continuing it as something else."""

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from seedbed.core.errors import SeedbedError
from seedbed.store.atomic import write_atomic

FORMAT = 1
FILE = "run.json"


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
        """Write ``run.json`` atomically."""
        text = json.dumps({**asdict(self), "hash": self.hash}, indent=1, default=list)
        write_atomic(folder / FILE, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a run folder.

        Raises:
            SeedbedError: if there is none, it is damaged, or another version of the format wrote it.
        """
        path = folder / FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SeedbedError(
                f"{folder} is no run folder: it has no {FILE}; name a folder that `seedbed run` wrote"
            ) from None
        except (OSError, ValueError) as error:
            raise SeedbedError(f"{path} is damaged ({error}); restore it or run again into another folder") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, dict) else None
            raise SeedbedError(
                f"{folder} was written in run format {got}, this version reads {FORMAT}; "
                "use the version that wrote it or choose another folder with --name"
            )
        data.pop("hash", None)
        try:
            return cls(**data)
        except TypeError as error:
            raise SeedbedError(f"{path} is damaged ({error}); restore it or run again into another folder") from error


def command_line() -> str:
    """What was typed, for the manifest."""
    program = Path(sys.argv[0]).name
    return " ".join(["seedbed" if program in ("seedbed", "__main__.py") else program, *sys.argv[1:]])
