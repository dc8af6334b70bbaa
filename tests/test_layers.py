"""A layer imports only the layers before it in the house."""

import ast
from pathlib import Path

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
    "report",
    "cli",
)
# Whole layers that one must not see although they come before it.
BLIND = {"nets": {"distributions"}, "store": {"models", "objectives", "evaluate"}, "report": {"train", "models", "evaluate"}}
# Networks and data know the core alone, the report only the store, the loop no model family.
BLIND |= {"data": {"nets", "distributions"}, "train": {"models", "nets", "distributions", "evaluate"}}
SOURCE = Path(seedbed.__file__).parent


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        found |= {name.split(".")[1] for name in names if name.startswith("seedbed.") and len(name.split(".")) > 1}
    return found


def violations(layer: str) -> list[str]:
    allowed = set(LAYERS[: LAYERS.index(layer) + 1]) - BLIND.get(layer, set())
    out = []
    for path in sorted((SOURCE / layer).rglob("*.py")):
        out += [f"{path.relative_to(SOURCE)} imports {name}" for name in sorted(imports(path) - allowed)]
    return out


def test_every_folder_is_a_layer():
    folders = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(LAYERS)


def test_layers_import_downward_only():
    assert [v for layer in LAYERS for v in violations(layer)] == []


def test_modules_stay_small():
    lengths = sorted(len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCE.rglob("*.py") if p.stat().st_size)
    assert lengths[-1] <= 400
    assert lengths[len(lengths) // 2] <= 150
