"""Our side of a benchmark on binary images, and the command line of both scripts that have one."""

import argparse
from collections.abc import Callable

import torch
from torch import nn

from seedbed.core.noise import Streams
from seedbed.core.stack import Precision
from seedbed.data.dataset import Dataset
from seedbed.objectives.bounds import Bound
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.learner import Learner
from seedbed.train.optim import Adam
from seedbed.train.task import Task

BATCH, LR = 128, 1e-3
CPU = torch.device("cpu")


def learner(build: Callable[[], nn.Module], utility: Bound, data: Dataset, seeds: int, precision: Precision) -> Learner:
    """Seeds 0 to ``seeds`` of one model, replaying its step from early on: what nearly all steps of a run do."""
    task = Task(
        build=build,
        game=Game((Player(utility=utility, optimizer=Adam(lr=LR)),)),
        data=data,
        batches=Shuffled(data.splits["train"], BATCH),
        steps=100_000,
        eval_every=100_000,
        measure=lambda stack, split: {},
        select="",
        precision=precision,
    )
    out = Learner(task, [Streams(seed) for seed in range(seeds)], CPU)
    for replay in out.replays.values():
        replay.after = 3
    return out


def options(doc: str | None, name: str, steps: int) -> argparse.Namespace:
    """What the user asks for; ``name`` is that of the file in results/benchmarks."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--data", default="mnist-static", help="binary images")
    parser.add_argument("--only", default="", help="workloads whose name holds this word")
    parser.add_argument("--record", action="store_true", help=f"write results/benchmarks/{name}.json")
    return parser.parse_args()
