"""A disk that loses power: what was not flushed is there, or not, or torn, each at random.

Of every file the disk knows what it held when it was last flushed (``os.fsync``), of every folder which names it had. When
power is lost, each file is what was flushed, what was written since, or a part of that; each name is the one that was
flushed or the present one, whatever the order in which they were given. Without atomic renames a name that was being
replaced may lead nowhere, or to half a file, too.
"""

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class PowerLossError(BaseException):
    """The machine is off; nothing may answer it."""


class Disk:
    """Watches a folder and loses power at one of its operations.

    Args:
        root: the folder.
        after: the operation at which power is lost; never, if there are fewer.
        rescue: an empty place for what is then on the disk.
        draw: of everything that is left to chance.
        atomic: whether a rename is.
    """

    def __init__(self, root: Path, after: int, rescue: Path, draw: random.Random, *, atomic: bool) -> None:
        self.root, self.after, self.rescue, self.draw, self.atomic = root, after, rescue, draw, atomic
        self.operations, self.lost = 0, False
        self.safe_step = 0  # of the newest checkpoint that is on the disk for certain
        self._flushed: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {}
        for folder, _, files in os.walk(root):  # what is there when the machine is switched on is on the disk
            self._names[Path(folder)] = {entry.name: entry.inode() for entry in os.scandir(folder)}
            self._flushed |= {os.stat(path).st_ino: path.read_bytes() for path in (Path(folder, name) for name in files)}
        self._graves: list[int] = []  # open files that were replaced or removed: their numbers must not be given again
        self._real = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "unlink", "remove")}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While inside, the system's calls go through this disk."""
        hooks: dict[str, Callable[..., Any]] = {"fsync": self._fsync}
        hooks |= {name: self._moving(name) for name in ("replace", "rename", "unlink", "remove")}
        for name, hook in hooks.items():
            setattr(os, name, hook)
        try:
            yield
        finally:
            for name, real in self._real.items():
                setattr(os, name, real)
            for handle in self._graves:
                os.close(handle)

    def _tick(self) -> None:
        self.operations += 1
        if self.operations == self.after and not self.lost:
            self.lost = True
            self._left(self.root, self.rescue)
            raise PowerLossError

    def _fsync(self, handle: int) -> None:
        self._tick()
        self._real["fsync"](handle)
        found = os.fstat(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if self.lost or not path.is_relative_to(self.root):
            return
        if stat.S_ISDIR(found.st_mode):
            self._names[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
            steps = [
                name for name, number in self._names[path].items() if name.startswith("step-") and number in self._flushed
            ]
            self.safe_step = max([self.safe_step, *(int(name[5:15]) for name in steps)])
        else:
            self._flushed[found.st_ino] = path.read_bytes()
        self._tick()

    def _moving(self, name: str) -> Callable[..., None]:
        def move(*places: Any, **options: Any) -> None:
            self._tick()
            if not self.lost and os.path.isfile(places[-1]):
                self._graves.append(os.open(places[-1], os.O_RDONLY))
            self._real[name](*places, **options)
            self._tick()

        return move

    def _left(self, folder: Path, target: Path) -> None:
        """Write down what is left of a folder."""
        target.mkdir(parents=True, exist_ok=True)
        now = {entry.name: entry for entry in os.scandir(folder)}
        flushed = self._names.get(folder, {})
        for name in sorted({*now, *flushed}):
            if name in now and now[name].is_dir():
                if name in flushed or self.draw.random() < 0.95:
                    self._left(folder / name, target / name)
                continue
            present = now[name].inode() if name in now else None
            number = self.draw.choice((flushed.get(name), present))
            if number != present and not self.atomic and self.draw.random() < 0.3:
                number = None  # in the middle of being replaced
            if number is None:
                continue
            content = (folder / name).read_bytes() if number == present else self._flushed.get(number, b"")
            (target / name).write_bytes(self._torn(content, self._flushed.get(number, b"")))

    def _torn(self, content: bytes, flushed: bytes) -> bytes:
        """What the disk has of a file's content."""
        if content == flushed:
            return content
        cut = self.draw.randint(0, len(content))
        zeros = content[:cut] + bytes(len(content) - cut)
        # What grows at its end alone never loses what was flushed.
        grown = content.startswith(flushed) and bool(flushed)
        torn = content[: max(cut, len(flushed))] if grown else content[:cut]
        return self.draw.choice((content, flushed, torn, flushed + bytes(len(content) - len(flushed)) if grown else zeros))
