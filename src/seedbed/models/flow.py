"""Normalizing flows made of couplings."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.capabilities import HasDataInit, HasLogProb, HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.shapes import Shape, axes_of, flat, shaped, size_of
from seedbed.distributions.normal import StandardNormal
from seedbed.models.transforms import ActNorm, AffineCoupling, LogDet, Mix, Reverse, SplineCoupling, Transform
from seedbed.nets.mlp import Activation


class Flow(nn.Module, HasLogProb, HasSample, HasDataInit):
    """log p(x) = log N(f(x); 0, I) + log |det df/dx| with f a chain of bijections. A paper's flow only builds its chain.

    Args:
        shape: of an example; the chain bends it laid out as a vector.
        transforms: the chain, from x to z.
    """

    domain = REAL

    def __init__(self, shape: Shape, transforms: Sequence[Transform]) -> None:
        super().__init__()
        self.shape = axes_of(shape)
        self.base = StandardNormal(size_of(shape))
        self.transforms = nn.ModuleList(transforms)

    @property
    def chain(self) -> list[Transform]:
        """The transforms, from x to z."""
        return cast(list[Transform], list(self.transforms))

    def forward(self, x: Float[Tensor, "..."]) -> tuple[Float[Tensor, "*batch size"], LogDet]:
        """``(z, log |det dz/dx|)``, from ``[*batch, *shape]`` to ``[*batch, size]``."""
        x = flat(x, self.shape)
        log_det = x.new_zeros(())
        for transform in self.chain:
            x, term = transform(x)
            log_det = log_det + term
        return x, log_det

    def inverse(self, z: Float[Tensor, "*batch size"]) -> tuple[Float[Tensor, "..."], LogDet]:
        """``(x, log |det dx/dz|)``, from ``[*batch, size]`` to ``[*batch, *shape]``."""
        log_det = z.new_zeros(())
        for transform in reversed(self.chain):
            z, term = transform.inverse(z)
            log_det = log_det + term
        return shaped(z, self.shape), log_det

    def density(self, x: Float[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """log p(x) in nats, ``[*batch]``."""
        z, log_det = self(x)
        return self.base.log_prob(z) + log_det

    def log_prob(self, x: Float[Tensor, "..."], ctx: Context) -> Float[Tensor, "*batch"]:
        """log p(x) in nats, ``[*batch]``."""
        return self.density(x)

    def sample(self, count: int, ctx: Context) -> Float[Tensor, "{count} *example"]:
        """``count`` draws, ``[count, *shape]``."""
        return self.inverse(self.base.draw(ctx.noise, batch=count).value)[0]

    @torch.no_grad()
    def data_init(self, x: Float[Tensor, "batch *example"], ctx: Context) -> None:
        """Pass the first batch through; each layer that wants to see it initialises itself on the way."""
        x = flat(x, self.shape)
        for transform in self.chain:
            if isinstance(transform, HasDataInit):
                transform.data_init(x, ctx)
            x, _ = transform(x)


class CouplingFlow(Flow):
    """A chain of [ActNorm, coupling, Reverse]: each half of the features is bent given the other, in turn.

    Affine: Dinh et al. 2017 (arXiv 1605.08803); spline: Durkan et al. 2019 (arXiv 1906.04032); ActNorm: Kingma & Dhariwal
    2018 (arXiv 1807.03039). Before training it is the Gaussian with the first batch's means and deviations.

    Args:
        shape: of an example, of at least 2 numbers.
        coupling: ``affine`` (bounded scale) or ``spline`` (rational-quadratic).
        couplings: how many in a row.
        hidden: widths of each coupling's network.
        activation: of those networks.
        bins: of a spline.
        mix: learn a change of axes after each coupling, for data that no axis suits.
    """

    def __init__(
        self,
        shape: Shape,
        coupling: Literal["affine", "spline"] = "spline",
        couplings: int = 4,
        hidden: Sequence[int] = (64, 64),
        activation: Activation = "relu",
        bins: int = 8,
        mix: bool = False,
    ) -> None:
        features = size_of(shape)
        if features < 2:
            raise SeedbedError(f"CouplingFlow expects at least 2 numbers, got {features}; one half is bent given the other")

        def bend() -> Transform:
            if coupling == "affine":
                return AffineCoupling(features, hidden, activation=activation)
            if coupling == "spline":
                return SplineCoupling(features, hidden, bins, activation=activation)
            raise unknown("coupling", coupling, ("affine", "spline"))

        chain: list[Transform] = []
        for _ in range(couplings):
            chain += [ActNorm(features), bend(), Reverse(), *([Mix(features)] if mix else [])]
        super().__init__(shape, chain)
