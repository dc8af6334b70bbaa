"""How much memory there is, and the refusal of what cannot fit in it, before anything is allocated."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from seedbed.core.errors import SeedbedError

GIB = float(1 << 30)
_GROUPS = Path("/sys/fs/cgroup")
_UNKNOWN = sys.maxsize


def available(device: str = "cpu") -> int:
    """Bytes that this process can still take: the least of what the system, its group and its own limit leave.

    Args:
        device: ``cpu``, or ``cuda:N``, whose own memory it is then.

    Returns:
        The largest whole number where nothing is known, so that nothing is refused.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return min((_of_system(), _of_limit(), *_of_groups()))


def check_memory(what: str, need: int | float, remedy: str, device: str = "cpu") -> None:
    """Refuse what takes more memory than there is.

    Args:
        what: takes it, e.g. ``"training 10 seeds"``.
        need: bytes.
        remedy: what to make smaller.
        device: where.

    Raises:
        SeedbedError: with both numbers in GiB.
    """
    if need > (there := available(device)):
        where = "" if device == "cpu" else f" on {device}"
        raise SeedbedError(
            f"{what} takes at least {need / GIB:.3g} GiB, and {there / GIB:.3g} GiB are free{where}; {remedy}"
        )


def _of_system() -> int:
    """What Linux says could be had, what is swapped out included; of other systems nothing is known."""
    with suppress(OSError, ValueError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        known = {words[0]: int(words[1]) << 10 for words in lines if len(words) > 1}
        if "MemAvailable:" in known:
            return known["MemAvailable:"] + known.get("SwapFree:", 0)
    return _UNKNOWN


def _of_limit() -> int:
    """What `ulimit -v` leaves of addresses, and `ulimit -d` of memory of this process's own."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = [int(count) for count in Path("/proc/self/statm").read_text().split()]
        used = {resource.RLIMIT_AS: pages[0], resource.RLIMIT_DATA: pages[5]}
        left = [
            max(0, limit - count * os.sysconf("SC_PAGE_SIZE"))
            for kind, count in used.items()
            if (limit := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY
        ]
        return min(left, default=_UNKNOWN)
    return _UNKNOWN


def _of_groups() -> Iterator[int]:
    """What the control groups of this process leave, of both versions and from its own upward."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            root = _GROUPS / "memory" if kinds else _GROUPS
            limit, used = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
            here = root / path.lstrip("/")
            # A container may see its own group as the root, whatever its path is called.
            for group in (here, *here.parents):
                with suppress(OSError, ValueError):  # "max" is no number
                    yield max(0, int((group / limit).read_text()) - int((group / used).read_text()) + _kept_files(group))
                if group == root:
                    break


def _kept_files(group: Path) -> int:
    """Bytes of files that a group keeps for speed alone, and gives away when they are needed."""
    with suppress(OSError, ValueError):
        known = dict(line.split(" ", 1) for line in (group / "memory.stat").read_text().splitlines())
        return int(known.get("total_inactive_file", known.get("inactive_file", 0)))
    return 0
