"""Symmetric equilibrium learning of a VAE's two halves, each from samples of the other.

The decoder p(x, z) maximises ``E_{pi(x) q(z | x)} log p(x, z)``, the encoder ``E_{p(x, z)} log q(z | x)`` (Flach et al.,
2024, arXiv 2307.09883). Whose parameters a player may move is told by what it owns in the game; what it is taught on are the
other's samples, which are constants, so that bits need neither relaxation nor score function. Where p(x, z) = pi(x) q(z | x)
neither can gain.
"""

from collections.abc import Sized
from dataclasses import replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.proposal import Latents
from seedbed.core.terms import Terms


def decoder_utility(model: LatentVariable, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
    """``log p(x, z)`` in nats at z ~ q(z | x), of data x. Parts: ``log_joint``.

    Its gradient in the decoder is that of ``-KL(pi(x) q(z | x) || p(x, z))`` at a fixed q, also of a ladder's, which has the
    decoder's nets in it.
    """
    with torch.no_grad():
        z = model.proposal(x, replace(ctx, through="constant")).z
    value = model.joint(x, z, ctx)
    return Terms(value, {"log_joint": value})


def encoder_utility(model: LatentVariable, x: Sized, ctx: Context) -> Terms:
    """``log q(z | x)`` in nats at (x, z) ~ p(x, z), of as many draws as ``x`` has. Parts: ``log_posterior``.

    Its gradient in the encoder is that of ``-E_p(x) KL(p(z | x) || q(z | x))``, the sleep phase of wake-sleep (Hinton et al.
    1995); it looks at nothing of a batch but its length (``Player(data=False)``).
    """
    with torch.no_grad():
        z, likelihood = model.generate(len(x), replace(ctx, through="constant"))
        fake = likelihood.draw(ctx.noise).value
    value = model.log_posterior(fake, z, ctx)
    return Terms(value, {"log_posterior": value})


def labelled_utility(model: LatentVariable, pair: tuple[Shaped[Tensor, "batch *example"], Latents], ctx: Context) -> Terms:
    """``log p(x, z) + log q(z | x)`` in nats at given pairs (x, z): the semi-supervised form adds it to both players.

    Each player moves its own half alone. Parts: ``log_joint``, ``log_posterior``.

    Args:
        model: the two halves.
        pair: examples ``[batch, *example]``, and their latents by name.
        ctx: of the call.
    """
    x, z = pair
    log_joint, log_posterior = model.joint(x, z, ctx), model.log_posterior(x, z, ctx)
    return Terms(log_joint + log_posterior, {"log_joint": log_joint, "log_posterior": log_posterior})
