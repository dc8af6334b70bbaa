"""Studies `mnist` and `digits`: latent-variable models of binary images."""

from seedbed.experiments.data import Examples
from seedbed.experiments.experiment import Experiment, hashed_by
from seedbed.experiments.models import VAE
from seedbed.experiments.objectives import Elbo
from seedbed.experiments.study import COMMON
from seedbed.experiments.training import Training

SETS = ("mnist-dynamic", "mnist-static", "mnist-epoch", "mnist-threshold")
HASHED = (*COMMON, "hidden", "latents", "activation")


def mnist(data: str) -> Experiment:
    """The shape of the IWAE paper's one-layer model (Burda et al. 2016)."""
    return hashed_by(
        Experiment(
            Examples(data),
            VAE(),
            Elbo(),
            Training(steps=100_000, batch_size=128, lr=2e-3, ema=0.999, eval_every=2000, precision="bf16"),
            # The paper's 3280 epochs in batches of 20; its step size falls by steps, ours by a cosine.
            budgets={"full": {"steps": 8_200_000, "batch_size": 20, "precision": "fp32"}},
            ms_per_step=36.0,
        ),
        HASHED,
    )


def digits() -> Experiment:
    """The same model, smaller, on the 8x8 digits that need no file."""
    return hashed_by(
        Experiment(
            Examples("digits-binary"),
            VAE(hidden=(64, 64), latents=8),
            Elbo(),
            Training(steps=6_000, batch_size=64, lr=2e-3, ema=0.999, eval_every=250),
            ms_per_step=5.0,
        ),
        HASHED,
    )


DOC = "latent-variable models of binarised MNIST"
DIGITS_DOC = "the same on scikit-learn's 8x8 digits, which need no file"
MNIST: dict[str, Experiment] = {f"mnist/{data}/vae": mnist(data) for data in SETS}
DIGITS: dict[str, Experiment] = {"digits/digits-binary/vae": digits()}
