"""A model's whole pass given data, layer by layer, for tests that look inside."""

from dataclasses import replace

from seedbed.core.context import Context
from seedbed.core.law import Drawn
from seedbed.core.noise import Noise, Streams


def at(*address, seed=3, **options):
    """A context at one address, in float64."""
    import torch

    return Context(Noise([Streams(seed)], "noise", *address, dtype=torch.float64), **options)


def whole_pass(model, x, ctx, samples=None):
    """``(z, layers, p(x | z))`` with every layer's prior and posterior as a proposal met them."""
    start = ctx.noise.fork()
    z = model.proposal(x, ctx, samples).z
    with ctx.noise.back_at(start):
        ascended = model._ascend(x, ctx, lambda name, q: Drawn(z[name], lambda: q.log_prob(z[name])))
        _, layers, likelihood = model._descend(None if ascended else x, ctx, lambda layer: z[layer.name])
    if ascended:
        top = layers[0].name
        layers = [replace(layer, posterior=ascended[layer.name][0], closed_kl=layer.name == top) for layer in layers]
    return z, layers, likelihood


def log_posterior(model, x, z, ctx):
    """log q(z | x) at any z."""
    return model.proposal(x, ctx).log_q_at(z)
