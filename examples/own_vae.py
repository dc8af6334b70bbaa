"""Your own VAE, your own loss, two sizes of z, one verdict: `python examples/own_vae.py`.

The module knows nothing of Seedbed. From the shell it runs as it is, too, with its ELBO in nats:

    seedbed run examples/own_vae.py:MyVAE -d array:table.npy
"""

import torch
from sklearn.datasets import load_wine
from torch import nn

import seedbed


class MyVAE(nn.Module):
    """As tutorials write it: forward returns the reconstruction, the mean and the log variance of q(z | x)."""

    def __init__(self, features: int, latents: int = 2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, 32), nn.ReLU(), nn.Linear(32, features))

    def encode(self, x):
        return self.encoder(x).chunk(2, -1)

    def forward(self, x):
        mean, log_var = self.encode(x)
        z = mean + torch.randn_like(mean) * torch.exp(log_var / 2)  # drawn from each seed's own stream
        return self.decoder(z), mean, log_var


def negative_elbo(vae, x):
    """One value per example, [batch]: squared error (a Gaussian of scale 1, without its constant) and KL from N(0, I)."""
    reconstruction, mean, log_var = vae(x)
    error = 0.5 * (reconstruction - x).square().sum(-1)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
    return error + kl


def main(steps: int = 2000, seeds: int = 10):
    x = load_wine().data  # [178, 13]
    x = ((x - x.mean(0)) / x.std(0)).astype("float32")
    settings = {"loss": negative_elbo, "steps": steps, "seeds": seeds, "batch_size": 64}
    small = seedbed.fit(MyVAE, x, name="vae-2", **settings)
    large = seedbed.fit(lambda features: MyVAE(features, latents=6), x, name="vae-6", **settings)
    print(small.table.query("split == 'test'"))
    print(f"which is better, and is it real? seedbed compare {small.manifest.experiment} {large.manifest.experiment}")
    return small, large


if __name__ == "__main__":
    main()
