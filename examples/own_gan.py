"""Your own generator and critic: `seedbed run examples/own_gan.py:pair -d moons`.

Two modules are a game: the critic maximises its Wasserstein distance with a gradient penalty, the generator the critic's
opinion. They are judged by the sliced distance of draws to held-out examples; `--critic-updates`, `--penalty` are flags.
"""

import torch
from torch import nn


class Generator(nn.Module):
    """From z ~ N(0, I), [batch, latents], to examples."""

    latents = 4  # the size of z; by default what the first linear layer takes

    def __init__(self, features: int):
        super().__init__()
        self.first, self.last = nn.Linear(self.latents, 64), nn.Linear(64, features)

    def forward(self, z):
        return self.last(torch.relu(self.first(z)))


class Critic(nn.Module):
    """From examples to any number each, [batch, 1]: no sigmoid, and no batch norm under a gradient penalty."""

    def __init__(self, features: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2))
        self.score = nn.Linear(64, 1)

    def forward(self, x):
        return self.score(self.net(x))


def pair(features: int) -> tuple[Generator, Critic]:  # the annotation is how Seedbed knows what it is
    return Generator(features), Critic(features)
