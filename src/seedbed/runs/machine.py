"""What a run takes of the machine: its device, and how the seeds and the cores are shared out."""

import math
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import shown, whole

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def usable_device(device: str) -> str:
    """A device by name, ``auto`` resolved, and a GPU's own name in parentheses.

    Raises:
        SeedbedError: if there is none such here.
    """
    import torch

    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise SeedbedError(f"device must be auto, cpu, cuda, cuda:N or mps, got {shown(device)}")
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
    workers = min(len(seeds), granted_cores())
    bounds = [round(i * len(seeds) / workers) for i in range(workers + 1)]
    return [list(seeds[a:b]) for a, b in pairwise(bounds)]


def granted_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: those it is bound to, of which a container may grant a share, rounded up.

    Args:
        cgroup: where the system says what a container grants.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota_file, period_file in (("cpu.max", ""), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            said = (cgroup / quota_file).read_text(encoding="ascii").split()
            said += (cgroup / period_file).read_text(encoding="ascii").split() if period_file else []
            quota, period = int(said[0]), int(said[1])  # of microseconds; "max", or -1, where there is no bound
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            return max(1, min(bound, math.ceil(quota / period)))
    return bound


def threads_of(asked: int | None, groups: Sequence[Sequence[int]], strategy: str) -> int:
    """CPU threads of each group: of the cores that the machine grants as many as ``OMP_NUM_THREADS`` and Slurm allow, unless
    a number is asked for."""
    allowed = [os.environ.get(name, "").split(",")[0].strip() for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")]
    cores = asked or min([granted_cores(), *(int(n) for n in allowed if n.isdecimal() and int(n))])
    return max(1, cores // min(len(groups), cores)) if strategy == "processes" else cores


def check_threads(threads: object) -> int | None:
    """CPU threads that somebody asked for: no more than it may use cores; ``None`` for as many as there are.

    Raises:
        SeedbedError: for another number, with that of the cores.
    """
    if threads is None:
        return None
    count, there = whole("threads", threads, 1), granted_cores()
    if count > there:
        raise SeedbedError(f"threads must be at most {there}, the cores that there are, got {shown(threads)}; leave it out")
    return count
