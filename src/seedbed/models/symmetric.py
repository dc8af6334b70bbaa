"""Hierarchies of bits whose decoder and encoder are two players (Flach et al. 2024, arXiv 2307.09883)."""

from collections.abc import Generator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from seedbed.core.capabilities import HasChain, LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.law import Distribution
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.likelihood import BERNOULLI, Likelihood
from seedbed.distributions.normal import DiagonalNormal
from seedbed.distributions.numeric import soft_clamp
from seedbed.nets.conv import Conv2d, ConvTranspose2d, Images
from seedbed.nets.linear import Linear
from seedbed.nets.mlp import MLP, Activation, activation_named

Factorisation = Literal["ladder", "reverse"]
Network = Literal["mlp", "conv"]
SIDE = 28


class SkipMLP(nn.Module):
    """An MLP with a linear map beside it that has no bias: logits of bits from bits.

    Args:
        inputs: bits.
        hidden: widths.
        outputs: bits.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.net, self.skip = MLP(inputs, hidden, outputs, "tanh"), Linear(inputs, outputs, bias=False)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """``[*batch, inputs]`` to ``[*batch, outputs]``."""
        return self.net(x) + self.skip(x)


class Decoder(nn.Module):
    """p(z_l+1 | z_l) from each layer of bits to the next, and p(x | z_last).

    Args:
        shape: of an example.
        bits: of each layer, from the top down.
        hidden: widths of the nets between bits.
        likelihood: the family of p(x | z_last).
        network: of p(x | z_last).
        activation: in it.
    """

    def __init__(
        self,
        shape: Shape,
        bits: Sequence[int],
        hidden: Sequence[int],
        likelihood: Likelihood,
        network: str,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.shape, self.likelihood = axes_of(shape), likelihood
        self.steps = nn.ModuleList(SkipMLP(a, hidden, b) for a, b in pairwise(bits))
        # Of real numbers the mean alone: all of them share one scale.
        self.real = likelihood.domain.kind == "real"
        outputs = self.shape if self.real else likelihood.outputs(shape)
        self.out = (
            _painter(bits[-1], outputs, activation) if network == "conv" else MLP(bits[-1], hidden, outputs, activation)
        )
        if self.real:
            self.log_scale = nn.Parameter(torch.zeros(()))

    def observed(self, z: Float[Tensor, "*batch bits"]) -> Distribution:
        """p(x | z), of the bits of the last layer."""
        out = self.out(z[..., None, None]) if isinstance(self.out, Images) else self.out(z)
        if self.real:
            return DiagonalNormal(out, self.log_scale, len(self.shape))
        return self.likelihood.build(out, len(self.shape))


class Encoder(nn.Module):
    """What x says of the last layer of bits, and from there upward of the others.

    Args:
        shape: of an example.
        bits: of each layer, from the top down.
        hidden: widths of the nets between bits, and of the trunk.
        network: of the trunk.
        activation: in it.
        ladder: whether the layers above are told by the trunk's features, beside the logits below, or by bits alone.
    """

    def __init__(
        self,
        shape: Shape,
        bits: Sequence[int],
        hidden: Sequence[int],
        network: str,
        activation: Activation,
        ladder: bool,
    ) -> None:
        super().__init__()
        width = hidden[-1]
        self.trunk = _eye(width) if network == "conv" else MLP(shape, hidden[:-1], width, activation)
        self.head = Linear(width, bits[-1])
        upward = [(below, above) for above, below in pairwise(bits)]
        if ladder:
            self.steps = nn.ModuleList(MLP(width, hidden, above, "tanh") for _, above in upward)
            self.skips = nn.ModuleList(Linear(below, above, bias=False) for below, above in upward)
        else:
            self.steps = nn.ModuleList(SkipMLP(below, (*hidden, width), above) for below, above in upward)

    def seen(self, x: Shaped[Tensor, "batch *example"]) -> Float[Tensor, "batch width"]:
        """Features of examples, ``[batch, width]``."""
        h = self.trunk(x)
        return torch.tanh(h.flatten(-3) if isinstance(self.trunk, Images) else h)


class SymmetricVAE(nn.Module, LatentVariable, HasChain):
    """p(z_1) p(z_2 | z_1) ... p(x | z_L) of layers of bits, p(z_1) fair coins, with one of two encoders.

    ``ladder``: q(z_1 | x) prod q(z_l+1 | z_l, x), whose logits are those of p(z_l+1 | z_l), the decoder's own net, plus a
    correction by x. ``reverse``: q(z_L | x) prod q(z_l | z_l+1), which shares nothing with the decoder. What belongs to whom
    is told by the names, ``decoder`` and ``encoder``: the model cuts no gradient.

    The source's model of images is ``SymmetricVAE((1, 28, 28), (30, 100), network="conv", hidden=(600, 600))``.

    Args:
        shape: of an example.
        bits: of each layer, from the top down.
        encoder: which factorisation, ``ladder`` or ``reverse``.
        hidden: widths of the nets between layers.
        encoder_hidden: widths of the encoder's nets, if not these.
        likelihood: the family of p(x | z_L); of real numbers a Gaussian of one scale for all, which is learnt.
        network: of what meets x: ``mlp``, or the source's convolutions of grey 28 x 28 images.
        activation: of the nets that meet x; with convolutions of the decoder's, the encoder's being tanh.
        output_bias: where the decoder of an ``mlp`` starts: raw outputs of the likelihood, of real numbers means and
            log-scales ``[2 * channels, ...]``, of which the one scale is the root of the mean square.
        chains: examples that go from x to z to x with every update, from fair coins or U[0, 1) on; 0 for none.

    Raises:
        SeedbedError: for no bits, no hidden layer, an unknown factorisation or network, or examples that it is not for.
    """

    smooth = False

    def __init__(
        self,
        shape: Shape,
        bits: Sequence[int] = (30, 100),
        encoder: str = "ladder",
        hidden: Sequence[int] = (300, 300),
        likelihood: Likelihood = BERNOULLI,
        network: str = "mlp",
        activation: Activation = "tanh",
        output_bias: Tensor | None = None,
        chains: int = 0,
        encoder_hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if not bits or min(bits) < 1 or not hidden:
            raise SeedbedError(
                f"SymmetricVAE takes layers of a bit or more and hidden ones, got bits={bits}, hidden={hidden}"
            )
        if encoder not in get_args(Factorisation):
            raise unknown("factorisation of the encoder", encoder, get_args(Factorisation))
        if network not in get_args(Network):
            raise unknown("network", network, get_args(Network))
        if network == "conv" and axes_of(shape) != (1, SIDE, SIDE):
            raise SeedbedError(
                f"these convolutions are of grey images [1, {SIDE}, {SIDE}], got {list(axes_of(shape))}; use mlp"
            )
        self.bits, self.likelihood, self.factorisation = tuple(bits), likelihood, encoder
        self.decoder = Decoder(shape, bits, hidden, likelihood, network, activation)
        self.encoder = Encoder(shape, bits, encoder_hidden or hidden, network, activation, ladder=encoder == "ladder")
        self.shape, self.chains = axes_of(shape), chains
        self.coins: Tensor
        self.register_buffer("coins", torch.zeros(bits[0]))
        if output_bias is not None and isinstance(self.decoder.out, MLP):
            with torch.no_grad():
                if self.decoder.real:
                    output_bias, raw = output_bias.chunk(2)
                    self.decoder.log_scale.copy_(0.5 * (2 * soft_clamp(raw)).exp().mean().log())
                self.decoder.out.layers[-1].get_parameter("bias").copy_(output_bias.flatten())

    @property
    def domain(self) -> Domain:
        """The domain that p(x | z_L) scores."""
        return self.likelihood.domain

    def state(self) -> Mapping[str, Tensor]:
        """The chains as they start: noise that is no example's."""
        noise = torch.rand(self.chains, *self.shape)
        return {self.chain: noise.round() if self.domain.kind == "binary" else noise} if self.chains else {}

    def corrections(self, x: Tensor) -> list[Tensor]:
        """What x adds to the logits of each layer of the ladder, from the top down."""
        h = self.encoder.seen(self.likelihood.shown(x))
        found = [self.encoder.head(h)]
        for step, skip in zip(reversed(self.encoder.steps), reversed(self.encoder.skips), strict=True):
            found.append(step(h) + skip(found[-1]))
        return found[::-1]

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """From z1, the top layer, down."""
        added = self.corrections(x) if x is not None and self.factorisation == "ladder" else None
        logits, z = self.coins, None
        for place in range(len(self.bits)):
            if z is not None:
                logits = self.decoder.steps[place - 1](z)
            z = yield Layer(f"z{place + 1}", Bernoulli(logits), None if added is None else Bernoulli(logits + added[place]))
        assert z is not None, "there is a layer"
        return self.decoder.observed(z)

    def inference(self, x: Tensor, ctx: Context) -> Generator[tuple[str, Distribution], Tensor, None] | None:
        """From the last layer of bits up, where the encoder is ``reverse``."""
        return self._ascent(x) if self.factorisation == "reverse" else None

    def _ascent(self, x: Tensor) -> Generator[tuple[str, Distribution], Tensor, None]:
        logits = self.encoder.head(self.encoder.seen(self.likelihood.shown(x)))
        for place in reversed(range(len(self.bits))):
            z = yield f"z{place + 1}", Bernoulli(logits)
            if place:
                logits = self.encoder.steps[place - 1](z)


class _Bend(nn.Module):
    """An activation by its name, between layers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = activation_named(name)

    def forward(self, x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """Of every number."""
        return self.function(x)


def _painter(bits: int, outputs: Sequence[int], activation: Activation) -> Images:
    """The source's transposed convolutions, from one point of so many channels to 28 x 28."""
    sizes = ((128, 4, 1), (64, 3, 2), (64, 3, 1), (64, 3, 1), (32, 3, 2), (32, 2, 1))
    layers: list[nn.Module] = []
    for (channels, kernel, stride), before in zip(sizes, (bits, *(size[0] for size in sizes)), strict=False):
        layers += [ConvTranspose2d(before, channels, kernel, stride), _Bend(activation)]
    return Images(*layers, Conv2d(sizes[-1][0], outputs[0], 3, padding=1))


def _eye(width: int) -> Images:
    """The source's convolutions, from 28 x 28 to one point of ``width`` channels."""
    sizes = ((32, 3, 1, 1), (32, 2, 1, 0), (64, 3, 2, 0), (64, 3, 1, 0), (64, 3, 1, 0), (128, 3, 2, 0), (width, 4, 1, 0))
    layers: list[nn.Module] = []
    for (channels, kernel, stride, padding), before in zip(sizes, (1, *(size[0] for size in sizes)), strict=False):
        layers += [Conv2d(before, channels, kernel, stride, padding), nn.Tanh()]
    return Images(*layers[:-1])
