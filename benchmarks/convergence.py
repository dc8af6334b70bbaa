"""Training step of the ladder VAE and of DRAW against a plain PyTorch loop: the same nets, batches and optimiser.

The other side is what a user writes: ``torch.nn`` layers, one backward pass, ``torch.optim.Adam``. Pairs are measured in
turn in one run; what counts is their ratio (above 1: ours is faster), its median and interval. In bf16 the plain loop
autocasts too.

    python benchmarks/convergence.py [--rounds 15] [--only WORD] [--record]
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from binary import BATCH, LR, learner, options
from pairs import milliseconds, record, row
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.stack import Precision
from seedbed.data import load
from seedbed.data.dataset import Dataset
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.models.draw import DRAW
from seedbed.models.lvae import LadderVAE
from seedbed.objectives.bounds import elbo_kl
from seedbed.train.loop import keep_freed_memory

COMMAND = "python benchmarks/convergence.py --record"
LATENTS, HIDDEN = (64, 32, 16), (512, 256, 128)  # of the ladder, from the data upward
STROKES, CODE, CELLS = 10, 32, 256  # of DRAW
WINDOW = 5
SHAPE = (1, 28, 28)


def bounded(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-scale of a Gaussian."""
    mean, log_scale = raw.float().chunk(2, -1)
    return mean, 7 * torch.tanh(log_scale / 7)


def kl(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]) -> Tensor:
    ratio = q[1] - p[1]
    return (0.5 * (((q[0] - p[0]) * torch.exp(-p[1])) ** 2 + torch.exp(2 * ratio) - 1) - ratio).sum(-1)


def kl_standard(q: tuple[Tensor, Tensor]) -> Tensor:
    return (0.5 * (q[0] ** 2 + torch.exp(2 * q[1]) - 1) - q[1]).sum(-1)


def reparameterised(q: tuple[Tensor, Tensor]) -> Tensor:
    return q[0] + torch.exp(q[1]) * torch.randn_like(q[0])


def block(n: int, *widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for m in widths:
        layers += [nn.Linear(n, m), nn.LayerNorm(m), nn.LeakyReLU(0.1)]
        n = m
    return nn.Sequential(*layers)


class PlainLadder(nn.Module):
    """The ladder VAE of three layers."""

    def __init__(self) -> None:
        super().__init__()
        below = (784, *HIDDEN[:-1])
        self.upward = nn.ModuleList(block(n, m, m) for n, m in zip(below, HIDDEN, strict=True))
        self.evidence = nn.ModuleList(nn.Linear(m, 2 * d) for m, d in zip(HIDDEN, LATENTS, strict=True))
        self.downward = nn.ModuleList(
            nn.Sequential(block(above, m, m), nn.Linear(m, 2 * d))
            for above, m, d in zip(LATENTS[1:], HIDDEN, LATENTS, strict=False)
        )
        self.decoder = nn.Sequential(block(LATENTS[0], HIDDEN[0], HIDDEN[0]), nn.Linear(HIDDEN[0], 784))

    def forward(self, x: Tensor) -> Tensor:
        evidence, d = [], x
        for up, head in zip(self.upward, self.evidence, strict=True):
            d = up(d)
            evidence.append(bounded(head(d)))
        q = evidence[-1]
        z, cost = reparameterised(q), kl_standard(q)
        for i in reversed(range(len(self.downward))):
            p, e = bounded(self.downward[i](z)), evidence[i]
            precisions = torch.exp(-2 * e[1]), torch.exp(-2 * p[1])
            total = precisions[0] + precisions[1]
            q = ((e[0] * precisions[0] + p[0] * precisions[1]) / total, -0.5 * torch.log(total))
            cost = cost + kl(q, p)
            z = reparameterised(q)
        logits = self.decoder(z).float()
        return cost + F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


class PlainWindow(nn.Module):
    """The paper's grid of Gaussian filters."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Linear(CELLS, 5)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, *logs = self.place(h).float().unbind(-1)
        variance, stride, gain = (torch.exp(7 * torch.tanh(log / 7)) for log in logs)
        stride = 27 / (WINDOW - 1) * stride
        offsets, pixels = torch.arange(WINDOW) - (WINDOW - 1) / 2, torch.arange(28.0)

        def filters(centre: Tensor) -> Tensor:
            mu = 13.5 + 14.5 * centre[:, None] + offsets * stride[:, None]
            weights = torch.exp(-((pixels - mu[..., None]) ** 2) / (2 * variance[:, None, None]))
            return weights / weights.sum(-1, keepdim=True).clamp(min=1e-8)

        return filters(y), filters(x), gain[:, None]


class PlainDRAW(nn.Module):
    """DRAW of whole images, or through windows."""

    def __init__(self, attention: bool) -> None:
        super().__init__()
        size = WINDOW**2 if attention else 784
        self.reader, self.writer = (PlainWindow(), PlainWindow()) if attention else (None, None)
        self.encoder = nn.LSTMCell(2 * size + CELLS, CELLS)
        self.head = nn.Linear(CELLS, 2 * CODE)
        self.decoder = nn.LSTMCell(CODE, CELLS)
        self.brush = nn.Linear(CELLS, size)
        self.canvas = nn.Parameter(torch.zeros(784))
        self.starts = nn.Parameter(torch.zeros(4, CELLS))

    def forward(self, x: Tensor) -> Tensor:
        encoder, decoder = ((a.expand(len(x), -1), b.expand(len(x), -1)) for a, b in self.starts.view(2, 2, CELLS))
        canvas, cost = self.canvas.expand(len(x), -1), torch.zeros(len(x))
        for _ in range(STROKES):
            error = x - torch.sigmoid(canvas)
            seen = [x, error] if self.reader is None else self.read(x, error, decoder[0])
            encoder = self.encoder(torch.cat([*seen, decoder[0]], -1), encoder)
            q = bounded(self.head(encoder[0]))
            cost = cost + kl_standard(q)
            decoder = self.decoder(reparameterised(q), decoder)
            stroke = self.brush(decoder[0])
            canvas = canvas + (stroke if self.writer is None else self.write(stroke, decoder[0]))
        return cost + F.binary_cross_entropy_with_logits(canvas.float(), x, reduction="none").sum(-1)

    def read(self, x: Tensor, error: Tensor, h: Tensor) -> list[Tensor]:
        rows, columns, gain = self.reader(h)
        return [gain * (rows @ image.view(-1, 28, 28) @ columns.mT).flatten(1) for image in (x, error)]

    def write(self, patch: Tensor, h: Tensor) -> Tensor:
        rows, columns, gain = self.writer(h)
        return (rows.mT @ patch.view(-1, WINDOW, WINDOW) @ columns).flatten(1) / gain


# Ours and the plain one. DRAW's two biases of a cell are one in ours, and x meets its weights once, not in every stroke.
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "lvae": (lambda: LadderVAE(SHAPE, LATENTS, HIDDEN, BERNOULLI, "leaky_relu", norm=True), PlainLadder),
    "draw": (lambda: DRAW(SHAPE, CODE, STROKES, CELLS), lambda: PlainDRAW(False)),
    "draw-attention": (lambda: DRAW(SHAPE, CODE, STROKES, CELLS, WINDOW, WINDOW), lambda: PlainDRAW(True)),
}


class PlainLoop:
    """One seed after another, each with its model and optimiser."""

    def __init__(self, data: Dataset, name: str, seeds: int, precision: Precision) -> None:
        self.x = data.splits["train"][:].flatten(1)
        self.models = [MODELS[name][1]() for _ in range(seeds)]
        self.optimizers = [torch.optim.Adam(model.parameters(), lr=LR) for model in self.models]
        self.bf16 = precision == "bf16"
        self.loss = 0.0

    def step(self) -> None:
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            batch = self.x[torch.randint(len(self.x), (BATCH,))]
            with torch.autocast("cpu", torch.bfloat16) if self.bf16 else nullcontext():
                loss = model(batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.loss = loss.item()


def training(data: Dataset, name: str, seeds: int, rounds: int, steps: int) -> list[dict[str, object]]:
    """Rows of one model in both precisions."""
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    ours = {precision: learner(MODELS[name][0], elbo_kl, data, seeds, precision) for precision in precisions}
    plain = {precision: PlainLoop(data, name, seeds, precision) for precision in precisions}
    times: dict[tuple[str, str], list[float]] = {(side, p): [] for side in ("ours", "plain") for p in precisions}
    for precision in precisions:
        milliseconds(ours[precision].advance, 8)
        milliseconds(plain[precision].step, 8)
        ours[precision].averages()
    for _ in range(rounds):
        for precision in precisions:
            times["ours", precision].append(milliseconds(ours[precision].advance, steps))
            times["plain", precision].append(milliseconds(plain[precision].step, steps))
    named = f"{name}/train" + (f"-{seeds}-seeds" if seeds > 1 else "")
    # Where both sides have come to, to see that they do the same: means over a run, and the last batch.
    reached = {p: -float(next(iter(ours[p].averages().values()))["utility"].mean()) for p in precisions}
    return [
        row(
            f"{named}/{precision}",
            times["ours", precision],
            times["plain", precision],
            f"plain PyTorch, {precision}",
            COMMAND,
            f"ms per step of {seeds} seeds" if seeds > 1 else "ms per step",
            batch=BATCH,
            neg_elbo_nats=[round(reached[precision], 1), round(plain[precision].loss, 1)],
        )
        for precision in precisions
    ]


def main() -> None:
    asked = options(__doc__, "convergence", 6)
    keep_freed_memory()
    torch.manual_seed(0)  # of the plain side alone: ours has its streams
    data = load(asked.data)
    rows = []
    for name in MODELS:
        for seeds in (1, 3):
            if asked.only in f"{name}/train-{seeds}-seeds":
                rows += training(data, name, seeds, asked.rounds, asked.steps)
    if asked.record:
        record("convergence", rows)


if __name__ == "__main__":
    main()
