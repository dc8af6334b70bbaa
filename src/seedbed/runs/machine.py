"""What a run takes of the machine: its device, and how the seeds and the cores are shared out."""

import os
from collections.abc import Sequence
from itertools import pairwise

from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import shown, whole


def usable_device(device: str) -> str:
    """A device by name, ``auto`` resolved, and a GPU's own name in parentheses.

    Raises:
        SeedbedError: if there is none such here.
    """
    import torch

    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=device).item()  # a number must come back
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SeedbedError(f"device {device!r} cannot be used here ({reason}); use --device auto or cpu") from error
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


def groups_of(seeds: Sequence[int], strategy: str) -> list[list[int]]:
    """Which seeds train as one stack: all of them, each alone, or one stack per process."""
    if strategy == "vectorized":
        return [list(seeds)]
    if strategy == "sequential":
        return [[seed] for seed in seeds]
    workers = min(len(seeds), os.cpu_count() or 1)
    bounds = [round(i * len(seeds) / workers) for i in range(workers + 1)]
    return [list(seeds[a:b]) for a, b in pairwise(bounds)]


def threads_of(asked: int | None, groups: Sequence[Sequence[int]], strategy: str) -> int:
    """CPU threads of each group: all cores, or as many as ``OMP_NUM_THREADS`` allows, unless a number is asked for."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    cores = asked or (int(allowed) if allowed.isdigit() and int(allowed) else 0) or os.cpu_count() or 1
    return max(1, cores // min(len(groups), cores)) if strategy == "processes" else cores


def cores() -> int:
    """CPU cores that this process may run on."""
    granted = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(granted(0)) if granted is not None else os.cpu_count() or 1


def check_threads(threads: object) -> int | None:
    """CPU threads that somebody asked for: no more than this process has cores; ``None`` for as many as there are.

    Raises:
        SeedbedError: for another number, with that of the cores.
    """
    if threads is None:
        return None
    count, there = whole("threads", threads, 1), cores()
    if count > there:
        raise SeedbedError(f"threads must be at most {there}, the cores that there are, got {shown(threads)}; leave it out")
    return count
