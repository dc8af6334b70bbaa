"""What kind of number an example is made of. A likelihood declares the domain that it accepts."""

from dataclasses import dataclass
from typing import Literal, get_args

from seedbed.core.errors import SeedbedError

Kind = Literal["real", "binary", "levels", "tokens"]

# Families of p(x | z), and the kinds of values that each scores; ``auto`` is the first that scores a kind.
Family = Literal["auto", "bernoulli", "gaussian", "logistic", "logistic-mixture", "categorical", "grey-bernoulli"]
SCORES: dict[str, tuple[Kind, ...]] = {
    "bernoulli": ("binary",),
    "logistic": ("levels",),
    "gaussian": ("real", "levels"),
    "logistic-mixture": ("levels",),
    "categorical": ("levels",),
    "grey-bernoulli": ("levels",),
}

_REMEDY = {
    ("binary", "levels"): "binarise them (data 'mnist-dynamic' instead of 'mnist', ',binarise=dynamic' behind your own)",
    ("binary", "real"): "use a density over real values (a Gaussian likelihood or a flow)",
    ("real", "levels"): "use a model that scores levels, such as a VAE (`likelihood_of` of its domain)",
    ("real", "binary"): "use a Bernoulli likelihood, or dequantise them first",
}


@dataclass(frozen=True)
class Domain:
    """The set that one component of an example lives in.

    Args:
        kind: ``real``, ``binary`` (0 or 1), ``levels`` (0..size-1, ordered) or ``tokens`` (0..size-1).
        size: number of levels or tokens; ``None`` for ``real`` and ``binary``.
    """

    kind: Kind
    size: int | None = None

    def __str__(self) -> str:
        return self.kind if self.size is None else f"{self.kind}[{self.size}]"

    @classmethod
    def parse(cls, text: str) -> "Domain":
        """What ``str`` made text of.

        Raises:
            SeedbedError: for any other text.
        """
        name, _, size = text.removesuffix("]").partition("[")
        kinds: tuple[Kind, ...] = get_args(Kind)
        for kind in kinds:
            if kind == name and (found := cls(kind, int(size) if size.isdigit() else None)) and str(found) == text:
                return found
        raise SeedbedError(f"expected a domain, real, binary, levels[N] or tokens[N]; got {text!r}")

    def check(self, data: "Domain", likelihood: str) -> None:
        """Refuse data that the likelihood owning this domain cannot score.

        Raises:
            SeedbedError: if ``data`` is another domain.
        """
        if data != self:
            todo = _REMEDY.get((self.kind, data.kind), "choose a model made for that domain")
            raise SeedbedError(f"{likelihood} expects {self} data, got {data}; {todo}")


REAL = Domain("real")
BINARY = Domain("binary")
