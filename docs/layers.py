"""The layers of `src/seedbed` and which imports which, read off the imports.

python docs/layers.py            print the diagram
python docs/layers.py --write    put it into docs/architecture.md
"""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src" / "seedbed"
BEGIN, END = "<!-- layers: drawn by docs/layers.py -->\n", "<!-- end of layers -->\n"


def imported(path: Path) -> set[str]:
    """The layers that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        found |= {name.split(".")[1] for name in names if name.startswith("seedbed.")}
    return found


def edges() -> dict[str, set[str]]:
    """Each layer and those that it imports."""
    layers = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
    used = {layer: set[str]().union(*map(imported, sorted((SOURCE / layer).rglob("*.py")))) for layer in layers}
    return {layer: (seen & set(layers)) - {layer} for layer, seen in used.items()}


def ordered(graph: dict[str, set[str]]) -> list[str]:
    """The layers, each after those that it imports, and in the same order whenever they are asked for."""
    return list(TopologicalSorter({layer: sorted(seen) for layer, seen in graph.items()}).static_order())


def direct(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the imports that follow from others: what a layer imports by way of another it may import itself."""
    below: dict[str, set[str]] = {}
    for layer in ordered(graph):
        below[layer] = graph[layer].union(*(below[other] for other in graph[layer]))
    return {layer: seen - set[str]().union(*(below[other] for other in seen)) for layer, seen in graph.items()}


def diagram() -> str:
    """The diagram as Mermaid draws it, from what is run to what everything stands on."""
    graph = edges()
    kept = direct(graph)
    lines = [f"  {layer} --> {other}" for layer in ordered(graph)[::-1] for other in sorted(kept[layer])]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"]) + "\n"


def placed(text: str) -> str:
    """A page with the diagram of today between its marks."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + diagram() + END + rest.split(END)[1]


if __name__ == "__main__":
    page = HERE / "architecture.md"
    if "--write" in sys.argv:
        page.write_text(placed(page.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(diagram())
