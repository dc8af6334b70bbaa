"""Modules of one's own as models: a VAE from ``forward(x) -> (reconstruction, mean, log_var)``, a density, a game of two.

What a module means by its outputs is looked up in one pass with draws set to their means; what does not fit is refused.
"""

import inspect
from collections.abc import Generator
from typing import Any, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from seedbed.core.capabilities import HasLogProb, HasSample, LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError, told
from seedbed.core.law import Distribution
from seedbed.core.shapes import size_of
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.logistic import DiscretisedLogistic
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.distributions.numeric import soft_clamp
from seedbed.models.looked import end_of, likeness, looked_at

# A probability of 0 or 1 has no logit.
NEAR = 1e-6


class _Observed(nn.Module):
    """p(x | reconstruction): Bernoulli of logits or of probabilities, else around a mean with one scale that is learnt.

    The scale is one number for all values of an example (Rybkin et al. 2021, arXiv 2006.13202), 1 at the start: of a
    Gaussian, or of the logistic distribution on [-1, 1] whose shares levels are. Levels are shown as numbers on [0, 1], and
    reconstructed on it.

    Args:
        shape: of an example.
        domain: of the data.
        probabilities: whether a reconstruction of bits is of probabilities.
    """

    def __init__(self, shape: tuple[int, ...], domain: Domain, probabilities: bool) -> None:
        super().__init__()
        self.shape, self.domain, self.probabilities = shape, domain, probabilities
        if domain != BINARY:
            self.log_scale = nn.Parameter(torch.zeros(()))

    @property
    def levels(self) -> int:
        """How many there are; 0 of data that are none."""
        return (self.domain.size or 0) if self.domain.kind == "levels" else 0

    def shown(self, x: Shaped[Tensor, "batch *example"]) -> Shaped[Tensor, "batch *example"]:
        """What the module is given of examples."""
        return x / (self.levels - 1) if self.levels else x

    def forward(self, out: Float[Tensor, "..."], lead: int) -> Distribution:
        """The law of x, from a reconstruction of any shape behind its ``lead`` leading axes."""
        out = out.reshape(*out.shape[:lead], *self.shape)
        if self.levels:
            return DiscretisedLogistic(self.levels, 2 * out - 1, soft_clamp(self.log_scale), len(self.shape))
        if self.domain != BINARY:
            return DiagonalNormal(out, self.log_scale, len(self.shape))
        return Bernoulli(torch.logit(out, NEAR) if self.probabilities else out, len(self.shape))

    @property
    def says(self) -> str:
        """How x is scored."""
        if self.levels:
            return (
                f"x shown on [0, 1], p(x | z) the shares of {self.levels} levels of a logistic law around the "
                "reconstruction, a mean on [0, 1], its one scale learnt"
            )
        if self.domain != BINARY:
            return "p(x | z) a Gaussian around the reconstruction, its one scale learnt"
        of = "probabilities, as they end in a sigmoid" if self.probabilities else "logits, as they end in no sigmoid"
        return f"p(x | z) Bernoulli, reconstructions being {of}"


class DecodingVAE(nn.Module, LatentVariable):
    """p(z) = N(0, I), q(z | x) = N(mean(x), exp(log_var(x))), p(x | z) by what decodes z (see ``decoding_vae``).

    Args:
        module: of one's own.
        observed: the likelihood.
        latent: shape of z.
        encode: how it encodes: the name of a method or a part that gives ``(mean, log_var)``; empty for its forward pass.
        decode: the name of a method or a part that makes a reconstruction of z.
    """

    def __init__(self, module: nn.Module, observed: _Observed, latent: tuple[int, ...], encode: str, decode: str) -> None:
        super().__init__()
        self.module, self.observed, self.latent = module, observed, latent
        self.encode, self.decode = encode, decode

    @property
    def domain(self) -> Domain:
        """Of the data that it was made for."""
        return self.observed.domain

    @property
    def taken_as(self) -> str:
        """What it was taken for."""
        how = f"{self.encode}(x)" if self.encode else "forward(x)"
        return (
            f"{type(self.module).__name__} is a VAE: q(z | x) by {how}, z of {list(self.latent)}, decoded by "
            f"{self.decode}(z), {self.observed.says}"
        )

    def posterior(self, x: Shaped[Tensor, "batch *example"]) -> DiagonalNormal:
        """q(z | x)."""
        x = self.observed.shown(x)
        mean, log_var = getattr(self.module, self.encode)(x) if self.encode else self.module(x)[1:]
        return DiagonalNormal(mean, 0.5 * log_var, len(self.latent))

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """One latent, ``z``."""
        z = yield Layer("z", StandardNormal(self.latent), None if x is None else self.posterior(x))
        lead = z.shape[: z.ndim - len(self.latent)]
        out = getattr(self.module, self.decode)(z.reshape(-1, *self.latent))  # it may know no axis of samples
        return self.observed(out.reshape(*lead, *out.shape[1:]), len(lead))


class ForwardVAE(nn.Module):
    """p(z) = N(0, I), q(z | x) = N(mean(x), exp(log_var(x))), p(x | z) by what ``forward(x)`` makes of the z that it draws.

    Args:
        module: of one's own.
        observed: the likelihood.
        latent: shape of z.
    """

    def __init__(self, module: nn.Module, observed: _Observed, latent: tuple[int, ...]) -> None:
        super().__init__()
        self.module, self.observed, self.latent = module, observed, latent
        self.prior = StandardNormal(latent)

    @property
    def domain(self) -> Domain:
        """Of the data that it was made for."""
        return self.observed.domain

    @property
    def taken_as(self) -> str:
        """What it was taken for."""
        return (
            f"{type(self.module).__name__} is a VAE by forward(x) alone, z of {list(self.latent)}, {self.observed.says}; "
            "with a method decode(z) it draws, and has bounds of more samples"
        )

    def inferred(self, x: Shaped[Tensor, "batch *example"]) -> tuple[Distribution, Distribution]:
        """p(x | z) at the z that was drawn, and q(z | x)."""
        out, mean, log_var = self.module(self.observed.shown(x))
        return self.observed(out, 1), DiagonalNormal(mean, 0.5 * log_var, len(self.latent))


def decoding_vae(module: nn.Module, shape: tuple[int, ...], domain: Domain) -> DecodingVAE:
    """A latent-variable model from a VAE of one's own whose decoder can be told from its encoder.

    Args:
        module: ``forward(x)`` returns ``(reconstruction, mean, log_var)``; ``decode(z)``, or a part ``decoder``,
            reconstructs; ``encode(x)``, if it gives the same ``(mean, log_var)``, is used for q(z | x).
        shape: of an example.
        domain: of the data: real, binary or levels.

    Raises:
        SeedbedError: if it is not so.
    """
    name = type(module).__name__
    decode = "decode" if hasattr(module, "decode") else "decoder"
    with looked_at(module, f"forward of {name}"):
        x = likeness(shape, domain)
        out, mean, log_var = _triple(module, x, shape)
        encode = "encode" if _encodes(module, x, mean, log_var) else ""
        with told(f"{decode} of {name}"):
            again = getattr(module, decode)(mean)
        if not isinstance(again, Tensor) or again.shape[:1] != out.shape[:1] or again[0].numel() != size_of(shape):
            got = list(again.shape[1:]) if isinstance(again, Tensor) else type(again).__name__
            raise SeedbedError(f"{decode} of {name} must make a reconstruction of z, {list(shape)}, got {got}")
        probabilities = _probabilities(again, domain, f"{decode} of {name}")
        same = lambda value: torch.allclose(value.flatten(1), out.flatten(1), 1e-3, 1e-4, equal_nan=True)
        if not same(again) and not (domain == BINARY and same(torch.sigmoid(again))):
            raise SeedbedError(
                f"forward of {name} does not return what {decode} makes of mean + exp(log_var / 2) * noise; write a method "
                "decode(z) that does, or use seedbed.fit with a loss of your own"
            )
    return DecodingVAE(module, _Observed(shape, domain, probabilities), tuple(mean.shape[1:]), encode, decode)


def forward_vae(module: nn.Module, shape: tuple[int, ...], domain: Domain) -> ForwardVAE:
    """A VAE of one's own of which only ``forward(x) -> (reconstruction, mean, log_var)`` is known.

    Args:
        module: of one's own.
        shape: of an example.
        domain: of the data: real, binary or levels.

    Raises:
        SeedbedError: if it is not so.
    """
    name = type(module).__name__
    with looked_at(module, f"forward of {name}"):
        before = torch.get_rng_state()
        out, mean, _ = _triple(module, likeness(shape, domain), shape)
        if torch.equal(before, torch.get_rng_state()):
            raise SeedbedError(
                f"forward of {name} draws no z in evaluation, where log p(x | its mean) - KL is no bound on log p(x); let "
                "it draw in eval() as in train(), or write a method decode(z)"
            )
        probabilities = _probabilities(out, domain, f"forward of {name}")
    return ForwardVAE(module, _Observed(shape, domain, probabilities), tuple(mean.shape[1:]))


def _triple(module: nn.Module, x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    found, name = module(x), type(module).__name__
    if not isinstance(found, tuple | list) or len(found) != 3 or not all(isinstance(one, Tensor) for one in found):
        raise SeedbedError(f"forward of {name} must return (reconstruction, mean, log_var), three tensors")
    out, mean, log_var = found
    if out.shape[:1] != (2,) or out[0].numel() != size_of(shape):
        raise SeedbedError(f"the reconstruction of {name} must be of an example's {list(shape)}, got {list(out.shape[1:])}")
    if mean.shape != log_var.shape or mean.shape[:1] != (2,) or mean.ndim < 2:
        raise SeedbedError(
            f"mean and log_var of {name} must be of one shape, [batch, latents], got {list(mean.shape)} and "
            f"{list(log_var.shape)}; does forward return (reconstruction, mean, log_var)?"
        )
    return out, mean, log_var


def _encodes(module: nn.Module, x: Tensor, mean: Tensor, log_var: Tensor) -> bool:
    """Whether ``encode(x)`` gives what ``forward(x)`` returns, so that nothing need be decoded to infer."""
    encode = getattr(module, "encode", None)
    try:
        found = encode(x) if callable(encode) else None
    except Exception:  # it may want other arguments: the forward pass does
        return False
    if not isinstance(found, tuple | list) or len(found) != 2 or not all(isinstance(one, Tensor) for one in found):
        return False
    return all(
        a.shape == b.shape and torch.allclose(a, b, equal_nan=True) for a, b in zip(found, (mean, log_var), strict=True)
    )


def _probabilities(value: Tensor, domain: Domain, what: str) -> bool:
    """Whether reconstructions of bits are probabilities; they are logits where nothing bounds them."""
    end = end_of(value)
    if domain == BINARY and end in ("Tanh", "Relu", "Softmax", "LogSoftmax", "Softplus", "Elu", "Clamp"):
        raise SeedbedError(f"{what} ends in {end.lower()}, of bits; let it return logits, or end in a sigmoid")
    if domain.kind == "levels" and end in ("Tanh", "Softmax", "LogSoftmax"):
        raise SeedbedError(
            f"{what} ends in {end.lower()}, of levels; let it return means on [0, 1], the scale that x is shown on"
        )
    return domain == BINARY and end == "Sigmoid"


class Density(nn.Module, HasLogProb):
    """A density of one's own.

    Args:
        module: with ``log_prob(x)``, ``[batch]``, in nats.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def log_prob(self, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Float[Tensor, "batch"]:
        """What it says."""
        return _log_prob(self.module, x)


class SampledDensity(nn.Module, HasLogProb, HasSample):
    """A density of one's own that draws.

    Args:
        module: with ``log_prob(x)``, ``[batch]``, in nats, and ``sample(count)``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def log_prob(self, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Float[Tensor, "batch"]:
        """What it says."""
        return _log_prob(self.module, x)

    def sample(self, count: int, ctx: Context) -> Shaped[Tensor, "{count} *example"]:
        """What it draws."""
        return draw(self.module, count, ctx)


def draws(module: nn.Module) -> bool:
    """Whether ``draw`` can be asked of a module."""
    return callable(getattr(type(module), "sample", None))


def draw(module: nn.Module, count: int, ctx: Context) -> Shaped[Tensor, "{count} *example"]:
    """What a module draws by ``sample(count, ctx)``, ``sample(count)``, or ``sample(shape)`` as a law of torch's.

    Raises:
        SeedbedError: if it does not give so many examples.
    """
    if isinstance(module, HasSample):
        return module.sample(count, ctx)
    own = cast(Any, type(module)).sample
    asked = [*inspect.signature(own).parameters][1:]
    by_shape = asked[:1] in (["sample_shape"], ["shape"], ["size"])
    found = own(module, (count,) if by_shape else count, **({"ctx": ctx} if "ctx" in asked else {}))
    if not isinstance(found, Tensor) or found.shape[:1] != (count,):
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise SeedbedError(f"sample({count}) of {type(module).__name__} must give [{count}, *example], got {got}")
    return found


def density(module: nn.Module) -> nn.Module:
    """A model from a module with ``log_prob(x)``, and ``sample(count)`` if it has that; as it is, if it is one already."""
    if isinstance(module, HasLogProb):
        return module
    return SampledDensity(module) if draws(module) else Density(module)


def _log_prob(module: nn.Module, x: Tensor) -> Tensor:
    value = cast(Any, module).log_prob(x)
    if not isinstance(value, Tensor) or value.shape != x.shape[:1]:
        got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise SeedbedError(
            f"log_prob of {type(module).__name__} must give one number per example, [{len(x)}], got {got}; sum over the "
            "axes of an example"
        )
    return value


class Pair(nn.Module, HasSample):
    """A generator from z ~ N(0, I) and a critic, both of one's own.

    Args:
        generator: ``[batch, latents]`` to examples.
        critic: examples to one number each.
        latents: size of z.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module, latents: int) -> None:
        super().__init__()
        self.generator, self.critic, self.prior = generator, critic, StandardNormal(latents)

    @property
    def taken_as(self) -> str:
        """What it was taken for."""
        names = type(self.generator).__name__, type(self.critic).__name__
        return f"{names[0]} draws examples from z ~ N(0, I) of [{self.prior.features}], {names[1]} is its Wasserstein critic"

    def sample(self, count: int, ctx: Context) -> Shaped[Tensor, "{count} *example"]:
        """``count`` examples g(z)."""
        return self.generator(self.prior.draw(ctx.noise, batch=count).value)


def pair(first: nn.Module, second: nn.Module | None = None, *, shape: tuple[int, ...]) -> Pair:
    """A game's model from a generator and a critic, or from a module that holds them and nothing else that is trained.

    Args:
        first: the generator, or the module.
        second: the critic.
        shape: of an example.

    Raises:
        SeedbedError: if they do not fit each other or the data, or the size of z cannot be told.
    """
    if second is None:
        whole = first
        parts = dict(whole.named_children())
        if "generator" not in parts or not parts.keys() & {"critic", "discriminator"}:
            raise SeedbedError(f"{type(whole).__name__} must hold a generator and a critic, got {', '.join(parts)}")
        first, second = parts["generator"], parts["critic" if "critic" in parts else "discriminator"]
        known = {id(p) for part in (first, second) for p in part.parameters()}
        if other := [name for name, p in whole.named_parameters() if id(p) not in known]:
            raise SeedbedError(f"{type(whole).__name__} holds {other[0]} beside the two; nobody would train it")
        latents = _latents(whole, first)
    else:
        latents = _latents(first, first)
    critic_name = type(second).__name__
    with looked_at(first, f"forward of {type(first).__name__}"), looked_at(second, f"forward of {critic_name}"):
        fake = first(torch.linspace(-1, 1, 2 * latents).reshape(2, latents))
        if tuple(fake.shape[1:]) != shape:
            raise SeedbedError(f"{type(first).__name__} must draw examples {list(shape)}, got {list(fake.shape[1:])}")
        scores = second(fake)
        if tuple(scores.shape) not in ((2,), (2, 1)):
            raise SeedbedError(f"{critic_name} must give one number per example, [2, 1] of 2, got {list(scores.shape)}")
        if end_of(scores) == "Sigmoid":
            raise SeedbedError(f"{critic_name} ends in a sigmoid; a Wasserstein critic is any number: leave the sigmoid out")
    return Pair(first, second, latents)


def _latents(holder: nn.Module, generator: nn.Module) -> int:
    for name in ("latents", "latent_dim", "z_dim", "latent_size", "nz"):
        if isinstance(size := getattr(holder, name, None), int):
            return size
    linear = next((part for part in generator.modules() if isinstance(part, nn.Linear)), None)
    if linear is None:
        raise SeedbedError(f"the size of z of {type(generator).__name__} cannot be told; write self.latents = ... in it")
    return linear.in_features
