"""Estimators as values: what each measures, of which models, with which options. Importing this does not import torch."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seedbed.core import metric as metrics
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.metric import Metric
from seedbed.core.numbers import number, shown, whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedbed.core.stack import Stack
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.features.known import Features

    # {metric: (values [seeds, n], unit)}; n is 1 of what is one number of a seed, not a mean over examples.
    Measured = Mapping[str, tuple[Tensor, str]]


@dataclass(frozen=True, kw_only=True)
class Option:
    """A setting of an estimator: a flag of `seedbed evaluate`, and a part of the name under which its numbers are kept.

    Args:
        name: of the argument.
        default: which also says its type: a whole number, a number or a word; an empty one without choices is a name that is
            looked up before anything is measured, and whose ``tag`` then says what it was.
        help: what it means.
        least: smallest value of a number.
        most: largest, which bounds the time that a slip of the finger takes.
        choices: of a word, each with what it adds to the name of the file.
        mark: of a number, what stands before it there; by default the option's name.
        short: a short flag.
    """

    name: str
    default: int | float | str
    help: str
    least: int | float | None = None
    most: int | float = 10_000_000
    choices: Mapping[str, str] = field(default_factory=dict)
    mark: str = ""
    short: str = ""

    @property
    def free(self) -> bool:
        """Whether any name may be given."""
        return isinstance(self.default, str) and not self.choices

    def taken(self, value: Any) -> Any:
        """A given value as the option holds it.

        Raises:
            SeedbedError: for a wrong type, a number out of range, a word that is no choice.
        """
        if self.free:
            if not isinstance(value, str) and not hasattr(value, "tag"):
                raise SeedbedError(f"{self.name} must be a name, got {shown(value)}")
            return value
        if isinstance(self.default, str):
            if not isinstance(value, str) or value not in self.choices:
                raise unknown(self.name, value if isinstance(value, str) else shown(value), self.choices)
            return value
        if isinstance(self.default, int):
            return whole(self.name, value, self.least, self.most)
        return number(self.name, value, self.least, self.most)

    def tag(self, value: Any) -> str:
        """What a value adds to the name of the file."""
        if self.free:
            return str(getattr(value, "tag", value))
        return self.choices[value] if isinstance(self.default, str) else f"{self.mark or self.name}{value}"


@dataclass(frozen=True)
class Limits:
    """What a measurement may take, and whom it tells how far it is. It changes no number beyond its rounding.

    Args:
        memory_gib: beside models and data.
        progress: called with (examples done, examples in all).
        kept: what measurements of the same models share, by what it is.
    """

    memory_gib: float = 4.0
    progress: Callable[[int, int], None] | None = None
    kept: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """Something that can be measured of trained models.

    Args:
        name: how it is asked for. Several of one name are ways to one number: the first that a model offers counts.
        meaning: what it measures.
        needs: what a model must offer, in words.
        offers: whether models offer that, on examples like these, ``[n, *example]``.
        metrics: everything that it may return.
        measure: ``(stack, data, split, limits, **options) -> {metric: (values [seeds, n], unit)}``.
        options: its settings.
        full_precision: whether it computes in full precision whatever a run does.
        partly: whether numbers of a part of the test split are results, since it takes long.

    Raises:
        SeedbedError: for a name that no file can have, or a metric that means something else in Seedbed.
    """

    name: str
    meaning: str
    needs: str
    offers: "Callable[[Stack, Tensor], bool]"
    metrics: tuple[Metric, ...]
    measure: "Callable[..., Measured]"
    options: tuple[Option, ...] = ()
    full_precision: bool = False
    partly: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise SeedbedError(f"an estimator's name must be lower-case letters, digits and _, got {self.name!r}")
        for metric in self.metrics:
            known = [ours for ours in metrics.METRICS if ours.parse(metric.name) is not None]
            if known and not any((ours.unit, ours.better) == (metric.unit, metric.better) for ours in known):
                raise SeedbedError(
                    f"{metric.name} is declared in {known[0].unit}, {_way(known[0])}; estimator {self.name!r} says "
                    f"{metric.unit}, {_way(metric)}: give its metric another name"
                )

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The value of each of its options; what is given of others' is passed over."""
        return {one.name: one.taken(given[one.name]) if one.name in given else one.default for one in self.options}

    def tags(self, given: Mapping[str, Any]) -> list[str]:
        """What its options add to the name of the file that keeps the numbers."""
        values = self.settings(given)
        return [tag for option in self.options if (tag := option.tag(values[option.name]))]

    def check(self, measured: "Measured", seeds: int) -> None:
        """Refuse what it returned and did not declare.

        Raises:
            SeedbedError: for another metric, another unit, or values that are not ``[seeds, n]``.
        """
        for name, (values, unit) in measured.items():
            found = next((metric for metric in self.metrics if metric.parse(name) is not None), None)
            if values.ndim != 2 or len(values) != seeds:
                raise SeedbedError(f"estimator {self.name!r} must return [{seeds}, n] of {name}, got {list(values.shape)}")
            if found is None or found.unit != unit:
                has = "declares no such metric" if found is None else f"declares it in {found.unit}"
                raise SeedbedError(f"estimator {self.name!r} returned {name} in {unit} and {has}; add it to its `metrics`")


def _way(metric: Metric) -> str:
    return f"{metric.better} is better" if metric.better else "neither way better"


def offered(stack: "Stack", x: "Tensor") -> dict[str, Estimator]:
    """What can be measured of models on examples like these, by name.

    Args:
        stack: the models.
        x: ``[n, *example]``, of which the first is looked at.
    """
    found: dict[str, Estimator] = {}
    for estimator in ESTIMATORS:
        if estimator.name not in found and estimator.offers(stack, x):
            found[estimator.name] = estimator
    return found


def no_estimator(owner: str, wanted: str, known: Iterable[Estimator]) -> SeedbedError:
    """The error for an estimator that a model does not have, with those that it has."""
    has = ", ".join(f"{one.name} ({one.meaning})" for one in known) or "none"
    return SeedbedError(f"{owner} has no estimator {wanted!r}; it has: {has}")


def _apart(module: "nn.Module") -> bool:
    """Whether what an example is worth does not depend on those that it is evaluated with."""
    from seedbed.core.slots import couples_examples

    return not couples_examples(module, training=False)


def _has_tokens(stack: "Stack", x: "Tensor") -> bool:
    from seedbed.core.capabilities import Sequence

    return isinstance(stack.module, Sequence)


def _has_latents(stack: "Stack", x: "Tensor") -> bool:
    from seedbed.core.capabilities import LatentVariable

    return isinstance(stack.module, LatentVariable) and _apart(stack.module)


def _has_density(stack: "Stack", x: "Tensor") -> bool:
    from seedbed.core.capabilities import HasLogProb

    return isinstance(stack.module, HasLogProb) and _apart(stack.module)


def _has_slopes(stack: "Stack", x: "Tensor") -> bool:
    from seedbed.core.capabilities import LatentVariable
    from seedbed.evaluate.needs import traits

    module = stack.module
    return isinstance(module, LatentVariable) and _apart(module) and module.smooth and traits(stack, x).real


def _draws_vectors(stack: "Stack", x: "Tensor") -> bool:
    from seedbed.core.capabilities import HasSample
    from seedbed.core.domain import REAL

    return isinstance(stack.module, HasSample) and x.ndim == 2 and getattr(stack.module, "domain", None) == REAL


def _draws_pictures(stack: "Stack", x: "Tensor") -> bool:
    from seedbed.core.capabilities import HasSample

    return isinstance(stack.module, HasSample) and x.ndim == 4 and x.shape[1] in (1, 3)


def _pictures(way: str) -> "Callable[..., Measured]":
    """The measurement of one way to compare pictures; several share the draws and what a network sees in them."""

    def measure(
        stack: "Stack", data: "Dataset", split: str, limits: Limits, *, features: "Features", pictures: int
    ) -> "Measured":
        from seedbed.evaluate.quality.measures import measured

        return measured(way, stack, data, split, limits, features, pictures)

    return measure


def _tokens(stack: "Stack", data: "Dataset", split: str, limits: Limits) -> "Measured":
    from seedbed.evaluate.sequences import SequenceMeasure

    return SequenceMeasure(data)(stack, split)


def _density(stack: "Stack", data: "Dataset", split: str, limits: Limits) -> "Measured":
    from seedbed.evaluate.density import DensityMeasure, nll

    return DensityMeasure(data, nll, metrics.NLL.name)(stack, split)


def _importance(stack: "Stack", data: "Dataset", split: str, limits: Limits, *, samples: int) -> "Measured":
    from seedbed.evaluate.likelihood import importance_sampling

    x, progress = data.splits[split], limits.progress
    return importance_sampling(stack, x, split, samples, memory_gib=limits.memory_gib, progress=progress)


def _annealing(stack: "Stack", data: "Dataset", split: str, limits: Limits, *, samples: int, **how: Any) -> "Measured":
    from seedbed.evaluate.annealing import Annealing, second_opinion

    x, progress = data.splits[split], limits.progress
    return second_opinion(stack, x, split, Annealing(**how), samples, memory_gib=limits.memory_gib, progress=progress)


def _latents(stack: "Stack", data: "Dataset", split: str, limits: Limits, *, samples: int) -> "Measured":
    from seedbed.evaluate.latents import latent_use

    use = latent_use(stack, data.splits[split], split, samples, memory_gib=limits.memory_gib)
    return {**use.totals, **{f"units/{name}": found for name, found in use.units.items()}}


def _distance(stack: "Stack", data: "Dataset", split: str, limits: Limits) -> "Measured":
    from seedbed.evaluate.distances import SlicedWasserstein

    return SlicedWasserstein(data, len(data.splits[split]))(stack, split)


_DRAWN = "draws of pictures, grey or in three colours"
_FEATURES = Option(
    name="features",
    default="",
    help="what sees the pictures: mnist, fashion, cifar10 (by default the one of their size), inception, my_net.py:net",
)
_PICTURES = Option(name="pictures", default=10_000, least=2, mark="n", help="of each side; at most all of the split")
_OF_PICTURES = (_FEATURES, _PICTURES)
_LATENTS = "latents, and no batch norm by which examples see each other"
_SAMPLES = Option(
    name="samples",
    default=5000,
    least=1,
    mark="k",
    short="k",
    help="draws of z per example, with every bound of k = 1, 5, 50, 500, 5000 below",
)

ESTIMATORS = (
    Estimator(
        name="nll",
        meaning="exact negative log-likelihood per token",
        needs="a likelihood of token sequences",
        offers=_has_tokens,
        metrics=(metrics.NLL,),
        measure=_tokens,
    ),
    Estimator(
        name="nll",
        meaning="negative log-likelihood by importance sampling",
        needs=_LATENTS,
        offers=_has_latents,
        metrics=(metrics.NEG_IW, metrics.NLL_SAMPLED, metrics.ESS, metrics.ESS_MIN),
        measure=_importance,
        options=(_SAMPLES,),
    ),
    Estimator(
        name="nll",
        meaning="exact negative log-likelihood",
        needs="a density in closed form",
        offers=_has_density,
        metrics=(metrics.NLL, metrics.GAP),
        measure=_density,
    ),
    Estimator(
        name="ais",
        meaning="the same by annealed importance sampling, beside it",
        needs="latents that are real numbers, and densities that are smooth in them",
        offers=_has_slopes,
        metrics=(
            metrics.NLL_AIS,
            metrics.AIS_ERROR,
            metrics.AIS_ACCEPTED,
            metrics.AIS_MINUS_IS,
            metrics.AIS_MINUS_IS_ERROR,
        ),
        measure=_annealing,
        options=(
            Option(name="chains", default=16, least=2, mark="c", help="independent runs per example"),
            Option(name="temperatures", default=1000, least=1, mark="t", help="steps from its start to the posterior"),
            Option(name="leapfrogs", default=10, least=1, mark="l", help="gradient steps per temperature"),
            Option(name="start", default="prior", choices={"prior": "", "posterior": "q"}, help="where it begins"),
            _SAMPLES,
        ),
        full_precision=True,  # rounded energies would bias its acceptance
        partly=True,
    ),
    Estimator(
        name="latents",
        meaning="rate, distortion, KL per layer and unit, active units",
        needs=_LATENTS,
        offers=_has_latents,
        metrics=(
            metrics.RATE,
            metrics.DISTORTION,
            metrics.ACTIVE_UNITS,
            metrics.ACTIVE_OF_LAYER,
            metrics.KL_OF_LAYER,
            metrics.KL_OF_UNIT,
            metrics.UNIT_VARIANCE,
        ),
        measure=_latents,
        options=(Option(name="samples", default=20, least=2, mark="k", short="k", help="draws of z per example"),),
    ),
    Estimator(
        name="sw",
        meaning="sliced Wasserstein distance of draws to the split",
        needs="draws of vectors of real numbers",
        offers=_draws_vectors,
        metrics=(metrics.SW,),
        measure=_distance,
    ),
    Estimator(
        name="fid",
        meaning="Frechet distance of draws to the split, in a network's features",
        needs=_DRAWN,
        offers=_draws_pictures,
        metrics=(metrics.FID, metrics.FID_AT, metrics.FID_INFINITY, metrics.FID_ERROR),
        measure=_pictures("fid"),
        options=_OF_PICTURES,
    ),
    Estimator(
        name="kid",
        meaning="kernel distance of draws to the split, unbiased",
        needs=_DRAWN,
        offers=_draws_pictures,
        metrics=(metrics.KID, metrics.KID_ERROR),
        measure=_pictures("kid"),
        options=_OF_PICTURES,
    ),
    Estimator(
        name="prdc",
        meaning="precision, recall, density and coverage of draws",
        needs=_DRAWN,
        offers=_draws_pictures,
        metrics=(metrics.PRECISION, metrics.RECALL, metrics.DENSITY, metrics.COVERAGE),
        measure=_pictures("prdc"),
        options=_OF_PICTURES,
    ),
    Estimator(
        name="recognised",
        meaning="draws that a classifier is sure of, their balance over classes, sharpness",
        needs=_DRAWN,
        offers=_draws_pictures,
        metrics=(metrics.RECOGNISED, metrics.BALANCE, metrics.SMALLEST, metrics.SHARPNESS),
        measure=_pictures("recognised"),
        options=_OF_PICTURES,
    ),
    Estimator(
        name="copies",
        meaning="draws that are training examples, and how near draws are to those",
        needs=_DRAWN,
        offers=_draws_pictures,
        metrics=(metrics.COPIED, metrics.NEAREST),
        measure=_pictures("copies"),
        options=_OF_PICTURES,
    ),
)
