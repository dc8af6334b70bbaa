"""The toy models of the first source (generative-convergence) as they were, defects included: ablations, not advice.

What is wrong is marked `defect`. Widths and parameter counts are the source's: 68,620, 79,164 and 82,824.
"""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL, Domain
from seedbed.core.law import Distribution
from seedbed.core.shapes import Shape, axes_of, flat, size_of
from seedbed.distributions.likelihood import GAUSSIAN
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.distributions.numeric import full
from seedbed.models.flow import Flow
from seedbed.models.transforms import ActNorm, AffineCoupling, Reverse, Transform
from seedbed.nets.linear import Linear
from seedbed.nets.mlp import MLP
from seedbed.nets.norm import BatchNorm


def softplus_variance(raw: Tensor) -> DiagonalNormal:
    """Defect: the log-variance goes through softplus, so a variance is never below 1."""
    mean, log_variance = full(raw).chunk(2, -1)
    return DiagonalNormal(mean, 0.5 * F.softplus(log_variance))


def squashed(raw: Tensor, rank: int = 1) -> DiagonalNormal:
    """Defect: mean and standard deviation of p(x | z) both go through the logistic function, while data span +-4."""
    mean, scale = full(raw).chunk(2, -rank)
    return DiagonalNormal(torch.sigmoid(mean), F.logsigmoid(scale), rank)


def xavier(module: nn.Module) -> None:
    """Xavier-normal weights and zero biases on every affine layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)


class CompatVAE(nn.Module, LatentVariable):
    """The source's toy VAE: encoder with ReLU, decoder with tanh (its "beta" variant).

    Args:
        shape: of an example.
        latents: size of z.
        hidden: widths of the encoder; the decoder mirrors them.
    """

    def __init__(self, shape: Shape = 2, latents: int = 4, hidden: Sequence[int] = (128, 128, 128)) -> None:
        super().__init__()
        self.prior, self.shape = StandardNormal(latents), axes_of(shape)
        self.encoder = nn.Sequential(MLP(shape, hidden[:-1], hidden[-1]), nn.ReLU(), Linear(hidden[-1], 2 * latents))
        self.decoder = MLP(latents, hidden[::-1], GAUSSIAN.outputs(shape), "tanh")
        xavier(self)

    @property
    def domain(self) -> Domain:
        """Real values."""
        return REAL

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """One latent, ``z``."""
        z = yield Layer("z", self.prior, None if x is None else softplus_variance(self.encoder(x)))
        return squashed(self.decoder(z), len(self.shape))


class _Rung(nn.Module):
    """Linear, batch norm, leaky ReLU, and a Gaussian read from the result."""

    def __init__(self, features: int, hidden: int, latents: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Linear(features, hidden), BatchNorm(hidden), nn.LeakyReLU(0.1))
        self.head = Linear(hidden, 2 * latents)

    def forward(self, x: Tensor) -> tuple[Tensor, DiagonalNormal]:
        d = self.body(x)
        return d, softplus_variance(self.head(d))


class CompatLVAE(nn.Module, LatentVariable):
    """The source's toy ladder VAE.

    Defect: below the top, what is sent down (and decoded) is a sample of the *prior*. The posterior's sample z_i only enters
    its own KL. Written as a model, each level has two latents: ``z_i``, a leaf that nothing depends on, and ``down_i``,
    whose posterior *is* its prior, so that its KL is zero. Defect: two separate top-down branches for merge and prior.

    Args:
        shape: of an example.
        latents: size of each z_i, from the data upward.
        hidden: width at each level, from the data upward.
    """

    def __init__(
        self, shape: Shape = 2, latents: Sequence[int] = (4, 4, 4), hidden: Sequence[int] = (128, 128, 128)
    ) -> None:
        super().__init__()
        self.prior, self.shape = StandardNormal(latents[-1]), axes_of(shape)
        below = (size_of(shape), *hidden[:-1])
        self.upward = nn.ModuleList(_Rung(n, m, d) for n, m, d in zip(below, hidden, latents, strict=True))
        steps = list(zip(latents[1:], hidden[:-1], latents[:-1], strict=True))
        self.merge = nn.ModuleList(_Rung(*step) for step in steps)
        self.downward = nn.ModuleList(_Rung(*step) for step in steps)
        # The reconstruction net has the hidden sizes in the encoder's order.
        self.decoder = MLP(latents[0], hidden, GAUSSIAN.outputs(shape))
        xavier(self)

    @property
    def domain(self) -> Domain:
        """Real values."""
        return REAL

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """From z3 down: ``z3``, then ``z2`` and ``down2``, then ``z1`` and ``down1``."""
        top, d = len(self.upward), None if x is None else flat(x, self.shape)
        evidence: list[DiagonalNormal] = []
        for rung in self.upward if d is not None else ():
            d, gaussian = rung(d)
            evidence.append(gaussian)
        z = yield Layer(f"z{top}", self.prior, evidence[-1] if evidence else None)
        for i in reversed(range(top - 1)):
            prior = self.downward[i](z)[1]
            yield Layer(f"z{i + 1}", prior, evidence[i].product(self.merge[i](z)[1]) if evidence else None)
            z = yield Layer(f"down{i + 1}", prior, prior if evidence else None)
        return squashed(self.decoder(z), len(self.shape))


class CompatFlow(Flow):
    """The source's toy flow: [affine coupling, ActNorm] with Reverse between. Defect: the scale is a raw exponential.

    Args:
        shape: of an example.
        couplings: how many in a row.
        hidden: widths of each coupling's network.
    """

    def __init__(self, shape: Shape = 2, couplings: int = 4, hidden: Sequence[int] = (200, 100)) -> None:
        chain, features = list[Transform](), size_of(shape)
        for block in range(couplings):
            chain += [Reverse()] if block else []
            chain += [AffineCoupling(features, hidden, bound=None, zero_last=False), ActNorm(features)]
        super().__init__(shape, chain)
