"""Modules of every kind: a GRU with dropout that predicts each next value of a sequence: `python examples/own_gru.py`.

Nothing is declared. One line says if the seeds cannot be one stack and run one after another.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

import seedbed


class Next(nn.Module):
    """N(x_t; mean(x_<t), scale) of every value of a sequence [batch, time]."""

    def __init__(self, hidden: int = 16, dropout: float = 0.0):
        super().__init__()
        self.gru, self.out, self.dropout = nn.GRU(1, hidden, batch_first=True), nn.Linear(hidden, 1), dropout
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        before = F.pad(x[:, :-1], (1, 0)).unsqueeze(-1)
        h, _ = self.gru(before)
        return self.out(F.dropout(h, self.dropout, self.training)).squeeze(-1)


def nll(net, x):
    """-log p(x) in nats: the sum over time."""
    u = (x - net(x)) * torch.exp(-net.log_scale)
    return (0.5 * u.square() + net.log_scale + 0.5 * math.log(2 * math.pi)).sum(-1)


def waves(count: int = 400, length: int = 12):
    """Sines of random phase with a little noise."""
    draw = torch.Generator().manual_seed(0)
    phase = 2 * math.pi * torch.rand(count, 1, generator=draw)
    return torch.sin(phase + 0.7 * torch.arange(length)) + 0.05 * torch.randn(count, length, generator=draw)


def main(steps: int = 500, seeds: int = 5):
    settings = {"loss": nll, "metric": "nll_nats", "steps": steps, "seeds": seeds, "batch_size": 64, "lr": 1e-2}
    plain = seedbed.fit(Next, waves(), name="gru", **settings)
    dropped = seedbed.fit(lambda: Next(dropout=0.2), waves(), name="gru-dropout", **settings)
    return plain, dropped


if __name__ == "__main__":
    main()
