"""Study `vae-static`: the fifth source's VAE of Larochelle's binarised MNIST, for its 20 epochs and to convergence."""

from dataclasses import replace

from seedbed.experiments.data import Examples
from seedbed.experiments.experiment import Experiment, hashed_by
from seedbed.experiments.iwae import HASHED_BOUND
from seedbed.experiments.models import VAE, ConvVAE
from seedbed.experiments.objectives import Elbo
from seedbed.experiments.training import Training

EPOCH = 50_000 // 64  # updates
DATA = Examples("mnist-static")
MLP = VAE(hidden=(300, 300), latents=100, activation="elu", output_bias="dark")
SHORT = Training(steps=20 * EPOCH, batch_size=64, lr=1e-3, ema=0.999, eval_every=EPOCH)
# Until the validation loss has not improved for a while; the best weights are kept.
LONG = replace(SHORT, steps=120 * EPOCH, precision="bf16", patience=15)
# The source's own: a constant step size, and the weights as they end.
FULL = {"full": {"lr": 3e-4, "schedule": "constant", "ema": 0.0}}

DOC = "the VAE of Larochelle's static MNIST: 20 epochs as published, to convergence, and with convolutions"
EXPERIMENTS: dict[str, Experiment] = {
    "vae-static/mnist-static/mlp-20epochs": hashed_by(
        Experiment(DATA, MLP, Elbo(), SHORT, FULL, ms_per_step=45.0), HASHED_BOUND
    ),
    "vae-static/mnist-static/mlp-converged": hashed_by(Experiment(DATA, MLP, Elbo(), LONG, ms_per_step=45.0), HASHED_BOUND),
    "vae-static/mnist-static/conv-20epochs": hashed_by(
        Experiment(DATA, ConvVAE(output_bias="dark"), Elbo(), SHORT, FULL, ms_per_step=450.0),
        HASHED_BOUND,
        hidden=[300, 300],
        activation="elu",
    ),
}
# The source's -log p(x) is of 200 samples.
PUBLISHED: dict[tuple[str, str], float] = {
    ("vae-static/mnist-static/mlp-20epochs", "neg_elbo_nats"): 101.15,
    ("vae-static/mnist-static/mlp-20epochs", "neg_iw200_nats"): 95.50,
}
