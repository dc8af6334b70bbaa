"""Measure a finished run again: an estimator that training does not pay for, on a split, for every seed."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from seedbed.core.errors import SeedbedError, unknown
from seedbed.experiments.run import Run
from seedbed.store.atomic import write_atomic
from seedbed.store.manifest import command_line, versions
from seedbed.store.table import Row

if TYPE_CHECKING:
    from seedbed.core.stack import Stack
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.likelihood import Progress
    from seedbed.train.task import Measurement, Task

SPLITS = ("test", "valid", "train")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure.

    Args:
        metric: an estimator's name, see ``evaluate.known``.
        split: ``test``, ``valid`` or ``train``.
        samples: draws of z per example; by default 5000 for a likelihood and 20 for ``latents``.
        chains: of annealed importance sampling, per example.
        temperatures: of it.
        leapfrogs: of it, per temperature.
        start: of it, ``prior`` or ``posterior``.
        examples: only so many, evenly spread over the split; 0 for all.
        precision: of matrix products; empty for the run's own.
        memory_gib: what the evaluation may take beside models and data.
    """

    metric: str = "nll"
    split: str = "test"
    samples: int | None = None
    chains: int = 16
    temperatures: int = 1000
    leapfrogs: int = 10
    start: Literal["prior", "posterior"] = "prior"
    examples: int = 0
    precision: str = ""
    memory_gib: float = 4.0

    def __post_init__(self) -> None:
        if not self.memory_gib > 0:
            raise SeedbedError(f"memory must be more than 0 GiB, got {self.memory_gib}")
        if self.examples < 0:
            raise SeedbedError(f"examples must be at least 0 (all), got {self.examples}")

    @property
    def draws(self) -> int:
        """Draws of z per example."""
        return self.samples if self.samples is not None else 20 if self.metric == "latents" else 5000


def evaluate(
    run: Run, request: Request, *, again: bool = False, device: str = "cpu", progress: "Progress | None" = None
) -> list[Row]:
    """Measure every seed of a finished run and keep the rows in its folder; what is there is not measured again.

    Args:
        run: a finished run.
        request: what to measure.
        again: measure anew what is there.
        device: where.
        progress: called with (examples done, examples in all) of each group of seeds, where that takes long.

    Raises:
        SeedbedError: for an unfinished run, an estimator that the model does not have, or what does not fit in memory.
    """
    ends = {row.seed: row for row in run.folder.rows() if row.split == "status"}
    if missing := [seed for seed in run.seeds if seed not in ends]:
        command = run.manifest.command or "the command that started it"
        raise SeedbedError(f"{run.path} is not finished (seeds {missing}); continue it with: {command}")
    if request.split not in SPLITS:
        raise unknown("split", request.split, SPLITS)
    streams = run.experiment.streams(run.seeds[:1])
    task = run.experiment.task(streams)
    with streams[0].scoped("init"):
        name = _name(run, request, task)
    table = run.folder.evaluation(name)
    have = set() if again else {row.seed for row in table.read()}
    for group, stack in run.stacks(device) if set(run.seeds) - have else ():
        new = [seed not in have for seed in group]
        if any(new):
            rows, seconds = _measured(stack, group, new, ends, _part(task.data, request), request, progress)
            if again:
                table.path.unlink(missing_ok=True)  # not before there is something in its place
                again = False
            table.append(rows)
            _note(run, name, request, device, seconds, group)
    return [row for row in run.folder.evaluation(name).read() if row.seed in ends]


def _measured(
    stack: "Stack",
    group: list[int],
    new: list[bool],
    ends: Mapping[int, Row],
    data: "Dataset",
    request: Request,
    progress: "Progress | None",
) -> tuple[list[Row], float]:
    import torch

    from seedbed.train.loop import keep_freed_memory, rows_of

    keep_freed_memory()
    started = time.perf_counter()
    measured = _measure(replace(stack, precision=request.precision or stack.precision), data, request, progress)
    steps, which = torch.tensor([ends[seed].step for seed in group]), torch.tensor(new)
    rows = [row for split, found in measured.items() for row in rows_of(found, group, which, steps, split, 0.0)]
    # The clock of a row is its training's: an evaluation takes no part of that.
    return [replace(row, wall_s=ends[row.seed].wall_s) for row in rows], time.perf_counter() - started


def _measure(stack: "Stack", data: "Dataset", request: Request, progress: "Progress | None") -> "Mapping[str, Measurement]":
    """What was measured, by the split that its rows name: a latent's units are no metrics that runs are compared on."""
    from seedbed.core.capabilities import LatentVariable, Sequence
    from seedbed.evaluate.annealing import Annealing, second_opinion
    from seedbed.evaluate.density import DensityMeasure, nll
    from seedbed.evaluate.distances import SlicedWasserstein
    from seedbed.evaluate.latents import latent_use
    from seedbed.evaluate.likelihood import importance_sampling
    from seedbed.evaluate.sequences import SequenceMeasure

    split, x = request.split, data.splits[request.split]
    limits = {"memory_gib": request.memory_gib, "progress": progress}
    if request.metric == "sw":
        return {split: SlicedWasserstein(data, len(x))(stack, split)}
    if request.metric == "latents":
        use = latent_use(stack, x, split, request.draws, memory_gib=request.memory_gib)
        return {split: use.totals, f"{split}/units": use.units}
    if request.metric == "ais":
        settings = {name: getattr(request, name) for name in ("chains", "temperatures", "leapfrogs", "start")}
        return {split: second_opinion(stack, x, split, Annealing(**settings), request.draws, **limits)}
    if isinstance(stack.module, Sequence):
        return {split: SequenceMeasure(data)(stack, split)}
    if not isinstance(stack.module, LatentVariable):
        return {split: DensityMeasure(data, nll, "nll_nats")(stack, split)}
    return {split: importance_sampling(stack, x, split, request.draws, **limits)}


def _name(run: Run, request: Request, task: "Task") -> str:
    """The file's name: the estimator, the split, and whatever else sets its numbers apart."""
    from seedbed.core.noise import Streams
    from seedbed.core.stack import Stack
    from seedbed.evaluate.known import estimators, no_estimator

    data, precision = task.data, task.precision
    known = estimators(Stack.of([task.build()], [Streams(0)]), data.splits[request.split])
    if request.metric not in known:
        raise no_estimator(run.manifest.experiment, request.metric, known)
    if "fp64" in (request.precision, precision) and request.precision not in ("", precision):
        raise SeedbedError(f"{run.path} is in {precision} and is evaluated in that; leave --precision out")
    if request.examples and not data.shape:
        raise SeedbedError(f"{data.name} is one sequence, of which no part stands for the whole; leave --examples out")
    if request.split == "train" and data.view is not None:
        raise SeedbedError(f"{data.name} draws its training images anew; evaluate on test or valid")
    parts = [request.metric, request.split]
    if request.metric == "ais":
        if request.precision == "bf16":
            raise SeedbedError("ais is measured in fp32: rounded energies would bias its acceptance; leave --precision out")
        parts += [f"c{request.chains}", f"t{request.temperatures}", f"l{request.leapfrogs}"]
        parts.append("q" if request.start == "posterior" else "")
    if "latents" in known and request.metric != "sw":
        parts.append(f"k{request.draws}")
    if 0 < request.examples < len(data.splits[request.split]):
        parts.append(f"n{request.examples}")
    return "-".join(
        filter(None, [*parts, "bf16" if (request.precision or precision) == "bf16" and request.metric != "ais" else ""])
    )


def _part(data: "Dataset", request: Request) -> "Dataset":
    """The data set with its split thinned out: a stride, since a split may be sorted by class."""
    whole = data.splits[request.split]
    if not 0 < request.examples < len(whole):
        return data
    return replace(data, splits={**data.splits, request.split: whole[:: len(whole) // request.examples][: request.examples]})


def _note(run: Run, name: str, request: Request, device: str, seconds: float, group: list[int]) -> None:
    """How the rows came about, beside them: one entry per group of seeds."""
    import torch

    path = run.folder.evaluation(name).path.with_suffix(".json")
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    entry = {
        **asdict(request),
        "samples": request.draws,
        "device": device,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
        "versions": versions(),
        "command": command_line(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps({**old, ",".join(map(str, group)): entry}, indent=1)
    write_atomic(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
