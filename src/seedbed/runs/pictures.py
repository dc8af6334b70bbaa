"""Draws of a run as picture files."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from seedbed.core.ambient import plain
from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import number, shown, whole
from seedbed.core.words import place
from seedbed.data import loaded_once
from seedbed.evaluate.estimate import draw_samples, drawn_chunks
from seedbed.models.adapted import draw
from seedbed.report.pixels import is_picture
from seedbed.runs.album import MOST, Album
from seedbed.runs.evaluate import GIB_MOST
from seedbed.runs.load import Run
from seedbed.runs.weights import check_draws
from seedbed.store.manifest import Manifest

if TYPE_CHECKING:
    from seedbed.core.stack import Stack
    from seedbed.evaluate.likelihood import Progress

# (model, count, ctx) -> [count, *example], written for one seed.
Draw = Callable[[Any, int, Context], Tensor]
SPAN = 4096  # draws of a seed before they are written: an interrupt costs no more, however much the memory holds


@dataclass(frozen=True)
class Scale:
    """What a pixel is: grey 0 is ``black``, grey 255 is ``white``; what lies outside is the nearer of the two.

    Args:
        black: a value of the data.
        white: a larger one.
    """

    black: float
    white: float

    @classmethod
    def of(cls, run: Run) -> "Scale":
        """Of a run's data: from 0 to the highest level; real numbers as the page has them, from 0 to 1 or further where
        the held-out examples that the run keeps go further.

        Raises:
            SeedbedError: for examples that are no pictures.
        """
        domain, shape = Domain.parse(run.manifest.data.get("domain", "real")), run.manifest.data.get("shape", [])
        if not is_picture(shape) or domain.kind == "tokens":
            raise _no_picture(run.manifest, shape)
        if domain.kind != "real":
            return cls(0.0, float((domain.size or 2) - 1))
        examples = run.stored.arrays("reference").get("x", np.zeros(0))
        finite = examples[np.isfinite(examples)].astype(float)
        return cls(float(finite.min(initial=0.0)), float(finite.max(initial=1.0)))

    def greys(self, x: Tensor) -> Tensor:
        """Values of any shape as whole numbers 0..255; what is not finite is as 0, as on the page."""
        x = torch.where(x.isfinite(), x, 0.0).float()
        return (255 * (x - self.black) / (self.white - self.black)).clamp(0, 255).round().to(torch.uint8)


def save_pictures(
    run: Run,
    folder: Path | str,
    count: int,
    seed: int | None = None,
    *,
    mean: bool = False,
    grid: bool = False,
    memory_gib: float = 4.0,
    progress: "Progress | None" = None,
) -> int:
    """Write the first draws of every seed as ``FOLDER/seed0/000000.png`` and so on; what is there is not written again.

    Args:
        run: of a model that draws pictures, ``[1, height, width]`` or ``[3, height, width]``.
        folder: a new or empty one, or one that holds such pictures of this run.
        count: pictures of each seed.
        seed: of this seed only; by default of all.
        mean: the mean E[x | z] of each draw x ~ p(x | z) in its place; of latent-variable models.
        grid: write the first hundred of each seed as ``FOLDER/seed0.png`` too, ten to a row.
        memory_gib: what drawing may take beside the models.
        progress: called with (pictures done, pictures in all).

    Returns:
        How many were written; the others were there.

    Raises:
        SeedbedError: for a model that draws no pictures, or a folder that holds anything else.
    """
    if not isinstance(run, Run):
        raise SeedbedError(f"expected a Run, got {shown(run)}")
    folder, count = place("folder", folder), whole("count", count, 1, MOST)
    memory_gib = number("memory in GiB", memory_gib, 0, GIB_MOST, above=True)
    seeds = run.seeds if seed is None else [run.check_seed(seed)]
    scale = Scale.of(run)
    greys, written, done = _greys_of(run.manifest, scale, mean), 0, 0
    album = Album(folder, _identity(run.manifest, scale, mean))
    with album.alone(), plain(run.manifest.threads), loaded_once():
        for group, stack in run.stacks(groups=run.groups_of(seeds)):
            check_draws(stack.module, run.manifest.experiment)
            draw_samples(stack, greys, 1)  # what is no picture is refused before anything is written
            rows = {one: row for row, one in enumerate(group) if one in seeds}
            album.admit({one: _fingerprint(stack, row) for one, row in rows.items()})
            missing = {one: album.missing(one, count) for one in rows}
            first = min(int(some.argmax()) if some.any() else count for some in missing.values())
            done += sum(count - int(some.sum()) for some in missing.values())
            for start, chunk in _chunks(stack, greys, first, count, memory_gib):
                for one, row in rows.items():
                    for index, pixels in enumerate(chunk[row].numpy(), start):
                        if not missing[one][index]:
                            continue
                        album.write(one, index, pixels)
                        done, written = done + 1, written + 1
                        if progress is not None:
                            progress(done, count * len(seeds))
                    album.flush(one)
            for one in rows if grid else ():
                album.write_grid(one, count)
    return written


def _chunks(
    stack: "Stack", draw_greys: Draw, first: int, count: int, memory_gib: float
) -> Iterator[tuple[int, UInt8[Tensor, "seeds chunk channels height width"]]]:
    """The draws from ``first`` to ``count`` in order, each chunk with the index of its first."""
    for start in range(first, count, SPAN):
        at = start
        for chunk in drawn_chunks(stack, draw_greys, min(start + SPAN, count), first=start, memory_gib=memory_gib):
            yield at, chunk
            at += chunk.shape[1]


def _greys_of(manifest: Manifest, scale: Scale, mean: bool) -> Draw:
    """What draws pictures as whole numbers 0..255, so that what this takes is measured with what drawing takes."""

    def greys(model: Any, count: int, ctx: Context) -> Tensor:
        x = _means(manifest, model, count, ctx) if mean else draw(model, count, ctx)
        if list(x.shape[1:]) != manifest.data["shape"]:
            raise _no_picture(manifest, x.shape[1:])
        return scale.greys(x)

    return greys


def _means(manifest: Manifest, model: Any, count: int, ctx: Context) -> Tensor:
    """E[x | z] at the z of the first ``count`` draws."""
    mean = getattr(model.generate(count, ctx)[1], "mean", None) if isinstance(model, LatentVariable) else None
    if mean is None:
        raise SeedbedError(f"{manifest.experiment} has no mean E[x | z] of what it draws; leave --mean out")
    return mean


def _no_picture(manifest: Manifest, shape: Sequence[int]) -> SeedbedError:
    return SeedbedError(
        f"{manifest.experiment} draws examples of shape {list(shape)}, which are no pictures; --out FILE.npz takes them"
    )


def _identity(manifest: Manifest, scale: Scale, mean: bool) -> dict[str, Any]:
    """What pictures in one folder have in common."""
    return {
        "run": manifest.hash,
        "experiment": manifest.experiment,
        "created": manifest.created,
        "data": manifest.data["name"],
        "shape": manifest.data["shape"],
        "of": "means" if mean else "draws",
        "black": scale.black,
        "white": scale.white,
    }


def _fingerprint(stack: "Stack", row: int) -> str:
    """What tells the weights of a seed from those that it had before it trained on."""
    digest = hashlib.sha256()
    for name, value in sorted({**stack.params, **stack.state}.items()):
        digest.update(name.encode())
        digest.update(value[row].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
