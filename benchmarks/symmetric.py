"""One iteration of symmetric learning, ours against a hand-written loop over the same nets, sampling included.

Both draw a batch, flip some of its bits, teach the decoder by the encoder's draws and the encoder by the decoder's, and move
ten persistent chains by a step. Pairs are measured in turn in one run; what counts is the ratio of a pair (above 1: ours is
faster), its median and interval.

    python benchmarks/symmetric.py [--rounds 15] [--record]
"""

import argparse
from collections.abc import Callable
from itertools import pairwise

import torch
from pairs import milliseconds, record, row
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.experiments import find
from seedbed.train.learner import Learner
from seedbed.train.loop import keep_freed_memory

WARM_UP = 250  # past the step at which a utility is recorded
BITS, HIDDEN, BATCH, LR, FLIPS, CHAINS = (30, 100), (200, 200), 128, 2e-3, 0.001, 10


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Plain(nn.Module):
    """The ladder of the study's laptop preset, in plain PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        top, low = BITS
        self.p1, self.p1_skip, self.px = mlp(top, *HIDDEN, low), nn.Linear(top, low, bias=False), mlp(low, *HIDDEN, 784)
        self.trunk, self.head = mlp(784, *HIDDEN), nn.Linear(HIDDEN[-1], low)
        self.up, self.up_skip = mlp(HIDDEN[-1], *HIDDEN, top), nn.Linear(low, top, bias=False)

    def decoder(self) -> list[nn.Parameter]:
        return [*self.p1.parameters(), *self.p1_skip.parameters(), *self.px.parameters()]

    def encoder(self) -> list[nn.Parameter]:
        return [p for net in (self.trunk, self.head, self.up, self.up_skip) for p in net.parameters()]

    def added(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.trunk(x))
        low = self.head(h)
        return self.up(h) + self.up_skip(low), low

    def logits(self, z: Tensor) -> Tensor:
        return self.p1(z) + self.p1_skip(z)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a0, a1 = self.added(x)
        z0 = torch.bernoulli(torch.sigmoid(a0))
        return z0, torch.bernoulli(torch.sigmoid(self.logits(z0) + a1))

    def sample(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        z0 = torch.bernoulli(torch.full((n, BITS[0]), 0.5))
        logits = self.logits(z0)
        z1 = torch.bernoulli(torch.sigmoid(logits))
        return z0, z1, torch.bernoulli(torch.sigmoid(self.px(z1))), logits


def loss_of(logits: Tensor, bits: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, bits, reduction="sum") / len(bits)


def by_hand(data: Tensor) -> Callable[[], None]:
    """One iteration of one seed."""
    model = Plain()
    players = [torch.optim.Adam(half, lr=LR) for half in (model.decoder(), model.encoder())]
    average = [p.detach().clone() for p in model.parameters()]  # as the preset has one
    chain = torch.rand(CHAINS, 784).round()

    def step() -> None:
        nonlocal chain
        x = data[torch.randint(len(data), (BATCH,))]
        x = torch.where(torch.rand_like(x) < FLIPS, 1 - x, x)
        with torch.no_grad():
            z0, z1 = model.encode(x)
        players[0].zero_grad()
        (loss_of(model.logits(z0), z1) + loss_of(model.px(z1), x)).backward()
        players[0].step()
        with torch.no_grad():
            chain = torch.bernoulli(torch.sigmoid(model.px(model.encode(chain)[1])))
            z0, z1, x, shared = model.sample(BATCH)
        players[1].zero_grad()
        a0, a1 = model.added(x)
        (loss_of(a0, z0) + loss_of(shared + a1, z1)).backward()
        players[1].step()
        torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 0.01)

    return step


def ours(seeds: int) -> Callable[[], object]:
    experiment = find("symmetric/mnist/ladder-symmetric")
    streams = experiment.streams(range(seeds))
    return Learner(experiment.task(streams), streams, torch.device("cpu")).advance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--record", action="store_true", help="write results/benchmarks/symmetric.json")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    data = find("symmetric/mnist/ladder-symmetric").data.load().splits["train"][:].flatten(1)
    rows = []
    for seeds in (1, 5):
        hands, step = [by_hand(data) for _ in range(seeds)], ours(seeds)
        everyone = lambda hands=hands: [one() for one in hands]
        milliseconds(step, WARM_UP)
        milliseconds(everyone, 20)
        pairs = [(milliseconds(step, options.steps), milliseconds(everyone, options.steps)) for _ in range(options.rounds)]
        workload = f"symmetric ladder/{seeds} seed{'s' * (seeds > 1)}/fp32"
        mine, theirs = [a for a, _ in pairs], [b for _, b in pairs]
        command = "python benchmarks/symmetric.py --record"
        rows.append(row(workload, mine, theirs, "plain loop", command, f"ms per iteration of {seeds}"))
    if options.record:
        record("symmetric", rows)


if __name__ == "__main__":
    main()
