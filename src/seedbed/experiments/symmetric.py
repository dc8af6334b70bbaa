"""Study `symmetric`: hierarchies of bits by symmetric learning and by the ELBO (Flach et al. 2024, arXiv 2307.09883).

After the second source (symvae-aistats2024): its images, its two encoders, its two ways to learn. `laptop` has smaller nets
of no convolutions; `full` is the source's model and length, and names ending in `-readme` what its README says to run.
"""

from collections.abc import Mapping
from typing import Any

from seedbed.experiments.data import Examples
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.models import Factorisation, SymmetricVAE
from seedbed.experiments.objectives import OfBits
from seedbed.experiments.training import Training

# Of each data set: as it is read, what is done to training images, and the source's layers of bits and updates.
SETS: dict[str, tuple[str, float, tuple[int, ...], int]] = {
    "mnist": ("mnist-threshold-0.4375", 0.001, (30, 100), 1_000_000),
    "fashion-mnist": ("fashion-mnist-share", 0.01, (50, 200), 280_000),
}
ENCODERS: tuple[Factorisation, ...] = ("ladder", "reverse")
LEARNING = ("symmetric", "elbo")
SOURCE: dict[str, Any] = {"trunk": "conv", "batch_size": 1024, "lr": 1e-4, "schedule": "constant", "ema": 0.0}
README = {"bits": (30, 100), "steps": 200_000}
LAPTOP = Training(steps=6000, batch_size=128, lr=2e-3, ema=0.99, eval_every=1000)


def _ms(settings: Mapping[str, Any]) -> float:
    """Convolutions by the example; the ELBO passes through half as many nets."""
    share = 0.6 if settings["learning"] != "symmetric" else 1.0
    return share * (4700.0 if settings["trunk"] == "conv" else 75.0) * settings["batch_size"] / 128


def experiment(data: str, encoder: Factorisation, learning: str, readme: bool = False) -> Experiment:
    """One cell of the grid.

    Args:
        data: a key of ``SETS``.
        encoder: ``ladder`` or ``reverse``.
        learning: ``symmetric`` or ``elbo``.
        readme: whether `full` is what the source's README says, not what its paper does.
    """
    name, corruption, bits, steps = SETS[data]
    nets: dict[str, Any] = {"hidden": (600, 600)}
    if data == "fashion-mnist":
        nets |= {"activation": "relu"} | ({"encoder_hidden": (1000, 1000)} if encoder == "ladder" else {})
    full = {**SOURCE, **nets, "bits": bits, "steps": steps, "eval_every": 10_000, **(README if readme else {})}
    return Experiment(
        Examples(name),
        SymmetricVAE(encoder=encoder, hidden=(200, 200)),
        OfBits(learning="zgr" if learning == "elbo" else "symmetric", corruption=corruption),
        LAPTOP,
        budgets={"full": full},
        ms_per_step=_ms,
    )


DOC = "hierarchies of bits whose decoder and encoder teach each other, beside the ELBO"
GRID: dict[str, Experiment] = {
    f"symmetric/{data}/{encoder}-{learning}": experiment(data, encoder, learning)
    for data in SETS
    for encoder in ENCODERS
    for learning in LEARNING
}
EXPERIMENTS: dict[str, Experiment] = GRID | {
    f"symmetric/{data}/{encoder}-{learning}-readme": experiment(data, encoder, learning, readme=True)
    for data in SETS
    for encoder in ENCODERS
    for learning in LEARNING
}
