"""Bijections, wherever a model holds them: their way back, and their log-determinants against autodiff."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.certificate.check import Finding, worst
from seedbed.certificate.subject import Probe, Subject, need
from seedbed.core.capabilities import HasLogProb
from seedbed.core.context import Context

EXACT = 1e-6  # relative: a spline's root, a raw exponential's quotient
MOST = 64  # numbers of an event whose whole Jacobian is taken
ROWS = 5  # events that are looked at


def inverse(subject: Subject) -> Finding:
    """The inverse of what forward gives is what it was given, and the log-determinants cancel."""

    def back(part: Any, x: Tensor, rest: tuple[Any, ...]) -> list[Finding]:
        if not getattr(part, "invertible", True):
            return []
        y, log_det = part(x, *rest)
        again, back_det = part.inverse(y, *rest)
        name, size = type(part).__name__, float(x.abs().max().clamp(min=1.0))
        same = float((again.reshape(x.shape) - x).abs().max()) / size
        gap = float((log_det + back_det).abs().max()) / float(log_det.abs().max().clamp(min=1.0))
        found = [Finding(same, EXACT, f"inverse(forward(x)) = x, worst in {name}")]
        return [*found, Finding(gap, EXACT, f"log-determinants of forward and inverse cancel, worst in {name}")]

    return _each(subject, back)


def log_det(subject: Subject) -> Finding:
    """log |det dy/dx| is that of the Jacobian."""

    def jacobian(part: Any, x: Tensor, rest: tuple[Any, ...]) -> list[Finding]:
        if x[0].numel() > MOST:
            return []
        whole = part(x, *rest)[1].expand(len(x))
        found = []
        for row in range(len(x)):
            given = tuple(r[row : row + 1] if isinstance(r, Tensor) and r.ndim and len(r) == len(x) else r for r in rest)
            one = lambda v, given=given: part(v[None], *given)[0][0].flatten()
            matrix = torch.func.jacrev(one)(x[row]).reshape(x[0].numel(), -1)
            truth = torch.linalg.slogdet(matrix)[1]
            gap = float((whole[row] - truth).abs() / truth.abs().clamp(min=1.0))
            found.append(Finding(gap, EXACT, f"log-determinant is that of the Jacobian, worst in {type(part).__name__}"))
        return found

    return _each(subject, jacobian)


def _each(subject: Subject, look: Callable[[Any, Tensor, tuple[Any, ...]], list[Finding]]) -> Finding:
    """The worst finding over all bijections, each at the examples that come to it."""

    def inside(model: Any, x: Tensor, ctx: Context) -> list[Finding]:
        with torch.no_grad():
            return [f for part, given, rest in met_by(model, x, ctx) for f in look(part, given, rest)]

    found = subject.inside(inside, subject.x[0], address=("bijections",))
    need(bool(found), f"it has no bijections of at most {MOST} numbers with a known inverse")
    return worst(found)


def met_by(model: Any, x: Tensor, ctx: Context) -> list[tuple[nn.Module, Tensor, tuple[Any, ...]]]:
    """The bijections of a model, parts with ``inverse`` that return two tensors, and what the examples are when they come.

    Each comes with its first argument, ``[batch, *event]``, and the others.
    """
    met: dict[nn.Module, tuple[Tensor, tuple[Any, ...]]] = {}

    def note(part: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        two = isinstance(out, tuple) and len(out) == 2 and all(isinstance(t, Tensor) for t in out)
        if part not in met and two and given and isinstance(given[0], Tensor) and given[0].numel() == out[0].numel():
            met[part] = given[0].detach(), given[1:]

    handles = [part.register_forward_hook(note) for part in model.modules() if callable(getattr(part, "inverse", None))]
    try:
        if handles and isinstance(model, HasLogProb):
            model.log_prob(x[:ROWS], ctx)
        elif handles and hasattr(model, "proposal"):
            _ = model.proposal(x[:ROWS], ctx).log_w
    finally:
        for handle in handles:
            handle.remove()
    return [(part, given, rest) for part, (given, rest) in met.items()]


PROBES = (
    Probe("inverse", "inverse(forward(x)) = x", inverse),
    Probe("log-det", "log-determinants against autodiff", log_det),
)
