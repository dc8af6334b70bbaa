"""Training step and likelihood of VAEs on 28 x 28 images: ours against pythae's, the same nets and weights on both sides.

Pairs are measured in turn in one run; what counts is the ratio of a pair (above 1: ours is faster), its median and interval.
pythae's trainer has mixed precision on CUDA only, and none for Bernoulli pixels, so bf16 is ours against its fp32.

    python benchmarks/images.py [--rounds 15] [--only WORD] [--record]
"""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from binary import BATCH, LR, learner, options
from pairs import milliseconds, record, row
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, BaseAE, IWAEConfig, VAEConfig
from pythae.models import VAE as PythaeVAE
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import CallbackHandler
from torch import Tensor, nn

from seedbed.core.context import Context
from seedbed.core.stack import Precision, Stack
from seedbed.data import load
from seedbed.data.dataset import Dataset
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.models.conv_vae import ConvVAE
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import Bound, elbo_kl, iwae
from seedbed.train.loop import keep_freed_memory

K, LATENTS = 5, 20
SHAPE = (1, 28, 28)
COMMAND = "python benchmarks/images.py --record"

# pythae's default nets, and the convolutions of the study `vae-static`.
NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: VAE(SHAPE, LATENTS, (512,), BERNOULLI),
    "conv": lambda: ConvVAE(SHAPE, LATENTS, BERNOULLI),
}
UTILITIES: dict[str, Bound] = {"vae": elbo_kl, f"iwae{K}": iwae(K)}


class Encoder(BaseEncoder):
    """q(z | x) of one of our models, as pythae asks for it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> ModelOutput:
        q = next(self.model.layers(x, Context.of(0))).posterior
        return ModelOutput(embedding=q.mean, log_covariance=2 * q.log_scale)


class Decoder(BaseDecoder):
    """The mean of p(x | z) of one of our models, as pythae asks for it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> ModelOutput:
        layers = self.model.layers(None, Context.of(0))
        next(layers)
        try:
            layers.send(z)
        except StopIteration as end:
            return ModelOutput(reconstruction=end.value.mean)
        raise AssertionError("one latent, one layer")


def in_pythae(model: nn.Module, bound: str) -> BaseAE:
    shared = {"input_dim": (784,), "latent_dim": LATENTS, "reconstruction_loss": "bce"}
    if bound == "vae":
        return PythaeVAE(VAEConfig(**shared), Encoder(model), Decoder(model))
    return IWAE(IWAEConfig(number_samples=K, **shared), Encoder(model), Decoder(model))


def trainers(data: Dataset, net: str, bound: str, seeds: int, steps: int) -> list[BaseTrainer]:
    """pythae's trainer of each seed, ready for ``train_step``, which is an epoch: here of ``steps`` batches."""
    x = data.splits["train"][: BATCH * steps]
    out = []
    for _ in range(seeds):
        settings = BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=BATCH, learning_rate=LR, no_cuda=True
        )
        model = in_pythae(NETS[net](), bound)
        trainer = BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=settings)
        trainer.prepare_training()
        trainer.callback_handler = CallbackHandler(callbacks=[], model=model)  # no progress bar in its time
        out.append(trainer)
    return out


def without_loader(trainer: BaseTrainer, x: Tensor) -> Callable[[], None]:
    """pythae's model and optimiser on batches that are gathered at once, as a user who minds the loader would write it."""

    def step() -> None:
        loss = trainer.model({"data": x[torch.randint(len(x), (BATCH,))]}).loss
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()

    return step


def training(
    data: Dataset, net: str, bound: str, seeds: int, rounds: int, steps: int
) -> tuple[list[dict[str, object]], Stack]:
    """Rows of one net and bound in both precisions, and what was trained on the way."""
    precisions: Sequence[Precision] = ("fp32", "bf16")
    ours = {name: learner(NETS[net], UTILITIES[bound], data, seeds, name) for name in precisions}
    theirs = trainers(data, net, bound, seeds, steps)
    plain = without_loader(theirs[0], data.splits["train"][:])
    times: dict[str, list[float]] = {name: [] for name in (*precisions, "pythae", "plain")}

    def epoch() -> None:
        for trainer in theirs:
            trainer.train_step(1)

    for each in ours.values():
        milliseconds(each.advance, 8)
    epoch()
    for _ in range(rounds):
        for name, each in ours.items():
            times[name].append(milliseconds(each.advance, steps))
        times["pythae"].append(milliseconds(epoch, 1) / steps)
        times["plain"].append(milliseconds(plain, steps))
    named = f"{net}-{bound}/train" + (f"-{seeds}-seeds" if seeds > 1 else "")
    unit = f"ms per step of {seeds} seeds" if seeds > 1 else "ms per step"
    label = "pythae trainer" if seeds == 1 else "pythae trainers in a loop"
    put = partial(row, command=COMMAND, unit=unit, batch=BATCH)
    rows = [put(f"{named}/{name}", times[name], times["pythae"], label) for name in precisions]
    if seeds == 1:
        label = "pythae model without its loader"
        rows += [put(f"{named}-without-loader/{name}", times[name], times["plain"], label) for name in precisions]
    return rows, ours["fp32"].stack()


def likelihood(stack: Stack, x: Tensor, samples: int, rounds: int) -> list[dict[str, object]]:
    """Rows of one k in both precisions: the time per example, and how far the two estimates are apart."""
    model = in_pythae(stack.model(0), "vae").eval()
    few, compared = 4, 64  # examples a round of pythae's, and of the comparison

    def ours(precision: Precision) -> Mapping[str, tuple[Tensor, str]]:
        return importance_sampling(replace(stack, precision=precision), x[:compared], "test", samples)

    def theirs(count: int) -> float:
        with torch.no_grad():  # it would build a graph otherwise
            return -model.get_nll(x[:count], samples, batch_size=min(samples, 100))

    precisions: Sequence[Precision] = ("fp32", "bf16")
    times: dict[str, list[float]] = {name: [] for name in (*precisions, "pythae")}
    reference = theirs(compared)
    apart = {name: float(ours(name)["nll_nats"][0].mean()) - reference for name in precisions}
    for _ in range(rounds):
        for name in precisions:
            times[name].append(milliseconds(lambda name=name: ours(name), 1) / compared)
        times["pythae"].append(milliseconds(lambda: theirs(few), 1) / few)
    suffix = "" if samples == 5000 else f"-k{samples}"
    return [
        row(
            f"mlp-vae/nll{suffix}/{name}",
            times[name],
            times["pythae"],
            "pythae get_nll",
            COMMAND,
            f"ms per example, k = {samples}",
            examples=f"{compared}, {few} of pythae's a round",
            nll_nats=round(reference, 3),
            apart_nats=round(apart[name], 4),
        )
        for name in precisions
    ]


def main() -> None:
    asked = options(__doc__, "images", 12)
    keep_freed_memory()
    logging.disable(logging.INFO)
    data = load(asked.data)
    rows = []
    # The convolutions take a hundred times as long as they are many: fewer rounds say as much of them.
    for net, bound, seeds, share in (
        ("mlp", "vae", 1, 1),
        ("mlp", f"iwae{K}", 1, 1),
        ("mlp", "vae", 3, 2),
        ("mlp", f"iwae{K}", 3, 2),
        ("conv", "vae", 1, 3),
    ):
        if asked.only in f"{net}-{bound}/train-{seeds}-seeds":
            rounds = max(asked.rounds // share, 3)
            rows += training(data, net, bound, seeds, rounds, max(asked.steps // share, 2))[0]
    if asked.only in "mlp-vae/nll":
        start = learner(NETS["mlp"], UTILITIES["vae"], data, 1, "fp32")
        milliseconds(start.advance, 1000)
        for samples in (5000, 500, 50):
            rows += likelihood(start.stack(), data.splits["test"], samples, max(asked.rounds // 2, 3))
    if asked.record:
        record("images", rows)


if __name__ == "__main__":
    main()
