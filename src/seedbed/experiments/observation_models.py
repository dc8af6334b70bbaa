"""Study `observation-models`: what a VAE of natural images needs, after the fourth source (vae-mdl).

Its six models, on the data that it has and on CIFAR-10's images; each with the scale bounded and not, and the cells that it
announced and never filled: two layers with a mixture, two layers of maps without MLPs. Two losses that are in wide use are
there to be warned against. `laptop` is short, `full` the source's batches and updates.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from seedbed.experiments.data import Examples
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.iwae import model01
from seedbed.experiments.objectives import Elbo
from seedbed.experiments.picture_vae import PictureVAE
from seedbed.experiments.training import Training

SETS = ("cifar10-batch1", "svhn")
BOUND = 2 / math.e  # the source's least scale of 1 / e on [0, 1], where levels lie on [-1, 1]
MEAN_SQUARED = 1 / math.sqrt(2)  # the scale at which -log p(x | z) is the squared error, on [-1, 1]
# The source's: its step size falls by fewer than 15 % over so many updates, so here it stays.
FULL: dict[str, Any] = {
    "steps": 100_000,
    "batch_size": 128,
    "schedule": "constant",
    "ema": 0.0,
    "eval_every": 1000,
}
LAPTOP = Training(steps=600, batch_size=32, lr=1e-3, ema=0.99, eval_every=150)

_A, _GELU = PictureVAE(), PictureVAE(activation="gelu")
_B = PictureVAE(convolutions="b", latents=50)
_TWO = PictureVAE(activation="gelu", latents_above=20)
# By number as in the source, 01 being `iwae/mnist-dynamic/model01`. What is not in it has a word behind the number.
_MODELS: dict[str, PictureVAE] = {
    "02": replace(_A, likelihood="gaussian"),
    "03": replace(_A, likelihood="logistic"),
    "03-gelu": replace(_GELU, likelihood="logistic"),  # one layer of what 06 has two of
    "04": replace(_B, likelihood="logistic"),
    "05": replace(_A, likelihood="logistic-mixture", mixtures=5),
    "06": replace(_TWO, likelihood="logistic"),
    "06-maps": replace(_TWO, likelihood="logistic", latent_maps="coarse", hidden_above=(64,)),
    "06-mixture": replace(_TWO, likelihood="logistic-mixture", mixtures=5),
}
_BOUNDED = {f"{name}-bounded": replace(_MODELS[name], least_scale=BOUND) for name in ("02", "03", "04", "05", "06")}
# Losses to be warned against, which are no models of levels: see the documentation of their likelihoods.
_WARNED = {
    "warned-mse": replace(_A, likelihood="gaussian", scale="fixed", fixed_scale=MEAN_SQUARED),
    "warned-bce": replace(_A, likelihood="grey-bernoulli"),
}
MODELS: dict[str, PictureVAE] = {**dict(sorted({**_MODELS, **_BOUNDED}.items())), **_WARNED}


def _ms(settings: Mapping[str, Any]) -> float:
    """By the picture: the encoder's once, the decoder's and the likelihood's for each sample."""
    encoder, decoder = (1.4, 2.0) if settings["convolutions"] == "a" else (6.0, 6.8)
    mixture = 1.6 if settings["likelihood"] == "logistic-mixture" else 0.0
    return 5 * settings["batch_size"] * (encoder + (decoder + mixture) * settings["k"])


def experiment(data: str, name: str) -> Experiment:
    """One cell: the source's model of that number, or what is beside it, by its bound of five samples.

    Args:
        data: pictures of levels.
        name: a key of ``MODELS``.
    """
    return Experiment(Examples(data), MODELS[name], Elbo(k=5), LAPTOP, {"full": FULL}, ms_per_step=_ms)


DOC = "which p(x | z) a VAE of natural images needs: Gaussian, logistic, mixtures, scales bounded or not, one layer or two"
EXPERIMENTS: dict[str, Experiment] = {
    "observation-models/mnist-dynamic/01": replace(model01(), metric="nll_nats"),
    **{f"observation-models/{data}/{name}": experiment(data, name) for data in SETS for name in MODELS},
}
GRID = tuple(name for name in EXPERIMENTS if "/svhn/" not in name)  # its files are large, and come with nothing
# The source's, of 5000 samples, on SVHN with the halves of its test file and the extra images.
PUBLISHED: dict[tuple[str, str], float] = {
    ("observation-models/mnist-dynamic/01", "nll_nats"): 85.02,
    ("observation-models/svhn/05", "nll_bits_per_dim"): 4.5,
    ("observation-models/svhn/06", "nll_bits_per_dim"): 5.4,
}
