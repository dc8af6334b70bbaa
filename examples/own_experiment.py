"""An experiment file of your own, with a part of your own and a helper beside it.

    seedbed run examples/own_experiment.py              # what the file holds
    seedbed run examples/own_experiment.py:experiment --slope 0.3
    seedbed sample runs/examples-own_experiment-experiment/<hash>

The run remembers this file and `leaky.py` by their checksums: it goes on, and is opened, only with what it was begun with.
"""

from __future__ import annotations

from dataclasses import dataclass

from leaky import leaky_network  # a file beside this one

from seedbed.data.dataset import Dataset
from seedbed.experiments import Elbo, Experiment, Model, Points, Training, option


@dataclass(frozen=True, kw_only=True)
class LeakyVAE(Model):
    """A VAE whose networks leak."""

    latents: int = option(2, "size of z", least=1)  # every field is a flag, and a part of the run's name
    slope: float = option(0.1, "of the networks below 0", least=0.0)

    def build(self, data: Dataset):
        """One seed's model."""
        from seedbed.models.vae import VAE

        model = VAE(data.shape, self.latents, (32, 32))
        model.encoder = leaky_network(data.features, 2 * self.latents, self.slope)
        return model


experiment = Experiment(Points("moons"), LeakyVAE(), Elbo(), Training(steps=2000, lr=2e-3, eval_every=250))
