"""What a model's entry points are given besides data: draws, whether this is training, and what outlives a step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.core.functorch import depth
from seedbed.core.noise import Noise, Streams
from seedbed.core.numbers import SEED_MOST, whole

# How a gradient goes through a latent's draw. ``path``: along the draw itself, where it is reparameterised. ``st``, ``zgr``:
# along a surrogate of bits. ``constant``: not at all. ``centre``: no draw is made, a law's mean stands for it if it has one.
Through = Literal["path", "st", "zgr", "constant", "centre"]


class State(Mapping[str, Tensor]):
    """Whatever outlives a step besides parameters, as one seed sees it; what is written is read from then on.

    It is written only at the outermost level: inside a nested transform (a gradient within a utility) it is read-only, since
    what is made there must not leave it. Return such a value from the transform as auxiliary output and write it outside.

    Args:
        values: by name.
    """

    def __init__(self, values: Mapping[str, Tensor] | None = None) -> None:
        self._values = dict(values or {})
        self._depth = depth()

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def writable(self) -> bool:
        """Whether this is the outermost level."""
        return depth() == self._depth

    def __setitem__(self, name: str, value: Tensor) -> None:
        """Write what the next step (and whoever reads after this in the same one) finds.

        Raises:
            SeedbedError: inside a nested transform, for a name without a start, or for another shape or type.
        """
        if not self.writable:
            raise SeedbedError(
                f"state {name!r} was written inside a nested transform; return it as auxiliary output and write it outside"
            )
        if name not in self._values:
            raise SeedbedError(f"state {name!r} has no start; give it one in `initial_state`, it has {sorted(self._values)}")
        start = self._values[name]
        if not isinstance(value, Tensor):
            raise SeedbedError(f"state {name!r} is a tensor, got {value!r}; write a tensor of its shape {list(start.shape)}")
        if value.shape != start.shape:
            raise SeedbedError(f"state {name!r} is {list(start.shape)}, got {list(value.shape)}; its shape must stay")
        if value.dtype != start.dtype and not (value.is_floating_point() and start.is_floating_point()):
            raise SeedbedError(f"state {name!r} is {start.dtype}, got {value.dtype}; its type must stay: write it .to that")
        self._values[name] = value.to(start.dtype)  # networks under autocast return bf16


@dataclass(frozen=True)
class Context:
    """Handed to every entry point of a model, and to every utility; a model that needs none of it passes it on.

    A part of it may be replaced on the way (``through``, say). ``nn.Dropout*`` and ``nn.BatchNorm*``, which are handed no
    context, act on the one that the call began with.

    Args:
        noise: the draws, at the address of this call.
        training: whether dropout drops and normalisation learns.
        state: see ``State``.
        settings: what differs between the rows of a stack besides their seeds, each a number (see ``Stack``).
        through: how gradients go through latents' draws.
    """

    noise: Noise
    training: bool = False
    state: State = field(default_factory=State)
    settings: Mapping[str, Tensor] = field(default_factory=dict)
    through: Through = "path"

    @classmethod
    def of(cls, seed: int, *address: int | str, stream: str = "eval") -> "Context":
        """A context outside of any run: ``model.sample(100, Context.of(3))`` draws the same every time.

        It is what an entry point makes of ``seed=3`` where it is given none (see ``core.by_hand``).
        """
        return cls(Noise([Streams(whole("seed", seed, 0, SEED_MOST))], stream, *address))
