"""Pictures of image models, and the loss of the simplest model of binary images."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from seedbed.core.capabilities import Distribution, HasPaint, LatentVariable, Layer
from seedbed.core.noise import EvalNoise, Noise
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.evaluate.estimate import draw_samples

SHOWN = 64  # images of each kind
PAINTED = 6  # of the samples, from blank to done
SIDE = 8  # rows and columns of a grid
REACH = 2.5  # standard deviations of N(0, I)
POINTS = 1000  # of the map of latents

# Arrays for pictures, made of a stack: ``{name: {key: [seeds, ...]}}``.
Artefacts = Callable[[Stack], Mapping[str, Mapping[str, np.ndarray]]]


def shown(data: Dataset) -> Tensor:
    """Held-out images to look at, ``[64, *example]``: a stride, since a test file may be sorted by class."""
    return _spread(data.splits["test"], SHOWN)


def _spread(split: Tensor, count: int) -> Tensor:
    return split[:: max(1, len(split) // count)][:count]


def image_artefacts(data: Dataset) -> Artefacts:
    """Arrays for pictures of a latent-variable model of binary images.

    ``samples``: draws x ~ p(x), and the means E[x | z] that they were drawn from. ``reconstructions``: E[x | z] at
    z ~ q(z | x). ``traversals``: E[x | z] while one unit of the top layer goes from -2.5 to 2.5, a row for each of
    the units whose mean varies most, the others at the first image's code. ``interpolations``: E[x | z] on the line between
    the codes of two images, which are shown at its ends. ``latents``: codes of the top layer on their first two principal
    components. A code is E_q[z | x] in every layer (a draw where q has no mean); layers below a chosen one are at their
    prior's mean.

    Of models that paint also ``canvas``: E[x] after each stroke of the first samples, ``[strokes, images, features]``. With
    attention also ``windows``: where was read and written, ``[strokes, images, 5]``, and through how many ``filters``
    (see ``Painting``).

    Args:
        data: binary images, of which ``shown(data)`` are reconstructed.
    """

    def make(stack: Stack) -> Mapping[str, Mapping[str, np.ndarray]]:
        def call(function: Callable[..., Mapping[str, Tensor]], address: str, *shared: object) -> Mapping[str, Tensor]:
            noise = EvalNoise(stack.streams, address, device=stack.device, dtype=stack.dtype)
            with torch.no_grad():
                return stack.call(function, noise=noise, shared=shared)

        x, many = (images.to(stack.device, stack.dtype) for images in (shown(data), _spread(data.splits["test"], POINTS)))
        samples = call(_samples, "samples", SHOWN)
        found = call(_reconstructions, "reconstructions", x)
        codes = call(_walks, "latents", x, many)
        out = {
            "samples": {"x": _laid(samples["x"].byte(), data).cpu().numpy(), "mean": _half(_laid(samples["mean"], data))},
            "reconstructions": {"mean": _half(_laid(found["mean"], data))},
            "latents": {"z": _half(principal_components(codes["z"]))},
        }
        side = math.isqrt(x[0].numel())
        channels, *sides = data.image or (1, side, side)
        if channels == 1 and math.prod(sides) == x[0].numel():
            for name in ("traversals", "interpolations"):
                out[name] = {"grid": _half(codes[name].unflatten(-1, sides))}
            if isinstance(stack.model(0), HasPaint):
                painted = call(_painting, "samples", SHOWN)  # the samples' own noise: these are the first of them
                out["canvas"] = {"mean": _half(_laid(painted["mean"], data))}
                if windows := {
                    name: painted[name].cpu().numpy() for name in ("read", "write", "filters") if name in painted
                }:
                    out["windows"] = windows
        return out

    return make


def sample_artefacts(data: Dataset) -> Artefacts:
    """Draws x ~ p(x) alone, of models whose latents mean nothing to the eye, such as a dequantised image."""

    def draw(model: LatentVariable, count: int, noise: Noise) -> Tensor:
        return model.sample(count, noise)

    return lambda stack: {"samples": {"x": _laid(draw_samples(stack, draw, SHOWN).byte(), data).cpu().numpy()}}


def image_reference(data: Dataset) -> Mapping[str, np.ndarray]:
    """The images that reconstructions stand beside, and the classes of the points of the map, where there are any."""
    labels = {"labels": _spread(data.labels["test"], POINTS).cpu().numpy()} if "test" in data.labels else {}
    return {"x": _laid(shown(data).byte(), data).cpu().numpy(), **labels}


def _laid(flat: Tensor, data: Dataset) -> Tensor:
    """Flat images with their sides, where a square number of pixels does not tell them."""
    channels, height, width = data.image or (1, 0, 0)
    if channels == 1:
        return flat if height == width else flat.unflatten(-1, (height, width))
    return flat.unflatten(-1, (channels, height, width))


def principal_components(codes: Tensor) -> Tensor:
    """Each seed's codes on their first two principal components, ``[seeds, n, latents]`` to ``[seeds, n, 2]``."""
    centred = (codes - codes.mean(1, keepdim=True)).nan_to_num()
    if centred.shape[-1] == 1:
        return torch.cat([centred, torch.zeros_like(centred)], -1)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:, :2]
    # A component's sign is free: the entry that weighs most is made positive.
    heaviest = axes.gather(-1, axes.abs().argmax(-1, keepdim=True))
    return centred @ (axes * heaviest.sign()).mT


def factorised_bernoulli(data: Dataset) -> tuple[Tensor, float]:
    """Logits of the training means, each counted with half a 0 and half a 1 more, and their validation loss in nats.

    The loss is that of the best model whose pixels are independent, so a model worth training is below it.
    """
    train, count = data.splits["train"], len(data.splits["train"])
    logits = torch.logit((train.sum(0, dtype=torch.float64) + 0.5) / (count + 1))
    # The loss is linear in x, so its mean is the loss of the mean.
    return logits.float(), -float(Bernoulli(logits).log_prob(data.splits["valid"].mean(0, dtype=torch.float64)))


def _samples(model: LatentVariable, count: int, noise: Noise) -> dict[str, Tensor]:
    _, likelihood = model.generate(count, noise)
    return {"x": likelihood.rsample(noise), "mean": _mean(likelihood)}


def _painting(model: LatentVariable, count: int, noise: Noise) -> dict[str, Tensor]:
    assert isinstance(model, HasPaint), "only of models that paint"
    z, _ = model.generate(count, noise)
    painting = model.paint({name: value[:PAINTED] for name, value in z.items()})
    windows = {name: box for name, box in (("read", painting.read), ("write", painting.write)) if box is not None}
    filters = {"filters": torch.tensor(painting.filters, device=painting.means.device)} if windows else {}
    return {"mean": painting.means, **windows, **filters}


def _reconstructions(model: LatentVariable, x: Tensor, noise: Noise) -> dict[str, Tensor]:
    return {"mean": _mean(model.posterior(x, noise)[2])}


def _walks(model: LatentVariable, x: Tensor, many: Tensor, noise: Noise) -> dict[str, Tensor]:
    """Traversals ``[units, 8, pixels]``, interpolations ``[8, 8, pixels]``, codes of the top layer ``[n, latents]``."""

    def code(name: str, q: Distribution, first: bool) -> Tensor:
        return _centre(q, noise)

    def below(top: Tensor) -> Callable[[Layer, bool], Tensor]:
        return lambda layer, first: top if first else _centre(layer.prior, noise)

    z, layers, _ = model.infer(many, code)
    top = z[layers[0].name]
    size = top.shape[-1]
    units = top.var(0).topk(min(SIDE, size)).indices
    chosen = (torch.arange(size, device=x.device) == units[:, None])[:, None]  # [units, 1, latents]
    steps = torch.linspace(-REACH, REACH, SIDE, device=x.device, dtype=top.dtype)[:, None]
    moved = torch.where(chosen, steps, top[0])
    traversals = _mean(model.descend(None, below(moved.flatten(0, 1)))[2]).unflatten(0, moved.shape[:2])

    x = x[: min(2 * SIDE, len(x) // 2 * 2)]
    ends, _, _ = model.infer(x, code)
    share = torch.linspace(0, 1, SIDE - 2, device=x.device, dtype=top.dtype)[:, None]
    between = {name: torch.lerp(value[::2, None], value[1::2, None], share) for name, value in ends.items()}
    means = _mean(model.descend(None, lambda layer, first: between[layer.name].flatten(0, 1))[2])
    pairs = x.unflatten(0, (-1, 2))
    walk = torch.cat([pairs[:, :1], means.unflatten(0, (-1, SIDE - 2)), pairs[:, 1:]], 1)
    return {"traversals": traversals, "interpolations": walk, "z": top}


def _centre(distribution: Distribution, noise: Noise) -> Tensor:
    mean = getattr(distribution, "mean", None)
    return distribution.rsample(noise) if mean is None else mean


def _mean(likelihood: object) -> Tensor:
    assert isinstance(likelihood, Bernoulli), "pictures are made of binary images"
    return likelihood.mean


def _half(values: Tensor) -> np.ndarray:
    return values.half().cpu().numpy()
