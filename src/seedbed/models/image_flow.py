"""A multi-scale flow of binary images (Dinh et al. 2017, arXiv 1605.08803; Kingma & Dhariwal 2018, arXiv 1807.03039).

With dequantisation and augmentation as stochastic layers (Ho et al. 2019, arXiv 1902.00275; Huang et al. 2020, arXiv
2002.07101; Nielsen et al. 2020, arXiv 2007.02731): a density of real numbers bounds the probability of bits from below.
"""

import math
from collections.abc import Callable, Generator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.capabilities import HasDataInit, LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution, Drawn
from seedbed.core.noise import Noise, Streams
from seedbed.core.shapes import axes_of
from seedbed.distributions.normal import DiagonalNormal
from seedbed.distributions.numeric import full, soft_clamp
from seedbed.models.dequantise import CutNormal, Dequantisation, Exponential, Signs
from seedbed.models.flow import Flow
from seedbed.models.transforms import ActNorm, Mix, Transform
from seedbed.nets.conv import DenseNet

START = 3.0  # about where q puts the pixels' sizes before training, in deviations: few are cut off there


class PerPixel(Transform, HasDataInit):
    """A bijection of the channels, the same at every pixel of ``[batch, channels, height, width]``.

    Of ``ActNorm`` it is Glow's, of ``Mix`` the invertible 1x1 convolution: log_det = height * width * log |det W|.

    Args:
        transform: of the last axis.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(y, log_det)``, the latter summed over pixels."""
        return self._apply_to(self.transform, x)

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(x, log_det)``, the way back."""
        return self._apply_to(self.transform.inverse, y)

    def data_init(self, x: Tensor, ctx: Context) -> None:
        """Every pixel is an example."""
        if isinstance(self.transform, HasDataInit):
            self.transform.data_init(x.movedim(1, -1).flatten(0, -2), ctx)

    def _apply_to(self, function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = x.movedim(1, -1)
        y, log_det = function(pixels.flatten(0, -2))
        return y.unflatten(0, pixels.shape[:-1]).movedim(-1, 1), log_det.expand(len(y)).unflatten(0, (len(x), -1)).sum(1)


class ConvCoupling(Transform):
    """(x1, x2) to (x1, x2 exp(s(x1)) + t(x1)) over halves of the channels, log_det = sum s; |s| < ``bound``.

    Args:
        channels: at least 2.
        net: from images of x1 to images of (s, t), each with the channels of x2.
        bound: largest log-scale.
    """

    def __init__(self, channels: int, net: nn.Module, bound: float = 2.0) -> None:
        super().__init__()
        self.split, self.net, self.bound = channels // 2, net, bound

    def conditioned(self, x1: Tensor) -> tuple[Tensor, Tensor]:
        """``(s, t)``, each of the shape of x2."""
        s, t = full(self.net(x1)).chunk(2, 1)
        return soft_clamp(s, self.bound), t

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scale and shift the second half."""
        x1, x2 = x[:, : self.split], x[:, self.split :]
        s, t = self.conditioned(x1)
        return torch.cat((x1, torch.addcmul(t, x2, s.exp())), 1), s.flatten(1).sum(1)

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo it: the first half is unchanged, so s and t are known."""
        y1, y2 = y[:, : self.split], y[:, self.split :]
        s, t = self.conditioned(y1)
        return torch.cat((y1, (y2 - t) * (-s).exp()), 1), -s.flatten(1).sum(1)


class MultiScale(Transform, HasDataInit):
    """Flattened images to as many independent normal numbers, from fine to coarse.

    Each scale is a chain of [ActNorm, invertible 1x1 convolution, coupling]. Between two scales, squeeze: 2 x 2 pixels
    become four channels; and slice: half of these are done, the others go on (none are done where a scale has no step). It
    is a bijection of the last axis, so a density under N(0, I) of all that is done integrates to one.

    Args:
        shape: channels, height and width.
        steps: of each scale.
        net: a coupling's, of (channels in, channels out, (height, width)).

    Raises:
        SeedbedError: if the images cannot be halved as often as there are scales after the first, or there is one channel to
            be split.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        steps: Sequence[int],
        net: Callable[[int, int, tuple[int, int]], nn.Module],
    ) -> None:
        super().__init__()
        channels, height, width = shape
        part = 2 ** (len(steps) - 1)
        if height % part or width % part:
            raise SeedbedError(
                f"{len(steps)} scales need images whose sides {part} divides, such as {-(-height // part) * part} x "
                f"{-(-width // part) * part}; got {height} x {width}: pad or resize them, or use fewer scales"
            )
        self.shape, self.slices = shape, [n > 0 for n in steps]
        self.scales = nn.ModuleList()
        for i, count in enumerate(steps):
            if i:
                channels, height, width = channels * (2 if self.slices[i - 1] else 4), height // 2, width // 2
            if channels < 2 and count:
                raise SeedbedError("a coupling needs at least 2 channels; augment the image or start with 0 steps")
            half = channels // 2
            self.scales.append(
                nn.ModuleList(
                    transform
                    for _ in range(count)
                    for transform in (
                        PerPixel(ActNorm(channels)),
                        PerPixel(Mix(channels, rotation=True)),
                        ConvCoupling(channels, net(half, 2 * (channels - half), (height, width))),
                    )
                )
            )

    @property
    def chains(self) -> list[list[Transform]]:
        """The transforms of each scale, from x to z."""
        return [cast(list[Transform], list(cast(nn.ModuleList, scale))) for scale in self.scales]

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``[*batch, channels * height * width]``, twice."""
        return self._pass(x, lambda transform, x: None)

    def data_init(self, x: Tensor, ctx: Context) -> None:
        """Pass the first batch through; each ActNorm sets itself on the way."""

        def visit(transform: nn.Module, x: Tensor) -> None:
            if isinstance(transform, HasDataInit):
                transform.data_init(x, ctx)

        self._pass(x, visit)

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From coarse to fine."""
        batch, (channels, height, width) = y.shape[:-1], self.shape
        y = y.reshape(-1, y.shape[-1])
        shapes, done = [], []
        for sliced in self.slices[:-1]:
            channels, height, width = 4 * channels, height // 2, width // 2
            if sliced:
                channels //= 2
                shapes.append((channels, height, width))
        *done, x = y.split([math.prod(shape) for shape in (*shapes, (channels, height, width))], 1)
        x, log_det = x.unflatten(1, (channels, height, width)), y.new_zeros(len(y))
        for i, chain in reversed(list(enumerate(self.chains))):
            for transform in reversed(chain):
                x, term = transform.inverse(x)
                log_det = log_det + term
            if i:
                if self.slices[i - 1]:
                    x = torch.cat([done.pop().unflatten(1, x.shape[1:]), x], 1)
                x = F.pixel_shuffle(x, 2)
        return x.reshape(*batch, y.shape[-1]), log_det.reshape(batch)

    def _pass(self, x: Tensor, visit: Callable[[nn.Module, Tensor], None]) -> tuple[Tensor, Tensor]:
        batch, features = x.shape[:-1], x.shape[-1]
        x = full(x).reshape(-1, *self.shape)
        log_det, done = x.new_zeros(len(x)), []
        for i, chain in enumerate(self.chains):
            if i:
                x = F.pixel_unshuffle(x, 2)
                if self.slices[i - 1]:
                    finished, x = x.chunk(2, 1)
                    done.append(finished.flatten(1))
            for transform in chain:
                visit(transform, x)
                x, term = transform(x)
                log_det = log_det + term
        return torch.cat([*done, x.flatten(1)], 1).reshape(*batch, features), log_det.reshape(batch)


class FlowDensity:
    """The density of a flow as a prior.

    Args:
        flow: of real numbers.
    """

    domain = REAL
    rank = 1
    reparameterised = True

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact, in nats."""
        return self.flow.density(value)

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """The flow's inverse at normal draws, ``[samples, batch, features]``."""
        value = self.flow.inverse(self.flow.base.draw(noise, samples, batch).value)[0]
        return Drawn(value, lambda: self.log_prob(value))


class ImageFlow(nn.Module, LatentVariable, HasDataInit):
    """P(x) = integral of p(v) over the v whose signs are x, p(v) a multi-scale flow; E_q[log p(v) - log q(v | x)] bounds it.

    v has a number per pixel and ``augment`` more, which only give couplings more to work with. The source's size is
    ``ImageFlow((1, 28, 28))``; its dequantisation is uniform and its scale a raw exponential, which diverges.

    Args:
        shape: of an example, ``[channels, height, width]``.
        augment: channels that are added to the image's.
        steps: [ActNorm, 1x1 convolution, coupling] of each scale, from fine to coarse.
        width: of every net (``DenseNet``), as are
        depth: its layers, and
        growth: what each adds.
        variational: q learns where v lies; else it is uniform dequantisation.

    Raises:
        SeedbedError: if examples are no images, or cannot be halved often enough.
    """

    # Of v given x there is no density in the posterior's neighbourhood to anneal through.
    smooth = False

    def __init__(
        self,
        shape: Sequence[int],
        augment: int = 1,
        steps: Sequence[int] = (4, 4, 4),
        width: int = 64,
        depth: int = 8,
        growth: int = 16,
        variational: bool = True,
    ) -> None:
        super().__init__()
        self.shape = axes_of(shape)
        if len(self.shape) != 3:
            raise SeedbedError(f"ImageFlow expects images [channels, height, width], got examples {list(self.shape)}")
        colours, height, across = self.shape
        if variational and (height % 2 or across % 2):
            raise SeedbedError(
                f"variational dequantisation halves the image, so its sides must be even, got {height} x {across}: pad or "
                "resize the images, or use variational=False"
            )

        def net(inputs: int, outputs: int, size: tuple[int, int]) -> DenseNet:
            return DenseNet(inputs, outputs, size, width, depth, growth)

        channels = colours + augment
        self.pixels = math.prod(self.shape)
        self.flow = Flow(channels * height * across, [MultiScale((channels, height, across), steps, net)])
        # At half the resolution: four times less work.
        self.dequantiser = net(4 * colours, 8 * channels, (height // 2, across // 2)) if variational else None

    @property
    def domain(self) -> Domain:
        """Bits."""
        return BINARY

    def dequantise(self, x: Tensor) -> Dequantisation:
        """q(v | x), from ``[batch, *shape]``."""
        image, x = 2 * x - 1, x.flatten(-3)
        if self.dequantiser is None:
            zero = x.new_zeros(*x.shape[:-1], self.flow.base.features - self.pixels)
            return Dequantisation(x, Exponential(x.shape), DiagonalNormal(zero, zero))
        raw = full(F.pixel_shuffle(self.dequantiser(F.pixel_unshuffle(image, 2)), 2))
        mean, log_scale = raw.flatten(1).chunk(2, 1)
        (near, beside), log_scales = (t.tensor_split([self.pixels], 1) for t in (mean, soft_clamp(log_scale, 2.0)))
        # Below a mean of 0 hardly a draw would be left of the normal.
        size = CutNormal(F.softplus(near + START), log_scales[0])
        return Dequantisation(x, size, DiagonalNormal(beside, log_scales[1]))

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """One latent, ``v``."""
        posterior = None if x is None else self.dequantise(x)
        v = yield Layer("v", FlowDensity(self.flow), posterior)
        return Signs(v[..., : self.pixels].unflatten(-1, self.shape), len(self.shape))

    @torch.no_grad()
    def data_init(self, x: Tensor, ctx: Context) -> None:
        """Normalise the first batch, dequantised by draws that are the same for every seed, on its way through the flow."""
        noise = Noise([Streams(0)], "init", "dequantise", device=x.device, dtype=x.dtype)
        self.flow.data_init(self.dequantise(x).draw(noise).value, ctx)
