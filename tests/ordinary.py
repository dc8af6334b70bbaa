"""Ordinary PyTorch modules of the usual kinds, as anyone writes them, each with a loss per example: nothing is declared."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal, kl_divergence
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from seedbed.core.context import Context
from seedbed.core.domain import BINARY
from seedbed.core.noise import EvalNoise
from seedbed.core.stack import Stack
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.optim import Adam
from seedbed.train.task import Task

BATCH = 16


class ConvVAE(nn.Module):
    """Batch norm and ``randn_like``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.mean, self.log_var = nn.Linear(64, 2), nn.Linear(64, 2)
        self.decoder = nn.Sequential(
            nn.Linear(2, 64), nn.Unflatten(1, (4, 4, 4)), nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1)
        )

    def loss(self, x: Tensor) -> Tensor:
        h = self.encoder(x)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        logits = self.decoder(z)
        error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
        return error - 0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(1)


class Regressor(nn.Module):
    """Predicts what of an example is not shown, from ``body`` of it."""

    body: nn.Module

    def loss(self, x: Tensor) -> Tensor:
        return (self(x) - x.flatten(1).sum(1)).square()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.flatten(1)).squeeze(-1)


class DropoutMLP(Regressor):
    """A layer that drops, and a function that does, which asks ``self.training``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(64, 16), nn.Dropout(0.2), nn.Linear(16, 1)

    def body(self, x: Tensor) -> Tensor:
        h = self.drop(torch.relu(self.first(x)))
        return self.last(F.dropout(h, 0.3, self.training))


class Recurrent(Regressor):
    """Rows of a picture are times; dropout between the layers."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.net = kind(8, 6, num_layers=2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(6, 1)

    def body(self, x: Tensor) -> Tensor:
        return self.head(self.net(x.view(-1, 8, 8))[0][:, -1])


class Masked(nn.Linear):
    """A linear layer with a mask in a buffer."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """Every pixel given those before it."""

    def __init__(self) -> None:
        super().__init__()
        of, inner = torch.arange(64), torch.arange(32) % 63
        self.net = nn.Sequential(Masked((inner[:, None] >= of).float()), nn.ReLU(), Masked((of[:, None] > inner).float()))

    def loss(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return F.binary_cross_entropy_with_logits(self.net(x), x, reduction="none").sum(1)


class Pair(nn.Module):
    """A generator and a critic with spectral norm."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 64))
        self.critic = nn.Sequential(
            parametrizations.spectral_norm(nn.Linear(64, 16)), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Linear(16, 1)
        )

    def fake(self, count: int) -> Tensor:
        return self.generator(torch.randn(count, 4))

    def critic_loss(self, x: Tensor) -> Tensor:
        return (F.softplus(-self.critic(x.flatten(1))) + F.softplus(self.critic(self.fake(len(x))))).squeeze(-1)

    def generator_loss(self, x: Tensor) -> Tensor:
        return F.softplus(-self.critic(self.fake(len(x)))).squeeze(-1)


class Attention(Regressor):
    """A layer of a transformer as torch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 1)

    def body(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.view(-1, 8, 8)).mean(1))


class Spectral(Regressor):
    """Spectral norm, whose power iteration goes on from step to step."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(parametrizations.spectral_norm(nn.Linear(64, 8)), nn.Tanh(), nn.Linear(8, 1))


class Tied(nn.Module):
    """An autoencoder with one weight for both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(64, 8), nn.Linear(8, 64)
        self.up.weight = nn.Parameter(self.down.weight.t().detach().clone())
        self.embed = nn.Embedding(8, 64)
        self.out = nn.Linear(64, 8, bias=False)
        self.out.weight = self.embed.weight

    def loss(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        z = torch.tanh(self.down(x))
        words = self.out(x).log_softmax(-1)
        again = self.up(z) + self.embed(torch.arange(8)).mean(0)
        return (again - x).square().sum(1) - words.max(-1).values


class Laws(nn.Module):
    """A VAE in ``torch.distributions``, with a choice among components."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder, self.choice = nn.Linear(64, 4), nn.Linear(2, 64), nn.Linear(2, 3)

    def loss(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        mean, log_scale = self.encoder(x).chunk(2, -1)
        posterior = Independent(Normal(mean, log_scale.exp()), 1)
        z = posterior.rsample()
        component = Categorical(logits=self.choice(z))
        drawn = component.sample()
        likelihood = Independent(Normal(self.decoder(z), 1.0), 1).log_prob(x) + component.log_prob(drawn)
        prior = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
        return kl_divergence(posterior, prior) - likelihood


class Item(Regressor):
    """A number of Python's in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, 1)

    def body(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x)) + 0.1 * torch.randn(len(x), 8)
        return self.last(h / max(self.first.weight.norm().item(), 1.0))


class If(Item):
    """A decision by a tensor's value."""

    def body(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        if self.first.weight.mean() > 1:
            h = -h
        return self.last(F.dropout(h, 0.1, self.training))


@dataclass(frozen=True)
class Kind:
    """A module, who is trained by which of its losses, and why its seeds cannot be one stack, if they cannot."""

    build: Callable[[], nn.Module]
    players: tuple[tuple[str, str, str], ...] = (("model", "", "loss"),)
    couples: bool = False
    reason: str = ""


MODULES = {
    "conv VAE": Kind(ConvVAE),
    "dropout MLP": Kind(DropoutMLP),
    "GRU": Kind(partial(Recurrent, nn.GRU)),
    "LSTM": Kind(partial(Recurrent, nn.LSTM)),
    "MADE": Kind(MADE),
    "GAN pair": Kind(Pair, (("critic", "critic", "critic_loss"), ("generator", "generator", "generator_loss"))),
    "attention": Kind(Attention),
    "spectral norm": Kind(Spectral),
    "tied weights": Kind(Tied),
    "torch.distributions": Kind(Laws),
    ".item()": Kind(Item, reason=r"`.item\(\)` in body \(ordinary.py:\d+\)"),
    "if": Kind(If, reason=r"`if` on a tensor's value in body \(ordinary.py:\d+\)"),
}


def utility_of(loss: str) -> Callable[[nn.Module, Tensor, Context], Terms]:
    """What a player wants more of: less of a loss."""
    return lambda model, x, ctx: Terms(-getattr(model, loss)(x))


def loss_of(name: str) -> Any:
    """What ``seedbed.fit`` is given as the loss of one of ``MODULES``; of a game one for each player."""
    losses = {player: partial(_value, loss) for player, _, loss in MODULES[name].players}
    return losses if len(losses) > 1 else losses["model"]


def _value(loss: str, model: nn.Module, x: Tensor) -> Tensor:
    return getattr(model, loss)(x)


def data_of(seed: int = 0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: (torch.rand(n, 1, 8, 8, generator=generator) < torch.linspace(0.1, 0.9, 8)).float()
    splits = {"train": draw(96), "valid": draw(40), "test": draw(40)}
    return Dataset(name="bits", domain=BINARY, protocol="for tests", splits=splits)


def task_of(name: str, steps: int = 8, precision: str = "fp32") -> Task:
    """A training problem of one of ``MODULES``, measured by its first loss."""
    kind, data = MODULES[name], data_of()
    players = tuple(
        Player(utility=utility_of(loss), name=player, owns=(owns,), optimizer=Adam(lr=1e-3))
        for player, owns, loss in kind.players
    )

    def measure(stack: Stack, split: str) -> dict[str, tuple[Tensor, str]]:
        x = data.splits[split][:].to(stack.device, stack.dtype)
        noise = EvalNoise(stack.streams, split, device=stack.device, dtype=stack.dtype)
        with torch.no_grad():
            values = stack.call(lambda model, x, ctx: getattr(model, kind.players[0][2])(x), noise=noise, shared=(x,))
        return {"loss": (values, "nats")}

    return Task(
        build=kind.build,
        game=Game(players),
        data=data,
        batches=Shuffled(data.splits["train"], BATCH),
        steps=steps,
        eval_every=4,
        measure=measure,
        select="loss",
        precision=precision,
    )
