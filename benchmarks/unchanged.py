"""Did a refactor move a number? Two checkouts on one machine, compared to the last bit.

    python benchmarks/unchanged.py compare OLD_CHECKOUT NEW_CHECKOUT [--old FILE] [--new FILE]
    python benchmarks/unchanged.py record --out FILE [--only PATTERN] [--cells smoke-fp64,smoke-fp32,long]

``record`` runs whatever ``seedbed`` is importable, in one process and one thread. Every cell is one run of two seeds
(vectorized), of which are kept: all rows but for time, and a SHA-256 of every parameter and buffer of the evaluated
weights, of every artefact, of the data; where a run raises, its message. ``compare`` records both sides in processes of
their own (or completes what was recorded), prints a line for each cell that differs, and ends with 1 if one does for which
``EXCEPTIONS`` gives no reason.

    data        every registered data set, whole
    long        one run of 260 updates per model family: past the 200th, where what a step does is recorded and played back
    bf16        the same of two presets in bf16
    smoke-fp64  every registered experiment at the budget ``smoke``
    smoke-fp32  the same in fp32
    evaluate    ``seedbed evaluate`` on a run of a few updates of each family

It is the code that is compared, not its results, so sizes are cut where they cost: see ``SIZES``, ``KEPT``, ``SIDE`` and
``CUTS``. Both sides are cut alike.
"""

import argparse
import hashlib
import importlib
import io
import json
import os
import platform
import runpy
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_flatten_with_path

# (pattern of "CELL EXPERIMENT ITEM", why that may differ). Items: error, rows/SPLIT/METRIC, tensors/NAME,
# artefacts/NAME:KEY, data/SPLIT, settings/hash. One that nothing needs is named as such: delete it.
EXCEPTIONS: tuple[tuple[str, str], ...] = ()

SEEDS = 2
STEPS = 260  # of a long run
FAMILIES = (
    *(f"toy/8gaussians/{model}" for model in ("vae", "lvae", "flow", "spline-flow", "wgan-gp")),
    *(f"toy/8gaussians/{model}-compat" for model in ("vae", "lvae", "flow")),
    "digits/digits-binary/vae",
    "mnist/mnist-dynamic/vae",
    "iwae/mnist-dynamic/iwae5-1layer",
    "iwae/mnist-dynamic/iwae1-2layer",
    "vae-static/mnist-static/conv-20epochs",
    *(f"mnist-convergence/mnist-dynamic/{m}" for m in ("vae", "vae-vamp-prior", "lvae", "draw", "draw-attention", "flow")),
)
HALF = ("mnist/mnist-dynamic/vae", "mnist-convergence/mnist-dynamic/lvae")
# What `seedbed evaluate` is asked; a model without such an estimator says so, and that is compared too.
EVALUATIONS = {
    "nll": "--metric nll -k 10 --examples 20",
    "latents": "--metric latents -k 5 --examples 20",
    "ais": "--metric ais -k 10 --examples 4 --chains 2 --temperatures 10 --leapfrogs 2",
    "sw": "--metric sw --examples 200",
}

# Points of a toy set, a million by default.
SIZES = {"train_size": 20_000, "valid_size": 1_000, "eval_size": 2_000}
# Examples of an image set, evenly spread: each run checks and converts all of them, and measures six times. The sets are
# binarised before, so what is kept is as it was; `data` compares the whole.
KEPT = {"train": 4_000, "valid": 200, "test": 250}
# Points along each axis of a toy model's density, 120 by default: 50 draws of z for each of 14,400 is most of a short run.
SIDE = 40
# Where that number is, in this code or in older.
DENSITIES = ("seedbed.evaluate.pictures.points", "seedbed.evaluate.density")
# Where an update is dear: fewer examples of it, or fewer updates (a long run has as many as it needs).
CUTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("*/iwae50-*", {"batch_size": 16}),
    ("*/conv-20epochs", {"batch_size": 16}),
    ("*-convergence/*/draw*", {"batch_size": 16, "steps": 12, "eval_every": 4}),
    ("*-convergence/*/flow*", {"batch_size": 16, "steps": 12, "eval_every": 4}),
)

NOT_COMPARED = ("wall_s",)
TOYS = ("8gaussians", "swissroll", "circles", "rings", "moons", "pinwheel", "2spirals", "checkerboard", "line", "cos")


# --- recording ----------------------------------------------------------------------------------------------------


def digest(values: Any, flat: bool = False) -> str:
    """Of the type, shape and bytes of a tensor or an array; ``flat``: of its length in place of its shape."""
    array = values.detach().cpu().contiguous().numpy() if isinstance(values, torch.Tensor) else np.ascontiguousarray(values)
    shape = (array.size,) if flat else array.shape
    return hashlib.sha256(f"{array.dtype} {shape} ".encode() + array.tobytes()).hexdigest()


def digests(tree: Any) -> dict[str, str]:
    """Of every leaf of a pytree, by its path, whatever shape its examples are laid out in."""
    leaves = tree_flatten_with_path(tree)[0]
    named = {"/".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path): leaf for path, leaf in leaves}
    return {name: digest(leaf[:], flat=True) for name, leaf in named.items()}


def spread(values: Any, count: int) -> torch.Tensor:
    return values[:: max(1, len(values) // count)][:count].clone()


def module_named(name: str) -> Any:
    """A module, or ``None`` where the code has none of that name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def lighten() -> None:
    """Keep each image set in memory, thinned out, and draw coarser densities.

    A loader gives the same bits at every call, and a run changes none of them; so one call is enough for all runs.

    Raises:
        SystemExit: where the code has not what is replaced here.
    """
    data = importlib.import_module("seedbed.data")
    drawn = [name for name in DENSITIES if hasattr(module_named(name), "GRID")]
    if not hasattr(data, "DATA") or not drawn:
        raise SystemExit(f"expected seedbed.data.DATA and GRID in {' or '.join(DENSITIES)}: tell `lighten` where they are")
    importlib.import_module(drawn[0]).GRID = SIDE
    for name in data.DATA:
        if name not in TOYS:
            data.DATA[name] = cache(thinned(data.DATA[name]))


def thinned(loader: Callable[..., Any]) -> Callable[..., Any]:
    def load(seed: int = 0, **options: Any) -> Any:
        whole = loader(seed=seed, **options)
        cut = lambda parts: {split: spread(values, KEPT[split]) for split, values in parts.items()}
        return replace(whole, splits=cut(whole.splits), labels=cut(whole.labels), epoch_size=0)

    return load


def rows_of(table: Any) -> list[dict[str, Any]]:
    kept = [column for column in table.columns if column not in NOT_COMPARED]
    return [row for row in table[kept].to_dict("records") if not str(row["metric"]).startswith("ms")]


def train(name: str, out: str, **settings: Any) -> Any:
    import seedbed
    from seedbed.experiments import EXPERIMENTS

    declared = settings_of(EXPERIMENTS[name])
    cut = {key: value for key, value in SIZES.items() if key in declared}
    for pattern, changes in CUTS:
        cut |= changes if fnmatch(name, pattern) else {}
    settings = {"budget": "smoke", "strategy": "vectorized", "threads": 1, "device": "cpu", **cut, **settings}
    return seedbed.run(name, SEEDS, out=out, name="cell", **settings)


def settings_of(experiment: Any) -> set[str]:
    """Names of what an experiment declares, in this code or in older, where it was one dataclass."""
    found = getattr(experiment, "settings", None)
    return set(found) if found is not None else {field.name for field in fields(experiment)}


def everything(run: Any) -> dict[str, Any]:
    """What is compared of a run."""
    tensors = {
        f"{name}[{seed}]": digest(values)
        for seed, model in zip(run.seeds, run.models, strict=True)
        for name, values in (*model.named_parameters(), *model.named_buffers())
    }
    artefacts, root = {}, run.path / "artefacts"
    for path in sorted(root.rglob("*.npz")):
        folder = path.parent.relative_to(root)
        with np.load(path) as arrays:
            stem = path.stem if folder == Path(".") else folder.as_posix()
            artefacts |= {f"{stem}:{key}": digest(arrays[key], flat=True) for key in arrays.files}
    manifest = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    return {
        "rows": rows_of(run.table),
        "tensors": tensors,
        "artefacts": artefacts,
        "data": {"checksum": manifest["data"]["checksum"]},
        "settings": {"hash": manifest["hash"]},
    }


def long(name: str, out: str) -> dict[str, Any]:
    return everything(train(name, out, steps=STEPS, eval_every=STEPS // 2, precision="fp32"))


def bf16(name: str, out: str) -> dict[str, Any]:
    return everything(train(name, out, steps=STEPS, eval_every=STEPS // 2, precision="bf16"))


def smoke_fp64(name: str, out: str) -> dict[str, Any]:
    return everything(train(name, out, precision="fp64"))


def smoke_fp32(name: str, out: str) -> dict[str, Any]:
    return everything(train(name, out, precision="fp32"))


def evaluate(name: str, out: str) -> dict[str, Any]:
    """New rows of each evaluation, or what it says instead."""
    import seedbed

    run = train(name, out, steps=3, eval_every=3, precision="fp32")
    found: dict[str, Any] = {"rows": [], "says": {}}
    before = rows_of(run.table)
    for asked, flags in EVALUATIONS.items():
        code, said = command("evaluate", str(run.path), *flags.split(), "--threads", "1", "--quiet")
        if code:
            found["says"][asked] = said.replace(out, "OUT")
        after = rows_of(seedbed.load(run.path).table)
        fresh = Counter(map(repr, after)) - Counter(map(repr, before))
        found["rows"] += [row | {"split": f"{asked}/{row['split']}"} for row in after if repr(row) in fresh]
        before = after
    return found


def command(*arguments: str) -> tuple[int, str]:
    """``python -m seedbed ARGUMENTS``, here, where the data are loaded already: its exit code and last line."""
    before, said = sys.argv, io.StringIO()
    sys.argv = ["seedbed", *arguments]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            runpy.run_module("seedbed", run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0), (said.getvalue().strip().splitlines() or [""])[-1]
    except Exception as error:
        return 1, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    finally:
        sys.argv = before
    return 0, ""


def data(name: str, out: str) -> dict[str, Any]:
    import seedbed.data

    sizes = SIZES if name in TOYS else {}
    found = seedbed.data.load(name, seed=1, **sizes)
    return {"data": digests({"splits": dict(found.splits), "labels": dict(found.labels)})}


CELLS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "data": data,
    "long": long,
    "bf16": bf16,
    "smoke-fp32": smoke_fp32,
    "smoke-fp64": smoke_fp64,
    "evaluate": evaluate,
}
ALL = ",".join(CELLS)


def names_of(cell: str) -> list[str]:
    import seedbed.data
    from seedbed.experiments import EXPERIMENTS

    others = {"data": seedbed.data.names(), "long": FAMILIES, "bf16": HALF, "evaluate": FAMILIES}
    return list(others.get(cell, EXPERIMENTS))


def record(out: Path, only: str, cells: str) -> None:
    """Run the cells and write what came out, once a minute; of a file that is there, what it lacks.

    Raises:
        SystemExit: if that file is of other code, sizes or another machine.
    """
    import seedbed

    torch.set_num_threads(1)
    chosen = [cell for cell in CELLS if cell in cells.split(",")]
    here = Path(seedbed.__file__).parent
    about = {"machine": machine(), "cuts": cuts(), "source": source(here)}
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {**about, "cells": {}}
    if changed := [key for key, now in about.items() if found[key] != now]:
        raise SystemExit(f"{out} was recorded with another {' and '.join(changed)}; delete it, or name another file")
    saved = time.monotonic()
    for cell in chosen:
        names = [name for name in names_of(cell) if fnmatch(name, only) and f"{cell} {name}" not in found["cells"]]
        if names and cell != "data":  # which are loaded whole, first
            lighten_once()
        for name in names:
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                try:
                    result = CELLS[cell](name, folder)
                except Exception as error:
                    line = (str(error).splitlines() or [""])[0].replace(folder, "OUT")
                    result = {"error": f"{type(error).__name__}: {line}"}
            found["cells"][f"{cell} {name}"] = result | {"cpu_s": round(time.process_time() - started, 2)}
            print(
                f"{cell:10} {name:56} {found['cells'][f'{cell} {name}']['cpu_s']:7.2f} s {result.get('error', '')}",
                flush=True,
            )
            if time.monotonic() - saved > 60:
                write(out, found)
                saved = time.monotonic()
    write(out, found)


lighten_once = cache(lighten)


def write(out: Path, found: Mapping[str, Any]) -> None:
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(found), encoding="utf-8")
    part.replace(out)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, numpy {np.__version__}"


def source(folder: Path) -> str:
    """Of every file of the package, so that what was recorded of other code is not taken for this one's."""
    files = sorted(folder.rglob("*.py"))
    return hashlib.sha256(b"".join(f.relative_to(folder).as_posix().encode() + f.read_bytes() for f in files)).hexdigest()


def cuts() -> str:
    """Of all that this file decides about the runs."""
    decided = (SEEDS, STEPS, FAMILIES, HALF, EVALUATIONS, SIZES, KEPT, SIDE, CUTS)
    return hashlib.sha256(repr(decided).encode()).hexdigest()


# --- comparing ----------------------------------------------------------------------------------------------------


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(item, what differs) of one cell."""
    if old.get("error") != new.get("error"):
        yield "error", f"{old.get('error', 'runs')} -> {new.get('error', 'runs')}"
        return
    for kind in ("settings", "data", "tensors", "artefacts", "says"):
        a, b = old.get(kind, {}), new.get(kind, {})
        for key in dict.fromkeys([*a, *b]):
            if a.get(key) != b.get(key):
                how = "is new" if key not in a else "is gone" if key not in b else ""
                yield f"{kind}/{key}", how or (f"{a[key]} -> {b[key]}" if kind == "says" else "differs")
    yield from row_differences(old.get("rows", []), new.get("rows", []))


def row_differences(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    a, b = keyed(old), keyed(new)
    for key in dict.fromkeys([*a, *b]):
        seed, step, split, metric, _ = key
        where = f"seed {seed} step {step} {split} {metric}"
        if key not in a or key not in b:
            yield f"rows/{split}/{metric}", f"{where} is {'new' if key not in a else 'gone'}"
            continue
        for column in dict.fromkeys([*a[key], *b[key]]):
            # As text: NaN equals itself, and 0.0 is not -0.0.
            x, y = repr(a[key].get(column)), repr(b[key].get(column))
            if x != y:
                yield f"rows/{split}/{metric}", f"{where}{'' if column == 'value' else f' ({column})'} {x} -> {y}"
                break


def keyed(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by (seed, step, split, metric, how many such there were before)."""
    out, seen = {}, Counter()
    for row in rows:
        key = (row["seed"], row["step"], row["split"], row["metric"])
        out[*key, seen[key]] = row
        seen[key] += 1
    return out


def reason(cell: str, item: str) -> str | None:
    return next((f"{pattern}: {why}" for pattern, why in EXCEPTIONS if fnmatch(f"{cell} {item}", pattern)), None)


def summed(found: list[tuple[str, str]]) -> str:
    """The items of one cell by kind: how many, and the first."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for item, how in found:
        kinds.setdefault(item.partition("/")[0], []).append((item, how))
    return "; ".join(
        f"{len(items)} {kind} ({'' if kind == 'rows' else items[0][0].partition('/')[2] + ' '}{items[0][1]}"
        f"{', ...' if len(items) > 1 else ''})"
        if kind != "error"
        else f"error: {items[0][1]}"
        for kind, items in kinds.items()
    )


def report(old: Mapping[str, Any], new: Mapping[str, Any], only: str, cells: str) -> int:
    """Print what differs; 1 if something does without a reason."""
    if old["machine"] != new["machine"]:
        raise SystemExit(f"recorded on {old['machine']} and on {new['machine']}; last bits are one machine's: record anew")
    a, b = ({cell: found for cell, found in side["cells"].items() if wanted(cell, only, cells)} for side in (old, new))
    wrong, excepted, used = 0, Counter(), Counter()
    for cell in dict.fromkeys([*a, *b]):
        if cell in a and cell in b:
            found = list(differences(a[cell], b[cell]))
        else:
            found = [("cell", f"is {'new' if cell not in a else 'gone'}")]
        reasons = [reason(cell, item) for item, _ in found]
        used.update(filter(None, reasons))
        excepted.update(set(filter(None, reasons)))
        if plain := [one for one, why in zip(found, reasons, strict=True) if why is None]:
            print(f"{cell}: {summed(plain)}")
            wrong += 1
    for why, count in excepted.items():
        print(f"excepted in {count} cells ({used[why]} items): {why}")
    for pattern, why in EXCEPTIONS:
        if (only, cells) == ("*", ALL) and not used[f"{pattern}: {why}"]:
            print(f"exception that nothing needs: {pattern}: {why}")
    raised = sum("error" in found for found in a.values())
    print(
        f"{len({*a, *b})} cells: {wrong} differ without a reason; {raised} raise in the old code, compared by their message"
    )
    return int(wrong > 0)


def wanted(cell: str, only: str, cells: str) -> bool:
    kind, _, name = cell.partition(" ")
    return kind in cells.split(",") and fnmatch(name, only)


def recorded(checkout: Path, path: Path | None, flags: list[str]) -> dict[str, Any]:
    """What was recorded of a checkout, completed by a process that imports its ``src``.

    Raises:
        SystemExit: if that process fails.
    """
    folder = (checkout / "src" / "seedbed").resolve()
    with tempfile.TemporaryDirectory() as temporary:
        out = path or Path(temporary) / "recorded.json"
        env = {**os.environ, "PYTHONPATH": str(folder.parent), "OMP_NUM_THREADS": "1"}
        if code := subprocess.run([sys.executable, __file__, "record", "--out", str(out), *flags], env=env).returncode:
            raise SystemExit(code)
        found = json.loads(out.read_text(encoding="utf-8"))
    if found["source"] != source(folder):
        raise SystemExit(f"expected the code of {folder}, ran that of another checkout")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    a, b = verbs.add_parser("record"), verbs.add_parser("compare")
    for verb in (a, b):
        verb.add_argument("--only", default="*", help="experiments or data sets of this pattern")
        verb.add_argument("--cells", default=ALL, help="kinds of cells")
    a.add_argument("--out", type=Path, required=True)
    b.add_argument("old_checkout", type=Path)
    b.add_argument("new_checkout", type=Path)
    b.add_argument("--old", type=Path, help="what was recorded of the old one; what it lacks is added")
    b.add_argument("--new", type=Path, help="the same of the new one")
    given = parser.parse_args()
    if unknown := set(given.cells.split(",")) - CELLS.keys():
        parser.error(f"no cells {', '.join(sorted(unknown))}; expected {', '.join(CELLS)}")
    if given.verb == "record":
        record(given.out, given.only, given.cells)
        return
    flags = ["--only", given.only, "--cells", given.cells]
    old, new = recorded(given.old_checkout, given.old, flags), recorded(given.new_checkout, given.new, flags)
    sys.exit(report(old, new, given.only, given.cells))


if __name__ == "__main__":
    main()
