"""Distances between sets of pictures and what a classifier makes of them, as metrics: of a run's draws, or of any sets."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seedbed.core import metric as metrics
from seedbed.core.errors import SeedbedError
from seedbed.core.metric import Metric
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.chain import USUAL, Way
from seedbed.evaluate.estimator import ARTEFACTS, Limits
from seedbed.evaluate.features.known import Features
from seedbed.evaluate.quality.frechet import Moments, frechet, frechet_of
from seedbed.evaluate.quality.kernel import kernel_distance
from seedbed.evaluate.quality.manifold import manifolds, nearest_of
from seedbed.evaluate.quality.sight import Sight, of_models, of_source, scaled, seen, seen_models

# (draws, examples, features) -> {metric: [n] of single pictures, or [1]}; set-valued ones bring their error as a metric.
Compared = Mapping[Metric | str, Float[Tensor, "n"]]
SHOWN = 10  # draws beside their nearest training examples
ALIKE = 0.01  # of a picture's range, on average over its pixels: the same but for rounding, or of bits for a few
SURE = 0.9  # from which a picture counts as recognised


def fid(draws: Sight, examples: Sight) -> Compared:
    """The Frechet distance, by the number of pictures, extrapolated, and its error; see ``frechet.frechet_of``."""
    found = frechet_of(draws.features, examples.features)
    more = {metrics.FID_HALF: found.half, metrics.FID_INFINITY: found.infinity, metrics.FID_ERROR: found.error}
    return {
        metrics.FID: _one(found.value),
        **{metric: _one(value) for metric, value in more.items() if value is not None},
        **{metrics.FID_AT.name.replace("<n>", str(n)): _one(value) for n, value in found.by_size.items()},
    }


def kid(draws: Sight, examples: Sight) -> Compared:
    """The kernel distance and its error; see ``kernel.kernel_distance``."""
    found = kernel_distance(draws.features, examples.features)
    return {metrics.KID: _one(found.value), metrics.KID_ERROR: _one(found.error)}


def prdc(draws: Sight, examples: Sight) -> Compared:
    """Precision, recall, density and coverage; see ``manifold.manifolds``."""
    found = manifolds(examples.features, draws.features)
    names = metrics.PRECISION, metrics.RECALL, metrics.DENSITY, metrics.COVERAGE
    return dict(zip(names, (found.precision, found.recall, found.density, found.coverage), strict=True))


def recognised(draws: Sight, examples: Sight) -> Compared:
    """How many pictures a classifier is sure of, how evenly they fall on its classes, and how sharp they are.

    Sure is a probability above 0.9 of one of the classes; a class *none of these* competes with them, for without one a
    classifier is sure of noise. Balance is the entropy of the classes of those over that of equal shares.

    Raises:
        SeedbedError: of features that are no such classifier's.
    """
    which = sure_classes(draws)
    known = which[which >= 0]
    shares = torch.bincount(known, minlength=draws.logits.shape[1] - 1).double() / max(1, len(known))
    entropy = -(shares * shares.clamp(min=1e-300).log()).sum() / math.log(max(2, len(shares)))
    usual = float(examples.slope.double().mean())  # 0 of flat pictures, beside which none is as sharp
    return {
        metrics.RECOGNISED: (which >= 0).double(),
        metrics.BALANCE: _one(float(entropy)),
        metrics.SMALLEST: _one(float(shares.min())),
        **({metrics.SHARPNESS: draws.slope.double() / usual} if usual > 0 else {}),
    }


def sure_classes(sight: Sight) -> Int[Tensor, "n"]:
    """The class of each picture of which a classifier is sure, and -1 where it is sure of none.

    Raises:
        SeedbedError: of features that are no such classifier's.
    """
    if not sight.logits.shape[1]:
        raise SeedbedError("these features are no classifier's; leave --features out, or say mnist, fashion, cifar10")
    sure, which = sight.logits.double().softmax(1)[:, :-1].max(1)
    return torch.where(sure > SURE, which, -1)


WAYS: Mapping[str, Callable[[Sight, Sight], Compared]] = {"fid": fid, "kid": kid, "prdc": prdc, "recognised": recognised}


def measured(
    way: str, stack: Stack, data: Dataset, split: str, limits: Limits, features: Features, pictures: int, draws: Way = USUAL
) -> dict[str, tuple[Tensor, str]]:
    """One way of the above, or ``copies``, of every seed of a stack, against as many examples of a split.

    Of chains ``fid`` also says how far they were from the examples on their way, ``fid_after<n>`` steps.

    Raises:
        SeedbedError: for pictures of another size than the features take, or a chain of what has no encoder.
    """
    features.check(data.shape, data.name)
    count = min(pictures, len(data.splits[split]))
    key = tuple(streams.seed for streams in stack.streams), count, features.tag, draws
    if key not in limits.kept:
        limits.kept[key] = seen_models(
            stack, data.domain, data.shape, count, features, limits.memory_gib, draws, limits.progress
        )
    sights: dict[int, list[Sight]] = limits.kept[key]
    look = lambda name, n: data.once(
        f"{n} of {name} in {features.tag}", lambda: seen(of_source(data.splits[name], data.domain, n), features)
    )
    last = sights[draws.marks[-1]]
    if way == "copies":
        found = _copies(stack, data, count, limits, features, last, look, draws)
    else:
        found = compared(way, last, look(split, count), features)
    if way == "fid" and draws.limiting:
        held = Moments.of(look(split, count).features)
        for mark, many in sights.items():
            along = torch.tensor([[frechet(Moments.of(one.features), held)] for one in many], dtype=torch.float64)
            name = metrics.FID_AFTER.name.replace("<n>", str(mark))
            found[f"{name}@{features.tag}"] = along, metrics.FID_AFTER.unit
    return {f"{name}{draws.tag}": value for name, value in found.items()}


def _copies(
    stack: Stack,
    data: Dataset,
    count: int,
    limits: Limits,
    features: Features,
    sights: Sequence[Sight],
    look: Callable[[str, int], Sight],
    draws: Way,
) -> dict[str, tuple[Tensor, str]]:
    """Which draws are a training example, up to the rounding of a picture, and how near draws are to those.

    Where a training picture is drawn anew each time it is seen, as bits of grey, its likeliest bits stand for it. The
    nearest is sought in the features, and compared pixel by pixel. The ratio is of median distances: of draws to their
    nearest training example, over that of as many test examples; well below 1 the model repeats what it was shown.
    """
    train = data.splits["train"]
    if data.view is not None:
        train = train.map(lambda shares: (shares > 0.5).to(shares.dtype))
    known = data.once(f"training set in {features.tag}", lambda: seen(of_source(train, data.domain, len(train)), features))
    held = look("test", min(count, len(data.splits["test"])))
    order = torch.randperm(len(train), generator=Streams(0).generator("eval", "order of pictures", len(train)))
    usual = nearest_of(held.features, known.features)[0].median()
    nearest = [nearest_of(one.features, known.features) for one in sights]
    copied = torch.zeros(len(sights), count, dtype=torch.float64)
    done, pairs = 0, []
    for part in of_models(stack, data.domain, data.shape, count, limits.memory_gib, draws):
        chunk = part[draws.marks[-1]]
        for row, drawn in enumerate(chunk):
            rows = order[nearest[row][1][done : done + len(drawn)]]
            like = scaled(train.gather(rows), data.domain)
            copied[row, done : done + len(drawn)] = ((drawn - like).abs().flatten(1).mean(1) < ALIKE).double()
            if not done:
                pairs.append(torch.stack([drawn[:SHOWN], like[:SHOWN]]).half().numpy())
        done += chunk.shape[1]
    limits.kept[ARTEFACTS] = {"neighbours": {"grid": np.stack(pairs)}}
    ratio = torch.stack([found[0].median() / usual for found in nearest])[:, None].double()
    return {
        f"{metrics.COPIED.name}@{features.tag}": (copied, metrics.COPIED.unit),
        f"{metrics.NEAREST.name}@{features.tag}": (ratio, metrics.NEAREST.unit),
    }


def compared(way: str, draws: Sequence[Sight], examples: Sight, features: Features) -> dict[str, tuple[Tensor, str]]:
    """One way of the above for each of several sets of draws, ``{metric@features: ([sets, n], unit)}``."""
    found = [WAYS[way](one, examples) for one in draws]
    out = {}
    for key in found[0]:
        name = key.name if isinstance(key, Metric) else key
        unit = metrics.declared(name).unit
        out[f"{name}@{features.tag}"] = torch.stack([one[key].double() for one in found]), unit
    return out


def _one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)
