"""Mistakes planted in a copy of the code, one at a time: do the tests notice? ``python tests/mutants/runner.py [GROUP...]``.

A group is a file ``<group>.toml`` beside this one, a list of mistakes. Each says ``what`` is wrong, in which ``file`` of the
package, the ``code`` that stands there (exactly once), what is planted in its place (``wrong``), and which ``tests`` should
fail: files below ``tests/``, or ``file::test`` where a whole file takes long. A mistake that changes nothing that anybody
could see says so in ``survives``, the reason. The status is 1 if fewer than 95 % are noticed, if one is neither noticed nor
explained, or if one is explained and noticed all the same; it is 2 if a list does not fit the code any more.

Importing torch takes longer than most of these tests, so this process imports once and forks one child per mistake.
"""

import argparse
import ast
import gc
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

SHARE = 0.95
LEAST = 5  # mistakes of a group
SECONDS = 120  # of one test
KEYS = {"what", "file", "code", "wrong", "tests"}


class Stale(Exception):
    """A list that does not fit the code, one line per fault."""


@dataclass(frozen=True)
class Mistake:
    """One line of a list; see above."""

    group: str
    what: str
    file: str
    code: str
    wrong: str
    tests: tuple[str, ...]
    survives: str = ""

    @property
    def name(self) -> str:
        return f"{self.group}: {self.what}"


@dataclass(frozen=True)
class Outcome:
    """What the tests made of it: the first that ``failed``, a ``fault`` of the list itself, or neither."""

    failed: str = ""
    fault: str = ""
    seconds: float = 0.0


def read(folder: Path, groups: Sequence[str] = ()) -> list[Mistake]:
    """The mistakes of some groups, or of all."""
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if unknown := sorted(set(groups) - set(known)):
        raise Stale(f"no group {unknown[0]!r}; there are {', '.join(known)}")
    found = []
    for group in groups or known:
        lines = tomllib.loads((folder / f"{group}.toml").read_text(encoding="utf-8"))["mistake"]
        if len(lines) < LEAST:
            raise Stale(f"{group} has {len(lines)} mistakes; a group needs at least {LEAST}")
        for line in lines:
            if odd := (KEYS ^ line.keys()) - {"survives"}:
                raise Stale(
                    f"{group}: {line.get('what')}: expected the keys {', '.join(sorted(KEYS))}; see {', '.join(odd)}"
                )
            found.append(Mistake(group, **{**line, "tests": tuple(line["tests"])}))
    names = [mistake.name for mistake in found]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise Stale("\n".join(f"{name}: listed twice" for name in twice))
    return found


def planted(mistake: Mistake, package: Path) -> str:
    """The file with the mistake in it."""
    path = package / mistake.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (count := text.count(mistake.code)) != 1:
        others = [p for p in sorted(package.rglob("*.py")) if mistake.code in p.read_text(encoding="utf-8") and p != path]
        hint = f"; it stands in {', '.join(str(p.relative_to(package)) for p in others)}" if others else ""
        raise Stale(f"{mistake.name}: stands {count} times in {mistake.file}, expected once{hint}: {mistake.code!r}")
    wrong = text.replace(mistake.code, mistake.wrong)
    try:
        ast.parse(wrong)
    except SyntaxError as error:
        raise Stale(f"{mistake.name}: planted in {mistake.file}, it is no Python: {error}") from error
    return wrong


def check(mistakes: Sequence[Mistake], root: Path, package: Path) -> None:
    """Refuse a list that does not fit the code and its tests, with every fault at once."""
    faults = []
    for mistake in mistakes:
        try:
            planted(mistake, package)
        except Stale as fault:
            faults.append(str(fault))
        for test in mistake.tests:
            file, _, name = test.partition("::")
            path, named = root / "tests" / file, f"def {name.partition('[')[0]}("
            if not path.is_file() or (name and named not in path.read_text(encoding="utf-8")):
                faults.append(f"{mistake.name}: there is no test {test}")
    if faults:
        raise Stale("\n".join(faults))


class Watch:
    """Pytest's plugin: which test failed first, and that the planted code was there to be tested."""

    def __init__(self, modules: Sequence[str], source: Path) -> None:
        self.modules, self.source = modules, source
        self.failed = self.fault = ""
        self.passed = 0

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.fault:
            self.fault = f"cannot be imported by {report.nodeid}: {str(report.longrepr).strip().splitlines()[-1]}"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for name in self.modules:  # here, for pytest's options may have a say in how the package is imported
            try:
                found = import_module(name).__file__
            except Exception as error:
                self.fault = self.fault or f"{name} cannot be imported: {type(error).__name__}: {error}"
                continue
            if not Path(str(found)).is_relative_to(self.source):
                self.fault = self.fault or f"{name} was imported from {found}, not from the copy"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        if report.failed and not self.failed:
            self.failed = report.nodeid


class Copy:
    """A copy of the source that is tested in children of this process."""

    def __init__(self, root: Path, source: Path, folder: Path) -> None:
        self.root, self.source, self.folder, self.compiled = root, folder / "src", folder, folder / "compiled"
        shutil.copytree(source, self.source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        self.package = next(path.parent for path in sorted(self.source.glob("*/__init__.py")))

    def outcome(self, mistake: Mistake) -> Outcome:
        """Plant a mistake, let its tests run, and take it out again."""
        path = self.package / mistake.file
        before, wrong = path.read_text(encoding="utf-8"), planted(mistake, self.package)
        try:
            self._write(path, wrong)
            return self.tests(mistake.tests, [self._module(path)])
        finally:
            self._write(path, before)

    def tests(self, tests: Sequence[str], modules: Sequence[str] = (), seconds: float = 3 * SECONDS) -> Outcome:
        """Run some tests up to the first failure, in a child."""
        report, began = self.folder / "report.json", time.perf_counter()
        report.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                report.write_text(json.dumps(self._run(tests, modules)))
                code = 0
            finally:
                os._exit(code)
        status = _ended(child, seconds)
        if status:  # of no test's making: the machine may have killed it
            return Outcome(fault=f"its tests ended with status {status}, or not within {seconds:.0f} s")
        return Outcome(**json.loads(report.read_text()), seconds=time.perf_counter() - began)

    def _run(self, tests: Sequence[str], modules: Sequence[str]) -> dict[str, str]:
        os.chdir(self.root)
        os.environ["PYTHONPATH"] = str(self.source)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # for processes that tests start
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(self.compiled)
        here = str(Path(__file__).parent)
        sys.path[:] = [str(self.source), *(path for path in sys.path if path != here)]
        watch, said = Watch(modules, self.source), io.StringIO()
        base = self.folder / "tmp"
        options = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={base}", "--rootdir", str(self.root)]
        options += ["--jaxtyping-packages=seedbed,beartype.beartype"]  # a wrong shape is noticed, too
        options += [f"--timeout={SECONDS}"] if find_spec("pytest_timeout") else []
        with redirect_stdout(said), redirect_stderr(said):
            code = pytest.main([*options, *(f"tests/{test}" for test in tests)], plugins=[watch])
        if not watch.failed and not watch.fault and (code not in (0, 1) or not watch.passed):
            last = said.getvalue().strip().splitlines()[-1:]
            watch.fault = f"no test passed or failed (pytest says {int(code)}: {' '.join(last)})"
        return {"failed": "" if watch.fault else watch.failed, "fault": watch.fault}

    def _module(self, path: Path) -> str:
        return ".".join(path.relative_to(self.source).with_suffix("").parts).removesuffix(".__init__")

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # Compiled code is told from its source by seconds and bytes, and a mistake may differ in neither.
        for compiled in Path(f"{self.compiled}{path.parent}").glob(f"{path.stem}.*"):
            compiled.unlink()


def _ended(child: int, seconds: float) -> int:
    """How a child ended, 0 as it should; after so many seconds it is killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def judge(mistakes: Sequence[Mistake], outcomes: Sequence[Outcome]) -> tuple[str, bool]:
    """The table by group, what was not noticed and why, and whether that is good enough."""
    pairs = list(zip(mistakes, outcomes, strict=True))
    lines, noticed = [], sum(bool(found.failed) for _, found in pairs)
    for group in dict.fromkeys(mistake.group for mistake in mistakes):
        mine = [found for mistake, found in pairs if mistake.group == group]
        seconds = sum(found.seconds for found in mine)
        lines.append(f"{group:<16}{sum(bool(found.failed) for found in mine):>4} of {len(mine):<4}{seconds:>6.0f} s")
    share = noticed / len(pairs)
    lines.append(f"{'noticed':<16}{noticed:>4} of {len(pairs):<4}{100 * share:>6.1f} %")
    good = share >= SHARE
    for mistake, found in pairs:
        if mistake.survives and found.failed:
            good = False
            lines.append(f"SHOULD SURVIVE  {mistake.name}: {found.failed} notices it; take `survives` out of the list")
        elif mistake.survives:
            lines.append(f"survives        {mistake.name}: {mistake.survives}")
        elif not found.failed:
            good = False
            lines.append(f"NOT NOTICED     {mistake.name}: write a test, or say in `survives` why none can")
    return "\n".join(lines), good


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("groups", nargs="*", help="files <group>.toml; by default all")
    parser.add_argument("--check", action="store_true", help="only whether the lists fit the code")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2], help="holds src/ and tests/")
    asked = parser.parse_args(arguments)
    root = asked.root.resolve()
    package = next(path.parent for path in sorted((root / "src").glob("*/__init__.py")))
    try:
        mistakes = read(root / "tests" / "mutants", asked.groups)
        check(mistakes, root, package)
        if asked.check:
            return 0
        with tempfile.TemporaryDirectory() as folder:
            text, good = _plant(mistakes, Copy(root, root / "src", Path(folder).resolve()))
    except Stale as fault:
        print(fault, file=sys.stderr)
        return 2
    print(text)
    return 0 if good else 1


def _plant(mistakes: Sequence[Mistake], copy: Copy) -> tuple[str, bool]:
    _import_once(copy.root)
    # What fails without a mistake cannot tell that there is one.
    sound = copy.tests(sorted({test for mistake in mistakes for test in mistake.tests}), seconds=30 * SECONDS)
    if sound.fault or sound.failed:
        raise Stale(f"without any mistake: {sound.fault or sound.failed}")
    print(f"without any mistake all pass, {sound.seconds:.0f} s", flush=True)
    outcomes = []
    for mistake in mistakes:
        found = copy.outcome(mistake)
        if found.fault:
            raise Stale(f"{mistake.name}: {found.fault}")
        print(f"{mistake.name}: {found.failed or 'NOT NOTICED'} ({found.seconds:.1f} s)", flush=True)
        outcomes.append(found)
    return judge(mistakes, outcomes)


def _import_once(root: Path) -> None:
    """Everything slow but the package itself, which every child imports with its own mistake; no thread may start here."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # The same outcome on every machine: nothing depends on which data files lie there.
    os.environ.pop("SEEDBED_DATA", None)
    os.environ["SEEDBED_CACHE"] = f"{os.devnull}/none"
    sources = [*root.glob("[st]*/**/*.py"), *root.glob("pyproject.toml")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    names = ["torch", "torch.func", "torch.fx.experimental.proxy_tensor", "numpy", "scipy.stats", "scipy.io", "pandas"]
    names += ["torch.testing", "torch.distributed.tensor", "torch.fx.experimental.symbolic_shapes", "beartype"]
    names += ["sklearn.datasets", "matplotlib.figure", "safetensors.torch", "PIL.Image", "zuko", "click"]
    for name in names:
        if re.search(rf"\b{name.partition('.')[0]}\b", text):
            with suppress(ImportError):
                import_module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    gc.freeze()  # pytest collects garbage again and again at its end


if __name__ == "__main__":
    sys.exit(main())
