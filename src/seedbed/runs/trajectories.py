"""Walks in z of a run's models as the arrays of one file, and as pictures beside it."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seedbed.core.ambient import plain
from seedbed.core.capabilities import LatentVariable
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import shown, whole
from seedbed.data import loaded_once
from seedbed.evaluate.trajectory import SHOWN, Walk, pictured
from seedbed.report.pixels import is_picture
from seedbed.runs.album import write_tiles
from seedbed.runs.evaluate import task_of
from seedbed.runs.load import Run
from seedbed.runs.pictures import Scale
from seedbed.runs.places import at_hand
from seedbed.store.outputs import output

SPLIT = "valid"
MOST = 1_000  # examples whose walks are kept


def trajectories(run: Run, count: int = SHOWN, seed: int | None = None, how: Walk | None = None) -> dict[str, np.ndarray]:
    """Walks in z from z ~ q(z | x) of validation examples, those of every seed, as the arrays of one file.

    Args:
        run: of a model with one latent, a vector of real numbers.
        count: examples, evenly spread.
        seed: of this seed only; by default of all.
        how: leapfrogs and their size; by default those that were learnt, else see ``evaluate.trajectory.Walk``.

    Returns:
        ``x [count, *example]``, ``positions [seeds, K + 1, count, latents]``, ``errors [seeds, K, count]``, what each
        leapfrog changed the energy by, in nats, ``step_size [seeds]``, ``pictures [seeds, count, marks, *example]``, the
        means E[x | z] at the positions ``steps``, ``seeds`` and ``run`` (its hash).

    Raises:
        SeedbedError: for a model that cannot walk, or data that are not those of the run.
    """
    if not isinstance(run, Run) or not isinstance(how, Walk | None):
        raise SeedbedError(f"expected a Run and a Walk, got {shown(run)} and {shown(how)}")
    count, how = whole("count", count, 1, MOST), how or Walk()
    seeds = run.seeds if seed is None else [run.check_seed(seed)]
    found: dict[int, dict[str, Tensor]] = {}
    with plain(run.manifest.threads), loaded_once(), at_hand(run.folder, run.manifest, run.experiment):
        split, shared = task_of(run).data.splits[SPLIT], dict[str, np.ndarray]()
        for group, stack in run.stacks(groups=run.groups_of(seeds)):
            if not isinstance(stack.module, LatentVariable):
                raise SeedbedError(f"{run.manifest.experiment} has no latents to walk in; leave --trajectory out")
            walks = pictured(stack, split, SPLIT, how, count)
            shared = {"x": walks.pop("x").cpu().numpy(), "steps": np.asarray(walks.pop("steps"))}
            for row, one in enumerate(group):
                found[one] = {name: values[row] for name, values in walks.items()}
    arrays = {name: torch.stack([found[one][name] for one in seeds]).cpu().numpy() for name in found[seeds[0]]}
    return {**shared, **arrays, "seeds": np.asarray(seeds), "run": np.asarray(run.manifest.hash)}


def save_walks(run: Run, arrays: dict[str, np.ndarray], target: Path) -> list[Path]:
    """Write what ``trajectories`` found beside ``FILE.npz`` as ``FILE-seed0.png`` and so on, and say where.

    A row for each example: itself, and the means along its walk. Nothing is written of what is no picture.

    Args:
        run: whose walks they are.
        arrays: as found.
        target: the file that these are kept in.

    Raises:
        SeedbedError: for a place where nothing may be written.
    """
    if not is_picture(arrays["x"].shape[1:]):
        return []
    scale, written = Scale.of(run), list[Path]()
    grey = lambda values: scale.greys(torch.from_numpy(values)).numpy()
    for seed, pictures in zip(arrays["seeds"].tolist(), arrays["pictures"], strict=True):
        rows = np.concatenate([grey(arrays["x"])[:, None], grey(pictures)], 1)
        written.append(output(target.with_name(f"{target.stem}-seed{seed}.png")))
        write_tiles(written[-1], [*rows.reshape(-1, *rows.shape[2:])], rows.shape[1])
    return written
