"""``results/<study>.json``: one row per promised number, written by one command, kept under version control."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from seedbed.core.errors import SeedbedError
from seedbed.core.metric import GAP, NEG_IW, NLL_SAMPLED, declared
from seedbed.report.run_tables import summarise_run
from seedbed.report.summary import LOST, Summary
from seedbed.store.atomic import write_atomic
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest
from seedbed.store.table import Row

# (experiment, metric) -> the number that the literature or the source gives.
Published = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Measured:
    """What is to be recorded of one run.

    Args:
        folder: the run's.
        rows: test rows and fates: of its training, or of one evaluation made after it.
        command: what made them.
        note: what else the protocol should say.
    """

    folder: Folder
    rows: Sequence[Row]
    command: str
    note: str = ""


@dataclass(frozen=True)
class Promise:
    """A number that a study is about, and what it takes to have it."""

    experiment: str
    metric: str
    budget: str
    hours: float
    command: str


def record(
    path: Path,
    measured: Sequence[Measured],
    budget: str,
    published: Published,
    promised: Sequence[Promise] = (),
    seeds: Sequence[int] | None = None,
) -> Path:
    """Merge test metrics of finished runs into a results file; rows of other experiments and metrics stay.

    Args:
        path: the file.
        measured: of one run of each experiment.
        budget: of these runs.
        published: known values, where there are any.
        promised: of the study; numbers that are not there are declared.
        seeds: the seeds that count; by default all of each run.

    Raises:
        SeedbedError: for a run that is not finished, two of one experiment, or a results file that is not one.
    """
    names = [name for name, _ in {(one.folder.manifest().experiment, one.folder.path) for one in measured}]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SeedbedError(f"{twice} has {names.count(twice)} runs here and one row to record; choose one with --name")
    old = _read(path)
    fresh = [row for one in measured for row in _rows(one, budget, published, seeds)]
    unfinished = sorted({row["experiment"] for row in fresh if not row.pop("finished")})
    if unfinished:
        raise SeedbedError(f"{unfinished[0]} is not finished; run the same command again to continue it, then record")
    fresh = [row for row in fresh if not any(_says_more(there, row) for there in old)]
    keys = {(row["experiment"], row["metric"], row["budget"]) for row in fresh}
    rows = [row for row in old if (row["experiment"], row["metric"], row["budget"]) not in keys] + fresh
    rows = [row for row in rows if row["status"] != "not_run"]
    done = {(row["experiment"], row["metric"], row["budget"]) for row in rows}
    rows += [_not_run(one, published) for one in promised if (one.experiment, one.metric, one.budget) not in done]
    rows.sort(key=lambda row: (row["experiment"], row["metric"], row["budget"]))
    text = json.dumps({"rows": rows}, indent=1, allow_nan=False)
    write_atomic(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
    return path


def _says_more(there: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a likelihood of fewer samples would take the place of one of more, of the same training.

    Its own rung, ``neg_iw<k>_nats``, stands beside all the same.
    """
    same = all(there[key] == row[key] for key in ("experiment", "metric", "budget"))
    trained = [str(one["command"]).split(" && ")[0] for one in (there, row)]
    return same and (there["k"] or 0) > (row["k"] or 0) > 0 and trained[0] == trained[1]


def _rows(one: Measured, budget: str, published: Published, seeds: Sequence[int] | None) -> list[dict[str, Any]]:
    found = [row for row in summarise_run(one.folder, seeds, rows=one.rows) if declared(row.metric).kind != "sample size"]
    bounds = [k for row in found if (k := _bound_samples(row.metric)) is not None]
    valid = _validation(one.folder, seeds)
    return [_row(one, row, budget, published, max(bounds, default=None)) | valid.get(row.metric, {}) for row in found]


def _validation(folder: Folder, seeds: Sequence[int] | None) -> dict[str, dict[str, float | None]]:
    """By metric, means over the seeds that were not lost of the best and of the last validation: a model that overfits."""
    rows = [row for row in folder.rows() if seeds is None or row.seed in seeds]
    lost = {row.seed for row in rows if row.split == "status" and row.metric in LOST}
    measured = [row for row in rows if row.split == "valid" and row.seed not in lost and math.isfinite(row.value)]
    own = folder.declarations()
    way = {name: declared(name, own).better for name in {row.metric for row in measured}}
    curves: dict[str, dict[int, list[float]]] = {}
    for row in measured:
        if way[row.metric] is not None:
            curves.setdefault(row.metric, {}).setdefault(row.seed, []).append(row.value)
    return {
        metric: {
            "valid_best": _number(mean(map(max if way[metric] == "higher" else min, by_seed.values()))),
            "valid_last": _number(mean(curve[-1] for curve in by_seed.values())),
        }
        for metric, by_seed in curves.items()
    }


def _bound_samples(metric: str) -> int | None:
    """The k of ``neg_iw<k>_nats``."""
    found = NEG_IW.parse(metric)
    return int(found["k"]) if found else None


def _row(one: Measured, row: Summary, budget: str, published: Published, samples: int | None) -> dict[str, Any]:
    """One line; ``samples`` are those of the likelihood's estimate, the last rung of its ladder, where it has one."""
    manifest = one.folder.manifest()
    lost = row.diverged >= row.seeds
    bound = "; ELBO stands for log q" if row.metric == GAP.name and "latents" in manifest.config else ""
    steps, batch = manifest.config["steps"], manifest.config["batch_size"]
    trained = "" if (precision := manifest.config.get("precision", "fp32")) == "fp32" else f" in {precision}"
    note = f"; {one.note}" if one.note else ""
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
        "values": [value if value is None else _number(value) for value in row.values],
        "mc_se": _number(row.mc_se),
        "n": row.n,
        "k": samples if row.metric == NLL_SAMPLED.name else _bound_samples(row.metric),
        "seeds": row.seeds,
        "diverged": row.diverged,
        "protocol": f"{manifest.data.get('protocol', '')}; test split; {steps} steps of {batch}{trained}{bound}{note}",
        "budget": budget,
        "device": f"{_device(manifest)}, {manifest.threads} threads x {manifest.strategy}",
        "seconds": round(row.seconds, 1),
        "commit": manifest.versions.get("commit"),
        "command": one.command,
        "finished": row.finished,
    }


def _device(manifest: Manifest) -> str:
    """With the processor, where that did the work and older runs do not keep silent about it."""
    processor = manifest.versions.get("processor")
    return f"{manifest.device} ({processor})" if processor and manifest.device == "cpu" else manifest.device


def _not_run(what: Promise, published: Published) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("mean", "low", "high", "std", "values", "mc_se", "n", "k", "seeds", "diverged", "device", "seconds", "commit")
    )
    return {
        "experiment": what.experiment,
        "metric": what.metric,
        "unit": declared(what.metric).unit,
        "status": "not_run",
        "published": published.get((what.experiment, what.metric)),
        **empty,
        "protocol": "",
        "budget": what.budget,
        "command": what.command,
        "hours": round(what.hours, 2),
    }


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeedbedError(f"{path} is no results file ({error}); restore it from version control") from error
