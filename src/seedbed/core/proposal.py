"""Draws of latents given data, and what they weigh: all that bounds, estimators and pictures ask of a posterior."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce

from jaxtyping import Float, Shaped
from torch import Tensor

from seedbed.core.law import Distribution

# Ordered, named latents, from the top layer down: {"z2": ..., "z1": ...}.
Latents = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """One layer of a proposal. What is a function is evaluated when asked for.

    Args:
        log_ratio: log p(z_l | above) - log q(z_l | ...) at the draw, densities of auxiliary variables (momenta) and
            log-determinants on the way included, in nats, ``[samples, batch]``.
        log_q: log q(z_l | ...) at the draw.
        mean: E_q[z_l | what it was drawn given] where it is known, else the draw.
        kl: KL(q || p) at the other latents where it has a closed form, or what is that on average with less noise than
            -log_ratio, its one-sample estimate; ``None`` where there is neither.
        kl_per_unit: the summands of ``kl``, one per component of z_l, where there are such.
        reparameterised: whether gradients go through the draw.
        real: whether z_l is a vector of real numbers, so that one may walk in it.
    """

    log_ratio: Callable[[], Tensor]
    log_q: Callable[[], Tensor]
    mean: Tensor
    kl: Callable[[], Tensor | None] = lambda: None
    kl_per_unit: Callable[[], Tensor | None] = lambda: None
    reparameterised: bool = True
    real: bool = True


@dataclass(frozen=True, eq=False)
class Proposal:
    """z_1..z_k drawn given x, with E[exp(log_w)] = p(x): importance sampling from whatever the posterior is.

    Args:
        x: the examples, ``[batch, *example]``.
        z: the draws, ``[batch, *latent]`` each, or ``[samples, batch, *latent]``.
        likelihood: p(x | z).
        layers: of the posterior, from the top down.
        log_q_at: log q(z | x) of other latents, ``[*samples, batch]``; ``None`` of a posterior that cannot score what it did
            not draw.
    """

    x: Shaped[Tensor, "batch *example"]
    z: Latents
    likelihood: Distribution
    layers: Mapping[str, Inferred]
    log_q_at: Callable[[Latents], Tensor] | None

    @cached_property
    def log_likelihood(self) -> Float[Tensor, "*samples batch"]:
        """log p(x | z), in nats, ``[*samples, batch]``."""
        return self.likelihood.log_prob(self.x)

    @cached_property
    def log_w(self) -> Float[Tensor, "*samples batch"]:
        """log p(x, z) - log q(z | x) at each draw, in nats, ``[*samples, batch]``."""
        return self.log_likelihood + reduce(Tensor.add, [layer.log_ratio() for layer in self.layers.values()])

    @cached_property
    def log_q(self) -> Float[Tensor, "*samples batch"]:
        """log q(z | x) at each draw, in nats, ``[*samples, batch]``."""
        return reduce(Tensor.add, [layer.log_q() for layer in self.layers.values()])

    @property
    def fixed(self) -> list[str]:
        """The layers whose draws no gradient goes through, such as bits."""
        return [name for name, layer in self.layers.items() if not layer.reparameterised]

    @property
    def real(self) -> bool:
        """Whether every latent is a vector of real numbers."""
        return all(layer.real for layer in self.layers.values())
