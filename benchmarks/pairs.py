"""Pairs of the same work, ours and another's, measured in turn in one run: a ratio above 1 says that ours is faster."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from seedbed.store.manifest import processor


def milliseconds(step: Callable[[], object], steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps * 1e3


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Median and the bootstrap interval of it."""
    values = np.array(ratios)
    draws = np.median(np.random.default_rng(0).choice(values, (4000, len(values))), axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(np.median(values)), float(low), float(high)


def commit() -> str:
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def row(
    workload: str, ours: list[float], other: list[float], label: str, command: str, unit: str, **more: object
) -> dict[str, object]:
    ratio, low, high = interval([b / a for a, b in zip(ours, other, strict=True)])
    out = {
        "workload": workload,
        "ours": round(float(np.median(ours)), 3),
        "other": round(float(np.median(other)), 3),
        "other_is": label,
        "ratio": round(ratio, 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "unit": unit,
        "runs": len(ours),
        "device": f"cpu ({processor()}), {torch.get_num_threads()} threads",
        "commit": commit(),
        "command": command,
        **more,
    }
    print(f"{workload:36} {out['ours']:8} ms, {label} {out['other']:8} ms: {ratio:.2f}x [{low:.2f}, {high:.2f}]", flush=True)
    return out


def record(name: str, rows: list[dict[str, object]]) -> None:
    path = Path(f"results/benchmarks/{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")
