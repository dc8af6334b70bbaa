"""Invertible maps with a tractable log-determinant: x to y and back, one example per leading index."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.capabilities import HasDataInit
from seedbed.core.context import Context
from seedbed.core.products import linear
from seedbed.distributions.numeric import full, soft_clamp
from seedbed.models.spline import spline_forward, spline_inverse
from seedbed.nets.mlp import MLP, Activation

# One event per leading index; a log-determinant that is the same for every one of them is a scalar.
Vectors = Float[Tensor, "*batch features"]
LogDet = Float[Tensor, "*#batch"]
Given = Float[Tensor, "*#batch context"] | None


class Transform(nn.Module, ABC):
    """A bijection of the last axis, or of images.

    ``log_det`` is log |det dy/dx| per example (of ``inverse``: log |det dx/dy|). Where the bijection is conditional, it is
    told what it is ``given``, such as what an encoder returns, ``[*batch, context]``; others have no use for it.
    """

    # Whether the way back is known. Of planar flows, say, it is not: they score only what they drew.
    invertible: ClassVar[bool] = True

    @abstractmethod
    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """``(y, log_det)``, ``[*batch, features]`` and ``[*batch]`` (or a scalar if it is the same for every example)."""

    @abstractmethod
    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """``(x, log_det)``, the way back."""


class Reverse(Transform):
    """Reverse the order of the features."""

    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """Volume is kept."""
        return x.flip(-1), x.new_zeros(())

    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """Its own inverse."""
        return self.forward(y)


class Mix(Transform):
    """y = L U x with L unit lower and U upper triangular, log_det = sum log diag U: a learnt change of axes.

    Kingma & Dhariwal 2018 (arXiv 1807.03039), section 3.2. It starts at the identity, or as theirs at a random rotation
    P L U, of which the permutation P and the signs of U's diagonal stay as they are.

    Args:
        features: size of the last axis.
        rotation: start at a random rotation.
    """

    turn: Tensor
    sign: Tensor

    def __init__(self, features: int, rotation: bool = False) -> None:
        super().__init__()
        self.rotation = rotation
        self.lower = nn.Parameter(torch.zeros(features, features))
        self.upper = nn.Parameter(torch.zeros(features, features))
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        if rotation:
            turn, lower, upper = torch.linalg.lu(nn.init.orthogonal_(torch.empty(features, features)))
            self.register_buffer("turn", turn)
            self.register_buffer("sign", upper.diagonal().sign())
            with torch.no_grad():
                self.lower.copy_(lower.tril(-1))
                self.upper.copy_(upper.triu(1))
                self.log_diagonal.copy_(upper.diagonal().abs().log())

    def factors(self) -> tuple[Float[Tensor, "features features"], Float[Tensor, "features features"]]:
        """L and U, ``[features, features]`` each."""
        eye = torch.eye(len(self.log_diagonal), device=self.lower.device, dtype=self.lower.dtype)
        diagonal = self.log_diagonal.exp() * self.sign if self.rotation else self.log_diagonal.exp()
        return self.lower.tril(-1) + eye, self.upper.triu(1) + eye * diagonal

    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """The same volume for every example."""
        with torch.autocast(x.device.type, enabled=False):  # rounded to bf16, the way back would lead elsewhere
            lower, upper = self.factors()
            weight = lower @ upper
            return linear(full(x), self.turn @ weight if self.rotation else weight, None), self.log_diagonal.sum()

    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """Two triangular systems."""
        with torch.autocast(y.device.type, enabled=False):
            lower, upper = self.factors()
            y = full(y)
            columns = (y @ self.turn if self.rotation else y).mT
            half = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
            return torch.linalg.solve_triangular(upper, half, upper=True).mT, -self.log_diagonal.sum()


class ActNorm(Transform, HasDataInit):
    """y = (x - shift) exp(-log_scale), set from the first batch to zero mean and unit deviation.

    Kingma & Dhariwal 2018 (arXiv 1807.03039).

    Args:
        features: size of the last axis.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(features))

    @torch.no_grad()
    def data_init(self, x: Float[Tensor, "batch features"], ctx: Context) -> None:
        """Set shift and scale from ``x``, ``[batch, features]``."""
        self.shift.copy_(x.mean(0))
        # The constant of the reference implementations: a feature that never varies must not divide by zero.
        self.log_scale.copy_((x.std(0) + 1e-6).log())

    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """log_det = -sum log_scale."""
        return (x - self.shift) * (-self.log_scale).exp(), -self.log_scale.sum()

    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """log_det = sum log_scale."""
        return torch.addcmul(self.shift, y, self.log_scale.exp()), self.log_scale.sum()


class AffineCoupling(Transform):
    """(x1, x2) to (x1, x2 exp(s(x1)) + t(x1)), log_det = sum s.

    Dinh et al. 2017 (arXiv 1605.08803). A raw exponential diverges on a good share of seeds; here |s| < ``bound``.

    Args:
        features: size of the last axis, at least 2.
        hidden: widths of the network of x1.
        bound: largest log-scale; ``None`` for the raw exponential.
        activation: of that network.
        zero_last: start at the identity.
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int],
        bound: float | None = 2.0,
        activation: Activation = "relu",
        zero_last: bool = True,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.split = features // 2
        self.net = MLP(self.split, hidden, 2 * (features - self.split), activation, zero_last)

    def conditioned(
        self, x1: Float[Tensor, "*batch kept"]
    ) -> tuple[Float[Tensor, "*batch bent"], Float[Tensor, "*batch bent"]]:
        """``(s, t)``, each of the shape of x2."""
        s, t = full(self.net(x1)).chunk(2, -1)
        return (s if self.bound is None else soft_clamp(s, self.bound)), t

    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """Scale and shift the second half."""
        x1, x2 = x[..., : self.split], x[..., self.split :]
        s, t = self.conditioned(x1)
        return torch.cat((x1, torch.addcmul(t, x2, s.exp())), -1), s.sum(-1)

    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """Undo it: the first half is unchanged, so s and t are known."""
        y1, y2 = y[..., : self.split], y[..., self.split :]
        s, t = self.conditioned(y1)
        return torch.cat((y1, (y2 - t) * (-s).exp()), -1), -s.sum(-1)


class SplineCoupling(Transform):
    """(x1, x2) to (x1, spline(x2; net(x1))): monotone rational-quadratic on [-B, B], the identity outside.

    Durkan et al. 2019 (arXiv 1906.04032). It starts at the identity: the last layer of the network is zero.

    Args:
        features: size of the last axis, at least 2.
        hidden: widths of the network of x1.
        bins: K, the number of pieces.
        bound: B.
        activation: of that network.
    """

    def __init__(
        self, features: int, hidden: Sequence[int], bins: int = 8, bound: float = 4.0, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.bins, self.bound = bins, bound
        self.split = features // 2
        self.net = MLP(self.split, hidden, (3 * bins - 1) * (features - self.split), activation, zero_last=True)

    def conditioned(self, x1: Float[Tensor, "*batch kept"]) -> Float[Tensor, "*batch bent parameters"]:
        """The raw parameters of each spline, ``[*batch, features of x2, 3 K - 1]``."""
        return full(self.net(x1)).unflatten(-1, (-1, 3 * self.bins - 1))

    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """Bend the second half."""
        x1, x2 = x[..., : self.split], x[..., self.split :]
        y2, log_det = spline_forward(x2, self.conditioned(x1), self.bound)
        return torch.cat((x1, y2), -1), log_det.sum(-1)

    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """Solve one quadratic equation per feature."""
        y1, y2 = y[..., : self.split], y[..., self.split :]
        x2, log_det = spline_inverse(y2, self.conditioned(y1), self.bound)
        return torch.cat((y1, x2), -1), log_det.sum(-1)
