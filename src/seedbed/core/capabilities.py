"""What a model can do. Classes are abstract or final; a model takes only the capabilities that it has.

Every entry point takes a ``Context``; a model that has no use for it passes it on. Whoever calls ``sample`` or ``log_prob``
by hand may leave it out, see ``core.by_hand``.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from seedbed.core.by_hand import ByHand
from seedbed.core.context import Context
from seedbed.core.domain import REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution, Drawn, kl, kl_per_unit
from seedbed.core.proposal import Inferred, Latents, Proposal


@dataclass(frozen=True)
class Layer:
    """One stochastic layer, as the top-down pass meets it: p(z | above) and, given data, q(z | above, x).

    Args:
        name: of its latent.
        prior: p(z | above).
        posterior: q(z | above, x), or q(z | below) in a model with ``inference``; ``None`` without data.
        closed_kl: whether E_q[log q - log p] is KL(posterior || prior) at the other latents. It is not where ``above`` was
            drawn from this very z: then p(z | above) knows the draw.
    """

    name: str
    prior: Distribution
    posterior: Distribution | None = None
    closed_kl: bool = True

    def __post_init__(self) -> None:
        for what, law in (("prior", self.prior), ("posterior", self.posterior)):
            if not isinstance(law, Distribution) and (law is not None or what == "prior"):
                raise SeedbedError(f"the {what} of layer {self.name!r} must be {LAW}, got {type(law).__name__}")


# What a ``Distribution`` has, for errors.
LAW = "a law with rank, reparameterised, log_prob and draw"


class HasLogProb(ByHand, ABC):
    """A model with an exact density."""

    @abstractmethod
    def log_prob(self, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Float[Tensor, "batch"]:
        """log p(x) in nats, ``[batch]``."""


class HasSample(ByHand, ABC):
    """A model that draws examples."""

    @abstractmethod
    def sample(self, count: int, ctx: Context) -> Shaped[Tensor, "{count} *example"]:
        """``count`` draws from the model, ``[count, *example]``."""


class HasDataInit(ABC):
    """A model with parameters that are set from the first batch, once, before training."""

    @abstractmethod
    def data_init(self, x: Shaped[Tensor, "batch *example"], ctx: Context) -> None:
        """Set those parameters in place from ``x``, ``[batch, *example]``; not in training, so nothing drops or learns."""


class HasState(ABC):
    """A model that remembers from step to step: persistent chains, running averages. Batch norm needs no word of it."""

    @abstractmethod
    def state(self) -> Mapping[str, Tensor]:
        """What outlives a step, as it is before the first; read and written as ``ctx.state[name]``.

        A name begins with the part that it belongs to (``generator.chain``): only that part's owner changes it.
        """


class HasChain(HasState):
    """A model that remembers examples which go from x to z ~ q(z | x) and back to x ~ p(x | z) with every update.

    They are ``[n, *example]`` under this name of its state; whose turn it is to move them, an objective says.
    """

    chain: ClassVar[str] = "decoder.chain"


@dataclass(frozen=True)
class Painting:
    """How an image came about, stroke by stroke.

    A window is told by five numbers: its centre's column and row (the first pixel's are 0), the stride between its filters
    and their scale (standard deviation), all in pixels, and its gain.

    Args:
        means: E[x] as the canvas has it after each stroke, ``[strokes, *batch, *example]``.
        read: the window that each stroke's latent was read through, ``[strokes, *batch, 5]``; ``None`` without attention.
        write: the window that each stroke was written through; ``None`` without attention.
        filters: along each axis of the window that is read, and of the one that is written; 0 without attention.
    """

    means: Float[Tensor, "strokes ..."]
    read: Float[Tensor, "strokes *batch 5"] | None
    write: Float[Tensor, "strokes *batch 5"] | None
    filters: tuple[int, int]


class HasPaint(ABC):
    """A model that makes an image in strokes, one per latent."""

    @abstractmethod
    def paint(self, z: Latents, ctx: Context) -> Painting:
        """How p(x | z) came about: the last mean is its own."""


class LatentVariable(HasSample, ABC):
    """p(x, z) = p(x | z) prod_l p(z_l | z_>l) with a posterior q(z | x).

    A model writes one method, ``layers``: the top-down pass of the paper. Everything else follows from it, with
    q(z | x) = prod_l q(z_l | z_>l, x). A model whose posterior runs the other way, q(z | x) = q(z1 | x) prod_l q(z_l | z_<l,
    x), writes ``inference`` too; one whose posterior is no product of layers writes ``proposal`` and yields none here.
    """

    # Whether log p(x | z) is finite and has a gradient in z, as annealing from p(z) to p(z | x) needs.
    smooth: bool = True

    @property
    @abstractmethod
    def domain(self) -> Domain:
        """The domain that p(x | z) scores."""

    @abstractmethod
    def layers(self, x: Shaped[Tensor, "batch *example"] | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """Yield each stochastic layer from the top down, receive its value, return p(x | z).

        ``x`` is ``[batch, *example]`` or ``None`` (then no layer has a posterior). Received values may carry a samples
        axis in front of the batch axis. With ``inference`` or ``proposal``, ``x`` is always ``None``.
        """

    def inference(
        self, x: Shaped[Tensor, "batch *example"], ctx: Context
    ) -> Generator[tuple[str, Distribution], Tensor, None] | None:
        """Yield each latent's name and q(z_l | z_<l, x) in the order of inference and receive its value.

        ``None``, as here, says that the posterior follows the top-down pass, and ``layers`` yields it.
        """
        return None

    def proposal(self, x: Shaped[Tensor, "batch *example"], ctx: Context, samples: int | None = None) -> Proposal:
        """Draw z ~ q(z | x), one of each example or ``samples``, and keep what they weigh: E[exp(log_w)] = p(x)."""
        start = ctx.noise.fork()
        choose = lambda law: drawn(law, ctx, samples)
        ascended = self._ascend(x, ctx, lambda name, q: choose(q))
        if ascended is None:
            found: dict[str, Drawn] = {}

            def value(layer: Layer) -> Tensor:
                found[layer.name] = choose(_posterior(layer))
                return found[layer.name].value

            z, layers, likelihood = self._descend(x, ctx, value)
        else:
            found = {name: draw for name, (_, draw) in ascended.items()}
            z, layers, likelihood = self.descend(ctx, partial(_inferred_value, found))
            if odd := found.keys() ^ z.keys():
                raise SeedbedError(
                    f"`inference` and `layers` of {type(self).__name__} differ: {min(odd)!r} is a latent of one alone"
                )
            top = layers[0].name
            layers = [replace(at, posterior=ascended[at.name][0], closed_kl=at.name == top) for at in layers]

        def log_q_at(at: Latents) -> Tensor:
            if len(layers) == 1:  # its posterior depends on x alone, so it need not be computed again
                return _posterior(layers[0]).log_prob(at[layers[0].name])
            with ctx.noise.back_at(start):  # a second pass through networks that draw (dropout) is the same one
                return self.log_posterior(x, at, ctx)

        return Proposal(x, z, likelihood, {layer.name: _inferred(layer, found[layer.name]) for layer in layers}, log_q_at)

    def joint(self, x: Shaped[Tensor, "batch *example"], z: Latents, ctx: Context) -> Float[Tensor, "*samples batch"]:
        """log p(x, z) in nats, ``[*samples, batch]``."""
        _, layers, likelihood = self.descend(ctx, lambda layer: z[layer.name])
        return likelihood.log_prob(x) + sum(layer.prior.log_prob(z[layer.name]) for layer in layers)

    def generate(self, count: int, ctx: Context, samples: int | None = None) -> tuple[Latents, Distribution]:
        """Ancestral sampling: draws z ~ p(z) and p(x | z), of ``count`` examples, or ``samples`` of each."""
        z, _, likelihood = self.descend(ctx, lambda layer: drawn(layer.prior, ctx, samples, count).value)
        return z, likelihood

    def sample(self, count: int, ctx: Context) -> Shaped[Tensor, "{count} *example"]:
        """``count`` draws x ~ p(x) (draws, not means)."""
        return self.generate(count, ctx)[1].draw(ctx.noise).value

    def descend(self, ctx: Context, choose: Callable[[Layer], Tensor]) -> tuple[Latents, list[Layer], Distribution]:
        """The generative pass with chosen values: ``(z, layers, p(x | z))``, from the top layer down."""
        return self._descend(None, ctx, choose)

    def log_posterior(
        self, x: Shaped[Tensor, "batch *example"], z: Latents, ctx: Context
    ) -> Float[Tensor, "*samples batch"]:
        """log q(z | x) in nats at latents of any origin, ``[*samples, batch]``."""
        given = self._ascend(x, ctx, lambda name, q: Drawn(z[name], lambda: q.log_prob(z[name])))
        if given is not None:
            return reduce(operator.add, (q.log_prob(z[name]) for name, (q, _) in given.items()))
        _, layers, _ = self._descend(x, ctx, lambda layer: z[layer.name])
        return reduce(operator.add, (_posterior(layer).log_prob(z[layer.name]) for layer in layers))

    def _ascend(
        self, x: Tensor, ctx: Context, draw: Callable[[str, Distribution], Drawn]
    ) -> dict[str, tuple[Distribution, Drawn]] | None:
        """The posteriors and the latents that ``draw`` chooses, where these have an order of their own."""
        ascent = self.inference(x, ctx)
        if ascent is None:
            return None
        met: dict[str, tuple[Distribution, Drawn]] = {}
        name, q = _first(ascent, f"`inference` of {type(self).__name__}")
        while True:
            if name in met:
                raise _again(f"`inference` of {type(self).__name__}", name)
            met[name] = q, draw(name, q)
            try:
                name, q = ascent.send(met[name][1].value)
            except StopIteration:
                return met

    def _descend(
        self, x: Tensor | None, ctx: Context, choose: Callable[[Layer], Tensor]
    ) -> tuple[Latents, list[Layer], Distribution]:
        layers: list[Layer] = []
        z: dict[str, Tensor] = {}
        descent = self.layers(x, ctx)
        what = f"`layers` of {type(self).__name__}"
        layer = _first(descent, what)
        while True:
            if not isinstance(layer, Layer):
                raise SeedbedError(f"{what} must yield a Layer, got {type(layer).__name__}")
            if layer.name in z:
                raise _again(what, layer.name)
            z[layer.name] = choose(layer)
            layers.append(layer)
            try:
                layer = descent.send(z[layer.name])
            except StopIteration as done:
                if not isinstance(done.value, Distribution):
                    raise SeedbedError(f"{what} must return p(x | z), {LAW}, got {type(done.value).__name__}") from None
                return z, layers, done.value


def _first(yielding: Any, what: str) -> Any:
    first = next(yielding, None) if isinstance(yielding, Iterator) else None
    if first is None:
        raise SeedbedError(f"{what} must yield each latent and receive its value, got none; write z = yield ...")
    return first


def _again(what: str, name: str) -> SeedbedError:
    return SeedbedError(f"{what} yields {name!r} twice; give every latent a name of its own")


def drawn(law: Distribution, ctx: Context, samples: int | None = None, batch: int | None = None) -> Drawn:
    """A latent's draw, through which gradients go as the context says."""
    mean = getattr(law, "mean", None)
    if ctx.through == "centre" and mean is not None:
        if mean.ndim == law.rank:  # a prior's, of any number of examples
            lead = [n for n in (samples, batch) if n is not None]
            mean = mean.to(ctx.noise.device, ctx.noise.dtype).expand(*lead, *mean.shape)
        elif samples is not None and mean.ndim == law.rank + 1:
            mean = mean.expand(samples, *mean.shape)
        return Drawn(mean, partial(law.log_prob, mean))
    out = law.draw(ctx.noise, samples, batch)
    if not isinstance(out, Drawn) or not callable(out.log_prob):
        raise SeedbedError(f"`draw` of {type(law).__name__} must give Drawn(value, log_prob), log_prob a function")
    if ctx.through == "constant":
        value = out.value.detach()
    elif ctx.through in ("st", "zgr") and not law.reparameterised:
        value = _surrogate(law)(out.value, ctx.through)
    else:
        return out
    return Drawn(value, partial(law.log_prob, value))


def _surrogate(law: Distribution) -> Callable[[Tensor, str], Tensor]:
    surrogate = getattr(law, "surrogate", None)
    if surrogate is None:
        raise SeedbedError(
            f"{type(law).__name__} has no surrogate gradient, bits have one; differentiate by 'reinforce_loo' or 'enumerate'"
        )
    return surrogate


def _posterior(layer: Layer) -> Distribution:
    if layer.posterior is None:
        raise SeedbedError(
            f"expected a posterior of {layer.name!r}, got none; yield one if x is given, or write `inference` or `proposal`"
        )
    return layer.posterior


def _inferred_value(found: Mapping[str, Drawn], layer: Layer) -> Tensor:
    if layer.name not in found:
        raise SeedbedError(f"`inference` must yield every latent of `layers`, got {sorted(found)}, not {layer.name!r}")
    return found[layer.name].value


def _inferred(layer: Layer, draw: Drawn) -> Inferred:
    q, p, log_q = _posterior(layer), layer.prior, cache(draw.log_prob)
    return Inferred(
        log_ratio=lambda: p.log_prob(draw.value) - log_q(),
        log_q=log_q,
        mean=getattr(q, "mean", draw.value),
        kl=lambda: kl(q, p) if layer.closed_kl else None,
        kl_per_unit=lambda: kl_per_unit(q, p) if layer.closed_kl else None,
        reparameterised=q.reparameterised,
        real=getattr(q, "domain", REAL) == REAL,
    )


class Sequence(HasSample, ABC):
    """A model of token sequences with a recurrent state per stream: p(x) = prod_t p(x_t | x_<t)."""

    # The token that stands before the first, and how many a sample has where nothing else is said.
    start: ClassVar[int] = 0
    sample_length: ClassVar[int] = 100

    @abstractmethod
    def initial_state(self, streams: int) -> Mapping[str, Tensor]:
        """The state before the first token, ``[streams, ...]`` per entry."""

    @abstractmethod
    def logits(
        self, tokens: Int[Tensor, "batch time"], state: Mapping[str, Tensor], ctx: Context
    ) -> tuple[Float[Tensor, "batch time vocabulary"], Mapping[str, Tensor]]:
        """Logits of each next token, ``[batch, time, vocabulary]``, and the state after the last token."""

    def sample(self, count: int, ctx: Context, length: int = 0) -> Int[Tensor, "{count} time"]:
        """``count`` sequences of ``length`` tokens, one after another from p(x_t | x_<t), ``[count, length]``."""
        state = self.initial_state(count)
        token = torch.full((count, 1), self.start, dtype=torch.int64, device=ctx.noise.device)
        tokens = []
        for _ in range(length or self.sample_length):
            logits, state = self.logits(token, state, ctx)
            logits = logits[:, -1]
            shares = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1).cumsum(-1)
            # The last share may end below 1, and u just above it.
            u = ctx.noise.uniform((1,), batch=count).to(shares.dtype)
            token = (shares <= u).sum(-1, keepdim=True).clamp(max=shares.shape[-1] - 1)
            tokens.append(token)
        return torch.cat(tokens, 1)
