"""Pictures of image models."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from seedbed.core.capabilities import HasChain, HasPaint, HasSample, LatentVariable, Layer, drawn
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.law import Distribution
from seedbed.core.noise import EvalNoise
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.data.source import Source
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


def _spread(split: Source | Tensor, count: int) -> Tensor:
    return split[:: max(1, len(split) // count)][:count]


def image_artefacts(data: Dataset) -> Artefacts:
    """Arrays for pictures of a latent-variable model of images.

    ``samples``: draws x ~ p(x), and the means E[x | z] that they were drawn from. ``reconstructions``: E[x | z] at
    z ~ q(z | x). ``traversals``: E[x | z] while one unit of the top layer goes from -2.5 to 2.5, a row for each of
    the units whose mean varies most, the others at the first image's code. ``interpolations``: E[x | z] on the line between
    the codes of two images, which are shown at its ends. ``latents``: codes of the top layer on their first two principal
    components. A code is E_q[z | x] in every layer (a draw where q has no mean); layers below a chosen one are at their
    prior's mean.

    Of models that paint also ``canvas``: E[x] after each stroke of the first samples, ``[strokes, images, *example]``. With
    attention also ``windows``: where was read and written, ``[strokes, images, 5]``, and through how many ``filters``
    (see ``Painting``).

    Of models that remember chains also ``chain``: where those stand, and E[x | z] at z ~ q(z | x) of these states.

    Args:
        data: images, of which ``shown(data)`` are reconstructed.
    """

    def make(stack: Stack) -> Mapping[str, Mapping[str, np.ndarray]]:
        def call(function: Callable[..., Mapping[str, Tensor]], address: str, *shared: object) -> Mapping[str, Tensor]:
            noise = EvalNoise(stack.streams, address, device=stack.device, dtype=stack.dtype)
            with torch.no_grad():
                return stack.call(function, noise=noise, shared=shared)

        x, many = (_spread(data.splits["test"], count).to(stack.device, stack.dtype) for count in (SHOWN, POINTS))
        samples = call(_samples, "samples", SHOWN)
        found = call(_reconstructions, "reconstructions", x)
        codes = call(_walks, "latents", x, many)
        out = {
            "samples": {"x": _stored(samples["x"], data), "mean": _half(samples["mean"])},
            "reconstructions": {"mean": _half(found["mean"])},
            "latents": {"z": _half(principal_components(codes["z"]))},
        }
        if isinstance(model := stack.model(0), HasChain) and model.chain in stack.state:
            states = call(_chain_states, "chain states")
            out["chain"] = {"x": _stored(states["x"], data), "mean": _half(states["mean"])}
        if len(data.shape) == 3:
            for name in ("traversals", "interpolations"):
                if name in codes:  # of bits there are none: one cannot walk from 0 to 1
                    out[name] = {"grid": _half(codes[name])}
            if isinstance(model, HasPaint):
                painted = call(_painting, "samples", SHOWN)  # the samples' own noise: these are the first of them
                out["canvas"] = {"mean": _half(painted["mean"])}
                if windows := {
                    name: painted[name].cpu().numpy() for name in ("read", "write", "filters") if name in painted
                }:
                    out["windows"] = windows
        return out

    return make


def sample_artefacts(data: Dataset) -> Artefacts:
    """Draws x ~ p(x) alone, of models whose latents mean nothing to the eye, such as a dequantised image."""

    def draw(model: HasSample, count: int, ctx: Context) -> Tensor:
        return model.sample(count, ctx)

    return lambda stack: {"samples": {"x": _stored(draw_samples(stack, draw, SHOWN), data)}}


def image_reference(data: Dataset) -> Mapping[str, np.ndarray]:
    """The images that reconstructions stand beside, and the classes of the points of the map, where there are any."""
    labels = {"labels": _spread(data.labels["test"], POINTS).cpu().numpy()} if "test" in data.labels else {}
    return {"x": _stored(shown(data), data), **labels}


def _stored(x: Tensor, data: Dataset) -> np.ndarray:
    """Draws and examples as they are kept: whole numbers in a byte each, real ones in two."""
    whole = data.domain.kind == "binary" or (data.domain.kind == "levels" and (data.domain.size or 0) <= 256)
    return x.byte().cpu().numpy() if whole else _half(x)


def principal_components(codes: Tensor) -> Tensor:
    """Each seed's codes on their first two principal components, ``[seeds, n, latents]`` to ``[seeds, n, 2]``."""
    centred = (codes - codes.mean(1, keepdim=True)).nan_to_num()
    if centred.shape[-1] == 1:
        return torch.cat([centred, torch.zeros_like(centred)], -1)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:, :2]
    # A component's sign is free: the entry that weighs most is made positive.
    heaviest = axes.gather(-1, axes.abs().argmax(-1, keepdim=True))
    return centred @ (axes * heaviest.sign()).mT


def _samples(model: LatentVariable, count: int, ctx: Context) -> dict[str, Tensor]:
    _, likelihood = model.generate(count, ctx)
    return {"x": likelihood.draw(ctx.noise).value, "mean": _mean(likelihood)}


def _painting(model: LatentVariable, count: int, ctx: Context) -> dict[str, Tensor]:
    assert isinstance(model, HasPaint), "only of models that paint"
    z, _ = model.generate(count, ctx)
    painting = model.paint({name: value[:PAINTED] for name, value in z.items()}, ctx)
    windows = {name: box for name, box in (("read", painting.read), ("write", painting.write)) if box is not None}
    filters = {"filters": torch.tensor(painting.filters, device=painting.means.device)} if windows else {}
    return {"mean": painting.means, **windows, **filters}


def _reconstructions(model: LatentVariable, x: Tensor, ctx: Context) -> dict[str, Tensor]:
    return {"mean": _mean(model.proposal(x, ctx).likelihood)}


def _chain_states(model: LatentVariable, ctx: Context) -> dict[str, Tensor]:
    assert isinstance(model, HasChain), "only of models that remember chains"
    x = ctx.state[model.chain]
    return {"x": x, **_reconstructions(model, x, ctx)}


def _walks(model: LatentVariable, x: Tensor, many: Tensor, ctx: Context) -> dict[str, Tensor]:
    """Codes of the top layer ``[n, latents]``; of real latents also traversals and interpolations, ``[8, 8, *example]``."""
    centre = replace(ctx, through="centre")
    proposal = model.proposal(many, centre)
    name = next(iter(proposal.layers))
    top = proposal.z[name].flatten(1)
    if not proposal.real:
        return {"z": top}

    def below(given: Tensor) -> Callable[[Layer], Tensor]:
        at = given.unflatten(-1, proposal.z[name].shape[1:])
        return lambda layer: at if layer.name == name else drawn(layer.prior, centre, batch=len(at)).value

    size = top.shape[-1]
    units = top.var(0).topk(min(SIDE, size)).indices
    chosen = (torch.arange(size, device=x.device) == units[:, None])[:, None]  # [units, 1, latents]
    steps = torch.linspace(-REACH, REACH, SIDE, device=x.device, dtype=top.dtype)[:, None]
    moved = torch.where(chosen, steps, top[0])
    traversals = _mean(model.descend(ctx, below(moved.flatten(0, 1)))[2]).unflatten(0, moved.shape[:2])

    x = x[: min(2 * SIDE, len(x) // 2 * 2)]
    ends = model.proposal(x, centre).z
    share = torch.linspace(0, 1, SIDE - 2, device=x.device, dtype=top.dtype)
    between = {
        key: torch.lerp(value[::2, None], value[1::2, None], share.view(-1, *[1] * (value.ndim - 1))).flatten(0, 1)
        for key, value in ends.items()
    }
    likelihood = model.descend(ctx, lambda layer: between[layer.name])[2]
    means, pairs = _mean(likelihood), (x / _top(likelihood)).unflatten(0, (-1, 2))
    walk = torch.cat([pairs[:, :1], means.unflatten(0, (-1, SIDE - 2)), pairs[:, 1:]], 1)
    return {"traversals": traversals, "interpolations": walk, "z": top}


def _mean(likelihood: Distribution) -> Tensor:
    mean = getattr(likelihood, "mean", None)
    assert mean is not None, "pictures are made of likelihoods with a mean"
    return mean / _top(likelihood)


def _top(likelihood: Distribution) -> float:
    """The highest level, so that means are stored as shares of it; 1 of other values, which are stored as they are."""
    domain = getattr(likelihood, "domain", REAL)
    return float(domain.size - 1) if domain.kind == "levels" and domain.size else 1.0


def _half(values: Tensor) -> np.ndarray:
    return values.half().cpu().numpy()
