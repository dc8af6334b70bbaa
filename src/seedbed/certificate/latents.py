"""Models with latent variables: laws, posteriors, and weights, by quadrature where there are few latents."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seedbed.certificate.check import Finding, NotApplicableError, quantile, worst
from seedbed.certificate.evidence import Space, evidence, mean_is, means, relative
from seedbed.certificate.subject import EXACT, FEW, Probe, Subject, need, proposal_of, value_of
from seedbed.certificate.sums import bridge, integrates_to_one, points_of, sums_to_one
from seedbed.core.capabilities import Layer, drawn
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.law import Distribution
from seedbed.core.proposal import Latents
from seedbed.objectives.bounds import elbo, iwae


def go_down(subject: Subject) -> Finding:
    """log p(x, z) is one number at a given z, and what is given for each latent moves what is below it."""
    z, x = subject.latents(), subject.x[0, :7]
    joint = lambda model, x, z, ctx: model.joint(x, z, ctx)
    one, other = (subject.call(joint, x, z, address=(address,)) for address in ("one", "other"))
    random = 0.0 if subject.bounded else relative(one, other)

    def below(model: Any, x: Tensor, z: Latents, ctx: Context) -> list[Tensor]:
        """Of every latent, log-densities of what comes after it."""
        _, layers, likelihood = model.descend(ctx, lambda layer: z[layer.name])
        terms = [layer.prior.log_prob(z[layer.name]) for layer in layers] + [likelihood.log_prob(x)]
        return [torch.stack([t.expand(len(x)) for t in terms[place + 1 :]]) for place in range(len(layers))]

    names = list(z)
    before = subject.call(below, x, z)
    for place, name in enumerate(names):
        after = subject.call(below, x, {**z, name: z[name].roll(1, 0)})[place]
        if torch.equal(after, before[place]):
            return Finding(
                1.0, 0.0, f"nothing below {name} depends on it: send the value that `yield` gives down, no other draw"
            )
    words = "log p(x, z) is a function of x and z, and every latent moves what is below it"
    if random > EXACT:
        words = "log p(x, z) at one x and z differs with the draws: send the value that `yield` gives down, no other draw"
    return Finding(random, EXACT, words)


def likelihood(subject: Subject) -> Finding:
    """p(x | z) is normalised over the data's domain, and the density of its own draws."""
    need(subject.latent, "it has no latent variables")
    need(not subject.bounded, "its p(x | z) is a bound on a mass, at noise that is drawn")
    count = subject.draws()

    def look(model: Any, ctx: Context) -> Finding:
        law = model.generate(FEW, ctx)[1]
        draws = law.draw(ctx.noise, count).value
        return law_is_sound(law, draws, subject.domain, subject.example, "p(x | z)")

    return subject.inside(look, address=("likelihood",))


def prior(subject: Subject) -> Finding:
    """Each p(z_l | above) is normalised, and the density of its own draws."""
    need(subject.latent, "it has no latent variables")
    count = subject.draws()

    def look(model: Any, ctx: Context) -> Finding:
        found: list[Finding] = []

        def choose(layer: Layer) -> Tensor:
            draws = layer.prior.draw(ctx.noise, count, FEW).value
            domain = getattr(layer.prior, "domain", REAL)
            event = tuple(draws.shape[2:])
            found.append(law_is_sound(layer.prior, draws, domain, event, f"p({layer.name})"))
            return drawn(layer.prior, ctx, None, FEW).value

        model.descend(ctx, choose)
        return worst(found)

    return subject.inside(look, address=("prior",))


def law_is_sound(law: Distribution, draws: Tensor, domain: Domain, event: tuple[int, ...], what: str) -> Finding:
    """A law is normalised over its domain, and the density of its draws, ``[n, batch, *event]``."""
    batch = draws.shape[1]
    log_p = lambda flat: law.log_prob(flat.unflatten(-1, event) if event else flat.squeeze(-1))
    flat = draws.reshape(*draws.shape[:2], -1)
    found: list[Finding] = []
    if (points := points_of(domain, event)) is not None:
        every = points[:, None].expand(len(points), batch, *event)
        found.append(sums_to_one(law.log_prob(every), what))
    elif domain == REAL and flat.shape[-1] <= 2 and (total := integrates_to_one(log_p, flat, what)) is not None:
        found.append(total)
    return _with_bridge(found, lambda: bridge(log_p, flat, domain, what))


def posterior(subject: Subject) -> Finding:
    """q(z | x) is normalised, and the density of its own draws."""
    need(subject.latent, "it has no latent variables")
    need(subject.scores_latents, "its posterior scores its own draws alone; see weights")
    count = subject.passes

    def look(model: Any, x: Tensor, ctx: Context) -> Finding:
        proposal = proposal_of(model, x, ctx, count)
        log_q_at, space = proposal.log_q_at, Space.of(proposal.z)
        assert log_q_at is not None, "asked for above"
        log_q = lambda flat: log_q_at(space.split(flat))
        flat = space.join(proposal.z)
        found = [Finding(relative(proposal.log_q, log_q(flat)), EXACT, "log q(z | x) of a draw is log q(z | x) at it")]
        if not proposal.real:
            need(all(not layer.real for layer in proposal.layers.values()), "its latents are bits and real numbers both")
            if (points := points_of(BINARY, (space.size,))) is not None:
                found.append(sums_to_one(log_q(points[:, None].expand(-1, len(x), -1)), "q(z | x)"))
            return _with_bridge(found, lambda: bridge(log_q, flat, BINARY, "q(z | x)"))
        if space.size <= 2 and (total := integrates_to_one(log_q, flat, "q(z | x)")) is not None:
            found.append(total)
        return _with_bridge(found, lambda: bridge(log_q, flat, REAL, "q(z | x)"))

    return subject.inside(look, subject.x[0, :FEW], address=("posterior",))


def weights(subject: Subject) -> Finding:
    """log w = log p(x, z) - log q(z | x), and the weights w average to p(x)."""
    need(subject.latent, "it has no latent variables")
    truth = evidence(subject)
    count = 16 if truth is None else subject.passes  # without one there is nothing to average to

    def look(model: Any, x: Tensor, ctx: Context) -> Finding:
        proposal = proposal_of(model, x, ctx, count)
        log_w, found = proposal.log_w, []
        if proposal.log_q_at is not None:
            expected = model.joint(x, proposal.z, ctx) - proposal.log_q_at(proposal.z)
            found.append(Finding(relative(log_w, expected), EXACT, "log w = log p(x, z) - log q(z | x) at the draws"))
        if truth is not None:
            # Cut at 3 p(x), since w itself need not have a variance; where q can be scored its share is known.
            w = (log_w - truth.log_p).exp()
            share, z = torch.ones(()), quantile(len(x))
            if truth.log_q is not None:
                w = w.clamp(max=3.0)
                terms = torch.minimum(truth.joint - truth.log_p, truth.log_q + math.log(3.0))
                share = truth.log_sum(terms).exp()
            deviation, error = (w.mean(0) - share).abs(), w.std(0) / len(w) ** 0.5
            tolerance = z * error + 1e-6 + truth.slack
            at = int((deviation / tolerance).argmax())
            how = "summed over all z" if truth.grid is None else "integrated over a grid of z"
            found.append(Finding(float(deviation[at]), float(tolerance[at]), f"weights average to p(x), {how}", z))
        need(bool(found), "its posterior scores its own draws alone, of too many latents for a grid")
        return worst(found)

    return subject.inside(look, subject.x[0, :FEW], address=("weights",))


def closed_kl(subject: Subject) -> Finding:
    """KL(q || p) in closed form is the mean of log q - log p at draws from q."""
    need(subject.latent, "it has no latent variables")
    count = subject.passes

    def look(model: Any, x: Tensor, ctx: Context) -> Finding:
        proposal = proposal_of(model, x, ctx, count)
        found = []
        for name, layer in proposal.layers.items():
            if (closed := layer.kl()) is not None:
                words = f"KL of {name} in closed form is the mean of log q - log p"
                found.append(mean_is(-layer.log_ratio() - closed, torch.zeros(len(x)), 1e-9, words))
                if (units := layer.kl_per_unit()) is not None:
                    total = units.flatten(closed.ndim).sum(-1) if units.ndim > closed.ndim else units
                    found.append(Finding(relative(total, closed), EXACT, f"KL of {name} is the sum over its units"))
        need(bool(found), "none of its KLs has a closed form")
        return worst(found)

    return subject.inside(look, subject.x[0, :FEW], address=("kl",))


def one_sample(subject: Subject) -> Finding:
    """iwae(1) is the elbo: in value and gradient where they make the same draws, else on average."""
    need(subject.latent, "it has no latent variables")
    one, other = subject.latents(), subject.latents(1)
    if not all(torch.equal(one[name], value[0]) for name, value in other.items()):
        count = subject.passes
        values = means(subject, elbo, count, "elbo") - means(subject, iwae(1), count, "iw1")
        return mean_is(values, torch.zeros(FEW), EXACT, "iwae(1) = elbo on average, by other draws")
    found = []
    for row in range(len(subject.modules)):
        lent, params = subject.differentiable(row)
        values = [lent.call(value_of(u), subject.x[row], row=row)[0] for u in (elbo, iwae(1))]
        found.append(Finding(relative(*values), EXACT, "iwae(1) = elbo in value"))
        slopes, others = (torch.autograd.grad(v.sum(), list(params.values()), allow_unused=True) for v in values)
        scale = max(1.0, *(float(g.abs().max()) for g in slopes if g is not None))
        gap = max(float((_zero(a, b) - _zero(b, a)).abs().max()) for a, b in zip(slopes, others, strict=True))
        found.append(Finding(gap / scale, EXACT, "iwae(1) = elbo in value and in gradient"))
    return worst(found)


def _with_bridge(found: list[Finding], look: Callable[[], Finding]) -> Finding:
    """The worst of what was found and of a bridge, which may have nothing to say."""
    try:
        return worst([*found, look()])
    except NotApplicableError:
        if not found:
            raise
        return worst(found)


def _zero(gradient: Tensor | None, like: Tensor | None) -> Tensor:
    if gradient is not None:
        return gradient
    return torch.zeros(()) if like is None else torch.zeros_like(like)


PROBES = (
    Probe("latents", "p(x, z) is a function of z, and each latent reaches what is below it", go_down),
    Probe("prior", "p(z) is normalised, and the density of its draws", prior),
    Probe("likelihood", "p(x | z) is normalised, and the density of its draws", likelihood),
    Probe("posterior", "q(z | x) is normalised, and the density of its draws", posterior, ("latents", "samples")),
    Probe("weights", "importance weights average to p(x)", weights, ("latents", "samples", "posterior")),
    Probe("kl", "KLs in closed form are what sampling gives", closed_kl, ("latents", "posterior", "weights")),
    Probe("iwae1", "iwae(1) is the elbo in value and gradient", one_sample, ("samples", "posterior", "weights")),
)
