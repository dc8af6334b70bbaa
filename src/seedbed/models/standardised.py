"""Models of standardised values as models of the data in their own units, each with every capability that it had.

With x = location + scale * u (``core.units``) log p(x) = log p(u) - sum log scale; of a latent-variable model p(x | z) is
changed so and nothing else, hence bounds, importance weights and annealing are those of p(x).
"""

from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from seedbed.core.capabilities import HasDataInit, HasLogProb, HasSample, HasState, LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL, Domain
from seedbed.core.law import Distribution, Drawn
from seedbed.core.noise import Noise
from seedbed.core.proposal import Latents, Proposal
from seedbed.core.units import HasUnits, Units


class InUnits:
    """The law of x = location + scale * u for a law of u.

    Args:
        law: of u.
        units: of x.
    """

    domain = REAL

    def __init__(self, law: Distribution, units: Units) -> None:
        self.law: Any = law
        self.units = units
        self.rank, self.reparameterised = law.rank, law.reparameterised

    @property
    def mean(self) -> Float[Tensor, "..."]:
        """E[x], where E[u] is known."""
        return self.units.outward(self.law.mean)

    def log_prob(self, value: Float[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """log p(u) - sum log scale in nats, ``[*batch]``."""
        return self.law.log_prob(self.units.inward(value)) - self._log_volume(value)

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """``[samples, batch, *event]``."""
        u, log_prob = self.law.draw(noise, samples, batch)
        return Drawn(self.units.outward(u), lambda: log_prob() - self._log_volume(u))

    def _log_volume(self, value: Tensor) -> Tensor:
        return self.units.log_volume(tuple(value.shape[value.ndim - self.rank :]))


class _Wrapped(nn.Module, HasUnits):
    """A model and its units. The model's parts keep their names, so that players own what they owned."""

    location: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module, units: Units) -> None:
        super().__init__()
        for name, part in model.named_children():
            if not hasattr(self, name):
                self.add_module(name, part)
        self.inner = model
        self.register_buffer("location", units.location.clone())
        self.register_buffer("scale", units.scale.clone())

    @property
    def standard(self) -> Any:
        """The model of the standardised values."""
        return self.inner

    @property
    def units(self) -> Units:
        """Of the data."""
        return Units(self.location, self.scale)

    @property
    def domain(self) -> Domain:
        """Real numbers, as those of the model are."""
        return REAL


class _Scores(_Wrapped, HasLogProb):
    """Of a model with a density."""

    def log_prob(self, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Float[Tensor, "batch"]:
        """log p(u) - sum log scale in nats, ``[batch]``."""
        return self.standard.log_prob(self.units.inward(x), ctx) - self.units.log_volume(tuple(x.shape[1:]))


class _Draws(_Wrapped, HasSample):
    """Of a model that draws."""

    def sample(self, count: int, ctx: Context) -> Shaped[Tensor, "{count} *example"]:
        """``count`` draws, ``[count, *example]``."""
        return self.units.outward(self.standard.sample(count, ctx))


class _Infers(_Draws, LatentVariable):
    """Of a model with latents, which are those of the model itself."""

    @property
    def smooth(self) -> bool:
        """As the model's."""
        return self.standard.smooth

    def layers(self, x: Shaped[Tensor, "batch *example"] | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """The model's, and p(x | z) from its p(u | z)."""
        shown = None if x is None else self.units.inward(x)
        return InUnits((yield from self.standard.layers(shown, ctx)), self.units)

    def inference(
        self, x: Shaped[Tensor, "batch *example"], ctx: Context
    ) -> Generator[tuple[str, Distribution], Tensor, None] | None:
        """The model's."""
        return self.standard.inference(self.units.inward(x), ctx)

    def proposal(self, x: Shaped[Tensor, "batch *example"], ctx: Context, samples: int | None = None) -> Proposal:
        """The model's, with p(x | z) in the place of p(u | z)."""
        found: Proposal = self.standard.proposal(self.units.inward(x), ctx, samples)
        return replace(found, x=x, likelihood=InUnits(found.likelihood, self.units))

    def joint(self, x: Shaped[Tensor, "batch *example"], z: Latents, ctx: Context) -> Float[Tensor, "*samples batch"]:
        """log p(u, z) - sum log scale in nats, ``[*samples, batch]``."""
        return self.standard.joint(self.units.inward(x), z, ctx) - self.units.log_volume(tuple(x.shape[1:]))

    def generate(self, count: int, ctx: Context, samples: int | None = None) -> tuple[Latents, Distribution]:
        """The model's draws of z, and p(x | z)."""
        z, likelihood = self.standard.generate(count, ctx, samples)
        return z, InUnits(likelihood, self.units)


class _Begins(_Wrapped, HasDataInit):
    """Of a model that wants to see its first batch."""

    def data_init(self, x: Shaped[Tensor, "batch *example"], ctx: Context) -> None:
        """Show it to the model."""
        self.standard.data_init(self.units.inward(x), ctx)


class _Remembers(_Wrapped, HasState):
    """Of a model that remembers."""

    def state(self) -> Mapping[str, Tensor]:
        """The model's."""
        return self.standard.state()


# What a capability is kept by; drawing comes with latents.
_KEPT: dict[type, type[_Wrapped]] = {
    LatentVariable: _Infers,
    HasLogProb: _Scores,
    HasSample: _Draws,
    HasDataInit: _Begins,
    HasState: _Remembers,
}


@cache
def _class_of(capabilities: tuple[type, ...]) -> type[_Wrapped]:
    """One class for each set of capabilities: a model in units can do what it could, and nothing else."""
    kept = tuple(_KEPT[capability] for capability in capabilities) or (_Wrapped,)
    bases = tuple(kind for kind in kept if not any(other is not kind and issubclass(other, kind) for other in kept))
    made: Any = type("Standardised", bases, {"__doc__": "A model of standardised values in the units of its data."})
    return made


def standardised(model: nn.Module, units: Units | None) -> nn.Module:
    """A model of standardised values as one of the data in their own units; without units the model as it is.

    Args:
        model: of u.
        units: x = location + scale * u.

    Returns:
        A model with the capabilities of the first, whose ``location`` and ``scale`` are buffers: they are kept with the
        weights.
    """
    if units is None:
        return model
    return _class_of(tuple(capability for capability in _KEPT if isinstance(model, capability)))(model, units)
