"""Did a refactor slow a step down? Two checkouts in turn, a few steps each, on one machine.

    python benchmarks/steps.py OLD_CHECKOUT NEW_CHECKOUT [--rounds 30] [--only vae]

One process a side, which waits for its turn; the sides begin each round in turn. A ratio is of one round, old time over new
(above 1: the new one is faster); reported are the median over rounds and its 95 % interval, from order statistics.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

# name: (experiment, seeds, settings, steps of a turn). Utilities are recorded at their third call, as they would be later.
WORKLOADS = {
    "toy-vae": ("toy/8gaussians/vae", 10, {"train_size": 20_000}, 60),
    "spline-flow": ("toy/8gaussians/spline-flow", 10, {"train_size": 20_000}, 12),
    "toy-lvae": ("toy/8gaussians/lvae", 10, {"train_size": 20_000}, 40),
    "lvae": ("mnist-convergence/mnist-dynamic/lvae", 1, {"optimizer": "adam", "precision": "fp32"}, 10),
    "draw": ("mnist-convergence/mnist-dynamic/draw", 1, {"optimizer": "adam", "precision": "fp32"}, 4),
}


def serve(name: str, unrecorded: bool) -> None:
    """Advance a learner by as many steps as each line of the input says; answer with the seconds that it took."""
    import torch

    from seedbed.experiments import find
    from seedbed.train.learner import Learner
    from seedbed.train.loop import keep_freed_memory

    keep_freed_memory()  # as every training begins
    experiment, seeds, settings, _ = WORKLOADS[name]
    torch.set_num_threads(1)
    declared = find(experiment).with_config(settings)
    streams = declared.streams(range(seeds))
    learner = Learner(declared.task(streams), streams, torch.device("cpu"))
    for replay in learner.replays.values():
        replay.after = 10**9 if unrecorded else 3
    for _ in range(8):
        learner.advance()
    print("ready", flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            learner.advance()
        print(time.perf_counter() - begun, flush=True)


def started(checkout: str, name: str, unrecorded: bool) -> "subprocess.Popen[str]":
    """A side, ready for its first turn."""
    command = [sys.executable, __file__, "serve", name, *(["--unrecorded"] if unrecorded else [])]
    environment = {**os.environ, "PYTHONPATH": str(Path(checkout) / "src")}
    side = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert side.stdout is not None
    if side.stdout.readline().strip() != "ready":
        raise SystemExit(f"{checkout} does not run {name}")
    return side


def turn(side: "subprocess.Popen[str]", steps: int) -> float:
    """Seconds of one turn."""
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write(f"{steps}\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def compare(old: str, new: str, name: str, rounds: int, unrecorded: bool) -> np.ndarray:
    """The ratios of all rounds."""
    sides, steps, ratios = [started(checkout, name, unrecorded) for checkout in (old, new)], WORKLOADS[name][3], []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        seconds = {which: turn(sides[which], steps) for which in order}
        ratios.append(seconds[0] / seconds[1])
    for side in sides:
        side.kill()
    return np.sort(ratios)


def main() -> None:
    """Print a line per workload: median ratio and its interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a checkout, or `serve`")
    parser.add_argument("new", help="another, or the workload to serve")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", choices=list(WORKLOADS))
    parser.add_argument("--unrecorded", action="store_true", help="time the utilities themselves, not their playback")
    options = parser.parse_args()
    if options.old == "serve":
        return serve(options.new, options.unrecorded)
    for name in [options.only] if options.only else list(WORKLOADS):
        ratios = compare(options.old, options.new, name, options.rounds, options.unrecorded)
        low, high = stats.binom.interval(0.95, len(ratios), 0.5)
        interval = ratios[int(low)], ratios[min(int(high), len(ratios) - 1)]
        print(f"{name:12} old / new {np.median(ratios):.3f} [{interval[0]:.3f}, {interval[1]:.3f}]", flush=True)
    return None


if __name__ == "__main__":
    main()
