"""What somebody wrote and calls a bound, or a loss in nats: held against what the model, or any model, can be."""

import math
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.certificate.check import Finding, worst
from seedbed.certificate.evidence import at_most, evidence, mean_is, means
from seedbed.certificate.subject import FEW, Claim, Probe, Subject, need
from seedbed.certificate.sums import Grid, points_of
from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.terms import Terms
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.objectives.bounds import elbo, elbo_kl, iwae
from seedbed.objectives.own import value_of, with_context

EXACT = 1e-6
ENOUGH = 256  # draws from which on a bound can be told from another without knowing log p(x)
SHIFT = 0.5  # of what a module says
REPEATS = 64  # draws of a loss at each x that is summed over


class Tight(nn.Module, LatentVariable):
    """z ~ N(0, I), x = 1.5 z + 0.5 e, with its exact posterior: every bound is log p(x) at every draw.

    Args:
        size: numbers of x, and of z.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.gain, self.noise = size, 1.5, 0.5

    @property
    def domain(self) -> Domain:
        """Real values."""
        return REAL

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, DiagonalNormal]:
        """One latent, ``z``."""
        variance = 1 / (1 + (self.gain / self.noise) ** 2)
        q = None if x is None else _normal(variance * self.gain / self.noise**2 * x, variance**0.5)
        z = yield Layer("z", StandardNormal(self.size), q)
        return _normal(self.gain * z, self.noise)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), ``[batch]``."""
        return _normal(torch.zeros_like(x), (self.gain**2 + self.noise**2) ** 0.5).log_prob(x)


def _normal(mean: Tensor, scale: float) -> DiagonalNormal:
    return DiagonalNormal(mean, torch.full_like(mean, math.log(scale)))


def bounds(subject: Subject) -> Finding:
    """No bound is above log p(x) in expectation, one's own included, and each is what it is said to be."""
    claim = subject.bound
    need(subject.latent or claim is not None, "it has no latent variables, and no bound of one's own was given")
    found = _of_latents(subject) if subject.latent else []
    if claim is not None and (exact := _at_the_exact_posterior(as_utility(claim), claim)) is not None:
        found.append(exact)
    need(bool(found), "chance is larger than a nat here, and too many latents are left to sum over")
    return worst(found)


def _of_latents(subject: Subject) -> list[Finding]:
    """The bounds on the model, against log p(x) where that is known and iwae of many samples where it is not."""
    claim, truth, count, zero = subject.bound, evidence(subject), subject.passes, torch.zeros(())
    named: dict[str, Callable[..., Terms]] = {"elbo": elbo, "elbo_kl": elbo_kl, "iw3": iwae(3)}
    # Held against a bound of many samples, a tighter one that is right would be above it: it needs log p(x), or its own k.
    named |= {} if claim is None or (truth is None and not claim.k) else {"your bound": as_utility(claim)}
    if truth is None and count < ENOUGH and not (claim and claim.k):
        return []
    if truth is None:
        most, times = max(count // 8, 8), 8
        values = means(subject, iwae(most), times, "limit")
        limit, of = (values.mean(0), values.std(0) / times**0.5, zero), f"iw{most}"
    else:
        limit = truth.log_p, zero, truth.slack
        of = "log p(x), summed over all z" if truth.grid is None else "log p(x), integrated over a grid of z"
    found = []
    for name, bound in named.items():
        values = means(subject, bound, count, name)
        if name == "your bound" and claim is not None and claim.k:
            same = values - means(subject, iwae(claim.k), count, f"iw{claim.k}")
            found.append(mean_is(same, torch.zeros(FEW), EXACT, f"your bound is iwae({claim.k}) in expectation"))
        elif truth is not None and truth.log_q is not None and name in ("elbo", "elbo_kl"):
            exact = truth.mean(truth.joint - truth.log_q)
            found.append(mean_is(values, exact, truth.slack + EXACT, f"{name} is the mean of log w over q(z | x)"))
        else:
            found.append(at_most(values, *limit, f"{name} is at most {of}"))
    return [finding for finding in found if finding.tolerance < 1 or not finding.passed]


def _at_the_exact_posterior(bound: Callable[..., Terms], claim: Claim) -> Finding | None:
    """On ``Tight``; ``None`` of a bound that asks the model for more than latents."""
    model = Tight(3)
    ctx = Context.of(0, "certificate", "tight")
    x = ctx.noise.normal((3,), batch=512).double()
    try:
        values = bound(model, x, ctx).value
    except (AttributeError, TypeError):
        return None
    gap = values.detach() - model.log_prob(x)
    over = gap.mean().clamp(min=0.0) if not claim.k else gap.abs().mean()
    what = f"iwae({claim.k}) is" if claim.k else "no bound is above"
    return Finding(float(over), 1e-4, f"at an exact posterior {what} log p(x)")  # latents are drawn in fp32


def claimed_loss(subject: Subject) -> Finding:
    """A loss of one's own, in nats, is no shorter code for x than any model has: sum over all x of exp(-loss) <= 1."""
    claim = subject.loss
    need(claim is not None, "no loss of one's own was given")
    assert claim is not None, "asked for above"
    utility, found = as_utility(claim), []
    if subject.latent:
        values = means(subject, utility, subject.passes, "loss")
        if (truth := evidence(subject)) is not None:
            words = "the loss is at least -log p(x)"
            found.append(at_most(values, truth.log_p, torch.zeros(()), truth.slack, words))
        reference = means(subject, elbo, len(values), "elbo")
        found.append(mean_is(values - reference, torch.zeros(FEW), EXACT, "the loss is the negative elbo in expectation"))
    if (sum_ := kraft(subject, utility)) is not None:
        found.append(sum_)
    found += by_parts(subject, claim)
    need(bool(found), "it has too many x for a sum or a grid, and no latents to measure it by")
    return worst(found)


def kraft(subject: Subject, utility: Callable[..., Terms]) -> Finding | None:
    """Sum, or integral, over all x of exp(-mean loss of x) is at most 1 (Kraft 1949, McMillan 1956).

    -loss <= log p(x) for some p, hence exp(-loss) <= p(x), and p(x) sums to 1. ``None`` where there are too many x.
    """

    def log_code(model: Any, x: Tensor, ctx: Context) -> Tensor:
        return utility(model, x, ctx).value

    points, grid = points_of(subject.data_domain, subject.example), None
    if points is None:
        if subject.data_domain != REAL or subject.size > 2:
            return None
        grid = Grid.around(subject.x.flatten(0, 1).flatten(1)[:, None])
        points = grid.points.reshape(-1, *subject.example)
    total = torch.zeros(len(points), dtype=torch.float64)
    repeats = REPEATS if grid is None else 4
    for number in range(repeats):
        total = total + subject.call(log_code, points, address=("kraft", number)).detach() / repeats
    log_sum = total.logsumexp(0) if grid is None else grid.log_integral(total[:, None])[0].squeeze()
    excess = float((log_sum.exp() - 1).clamp(min=0.0))
    how = f"over all {len(points)} x" if grid is None else "over a grid of x"
    words = f"sum of exp(-loss) {how} is at most 1: {float(log_sum.exp()):.3g}"
    return Finding(excess, 1e-2, words)


def by_parts(subject: Subject, claim: Claim) -> list[Finding]:
    """Of a module that returns (reconstruction, mean, log_var): what the loss makes of others is what a negative ELBO does.

    Of another q(z | x) it is the KL to N(0, I), sum (m^2 + v - 1 - log v) / 2; of bits and another logit or probability of
    one pixel, the cross-entropy of that pixel. Empty of other modules, and of losses that go around ``forward``.
    """
    x = subject.x[0]
    try:
        out = subject.call(lambda model, x, ctx: model(x), x)
    except (TypeError, RuntimeError):  # it has no forward, or one of something else
        return []
    if not isinstance(out, tuple) or len(out) != 3 or out[1].shape != out[2].shape or out[1].ndim != 2:
        return []
    said, mean, log_var = out
    asked: list[int] = []

    def loss(pixel: float, shift: float) -> Tensor:
        def value(model: Any, x: Tensor, ctx: Context) -> Tensor:
            shifted = _Shifted(model, pixel, shift)
            value = as_utility(claim)(shifted, x, ctx).value
            asked.append(shifted.asked)
            return value

        return -subject.call(value, x)

    before, found = loss(0.0, 0.0), []
    if not all(asked):
        return []

    def held(change: Tensor, truths: list[Tensor], words: str) -> None:
        gaps = [float((change - truth).abs().max() / truth.abs().max().clamp(min=1e-3)) for truth in truths]
        found.append(Finding(min(gaps), EXACT, words))

    kl = lambda m, v: 0.5 * (m.square() + v.exp() - 1 - v).sum(-1)
    truth = kl(mean + SHIFT, log_var + SHIFT) - kl(mean, log_var)
    held(
        loss(0.0, SHIFT) - before,
        [truth],
        "the loss of another q(z | x) differs by its KL to N(0, I), summed over the latents",
    )
    if subject.data_domain == BINARY and said.shape == x.shape:
        first, bit, small = said.flatten(1)[:, 0], x.flatten(1)[:, 0], SHIFT / 100
        softplus = torch.nn.functional.softplus
        truths = [softplus(first + small) - softplus(first) - bit * small]
        if bool(((said > 0) & (said < 1 - small)).all()):
            of_one, of_none = ((first + small) / first).log(), ((1 - first - small) / (1 - first)).log()
            truths.append(-bit * of_one - (1 - bit) * of_none)
        words = (
            "the loss of another reconstruction of one pixel differs by that pixel's cross-entropy, summed over the pixels"
        )
        held(loss(small, 0.0) - before, truths, words)
    return found


class _Shifted:
    """A module that says otherwise than it drew from; whatever else is asked is the module's own.

    Args:
        module: that returns (reconstruction, mean, log_var).
        pixel: what is added to the first number of the reconstruction.
        shift: what is added to mean and log_var.
    """

    def __init__(self, module: nn.Module, pixel: float, shift: float) -> None:
        self._module, self._pixel, self._shift = module, pixel, shift
        self.asked = 0

    def __call__(self, *given: Any) -> tuple[Any, ...]:
        self.asked += 1
        out, mean, log_var = self._module(*given)
        pixels = torch.zeros_like(out[0]).flatten()
        pixels[0] = self._pixel
        return out + pixels.view_as(out[0]), mean + self._shift, log_var + self._shift

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def as_utility(claim: Claim) -> Callable[..., Terms]:
    """What somebody claims as a utility that gives ``Terms``, whether it gives them or a tensor."""
    function = with_context(claim.function)

    def value(model: Any, x: Any, ctx: Context) -> Any:
        out = function(model, x, ctx)
        return out.value if isinstance(out, Terms) else out

    return lambda model, x, ctx: Terms(value_of(value, model, x, ctx, "the bound"))


# A bound is no better than what it is made of.
_SOUND = ("latents", "samples", "likelihood", "posterior", "weights", "kl", "iwae1")
PROBES = (
    Probe("bounds", "no bound is above log p(x)", bounds, _SOUND),
    Probe("loss", "a loss of one's own is a negative bound in nats", claimed_loss, ("examples",)),
)
