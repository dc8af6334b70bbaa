"""``results/<study>.json``: one row per promised number, written by one command, kept under version control."""

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seedbed.core.errors import SeedbedError
from seedbed.report.summary import Summary, summarise_run
from seedbed.store.atomic import write_atomic
from seedbed.store.folder import Folder

# (experiment, metric) -> the number that the literature or the source gives.
Published = Mapping[tuple[str, str], float]


def record(
    path: Path,
    folders: Sequence[Folder],
    seeds: Sequence[int],
    budget: str,
    published: Published,
    promised: Mapping[str, tuple[str, float]] | None = None,
) -> Path:
    """Merge the test metrics of finished runs into a results file; rows of other experiments stay.

    Args:
        path: the file.
        folders: finished runs.
        seeds: the seeds that count.
        budget: of these runs.
        published: known values, where there are any.
        promised: main metric and estimated hours of every experiment of the study; those without a number are declared.

    Raises:
        SeedbedError: for a run that is not finished, or a results file that is not one.
    """
    old = _read(path)
    fresh = [_row(folder, row, budget, published) for folder in folders for row in summarise_run(folder, seeds)]
    unfinished = sorted({row["experiment"] for row in fresh if not row.pop("finished")})
    if unfinished:
        raise SeedbedError(f"{unfinished[0]} is not finished; run the same command again to continue it, then record")
    keys = {(row["experiment"], row["metric"], row["budget"]) for row in fresh}
    rows = [row for row in old if (row["experiment"], row["metric"], row["budget"]) not in keys] + fresh
    rows = [row for row in rows if row["status"] != "not_run"]
    done = {row["experiment"] for row in rows}
    rows += [_not_run(name, *what, published) for name, what in (promised or {}).items() if name not in done]
    rows.sort(key=lambda row: (row["experiment"], row["metric"], row["budget"]))
    text = json.dumps({"rows": rows}, indent=1, allow_nan=False)
    write_atomic(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
    return path


def _row(folder: Folder, row: Summary, budget: str, published: Published) -> dict[str, Any]:
    manifest = folder.manifest()
    lost = row.diverged >= row.seeds
    bound = "; ELBO stands for log q" if row.metric == "gap_nats" and "latents" in manifest.config else ""
    steps, batch = manifest.config["steps"], manifest.config["batch_size"]
    return {
        "experiment": row.experiment,
        "metric": row.metric,
        "unit": row.unit,
        "status": "diverged" if lost else "infinite" if math.isinf(row.mean) else "measured",
        "published": published.get((row.experiment, row.metric)),
        "mean": _number(row.mean),
        "low": _number(row.low),
        "high": _number(row.high),
        "std": _number(row.std),
        "mc_se": _number(row.mc_se),
        "n": row.n,
        "k": None,
        "seeds": row.seeds,
        "diverged": row.diverged,
        "protocol": f"{manifest.data.get('protocol', '')}; test split; {steps} steps of {batch}{bound}",
        "budget": budget,
        "device": f"{manifest.device}, {manifest.threads} threads x {manifest.strategy}",
        "seconds": round(row.seconds, 1),
        "commit": _commit(),
        "command": manifest.command,
        "finished": row.finished,
    }


def _not_run(name: str, metric: str, hours: float, published: Published) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("mean", "low", "high", "std", "mc_se", "n", "k", "seeds", "diverged", "device", "seconds", "commit")
    )
    return {
        "experiment": name,
        "metric": metric,
        "unit": "nats",
        "status": "not_run",
        "published": published.get((name, metric)),
        **empty,
        "protocol": "",
        "budget": "laptop",
        "command": f"seedbed run {name} --record",
        "hours": round(hours, 2),
    }


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _commit() -> str | None:
    try:
        out = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return out.stdout.strip()


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeedbedError(f"{path} is no results file ({error}); restore it from version control") from error
