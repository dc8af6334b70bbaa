"""What a model can do. Classes are abstract or final; a model takes only the capabilities that it has."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar, Protocol, runtime_checkable

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
    """One stochastic layer, as the top-down pass meets it: p(z | above) and, given data, q(z | above, x).

    Args:
        name: of its latent.
        prior: p(z | above).
        posterior: q(z | above, x), or q(z | below) in a model with ``inference``; ``None`` without data.
        closed_kl: whether E_q[log q - log p] is KL(posterior || prior) at the other latents. It is not where ``above`` was
            drawn from this very z: then p(z | above) knows the draw. Nor is it where there is no closed form.
    """

    name: str
    prior: Distribution
    posterior: Distribution | None
    closed_kl: bool = True


def posterior_of(layer: Layer) -> Distribution:
    """The posterior of a layer that was met with data."""
    assert layer.posterior is not None, "a model given x must yield posteriors"
    return layer.posterior


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


@dataclass(frozen=True)
class Painting:
    """How an image came about, stroke by stroke.

    A window is told by five numbers: its centre's column and row (the first pixel's are 0), the stride between its filters
    and their scale (standard deviation), all in pixels, and its gain.

    Args:
        means: E[x] as the canvas has it after each stroke, ``[strokes, *batch, features]``.
        read: the window that each stroke's latent was read through, ``[strokes, *batch, 5]``; ``None`` without attention.
        write: the window that each stroke was written through; ``None`` without attention.
        filters: along each axis of the window that is read, and of the one that is written; 0 without attention.
    """

    means: Tensor
    read: Tensor | None
    write: Tensor | None
    filters: tuple[int, int]


class HasPaint(ABC):
    """A model that makes an image in strokes, one per latent."""

    @abstractmethod
    def paint(self, z: Latents) -> Painting:
        """How p(x | z) came about: the last mean is its own."""


class LatentVariable(HasSample, ABC):
    """p(x, z) = p(x | z) prod_l p(z_l | z_>l) with a posterior q(z | x) = prod_l q(z_l | z_>l, x).

    A model writes one method, ``layers``: the top-down pass of the paper. Everything else follows from it. A model whose
    posterior runs the other way, q(z | x) = q(z1 | x) prod_l q(z_l | z_<l, x), writes ``inference`` too.
    """

    # Whether log p(x | z) is finite and has a gradient in z, as annealing from p(z) to p(z | x) needs.
    smooth: ClassVar[bool] = True

    @property
    @abstractmethod
    def domain(self) -> Domain:
        """The domain that p(x | z) scores."""

    @abstractmethod
    def layers(self, x: Tensor | None) -> Generator[Layer, Tensor, Distribution]:
        """Yield each stochastic layer from the top down, receive its value, return p(x | z).

        ``x`` is ``[batch, *example]`` or ``None`` (then no layer has a posterior). Received values may carry a samples
        axis in front of the batch axis. With ``inference``, ``x`` is always ``None``.
        """

    def inference(self, x: Tensor) -> Generator[tuple[str, Distribution], Tensor, None] | None:
        """Yield each latent's name and q(z_l | z_<l, x) in the order of inference and receive its value.

        ``None``, as here, says that the posterior follows the top-down pass, and ``layers`` yields it.
        """
        return None

    def posterior(self, x: Tensor, noise: Noise, samples: int | None = None) -> tuple[Latents, list[Layer], Distribution]:
        """Draw z ~ q(z | x) and keep what was met on the way: ``(z, layers, p(x | z))``, from the top layer down."""

        def draw(name: str, q: Distribution, first: bool) -> Tensor:
            return q.rsample(noise, samples if first else None)

        return self.infer(x, draw)

    def joint(self, x: Tensor, z: Latents) -> Tensor:
        """log p(x, z) in nats, ``[*samples, batch]``."""
        _, layers, likelihood = self.descend(None, lambda layer, first: z[layer.name])
        return likelihood.log_prob(x) + sum(layer.prior.log_prob(z[layer.name]) for layer in layers)

    def log_posterior(self, x: Tensor, z: Latents) -> Tensor:
        """log q(z | x) in nats, ``[*samples, batch]``."""
        inferred = self._ascend(x, lambda name, q, first: z[name])
        if inferred is None:
            _, layers, _ = self.infer(x, lambda name, q, first: z[name])
            inferred = z, {layer.name: posterior_of(layer) for layer in layers}
        return reduce(operator.add, (q.log_prob(z[name]) for name, q in inferred[1].items()))

    def generate(self, count: int, noise: Noise) -> tuple[Latents, Distribution]:
        """Ancestral sampling: ``count`` draws z ~ p(z) and p(x | z)."""
        z, _, likelihood = self.descend(None, lambda layer, first: layer.prior.rsample(noise, count if first else None))
        return z, likelihood

    def sample(self, count: int, noise: Noise) -> Tensor:
        """``count`` draws x ~ p(x) (draws, not means)."""
        return self.generate(count, noise)[1].rsample(noise)

    def infer(
        self, x: Tensor, draw: Callable[[str, Distribution, bool], Tensor]
    ) -> tuple[Latents, list[Layer], Distribution]:
        """The whole pass at latents that ``draw(name, q, first)`` chooses, in whichever order q asks for them."""
        inferred = self._ascend(x, draw)
        if inferred is None:
            return self.descend(x, lambda layer, first: draw(layer.name, posterior_of(layer), first))
        z, q = inferred
        z, layers, likelihood = self.descend(None, lambda layer, first: z[layer.name])
        top = layers[0].name
        return z, [replace(at, posterior=q[at.name], closed_kl=at.name == top) for at in layers], likelihood

    def _ascend(
        self, x: Tensor, draw: Callable[[str, Distribution, bool], Tensor]
    ) -> tuple[Latents, dict[str, Distribution]] | None:
        """The latents that ``draw`` chooses, and their posteriors, where these have an order of their own."""
        ascent = self.inference(x)
        if ascent is None:
            return None
        z: dict[str, Tensor] = {}
        q: dict[str, Distribution] = {}
        name, q_z = next(ascent)
        while True:
            z[name], q[name] = draw(name, q_z, not z), q_z
            try:
                name, q_z = ascent.send(z[name])
            except StopIteration:
                return z, q

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
