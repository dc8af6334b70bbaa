"""A function of a stack of seeds, recorded once as a plain list of tensor operations and played back from then on.

A small model's step is mostly Python: ``vmap`` and autograd find out anew, every time, what to do next. What they did is the
same list of operations at every step, so it is recorded (forward and backward alike), and played back with other numbers.
Noise is not part of the list: draws are made at each step's own address and handed in. A playback is the same arithmetic in
the same order, to the last bit, and is compared with a call of the function itself again and again.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Draw, Noise


class Tapped(Noise):
    """A noise whose draws come from somewhere else.

    Args:
        like: whose streams and address it has.
        tap: the draw of every seed of the stack, ``[seeds, *draw.shape]``; forks and other streams ask the same tap.
        stream: its stream.
        row: see ``Noise``.
    """

    def __init__(self, like: Noise, tap: Callable[[Draw], Tensor], stream: str, row: Tensor | None = None) -> None:
        super().__init__(like.streams, stream, *like.address, device=like.device, dtype=like.dtype, row=row)
        self.tap = tap

    def _copy(self, stream: str, row: Tensor | None) -> "Tapped":
        return Tapped(self, self.tap, stream, row)

    def make(self, draw: Draw, rows: Sequence[int]) -> Tensor:
        """What the tap gives."""
        return self.tap(draw)


def listing(noise: Noise, draws: list[Draw]) -> Tapped:
    """The same noise, whose every draw is also appended to ``draws``."""

    def tap(draw: Draw) -> Tensor:
        draws.append(draw)
        return _drawn(noise, draw)

    return Tapped(noise, tap, noise.stream)


class Replay:
    """``function(noise, *args)``, recorded at a later call.

    The function must be pure: tensors in (pytrees of them), tensors out, every draw from ``noise``, nothing remembered
    outside of its arguments, no decision by a tensor's value. Where recording fails or the first playbacks differ, the
    function is called as before.

    Args:
        function: what to run.
        name: what errors call it.
        after: the call at which it is recorded (recording takes seconds; a short run is over before).
        every: calls between two comparisons of the playback with the function.
    """

    def __init__(self, function: Callable[..., Any], name: str, after: int = 200, every: int = 1000) -> None:
        self.function = function
        self.name = name
        self.after = after
        self.every = every
        self.calls = 0
        self.played = 0
        self._graph: fx.GraphModule | None = None
        self._draws: list[Draw] = []
        self._signature: object = None
        self._structure: TreeSpec | None = None

    @property
    def recorded(self) -> bool:
        """Whether calls are played back."""
        return self._graph is not None

    def __call__(self, noise: Noise, *args: Any) -> Any:
        """What ``function(noise, *args)`` returns, without gradient history.

        Raises:
            SeedbedError: if a playback that used to agree with the function does not any more.
        """
        self.calls += 1
        if self.calls == self.after:
            return self._record(noise, args)
        leaves, structure = tree_flatten(args)
        if self._graph is None or self._signature != _signature(leaves, structure):
            return self.function(noise, *args)
        self.played += 1
        if self.played > 2 and self.played % self.every:
            return self._play(noise, leaves)
        expected = self.function(noise, *args)
        if not same(expected, self._play(noise, leaves)):
            if self.played > 2:
                raise SeedbedError(
                    f"{self.name} gives other numbers now than what was recorded of it {self.played} steps ago: it depends "
                    "on something besides its arguments, such as a counter of its own; carry that in the state"
                )
            self._graph = None
        return expected

    def _record(self, noise: Noise, args: tuple[Any, ...]) -> Any:
        self._draws = []
        expected = self.function(listing(noise, self._draws), *args)
        leaves, structure = tree_flatten(args)
        self._signature, self._structure = _signature(leaves, structure), tree_flatten(expected)[1]

        def flat(leaves: list[Tensor], draws: list[Tensor]) -> list[Tensor]:
            tap = partial(_next, zip(self._draws, draws, strict=True))
            return tree_flatten(self.function(Tapped(noise, tap, noise.stream), *tree_unflatten(leaves, structure)))[0]

        try:
            self._graph = _trimmed(make_fx(flat)(leaves, [_drawn(noise, draw) for draw in self._draws]))
        except Exception:
            # Whatever a model does that cannot be recorded, it can do unrecorded; a defect of its own shows there.
            self._graph = None
        return expected

    def _play(self, noise: Noise, leaves: list[Tensor]) -> Any:
        assert self._graph is not None and self._structure is not None
        with torch.no_grad():
            return tree_unflatten(self._graph(leaves, [_drawn(noise, draw) for draw in self._draws]), self._structure)


def _drawn(noise: Noise, draw: Draw) -> Tensor:
    return noise.of(draw.stream).make(draw, range(len(noise.streams)))


def _next(given: Iterator[tuple[Draw, Tensor]], draw: Draw) -> Tensor:
    expected, values = next(given)
    if draw != expected:
        raise SeedbedError(
            f"expected the draw {expected}, got {draw}: a model must ask for the same draws in the same order"
        )
    return values


def _signature(leaves: list[Tensor], structure: TreeSpec) -> object:
    return structure, [(leaf.shape, leaf.dtype, leaf.device) for leaf in leaves]


def _trimmed(recorded: fx.GraphModule) -> fx.GraphModule:
    """Without what a playback has no use for: detaching (there are no gradients), and results that nobody reads."""
    for node in recorded.graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            recorded.graph.erase_node(node)
    recorded.graph.eliminate_dead_code()
    recorded.recompile()
    return recorded


def same(expected: Any, played: Any) -> bool:
    """Equal to the last bit on a CPU; elsewhere up to what the order of an accelerator's sums may change."""
    pairs = zip(tree_flatten(expected)[0], tree_flatten(played)[0], strict=True)
    return all(
        torch.equal(a.isnan(), b.isnan())
        and bool(torch.equal(a.nan_to_num(), b.nan_to_num()) if a.device.type == "cpu" else _close(a, b))
        for a, b in pairs
    )


def _close(a: Tensor, b: Tensor) -> bool:
    a, b = a.nan_to_num().double(), b.nan_to_num().double()
    return bool((a - b).norm() <= 1e-3 * b.norm())
