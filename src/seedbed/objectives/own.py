"""Utilities of what is one's own: a function ``(module, batch) -> [batch]``, and a VAE that is one forward pass."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils._pytree import tree_leaves

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Distribution, kl
from seedbed.core.terms import Terms
from seedbed.core.units import HasUnits, standard_of, standardised_for


class OwnUtility:
    """A utility of one's own; its negative, the loss of each example, is recorded under a name.

    Args:
        function: ``(module, batch) -> [batch]``, or with the context as a third argument. ``couples_examples = True`` on it
            says that examples see each other.
        name: of the loss.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = with_context(function), name
        self.couples_examples = couples(function)

    def __call__(self, model: Any, batch: Any, ctx: Context) -> Terms:
        """Its value per example."""
        value = value_of(self.function, model, batch, ctx, "the utility")
        return Terms(value, {self.name: -value})


class Negative:
    """A loss of one's own as a utility, ``(module, batch, ctx) -> [batch]``.

    Args:
        loss: ``(module, batch) -> [batch]``, see ``OwnUtility``.
    """

    def __init__(self, loss: Callable[..., Any]) -> None:
        self.loss, self.couples_examples = with_context(loss), couples(loss)

    def __call__(self, model: Any, batch: Any, ctx: Context) -> Float[Tensor, "batch"]:
        """Minus the loss of each example."""
        return -value_of(self.loss, model, batch, ctx, "the loss")


def couples(function: Callable[..., Any]) -> bool:
    """Whether a loss or a utility says that examples see each other in it."""
    return bool(getattr(function, "couples_examples", False))


def value_of(function: Callable[..., Any], model: Any, batch: Any, ctx: Context, what: str) -> Float[Tensor, "batch"]:
    """What a function of one's own says of each example, ``[batch]``.

    Args:
        function: see ``with_context``.
        model: the module.
        batch: a pytree of tensors ``[batch, ...]``.
        ctx: of this call.
        what: it is, for errors.

    Raises:
        SeedbedError: if it gives anything else than one number per example.
    """
    value = function(model, batch, ctx)
    count = len(tree_leaves(batch)[0])
    if not isinstance(value, Tensor):
        raise SeedbedError(f"{what} must return a tensor of one value per example, [{count}], got {type(value).__name__}")
    if value.shape == () and count == 1:  # squeezed
        return value.reshape(1)
    if tuple(value.shape) != (count,):
        hint = "; it looks like a mean or a sum over the batch" if value.numel() == 1 else ""
        raise SeedbedError(
            f"{what} must return one value per example, [{count}], not their mean, got {list(value.shape)}{hint}: sum over "
            "all axes but the first, with reduction='none' where a loss of torch is used"
        )
    return value


def with_context(function: Callable[..., Any]) -> Callable[[Any, Any, Context], Any]:
    """A function of module and batch as one that is handed a context too; as it is, if it asks for a third or ``ctx``."""
    try:
        asked = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        asked = ()
    places = [p for p in asked if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len([p for p in places if p.default is p.empty]) > 2 or any(p.name == "ctx" for p in places):
        return function
    return lambda model, batch, ctx: function(model, batch)


@runtime_checkable
class ForwardModel(Protocol):
    """A VAE that draws z within its forward pass."""

    @property
    def prior(self) -> Distribution:
        """p(z)."""
        ...

    def inferred(self, x: Shaped[Tensor, "batch *example"]) -> tuple[Distribution, Distribution]:
        """p(x | z) at its own draw of z, and the q(z | x) that it was drawn from."""
        ...


def forward_elbo(model: ForwardModel | HasUnits, x: Shaped[Tensor, "batch *example"], ctx: Context) -> Terms:
    """log p(x | z) - KL(q(z | x) || p(z)) in nats, at the z that one forward pass drew.

    Of data in units of their own it is that of the standardised examples, less sum log scale. Parts: ``elbo``,
    ``log_likelihood``, ``kl``.

    Source: Kingma & Welling 2014 (arXiv 1312.6114), eq. 7.
    """
    shown = standardised_for(model, x)
    volume = model.units.log_volume(tuple(x.shape[1:])) if isinstance(model, HasUnits) else 0
    standard: ForwardModel = standard_of(model)
    likelihood, posterior = standard.inferred(shown)
    log_likelihood, cost = likelihood.log_prob(shown) - volume, kl(posterior, standard.prior)
    assert cost is not None, "of two Gaussians there is a closed form"
    value = log_likelihood - cost
    return Terms(value, {"elbo": value, "log_likelihood": log_likelihood, "kl": cost})
