"""Two to four processes on one folder, some killed at random: does each state end as one process would have left it?

``python tests/runs/races.py --starts 200 [--seed 1] [--hosts]``. This process imports once and forks every start. With
``--hosts`` they pretend to be on two machines that see no locks of each other's system: then the lock's file decides.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

NAME = "toy/8gaussians/vae"
RUN = f"runs/{NAME}/k"
TINY = ("--train-size", "400", "--valid-size", "80", "--eval-size", "80", "--batch-size", "16", "--hidden", "4,4", "--steps")
TINY += ("60", "--eval-every", "6", "--threads", "1", "--checkpoint-seconds", "0", "-q", "--name", "k")
VERBS: Mapping[str, Sequence[str]] = {
    "first seeds": ("run", NAME, "--seeds", "0:2", *TINY),
    "other seeds": ("run", NAME, "--seeds", "2:4", *TINY),
    "again": ("run", NAME, "--seeds", "0:2", *TINY, "--again"),
    "evaluate": ("evaluate", RUN, "-k", "2", "-q", "--threads", "1"),
    "report": ("report", RUN, "--follow", "--every", "1"),
}
FINISH = ("first seeds", "other seeds", "evaluate")
LONGEST = 60.0  # seconds of one process, after which it hangs


def start(place: Path, verb: str, number: int, host: str) -> int:
    """Fork a process that is one command in a folder; its number."""
    if child := os.fork():
        return child
    code = 70
    try:
        os.setsid()
        os.chdir(place)
        for stream in (1, 2):
            os.dup2(os.open(f"said-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        if host:
            from seedbed.store import locks

            locks.fcntl = None
            locks.host = locks.machine = lambda: host
            locks.BEAT, locks.SILENT = 0.1, 1.5
        from seedbed.cli.main import main

        main(VERBS[verb])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(code)


def ended(child: int, until: float) -> int:
    """The exit code of a process, negative of a signal; it is killed if it is still there by then."""
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -99


def state(folder: Path) -> dict[str, Any]:
    """All that must not depend on who wrote it, without the clock."""
    from seedbed.store import checkpoint
    from seedbed.store.folder import Folder

    run = Folder(folder)
    manifest = run.manifest()
    found: dict[str, Any] = {"groups": sorted(manifest.groups), "config": manifest.config, "data": manifest.data}
    timeless = lambda rows: [vars(row) | {"wall_s": 0.0} for row in rows]
    for group in manifest.groups:
        tree, meta = checkpoint.load(checkpoint.steps(run.checkpoints(group))[-1])
        weights = {name: tensor.numpy().tobytes() for name, tensor in checkpoint.flatten(tree).items()}
        digest = hashlib.sha256(b"".join(name.encode() + weights[name] for name in sorted(weights)))
        found[str(group)] = [timeless(run.table(group).read()), meta["step"], meta["done"], digest.hexdigest()]
    found["evaluated"] = sorted(map(repr, timeless(run.evaluated())))
    found["left"] = sorted(p.name for p in folder.rglob(".*") if p.name.startswith(".lock") or p.suffix == ".tmp")
    return found


def finished(place: Path, hosts: Sequence[str]) -> list[str]:
    """Run what one process would have run; what goes wrong then."""
    for number, verb in enumerate(FINISH):
        code = ended(start(place, verb, 100 + number, hosts[0]), time.monotonic() + LONGEST)
        if code:
            return [f"afterwards {verb} ends with {code}: {(place / f'said-{100 + number}').read_text()[-300:]}"]
    return []


def episode(draw: random.Random, place: Path, truth: Mapping[str, Any], hosts: Sequence[str]) -> tuple[int, list[str]]:
    """One race: how many started, and what went wrong."""
    verbs = [draw.choice(("first seeds", "other seeds")), *draw.choices([*VERBS], k=draw.randint(1, 3))]
    if draw.random() < 0.5:  # upon a run that is there already, done or half
        child = start(place, "first seeds", 99, hosts[0])
        ended(child, time.monotonic() + (LONGEST if draw.random() < 0.5 else draw.uniform(0.1, 1.0)))
    running, faults = {}, []
    for number, verb in enumerate(verbs):
        running[number] = start(place, verb, number, hosts[number % len(hosts)])
        time.sleep(draw.choice((0.0, draw.uniform(0.0, 0.6))))
    for number in draw.sample([*running], draw.randint(0, len(running))):
        time.sleep(draw.uniform(0.0, 0.8))
        try:
            os.kill(running[number], signal.SIGKILL)
        except ProcessLookupError:
            continue
    until = time.monotonic() + LONGEST
    for number, child in running.items():
        report = verbs[number] == "report"  # follows until the last seed is done, which it may never be
        code = ended(child, min(until, time.monotonic() + 1.0) if report else until)
        said = (place / f"said-{number}").read_text() if (place / f"said-{number}").exists() else ""
        if code not in (0, 2, -signal.SIGKILL) and not report:
            faults.append(f"{verbs[number]} ends with {code}: {said[-300:]}")
        lines = [line for line in said.splitlines() if line.startswith("seedbed: ") and "warning" not in line]
        if (code == 2 and not lines) or "Traceback" in said:
            faults.append(f"{verbs[number]} says {said[-300:]!r}")
    if not faults and not (faults := finished(place, hosts)):
        found = state(place / RUN)
        faults = [f"{name} is not what one process leaves" for name in truth if found.get(name) != truth[name]]
    return len(running), [f"{', '.join(verbs)}: {fault}" for fault in faults]


def _import() -> None:
    """Whatever a start needs; no tensor is touched, for a process that has threads must not be forked."""
    import pkgutil
    from importlib import import_module

    import jinja2
    import matplotlib.pyplot
    import pandas
    import PIL.Image
    import torch

    import seedbed

    assert jinja2 and matplotlib.pyplot and pandas and PIL.Image
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(seedbed.__path__, "seedbed."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def main() -> int:
    """Race until so many processes have started; the status is 1 if anything went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hosts", action="store_true")
    asked = parser.parse_args()
    _import()
    hosts = ("one", "two") if asked.hosts else ("",)
    draw, top, starts, faults = random.Random(asked.seed), Path(tempfile.mkdtemp()), 0, []
    os.environ |= {"HOME": str(top), "XDG_STATE_HOME": str(top)}
    try:
        (top / "truth").mkdir()
        if wrong := finished(top / "truth", hosts):
            print(wrong)
            return 1
        truth = state(top / "truth" / RUN)
        number = 0
        while starts < asked.starts:
            place = top / str(number)
            place.mkdir()
            count, wrong = episode(draw, place, truth, hosts)
            starts, number = starts + count, number + 1
            faults += [f"race {number}: {fault}" for fault in wrong]
            shutil.rmtree(place, ignore_errors=True)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    print(json.dumps({"starts": starts, "races": number, "faults": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
