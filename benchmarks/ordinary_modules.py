"""Ten seeds of ordinary small modules (tests/ordinary.py): ours as one stack, against a loop over seeds in plain PyTorch.

The same modules, losses, batches of the same size and Adam, measured in turn in one run; what counts is the ratio of a pair
(above 1: ours is faster), its median and interval. Modules whose seeds cannot be one stack have no pair.

    python benchmarks/ordinary_modules.py [--rounds 15] [--only NAME] [--record]
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from pairs import milliseconds, record, row

from seedbed.experiments.own import fitted
from seedbed.train.learner import Learner
from seedbed.train.loop import keep_freed_memory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from ordinary import BATCH, MODULES, Kind, data_of, loss_of

SEEDS = 10
# Past the step at which a utility is recorded, so that what is timed is what nearly all steps of a run are.
WARM_UP = 250


def stacked(name: str) -> Callable[[], None]:
    """One step of all seeds, of the task that ``seedbed.fit`` trains."""
    experiment = fitted(MODULES[name].build, data_of(), loss=loss_of(name), batch_size=BATCH, lr=1e-3)
    streams = experiment.streams(range(SEEDS))
    return Learner(experiment.task(streams), streams, torch.device("cpu")).advance


def plain(kind: Kind) -> Callable[[], None]:
    """One step of every seed, one after the other, as anyone would write it."""
    data = data_of().splits["train"][:]
    models = [kind.build() for _ in range(SEEDS)]
    parts = [
        [(model.get_submodule(owns) if owns else model, getattr(model, loss)) for _, owns, loss in kind.players]
        for model in models
    ]
    optimizers = [[torch.optim.Adam(part.parameters(), lr=1e-3) for part, _ in each] for each in parts]

    def step() -> None:
        for each, own in zip(parts, optimizers, strict=True):
            for (_, loss), optimizer in zip(each, own, strict=True):
                x = data[torch.randint(len(data), (BATCH,))]
                optimizer.zero_grad()
                loss(x).mean().backward()
                optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", choices=list(MODULES))
    parser.add_argument("--record", action="store_true", help="write results/benchmarks/ordinary.json")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    command, rows = "python benchmarks/ordinary_modules.py --record", []
    for name in [options.only] if options.only else [name for name, kind in MODULES.items() if not kind.reason]:
        ours, theirs = stacked(name), plain(MODULES[name])
        milliseconds(ours, WARM_UP)
        milliseconds(theirs, 20)
        times: list[tuple[float, float]] = []
        for _ in range(options.rounds):
            times.append((milliseconds(ours, options.steps), milliseconds(theirs, max(options.steps // 4, 2))))
        a, b = zip(*times, strict=True)
        rows.append(row(f"{name}/fp32", list(a), list(b), "plain loop", command, f"ms per step of {SEEDS} seeds"))
    if options.record:
        record("ordinary", rows)


if __name__ == "__main__":
    main()
