"""What a model can do. Classes are abstract or final; a model takes only the capabilities that it has."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from seedbed.core.domain import Domain
from seedbed.core.noise import Noise
from seedbed.core.terms import State

# Ordered, named latents, from the top layer down: {"z2": ..., "z1": ...}.
Latents = Mapping[str, Tensor]


@runtime_checkable
class Distribution(Protocol):
    """A distribution over the last axis of its value; every axis before it is a batch axis."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density or log-mass in nats, summed over the last axis."""
        ...

    def rsample(self, noise: Noise, samples: int | None = None) -> Tensor:
        """Reparameterised draw, ``[*batch, event]`` or ``[samples, *batch, event]``."""
        ...

    def kl(self, other: "Distribution") -> Tensor:
        """KL(self || other) in nats, summed over the last axis."""
        ...


@dataclass(frozen=True)
class Layer:
    """One stochastic layer, as the top-down pass meets it: p(z | above) and, given data, q(z | above, x)."""

    name: str
    prior: Distribution
    posterior: Distribution | None


class HasLogProb(ABC):
    """A model with an exact density."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, ``[batch]``."""


class HasSample(ABC):
    """A model that draws examples."""

    @abstractmethod
    def sample(self, count: int, noise: Noise) -> Tensor:
        """``count`` draws from the model, ``[count, *example]``."""


class HasDataInit(ABC):
    """A model with parameters that are set from the first batch, once, before training."""

    @abstractmethod
    def data_init(self, x: Tensor) -> None:
        """Set those parameters in place from ``x``, ``[batch, *example]``."""


class LatentVariable(HasSample, ABC):
    """p(x, z) = p(x | z) prod_l p(z_l | z_>l) with a posterior q(z | x) = prod_l q(z_l | z_>l, x).

    A model writes one method, ``layers``: the top-down pass of the paper. Everything else follows from it.
    """

    @property
    @abstractmethod
    def domain(self) -> Domain:
        """The domain that p(x | z) scores."""

    @abstractmethod
    def layers(self, x: Tensor | None) -> Generator[Layer, Tensor, Distribution]:
        """Yield each stochastic layer from the top down, receive its value, return p(x | z).

        ``x`` is ``[batch, *example]`` or ``None`` (then no layer has a posterior). Received values may carry a samples
        axis in front of the batch axis.
        """

    def posterior(self, x: Tensor, noise: Noise, samples: int | None = None) -> tuple[Latents, list[Layer], Distribution]:
        """Draw z ~ q(z | x) and keep what was met on the way: ``(z, layers, p(x | z))``."""

        def draw(layer: Layer, first: bool) -> Tensor:
            assert layer.posterior is not None, "a model given x must yield posteriors"
            return layer.posterior.rsample(noise, samples if first else None)

        return self.descend(x, draw)

    def joint(self, x: Tensor, z: Latents) -> Tensor:
        """log p(x, z) in nats, ``[*samples, batch]``."""
        _, layers, likelihood = self.descend(None, lambda layer, first: z[layer.name])
        return likelihood.log_prob(x) + sum(layer.prior.log_prob(z[layer.name]) for layer in layers)

    def log_posterior(self, x: Tensor, z: Latents) -> Tensor:
        """log q(z | x) in nats, ``[*samples, batch]``."""
        _, layers, _ = self.descend(x, lambda layer, first: z[layer.name])
        total = z[layers[0].name].new_zeros(())
        for layer in layers:
            assert layer.posterior is not None, "a model given x must yield posteriors"
            total = total + layer.posterior.log_prob(z[layer.name])
        return total

    def generate(self, count: int, noise: Noise) -> tuple[Latents, Distribution]:
        """Ancestral sampling: ``count`` draws z ~ p(z) and p(x | z)."""
        z, _, likelihood = self.descend(None, lambda layer, first: layer.prior.rsample(noise, count if first else None))
        return z, likelihood

    def sample(self, count: int, noise: Noise) -> Tensor:
        """``count`` draws x ~ p(x) (draws, not means)."""
        return self.generate(count, noise)[1].rsample(noise)

    def descend(self, x: Tensor | None, draw: Callable[[Layer, bool], Tensor]) -> tuple[Latents, list[Layer], Distribution]:
        """The top-down pass with chosen values: ``(z, layers, p(x | z))``.

        Args:
            x: examples, or ``None`` where no posterior is asked for.
            draw: the value of a layer, given the layer and whether it is the first.
        """
        layers: list[Layer] = []
        z: dict[str, Tensor] = {}
        descent = self.layers(x)
        layer = next(descent)
        while True:
            z[layer.name] = draw(layer, not layers)
            layers.append(layer)
            try:
                layer = descent.send(z[layer.name])
            except StopIteration as done:
                return z, layers, done.value


class Sequence(ABC):
    """A model of token sequences with a recurrent state per stream."""

    @abstractmethod
    def initial_state(self, streams: int) -> State:
        """The state before the first token, ``[streams, ...]`` per entry."""

    @abstractmethod
    def logits(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits of each next token, ``[batch, time, vocabulary]``, and the state after the last token."""
