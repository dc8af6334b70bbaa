"""Optimisers over a stack of seeds: every number an optimiser keeps is per seed, its step count included.

Parameters of one player are one matrix ``[seeds, parameters]``; a step is a few elementwise operations on it (Soap alone
looks for the weight matrices in it). Rules that ``torch.optim`` has are its own to the last term (tests compare them).
Gradients are those of a loss (to be minimised).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.matmul import full_width_products
from seedbed.core.numbers import number

# Moments and the step count, each with a leading seed axis. ``update`` consumes it (in place) and returns it.
OptimizerState = dict[str, Tensor]
Rows = Float[Tensor, "seeds parameters"]
PerSeed = Float[Tensor, "seeds 1"]
_DECAYS = ("beta1", "beta2", "alpha", "momentum", "memory")  # of averages


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """A rule that turns gradients into new parameters.

    Args:
        lr: step size before the schedule's factor.
        weight_decay: added to the gradient, except in ``AdamW``, where it shrinks the parameters directly.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        # A decay of an average that is 1 divides by 0 where its bias is corrected.
        for f in fields(self):
            if f.name in ("lr", "weight_decay", "eps", *_DECAYS):
                most = 1.0 if f.name in _DECAYS else None
                value = number(f"{type(self).__name__}: {f.name}", getattr(self, f.name), 0, most, below=most is not None)
                object.__setattr__(self, f.name, value)

    def bind(self, shapes: Iterable[Iterable[int]]) -> "Optimizer":
        """The same rule for parameters that are tensors of these shapes, one after another in a row."""
        return self

    @abstractmethod
    def init(self, params: Rows) -> OptimizerState:
        """State before the first step, for parameters ``[seeds, parameters]``."""

    @abstractmethod
    def rule(self, grads: Rows, state: OptimizerState, t: PerSeed) -> tuple[Rows, PerSeed | None]:
        """The direction to subtract, ``[seeds, parameters]``, and a factor on it, ``[seeds, 1]``, or ``None`` for 1.

        ``t``, ``[seeds, 1]``, counts from 1. Moments are consumed.
        """

    def update(self, params: Rows, grads: Rows, state: OptimizerState, lr: PerSeed) -> tuple[Rows, OptimizerState]:
        """One step: new parameters and state.

        Args:
            params: ``[seeds, parameters]``.
            grads: the same shape.
            state: what ``init`` or the last step returned; consumed.
            lr: step size of each seed, ``[seeds, 1]``.
        """
        state["t"] += 1
        if self.weight_decay:
            grads = self.decay(params, grads)
        direction, factor = self.rule(grads, state, state["t"])
        if self.weight_decay and self.decoupled:
            params = params * (1 - lr * self.weight_decay)
        return torch.addcmul(params, direction, lr if factor is None else lr * factor, value=-1), state

    @property
    def decoupled(self) -> bool:
        """Whether weight decay acts on the parameters instead of the gradient."""
        return False

    def decay(self, params: Rows, grads: Rows) -> Rows:
        """The gradient with weight decay added, unless it is decoupled."""
        return grads if self.decoupled else grads + self.weight_decay * params


def _count(params: Tensor) -> Tensor:
    return params.new_zeros((len(params), 1))


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """m / (sqrt(v) + eps) with bias-corrected moments (Kingma and Ba 2015, arXiv 1412.6980)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def init(self, params: Rows) -> OptimizerState:
        """Zero moments."""
        return {"t": _count(params), "m": torch.zeros_like(params), "v": torch.zeros_like(params)}

    def update(self, params: Rows, grads: Rows, state: OptimizerState, lr: PerSeed) -> tuple[Rows, OptimizerState]:
        """One step: new parameters and state; on a CPU in one pass over memory, which is what it costs."""
        if params.device.type != "cpu":
            return super().update(params, grads, state, lr)
        state["t"] += 1
        new = params.clone()
        stacks = (new, grads, state["m"], state["v"])
        fused = torch.ops.aten._fused_adamw_.default if self.decoupled else torch.ops.aten._fused_adam_.default
        rates = lr.flatten().tolist()
        for rate in dict.fromkeys(rates):
            rows = [row for row, other in enumerate(rates) if other == rate]
            fused(
                *([stack[row] for row in rows] for stack in stacks),
                [],
                [state["t"][row, 0] for row in rows],
                lr=rate,
                beta1=self.beta1,
                beta2=self.beta2,
                weight_decay=self.weight_decay,
                eps=self.eps,
                amsgrad=False,
                maximize=False,
            )
        return new, state

    def rule(self, grads: Rows, state: OptimizerState, t: PerSeed) -> tuple[Rows, PerSeed]:
        """Bias-corrected m over the root of bias-corrected v; the corrections are gathered in the factor."""
        m, v = state["m"], state["v"]
        m.lerp_(grads, 1 - self.beta1)
        v.mul_(self.beta2).addcmul_(grads, grads, value=1 - self.beta2)
        scale = (1 - self.beta2**t).sqrt()
        return m / v.sqrt().add_(self.eps * scale), scale / (1 - self.beta1**t)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    weight_decay: float = 0.01

    @property
    def decoupled(self) -> bool:
        """Always."""
        return True


FLOOR = 1e-4  # of the mean eigenvalue: gradients smaller than that do not turn the basis


class WeightMatrix(NamedTuple):
    """Where a weight matrix ``[rows, columns]`` lies in a row of parameters, and which of its sides are turned."""

    start: int
    rows: int
    columns: int
    sides: tuple[str, ...]

    def of(self, flat: Rows) -> Float[Tensor, "seeds {self.rows} {self.columns}"]:
        """It, in ``[seeds, parameters]``: a view ``[seeds, rows, columns]``."""
        return flat[:, self.start : self.start + self.rows * self.columns].unflatten(1, (self.rows, self.columns))


@dataclass(frozen=True, kw_only=True)
class Soap(Adam):
    """Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv 2409.11321).

    ``L = mean(G G^T), R = mean(G^T G)`` of a weight matrix's gradient G; with their eigenvectors ``Q_L, Q_R`` the step is
    ``Q_L Adam(Q_L^T G Q_R) Q_R^T``. Biases, and sides longer than ``largest``, keep their axes. The paper takes G into L and
    R and turns the first moment anew at every step; here both are done when the basis changes, once in ``every`` steps, so
    that a step costs two products per side.

    The bases start as the axes, where the authors' code starts from the first gradient's and skips that update;
    axes without gradients are held where they are (``FLOOR``). Weight decay is added to the gradient, theirs to the step.

    The paper leaves the second moment as it is, in axes that are no longer its own. A large first moment over the root of a
    small second one is then a long step, and where gradients are rare, as those of a border pixel's weights, there are no
    others to undo it: such weights grew a hundredfold. Here the second moment goes along, with ``P = Q^T Q'`` as
    ``V' = (P_L * P_L)^T V (P_R * P_R)`` (exact if gradients are uncorrelated along the old axes), and is at least the square
    of the first.

    Args:
        every: steps between two changes of the basis, each by one step of orthogonal iteration from the last.
        memory: decay of L and R from one change to the next.
        largest: sides that are turned have at most so many units.
        shapes: of the parameters; see ``bind``.
    """

    beta2: float = 0.99
    every: int = 10
    memory: float = 0.9
    largest: int = 256
    shapes: tuple[tuple[int, ...], ...] = ()

    def bind(self, shapes: Iterable[Iterable[int]]) -> "Optimizer":
        """The rule that knows where the weight matrices are."""
        return replace(self, shapes=tuple(tuple(shape) for shape in shapes))

    def matrices(self) -> Iterator[tuple[str, WeightMatrix]]:
        """The weight matrices, named by their places; filters are rows of one output channel each."""
        start = 0
        for place, shape in enumerate(self.shapes):
            size = math.prod(shape)
            if len(shape) > 1:
                rows, columns = shape[0], size // shape[0]
                sides = (("left", rows), ("right", columns))
                if turned := tuple(side for side, length in sides if length <= self.largest):
                    yield str(place), WeightMatrix(start, rows, columns, turned)
            start += size

    def init(self, params: Rows) -> OptimizerState:
        """Zero moments, and no turn yet."""
        state = super().init(params)
        for name, matrix in self.matrices():
            for side in matrix.sides:
                length = matrix.rows if side == "left" else matrix.columns
                state[f"{name}.{side}.outer"] = params.new_zeros((len(params), length, length))
                state[f"{name}.{side}.basis"] = torch.eye(length).to(params).repeat(len(params), 1, 1)
        return state

    def update(self, params: Rows, grads: Rows, state: OptimizerState, lr: PerSeed) -> tuple[Rows, OptimizerState]:
        """One step: new parameters and state."""
        grads = self.decay(params, grads) if self.weight_decay else grads
        with full_width_products():
            # A seed that skipped an update has a count of its own. All are turned together, so that none can notice.
            due = (state["t"][:, 0] + 1) % self.every == 0
            if bool(due.any()):
                old = {} if bool(due.all()) else {key: value.clone() for key, value in state.items()}
                self._turn(grads, state)
                for key, value in old.items():
                    state[key] = torch.where(due.view(-1, *[1] * (value.ndim - 1)), state[key], value)
            turned = self._each(grads, state, _into)
            step, state = super().update(torch.zeros_like(params), turned, state, lr)
            return self._each(step, state, _back).add_(params), state

    def _turn(self, grads: Tensor, state: OptimizerState) -> None:
        """Take the gradient into L and R, and move the basis on, and the moments with it."""
        t = state["t"][..., None]
        corrected = (1 - self.beta2**t) / (1 - self.beta1**t).square()  # of bias; before the first step, of nothing
        for name, matrix in self.matrices():
            gradient, turns = matrix.of(grads), {}
            for side in matrix.sides:
                outer, basis = state[f"{name}.{side}.outer"], state[f"{name}.{side}.basis"]
                outer.lerp_(gradient @ gradient.mT if side == "left" else gradient.mT @ gradient, 1 - self.memory)
                # Axes along which there is no gradient would be turned by rounding alone: these stay where they are.
                floor = FLOOR * outer.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
                new = torch.linalg.qr(torch.baddbmm(floor * basis, outer, basis)).Q.contiguous()
                turns[side] = basis.mT @ new
                state[f"{name}.{side}.basis"] = new
            left, right = turns.get("left"), turns.get("right")
            m = _into(matrix.of(state["m"]), left, right)
            v = _into(matrix.of(state["v"]), *(None if turn is None else turn.square() for turn in (left, right)))
            matrix.of(state["m"]).copy_(m)
            matrix.of(state["v"]).copy_(torch.where(t > 0, torch.maximum(v, corrected * m.square()), v))

    def _each(self, flat: Tensor, state: OptimizerState, change: Callable[..., Tensor]) -> Tensor:
        """``[seeds, parameters]`` with every weight matrix changed."""
        pieces, end = [], 0
        for name, matrix in self.matrices():
            left, right = (state.get(f"{name}.{side}.basis") for side in ("left", "right"))
            pieces += [flat[:, end : matrix.start], change(matrix.of(flat), left, right).flatten(1)]
            end = matrix.start + matrix.rows * matrix.columns
        return torch.cat([*pieces, flat[:, end:]], 1)


def _into(x: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """``Q_L^T X Q_R``."""
    x = x if left is None else left.mT @ x
    return x if right is None else x @ right


def _back(x: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """``Q_L X Q_R^T``."""
    x = x if left is None else left @ x
    return x if right is None else x @ right.mT


@dataclass(frozen=True, kw_only=True)
class Adamax(Optimizer):
    """Adam with the infinity norm, u = max(beta2 u, |g| + eps) (Kingma and Ba 2015, arXiv 1412.6980)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def init(self, params: Rows) -> OptimizerState:
        """Zero moment and norm."""
        return {"t": _count(params), "m": torch.zeros_like(params), "u": torch.zeros_like(params)}

    def rule(self, grads: Rows, state: OptimizerState, t: PerSeed) -> tuple[Rows, PerSeed]:
        """Bias-corrected m over u."""
        m, u = state["m"], state["u"]
        m.lerp_(grads, 1 - self.beta1)
        torch.maximum(u.mul_(self.beta2), grads.abs().add_(self.eps), out=u)
        return m / u, 1 / (1 - self.beta1**t)


@dataclass(frozen=True, kw_only=True)
class RMSProp(Optimizer):
    """g / (sqrt(v) + eps), v a running mean of g^2 (Tieleman and Hinton 2012, Coursera lecture 6.5)."""

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8

    def init(self, params: Rows) -> OptimizerState:
        """A zero second moment."""
        return {"t": _count(params), "v": torch.zeros_like(params)}

    def rule(self, grads: Rows, state: OptimizerState, t: PerSeed) -> tuple[Rows, None]:
        """The gradient over its running root mean square."""
        v = state["v"].mul_(self.alpha).addcmul_(grads, grads, value=1 - self.alpha)
        return grads / v.sqrt().add_(self.eps), None


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """b = momentum b + g (Polyak 1964)."""

    momentum: float = 0.0

    def init(self, params: Rows) -> OptimizerState:
        """A zero buffer where there is momentum."""
        return {"t": _count(params)} | ({"b": torch.zeros_like(params)} if self.momentum else {})

    def rule(self, grads: Rows, state: OptimizerState, t: PerSeed) -> tuple[Rows, None]:
        """The momentum buffer, or the gradient."""
        return (state["b"].mul_(self.momentum).add_(grads) if self.momentum else grads), None


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "soap": Soap,
    "adamax": Adamax,
    "rmsprop": RMSProp,
    "sgd": SGD,
}
