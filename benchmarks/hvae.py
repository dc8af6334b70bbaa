"""An update of every arm of the study `hvae-mnist` beside the Hamiltonian one's, in turn, on one thread.

    python benchmarks/hvae.py [--rounds 15] [--seeds 3] [--only vae --only iwae]

Needs the files of MNIST. Reported are milliseconds of processor time per update and seed, and their ratio to `hvae-free` in
the same round, each the median over rounds. What an arm is given to take as long, `EQUAL_TIME` and `K_IW` of the study, is
from here, with three seeds.
"""

import argparse
import time

import numpy as np
import torch

from seedbed.experiments.hvae_mnist import ARMS, arm
from seedbed.train.learner import Learner
from seedbed.train.loop import keep_freed_memory

WARM_UP = 8
TURN = 5  # updates


def main() -> None:
    """Print a line per arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(ARMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as every training begins
    learners = {}
    for name in dict.fromkeys(["hvae-free", *(options.only or ARMS)]):
        declared = arm(name)
        streams = declared.streams(range(options.seeds))
        learners[name] = Learner(declared.task(streams), streams, torch.device("cpu"))
        for replay in learners[name].replays.values():
            replay.after = 3  # recorded early, as it would be later
        for _ in range(WARM_UP):
            learners[name].advance()
    seconds: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(options.rounds):
        for name, learner in learners.items():
            begun = time.process_time()
            for _ in range(TURN):
                learner.advance()
            seconds[name].append((time.process_time() - begun) / TURN / options.seeds)
    base = np.array(seconds["hvae-free"])
    for name, found in seconds.items():
        print(
            f"{name:12} {1e3 * np.median(found):7.2f} ms   {np.median(np.array(found) / base):.3f} of hvae-free", flush=True
        )


if __name__ == "__main__":
    main()
