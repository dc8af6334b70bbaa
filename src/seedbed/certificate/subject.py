"""A model under examination: three seeds of it in float64, examples, and what it is trained by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry

from seedbed.certificate.check import Finding, NotApplicableError
from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context, State
from seedbed.core.domain import Domain
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.proposal import Proposal
from seedbed.core.shapes import size_of
from seedbed.core.slots import couples_examples
from seedbed.core.stack import Stack
from seedbed.core.terms import Terms

SEEDS = tuple(Streams(seed) for seed in range(3))
Utility = Callable[[Any, Any, Context], Terms]

DRAWS, FEWEST = 2048, 64  # of each of few examples
LARGEST = 1_000_000  # numbers of all draws
WORK = 300_000_000  # multiplications of a check
FEW = 2  # examples that densities are looked at given each of
EXACT = 1e-9  # what float64 may round, relative to the size of the numbers


class _Work(TorchDispatchMode):
    """Counts the multiplications of matrix products and convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.done += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


@dataclass(frozen=True)
class Claim:
    """What somebody wrote and says of it.

    Args:
        function: a utility, ``(model, x, ctx) -> Terms`` or ``[batch]``.
        k: importance samples of the bound that it is said to estimate; 0 of one that is only said to bound log p(x).
    """

    function: Callable[..., Any]
    k: int = 0


@dataclass(frozen=True)
class Subject:
    """What the checks look at.

    Args:
        modules: one of each seed, in float64, away from where they start: a layer that starts at zero hides mistakes.
        x: examples of each seed, ``[seeds, batch, *example]``, in float64.
        data_domain: what the examples are.
        utilities: what the model is trained by, by name.
        owners: the player that each utility belongs to, by its prefixes; all of the model where nothing is said.
        bound: a bound of one's own.
        loss: a loss of one's own.
        build: makes one seed's model as it starts.
    """

    modules: tuple[nn.Module, ...]
    x: Tensor
    data_domain: Domain
    utilities: Mapping[str, Utility]
    build: Callable[[], nn.Module]
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bound: Claim | None = None
    loss: Claim | None = None

    @property
    def model(self) -> nn.Module:
        """The first seed's model, for what it says of itself."""
        return self.modules[0]

    @property
    def domain(self) -> Domain:
        """What the model says that it scores; of one that says nothing what the examples are."""
        domain = getattr(self.model, "domain", None)
        return domain if isinstance(domain, Domain) else self.data_domain

    @property
    def example(self) -> tuple[int, ...]:
        """Shape of an example."""
        return tuple(self.x.shape[2:])

    @property
    def size(self) -> int:
        """Numbers in an example."""
        return size_of(self.example)

    @property
    def latent(self) -> bool:
        """Whether it has latent variables."""
        return isinstance(self.model, LatentVariable)

    @cached_property
    def alone(self) -> tuple[Stack, ...]:
        """Each seed as a stack of its own."""
        return tuple(Stack.of([module], [seed], "fp64") for module, seed in zip(self.modules, SEEDS, strict=True))

    @cached_property
    def together(self) -> Stack:
        """All seeds as one stack."""
        return Stack.of(self.modules, SEEDS, "fp64")

    def call(
        self,
        function: Callable[..., Any],
        *args: Any,
        row: int = 0,
        address: tuple[int | str, ...] = (),
        training: bool = False,
        first: int | None = None,
    ) -> Any:
        """``function(model, *args, ctx)`` of one seed, as evaluation (or training) would call it.

        Args:
            function: returns a pytree of tensors.
            args: pytrees of tensors.
            row: which seed.
            address: where its draws come from.
            training: whether dropout drops and normalisation learns.
            first: draws are keyed by example and sample, of which this is the first; ``None`` for those of training.
        """
        stack = self.alone[row]
        noise = stack.noise("noise", "certificate", *address)
        if first is not None:
            noise = EvalNoise(stack.streams, "certificate", *address, first=first, dtype=stack.dtype)
        given = tree_map(lambda t: t[None], args)
        return tree_map(lambda t: t[0], stack.step(function, *given, noise=noise, training=training)[0])

    def inside(self, function: Callable[..., Any], *args: Any, **where: Any) -> Any:
        """``call`` of a function that returns anything: what it looks at is only there while the numbers are lent."""
        found: list[Any] = []

        def look(model: Any, *given: Any) -> Tensor:
            found.append(function(model, *given))
            return self.x[0]

        self.call(look, *args, **where)
        return found[0]

    def differentiable(self, row: int) -> tuple["Subject", dict[str, Tensor]]:
        """The same with parameters of one seed that a gradient can be asked for."""
        stack, trained = self.alone[row], {name for name, _ in self.modules[row].named_parameters()}
        params = {k: v.clone().requires_grad_(k in trained and v.is_floating_point()) for k, v in stack.params.items()}
        copy = replace(self)
        alone = [*self.alone]
        alone[row] = stack.replace(params)
        vars(copy)["alone"] = tuple(alone)
        return copy, {k: v for k, v in params.items() if v.requires_grad}

    def latents(
        self, samples: int | None = None, *, row: int = 0, batch: int = 7, address: tuple[int | str, ...] = ()
    ) -> Any:
        """Draws of the latents given the first examples, ``{name: [*samples, batch, *latent]}``."""
        need(self.latent, "it has no latent variables")
        draw = lambda model, x, ctx: dict(proposal_of(model, x, ctx, samples).z)
        return self.call(draw, self.x[row, :batch], row=row, address=address, first=0)

    @cached_property
    def bounded(self) -> bool:
        """Whether p(x | z) is said to be no more than a bound, on average over draws (``DequantisedNormal``)."""
        return self.inside(lambda model, ctx: getattr(model.generate(FEW, ctx)[1], "bound", False))

    @cached_property
    def scores_latents(self) -> bool:
        """Whether the posterior can score a z that it did not draw."""
        return self._proposed(lambda proposal: proposal.log_q_at is not None)

    @cached_property
    def bits(self) -> tuple[str, ...]:
        """The latents whose draws no gradient goes through."""
        return self._proposed(lambda proposal: tuple(proposal.fixed))

    def _proposed(self, ask: Callable[[Proposal], Any]) -> Any:
        return self.inside(lambda model, x, ctx: ask(proposal_of(model, x, ctx)), self.x[0], first=0)

    def draws(self) -> int:
        """How many draws of a law can be had: fewer of large events."""
        return min(DRAWS, max(256, 2 * LARGEST // self.size))

    @cached_property
    def passes(self) -> int:
        """How many draws of latents, each with a pass through the networks, can be had: fewer through large ones."""
        with _Work() as work:
            self.latents(1, batch=1)
        return min(DRAWS, max(FEWEST, WORK // max(work.done, 1)))

    @property
    def couples(self) -> bool:
        """Whether the model, or what it is trained by, says that its examples see each other (batch norm says nothing)."""
        said = [getattr(part, "couples_examples", False) for part in (*self.model.modules(), *self.utilities.values())]
        return any(said)

    @property
    def normalises(self) -> bool:
        """Whether a batch norm learns from the batch in training."""
        return couples_examples(self.model)


@dataclass(frozen=True)
class Probe:
    """A check before it is made.

    Args:
        name: what it is called.
        says: what holds where it passes, in words.
        look: measures it; raises ``NotApplicableError`` where there is nothing to look at.
        after: checks that must not have failed: what this one would say follows from them.
    """

    name: str
    says: str
    look: Callable[[Subject], Finding]
    after: tuple[str, ...] = ()


def need(holds: bool, otherwise: str) -> None:
    """Look only where there is something to look at.

    Raises:
        NotApplicableError: with ``otherwise``, if it does not hold.
    """
    if not holds:
        raise NotApplicableError(otherwise)


def proposal_of(model: Any, x: Tensor, ctx: Context, samples: int | None = None) -> Proposal:
    """The model's proposal."""
    return model.proposal(x, ctx, samples)


def value_of(utility: Utility) -> Callable[[Any, Any, Context], tuple[Tensor, dict[str, Tensor]]]:
    """A utility as a function that returns tensors: its value and its parts, from its state at the start."""

    def value(model: Any, x: Any, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        begin = getattr(utility, "initial_state", None)
        if begin is not None:
            ctx = replace(ctx, state=State({**ctx.state, **begin(model, x)}))
        out = utility(model, x, ctx)
        return out.value, dict(out.parts)

    return value
