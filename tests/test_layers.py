"""A layer imports only layers before it, no two files import each other, and a package that is imported is declared."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import seedbed

LAYERS = (
    "core",
    "distributions",
    "nets",
    "data",
    "models",
    "objectives",
    "evaluate",
    "store",
    "train",
    "experiments",
    "certificate",
    "judge",
    "report",
    "runs",
    "cli",
)
# Whole layers that one must not see although they come before it.
BLIND = {
    "nets": {"distributions"},
    "store": {"models", "objectives", "evaluate"},
    "report": {"train", "models", "evaluate", "experiments", "certificate"},
}
# A certificate is of a model, not of a run.
BLIND |= {"certificate": {"evaluate"}}
# Tables of numbers, whoever measured them.
BLIND |= {"judge": set(LAYERS[1 : LAYERS.index("judge")])}
# Networks and data know the core alone, the report only the store, the loop no model family.
BLIND |= {"data": {"nets", "distributions"}, "train": {"models", "nets", "distributions", "evaluate"}}
SOURCE = Path(seedbed.__file__).parent


def named(text: str) -> set[str]:
    """What a file imports, wherever the import stands; of ``from a import b`` both ``a`` and ``a.b``."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "imports are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def sources() -> dict[str, str]:
    """The text of every module by its name."""
    names = {path: ("seedbed", *path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path.read_text(encoding="utf-8") for path, parts in names.items()}


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """The modules that reach each other, a list for each circle.

    Args:
        imports: by each module what it imports, of these modules and others.
    """
    reached: dict[str, set[str]] = {}
    for module in imports:
        found, todo = set(), [module]
        while todo:
            new = (imports[todo.pop()] & imports.keys()) - found
            found |= new
            todo += new
        reached[module] = found
    rings = {frozenset(other for other in reached[module] if module in reached[other]) for module in imports}
    return sorted(sorted(ring) for ring in rings if ring)


def violations(layer: str) -> list[str]:
    allowed = set(LAYERS[: LAYERS.index(layer) + 1]) - BLIND.get(layer, set())
    out = []
    for path in sorted((SOURCE / layer).rglob("*.py")):
        parts = [name.split(".") for name in named(path.read_text(encoding="utf-8"))]
        layers = {part[1] for part in parts if part[0] == "seedbed" and len(part) > 1 and part[1] in LAYERS}
        out += [f"{path.relative_to(SOURCE)} imports {name}" for name in sorted(layers - allowed)]
    return out


def test_every_folder_is_a_layer():
    folders = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(LAYERS)


def test_layers_import_downward_only():
    assert [v for layer in LAYERS for v in violations(layer)] == []


@pytest.mark.parametrize(
    ("imports", "found"),
    [
        ({"a": {"b"}, "b": {"c", "os"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": {"d"}}, [["b", "c"], ["d"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
    ],
)
def test_what_a_circle_is(imports, found):
    assert circles(imports) == found


def test_every_import_counts_wherever_it_stands():
    text = "def f():\n    import a.b\n\nif TYPE_CHECKING:\n    from c import d\n"
    assert named(text) == {"a.b", "c", "c.d"}


def test_no_two_files_import_each_other():
    """Imports within functions and for types alone included: they hide a circle, and do not open it."""
    assert circles({module: named(text) - {module} for module, text in sources().items()}) == []


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = {"pillow": "PIL", "scikit-learn": "sklearn"}
    declared = {re.split("[<>=]", line)[0] for line in project["dependencies"]}
    imported = {name.split(".")[0] for text in sources().values() for name in named(text)}
    assert imported - sys.stdlib_module_names - {"seedbed"} == {package.get(name, name) for name in declared}


def test_modules_stay_small():
    lengths = sorted(len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCE.rglob("*.py") if p.stat().st_size)
    assert lengths[-1] <= 400
    assert lengths[len(lengths) // 2] <= 150
