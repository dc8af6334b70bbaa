"""Ten seeds of the toy VAE and the spline flow: ours by each strategy, against loops over seeds as anyone would write them.

Pairs are measured in turn in one run; what counts is the ratio of a pair (above 1: ours is faster), its median and interval.

    python benchmarks/seeds.py [--rounds 15] [--record]
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import torch
import zuko
from pairs import milliseconds, record, row
from torch import Tensor, nn

from seedbed.core.noise import Streams
from seedbed.experiments import Experiment, find
from seedbed.train.learner import Learner
from seedbed.train.loop import keep_freed_memory

SEEDS, BATCH = 10, 256
UNIT = "ms per step of 10 seeds"
# Past the step at which a utility is recorded, so that what is timed is what nearly all steps of a run are.
WARM_UP = 250
NAMES = {
    "toy-vae": "toy/8gaussians/vae",
    "toy-vae-small": "toy/8gaussians/vae",
    "spline-flow": "toy/8gaussians/spline-flow",
}
# The preset as it is, and a smaller net, where a loop over seeds spends nearly all of its time outside arithmetic.
SETTINGS = {"toy-vae-small": {"hidden": (64, 64), "latents": 2}}


class PlainVAE(nn.Module):
    """The same nets as ours, in plain PyTorch."""

    def __init__(self, hidden: tuple[int, ...], latents: int) -> None:
        super().__init__()
        self.encoder = self.mlp(2, hidden, 2 * latents)
        self.decoder = self.mlp(latents, hidden[::-1], 4)

    @staticmethod
    def mlp(first: int, hidden: tuple[int, ...], last: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for n, m in pairwise((first, *hidden)):
            layers += [nn.Linear(n, m), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(hidden[-1], last))

    def loss(self, x: Tensor) -> Tensor:
        mean, log_scale = self.encoder(x).chunk(2, -1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        centre, log_width = self.decoder(z).chunk(2, -1)
        log_likelihood = torch.distributions.Normal(centre, log_width.exp(), validate_args=False).log_prob(x).sum(-1)
        kl = (0.5 * (mean**2 + (2 * log_scale).exp() - 1) - log_scale).sum(-1)
        return (kl - log_likelihood).mean()


def loop_over_seeds(
    make: Callable[[], nn.Module], loss: Callable[[nn.Module, Tensor], Tensor], data: Tensor
) -> Callable[[], None]:
    """One step of every seed, one after the other."""
    models = [make() for _ in range(SEEDS)]
    optimizers = [torch.optim.Adam(model.parameters(), lr=1e-3) for model in models]

    def step() -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            x = data[torch.randint(len(data), (BATCH,))]
            optimizer.zero_grad()
            loss(model, x).backward()
            optimizer.step()

    return step


def declared(workload: str) -> Experiment:
    settings = {"train_size": 100_000, "batch_size": BATCH, "ema": 0.0, **SETTINGS.get(workload, {})}
    return find(NAMES[workload]).with_config(settings)


def learner(workload: str, seeds: int = SEEDS) -> Learner:
    experiment = declared(workload)
    streams = experiment.streams(range(seeds))
    return Learner(experiment.task(streams), streams, torch.device("cpu"))


def one_by_one(workload: str) -> Callable[[], None]:
    alone = []
    experiment = declared(workload)
    for seed in range(SEEDS):
        streams: list[Streams] = experiment.streams([seed])
        alone.append(Learner(experiment.task(streams), streams, torch.device("cpu")))

    def step() -> None:
        for each in alone:
            each.advance()

    return step


def processes(workload: str, steps: int) -> float:
    """Two processes of half the seeds and one thread each, at the same time; the slower one counts."""
    workers = min(2, os.cpu_count() or 1)
    command = [sys.executable, __file__, "--worker", workload, "--seeds", str(SEEDS // workers), "--steps", str(steps)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    return max(float(child.communicate()[0]) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--record", action="store_true", help="write results/benchmarks/seeds.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_freed_memory()
    if options.worker:
        torch.set_num_threads(1)
        stack = learner(options.worker, options.seeds)
        milliseconds(stack.advance, WARM_UP)
        print(milliseconds(stack.advance, options.steps))
        return

    data = learner("toy-vae").task.data.splits["train"][:]

    def plain(workload: str) -> Callable[[], None]:
        own = declared(workload)
        return loop_over_seeds(lambda: PlainVAE(own.hidden, own.latents), lambda model, x: model.loss(x), data)

    flow = lambda: zuko.flows.NSF(2, transforms=8, bins=8, hidden_features=(64, 64), passes=2)
    others = {
        "toy-vae": ("plain loop", plain("toy-vae")),
        "toy-vae-small": ("plain loop", plain("toy-vae-small")),
        "spline-flow": ("zuko loop", loop_over_seeds(flow, lambda model, x: -model().log_prob(x).mean(), data)),
    }
    rows = []
    command = "python benchmarks/seeds.py --record"
    for workload, (label, other) in others.items():
        stack, singles = learner(workload), one_by_one(workload)
        ours: dict[str, list[float]] = {"vectorized": [], "sequential": []}
        theirs = []
        for step in (stack.advance, singles):
            milliseconds(step, WARM_UP)
        milliseconds(other, 20)
        for _ in range(options.rounds):
            ours["vectorized"].append(milliseconds(stack.advance, options.steps))
            theirs.append(milliseconds(other, max(options.steps // 4, 2)))
            ours["sequential"].append(milliseconds(singles, max(options.steps // 4, 2)))
        rows += [row(f"{workload}/{name}/fp32", times, theirs, label, command, UNIT) for name, times in ours.items()]
        pairs = [(processes(workload, 200), milliseconds(other, 20)) for _ in range(5)]
        rows.append(row(f"{workload}/processes/fp32", [a for a, _ in pairs], [b for _, b in pairs], label, command, UNIT))
    if options.record:
        record("seeds", rows)


if __name__ == "__main__":
    main()
