"""Sets of pictures as a network sees them, streamed: what the distances between sets are made of."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.source import Source
from seedbed.evaluate.chain import USUAL, Way, looked
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
            parts.append(Sight(found.features.float().cpu(), found.logits.float().cpu(), slope_of(part).cpu()))
    if not parts:
        raise SeedbedError("there is no picture to look at")
    return joined(parts)


def slope_of(pictures: Float[Tensor, "*n channels height width"]) -> Float[Tensor, "*n"]:
    """The mean difference of a pixel to its right neighbour, plus that to its lower one, of each picture."""
    return sum((pictures.diff(dim=axis).abs().mean((-3, -2, -1)) for axis in (-1, -2)), torch.zeros(()))


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
    stack: Stack, domain: Domain, shape: tuple[int, ...], count: int, memory_gib: float, way: Way
) -> Iterator[dict[int, Float[Tensor, "seeds n channels height width"]]]:
    """So many draws of every model of a stack, in parts that the memory holds, by the step of their chain."""
    for part in looked(stack, way, count, shape, domain, memory_gib=memory_gib):
        yield {mark: scaled(_finite(x).cpu(), domain, drawn=True) for mark, x in part.items()}


def _finite(x: Tensor) -> Tensor:
    """With 0 for what is not: of a seed that diverged, which is measured, and counted as lost."""
    return x if torch.isfinite(x).all() else torch.nan_to_num(x)


def seen_models(
    stack: Stack,
    domain: Domain,
    shape: tuple[int, ...],
    count: int,
    features: Features,
    memory_gib: float,
    way: Way = USUAL,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, list[Sight]]:
    """The draws of every model as a network sees them, one sight for each seed, by the step of their chain (see ``Way``)."""
    parts: dict[int, list[list[Sight]]] = {}
    done = 0
    for chunk in of_models(stack, domain, shape, count, memory_gib, way):
        for mark, pictures in chunk.items():
            rows = parts.setdefault(mark, [[] for _ in stack.streams])
            for row, drawn in enumerate(pictures):
                rows[row].append(seen([drawn], features))
        done += len(next(iter(chunk.values()))[0])
        if progress is not None and way.limiting:
            progress(done, count)
    return {mark: [joined(many) for many in rows] for mark, rows in parts.items()}
