"""Optimisers over a stack of seeds: every number an optimiser keeps is per seed, its step count included.

Parameters of one player are one matrix ``[seeds, parameters]``; a step is a few elementwise operations on it. The rules are
``torch.optim``'s to the last term (tests compare them), gradients are those of a loss (to be minimised).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

# Moments and the step count, each with a leading seed axis. ``update`` consumes it (in place) and returns it.
OptimizerState = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """A rule that turns gradients into new parameters.

    Args:
        lr: step size before the schedule's factor.
        weight_decay: added to the gradient, except in ``AdamW``, where it shrinks the parameters directly.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0

    @abstractmethod
    def init(self, params: Tensor) -> OptimizerState:
        """State before the first step, for parameters ``[seeds, parameters]``."""

    @abstractmethod
    def rule(self, grads: Tensor, state: OptimizerState, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """The direction to subtract, ``[seeds, parameters]``, and a factor on it, ``[seeds, 1]``, or ``None`` for 1.

        ``t``, ``[seeds, 1]``, counts from 1. Moments are consumed.
        """

    def update(self, params: Tensor, grads: Tensor, state: OptimizerState, lr: Tensor) -> tuple[Tensor, OptimizerState]:
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

    def decay(self, params: Tensor, grads: Tensor) -> Tensor:
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

    def init(self, params: Tensor) -> OptimizerState:
        """Zero moments."""
        return {"t": _count(params), "m": torch.zeros_like(params), "v": torch.zeros_like(params)}

    def update(self, params: Tensor, grads: Tensor, state: OptimizerState, lr: Tensor) -> tuple[Tensor, OptimizerState]:
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

    def rule(self, grads: Tensor, state: OptimizerState, t: Tensor) -> tuple[Tensor, Tensor]:
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


@dataclass(frozen=True, kw_only=True)
class Adamax(Optimizer):
    """Adam with the infinity norm, u = max(beta2 u, |g| + eps) (Kingma and Ba 2015, arXiv 1412.6980)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def init(self, params: Tensor) -> OptimizerState:
        """Zero moment and norm."""
        return {"t": _count(params), "m": torch.zeros_like(params), "u": torch.zeros_like(params)}

    def rule(self, grads: Tensor, state: OptimizerState, t: Tensor) -> tuple[Tensor, Tensor]:
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

    def init(self, params: Tensor) -> OptimizerState:
        """A zero second moment."""
        return {"t": _count(params), "v": torch.zeros_like(params)}

    def rule(self, grads: Tensor, state: OptimizerState, t: Tensor) -> tuple[Tensor, None]:
        """The gradient over its running root mean square."""
        v = state["v"].mul_(self.alpha).addcmul_(grads, grads, value=1 - self.alpha)
        return grads / v.sqrt().add_(self.eps), None


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """b = momentum b + g (Polyak 1964)."""

    momentum: float = 0.0

    def init(self, params: Tensor) -> OptimizerState:
        """A zero buffer where there is momentum."""
        return {"t": _count(params)} | ({"b": torch.zeros_like(params)} if self.momentum else {})

    def rule(self, grads: Tensor, state: OptimizerState, t: Tensor) -> tuple[Tensor, None]:
        """The momentum buffer, or the gradient."""
        return (state["b"].mul_(self.momentum).add_(grads) if self.momentum else grads), None


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "adamax": Adamax,
    "rmsprop": RMSProp,
    "sgd": SGD,
}
