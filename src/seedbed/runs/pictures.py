"""Draws of a run as picture files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from seedbed.core.ambient import plain
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import number, whole
from seedbed.core.words import place
from seedbed.data import loaded_once
from seedbed.evaluate.chain import USUAL, Way, looked, of_code
from seedbed.evaluate.estimate import draw_samples, drawn_chunks
from seedbed.models.adapted import draw
from seedbed.report.pixels import is_picture
from seedbed.runs.album import MOST, SIDE, Album
from seedbed.runs.chains import check_run, check_way, domain_of, fingerprint
from seedbed.runs.evaluate import GIB_MOST
from seedbed.runs.load import Run
from seedbed.store.manifest import Manifest

if TYPE_CHECKING:
    from seedbed.core.stack import Stack
    from seedbed.evaluate.likelihood import Progress

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
        domain, shape = domain_of(run.manifest), run.manifest.data.get("shape", [])
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
    way: Way = USUAL,
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
        way: how they are drawn, and whether the mean or mode of each x ~ p(x | z) is shown in its place.
        grid: write the first hundred of each seed as ``FOLDER/seed0.png`` too, ten to a row; of chains also the first ten as
            ``FOLDER/seed0-chain.png``, a row for each mark of their way.
        memory_gib: what drawing may take beside the models.
        progress: called with (pictures done, pictures in all).

    Returns:
        How many were written; the others were there.

    Raises:
        SeedbedError: for a model that draws no pictures, or not in this way, or a folder that holds anything else.
    """
    check_run(run, way)
    folder, count = place("folder", folder), whole("count", count, 1, MOST)
    memory_gib = number("memory in GiB", memory_gib, 0, GIB_MOST, above=True)
    seeds = run.seeds if seed is None else [run.check_seed(seed)]
    scale = Scale.of(run)
    written, done = 0, 0
    album = Album(folder, _identity(run.manifest, scale, way))
    with album.alone(), plain(run.manifest.threads), loaded_once():
        for group, stack in run.stacks(groups=run.groups_of(seeds)):
            parts = Parts(stack, run.manifest, scale, way, memory_gib)
            rows = {one: row for row, one in enumerate(group) if one in seeds}
            album.admit({one: fingerprint(stack, row) for one, row in rows.items()})
            missing = {one: album.missing(one, count) for one in rows}
            first = min(int(some.argmax()) if some.any() else count for some in missing.values())
            done += sum(count - int(some.sum()) for some in missing.values())
            along = None
            for start, part in parts.between(first, count):
                along = part if start == 0 and along is None else along
                for one, row in rows.items():
                    for index, pixels in enumerate(part[way.marks[-1]][row].numpy(), start):
                        if not missing[one][index]:
                            continue
                        album.write(one, index, pixels)
                        done, written = done + 1, written + 1
                        if progress is not None:
                            progress(done, count * len(seeds))
                    album.flush(one)
            for one in rows if grid else ():
                album.write_grid(one, count)
            if grid and way.limiting:
                along = along or next(parts.between(0, min(count, SIDE)))[1]
                for one, row in rows.items():
                    album.write_chain(one, [along[mark][row, :SIDE].numpy() for mark in way.marks])
    return written


class Parts:
    """Pictures of a stack in parts that the memory holds, as whole numbers 0..255.

    Args:
        stack: the models.
        manifest: of their run.
        scale: of the greys.
        way: how they are drawn.
        memory_gib: beside the models.

    Raises:
        SeedbedError: for models that draw no pictures, or not in this way.
    """

    def __init__(self, stack: "Stack", manifest: Manifest, scale: Scale, way: Way, memory_gib: float) -> None:
        self.stack, self.manifest, self.scale, self.way, self.memory_gib = stack, manifest, scale, way, memory_gib
        self.shape, self.domain = tuple(manifest.data["shape"]), domain_of(manifest)
        check_way(stack, manifest, way)  # before anything is written
        if not way.limiting:
            draw_samples(stack, self._greys, 1)

    def between(self, first: int, count: int) -> Iterator[tuple[int, dict[int, UInt8[Tensor, "seeds n c h w"]]]]:
        """Those from ``first`` to ``count`` in order: each part by the step of its chains, with the index of its first."""
        stack, memory = self.stack, self.memory_gib
        if self.way.limiting:
            for part in looked(stack, self.way, count, self.shape, self.domain, first=first, memory_gib=memory):
                yield first, {mark: self.scale.greys(x) for mark, x in part.items()}
                first += part[self.way.chain].shape[1]
            return
        for start in range(first, count, SPAN):
            at = start
            for chunk in drawn_chunks(stack, self._greys, min(start + SPAN, count), first=start, memory_gib=memory):
                yield at, {0: chunk}
                at += chunk.shape[1]

    def _greys(self, model: Any, count: int, ctx: Context) -> Tensor:
        """Greys of random codes, so that what this takes is measured with what drawing takes."""
        x = draw(model, count, ctx) if self.way.shown == "draw" else of_code(self.way.shown)(model, count, ctx)
        if list(x.shape[1:]) != self.manifest.data["shape"]:
            raise _no_picture(self.manifest, x.shape[1:])
        return self.scale.greys(x)


def _no_picture(manifest: Manifest, shape: Sequence[int]) -> SeedbedError:
    return SeedbedError(
        f"{manifest.experiment} draws examples of shape {list(shape)}, which are no pictures; --out FILE.npz takes them"
    )


def _identity(manifest: Manifest, scale: Scale, way: Way) -> dict[str, Any]:
    """What pictures in one folder have in common."""
    chain = {"start": way.start, "chain": way.chain, "chain_from": way.chain_from} if way.limiting else {}
    return {
        "run": manifest.hash,
        "experiment": manifest.experiment,
        "created": manifest.created,
        "data": manifest.data["name"],
        "shape": manifest.data["shape"],
        "of": f"{way.shown}s",
        "black": scale.black,
        "white": scale.white,
        **chain,
    }
