"""Draws of models of pictures and vectors: of a random code, or along the chain x -> z -> x from a stated beginning."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.capabilities import HasSample, LatentVariable
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.noise import BLOCK, EvalNoise
from seedbed.core.numbers import whole
from seedbed.core.stack import Stack
from seedbed.evaluate.estimate import draw_samples, drawn_chunks
from seedbed.evaluate.memory import GIB, peak_bytes
from seedbed.objectives.chain import step_of

STARTS = {"random-code": "", "limiting": "limiting"}
BEGINNINGS = {"coins": "", "draws": "from-draws"}
SHOWN = {"draw": "", "mean": "mean", "mode": "mode"}
MOST_STEPS = 1_000_000
AT_ONCE = 512  # chains of each seed: more are no faster


@dataclass(frozen=True)
class Way:
    """How draws are made and what is shown of them.

    Args:
        start: ``random-code``: x ~ p(x | z) at z ~ p(z); ``limiting``: after so many steps x -> z ~ q(z | x) -> x ~ p(x | z)
        chain: steps.
        chain_from: where they begin: ``coins``, noise that is uniform over an example's values (real ones in [0, 1));
            ``draws``, x of a random code.
        shown: ``draw``, x itself; ``mean``, E[x | z] at its z; ``mode``, the likeliest x at its z.
    """

    start: str = "random-code"
    chain: int = 1000
    chain_from: str = "coins"
    shown: str = "draw"

    def __post_init__(self) -> None:
        for what, value, choices in (
            ("start", self.start, STARTS),
            ("chain_from", self.chain_from, BEGINNINGS),
            ("shown", self.shown, SHOWN),
        ):
            if value not in choices:
                raise unknown(what, value, choices)
        whole("chain", self.chain, 1, MOST_STEPS)

    @property
    def limiting(self) -> bool:
        """Whether there is a chain."""
        return self.start == "limiting"

    @property
    def tag(self) -> str:
        """What a metric's name has behind the features, where this is not the usual way."""
        chain = [f"limiting{self.chain}", BEGINNINGS[self.chain_from]] if self.limiting else []
        return "".join(f":{part}" for part in (*chain, SHOWN[self.shown]) if part)

    @property
    def begins(self) -> str:
        """Where chains begin, in words."""
        return {"coins": "uniform noise", "draws": "draws of a random code"}[self.chain_from]

    @property
    def words(self) -> str:
        """The same for a protocol."""
        chain = f", {self.chain} steps of the chain x -> z -> x from {self.begins}" if self.limiting else ""
        shown = {"draw": "draws x ~ p(x | z)", "mean": "means E[x | z]", "mode": "likeliest x given z"}[self.shown]
        return f"start={self.start}{chain}; {shown}"

    @property
    def marks(self) -> list[int]:
        """Steps at which a chain is looked at: 1, 3, 10, 30 and so on, and its end; without a chain 0."""
        if not self.limiting:
            return [0]
        steps = [m * 10**e for e in range(len(str(MOST_STEPS))) for m in (1, 3) if m * 10**e < self.chain]
        return [*steps, self.chain]


USUAL = Way()


def check_chain(stack: Stack, whose: str) -> None:
    """Refuse a chain of what has no encoder.

    Raises:
        SeedbedError: for a model without latents.
    """
    if not isinstance(stack.module, LatentVariable):
        raise SeedbedError(f"{whose} has no encoder for a chain x -> z -> x; leave start out, it draws from random codes")


def looked(
    stack: Stack,
    way: Way,
    count: int,
    shape: tuple[int, ...],
    domain: Domain,
    *,
    first: int = 0,
    memory_gib: float = 4.0,
) -> Iterator[dict[int, Tensor]]:
    """Draws ``first`` to ``count`` of every seed in order, in parts that the memory holds: ``{mark: [seeds, n, *example]}``.

    Draw 100 is the same whether those before it are made or not.

    Args:
        stack: the models.
        way: how, with the marks at which chains are looked at.
        count: draws of each seed.
        shape: of an example.
        domain: of its values.
        first: index of the first.
        memory_gib: beside the models.

    Raises:
        SeedbedError: for a chain of a model without latents or one that stands still, or a mean or mode that a likelihood
            does not have.
    """
    if not way.limiting:
        for chunk in drawn_chunks(stack, of_code(way.shown), count, first=first, memory_gib=memory_gib):
            yield {0: chunk}
        return
    for part in followed(stack, way, count, shape, domain, first=first, memory_gib=memory_gib):
        yield {step: shown for step, (_, shown) in part.items()}


def followed(
    stack: Stack,
    way: Way,
    count: int,
    shape: tuple[int, ...],
    domain: Domain,
    *,
    first: int = 0,
    memory_gib: float = 4.0,
    begun: Shaped[Tensor, "seeds n *example"] | None = None,
    done: int = 0,
) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Chains ``first`` to ``count`` of every seed in order, in parts: at each mark ``(x, what is shown of it)``.

    Args:
        stack: the models.
        way: how, with the marks at which chains are looked at.
        count: chains of each seed.
        shape: of an example.
        domain: of its values.
        first: index of the first.
        memory_gib: beside the models.
        begun: where the first chains are after ``done`` steps, at least ``count``; by default at the way's beginning.
        done: those steps.

    Raises:
        SeedbedError: for a model without latents, a chain that stands still since p(x | z) is of one x alone, or a mean or
            mode that its likelihood does not have.
    """
    check_chain(stack, type(stack.module).__name__)
    if first >= count:
        return
    piece = lambda: _advanced(stack, way.shown, beginning(stack, way.chain_from, shape, domain, 0, BLOCK), 1, 0)
    at_once = max(1, min(AT_ONCE // BLOCK, int(memory_gib * GIB / max(1, peak_bytes(piece))))) * BLOCK
    # Whole blocks, cut afterwards: a product of a few rows may round otherwise than that of a block, and one other bit in a
    # thousand steps makes another chain.
    end = -(-count // BLOCK) * BLOCK
    for start in range(first - first % BLOCK, end, at_once):
        n = min(at_once, end - start)
        x = beginning(stack, way.chain_from, shape, domain, start, n) if begun is None else _filled(begun, start, n)
        asked = slice(max(0, first - start), count - start)
        steps = walked(stack, x, way, done=done, first=start)
        yield {step: (x[:, asked], shown[:, asked]) for step, x, shown in steps if shown is not None}


def _filled(begun: Tensor, start: int, n: int) -> Tensor:
    """``n`` chains from one on, with zeros for those that there are none of."""
    some = begun[:, start : start + n]
    return torch.cat([some, some.new_zeros(len(some), n - some.shape[1], *some.shape[2:])], 1)


def beginning(
    stack: Stack, chain_from: str, shape: tuple[int, ...], domain: Domain, first: int, count: int
) -> Shaped[Tensor, "seeds {count} *example"]:
    """Where chains begin, those of every seed its own."""
    if chain_from == "draws":
        return draw_samples(stack, of_code("draw"), count, first)

    def coins(model: Any, count: int, ctx: Context) -> Tensor:
        u = ctx.noise.uniform(shape, batch=count)
        return u if domain.size is None and domain.kind == "real" else (u * (domain.size or 2)).floor()

    noise = EvalNoise(stack.streams, "chain", first=first, device=stack.device, dtype=stack.dtype)
    with torch.no_grad():
        return stack.call(coins, noise=noise, shared=(count,))


def walked(
    stack: Stack, x: Shaped[Tensor, "seeds n *example"], way: Way, *, done: int = 0, first: int = 0
) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """The chains step by step: ``(step, x, what is shown of it)``, the last ``None`` but at the way's marks.

    Args:
        stack: the models.
        x: where the chains are.
        way: how far they go.
        done: steps that they have gone before: the same chain whether it goes at once or in parts.
        first: index of the first chain.
    """
    marks = {*way.marks}
    for step in range(done + 1, way.chain + 1):
        x, shown = _advanced(stack, way.shown if step in marks else "draw", x, step, first)
        yield step, x, shown if step in marks else None


def _advanced(stack: Stack, shown: str, x: Tensor, step: int, first: int) -> tuple[Tensor, Tensor]:
    def one(model: LatentVariable, x: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
        likelihood = step_of(model, x, ctx)
        if getattr(likelihood, "certain", False):
            raise SeedbedError(
                f"each z of {type(model).__name__} is of one x alone, so a chain x -> z -> x stands still; leave start out"
            )
        drawn = likelihood.draw(ctx.noise).value
        return drawn, drawn if shown == "draw" else shown_of(likelihood, shown)

    noise = EvalNoise(stack.streams, "chain", step, first=first, device=stack.device, dtype=stack.dtype)
    with torch.no_grad():
        return stack.call(one, x, noise=noise)


def of_code(shown: str) -> Any:
    """``(model, count, ctx) -> [count, *example]`` of random codes: draws, means or modes."""

    def made(model: Any, count: int, ctx: Context) -> Tensor:
        if shown == "draw":
            return cast(HasSample, model).sample(count, ctx)
        if not isinstance(model, LatentVariable):
            raise SeedbedError(f"{type(model).__name__} draws x without a p(x | z), so no {shown} of it can be shown")
        return shown_of(model.generate(count, ctx)[1], shown)

    return made


def shown_of(likelihood: Any, shown: str) -> Shaped[Tensor, "*batch"]:
    """The mean or the mode of p(x | z), ``[*batch, *example]``.

    Raises:
        SeedbedError: for a likelihood that has none.
    """
    found = getattr(likelihood, shown, None)
    if found is None:
        raise SeedbedError(f"{type(likelihood).__name__} p(x | z) has no {shown} to be shown; show draws")
    return found
