"""Models with an exact density."""

from typing import Any

from torch import Tensor

from seedbed.certificate.check import Finding, quantile
from seedbed.certificate.subject import Probe, Subject, need
from seedbed.certificate.sums import bridge, integrates_to_one, points_of, sums_to_one
from seedbed.core.capabilities import HasLogProb, HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL


def normalised(subject: Subject) -> Finding:
    """p(x) sums to 1 over all x, or integrates to 1."""
    need(isinstance(subject.model, HasLogProb), "it has no density")

    def look(model: Any, x: Tensor, ctx: Context) -> Finding | None:
        log_prob = model.log_prob
        if (points := points_of(subject.domain, subject.example)) is not None:
            return sums_to_one(log_prob(points, ctx), "p(x)")
        if subject.domain != REAL or subject.size > 2:
            return None
        where = model.sample(subject.draws(), ctx) if isinstance(model, HasSample) else x
        flat = where.reshape(len(where), 1, -1)
        log_p = lambda flat: log_prob(flat[:, 0].reshape(-1, *subject.example), ctx)[:, None]
        return integrates_to_one(log_p, flat, "p(x)")

    found = subject.inside(look, subject.x[0], address=("normalised",))
    need(found is not None, "it has too many x for a sum, or is too sharp for a grid; see draws")
    return found


def draws(subject: Subject) -> Finding:
    """Draws have the density; of a model without draws, the density integrates to 1 by importance sampling."""
    need(isinstance(subject.model, HasLogProb), "it has no density")

    def look(model: Any, x: Tensor, ctx: Context) -> Finding:
        log_p = lambda flat: model.log_prob(flat[:, 0].reshape(-1, *subject.example), ctx)[:, None]
        if isinstance(model, HasSample):
            drawn = model.sample(subject.draws(), ctx)
            return bridge(log_p, drawn.reshape(len(drawn), 1, -1), subject.domain, "p(x)")
        need(subject.domain == REAL, "it has no draws, and too many x for a sum")
        return by_importance(log_p, x, ctx)

    return subject.inside(look, subject.x.flatten(0, 1), address=("draws",))


def by_importance(log_p: Any, x: Tensor, ctx: Context, count: int = 20_000) -> Finding:
    """E_r[p / r] = 1 with r a Gaussian twice as wide as the examples."""
    flat = x.flatten(1)
    mean, scale = flat.mean(0), 2 * flat.std(0).clamp(min=1e-3)
    epsilon = ctx.noise.normal(mean.shape, batch=count)
    log_r = (-0.5 * epsilon.square() - scale.log() - 0.9189385332046727).sum(-1)
    w = (log_p((mean + scale * epsilon)[:, None])[:, 0] - log_r).exp()
    size, z = w.sum().square() / w.square().sum(), quantile(1)
    need(bool(size > 100), f"a Gaussian as wide as the examples is too far from p(x): {size:.0f} of {count} draws count")
    error = z * float(w.std()) / count**0.5
    return Finding(abs(float(w.mean()) - 1), error, "integral of p(x) is 1, by importance sampling", z)


# A density is no better than what it is made of.
_SOUND = ("batch", "inverse", "log-det")
PROBES = (
    Probe("normalised", "the density sums or integrates to 1", normalised, _SOUND),
    Probe("draws", "draws have the density", draws, (*_SOUND, "normalised")),
)
