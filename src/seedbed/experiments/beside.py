"""A file of one's own and the modules beside it, loaded as one package of a name of its own.

So two files may have helpers of one name, what is imported later, within a function, is found as well, and postponed
annotations find what they name. What is executed is the source that was hashed, never bytecode that lies beside it.
"""

import builtins
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from seedbed.core.errors import SeedbedError

_PREFIX = "seedbed_own_"


class Beside(MetaPathFinder):
    """The folder of a file, whose modules come before all others for what is in it.

    Args:
        path: the file, absolute.
        allowed: the SHA-256 of all that may be executed, by the path below the folder; ``None`` for whatever is imported.
    """

    def __init__(self, path: Path, allowed: Mapping[str, str] | None) -> None:
        self.path, self.folder, self.allowed = path, path.parent, allowed
        self.package = _PREFIX + hashlib.sha256(repr((str(path), allowed)).encode()).hexdigest()[:12]
        self.executed: dict[str, str] = {}

    def execute(self) -> ModuleType:
        """Run the file, anew, and all that it imports from its folder.

        Raises:
            SeedbedError: for what may not be executed.
        """
        importlib.invalidate_caches()
        sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "package", "") != self.package]
        for name in [name for name in sys.modules if name.partition(".")[0] == self.package]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)
        holder = ModuleType(self.package)
        holder.__path__ = [str(self.folder)]
        sys.modules[self.package] = holder
        name = f"{self.package}.{self.path.stem}"
        loader = _Loader(self, name, str(self.path))
        spec = importlib.util.spec_from_file_location(name, self.path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where its classes look up the names in their annotations
        loader.exec_module(module)
        return module

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module of this package, for Python's import system."""
        if fullname.partition(".")[0] != self.package:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(self, fullname, spec.loader.path)
        return spec

    def importing(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` of the modules of this package."""
        root = name.partition(".")[0]
        if level or not self._has(root):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = importlib.import_module(f"{self.package}.{name}")
        if not fromlist:
            return sys.modules[f"{self.package}.{root}"]
        for part in fromlist if hasattr(module, "__path__") else ():  # modules of a package of helpers
            if not hasattr(module, part) and importlib.util.find_spec(f"{module.__name__}.{part}") is not None:
                importlib.import_module(f"{module.__name__}.{part}")
        return module

    def _has(self, root: str) -> bool:
        """Whether the folder has a module of that name; a folder in it that is no package gives way to any other module."""
        spec = PathFinder.find_spec(root, [str(self.folder)])
        if spec is None or spec.has_location:
            return spec is not None and isinstance(spec.loader, SourceFileLoader)
        return root not in sys.modules and PathFinder.find_spec(root) is None

    def noted(self, path: str, source: bytes) -> None:
        """Keep the checksum of what is about to be executed.

        Raises:
            SeedbedError: if it may not be.
        """
        name, sha = Path(path).relative_to(self.folder).as_posix(), hashlib.sha256(source).hexdigest()
        if self.allowed is not None and self.allowed.get(name) != sha:
            raise SeedbedError(f"{path} is not what the run was made with")
        self.executed[name] = sha


class _Loader(SourceFileLoader):
    """Compiles the very bytes whose checksum is kept, and lets the module import what lies beside it."""

    def __init__(self, beside: Beside, name: str, path: str) -> None:
        super().__init__(name, path)
        self.beside = beside

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        self.beside.noted(self.path, source)
        return self.source_to_code(source, self.path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self.beside.importing}
        super().exec_module(module)
