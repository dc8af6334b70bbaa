"""Draws of a run as the arrays of one file, and chains that go on from such a file."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from seedbed.core.ambient import plain
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError, one_line
from seedbed.core.memory import check_memory
from seedbed.core.numbers import number, shown, whole
from seedbed.core.words import place
from seedbed.data import loaded_once
from seedbed.evaluate.chain import BEGINNINGS, MOST_STEPS, SHOWN, USUAL, Way, check_chain, followed, looked
from seedbed.runs.evaluate import GIB_MOST
from seedbed.runs.load import Run
from seedbed.runs.weights import check_draws
from seedbed.store.manifest import Manifest

if TYPE_CHECKING:
    from seedbed.core.stack import Stack
    from seedbed.evaluate.likelihood import Progress

ALONG = 10  # chains of each seed whose states on the way are kept
_DAMAGED = (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, SyntaxError)
_WORDS = ("run", "start", "shown", "chain", "chain_from")
_KEYS = ("x", "seeds", "weights", *_WORDS, "along", "steps")


@dataclass(frozen=True)
class Begun:
    """Chains that have gone some steps.

    Args:
        seeds: of which.
        x: where they are.
        done: steps so far.
        chain_from: where they began.
        along: states of the first few on the way.
        steps: at which of their steps those are.
        weights: a fingerprint for each seed of what moved them.
    """

    seeds: list[int]
    x: Shaped[np.ndarray, "seeds n *example"]
    done: int
    chain_from: str
    along: Shaped[np.ndarray, "seeds marks few *example"]
    steps: list[int]
    weights: list[str]

    @classmethod
    def read(cls, path: Path | str, run: Run, seeds: Sequence[int], count: int, chain: int) -> "Begun":
        """The first ``count`` chains of some seeds, to be continued until they have gone ``chain`` steps.

        Args:
            path: of an ``.npz`` file that ``sampled`` made the arrays of.
            run: whose models move them on.
            seeds: of these, in this order.
            count: of each seed.
            chain: steps in all.

        Raises:
            SeedbedError: for a file of anything else, or of other, fewer or longer chains.
        """
        file = _arrays(path)
        if file["run"] != run.manifest.hash:
            got = f"{one_line(str(file['run']))} there, {run.manifest.hash} here"
            raise SeedbedError(f"{path} holds chains of another run ({got}); continue them with their own")
        known, x = [int(seed) for seed in file["seeds"]], file["x"]
        if other := [seed for seed in seeds if seed not in known]:
            raise SeedbedError(f"{path} holds chains of seeds {known}, and none of seed {other[0]}; choose one with --seed")
        if list(x.shape[2:]) != run.manifest.data["shape"]:
            got = f"{list(x.shape[2:])}, and this run's {run.manifest.data['shape']}"
            raise SeedbedError(f"{path} holds chains of examples of shape {got}; continue them with their own run")
        domain = domain_of(run.manifest)
        if not _within(domain, x) or not _within(domain, file["along"]):
            raise SeedbedError(f"{path} holds chains of other values than {domain}; continue them with their own run")
        if count > x.shape[1]:
            raise SeedbedError(f"{path} holds {x.shape[1]} chains of each seed, and {count} are asked for; say a smaller -n")
        if chain <= (done := int(file["chain"])):
            raise SeedbedError(f"{path} holds chains that have gone {done} steps already; --chain {chain} must be more")
        rows = [known.index(seed) for seed in seeds]
        return cls(
            seeds=list(seeds),
            x=x[rows, :count],
            done=done,
            chain_from=str(file["chain_from"]),
            along=file["along"][rows, :, : min(count, ALONG)],
            steps=[int(step) for step in file["steps"]],
            weights=[str(file["weights"][row]) for row in rows],
        )

    def of(self, group: Sequence[int], stack: "Stack", path: str) -> Shaped[Tensor, "seeds n *example"]:
        """Where the chains of a group of seeds are, zeros of those seeds that are not continued.

        Raises:
            SeedbedError: if other weights have moved them.
        """
        out = torch.zeros(len(group), *self.x.shape[1:], dtype=stack.dtype)
        for row, seed in enumerate(group):
            if seed not in self.seeds:
                continue
            here = self.seeds.index(seed)
            if self.weights[here] != fingerprint(stack, row):
                raise SeedbedError(f"{path} holds chains of seed {seed} from before it trained on; begin new ones")
            out[row] = torch.from_numpy(self.x[here].astype(float))
        return out.to(stack.device)

    def passed(self, way: Way) -> Shaped[np.ndarray, "seeds marks few *example"]:
        """The states on the way at those marks of a longer way that have been passed."""
        return self.along[:, [step in way.marks for step in self.steps]]


def sampled(
    run: Run,
    count: int = 64,
    seed: int | None = None,
    way: Way = USUAL,
    *,
    begun: Path | str | None = None,
    memory_gib: float = 4.0,
    progress: "Progress | None" = None,
) -> dict[str, np.ndarray]:
    """Draws of every seed as the arrays of one file.

    Args:
        run: of a model that draws.
        count: draws of each seed.
        seed: of this seed only; by default of all.
        way: how they are drawn and shown.
        begun: a file of such arrays whose chains are continued until they have gone ``way.chain`` steps.
        memory_gib: what a part of them may take beside the models.
        progress: called with (chains done, chains in all) as parts are finished.

    Returns:
        ``x`` ``[seeds, count, *example]``, ``seeds``, ``domain``, ``run`` (its hash), ``start``, ``shown``, ``chain`` (steps
        so far), ``chain_from``; of chains also ``along`` ``[seeds, marks, up to 10, *example]``, where the first are at the
        steps ``steps``, ``weights``, a fingerprint for each seed, and ``chains``, the states ``[seeds, count, *example]``
        where ``x`` shows something else of them.

    Raises:
        SeedbedError: for what the model cannot draw, or a file of other chains.
    """
    check_run(run, way)
    count = whole("count", count, 1)
    memory_gib = number("memory in GiB", memory_gib, 0, GIB_MOST, above=True)
    seeds = run.seeds if seed is None else [run.check_seed(seed)]
    if begun is not None and not way.limiting:
        raise SeedbedError('chains go on along a chain alone; say way=Way("limiting", steps), or leave begun out')
    before = None if begun is None else Begun.read(begun, run, seeds, count, way.chain)
    if before is not None:
        way = replace(way, chain_from=before.chain_from)
    out = {"seeds": np.asarray(seeds), **{name: np.asarray(word) for name, word in _words(run, way).items()}}
    if not way.limiting and way.shown == "draw":
        drawn = run.sample(count) if seed is None else run.sample(count, seed)[None]
        return {"x": drawn.cpu().numpy(), **out}
    need = 4 * len(seeds) * count * prod(run.manifest.data["shape"]) * (2 if way.limiting and way.shown != "draw" else 1)
    check_memory(f"drawing {count} examples of {len(seeds)} seeds", need, "draw fewer at once (--count)")
    found: dict[int, dict[str, np.ndarray]] = {}
    with plain(run.manifest.threads), loaded_once():
        for group, stack in run.stacks(groups=run.groups_of(seeds)):
            check_way(stack, run.manifest, way)
            rows = {one: row for row, one in enumerate(group) if one in seeds}
            start = None if before is None else (before.of(group, stack, str(begun)), before.done)
            parts: list[dict[str, Tensor]] = []
            for part in _parts(stack, run.manifest, way, count, memory_gib, start):
                parts.append(part if not parts else {name: x for name, x in part.items() if name != "along"})
                if progress is not None:
                    done = sum(one["x"].shape[1] for one in parts)
                    progress(len(found) * count + len(rows) * done, len(seeds) * count)
            arrays = {name: torch.cat([part[name] for part in parts if name in part], 1).cpu().numpy() for name in parts[0]}
            for one, row in rows.items():
                found[one] = {name: x[row] for name, x in arrays.items()}
                found[one] |= {"weights": np.asarray(fingerprint(stack, row))} if way.limiting else {}
    out |= {name: np.stack([found[one][name] for one in seeds]) for name in found[seeds[0]]}
    if before is not None:
        out["along"] = np.concatenate([before.passed(way).astype(out["along"].dtype), out["along"]], 1)
    return out | ({"steps": np.asarray(way.marks)} if way.limiting else {})


def _words(run: Run, way: Way) -> dict[str, str | int]:
    """What a file says of its draws."""
    return {
        "domain": str(run.manifest.data.get("domain", "real")),
        "run": run.manifest.hash,
        "start": way.start,
        "shown": way.shown,
        "chain": way.marks[-1],
        "chain_from": way.chain_from if way.limiting else "",
    }


def _parts(
    stack: "Stack", manifest: Manifest, way: Way, count: int, memory_gib: float, start: tuple[Tensor, int] | None
) -> Iterator[dict[str, Shaped[Tensor, "seeds n *example"]]]:
    """Draws as they come: ``x``, of chains ``along``, ``[seeds, marks, few, *example]``, and ``chains``."""
    shape, domain = tuple(manifest.data["shape"]), domain_of(manifest)
    if not way.limiting:
        for part in looked(stack, way, count, shape, domain, memory_gib=memory_gib):
            yield {"x": part[0]}
        return
    begun, done = start or (None, 0)
    for part in followed(stack, way, count, shape, domain, memory_gib=memory_gib, begun=begun, done=done):
        chains, x = part[way.chain]
        along = torch.stack([state[:, :ALONG] for state, _ in part.values()], 1)
        yield {"x": x, "along": along} | ({} if way.shown == "draw" else {"chains": chains})


def check_run(run: object, way: object) -> None:
    """Refuse what is no run, and no way to draw from one.

    Raises:
        SeedbedError: with what was got.
    """
    if not isinstance(run, Run):
        raise SeedbedError(f"expected a Run, got {shown(run)}; `seedbed.load(folder)` opens one")
    if not isinstance(way, Way):
        raise SeedbedError(f'way must be a Way, e.g. Way("limiting", 1000) of seedbed.evaluate.chain, got {shown(way)}')


def check_way(stack: "Stack", manifest: Manifest, way: Way) -> None:
    """Refuse what a model does not draw in some way, before anything is written or takes long.

    Raises:
        SeedbedError: by the name of its experiment, or of its likelihood.
    """
    check_draws(stack.module, manifest.experiment)
    if way.limiting:
        check_chain(stack, manifest.experiment)
    if way.limiting or way.shown != "draw":
        next(looked(stack, replace(way, chain=1), 1, tuple(manifest.data["shape"]), domain_of(manifest)))


def domain_of(manifest: Manifest) -> Domain:
    """Of the examples that a run was trained on."""
    return Domain.parse(manifest.data.get("domain", "real"))


def fingerprint(stack: "Stack", row: int) -> str:
    """What tells the weights of a seed from those that it had before it trained on."""
    digest = hashlib.sha256()
    for name, value in sorted({**stack.params, **stack.state}.items()):
        digest.update(name.encode())
        digest.update(value[row].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _arrays(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of a file of chains, their names and axes looked at.

    Raises:
        SeedbedError: for any other file.
    """
    path = place("file of chains", path)
    try:
        if path.exists() and not (path.is_file() and zipfile.is_zipfile(path)):
            raise ValueError("it is no whole .npz file")
        with np.load(path, allow_pickle=False) as file:
            if not {"x", "seeds", "start"} <= {*file.files}:
                raise ValueError("it has no x, seeds and start")
            found = {name: file[name] for name in file.files}
        if found["start"].tolist() != "limiting":
            raise ValueError("its draws are of random codes")
        shows = found["shown"].tolist() if "shown" in found else "draw"
        keys = _KEYS if shows == "draw" else (*_KEYS, "chains")
        if missing := [name for name in keys if name not in found]:
            raise ValueError(f"it has no {missing[0]}")
        if shows not in [*SHOWN]:
            raise ValueError(f"its shown is {shows!r}, and must be {', '.join(SHOWN)}")
        if shows != "draw":
            found["x"] = found["chains"]
        _check_axes(found)
    except _DAMAGED as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else one_line(str(error))
        raise SeedbedError(
            f"{path} is no file of chains ({why}); make one by `seedbed sample RUN --start limiting --out FILE.npz`"
        ) from error
    return found


def _check_axes(found: Mapping[str, np.ndarray]) -> None:
    """Raise a ``ValueError`` for arrays that do not belong together."""
    x, along, seeds = found["x"], found["along"], len(np.atleast_1d(found["seeds"]))
    if wide := [name for name in _WORDS if found[name].ndim]:
        raise ValueError(f"its {wide[0]} must be one word or number, got {list(found[wide[0]].shape)}")
    if found["chain"].dtype.kind not in "iu" or str(found["chain_from"]) not in BEGINNINGS:
        raise ValueError(f"its chain is {one_line(str(found['chain']))} from {one_line(str(found['chain_from']))}")
    if not 1 <= int(found["chain"]) <= MOST_STEPS:
        raise ValueError(f"its chain must be of 1 to {MOST_STEPS} steps, got {int(found['chain'])}")
    if any(array.dtype.kind not in "fiu" for array in (x, along, found["steps"])) or found["seeds"].dtype.kind not in "iu":
        raise ValueError("its x, along, seeds and steps must be numbers")
    marks = Way("limiting", int(found["chain"])).marks
    if found["steps"].tolist() != marks or not found["seeds"].shape == found["weights"].shape == (seeds,):
        raise ValueError(f"its steps must be {marks}, its weights one for each of {seeds} seeds")
    if x.ndim < 2 or x.shape[0] != seeds or along.shape != (seeds, len(marks), min(x.shape[1], ALONG), *x.shape[2:]):
        raise ValueError(f"x {list(x.shape)} and along {list(along.shape)} must be of {seeds} seeds and {len(marks)} steps")


def _within(domain: Domain, x: np.ndarray) -> bool:
    """Whether all values are some of the domain's."""
    if domain.kind == "real":
        return bool(np.isfinite(x).all())
    return bool(((x == np.floor(x)) & (x >= 0) & (x < (domain.size or 2))).all())
