"""Posteriors that are more than a diagonal Gaussian: planar flows, inverse autoregressive flows, a full covariance."""

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.core.capabilities import LatentVariable, Layer, drawn
from seedbed.core.context import Context
from seedbed.core.domain import REAL, Domain
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.law import Distribution, Drawn, moved_kl
from seedbed.core.noise import Noise
from seedbed.core.proposal import Inferred, Proposal
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions.likelihood import GAUSSIAN, Likelihood
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.distributions.numeric import full, soft_clamp
from seedbed.distributions.triangular import TriangularNormal, below_diagonal
from seedbed.models.transforms import Given, LogDet, Reverse, Transform, Vectors
from seedbed.nets.masked import MaskedMLP
from seedbed.nets.mlp import MLP, Activation

PosteriorName = Literal["planar", "iaf", "full"]


class Planar(Transform):
    """y = x + u^ tanh(w x + b), log_det = log(1 + (1 - tanh^2) w u^): space is bent along one direction.

    u^ = u + (softplus(w u) - 1 - w u) w / |w|^2 has w u^ = softplus(w u) - 1 > -1, so that the map has an inverse, though
    none in closed form. Rezende & Mohamed 2015 (arXiv 1505.05770), eq. 10 and appendix A.1. By itself it starts at
    the identity.

    Args:
        features: size of the last axis.
    """

    invertible = False

    def __init__(self, features: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(features) / features**0.5)
        # softplus(w u) = 1: u^ = 0.
        self.u = nn.Parameter(math.log(math.e - 1) * self.w.detach() / self.w.detach().square().sum())
        self.b = nn.Parameter(torch.zeros(1))

    def vectors(
        self, given: Given
    ) -> tuple[Float[Tensor, "*batch features"], Float[Tensor, "*batch features"], Float[Tensor, "*batch 1"]]:
        """``(w, u, b)``: its own, plus what it is given, ``[*batch, 2 * features + 1]``."""
        if given is None:
            return self.w, self.u, self.b
        w, u, b = full(given).split([len(self.w), len(self.w), 1], -1)
        return self.w + w, self.u + u, self.b + b

    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """``given`` are changes of w, u and b, or nothing."""
        w, u, b = self.vectors(given)
        wu = (w * u).sum(-1, keepdim=True)
        soft = F.softplus(wu)
        bent = u + (soft - 1 - wu) * w / w.square().sum(-1, keepdim=True)
        t = torch.tanh((w * x).sum(-1, keepdim=True) + b)
        # 1 + (1 - t^2) (softplus - 1), of which no rounding makes a logarithm of 0 or less.
        slope = t.square() + (1 - t.square()) * soft
        return x + bent * t, slope.squeeze(-1).log()

    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """Not known.

        Raises:
            SeedbedError: always.
        """
        raise SeedbedError(
            "a planar map was asked for its inverse, which has no closed form; score its own draws, or use iaf"
        )


class InverseAutoregressive(Transform):
    """y = s x + (1 - s) m with m_i and s_i = sigmoid(...) functions of x_1..x_i-1 and what is given; log_det = sum log s.

    Kingma et al. 2016 (arXiv 1606.04934), algorithm 1 and eq. 14. The way there is one pass through the net, the way back
    one for each feature.

    Args:
        features: size of the last axis, at least 2.
        hidden: widths of the net.
        context: size of what is given.
        activation: of the net.
    """

    # Added to the gate's logit: it starts wide open, as the authors advise, and the map near the identity.
    OPEN = 2.0

    def __init__(self, features: int, hidden: Sequence[int], context: int, activation: Activation = "relu") -> None:
        super().__init__()
        self.net = MaskedMLP(features, hidden, 2, context, activation)

    def gate(self, x: Vectors, given: Given) -> tuple[Vectors, Vectors]:
        """``(m, log s)``, each ``[*batch, features]``.

        Raises:
            SeedbedError: if nothing is given.
        """
        if given is None:
            raise SeedbedError("an inverse autoregressive map expected the encoder's context, got none; give it h(x)")
        m, logit = self.net(x, given)
        return full(m), F.logsigmoid(full(logit) + self.OPEN)

    def forward(self, x: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """All features at once."""
        m, log_s = self.gate(x, given)
        return torch.lerp(m, x, log_s.exp()), log_s.sum(-1)

    def inverse(self, y: Vectors, given: Given = None) -> tuple[Vectors, LogDet]:
        """One feature after another."""
        x, log_det = torch.zeros_like(y), y.new_zeros(())
        for i in range(y.shape[-1]):
            m, log_s = (each[..., i : i + 1] for each in self.gate(x, given))
            found = m + (y[..., i : i + 1] - m) * (-log_s).exp()
            x, log_det = torch.cat((x[..., :i], found, x[..., i + 1 :]), -1), log_det - log_s.squeeze(-1)
        return x, log_det


class FlowPosterior:
    """The law of f_T(... f_1(z_0)), z_0 ~ N(m, diag s^2): log q(z) = log q(z_0) - sum_t log |det df_t|.

    Rezende & Mohamed 2015 (arXiv 1505.05770), eq. 13. Of its own draws it knows how they came about, so their density needs
    no inverse.

    Args:
        base: of z_0.
        steps: maps in their order, each with what it is given.
    """

    domain = REAL
    reparameterised = True
    rank = 1

    def __init__(self, base: DiagonalNormal, steps: Sequence[tuple[Transform, Tensor | None]]) -> None:
        self.base, self.steps = base, steps

    def draw(self, noise: Noise, samples: int | None = None, batch: int | None = None) -> Drawn:
        """z, ``[samples, batch, size]``."""
        start = self.base.draw(noise, samples, batch)
        z, log_det = self.moved(start.value)
        return Drawn(z, lambda: start.log_prob() - log_det)

    def moved(self, start: Float[Tensor, "*batch size"]) -> tuple[Float[Tensor, "*batch size"], LogDet]:
        """z from z_0, and sum_t log |det df_t|."""
        z, log_det = start, start.new_zeros(())
        for transform, given in self.steps:
            z, term = transform(z, given)
            log_det = log_det + term
        return z, log_det

    def log_prob(self, value: Float[Tensor, "..."]) -> Float[Tensor, "*batch"]:
        """log q(z) in nats, ``[*batch]``, on the way back.

        Raises:
            SeedbedError: if a map does not know it.
        """
        # Given several examples, one point has as many origins.
        z = full(value).expand(torch.broadcast_shapes(value.shape, self.base.mean.shape))
        log_det = z.new_zeros(())
        for transform, given in reversed(self.steps):
            z, term = transform.inverse(z, given)
            log_det = log_det + term
        return self.base.log_prob(z) + log_det


class FlowVAE(nn.Module, LatentVariable):
    """The VAE of ``models.vae`` with p(z) = N(0, I) and one of these q(z | x), each told by the encoder:

    - ``planar``: planar maps after its Gaussian. It cannot score a z that it did not draw.
    - ``iaf``: inverse autoregressive maps, the features reversed between them.
    - ``full``: a Gaussian with a full covariance, whose KL to p(z) is known.

    Args:
        shape: of an example.
        latents: size of z, at least 2 but for ``planar``.
        hidden: widths of the encoder; the decoder mirrors them.
        likelihood: the family of p(x | z).
        activation: of all networks.
        output_bias: where the decoder's output starts, ``[*likelihood.outputs(shape)]``.
        norm: normalise each hidden layer of encoder and decoder.
        posterior: which.
        flows: maps in a row; without any it is the VAE. ``full`` has none.
        tied: one map, applied this often.
        amortised: whether the encoder has a say in planar maps, rather than in z_0 alone.
        masked_hidden: widths of the net of each autoregressive map.
        context: numbers by which the encoder tells these of x.

    Raises:
        SeedbedError: for an unknown posterior, or sizes that it is not for.
    """

    def __init__(
        self,
        shape: Shape,
        latents: int = 2,
        hidden: Sequence[int] = (64, 64),
        likelihood: Likelihood = GAUSSIAN,
        activation: Activation = "relu",
        output_bias: Tensor | None = None,
        norm: bool = False,
        posterior: str = "iaf",
        flows: int = 4,
        tied: bool = False,
        amortised: bool = True,
        masked_hidden: Sequence[int] = (64,),
        context: int = 32,
    ) -> None:
        super().__init__()
        if posterior not in get_args(PosteriorName):
            raise unknown("posterior", posterior, get_args(PosteriorName))
        if latents < 2 and posterior != "planar":
            raise SeedbedError(f"the posterior {posterior} is of 2 latents or more, got {latents}; use planar, or a VAE")
        if flows < 0:
            raise SeedbedError(f"FlowVAE expects 0 flows or more, got flows={flows}; 0 is the VAE")
        if posterior == "iaf" and (not masked_hidden or min(*masked_hidden, context) < 1):
            raise SeedbedError(
                f"iaf expects hidden layers and a context of 1 or more, got masked_hidden={masked_hidden}, context={context}"
            )
        self.likelihood, self.shape, self.latents = likelihood, axes_of(shape), latents
        self.name, self.flows, self.tied = posterior, flows, tied
        maps = min(flows, 1) if tied else flows
        planar = maps * (2 * latents + 1) if amortised else 0
        self.told = {"planar": planar, "iaf": context if maps else 0, "full": latents * (latents - 1) // 2}[posterior]
        self.encoder = MLP(shape, hidden, 2 * latents + self.told, activation, norm=norm)
        self.decoder = MLP(latents, hidden[::-1], likelihood.outputs(shape), activation, norm=norm)
        if output_bias is not None:
            with torch.no_grad():
                self.decoder.layers[-1].get_parameter("bias").copy_(output_bias.flatten())
        self.prior = StandardNormal(latents)
        # Last, so that without maps the networks start as the VAE's do.
        build = {
            "planar": partial(Planar, latents),
            "iaf": partial(InverseAutoregressive, latents, masked_hidden, context, activation),
        }
        self.maps = nn.ModuleList(build[posterior]() for _ in range(maps) if posterior in build)

    @property
    def domain(self) -> Domain:
        """The domain that p(x | z) scores."""
        return self.likelihood.domain

    def posterior(self, x: Shaped[Tensor, "batch *example"]) -> Distribution:
        """q(z | x), of one example each."""
        mean, log_scale, told = self.encoder(self.likelihood.shown(x)).split([self.latents, self.latents, self.told], -1)
        if self.name == "full":
            return TriangularNormal(mean, soft_clamp(full(log_scale)), below_diagonal(told, self.latents))
        base = DiagonalNormal(mean, soft_clamp(full(log_scale)))
        return FlowPosterior(base, self.steps(told)) if self.maps else base

    def steps(self, told: Float[Tensor, "batch told"]) -> list[tuple[Transform, Tensor | None]]:
        """The maps that z_0 goes through, each with what the encoder tells it."""
        maps = cast(list[Transform], list(self.maps))
        if self.name == "planar":
            given = told.chunk(len(maps), -1) if self.told else [None] * len(maps)
        else:
            given = [told] * len(maps)
        steps = list(zip(maps, given, strict=True)) * (self.flows if self.tied else 1)
        if self.name == "planar":
            return steps
        return [step for one in steps for step in (one, (Reverse(), None))][:-1]

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        """One latent, ``z``."""
        z = yield Layer("z", self.prior, None if x is None else self.posterior(x))
        return self.likelihood.build(self.decoder(z), len(self.shape))

    def proposal(self, x: Shaped[Tensor, "batch *example"], ctx: Context, samples: int | None = None) -> Proposal:
        """Draw z ~ q(z | x) and keep what it weighs; without an inverse, no other z can be scored."""
        law = self.posterior(x)
        invertible = not isinstance(law, FlowPosterior) or all(transform.invertible for transform, _ in law.steps)
        if not isinstance(law, FlowPosterior) or ctx.through == "constant":  # whose draws are scored on the way back
            drawn_so = super().proposal(x, ctx, samples)
            return drawn_so if invertible else replace(drawn_so, log_q_at=None)
        start = drawn(law.base, ctx, samples)
        z, log_det = law.moved(start.value)
        log_q = cache(lambda: start.log_prob() - log_det)
        layer = Inferred(
            log_ratio=lambda: self.prior.log_prob(z) - log_q(),
            log_q=log_q,
            mean=z,
            # That of z_0 is known, so that only what the maps add to it is sampled.
            kl=lambda: moved_kl(law.base, self.prior, start.value, z, -log_det),
        )
        likelihood = self.likelihood.build(self.decoder(z), len(self.shape))
        return Proposal(x, {"z": z}, likelihood, {"z": layer}, (lambda at: law.log_prob(at["z"])) if invertible else None)
