"""Sets of pictures as a network sees them, streamed: what the distances between sets are made of."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.source import Source
from seedbed.evaluate.estimate import drawn_chunks
from seedbed.evaluate.features.known import Features

AT_ONCE = 512  # pictures that a network sees


@dataclass(frozen=True)
class Sight:
    """What is kept of a set.

    Args:
        features: ``[n, d]``.
        logits: ``[n, classes + 1]``; of no classifier ``[n, 0]``.
        slope: mean over a picture of the difference to its right and lower neighbours, ``[n]``.
    """

    features: Float[Tensor, "n d"]
    logits: Float[Tensor, "n classes"]
    slope: Float[Tensor, "n"]

    def first(self, n: int) -> "Sight":
        """Of the first n alone."""
        return Sight(self.features[:n], self.logits[:n], self.slope[:n])


def scaled(x: Shaped[Tensor, "n *picture"], domain: Domain, *, drawn: bool = False) -> Float[Tensor, "n *picture"]:
    """Pictures as numbers from 0 to 1.

    Args:
        x: pictures of a domain.
        domain: of them.
        drawn: whether a model made them, whose real numbers may overshoot.

    Raises:
        SeedbedError: for pictures of real numbers that lie outside.
    """
    if domain.kind == "levels":
        return x.float() / max(1, (domain.size or 2) - 1)
    out = x.float()
    outside = ((out < -0.05) | (out > 1.05)).float().mean() if domain.kind == "real" else 0.0
    if outside > (0.5 if drawn else 0.0):
        raise SeedbedError(
            f"pictures of real numbers must lie in [0, 1], got {float(out.min()):.3g} to {float(out.max()):.3g}; scale them"
        )
    return out.clamp(0, 1)


def seen(pictures: Iterable[Float[Tensor, "n channels height width"]], features: Features) -> Sight:
    """What a network makes of pictures that come in parts."""
    parts: list[Sight] = []
    for some in pictures:
        for part in some.split(AT_ONCE):
            found = features(part)
            slopes = part.diff(dim=-1).abs().mean((1, 2, 3)) + part.diff(dim=-2).abs().mean((1, 2, 3))
            parts.append(Sight(found.features.float().cpu(), found.logits.float().cpu(), slopes.cpu()))
    if not parts:
        raise SeedbedError("there is no picture to look at")
    return joined(parts)


def shuffled(sight: Sight) -> Sight:
    """The same in an order that means nothing, where parts of a set were looked at one after the other."""
    order = torch.randperm(
        len(sight.features), generator=Streams(0).generator("eval", "order of sight", len(sight.features))
    )
    return Sight(sight.features[order], sight.logits[order], sight.slope[order])


def joined(parts: Sequence[Sight]) -> Sight:
    """Several as one."""
    return Sight(*(torch.cat([getattr(part, name) for part in parts]) for name in ("features", "logits", "slope")))


def of_source(source: Source, domain: Domain, count: int) -> Iterator[Float[Tensor, "n channels height width"]]:
    """So many pictures of a split, in an order that means nothing: a split may be sorted by class."""
    order = torch.randperm(len(source), generator=Streams(0).generator("eval", "order of pictures", len(source)))[:count]
    for rows in order.split(8 * AT_ONCE):
        yield scaled(source.gather(rows), domain)


def of_models(
    stack: Stack, domain: Domain, count: int, memory_gib: float
) -> Iterator[Float[Tensor, "seeds n channels height width"]]:
    """So many draws of every model of a stack, in parts that the memory holds."""

    def draw(model: object, n: int, ctx: Context) -> Tensor:
        return cast(HasSample, model).sample(n, ctx)

    for part in drawn_chunks(stack, draw, count, memory_gib=memory_gib):
        if not torch.isfinite(part).all():
            part = torch.nan_to_num(part)  # a seed that diverged: it is measured, and counted as lost
        yield scaled(part.cpu(), domain, drawn=True)


def seen_models(stack: Stack, domain: Domain, count: int, features: Features, memory_gib: float) -> list[Sight]:
    """The draws of every model as a network sees them, one sight for each seed."""
    parts: list[list[Sight]] = [[] for _ in stack.streams]
    for chunk in of_models(stack, domain, count, memory_gib):
        for row, drawn in enumerate(chunk):
            parts[row].append(seen([drawn], features))
    return [joined(many) for many in parts]
