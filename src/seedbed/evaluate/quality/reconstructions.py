"""What reconstructions, ends of walks and random codes show: their class to a classifier, and how sharp they are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seedbed.core import metric as metrics
from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.domain import BINARY
from seedbed.core.errors import SeedbedError
from seedbed.core.metric import Metric
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.annealing import precise
from seedbed.evaluate.chain import Way, shown_of
from seedbed.evaluate.estimate import in_chunks
from seedbed.evaluate.estimator import Limits
from seedbed.evaluate.features.known import Features
from seedbed.evaluate.likelihood import check_values
from seedbed.evaluate.needs import need_latents
from seedbed.evaluate.quality.measures import sure_classes
from seedbed.evaluate.quality.sight import of_models, scaled, seen, slope_of
from seedbed.evaluate.trajectory import Walk, can_walk, decoded, is_learnt, walks


@dataclass(frozen=True)
class Look:
    """What is kept of pictures.

    Args:
        known: the class that a classifier is sure of, -1 of none.
        slope: mean of |x - its right neighbour|, plus that of the lower ones: an absolute gradient, as measures of focus
            have it (Pertuz et al. 2013, "Analysis of focus measure operators for shape-from-focus").
        undecided: mean of 4 x (1 - x), the variance of a bit of that probability over its largest: 0 of a picture in black
            and white, 1 of one that is all of the middle grey.
    """

    known: Int[Tensor, "*n"]
    slope: Float[Tensor, "*n"]
    undecided: Float[Tensor, "*n"]

    @classmethod
    def joined(cls, parts: Sequence["Look"]) -> "Look":
        """Several as one."""
        return cls(*(torch.cat([getattr(part, name) for part in parts], -1) for name in ("known", "slope", "undecided")))


def look(pictures: Float[Tensor, "seeds n channels height width"], features: Features, *, bits: bool = False) -> Look:
    """Of pictures in [0, 1], ``[seeds, n]``.

    Args:
        pictures: means.
        features: of a classifier.
        bits: whether they are probabilities of bits, of which it is shown the likeliest: to one that knows *none of these* a
            blurred mean is a blend of several pictures.
    """
    shown = (pictures > 0.5).to(pictures.dtype) if bits else pictures
    known = torch.stack([sure_classes(seen([some], features)) for some in shown])
    return Look(known, slope_of(pictures), (4 * pictures * (1 - pictures)).mean((2, 3, 4)))


def reconstructions(
    stack: Stack, data: Dataset, split: str, limits: Limits, features: Features, how: Walk
) -> dict[str, tuple[Tensor, str]]:
    """Of every seed: which pictures a classifier is sure are of the class of their example, and how sharp they are.

    Pictures are means E[x | z] in [0, 1]: of ``reconstruction``, z ~ q(z | x); of ``walk``, the end of leapfrogs from there
    (see ``trajectory.walks``; a learnt walk ends at z ~ q(z | x) and begins at q_0), where a model can walk; of ``prior``,
    z ~ p(z), which are of some class. Of bits the classifier sees the likeliest x in place of the mean. Sure is a
    probability above 0.9, with a class *none of these* beside the others. Sharpness is the slope of a picture over the mean
    of that of the examples; see ``Look`` for both statistics of it.

    Raises:
        SeedbedError: for examples without classes, or more than the classifier has, pictures of another size than it
            takes, or a walk that is asked of a model that cannot.
    """
    check_values(need_latents(stack, "reconstructions"), data.splits[split])
    source, labels = data.splits[split], classes_of(data, split, features)
    features.check(data.shape, data.name)
    stack, parts, done = precise(stack), dict[str, list[Look]](), 0
    for found in _shown(stack, data, split, how):
        some = source[done : done + next(iter(found.values())).shape[1]]
        for what, x in {"example": some[None], **found}.items():
            pictures = scaled(x.nan_to_num().cpu(), data.domain, drawn=what != "example")
            parts.setdefault(what, []).append(look(pictures, features, bits=data.domain == BINARY))
        done += len(some)
        if limits.progress is not None:
            limits.progress(done, len(source))
    for chunk in of_models(stack, data.domain, data.shape, len(source), limits.memory_gib, Way(shown="mean")):
        parts.setdefault("prior", []).append(look(chunk[0], features, bits=data.domain == BINARY))
    looks = {what: Look.joined(some) for what, some in parts.items()}
    return _named(looks, labels, features, len(stack.streams))


def classes_of(data: Dataset, split: str, features: Features) -> Int[Tensor, "n"]:
    """The class of each example of a split.

    Raises:
        SeedbedError: if there are none, or more than a classifier has.
    """
    if split not in data.labels:
        raise SeedbedError(f"{data.name} has no classes that its {split} pictures could be recognised by")
    labels = data.labels[split].flatten()
    if features.classes and int(labels.max()) >= len(features.classes):
        raise SeedbedError(
            f"{features.name} knows {len(features.classes)} classes, {data.name} has {int(labels.max()) + 1}; bring a "
            "classifier of your own, --features my_net.py:net"
        )
    return labels


def _shown(stack: Stack, data: Dataset, split: str, how: Walk) -> Iterator[dict[str, Tensor]]:
    """Means ``[seeds, n, *example]`` of a part of the examples: reconstructions, and where walks begin and end."""
    source = data.splits[split]
    if how == Walk() and not can_walk(stack, source):
        for _, found in in_chunks(stack, _mean, source, f"{split} reconstructions"):
            yield dict(found)
        return
    for part in walks(stack, source, f"{split} trajectories", how):
        begin, walk = decoded(stack, part.positions[:, [0, -1]]).unbind(1)
        yield {"reconstruction": walk if is_learnt(stack) else begin, "walk": walk, "begin": begin}


def _mean(model: LatentVariable, x: Tensor, ctx: Context) -> dict[str, Tensor]:
    return {"reconstruction": shown_of(model.proposal(x, ctx).likelihood, "mean")}


def _named(looks: Mapping[str, Look], labels: Tensor, features: Features, seeds: int) -> dict[str, tuple[Tensor, str]]:
    """As metrics, ``{metric: ([seeds, n], unit)}``."""
    example, shares = looks["example"], dict[Metric, Tensor]()
    for what, metric in (
        ("reconstruction", metrics.RECONSTRUCTED),
        ("walk", metrics.WALK_RECOGNISED),
        ("example", metrics.EXAMPLE_RECOGNISED),
    ):
        if what in looks:
            shares[metric] = looks[what].known == labels
    shares[metrics.PRIOR_RECOGNISED] = looks["prior"].known >= 0
    if "walk" in looks:
        begin, end = looks["begin"].known, looks["walk"].known
        shares[metrics.CLASS_CHANGED] = (begin >= 0) & (end >= 0) & (begin != end)
    out = {f"{metric.name}@{features.tag}": (value, metric.unit) for metric, value in shares.items()}
    usual = float(example.slope.double().mean())  # 0 of flat pictures, beside which none is as sharp
    for what, seen_ in looks.items():
        if (metric := metrics.UNDECIDED_OF.get(what)) is not None:
            out[metric.name] = seen_.undecided, metric.unit
        if (metric := metrics.SHARPNESS_OF.get(what)) is not None and usual > 0:
            out[metric.name] = seen_.slope.double() / usual, metric.unit
    return {name: (value.double().expand(seeds, -1), unit) for name, (value, unit) in out.items()}
