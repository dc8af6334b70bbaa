"""Families of 2-D densities behind the toy sets: i.i.d. draws, the exact log-density and the covariance of each.

The recipes are those of FFJORD (Grathwohl et al. 2019, arXiv 1810.01367), with every draw made independent: angles are
uniform rather than equally spaced, classes are drawn rather than counted off, nothing is ordered. A sampler and its
density read the same curve, so they cannot drift apart; the tests hold both against the recipes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from numpy.polynomial.legendre import leggauss
from torch import Tensor

Points = Float[Tensor, "n 2"]
Values = Float[Tensor, "n"]
Matrix = Float[Tensor, "2 2"]

# Points evaluated at once: bounds memory at about 2048 x 1000 nodes x 8 bytes per temporary.
CHUNK = 2048


class Density(ABC):
    """A density on the plane; precision, chunking and dtypes are settled here, subclasses hold only formulas."""

    def sample(self, n: int, generator: torch.Generator) -> Points:
        """Exactly ``n`` i.i.d. draws, float32, on the generator's device."""
        return self._draw(n, generator).float()

    @torch.no_grad()  # the root search of the pinwheel would give a wrong gradient: better none
    def log_density(self, x: Points) -> Values:
        """log p(x) in nats, computed in float64 and returned in the dtype of ``x``.

        Raises:
            ValueError: if ``x`` is not ``[n, 2]``.
        """
        if x.ndim != 2 or x.shape[1] != 2:
            raise ValueError(f"expected points [n, 2], got {list(x.shape)}")
        exact = x.to("cpu" if x.device.type == "mps" else x.device).double()  # MPS has no float64
        return torch.cat([self._log_density(part) for part in exact.split(CHUNK)]).to(x)

    def gaussian_nll(self) -> float:
        """Expected NLL of the best single Gaussian, log(2 pi e) + 0.5 log det Cov[x], in nats."""
        return math.log(2 * math.pi * math.e) + 0.5 * float(torch.logdet(self.covariance()))

    @abstractmethod
    def covariance(self) -> Matrix:
        """Exact Cov[x]."""

    @abstractmethod
    def _draw(self, n: int, generator: torch.Generator) -> Points: ...

    @abstractmethod
    def _log_density(self, x: Points) -> Values: ...


@dataclass(frozen=True)
class NoisyCurve(Density):
    """x = c(u) + std N with u ~ U(0, 1): p(x) = int_0^1 N(x; c(u), std^2 I) du. The curve may jump (a mixture does).

    The log-density is exact to 1e-10 wherever draws fall; tens of std away it is finite and good to a few nats.

    Args:
        curve: c, from ``[n]`` to ``[n, 2]``.
        std: standard deviation of the isotropic noise.
        panels: equal panels of the quadrature; c must be smooth on each and no longer than about 6 std.
    """

    curve: Callable[[Values], Points]
    std: float
    panels: int

    def covariance(self) -> Matrix:
        """Cov[c(u)] + std^2 I, by the quadrature of the density."""
        u, weight = quadrature(tuple(i / self.panels for i in range(self.panels + 1)))
        return torch.cov(self.curve(u).T, correction=0, aweights=weight) + self.std**2 * torch.eye(2, dtype=u.dtype)

    def _draw(self, n: int, generator: torch.Generator) -> Points:
        return self.curve(_uniform(n, generator)) + self.std * _normal((n, 2), generator)

    def _log_density(self, x: Points) -> Values:
        u, weight = quadrature(tuple(i / self.panels for i in range(self.panels + 1)))
        centre, precision = self.curve(u).to(x), self.std**-2
        # |x - c|^2 is expanded, so that its pairwise part is one matrix product.
        bias = weight.log().to(x) - 0.5 * precision * centre.square().sum(-1)
        pairs = torch.addmm(bias, x, precision * centre.T)
        return pairs.logsumexp(-1) - 0.5 * precision * x.square().sum(-1) - math.log(2 * math.pi * self.std**2)


@dataclass(frozen=True)
class NoisyCircles(Density):
    """A circle drawn at random, a uniform angle, isotropic noise.

    p(x) = mean_R exp(-(|x| - R)^2 / (2 s^2)) i0e(|x| R / s^2) / (2 pi s^2), with i0e(z) = exp(-z) I_0(z).
    """

    radii: tuple[float, ...]
    std: float

    def covariance(self) -> Matrix:
        """(E[R^2] / 2 + std^2) I."""
        return (sum(r * r for r in self.radii) / len(self.radii) / 2 + self.std**2) * torch.eye(2, dtype=torch.float64)

    def _draw(self, n: int, generator: torch.Generator) -> Points:
        radii = torch.tensor(self.radii, dtype=torch.float64, device=generator.device)
        radius = radii[(len(radii) * _uniform(n, generator)).long()]
        return radius[:, None] * _unit(2 * math.pi * _uniform(n, generator)) + self.std * _normal((n, 2), generator)

    def _log_density(self, x: Points) -> Values:
        radii, r = x.new_tensor(self.radii), x.norm(dim=-1, keepdim=True)
        log_i0e = torch.special.i0e(r * radii / self.std**2).log()
        terms = log_i0e - 0.5 * ((r - radii) / self.std).square()
        return terms.logsumexp(-1) - math.log(len(radii) * 2 * math.pi * self.std**2)


@dataclass(frozen=True)
class Checkerboard(Density):
    """Uniform on the 8 squares of side 2 in [-4, 4]^2 whose column and row have the same parity: p(x) = 1/32 there."""

    def covariance(self) -> Matrix:
        """Variance 8^2 / 12 per axis and covariance 1: the board is not symmetric under x1 -> -x1."""
        return torch.tensor([[16 / 3, 1.0], [1.0, 16 / 3]], dtype=torch.float64)

    def _draw(self, n: int, generator: torch.Generator) -> Points:
        x1 = 4 * _uniform(n, generator) - 2
        bit = (_uniform(n, generator) < 0.5).double()
        x2 = _uniform(n, generator) - 2 * bit + x1.floor() % 2
        return 2 * torch.stack((x1, x2), -1)

    def _log_density(self, x: Points) -> Values:
        cell = (x / 2).floor()
        # An edge counts as inside: float32 rounds draws onto edges, and no draw may have density zero.
        filled = (cell.sum(-1) % 2 == 0) | (x / 2 == cell).any(-1)
        inside = filled & (x.abs() <= 4).all(-1)
        return x.new_full((len(x),), -math.log(32)).masked_fill(~inside, -math.inf)


@dataclass(frozen=True)
class Pinwheel(Density):
    """x = 2 r (cos t, sin t) with f = r (cos(t + a), sin(t + a)) ~ N((1, 0), diag(.3, .1)^2), a = 2 pi k/5 + .25 exp(f0).

    p(x) = sum over k and over all roots f0 of f0 = r cos(t + a(f0)) of N(f) / (5 * 4 |1 + .25 exp(f0) f1|).
    Two roots within one of the 256 cells are missed; measured on [-7, 7]^2, that happens only where p < exp(-38).
    """

    classes: int = 5
    rate: float = 0.25
    stds: tuple[float, float] = (0.3, 0.1)
    cells: int = 256

    def covariance(self) -> Matrix:
        """2 E|f|^2 I, by the five-fold symmetry."""
        return 2 * (1 + self.stds[0] ** 2 + self.stds[1] ** 2) * torch.eye(2, dtype=torch.float64)

    def _twist(self, f0: Tensor) -> Tensor:
        # Bounded far outside any density, where exp would overflow and the angle lose its meaning.
        return self.rate * f0.clamp(max=30).exp()

    def _draw(self, n: int, generator: torch.Generator) -> Points:
        k = (self.classes * _uniform(n, generator)).floor()
        f = _normal((n, 2), generator) * torch.tensor(self.stds, dtype=torch.float64, device=generator.device)
        f0, f1 = f[:, 0] + 1, f[:, 1]
        a = 2 * math.pi / self.classes * k + self._twist(f0)
        return 2 * torch.stack((f0 * a.cos() + f1 * a.sin(), f1 * a.cos() - f0 * a.sin()), -1)

    def _log_density(self, x: Points) -> Values:
        r = x.norm(dim=-1).div(2).clamp_min(1e-12)
        turn = 2 * math.pi / self.classes * torch.arange(self.classes).to(x)
        phase = torch.atan2(x[:, 1], x[:, 0])[:, None] + turn

        # |f0| <= r, and f1 is small where f0 is near r: cosine spacing puts the cells where the mass is.
        grid = -r[:, None] * torch.linspace(0, math.pi, self.cells + 1, dtype=x.dtype, device=x.device).cos()
        below = grid[:, None] < r[:, None, None] * (phase[..., None] + self._twist(grid)[:, None]).cos()
        below[..., 0], below[..., -1] = True, False  # true of the ends up to rounding, so every class has a root
        point, k, cell = (below[..., :-1] != below[..., 1:]).nonzero(as_tuple=True)
        low, high, rising = grid[point, cell], grid[point, cell + 1], below[point, k, cell]
        r, phase = r[point], phase[point, k]
        for _ in range(50):
            f0 = (low + high) / 2
            left = (f0 < r * (phase + self._twist(f0)).cos()) == rising
            low, high = torch.where(left, f0, low), torch.where(left, high, f0)

        f0 = (low + high) / 2
        f1 = r * (phase + self._twist(f0)).sin()
        quadratic = ((f0 - 1) / self.stds[0]).square() + (f1 / self.stds[1]).square()
        log_det = (4 * (1 + self._twist(f0) * f1)).abs().log()
        terms = -0.5 * quadratic - log_det - math.log(2 * math.pi * self.stds[0] * self.stds[1] * self.classes)
        return _logsumexp_per_point(terms, point, len(x))


@dataclass(frozen=True)
class TwoSpirals(Density):
    """x = +-(c(m) + U([0, .5]^2)) / 3 + .1 N, with m = 3 pi sqrt(U) and c(m) = (-m cos m, m sin m).

    p(x) = mean over both arms of int k(x1 - c1) k(x2 - c2) 2m / (9 pi^2) dm, where k is the density of
    uniform plus normal: (Phi((y + h) / s) - Phi((y - h) / s)) / (2 h), with y measured from the middle of the box.
    """

    std: float = 0.1
    half_width: float = 0.25 / 3
    panels: int = 32

    def covariance(self) -> Matrix:
        """E[c c^T] of the box middles plus (h^2 / 3 + s^2) I; the mean is 0 by symmetry."""
        centre, log_weight = self._middles()
        noise = self.half_width**2 / 3 + self.std**2
        return (centre.T * log_weight.exp()) @ centre + noise * torch.eye(2, dtype=torch.float64)

    def _middles(self) -> tuple[Points, Values]:
        # Panels even in m^2 are nearly even in arc length; the integrand is smooth in m, not in m^2.
        m, weight = quadrature(tuple(3 * math.pi * math.sqrt(i / self.panels) for i in range(self.panels + 1)))
        centre = m[:, None] * torch.stack((-m.cos(), m.sin()), -1) / 3 + self.half_width
        return torch.cat((centre, -centre)), (weight * m / (9 * math.pi**2)).log().repeat(2)

    def _draw(self, n: int, generator: torch.Generator) -> Points:
        m = 3 * math.pi * _uniform(n, generator).sqrt()
        jitter = torch.stack((_uniform(n, generator), _uniform(n, generator)), -1)
        d = m[:, None] * torch.stack((-m.cos(), m.sin()), -1) + 0.5 * jitter
        sign = torch.where(_uniform(n, generator) < 0.5, 1.0, -1.0)
        return sign[:, None] * d / 3 + self.std * _normal((n, 2), generator)

    def _log_density(self, x: Points) -> Values:
        centre, log_weight = self._middles()
        y1, y2 = ((x[:, i, None] - centre[:, i].to(x)).abs() for i in (0, 1))
        # The kernel is dear, and nearly every node is far: keep those within a factor exp(-35) of the nearest box.
        gap1, gap2 = ((y - self.half_width).clamp_min(0) / self.std for y in (y1, y2))
        gap = (gap1.square() + gap2.square()) / 2
        point, node = (gap < gap.amin(-1, keepdim=True) + 35).nonzero(as_tuple=True)
        terms = log_weight.to(x)[node] + self._log_kernel(y1[point, node]) + self._log_kernel(y2[point, node])
        return _logsumexp_per_point(terms, point, len(x))

    def _log_kernel(self, y: Tensor) -> Tensor:
        # Phi(b) - Phi(a) = (erfc(p) - erfc(q)) / 2 with exp(-p^2) taken out: relative accuracy at any distance.
        unit = math.sqrt(2) * self.std
        p, q = (y - self.half_width) / unit, (y + self.half_width) / unit
        scaled = torch.special.erfcx(p) - (p.square() - q.square()).exp() * torch.special.erfcx(q)
        return (scaled / (4 * self.half_width)).log() - p.square()


@cache
def quadrature(edges: tuple[float, ...]) -> tuple[Values, Values]:
    """Nodes and weights of 16-point Gauss-Legendre rules on consecutive panels: int f = sum_j w_j f(u_j)."""
    node, weight = (torch.from_numpy(a) for a in leggauss(16))
    edge = torch.tensor(edges, dtype=torch.float64)
    half = edge.diff()[:, None] / 2
    return (edge[:-1, None] + half * (1 + node)).flatten(), (half * weight).flatten()


def _logsumexp_per_point(terms: Tensor, point: Tensor, n: int) -> Values:
    top = terms.new_full((n,), -math.inf).scatter_reduce(0, point, terms, "amax")
    return top + torch.zeros_like(top).index_add(0, point, (terms - top[point]).exp()).log()


def _uniform(n: int, generator: torch.Generator) -> Values:
    return torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)


def _normal(shape: tuple[int, int], generator: torch.Generator) -> Points:
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)


def _unit(angle: Values) -> Points:
    return torch.stack((angle.cos(), angle.sin()), -1)
