"""Models of one's own in the shapes that everyone writes, told by what their class has; what cannot be told is refused.

A VAE's ``forward(x)`` returns ``(reconstruction, mean, log_var)``; a density has ``log_prob(x)``; a game has a ``generator``
and a ``critic``. What Seedbed's own capabilities say of a model (``core.capabilities``) goes before all of it.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_origin, get_type_hints

from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.experiments.data import Examples
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.objectives import Adversarial, Elbo, Likelihood, Objective, Trained
from seedbed.experiments.own import OwnModel, made
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedbed.core.context import Context
    from seedbed.data.dataset import Dataset
    from seedbed.models.adapted import DecodingVAE, ForwardVAE, Pair
    from seedbed.train.game import Game
    from seedbed.train.task import Measure

_TRAINING = Training(steps=5_000, batch_size=64, eval_every=500)


@dataclass(frozen=True, kw_only=True)
class OwnLatentModel(OwnModel):
    """A latent-variable model of one's own, written as Seedbed's are."""

    codes: ClassVar = True
    objective: ClassVar[Objective] = Elbo()
    training: ClassVar = _TRAINING

    def build(self, data: "Dataset") -> "nn.Module":
        """As it is."""
        return self.module(data)


@dataclass(frozen=True, kw_only=True)
class OwnVAE(OwnModel):
    """A VAE of one's own, whose forward(x) returns (reconstruction, mean, log_var), and that decodes."""

    takes: ClassVar = ("real", "binary", "levels")
    codes: ClassVar = True
    objective: ClassVar[Objective] = Elbo()
    training: ClassVar = _TRAINING

    def taken_as(self, data: "Dataset") -> str:
        """How z and x are scored."""
        return self.build(data).taken_as

    def build(self, data: "Dataset") -> "DecodingVAE":
        """With a likelihood of what the data are."""
        from seedbed.models.adapted import decoding_vae

        return decoding_vae(self.module(data), data.shape, data.domain)


@dataclass(frozen=True, kw_only=True)
class OwnForwardVAE(OwnModel):
    """A VAE of one's own, whose forward(x) returns (reconstruction, mean, log_var), without a decoder to draw by."""

    takes: ClassVar = ("real", "binary", "levels")
    training: ClassVar = _TRAINING

    def taken_as(self, data: "Dataset") -> str:
        """How x is scored."""
        return self.build(data).taken_as

    def build(self, data: "Dataset") -> "ForwardVAE":
        """With a likelihood of what the data are."""
        from seedbed.models.adapted import forward_vae

        return forward_vae(self.module(data), data.shape, data.domain)


@dataclass(frozen=True, kw_only=True)
class OwnDensity(OwnModel):
    """A density of one's own, with log_prob(x)."""

    takes: ClassVar = ("real", "binary", "levels")
    objective: ClassVar[Objective] = Likelihood()
    training: ClassVar = _TRAINING

    @property
    def exact(self) -> bool:
        """So its log_prob says."""
        return True

    def build(self, data: "Dataset") -> "nn.Module":
        """With sample(count), if it has that."""
        from seedbed.models.adapted import density

        return density(self.module(data))


@dataclass(frozen=True, kw_only=True)
class OwnGAN(OwnModel):
    """A generator and a critic of one's own."""

    takes: ClassVar = ("real",)
    objective: ClassVar[Objective] = Adversarial()
    training: ClassVar = Training(steps=5_000, batch_size=64, lr=5e-4, betas=(0.5, 0.9), eval_every=500)

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """Vectors, of which the distance of draws to data means something."""
        return super().misfit(domain, shape) or ("" if len(shape) == 1 else "takes vectors")

    def taken_as(self, data: "Dataset") -> str:
        """What z is."""
        return self.build(data).taken_as

    def build(self, data: "Dataset") -> "Pair":
        """Both as one model."""
        from seedbed.models.adapted import pair

        found = made(self.make, data)
        return pair(*(found if isinstance(found, tuple) else (self.module(data),)), shape=data.shape)


@dataclass(frozen=True, kw_only=True)
class ForwardElbo(Objective):
    """The evidence lower bound from one forward pass: the reconstruction is of the draw that it made."""

    def game(self, training: Training, model: Trained) -> "Game":
        """One player."""
        from seedbed.objectives.own import forward_elbo
        from seedbed.train.game import Game

        return Game((training.player(forward_elbo),))

    def select(self, model: Trained) -> str:
        """The bound."""
        return "neg_elbo_nats"

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """The bound and its KL."""
        from seedbed.evaluate.density import DensityMeasure
        from seedbed.objectives.own import forward_elbo

        def losses(model: Any, x: "Tensor", ctx: "Context") -> "dict[str, Tensor]":
            terms = forward_elbo(model, x, ctx)
            return {"neg_elbo_nats": -terms.value, "kl_nats": terms.parts["kl"]}

        return DensityMeasure(data, losses, self.select(model))


@dataclass(frozen=True)
class Shape:
    """What a class of one's own may be.

    Args:
        doc: what it has.
        part: how it is declared.
        objective: what it is trained by, where that is not the part's own.
    """

    doc: str
    part: Callable[..., OwnModel]
    objective: Objective | None = field(default=None)


_CAPABLE = Shape("layers(x, ctx)", OwnLatentModel)
_DENSE = Shape("log_prob(x)", OwnDensity)
_VAE = Shape("forward(x) -> (reconstruction, mean, log_var), and a decoder", OwnVAE)
_BOUND = Shape("forward(x) -> (reconstruction, mean, log_var)", OwnForwardVAE, ForwardElbo())
_GAME = Shape("a generator and a critic", OwnGAN)
WHAT_TO_WRITE = (
    "let forward(x) return (reconstruction, mean, log_var), write log_prob(x), or hold a generator and a critic; any other "
    "module is trained by seedbed.fit(..., loss=...)"
)


def is_model(found: object) -> bool:
    """Whether something in a file is a class of modules, or a function that says that it makes one, or two."""
    if isinstance(found, type):
        return _is_module(found)
    return inspect.isfunction(found) and bool(_returned(found))


def adapted(make: Any, name: str = "") -> Experiment:
    """The experiment of a class of modules, or of a function that makes one: data are still to be named.

    Args:
        make: called with those of ``features``, ``shape``, ``channels`` that it asks for (see ``own.made``).
        name: what to call it in errors.

    Raises:
        SeedbedError: if what it learns cannot be told, with what to write.
    """
    shape = shape_of(make, name)
    part = shape.part(make=make)
    return Experiment(Examples(), part, shape.objective or part.objective, part.training)


def says(make: Any) -> str:
    """What a model of one's own is taken for, in a few words.

    Raises:
        SeedbedError: as ``adapted``.
    """
    return f"by its {shape_of(make).doc}"


def shape_of(make: Any, name: str = "") -> Shape:
    """Which of the shapes a class, or what a function returns, has.

    Raises:
        SeedbedError: if it is none of them, or more than one.
    """
    made_of = [make] if isinstance(make, type) else _returned(make) if inspect.isfunction(make) else []
    name = name or getattr(make, "__name__", type(make).__name__)
    if not made_of or not all(map(_is_module, made_of)):
        raise SeedbedError(
            f"{name} is neither an Experiment nor a class of nn.Module; of a function say what it makes: "
            f"def {name}() -> MyVAE"
        )
    if len(made_of) == 2:
        return _GAME
    (kind,) = made_of
    found = _capable(kind) or _shapes(kind)
    if len(found) != 1:
        what = "cannot be told" if not found else f"is told in two ways, {' and '.join(s.doc for s in found)}; leave one"
        raise SeedbedError(f"what {name} learns {what}: {WHAT_TO_WRITE}")
    return found[0]


def _capable(kind: type) -> list[Shape]:
    from seedbed.core.capabilities import HasLogProb, LatentVariable

    return [shape for of, shape in ((LatentVariable, _CAPABLE), (HasLogProb, _DENSE)) if issubclass(kind, of)]


def _shapes(kind: type) -> list[Shape]:
    held = set(_assigned(kind)) | set(dir(kind))
    found = []
    if callable(getattr(kind, "log_prob", None)):
        found.append(_DENSE)
    if "generator" in held and held & {"critic", "discriminator"}:
        found.append(_GAME)
    if _returns_three(kind):
        found.append(_VAE if held & {"decode", "decoder"} else _BOUND)
    return found


def _is_module(kind: object) -> bool:
    torch = sys.modules.get("torch")  # a file that defines a module has imported it
    return torch is not None and isinstance(kind, type) and issubclass(kind, torch.nn.Module)


def _returned(function: Callable[..., Any]) -> list[type]:
    """The classes of modules that a function says it returns."""
    try:
        hint = get_type_hints(function).get("return")
    except (NameError, TypeError):
        return []
    kinds = get_args(hint) if get_origin(hint) is tuple else (hint,)
    return [kind for kind in kinds if isinstance(kind, type) and _is_module(kind)] if len(kinds) in (1, 2) else []


def _sources(kind: type) -> Iterator[ast.AST]:
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("torch", "builtins", "abc"):
            continue
        try:
            yield ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue


def _assigned(kind: type) -> Iterator[str]:
    """The attributes that its methods give to ``self``."""
    for tree in _sources(kind):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
                yield node.attr


def _returns_three(kind: type) -> bool:
    """Whether every ``return`` of its forward pass is of three values."""
    for tree in _sources(kind):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "forward":
                returns = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
                return bool(returns) and all(isinstance(one, ast.Tuple) and len(one.elts) == 3 for one in returns)
    return False
