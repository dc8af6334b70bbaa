"""Your own bound, of any latent-variable model: `seedbed run examples/own_bound.py:renyi --steps 4000`.

What is minimised is (module, batch, ctx) -> [batch]; the context lets it ask the model for draws. Every field of `Training`
is a flag. Each is judged by its own bound and by the ELBO: `seedbed compare examples/own_bound.py:elbo ...:renyi`.
"""

import math

from seedbed.experiments.own import fitted
from seedbed.models.vae import VAE

ALPHA, DRAWS = 0.5, 5


def negative_renyi(model, x, ctx):
    """Minus the variational Renyi bound, 1 / (1 - a) log 1/K sum_k w_k^(1 - a) (Li & Turner 2016, arXiv 1602.02311)."""
    log_w = model.proposal(x, ctx, DRAWS).log_w  # log p(x, z_k) - log q(z_k | x), [draws, batch]
    return -(((1 - ALPHA) * log_w).logsumexp(0) - math.log(DRAWS)) / (1 - ALPHA)


def negative_elbo(model, x, ctx):
    """Minus the evidence lower bound, the mean of log w."""
    return -model.proposal(x, ctx, DRAWS).log_w.mean(0)


def build(shape):
    """A model of Seedbed's own; any module with what the bound asks for will do."""
    return VAE(shape, latents=2, hidden=(64, 64))


settings = {"steps": 2000, "batch_size": 256, "lr": 2e-3}
elbo = fitted(build, "8gaussians", loss=negative_elbo, metric="neg_elbo_nats", **settings)
both = {"metric": "neg_renyi_nats", "metrics": {"neg_elbo_nats": negative_elbo}}
renyi = fitted(build, "8gaussians", loss=negative_renyi, **both, **settings)
