"""Files of results as tables: CSV, Parquet, lines of JSON, and what other trackers write, each by a recipe."""

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from seedbed.core.errors import SeedbedError, said, unknown

Recipe = Literal["lightning", "wandb", "mlflow", "tensorboard"]
SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json")
MOST_BYTES = 2 << 30  # of one file: beyond it a table is no table of results
_RUN = re.compile(r"(?P<model>.+?)[ _\-./]*(?:seed|run|rep|trial|version)?[ _\-.=]*(?P<seed>\d+)")
_VERSION = re.compile(r"version_(\d+)")
_BOARD = re.compile(r"(?:run-)?(?P<run>.+?)-tag-(?P<tag>.+)")


def is_results(target: str) -> bool:
    """Whether a word names a file of results, or a folder of ``metrics.csv`` that is no run."""
    path = Path(os.path.expanduser(target))
    if path.suffix.lower() in SUFFIXES:
        return not path.is_dir()
    return path.is_dir() and not any(path.rglob("run.json")) and next(path.rglob("metrics.csv"), None) is not None


def read_results(paths: Sequence[Path | str], recipe: str | None = None) -> dict[str, pd.DataFrame]:
    """Tables of results by where each was read, cells as text where the file has text.

    A recipe says who wrote them: ``lightning`` (folders of ``metrics.csv``), ``wandb`` (a table of runs as it is exported),
    ``mlflow`` (``params.`` and ``metrics.`` columns), ``tensorboard`` (a CSV file of each run and tag). Without one it is
    seen from the files.

    Args:
        paths: files, or folders of Lightning's.
        recipe: by name.

    Raises:
        SeedbedError: for a file that is not there, is none of these, or is damaged; for an unknown recipe.
    """
    if recipe is not None and recipe not in get_args(Recipe):
        raise unknown("recipe", recipe, get_args(Recipe))
    tables: dict[str, pd.DataFrame] = {}
    boards: list[tuple[Path, pd.DataFrame]] = []
    for path in (Path(os.path.expanduser(path)) for path in paths):
        if path.is_dir():
            tables |= {str(path): _lightning(path)}
            continue
        table = _read(path)
        how = recipe or _seen(table)
        if how == "tensorboard":
            boards.append((path, table))
        else:
            tables |= {str(path): _RECIPES.get(how or "", lambda found, _: found)(table, path)}
    if boards:
        tables |= {", ".join(str(path) for path, _ in boards[:3]): _tensorboard(boards)}
    return tables


def _read(path: Path) -> pd.DataFrame:
    try:
        if not path.is_file():
            raise SeedbedError(f"no file {path}; name a table of results, or a run")
        if path.stat().st_size > MOST_BYTES:
            raise SeedbedError(f"{path} has {path.stat().st_size / 2**30:.1f} GiB, at most 2 are read; cut it down")
        kind = path.suffix.lower()
        if kind == ".parquet":
            return pd.read_parquet(path)
        if kind == ".json":
            return pd.DataFrame(json.loads(path.read_text(encoding="utf-8-sig")))
        if kind in (".jsonl", ".ndjson"):
            return pd.DataFrame(list(_lines(path)))
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
        delimiter = "\t" if kind == ".tsv" else max(",;\t|", key=lambda mark: head.count(mark))
        # The first column of an index without a name has an empty head.
        table: Any = pd.read_csv(
            path, sep=delimiter, dtype=str, keep_default_na=False, encoding="utf-8-sig", quoting=csv.QUOTE_MINIMAL
        )
        if delimiter == ";":  # as is usual where a comma stands before decimals
            table = table.apply(lambda cells: cells.str.replace(r"^(-?\d+),(\d+)$", r"\1.\2", regex=True))
        return table.drop(columns=[name for name in table.columns[:1] if not name.strip() or name == "Unnamed: 0"])
    except SeedbedError:
        raise
    except ImportError as error:
        raise SeedbedError(f"{path} is Parquet, which takes the package pyarrow; install it, or save as CSV") from error
    except Exception as error:  # of pandas, pyarrow and json in turn, each with kinds of its own
        raise SeedbedError(f"{path} cannot be read as a table of results: {said(error, 160)}") from error


def _lines(path: Path) -> Iterator[Mapping[str, object]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except ValueError as error:
                raise SeedbedError(f"{path}, line {number} is no JSON ({error}); mend it") from error
            if not isinstance(found, dict):
                raise SeedbedError(f"{path}, line {number} is no JSON object; each line is one, with a key for each column")
            yield pd.json_normalize(found).iloc[0].to_dict() if any(isinstance(v, dict) for v in found.values()) else found


def _seen(table: pd.DataFrame) -> Recipe | None:
    names = [str(name) for name in table.columns]
    if {"Wall time", "Step", "Value"} <= set(names):
        return "tensorboard"
    if sum(name.startswith("metrics.") for name in names) and any(name.startswith("params.") for name in names):
        return "mlflow"
    return "wandb" if {"Name", "State", "Created"} <= set(names) else None


def _named(run: str) -> tuple[str, str]:
    """The model and the seed in the name of a run, e.g. ``ppo_seed3``; a name without a number is a seed of its own."""
    found = _RUN.fullmatch(run)
    return (found["model"], found["seed"]) if found else (run, "0")


def _lightning(folder: Path) -> pd.DataFrame:
    """Of each ``metrics.csv`` the last value of every column; the model is its folder, the seed its version."""
    rows = []
    for path in sorted(folder.rglob("metrics.csv")):
        table, parts = _read(path), [*path.parent.relative_to(folder).parts]
        version = _VERSION.fullmatch(parts[-1]) if parts else None
        if version:
            parts.pop()
        parts = [part for part in parts if part not in ("lightning_logs", "csv_logs", "logs")]
        model, seed = (" ".join(parts) or folder.name, version[1]) if version else _named(" ".join(parts) or folder.name)
        row: dict[str, object] = {"model": model, "seed": _seed_of(path.parent) or seed}
        for name in table.columns:
            cells = [cell for cell in table[name] if str(cell).strip()]
            if name not in ("step", "epoch") and cells:
                row[str(name)] = cells[-1]
        rows.append(row)
    if not rows:
        raise SeedbedError(f"{folder} has no metrics.csv below it; name the folder that Lightning's CSVLogger wrote to")
    return pd.DataFrame(rows).fillna("")


def _seed_of(folder: Path) -> str:
    """The seed that the hyper-parameters beside a log name; empty if none."""
    path = folder / "hparams.yaml"
    if not path.is_file():
        return ""
    found = re.search(r"^(?:random_)?seed:\s*(\d+)\s*$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return found[1] if found else ""


def _wandb(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Runs that are finished or failed; the model is the group, else the name without its number; ``_`` columns are left."""
    kept = table.drop(columns=[name for name in table.columns if str(name).startswith("_") or name in _WANDB_OWN])
    return _with_names(kept, table, "Group" if _has(table, "Group") else "Name", path)


_WANDB_OWN = ("Name", "State", "Notes", "User", "Tags", "Created", "Runtime", "Sweep", "Group", "ID", "Job Type", "Updated")


def _mlflow(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """``params.seed`` and ``params.model`` by their names, ``metrics.`` as they are; what else was logged is left."""
    named = next((name for name in ("tags.mlflow.runName", "run_name", "Name") if _has(table, name)), "")
    logged = [str(name) for name in table.columns if str(name).startswith(("params.", "metrics."))]
    kept = pd.DataFrame({name.split(".", 1)[1]: table[name] for name in logged})
    return _with_names(kept, table, named, path)


def _has(table: pd.DataFrame, name: str) -> bool:
    return name in table.columns and bool((table[name].astype(str).str.strip() != "").all())


def _with_names(kept: pd.DataFrame, table: pd.DataFrame, named: str, path: Path) -> pd.DataFrame:
    """A table of runs with a column of models and one of seeds, from the runs' names where it has none."""
    from seedbed.judge.columns import ROLES, plain

    have = {plain(str(name)) for name in kept.columns}
    if not named and not have & set(ROLES["model"]):
        raise SeedbedError(f"{path} has no names of runs; name a column of models with --columns model=COLUMN")
    split = [_named(str(name)) for name in table[named]] if named else []
    if not have & set(ROLES["model"]):
        kept = kept.assign(model=[model for model, _ in split])
    if not have & {"seed", "random_seed", "random_state"} and split:
        kept = kept.assign(seed=[seed for _, seed in split])
    return kept


_RECIPES: Mapping[str, Callable[[pd.DataFrame, Path], pd.DataFrame]] = {"wandb": _wandb, "mlflow": _mlflow}


def _tensorboard(boards: Sequence[tuple[Path, pd.DataFrame]]) -> pd.DataFrame:
    """One run and one tag a file, by the name that TensorBoard gives it: ``run-ppo_seed3-tag-eval_return.csv``."""
    parts = []
    for path, table in boards:
        found = _BOARD.fullmatch(path.stem)
        if found is None or not {"Step", "Value"} <= set(table.columns):
            raise SeedbedError(f"{path} is no export of TensorBoard (run-NAME-tag-TAG.csv with Step and Value); rename it")
        model, seed = _named(found["run"])
        parts.append(table[["Step", "Value"]].assign(model=model, seed=seed, metric=found["tag"]))
    return pd.concat(parts, ignore_index=True).rename(columns={"Step": "step", "Value": "value"})
