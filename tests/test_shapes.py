"""Shapes on signatures are checked whenever a test calls the function, and few signatures are without them."""

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Generator, Iterator

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from passes import at
from torch import Tensor

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import REAL, Domain
from seedbed.core.law import Distribution
from seedbed.core.products import linear
from seedbed.distributions.mixture import NormalMixture
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.evaluate.distances import sliced_wasserstein
from seedbed.evaluate.likelihood import ladder_of
from seedbed.models.flow import Flow
from seedbed.models.spline import spline_forward
from seedbed.models.transforms import ActNorm, Transform
from seedbed.objectives.adversarial import gradient_penalty, score
from seedbed.objectives.bounds import elbo
from seedbed.train.optim import SGD

# What carries the mathematics: whole packages, and modules of others.
SHAPED = (
    "core.capabilities",
    "core.law",
    "core.proposal",
    "core.slope",
    "distributions",
    "nets",
    "objectives",
    "models.dequantise",
    "models.flow",
    "models.spline",
    "models.transforms",
    "evaluate.baseline",
    "evaluate.distances",
    "evaluate.estimate",
    "evaluate.likelihood",
    "train.batches",
    "train.optim",
)
# Functions there that take or return a tensor of whatever axes: ``[*batch, *event]`` of an event whose rank is known only
# when they run, of which a type cannot tell one part from the other. It may fall.
OPEN = 21


class PerFeature(Transform):
    """Its log-determinant is that of each feature, where that of each example is asked for."""

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, torch.zeros_like(x)

    inverse = forward


class ThreeCritics:
    """Its critic scores an example three times."""

    def critic(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 3)

    def sample(self, count: int, ctx: Context) -> Tensor:
        return torch.zeros(count, 2)


class PerPixel(LatentVariable):
    """Its likelihood has events without axes, so that log p(x | z) is that of each pixel."""

    @property
    def domain(self) -> Domain:
        return REAL

    def layers(self, x: Tensor | None, ctx: Context) -> Generator[Layer, Tensor, Distribution]:
        z = yield Layer("z", StandardNormal(2))
        return DiagonalNormal(z.new_zeros(1, 3), z.new_zeros(1, 3), rank=0)


ZEROS = torch.zeros
ZEROS = torch.zeros
# What is wrong: where the type error says so, and the call.
WRONG = {
    "log_prob of a point without features": (
        "NormalMixture.log_prob.*'value'",
        lambda: NormalMixture(DiagonalNormal(ZEROS(4, 2), ZEROS(4, 2))).log_prob(ZEROS(())),
    ),
    "log_prob of whole numbers": (
        "StandardNormal.log_prob.*'value'",
        lambda: StandardNormal(2).log_prob(torch.zeros(5, 2, dtype=torch.int64)),
    ),
    "parameters of different batches": (
        "DiagonalNormal.__init__.*'log_scale'",
        lambda: DiagonalNormal(ZEROS(3, 2), ZEROS(4, 2)),
    ),
    "joint of each pixel": (
        "return value of seedbed.core.capabilities.LatentVariable.joint",
        lambda: PerPixel().joint(ZEROS(1, 3), {"z": ZEROS(1, 2)}, at()),
    ),
    "log_det of each feature": (
        "return value of seedbed.models.flow.Flow.forward",
        lambda: Flow(2, [PerFeature()])(ZEROS(5, 2)),
    ),
    "a first batch that is one example": (
        "ActNorm.data_init.*'x'",
        lambda: ActNorm(2).data_init(ZEROS(2), at()),
    ),
    "parameters of fewer splines": (
        "spline_forward.*'raw'",
        lambda: spline_forward(ZEROS(5), ZEROS(4, 23), 3.0),
    ),
    "a map of other features": (
        "linear.*'weight'",
        lambda: linear(ZEROS(5, 3), ZEROS(4, 2), None),
    ),
    "scores of several critics": (
        "return value of seedbed.objectives.adversarial.score",
        lambda: score(ThreeCritics(), ZEROS(5, 2)),
    ),
    "a penalty at no batch": (
        "gradient_penalty.*'x'",
        lambda: gradient_penalty(lambda x: x[..., None], ZEROS(())),
    ),
    "a bound of no batch": (
        "elbo.*'x'",
        lambda: elbo(PerPixel(), ZEROS(()), at()),
    ),
    "weights of one seed": (
        "ladder_of.*'log_w'",
        lambda: ladder_of(ZEROS(10, 5), [1]),
    ),
    "fewer points": (
        "sliced_wasserstein.*'b'",
        lambda: sliced_wasserstein(ZEROS(3, 6, 2), ZEROS(5, 2)),
    ),
    "gradients of other parameters": (
        "update.*'grads'",
        lambda: SGD().update(ZEROS(2, 3), ZEROS(2, 1), {"t": ZEROS(2, 1)}, ZEROS(2, 1)),
    ),
    "step sizes in a row": (
        "update.*'lr'",
        lambda: SGD().update(ZEROS(2, 2), ZEROS(2, 2), {"t": ZEROS(2, 1)}, ZEROS(2)),
    ),
}


@pytest.mark.parametrize(("where", "call"), WRONG.values(), ids=WRONG)
def test_a_wrong_shape_is_a_type_error(where, call, pytestconfig):
    if not pytestconfig.getoption("jaxtyping_packages"):
        pytest.skip("shapes are checked with --jaxtyping-packages=seedbed,beartype.beartype, as `make test` has it")
    with pytest.raises(TypeCheckError, match=f"(?s){where}"):
        call()


def modules() -> Iterator[types.ModuleType]:
    for name in SHAPED:
        module = importlib.import_module(f"seedbed.{name}")
        yield module
        for found in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{module.__name__}."):
            yield importlib.import_module(found.name)


def functions(module: types.ModuleType) -> Iterator[typing.Any]:
    """The public functions and methods that a module defines."""
    for name, member in vars(module).items():
        if getattr(member, "__module__", None) != module.__name__ or name.startswith("_"):
            continue
        if inspect.isfunction(member):
            yield member
        elif inspect.isclass(member):
            for inner, method in vars(member).items():
                bare = getattr(method, "fget", None) or getattr(method, "func", None) or getattr(method, "__func__", method)
                if inspect.isfunction(bare) and (not inner.startswith("_") or inner in ("__init__", "__call__")):
                    yield bare


def untold(annotation: typing.Any) -> bool:
    """Whether an annotation has a tensor, alone, in a union or in a tuple, whose axes it does not tell."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple):
        return any(untold(part) for part in typing.get_args(annotation))
    return annotation is Tensor or getattr(annotation, "dim_str", None) == "..."


def test_few_signatures_tell_no_shape():
    found = [function for module in modules() for function in functions(module)]
    assert len(found) > 150, "the search finds what there is"
    left = sorted(
        f"{function.__module__}.{function.__qualname__}"
        for function in found
        if any(untold(hint) for hint in typing.get_type_hints(function).values())
    )
    assert len(left) == OPEN, f"write the shapes, or lower OPEN where that was done: {', '.join(left)}"


def test_what_tells_no_shape():
    assert all(map(untold, (Tensor, Tensor | None, tuple[int, Tensor], Float[Tensor, "..."], Float[Tensor, "..."] | None)))
    assert not any(map(untold, (int, Float[Tensor, "n 2"], Float[Tensor, ""] | None, Callable[[Tensor], Tensor])))
