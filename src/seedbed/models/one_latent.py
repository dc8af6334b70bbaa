"""The Gaussian model as it is learnt: one latent z for a whole data set, and a choice of posteriors q(z | D).

z ~ N(0, I_d), x_i | z ~ N(z + Delta, diag sigma^2). Caterini et al. 2018 (arXiv 1805.11328), section 5.1.
"""

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError, unknown
from seedbed.data.gaussian_sets import Statistics
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.models.gaussian_sets import log_joint
from seedbed.models.posterior_flows import FlowPosterior, InverseAutoregressive, Planar
from seedbed.models.tempered import TemperedLeapfrog
from seedbed.models.transforms import Given, LogDet, Transform, Vectors

Posterior = Literal["vb", "iaf", "planar", "hvae"]
LOG_SIGMA, LOG_SCALE = 3.0, 1.0  # where log sigma, and the log-scale of a learnt q_0, start


class Shift(Transform):
    """y = x + what is given: volume is kept."""

    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """There."""
        return x if given is None else x + given, x.new_zeros(())

    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """And back."""
        return y if given is None else y - given, y.new_zeros(())


class OneLatent(nn.Module, HasSample):
    """Delta and sigma of the Gaussian model, and q(z | D):

    - ``vb``: q_0 = N(mean, diag scale^2), mean-field variational Bayes. The true posterior is of this family.
    - ``iaf``: mean + an inverse autoregressive map of N(0, diag scale^2).
    - ``planar``: mean + planar maps of N(0, I): along all other directions its variance stays 1.
    - ``hvae``: K tempered leapfrog steps from q_0, or from the prior.

    Its parameter is ``centre`` = Delta + mean, not Delta. The bound bends by N/sigma^2 along Delta + mean and by 1 along
    Delta - mean, where draws of z then drown the slope; in these coordinates each is a parameter of its own, and the slope
    of ``mean`` is that of the prior's one term. Where the mean of q_0 is no parameter, ``centre`` is Delta.

    Args:
        dimensions: d.
        count: N, examples of a data set.
        posterior: which.
        leapfrog: the walk of ``hvae``.
        start: of its walk: ``learned``, or from the ``prior``.
        flows: planar maps in a row.
        tied: whether they are one map, as published.
        masked_hidden: widths of the net of ``iaf``.
        compat: as the published flows had it, sum_i (x_i - Delta)^2 / sigma^2 without its 1/2 (see ``variational_bound``).

    Raises:
        SeedbedError: for an unknown posterior or start, a walk in another dimension, or none.
    """

    domain = REAL

    def __init__(
        self,
        dimensions: int,
        count: int,
        posterior: str = "vb",
        leapfrog: TemperedLeapfrog | None = None,
        start: str = "learned",
        flows: int = 1,
        tied: bool = True,
        masked_hidden: Sequence[int] = (),
        compat: bool = False,
    ) -> None:
        super().__init__()
        if posterior not in get_args(Posterior):
            raise unknown("posterior", posterior, get_args(Posterior))
        if start not in ("learned", "prior"):
            raise unknown("start of a leapfrog", start, ("learned", "prior"))
        if posterior == "hvae" and (leapfrog is None or leapfrog.latents != dimensions or not leapfrog.count):
            there = "none" if leapfrog is None else f"{leapfrog.count} steps in {leapfrog.latents} dimensions"
            raise SeedbedError(f"hvae expected one leapfrog step or more in {dimensions} dimensions, got {there}")
        self.count, self.name, self.compat, self.leapfrog = count, posterior, compat, leapfrog
        self.prior = StandardNormal(dimensions)
        self.learned = posterior != "hvae" or start == "learned"
        self.centre = nn.Parameter(torch.zeros(dimensions))
        self.log_sigma = nn.Parameter(torch.full((dimensions,), LOG_SIGMA))
        if self.learned:
            self.mean = nn.Parameter(torch.zeros(dimensions))
        if self.learned and posterior != "planar":
            self.log_scale = nn.Parameter(torch.full((dimensions,), LOG_SCALE))
        if posterior == "planar":
            self.maps = nn.ModuleList(Planar(dimensions) for _ in range(1 if tied else flows))
            self.repeats = flows if tied else 1
        elif posterior == "iaf":
            self.maps, self.repeats = nn.ModuleList([InverseAutoregressive(dimensions, masked_hidden, 1)]), 1
        self.shift = Shift()

    @property
    def delta(self) -> Float[Tensor, "d"]:
        """Delta."""
        return self.centre - self.mean if self.learned else self.centre

    def start(self) -> DiagonalNormal:
        """q_0(z); of flows, which are shifted last, around 0."""
        zero = torch.zeros_like(self.centre)
        return DiagonalNormal(
            self.mean if self.learned and self.name in ("vb", "hvae") else zero,
            self.log_scale if self.learned and self.name != "planar" else zero,
        )

    def steps(self) -> list[tuple[Transform, Tensor | None]]:
        """The maps that z_0 goes through, each with what it is given."""
        told = self.centre.new_ones(1) if self.name == "iaf" else None
        maps = [(one, told) for one in cast(list[Transform], list(self.maps)) for _ in range(self.repeats)]
        return [*maps, (self.shift, self.mean)]

    def log_joint(self, data: Statistics, z: Float[Tensor, "*samples d"]) -> Float[Tensor, "*samples"]:
        """log p(D, z) in nats of the whole data set, ``[*samples]``; with ``compat`` what was published for it."""
        value = log_joint(data, self.delta, self.log_sigma, z)
        if not self.compat:
            return value
        squares = data.scatter + data.count * (data.mean - self.delta).square()
        return value - 0.5 * (squares * (-2 * self.log_sigma).exp()).sum(-1)

    def log_weights(self, data: Statistics, ctx: Context, samples: int) -> Float[Tensor, "samples"]:
        """log p(D, z) - log q(z | D) at draws of z, in nats of the whole data set: E[exp] = p(D).

        Args:
            data: N, x-bar and S, ``[d]``.
            ctx: whose noise the draws are from.
            samples: how many.

        Returns:
            ``[samples]``; of ``hvae`` with the momenta's densities, as in ``models.hamiltonian``.
        """
        q0 = self.start()
        if self.leapfrog is None:
            law = q0 if self.name == "vb" else FlowPosterior(q0, self.steps())
            draw = law.draw(ctx.noise, samples)
            return self.log_joint(data, draw.value) - draw.log_prob()
        start, gamma = q0.draw(ctx.noise, samples), self.prior.draw(ctx.noise, samples)
        hot, density = self.leapfrog.heated(gamma.value), lambda z: self.log_joint(data, z)
        *_, (z, _, rho) = self.leapfrog.walk(start.value, hot, density, self)
        return density(z) + self.prior.log_prob(rho) - start.log_prob() - gamma.log_prob()

    def sample(self, count: int, ctx: Context) -> Float[Tensor, "{count} d"]:
        """``count`` examples of one data set: z ~ N(0, I) once, then x_i ~ N(z + Delta, diag sigma^2), ``[count, d]``."""
        z = self.prior.draw(ctx.noise).value
        return DiagonalNormal(z + self.delta, self.log_sigma).draw(ctx.noise, batch=count).value
