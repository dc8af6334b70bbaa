"""Importance-sampled log-likelihood of latent-variable models, and the ladder of bounds below it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.metric import ESS, ESS_MIN, NLL_BITS, NLL_SAMPLED, declared
from seedbed.core.noise import BLOCK, EvalNoise
from seedbed.core.stack import Stack
from seedbed.data.source import Source, source_of
from seedbed.distributions.likelihood import bits_of, check_levels
from seedbed.evaluate.memory import GIB, peak_bytes
from seedbed.evaluate.needs import need_latents

LADDER = (1, 5, 50, 500, 5000)
FEW = 25  # samples at once that make the encoder's share of the work small
# Bytes of activations at once: few times what a CPU's cache holds, and enough to fill another device.
TILE = {"cpu": 1 << 26}
LARGE = 1 << 30

# (examples done, examples in all)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Chunk:
    """How much is evaluated at once. It decides speed and memory, and no number beyond its rounding.

    Args:
        examples: whose weights are kept until all their samples are drawn.
        samples: of each of them that go through the decoder together.
    """

    examples: int
    samples: int

    def __str__(self) -> str:
        return f"{self.examples} examples x {self.samples} samples"


def importance_sampling(
    stack: Stack,
    x: Shaped[Tensor, "n *example"] | Source,
    address: str,
    samples: int = 5000,
    *,
    ladder: Sequence[int] = LADDER,
    memory_gib: float = 4.0,
    chunk: Chunk | None = None,
    progress: Progress | None = None,
) -> dict[str, tuple[Tensor, str]]:
    """-log p(x) ~= log K - logsumexp_k log w_k with w_k = p(x, z_k) / q(z_k | x), z_k ~ q(z | x), for every seed of a stack.

    The same K weights give the whole ladder. ``neg_iw<k>_nats`` is the mean of -log 1/k sum w over the K // k disjoint
    groups of k samples (a rest is left out): it estimates L_k as one group does, with less noise; where each rung divides
    the next, no rung is above the one before it, for any example. ``nll_nats`` is the last rung, an upper bound on the
    negative log-likelihood; of levels it is also ``nll_bits_per_dim``, divided by dims log 2. ``ess`` = (sum w)^2 / sum w^2
    says how many of the K samples count: near 1, the bound is loose.

    Draws are keyed by example and sample. The encoder runs once per chunk of samples, log-probabilities are fp32, sums fp64.

    Args:
        stack: latent-variable models.
        x: a source, or ``[n, *example]``, in the domain that they score.
        address: names the draws, e.g. the split.
        samples: K.
        ladder: the k of the bounds; those below ``samples`` are taken, and ``samples`` itself.
        memory_gib: what this may take beside models and data.
        chunk: how much at once; by default what is fast and fits.
        progress: called after every chunk of examples.

    Returns:
        ``{metric: ([seeds, n], unit)}``; ``ess_min`` is ``[seeds, 1]``, the smallest over examples.

    Raises:
        SeedbedError: for a model without latents, for values outside of its domain, or if it cannot fit, which is computed
            before and says what fits.

    Burda et al. 2016 (arXiv 1509.00519), eqs. 8 and 9; effective sample size: Kong 1992, Liu 2001, section 2.5.3.
    """
    model = need_latents(stack, "nll by importance sampling")
    rungs = check_request(x, samples, ladder)
    check_values(model, x)
    need = _Need.of(stack, x[:1].to(stack.device, stack.dtype), len(x), samples, len(rungs))
    chunk = need.check(chunk, memory_gib) if chunk else need.choose(memory_gib, stack.device)
    parts: list[dict[str, Tensor]] = []
    with torch.no_grad():
        for first in range(0, len(x), chunk.examples):
            some = x[first : first + chunk.examples].to(stack.device, stack.dtype)
            log_w = _weights(stack, some, address, first, samples, chunk.samples)
            parts.append(ladder_of(log_w, rungs))
            if progress is not None:
                progress(min(first + chunk.examples, len(x)), len(x))
    found = with_units(parts)
    if model.domain.kind == "levels":
        found[NLL_BITS.name] = (bits_of(found[NLL_SAMPLED.name][0], x[:1].shape[1:]), NLL_BITS.unit)
    return found


def check_request(x: Shaped[Tensor, "n *example"] | Source, samples: int, ladder: Sequence[int] = ()) -> list[int]:
    """The rungs of the ladder that ``samples`` draws for each of ``x`` give.

    Raises:
        SeedbedError: if there is nothing to draw or no example.
    """
    if samples < 1:
        raise SeedbedError(f"samples must be at least 1, got {samples}")
    if not len(x):
        raise SeedbedError("there is no example to evaluate; ask for at least 1")
    return sorted({k for k in ladder if k < samples} | {samples})


def check_values(model: LatentVariable, x: Shaped[Tensor, "n *example"] | Source) -> None:
    """Refuse values that p(x | z) gives no probability.

    Raises:
        SeedbedError: for grey images where the model scores binary ones, for fractions and levels that it has not.
    """
    if model.domain.kind == "levels" and model.domain.size is not None:
        for some in source_of(x).pieces():
            check_levels(some, model.domain.size, type(model).__name__)
    if model.domain != BINARY or all(bool(((some == 0) | (some == 1)).all()) for some in source_of(x).pieces()):
        return
    whole, most = True, 0.0
    for some in source_of(x).pieces():
        whole = whole and bool((some == some.round()).all()) and float(some.min()) >= 0
        most = max(most, float(some.max()))
    BINARY.check(Domain("levels", int(most) + 1) if whole else REAL, type(model).__name__)


def _log_weights(model: LatentVariable, samples: int, x: Tensor, ctx: Context) -> Tensor:
    return model.proposal(x, ctx, samples).log_w


def _weights(stack: Stack, x: Tensor, address: str, first: int, samples: int, at_once: int) -> Tensor:
    """log w of ``samples`` draws for each of ``x``, ``[seeds, samples, len(x)]`` in fp64."""
    out = torch.empty((len(stack.streams), samples, len(x)), dtype=torch.float64, device=stack.device)
    for start in range(0, samples, at_once):
        count = min(at_once, samples - start)
        out[:, start : start + count] = _piece(stack, x, address, first, start, count)
    return out


def _piece(stack: Stack, x: Tensor, address: str, first: int, start: int, count: int) -> Tensor:
    noise = EvalNoise(
        stack.streams, "importance", address, first=first, first_sample=start, device=stack.device, dtype=stack.dtype
    )
    return stack.call(_log_weights, noise=noise, shared=(count, x))


def ladder_of(log_w: Float[Tensor, "seeds samples n"], rungs: Sequence[int]) -> dict[str, Float[Tensor, "seeds n"]]:
    """Every rung and the effective sample size from ``[seeds, samples, n]`` log-weights, each ``[seeds, n]``."""
    samples, out = log_w.shape[1], {}
    for k in rungs:
        groups = log_w[:, : samples // k * k].unflatten(1, (samples // k, k))
        out[f"neg_iw{k}_nats"] = math.log(k) - groups.logsumexp(2).mean(1)
    total = log_w.logsumexp(1)
    out[NLL_SAMPLED.name] = math.log(samples) - total
    out[ESS.name] = (2 * total - (2 * log_w).logsumexp(1)).exp()
    return out


def with_units(parts: Sequence[dict[str, Tensor]]) -> dict[str, tuple[Tensor, str]]:
    """Chunks of examples put together, with the smallest effective sample size."""
    values = {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}
    values[ESS_MIN.name] = values[ESS.name].amin(1, keepdim=True)
    return {name: (value, declared(name, beside=values).unit) for name, value in values.items()}


def monte_carlo_error(ess: Float[Tensor, "seeds n"], samples: int) -> Float[Tensor, "seeds 1"]:
    """Standard error of the mean ``nll_nats`` that the draws of z are responsible for, ``[seeds, 1]``.

    By the delta method var(log sum_k w_k) ~= 1 / ess - 1 / K per example (Owen 2013, chapter 9). The spread over examples
    has no part in it. Where ``ess`` is near 1 the weights that matter were not met, and it is too small.

    Args:
        ess: ``[seeds, n]``, as ``importance_sampling`` returns it.
        samples: K.
    """
    return (1 / ess - 1 / samples).clamp(min=0).sum(1, keepdim=True).sqrt() / ess.shape[1]


@dataclass(frozen=True)
class _Need:
    """Bytes: of what is kept to the end, of one example's weights, and of one sample of one example in the model.

    Args:
        examples: n.
        samples: K.
        kept: results of all examples.
        weights: of one example with all its samples, in the three copies that sums take.
        row: the model's activations, measured.
    """

    examples: int
    samples: int
    kept: float
    weights: float
    row: float

    @classmethod
    def of(cls, stack: Stack, x: Tensor, examples: int, samples: int, rungs: int) -> "_Need":
        seeds, few = len(stack.streams), min(samples, FEW)
        # Measured in fp32: weights cast to bf16 would hide what grows. Values cast to bf16 and back take half as much again.
        low = stack.precision == "bf16"
        probe = replace(stack, precision="fp32") if low else stack
        one, three = (peak_bytes(lambda n=n: _piece(probe, x.repeat_interleave(n, 0), "", 0, 0, few)) for n in (1, 3))
        row = max((1.5 if low else 1.0) * (three - one) / (2 * few), 8.0)
        return cls(examples, samples, 16.0 * seeds * examples * (rungs + 2), 24.0 * seeds * samples, row)

    def bytes(self, chunk: Chunk) -> float:
        """What a chunk takes at most."""
        return self.kept + chunk.examples * (self.weights + self.row * chunk.samples)

    def choose(self, memory_gib: float, device: torch.device) -> Chunk:
        """A fast chunk that fits: one tile, in whole blocks of draws, at least some samples deep."""
        limit = memory_gib * GIB
        if self.bytes(Chunk(1, 1)) > limit:
            raise self._refusal(limit)
        rows = max(1, int(min(limit, TILE.get(device.type, LARGE)) / self.row))
        samples = min(self.samples, max(rows // BLOCK, min(rows, FEW)))
        examples = min(self.examples, rows // samples, int((limit - self.kept) / (self.weights + self.row)))
        examples -= examples % BLOCK if examples > BLOCK else 0
        fits = int(((limit - self.kept) / examples - self.weights) / self.row)
        return Chunk(examples, max(1, min(self.samples, rows // examples, fits)))

    def check(self, chunk: Chunk, memory_gib: float) -> Chunk:
        """A chunk that was asked for, cut to what there is."""
        limit = memory_gib * GIB
        if chunk.examples < 1 or chunk.samples < 1:
            raise SeedbedError(f"a chunk must be at least 1 example x 1 sample, got {chunk}")
        chunk = Chunk(min(chunk.examples, self.examples), min(chunk.samples, self.samples))
        if self.bytes(Chunk(1, 1)) > limit:
            raise self._refusal(limit)
        if self.bytes(chunk) > limit:
            fits = next(smaller for smaller in _halved(chunk) if self.bytes(smaller) <= limit)
            raise SeedbedError(
                f"a chunk of {chunk} needs {self.bytes(chunk) / GIB:.3g} GiB, the limit is {limit / GIB:.3g}; {fits} fits"
            )
        return chunk

    def _refusal(self, limit: float) -> SeedbedError:
        """Not even one sample of one example at a time: is it K, the examples or the model?"""
        says = f"{self.bytes(Chunk(1, 1)) / GIB:.3g} GiB, the limit is {limit / GIB:.3g}"
        k = int((limit - self.kept - self.row) / self.weights * self.samples)
        if k >= 1:
            return SeedbedError(f"k = {self.samples} needs {says}; k = {k} fits, or raise --memory-gib")
        if self.kept > limit:
            return SeedbedError(f"the results of {self.examples} examples need {says}; ask for fewer or raise --memory-gib")
        return SeedbedError(f"one sample of one example needs {says}; raise --memory-gib")


def _halved(chunk: Chunk) -> Iterator[Chunk]:
    while True:
        deep = chunk.samples > chunk.examples
        samples, examples = chunk.samples // (1 + deep), chunk.examples // (2 - deep)
        chunk = Chunk(max(1, examples), max(1, samples))
        yield chunk
