"""Torch's own random functions, answered from the noise of a call.

A model that says ``torch.randn_like(x)`` draws from the address that it is called at, as ``ctx.noise`` does: every seed of a
stack its own, the same again when a run continues. Each function below is called as the one of torch that it stands for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.core.functorch import depth, mapped_within
from seedbed.core.noise import Noise

# How many values a uniform draw has: it is made in fp32.
DISTINCT = 1 << 24

# What a function of torch's is answered with: ``served(draws, *its arguments)``; ``None`` where torch shall answer itself.
Served = Callable[..., Any]
Number = int | float


class Draws:
    """Draws of whatever shape a function of torch is asked for.

    Args:
        noise: of the call.
        batch: examples of the call. An axis of that length, or a first one of a multiple, is taken for theirs, so that what
            an evaluation draws is keyed by example and sample; ``None`` where it is not known.
    """

    def __init__(self, noise: Noise, batch: int | None) -> None:
        self.noise = noise
        self.batch = batch
        self._level = depth()

    @property
    def mapped(self) -> bool:
        """Whether the call is mapped over a stack of seeds."""
        return self.noise.row is not None

    @property
    def outermost(self) -> bool:
        """Whether the call is mapped, and nothing else, such as a gradient within a utility, is going on within it."""
        return self.mapped and depth() == self._level

    def normal(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Shaped[Tensor, "*shape"]:
        """Standard normal draws."""
        return self._drawn(self.noise.normal, tuple(shape)).to(dtype or self.noise.dtype)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Shaped[Tensor, "*shape"]:
        """Draws from U[0, 1): of a type with fewer digits the largest number below 1 where rounding would make it 1."""
        drawn, kind = self._drawn(self.noise.uniform, tuple(shape)), dtype or self.noise.dtype
        return drawn.clamp(max=1 - torch.finfo(kind).eps / 2).to(kind)

    def exponential(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Shaped[Tensor, "*shape"]:
        """Draws from Exponential(1), none of them 0: what would be is the middle of all that is rounded to it."""
        return (-torch.log1p(-self.uniform(shape))).clamp(min=0.5 / DISTINCT).to(dtype or self.noise.dtype)

    def kept(self, shape: Sequence[int], p: float) -> Bool[Tensor, "*shape"]:
        """What a dropout of rate ``p`` keeps, from the stream that is meant for it."""
        return self._drawn(self.noise.of("dropout").uniform, tuple(shape)) >= p

    def as_torch(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """What a function of torch's draws from its own generators, at the address of one draw: of a call of one seed."""
        with self.noise.seeded():
            return function(*args, **named)

    def _drawn(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        if mapped_within(self._level):
            raise SeedbedError(
                "a function that draws is called inside a vmap, where all that is mapped over would get the same draw; draw "
                "outside of it and hand the draws in"
            )
        n = self.batch or 0
        if n and shape[:1] == (n,):
            return draw(shape[1:], batch=n)
        if n and shape[1:2] == (n,):
            return draw(shape[2:], batch=n, samples=shape[0])
        if n > 1 and shape and shape[0] and shape[0] % n == 0:  # examples with an axis of theirs folded in
            return draw((shape[0] // n, *shape[1:]), batch=n).reshape(shape)
        return draw(shape)


def _size(size: Sequence[Any], named: dict[str, Any]) -> tuple[int, ...]:
    """A shape as torch takes it: numbers, a sequence of them, or by name."""
    size = named.pop("size", size)
    return tuple(size[0] if len(size) == 1 and isinstance(size[0], Sequence) else size)


def _made(out: Tensor, named: Mapping[str, Any]) -> Tensor:
    """A draw where, and of the kind that, a factory function was told to make it."""
    out = out.to(device=named.get("device"), dtype=named.get("dtype"))
    return out.requires_grad_() if named.get("requires_grad") else out


def _theirs(named: Mapping[str, Any]) -> bool:
    """Whether a draw is asked of a generator, or into a tensor, of the caller's own: torch's business."""
    return named.get("generator") is not None or named.get("out") is not None


def _factory(law: Callable[..., Tensor]) -> Served:
    def made(draws: Draws, *size: Any, **named: Any) -> Tensor | None:
        return None if _theirs(named) else _made(law(draws, _size(size, named), named.get("dtype")), named)

    return made


def _like(law: Callable[..., Tensor]) -> Served:
    def made(draws: Draws, input: Tensor, **named: Any) -> Tensor | None:
        return None if _theirs(named) else _made(law(draws, input.shape, named.get("dtype") or input.dtype), named)

    return made


def _filling(law: Callable[..., Tensor]) -> Served:
    """Of a function that fills its tensor: ``law(draws, shape, dtype, *parameters)``."""

    def filled(
        draws: Draws, input: Tensor, *given: Any, generator: torch.Generator | None = None, **named: Any
    ) -> Tensor | None:
        if generator is not None:
            return None
        return input.copy_(law(draws, input.shape, input.dtype, *given, **named))

    return filled


def _normal(draws: Draws, mean: Any, std: Any = 1.0, size: Any = None, **named: Any) -> Tensor | None:
    if _theirs(named):
        return None
    shape = size if size is not None else torch.broadcast_shapes(*(v.shape for v in (mean, std) if isinstance(v, Tensor)))
    kind = next((v.dtype for v in (mean, std) if isinstance(v, Tensor)), named.get("dtype"))
    return _made(mean + std * draws.normal(shape, kind), named)


def _bernoulli(
    draws: Draws, input: Tensor, p: Any = None, *, generator: torch.Generator | None = None, out: Any = None
) -> Tensor | None:
    if generator is not None or out is not None:
        return None
    return (draws.uniform(input.shape) < (input if p is None else p)).to(input.dtype)


def _integers(draws: Draws, shape: Sequence[int], low: int, high: int) -> Tensor:
    return (draws.uniform(shape) * (high - low)).floor().long().clamp(max=high - low - 1) + low


def _randint(draws: Draws, *given: Any, **named: Any) -> Tensor | None:
    low, high, size = _bounds((*given,), named, 3)
    if _theirs(named) or not 0 < high - low <= DISTINCT:
        return None
    return _made(_integers(draws, tuple(size), low, high), named)


def _randint_like(draws: Draws, input: Tensor, *given: Any, **named: Any) -> Tensor | None:
    low, high = _bounds((*given,), named, 2)
    if _theirs(named) or not 0 < high - low <= DISTINCT:
        return None
    return _made(_integers(draws, input.shape, low, high), {"dtype": input.dtype, **named})


def _bounds(given: tuple[Any, ...], named: dict[str, Any], count: int) -> tuple[Any, ...]:
    """``[low,] high[, size]`` as torch takes them: by place or by name, ``low`` 0 where it is left out."""
    names = ("low", "high", "size")[:count]
    missing = count - len(given) - sum(name in named for name in names)
    places = iter((*((0,) if missing and "low" not in named else ()), *given))
    return tuple(named.pop(name) if name in named else next(places) for name in names)


def _randperm(draws: Draws, n: int, **named: Any) -> Tensor | None:
    return None if _theirs(named) else _made(draws.uniform((n,)).argsort(), named)


def _multinomial(draws: Draws, input: Tensor, num_samples: int, replacement: bool = False, **named: Any) -> Tensor | None:
    """By a race of exponentials where nothing is put back, else by the inverse of the distribution function."""
    if _theirs(named):
        return None
    if num_samples == 1 or not replacement:
        return (input / draws.exponential(input.shape, input.dtype)).topk(num_samples, -1).indices
    below = input.cumsum(-1)
    share = draws.uniform((*input.shape[:-1], num_samples), input.dtype)
    return (share[..., None] >= (below / below[..., -1:])[..., None, :]).sum(-1)


def _empty(draws: Draws, *size: Any, **named: Any) -> Tensor | None:
    """A tensor of each seed: one that all of them shared could not be filled with draws."""
    if not draws.mapped or named.get("out") is not None:
        return None
    row = draws.noise.row
    assert row is not None, "mapped"
    kind = named.get("dtype") or torch.get_default_dtype()
    return row.new_empty(_size(size, named), dtype=kind, device=named.get("device") or draws.noise.device)


def _new(draws: Draws, input: Tensor, *size: Any, **named: Any) -> Tensor | None:
    return _empty(draws, *size, **{"dtype": input.dtype, "device": input.device, **named})


def _legacy_new(draws: Draws, input: Tensor, *given: Any, **named: Any) -> Tensor | None:
    """``Tensor.new``, which of numbers, or of a shape, makes an empty tensor; of a list or a tensor one of its values."""
    sized = len(given) == 1 and isinstance(given[0], torch.Size)
    return _new(draws, input, *given, **named) if sized or all(isinstance(n, int) for n in given) else None


def _new_like(draws: Draws, input: Tensor, **named: Any) -> Tensor | None:
    return _new(draws, input, input.shape, **named)


def _uniform_in(draws: Draws, shape: Sequence[int], dtype: torch.dtype, *bounds: Number, **named: Number) -> Tensor:
    # One bound has a name that no Python function could have.
    low, high = bounds[0] if bounds else named.get("from", 0.0), bounds[1] if len(bounds) > 1 else named.get("to", 1.0)
    return low + (high - low) * draws.uniform(shape, dtype)


def _normal_at(draws: Draws, shape: Sequence[int], dtype: torch.dtype, mean: Number = 0, std: Number = 1) -> Tensor:
    return mean + std * draws.normal(shape, dtype)


def _log_normal_at(draws: Draws, shape: Sequence[int], dtype: torch.dtype, mean: Number = 1, std: Number = 2) -> Tensor:
    return (mean + std * draws.normal(shape, dtype)).exp()


def _exponential_at(draws: Draws, shape: Sequence[int], dtype: torch.dtype, lambd: Number = 1) -> Tensor:
    return draws.exponential(shape, dtype) / lambd


def _cauchy_at(draws: Draws, shape: Sequence[int], dtype: torch.dtype, median: Number = 0, sigma: Number = 1) -> Tensor:
    return median + sigma * torch.tan(math.pi * (draws.uniform(shape) - 0.5 + 0.5 / DISTINCT)).to(dtype)


def _bits_at(draws: Draws, shape: Sequence[int], dtype: torch.dtype, p: Any = 0.5) -> Tensor:
    return (draws.uniform(shape) < p).to(dtype)


def _seeded(function: Callable[..., Any]) -> Served:
    """Of a law that is drawn as torch draws it: of one seed from its address; over several, strict ``vmap`` refuses it."""

    def called(draws: Draws, *args: Any, **named: Any) -> Any:
        return None if draws.mapped or _theirs(named) else draws.as_torch(function, *args, **named)

    return called


SERVED: dict[Callable[..., Any], Served] = {
    torch.randn: _factory(Draws.normal),
    torch.rand: _factory(Draws.uniform),
    torch.randn_like: _like(Draws.normal),
    torch.rand_like: _like(Draws.uniform),
    torch.normal: _normal,
    torch.bernoulli: _bernoulli,
    torch.Tensor.bernoulli: _bernoulli,
    torch.randint: _randint,
    torch.randint_like: _randint_like,
    torch.randperm: _randperm,
    torch.multinomial: _multinomial,
    torch.Tensor.multinomial: _multinomial,
    torch.Tensor.normal_: _filling(_normal_at),
    torch.Tensor.uniform_: _filling(_uniform_in),
    torch.Tensor.exponential_: _filling(_exponential_at),
    torch.Tensor.log_normal_: _filling(_log_normal_at),
    torch.Tensor.cauchy_: _filling(_cauchy_at),
    torch.Tensor.bernoulli_: _filling(_bits_at),
    torch.empty: _empty,
    torch.empty_like: _new_like,
    torch.Tensor.new: _legacy_new,
    torch.Tensor.new_empty: _new,
    **{
        function: _seeded(function)
        for function in (
            torch.poisson,
            torch.binomial,
            torch.rrelu,
            torch.nn.functional.rrelu,
            *(vars(torch)[name] for name in ("_standard_gamma", "_sample_dirichlet")),
            torch.Tensor.geometric_,
            torch.Tensor.random_,
        )
    },
}
