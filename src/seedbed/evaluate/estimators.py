"""The estimators: what each measures, of which models, with which options. Importing this does not import torch."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from seedbed.core import metric as metrics
from seedbed.core.errors import SeedbedError
from seedbed.evaluate.estimator import ARTEFACTS, Estimator, Limits, Option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedbed.core.stack import Stack
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.estimator import Measured
    from seedbed.evaluate.features.known import Features


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


def _has_bits(stack: "Stack", x: "Tensor") -> bool:
    from seedbed.evaluate.needs import traits

    return _has_latents(stack, x) and traits(stack, x).bits


def _walks(stack: "Stack", x: "Tensor") -> bool:
    from seedbed.evaluate.trajectory import can_walk

    return _has_latents(stack, x) and can_walk(stack, x)


def _shows_pictures(stack: "Stack", x: "Tensor") -> bool:
    return _has_latents(stack, x) and _draws_pictures(stack, x)


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
        stack: "Stack", data: "Dataset", split: str, limits: Limits, *, features: "Features", pictures: int, **draws: Any
    ) -> "Measured":
        from seedbed.evaluate.chain import Way
        from seedbed.evaluate.quality.measures import measured

        return measured(way, stack, data, split, limits, features, pictures, Way(**draws))

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


def _bits(stack: "Stack", data: "Dataset", split: str, limits: Limits, *, mixed: int) -> "Measured":
    from seedbed.evaluate.bits import bits_use

    use = bits_use(stack, data.splits[split], split, mixed, memory_gib=limits.memory_gib)
    return {**use.totals, **{f"units/{name}": found for name, found in use.units.items()}}


def _distance(stack: "Stack", data: "Dataset", split: str, limits: Limits) -> "Measured":
    from seedbed.evaluate.distances import SlicedWasserstein

    return SlicedWasserstein(data, len(data.splits[split]))(stack, split)


def _trajectory(stack: "Stack", data: "Dataset", split: str, limits: Limits, **how: Any) -> "Measured":
    from seedbed.evaluate.trajectory import Walk, energy_errors, walked_pictures

    limits.kept[ARTEFACTS] = walked_pictures(stack, data, split, Walk(**how))
    return energy_errors(stack, data.splits[split], f"{split} trajectories", Walk(**how))


def _reconstructions(
    stack: "Stack", data: "Dataset", split: str, limits: Limits, *, features: "Features", **how: Any
) -> "Measured":
    from seedbed.evaluate.quality.reconstructions import reconstructions
    from seedbed.evaluate.trajectory import Walk

    return reconstructions(stack, data, split, limits, features, Walk(**how))


def _words_of_walks(settings: Mapping[str, Any]) -> str:
    count = f"{settings['leapfrogs']} leapfrogs" if settings["leapfrogs"] else "leapfrogs as learnt, else 15"
    size = f"{settings['step_size']:g}" if settings["step_size"] else "as learnt, else the largest that accepts 65 %"
    return f"from z ~ q(z | x) {count} of size {size}"


def _words_of_sets(settings: Mapping[str, Any]) -> str:
    from seedbed.evaluate.chain import Way

    way = Way(**{option.name: settings[option.name] for option in WAY})
    return f"{way.words}; {settings['pictures']} pictures of each at most"


_DRAWN = "draws of pictures, grey or in three colours"
_FEATURES = Option(
    name="features",
    default="",
    help="what sees the pictures: mnist, fashion, cifar10 (by default the one of their size), inception, my_net.py:net",
)
_PICTURES = Option(name="pictures", default=10_000, least=2, mark="n", help="of each side; at most all of the split")
WAY = (
    Option(
        name="start",
        default="random-code",
        choices={"random-code": "", "limiting": "limiting"},
        help="draws of random codes, or the chain x -> z -> x after many steps",
    ),
    Option(name="chain", default=1000, least=1, most=1_000_000, mark="chain", help="its steps", of=("start", "limiting")),
    Option(
        name="chain_from",
        default="coins",
        choices={"coins": "", "draws": "from-draws"},
        help="where it begins: at noise, or at draws of random codes",
        of=("start", "limiting"),
    ),
    Option(
        name="shown",
        default="draw",
        choices={"draw": "", "mean": "mean", "mode": "mode"},
        help="of each draw: x itself, E[x | z] or the likeliest x at its z",
    ),
)
_LATENTS = "latents, and no batch norm by which examples see each other"
_SAMPLES = Option(
    name="samples",
    default=5000,
    least=1,
    mark="k",
    short="k",
    help="draws of z per example, with every bound of k = 1, 5, 50, 500, 5000 below",
)
_LEAPFROGS = Option(
    name="leapfrogs",
    default=0,
    least=0,
    most=1_000,
    mark="l",
    help="of a walk; 0 for those that a model learnt, else 15",
)
_STEP_SIZE = Option(
    name="step_size",
    default=0.0,
    least=0.0,
    most=10.0,
    mark="e",
    help="of each; 0 for learnt ones, else the largest at which 65 % of walks would be accepted",
)

# Of sets of pictures, all of the same needs and options: what each measures, and as what.
_SETS = {
    "fid": (
        "Frechet distance of draws to the split, in a network's features",
        (metrics.FID, metrics.FID_HALF, metrics.FID_AT, metrics.FID_AFTER, metrics.FID_INFINITY, metrics.FID_ERROR),
    ),
    "kid": ("kernel distance of draws to the split, unbiased", (metrics.KID, metrics.KID_ERROR)),
    "prdc": (
        "precision, recall, density and coverage of draws",
        (metrics.PRECISION, metrics.RECALL, metrics.DENSITY, metrics.COVERAGE),
    ),
    "recognised": (
        "draws that a classifier is sure of, their balance over classes, sharpness",
        (metrics.RECOGNISED, metrics.BALANCE, metrics.SMALLEST, metrics.SHARPNESS),
    ),
    "copies": ("draws that are training examples, and how near draws are to those", (metrics.COPIED, metrics.NEAREST)),
}
_OF_SETS = tuple(
    Estimator(
        name=name,
        meaning=meaning,
        needs=_DRAWN,
        offers=_draws_pictures,
        metrics=measured,
        measure=_pictures(name),
        options=(_FEATURES, _PICTURES, *WAY),
        words=_words_of_sets,
    )
    for name, (meaning, measured) in _SETS.items()
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
        metrics=(metrics.NEG_IW, metrics.NLL_SAMPLED, metrics.NLL_BITS, metrics.ESS, metrics.ESS_MIN),
        measure=_importance,
        options=(_SAMPLES,),
    ),
    Estimator(
        name="nll",
        meaning="exact negative log-likelihood",
        needs="a density in closed form",
        offers=_has_density,
        metrics=(metrics.NLL, metrics.GAP, metrics.BITS),
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
        name="bits",
        meaning="what bits tell of x, dead bits, average posterior against the prior",
        needs="latents that are bits, and no batch norm by which examples see each other",
        offers=_has_bits,
        metrics=(
            metrics.INFORMATION,
            metrics.INFORMATION_OF_LAYER,
            metrics.INFORMATION_OF_UNIT,
            metrics.FED_OF_UNIT,
            metrics.DEAD_OF_LAYER,
            metrics.MARGINALS,
            metrics.AGGREGATE,
            metrics.RATE,
        ),
        measure=_bits,
        options=(Option(name="mixed", default=1000, least=2, most=20_000, help="examples whose posteriors are averaged"),),
    ),
    Estimator(
        name="trajectory",
        meaning="what leapfrogs in z change the energy by, and pictures on their way",
        needs="one latent, a vector of real numbers in which densities are smooth",
        offers=_walks,
        metrics=(metrics.ENERGY_ERROR, metrics.ENERGY_DRIFT, metrics.ENERGY_AFTER, metrics.WALKED, metrics.STEP_SIZE),
        measure=_trajectory,
        options=(_LEAPFROGS, _STEP_SIZE),
        full_precision=True,
        words=_words_of_walks,
    ),
    Estimator(
        name="reconstructions",
        meaning="whether means E[x | z] show their input's class, and how sharp they are",
        needs=f"{_LATENTS}; pictures, grey or in three colours, with classes",
        offers=_shows_pictures,
        metrics=(
            metrics.RECONSTRUCTED,
            metrics.WALK_RECOGNISED,
            metrics.CLASS_CHANGED,
            metrics.PRIOR_RECOGNISED,
            metrics.EXAMPLE_RECOGNISED,
            *metrics.SHARPNESS_OF.values(),
            *metrics.UNDECIDED_OF.values(),
        ),
        measure=_reconstructions,
        options=(_FEATURES, _LEAPFROGS, _STEP_SIZE),
        full_precision=True,
        words=_words_of_walks,
    ),
    Estimator(
        name="sw",
        meaning="sliced Wasserstein distance of draws to the split",
        needs="draws of vectors of real numbers",
        offers=_draws_vectors,
        metrics=(metrics.SW,),
        measure=_distance,
    ),
    *_OF_SETS,
)
