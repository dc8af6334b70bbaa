"""DRAW, the deep recurrent attentive writer (Gregor et al. 2015, arXiv 1502.04623)."""

from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedbed.core.capabilities import HasPaint, LatentVariable, Layer, Painting
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution
from seedbed.core.proposal import Latents
from seedbed.core.shapes import axes_of
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.distributions.numeric import full, soft_clamp
from seedbed.nets.linear import Linear
from seedbed.nets.lstm import CellState, LSTMCell, join


def filterbank(centre: Tensor, stride: Tensor, scale: Tensor, size: int, pixels: int) -> Tensor:
    """F[i, a] = exp(-(a - mu_i)^2 / (2 scale^2)) / Z_i, with mu_i = centre + (i - (size - 1) / 2) stride: eq. 25 and 26.

    Each row is normalised by its own Z_i, so it sums to one, also where the window lies outside the image.

    Args:
        centre: of the window, ``[*batch]``, in pixels; the first pixel is at 0.
        stride: between filters, ``[*batch]``, in pixels.
        scale: standard deviation of each filter, ``[*batch]``, in pixels.
        size: filters.
        pixels: of the image along this axis.

    Returns:
        ``[*batch, size, pixels]``.
    """
    i = torch.arange(size, device=centre.device, dtype=centre.dtype) - (size - 1) / 2
    a = torch.arange(pixels, device=centre.device, dtype=centre.dtype)
    mu = centre[..., None] + i * stride[..., None]
    u = (a - mu[..., None]) / scale[..., None, None]
    return torch.softmax(-0.5 * u.square(), -1)


class Window(NamedTuple):
    """A grid of filters per example.

    Args:
        rows: F_Y, ``[*batch, size, height]``.
        columns: F_X, ``[*batch, size, width]``.
        gain: gamma, ``[*batch, 1]``.
        box: ``[*batch, 5]``: the centre's column and row (the first pixel's are 0), stride, scale, all in pixels, and gain.
    """

    rows: Tensor
    columns: Tensor
    gain: Tensor
    box: Tensor


class Attention(nn.Module):
    """Places a window by an affine map of the decoder's output, eq. 21 to 26.

    The logarithms of variance, stride and gain are kept within +-7 by a soft clamp.

    Args:
        hidden: size of the decoder's output.
        size: filters along each axis.
        shape: height and width of the image.
    """

    def __init__(self, hidden: int, size: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.place = Linear(hidden, 5)
        self.size, self.shape = size, shape

    def forward(self, h: Tensor) -> Window:
        """The window of each example, from ``[*batch, hidden]``."""
        height, width = self.shape
        x, y, *logs = full(self.place(h)).unbind(-1)
        log_variance, log_stride, log_gain = (soft_clamp(log) for log in logs)
        x, y = ((n - 1) / 2 + (n + 1) / 2 * g for n, g in ((width, x), (height, y)))
        stride = (max(height, width) - 1) / max(self.size - 1, 1) * log_stride.exp()
        scale, gain = (0.5 * log_variance).exp(), log_gain.exp()
        rows = filterbank(y, stride, scale, self.size, height)
        columns = filterbank(x, stride, scale, self.size, width)
        return Window(rows, columns, gain[..., None], torch.stack([x, y, stride, scale, gain], -1))

    def read(self, images: tuple[Tensor, ...], h: Tensor) -> Tensor:
        """gamma F_Y image F_X^T, eq. 27: from ``[*batch, height * width]`` each to ``[*batch, size * images * size]``."""
        window = self(h)
        # Side by side, so that both images pass the filters in one product each way.
        wide = join(*(image.unflatten(-1, self.shape) for image in images))
        rows = window.rows @ wide
        tall = rows.reshape(*rows.shape[:-2], len(images) * self.size, self.shape[1])
        return window.gain * (tall @ window.columns.mT).flatten(-2)

    def write(self, patch: Tensor, h: Tensor) -> Tensor:
        """F_Y^T patch F_X / gamma, eq. 29: ``[*batch, size^2]`` to ``[*batch, height * width]``."""
        window = self(h)
        patch = patch.unflatten(-1, (self.size, self.size))
        return (window.rows.mT @ patch @ window.columns).flatten(-2) / window.gain


class DRAW(nn.Module, LatentVariable, HasPaint):
    """A canvas that is written to in steps, each with a latent of its own, by two recurrent networks.

    ``error = x - sigmoid(c); h_enc = LSTM([read(x, error, h_dec), h_dec]); z ~ N(mean(h_enc), scale(h_enc));``
    ``h_dec = LSTM(z); c = c + write(h_dec)``, and p(x | z) = Bernoulli(sigmoid(c)) after the last step. The prior of every z
    is N(0, I). The canvas and the networks start at learned values. Without data, the decoder runs alone, with a fresh z in
    every step. Windows are placed, and filters normalised, per example.

    Args:
        shape: of an example, ``[1, height, width]``.
        latents: size of each z.
        steps: T, how many there are: ``z1`` to ``zT`` in the order of drawing.
        hidden: size of each LSTM.
        read: filters along each axis of the window that is read; 0 to read the whole image.
        write: filters along each axis of the window that is written; 0 to write the whole canvas.
        error_image: whether the encoder sees the error beside x (not in the first source's `draw2` and `draw4`).
        overwrite: write c = c_0 + write(h_dec), each step from the start (the source's `draw3` and `draw4`).
        output_bias: where the canvas starts, ``[*shape]``, e.g. the logits of the data's mean.

    Raises:
        SeedbedError: if there is no step, or an example is no grey image.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latents: int = 100,
        steps: int = 64,
        hidden: int = 256,
        read: int = 0,
        write: int = 0,
        error_image: bool = True,
        overwrite: bool = False,
        output_bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.shape = axes_of(shape)
        if len(self.shape) != 3 or self.shape[0] != 1:
            raise SeedbedError(f"DRAW expects grey images [1, height, width], got examples {list(self.shape)}")
        _, height, width = self.shape
        features = height * width
        if steps < 1:
            raise SeedbedError(f"DRAW needs at least 1 step, got {steps}")
        self.steps, self.error_image, self.overwrite = steps, error_image, overwrite
        self.prior = StandardNormal(latents)
        self.reader = Attention(hidden, read, (height, width)) if read else None
        self.writer = Attention(hidden, write, (height, width)) if write else None
        # Without a window x is the same in every step, so its product is made once; the error's is not.
        self.see = None if read else Linear(features, 4 * hidden, bias=False)
        seen = (1 + error_image) * read**2 if read else error_image * features
        self.encoder = LSTMCell(seen + hidden, hidden)
        self.head = Linear(hidden, 2 * latents)
        self.decoder = LSTMCell(latents, hidden)
        self.brush = Linear(hidden, write**2 if write else features)
        self.canvas = nn.Parameter(torch.zeros(features) if output_bias is None else output_bias.flatten().clone())
        self.encoder_start = nn.Parameter(torch.zeros(2, hidden))
        self.decoder_start = nn.Parameter(torch.zeros(2, hidden))
        if self.see is not None:
            nn.init.uniform_(self.see.weight, -(hidden**-0.5), hidden**-0.5)

    @property
    def domain(self) -> Domain:
        """Binary images."""
        return BERNOULLI.domain

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """From the first step to the last."""
        posterior, x = None, None if x is None else x.flatten(-3)
        encoder, decoder, canvas = self._start(self.encoder_start), self._start(self.decoder_start), self.canvas
        shift = None if x is None or self.see is None else self.see(x)
        for t in range(self.steps):
            if x is not None:
                encoder = self.encoder(self._look(x, canvas, decoder[0]), encoder, shift)
                posterior = DiagonalNormal.from_raw(self.head(encoder[0]))
            z = yield Layer(f"z{t + 1}", self.prior, posterior)
            decoder, canvas = self._draw(z, decoder, canvas)
        return BERNOULLI.build(canvas.unflatten(-1, self.shape), len(self.shape))

    def paint(self, z: Latents, ctx: Context) -> Painting:
        """The canvas and the windows over time, at latents of ``posterior`` or ``generate``."""
        decoder, canvas = self._start(self.decoder_start), self.canvas
        means, read, write = [], [], []
        for value in z.values():
            if self.reader is not None:
                read.append(self.reader(decoder[0]).box.expand(*value.shape[:-1], 5))
            decoder, canvas = self._draw(value, decoder, canvas)
            means.append(torch.sigmoid(canvas).unflatten(-1, self.shape))
            if self.writer is not None:
                write.append(self.writer(decoder[0]).box)
        filters = (self.reader.size if self.reader else 0, self.writer.size if self.writer else 0)
        looked, wrote = (torch.stack(boxes) if boxes else None for boxes in (read, write))
        return Painting(torch.stack(means), looked, wrote, filters)

    def _start(self, start: Tensor) -> CellState:
        h, c = start.unbind(0)
        return h, c

    def _look(self, x: Tensor, canvas: Tensor, h: Tensor) -> Tensor:
        """What the encoder is given besides what it has seen once and for all."""
        error = (x - torch.sigmoid(canvas),) if self.error_image else ()
        return join(*error, h) if self.reader is None else join(self.reader.read((x, *error), h), h)

    def _draw(self, z: Tensor, decoder: CellState, canvas: Tensor) -> tuple[CellState, Tensor]:
        """The decoder after z, and the canvas after its stroke."""
        decoder = self.decoder(z, decoder)
        stroke = self.brush(decoder[0])
        if self.writer is not None:
            stroke = self.writer.write(stroke, decoder[0])
        return decoder, (self.canvas if self.overwrite else canvas) + full(stroke)
