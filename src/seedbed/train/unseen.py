"""What a player without data is handed in the place of a batch."""

from collections.abc import Sequence
from typing import Any, NoReturn

from seedbed.core.errors import SeedbedError


class Unseen:
    """A batch that is not drawn: it has a length, and nothing else.

    Args:
        player: whose batch it is.
        count: examples that it stands for.

    Raises:
        SeedbedError: whatever else is asked of it.
    """

    def __init__(self, player: str, count: int) -> None:
        self._player = player
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getattr__(self, name: str) -> NoReturn:
        # Protocols that are probed for by name, such as copying, must find nothing rather than an error.
        if name.startswith("__"):
            raise AttributeError(name)
        self._touched()

    def __getitem__(self, index: object) -> NoReturn:
        self._touched()

    @classmethod
    def __torch_function__(
        cls, function: object, types: object, args: Sequence[Any] = (), kwargs: object = None
    ) -> NoReturn:
        """Of any tensor operation that it is given to."""
        raise SeedbedError(f"a utility computes with its batch, but its player has no data; {_INSTEAD}")

    def _touched(self) -> NoReturn:
        raise SeedbedError(f"the utility of {self._player!r} looks at its batch, but its player has no data; {_INSTEAD}")


_INSTEAD = "let it ask for len(batch) alone, or leave Player(data=False) out"
