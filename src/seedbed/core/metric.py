"""What a measured number is: its unit, which way is better, where it may lie, and what it is a value or a bound of."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Better = Literal["lower", "higher"]
NumberKind = Literal["exact", "upper bound", "estimate", "error", "sample size"]


@dataclass(frozen=True)
class Metric:
    """The declaration of a metric.

    Args:
        name: as its rows have it. A placeholder stands for what differs: of one letter for a whole number
            (``neg_iw<k>_nats``), of more for a word (``kl_<layer>_nats``). Rows named ``<part>/<metric>`` are of parts of a
            model, e.g. of every unit: they stand on a split of their own, and nothing is compared on them.
        unit: of its values.
        meaning: in words.
        better: which way; ``None`` of what explains other numbers and is not judged.
        kind: what sort of number it is. An ``error`` and a ``sample size`` say how far another one may be trusted.
        of: the quantity that it is a value, a bound or an estimate of; metrics of one quantity may stand side by side.
        low: least value that it can take; ``None`` for no such.
        high: largest.
        offset: whether its zero means nothing, so that a ratio of two values does not either.
        beside: a metric that is always measured with it, where another metric of the same name is not.
    """

    name: str
    unit: str
    meaning: str
    better: Better | None = "lower"
    kind: NumberKind = "estimate"
    of: str = ""
    low: float | None = None
    high: float | None = None
    offset: bool = False
    beside: str = ""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = re.split(r"<(\w+)>", self.name)
        groups = [f"(?P<{part}>{r'[0-9]+' if len(part) == 1 else '.+'})" for part in parts[1::2]]
        fixed = [re.escape(part) for part in parts[::2]]
        return re.compile(fixed[0] + "".join(group + text for group, text in zip(groups, fixed[1:], strict=True)))

    def parse(self, name: str) -> dict[str, str] | None:
        """What stands for the placeholders in a name; ``None`` if it is another metric's.

        What a value was computed on may follow the name behind ``@``: ``precision@pixels``.
        """
        found = self._pattern.fullmatch(name) or self._pattern.fullmatch(name.split("@")[0])
        return found.groupdict() if found else None

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value that it can take."""
        return float("-inf") if self.low is None else self.low, float("inf") if self.high is None else self.high


_SURPRISE = "-log p(x)"
_EXCESS = "KL(p* || q)"

# What runs are compared on that have no metric in common, each by a number of its own that is a value or a bound of it.
SURPRISE = Metric(_SURPRISE, "nats", "negative log-likelihood, exact or bounded from above", of=_SURPRISE, offset=True)
NEG_IW = Metric("neg_iw<k>_nats", "nats", "negative bound of k samples", kind="upper bound", of=_SURPRISE, offset=True)
KL_OF_LAYER = Metric("kl_<layer>_nats", "nats", "KL of a layer's posterior from its prior", better=None, low=0.0)
KL_OF_UNIT = Metric("units/kl_<layer>_<i>_nats", "nats", "KL of a unit's posterior from its prior", better=None, low=0.0)
GAP = Metric("gap_nats", "nats", "log p*(x) - log q(x) where p* is known", kind="exact", of=_EXCESS, low=0.0)
NLL = Metric("nll_nats", "nats", "negative log-likelihood", kind="exact", of=_SURPRISE, offset=True)
NLL_SAMPLED = Metric(
    "nll_nats", "nats", "its bound by all samples", kind="upper bound", of=_SURPRISE, offset=True, beside="ess"
)
NEG_ELBO = Metric("neg_elbo_nats", "nats", "negative ELBO", kind="upper bound", of=_SURPRISE, offset=True)
KL = Metric("kl_nats", "nats", "KL of the posterior from the prior, over all layers", better=None, low=0.0)
SW = Metric("sw_distance", "data units", "sliced 1-Wasserstein distance of draws to examples", low=0.0)
ESS = Metric("ess", "samples", "how many samples of an example count", better=None, kind="sample size", low=1.0)
ESS_MIN = Metric("ess_min", "samples", "the same, least over examples", better=None, kind="sample size", low=1.0)
NLL_AIS = Metric(
    "nll_ais_nats", "nats", "negative log-likelihood by annealing", kind="upper bound", of=_SURPRISE, offset=True
)
AIS_ERROR = Metric("ais_error_nats", "nats", "error of its mean by the chains' spread", better=None, kind="error", low=0.0)
AIS_ACCEPTED = Metric("ais_accepted_share", "share", "proposals that chains accepted", better=None, low=0.0, high=1.0)
AIS_MINUS_IS = Metric("ais_minus_is_nats", "nats", "annealed less importance-sampled likelihood", better=None)
AIS_MINUS_IS_ERROR = Metric(
    "ais_minus_is_error_nats", "nats", "error of its mean by both estimators' draws", better=None, kind="error", low=0.0
)
# Of masses of levels alone: a density's logarithm is of the units of x. By other names, since one bound is the tighter.
_COST = "-log2 P(x) / dims"
_OF_LEVELS = "negative log-mass of a number in bits"
BITS = Metric("bits_per_dim", "bits", f"{_OF_LEVELS}, by the bound of training", kind="upper bound", of=_COST, offset=True)
NLL_BITS = Metric("nll_bits_per_dim", "bits", f"{_OF_LEVELS}, by all samples", kind="upper bound", of=_COST, offset=True)
RATE = Metric("rate_nats", "nats", "KL(q(z | x) || p(z)) over all layers", better=None, low=0.0)
DISTORTION = Metric("distortion_nats", "nats", "-E_q log p(x | z)", better=None)
ACTIVE_UNITS = Metric("active_units", "units", "latent units whose mean varies with x", better=None, low=0.0)
ACTIVE_OF_LAYER = Metric("active_units_<layer>", "units", "of one layer", better=None, low=0.0)
UNIT_VARIANCE = Metric("units/mean_variance_<layer>_<i>", "z^2", "variance over x of E_q[z | x]", better=None)

# Of latents that are bits. What a bit tells is H(mean of its probability) - mean of H(its probability): 0 of a dead one.
DEAD_BELOW = 0.01  # nats
ENCODER_LOSS = Metric("encoder_loss_nats", "nats", "-log q(z | x) at the model's own (x, z)", better=None)
INFORMATION = Metric(
    "information_nats", "nats", "what each bit tells of x and the bits before it, added up", better=None, low=0.0
)
INFORMATION_OF_LAYER = Metric("information_<layer>_nats", "nats", "the same of one layer", better=None, low=0.0)
INFORMATION_OF_UNIT = Metric("units/information_<layer>_<i>_nats", "nats", "what one bit tells", better=None, low=0.0)
FED_OF_UNIT = Metric(
    "units/fed_<layer>_<i>_nats", "nats", "what the layers above tell of one bit, under p(z)", better=None, low=0.0
)
DEAD_OF_LAYER = Metric("dead_bits_<layer>", "bits", "bits of a layer that tell below 0.01 nats", better=None, low=0.0)
MARGINALS = Metric("marginals_kl_nats", "nats", "KL of bits' mean probabilities under q from p's, added up", low=0.0)
AGGREGATE = Metric("aggregate_kl_nats", "nats", "KL of the average of q(z | x) over examples from p(z), from above")

# Of the Gaussian model, whose parameters, maximum likelihood and evidence are known; nats are of a whole data set.
DELTA_ERROR = Metric("delta_error", "data units^2", "|Delta - truth|^2", low=0.0)
SIGMA_ERROR = Metric("sigma_error", "data units^2", "|sigma - truth|^2, of standard deviations", low=0.0)
THETA_ERROR = Metric("theta_error", "data units^2", "both together", low=0.0)
THETA_EXCESS = Metric("theta_excess", "data units^2", "the same, less that of the maximum likelihood", offset=True)
DELTA_FROM_MEAN = Metric("delta_from_mean", "data units^2", "|Delta - mean of the data|^2: 0 at the maximum", low=0.0)
SIGMA_OVER_FLOOR = Metric("sigma_over_floor", "ratio", "its error over what the maximum likelihood's is on average", low=0.0)
SIGMA_OVER_OPTIMUM = Metric(
    "sigma_over_optimum", "ratio", "its error over that where the method's own bound is highest", better=None, low=0.0
)
BOUND_GAP = Metric("bound_gap_nats", "nats", "log p(D) - ELBO at the learnt parameters, of the whole data set")
EVIDENCE_GAP = Metric("evidence_gap_nats", "nats", "the highest log p(D) less that at the learnt parameters", low=0.0)

# Of sets of pictures; behind an @ stands the network whose features they were compared in.
FID = Metric("fid", "squared features", "Frechet distance of draws to examples", low=0.0)
FID_HALF = Metric("fid_half", "squared features", "the same of half of both", better=None, low=0.0)
FID_AT = Metric("sizes/fid_at<n>", "squared features", "the same of the first n of both", better=None, low=0.0)
FID_AFTER = Metric("along/fid_after<n>", "squared features", "the same of chains after n steps", better=None, low=0.0)
FID_INFINITY = Metric("fid_infinity", "squared features", "what it tends to with more pictures", better=None)
FID_ERROR = Metric("fid_error", "squared features", "its error over pictures", better=None, kind="error", low=0.0)
KID = Metric("kid", "kernel", "kernel distance of draws to examples, unbiased", offset=True)
KID_ERROR = Metric("kid_error", "kernel", "its error over pictures", better=None, kind="error", low=0.0)
# Kynkaanniemi et al. 2019 (arXiv 1904.06991); Naeem et al. 2020 (arXiv 2002.09797).
PRECISION = Metric("precision", "share", "draws that lie among examples", "higher", low=0.0, high=1.0)
RECALL = Metric("recall", "share", "examples that lie among draws", "higher", low=0.0, high=1.0)
DENSITY = Metric("density", "ratio", "examples' balls around a draw, over what is expected", "higher", low=0.0)
COVERAGE = Metric("coverage", "share", "examples with a draw nearby", "higher", low=0.0, high=1.0)
RECOGNISED = Metric("recognised_share", "share", "draws that a classifier is sure of", "higher", low=0.0, high=1.0)
BALANCE = Metric("class_balance", "share", "entropy of their classes, over its largest", "higher", low=0.0, high=1.0)
SMALLEST = Metric("smallest_class_share", "share", "share of the class that is drawn least", "higher", low=0.0, high=1.0)
SHARPNESS = Metric("sharpness", "ratio", "slope of draws over that of examples; 1 is as sharp", better=None, low=0.0)
COPIED = Metric("copied_share", "share", "draws that are a training example", better=None, low=0.0, high=1.0)
NEAREST = Metric("nearest_ratio", "ratio", "distance of draws to training examples over test's", better=None, low=0.0)

# Of leapfrogs in z, from z ~ q(z | x), on log p(x, z); H = -log p(x, z) + |rho|^2 / 2.
ENERGY_ERROR = Metric("energy_error_nats", "nats", "what one leapfrog changes H by, without sign", better=None, low=0.0)
ENERGY_DRIFT = Metric("energy_drift_nats", "nats", "the same of all of a walk together", better=None, low=0.0)
ENERGY_AFTER = Metric("along/energy_error_after<n>_nats", "nats", "the same of its first n", better=None, low=0.0)
STEP_SIZE = Metric("leapfrog_step_size", "z", "of the leapfrogs, a mean of learnt ones", better=None, low=0.0)
WALKED = Metric(
    "walked_distance", "z", "distance from its start to its end, over the root of z's size", better=None, low=0.0
)

# Of what E[x | z] shows, to a classifier that names the class of an example, and to the eye.
RECONSTRUCTED = Metric(
    "reconstruction_recognised_share",
    "share",
    "reconstructions surely of their input's class",
    "higher",
    low=0.0,
    high=1.0,
)
WALK_RECOGNISED = Metric(
    "walk_recognised_share", "share", "ends of walks from q(z | x) that surely are", "higher", low=0.0, high=1.0
)
CLASS_CHANGED = Metric(
    "walk_changed_share", "share", "walks that surely end in another class than they begin in", low=0.0, high=1.0
)
PRIOR_RECOGNISED = Metric(
    "prior_recognised_share", "share", "means of random codes that are surely of some class", "higher", low=0.0, high=1.0
)
EXAMPLE_RECOGNISED = Metric(
    "example_recognised_share", "share", "examples that are surely of their own class", better=None, low=0.0, high=1.0
)
SHARPNESS_OF = {
    what: Metric(f"{what}_sharpness", "ratio", "slope of such pictures over that of examples", better=None, low=0.0)
    for what in ("reconstruction", "walk", "prior")
}
_UNDECIDED = "mean of 4 p (1 - p) over the pixels of such pictures"
UNDECIDED_OF = {
    "example": Metric("example_undecided", "share", _UNDECIDED, better=None, low=0.0, high=1.0),
    **{
        what: Metric(f"{what}_undecided", "share", _UNDECIDED, low=0.0, high=1.0)
        for what in ("reconstruction", "walk", "prior")
    },
}

# Every metric that Seedbed measures or knows by name. Of two of one name the one told by what stands beside it comes first.
METRICS = (
    NEG_IW,
    NLL_SAMPLED,
    NLL,
    NEG_ELBO,
    Metric(
        "gap_nats", "nats", "the same, the ELBO for log q", kind="upper bound", of=_EXCESS, low=0.0, beside=NEG_ELBO.name
    ),
    GAP,
    NLL_AIS,
    BITS,
    NLL_BITS,
    SW,
    KL,
    KL_OF_LAYER,
    KL_OF_UNIT,
    RATE,
    DISTORTION,
    ACTIVE_UNITS,
    ACTIVE_OF_LAYER,
    UNIT_VARIANCE,
    ENCODER_LOSS,
    INFORMATION_OF_LAYER,
    INFORMATION,
    INFORMATION_OF_UNIT,
    FED_OF_UNIT,
    DEAD_OF_LAYER,
    MARGINALS,
    AGGREGATE,
    ESS,
    ESS_MIN,
    AIS_ERROR,
    AIS_ACCEPTED,
    AIS_MINUS_IS,
    AIS_MINUS_IS_ERROR,
    DELTA_ERROR,
    SIGMA_ERROR,
    THETA_ERROR,
    THETA_EXCESS,
    DELTA_FROM_MEAN,
    SIGMA_OVER_FLOOR,
    SIGMA_OVER_OPTIMUM,
    BOUND_GAP,
    EVIDENCE_GAP,
    FID,
    FID_HALF,
    FID_AT,
    FID_AFTER,
    FID_INFINITY,
    FID_ERROR,
    KID,
    KID_ERROR,
    PRECISION,
    RECALL,
    DENSITY,
    COVERAGE,
    RECOGNISED,
    BALANCE,
    SMALLEST,
    SHARPNESS,
    COPIED,
    NEAREST,
    ENERGY_ERROR,
    ENERGY_DRIFT,
    ENERGY_AFTER,
    STEP_SIZE,
    WALKED,
    RECONSTRUCTED,
    WALK_RECOGNISED,
    CLASS_CHANGED,
    PRIOR_RECOGNISED,
    EXAMPLE_RECOGNISED,
    *SHARPNESS_OF.values(),
    *UNDECIDED_OF.values(),
)


def declared(name: str, own: Sequence[Metric] = (), beside: Collection[str] = ()) -> Metric:
    """The declaration of a metric by its name.

    Args:
        name: as rows have it.
        own: declarations beyond Seedbed's.
        beside: what else was measured with it.

    Returns:
        What was declared, else a loss without a unit: metrics are losses unless they are declared to be something else.
    """
    for metric in (*METRICS, *own):
        if metric.parse(name) is not None and (not metric.beside or metric.beside in beside):
            return metric
    return Metric(name, "", "")
