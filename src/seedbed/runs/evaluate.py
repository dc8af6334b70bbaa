"""Measure a finished run again: an estimator that training does not pay for, on a split, for every seed."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from seedbed.core import words
from seedbed.core.ambient import plain
from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.core.metric import METRICS
from seedbed.core.numbers import number, shown, whole
from seedbed.data import loaded_once
from seedbed.evaluate.estimator import ARTEFACTS, Estimator, Limits, Option
from seedbed.evaluate.estimators import ESTIMATORS, no_estimator, offered
from seedbed.runs.features import looked_up
from seedbed.runs.load import Run
from seedbed.runs.machine import usable_device
from seedbed.runs.places import at_hand
from seedbed.store import notes
from seedbed.store.manifest import command_line, versions
from seedbed.store.table import Row

if TYPE_CHECKING:
    from seedbed.core.stack import Stack
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.likelihood import Progress
    from seedbed.train.task import Task

SPLITS = ("test", "valid", "train")
PRECISIONS = ("", "fp32", "bf16", "fp64")
GIB_MOST = 1_000_000  # more than any machine has


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure.

    Args:
        estimator: its name, see ``evaluate.estimators``, or an estimator of your own.
        split: ``test``, ``valid`` or ``train``.
        options: settings of the estimator that are not its defaults.
        examples: only so many, evenly spread over the split; 0 for all.
        precision: of matrix products; empty for the run's own.
        memory_gib: what the evaluation may take beside models and data.

    Raises:
        SeedbedError: for an option that the estimator does not have or that cannot be so, or a name that is taken.
    """

    estimator: str | Estimator = "nll"
    split: str = "test"
    options: Mapping[str, Any] = field(default_factory=dict)
    examples: int = 0
    precision: str = ""
    memory_gib: float = 4.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory_gib", number("memory in GiB", self.memory_gib, 0, GIB_MOST, above=True))
        object.__setattr__(self, "examples", whole("examples", self.examples, 0))
        if not isinstance(self.estimator, str | Estimator):
            raise SeedbedError(f"estimator must be a name or an Estimator, got {shown(self.estimator)}")
        if not isinstance(self.split, str) or self.split not in SPLITS:
            raise unknown("split", self.split if isinstance(self.split, str) else shown(self.split), SPLITS)
        if self.precision not in PRECISIONS:
            raise unknown("precision", shown(self.precision), PRECISIONS)
        if not isinstance(self.options, Mapping):
            raise SeedbedError(f"options must be settings by name, got {shown(self.options)}; e.g. {{'samples': 100}}")
        if not isinstance(self.estimator, str) and self.estimator not in ESTIMATORS and self.name in _names():
            raise SeedbedError(f"{self.name} is an estimator of Seedbed; give your own another name")
        object.__setattr__(self, "options", {name: self._option(name).taken(value) for name, value in self.options.items()})

    @property
    def name(self) -> str:
        """The estimator's name."""
        return self.estimator if isinstance(self.estimator, str) else self.estimator.name

    @property
    def ways(self) -> list[Estimator]:
        """Every estimator that is meant; which of them measures a run depends on its model."""
        if not isinstance(self.estimator, str):
            return [self.estimator]
        return [one for one in ESTIMATORS if one.name == self.estimator]

    @property
    def full_precision(self) -> bool:
        """Whether it is measured in full precision, whatever the run's is."""
        return any(way.full_precision for way in self.ways)

    def _option(self, name: str) -> Option:
        if not self.ways:
            raise unknown("estimator", self.name, _names())
        has = {option.name: option for way in self.ways for option in way.options}
        if name not in has:
            others = [one.name for one in ESTIMATORS if name in one.settings({})]
            hint = f", it is one of {' and '.join(dict.fromkeys(others))}" if others else ""
            raise SeedbedError(f"{self.name} has no option {name!r}{hint}; it has: {', '.join(has) or 'none'}")
        return has[name]


def _names() -> set[str]:
    return {one.name for one in ESTIMATORS}


@plain()
@loaded_once()
def evaluate(
    run: Run,
    request: Request,
    *,
    again: bool = False,
    device: str = "cpu",
    progress: "Progress | None" = None,
    data_at: str | None = None,
    kept: dict[Any, Any] | None = None,
) -> list[Row]:
    """Measure every seed of a finished run and keep the rows in its folder; what is there is not measured again.

    Args:
        run: a finished run.
        request: what to measure.
        again: measure anew what is there.
        device: where.
        progress: called with (examples done, examples in all) of each group of seeds, where that takes long.
        data_at: where data of one's own are now, e.g. ``array:/new/place/x.npy``; they must be those of the run.
        kept: what several evaluations of this run share, such as its draws; empty at the first.

    Raises:
        SeedbedError: for an unfinished run, an estimator that the model does not have, data that are not there any more or
            have changed, or what does not fit in memory.
    """
    if not isinstance(run, Run) or not isinstance(request, Request):
        raise SeedbedError(f"expected a Run and a Request, got {shown(run)} and {shown(request)}")
    usable_device(device)
    if data_at is not None:
        words.text("data_at", data_at)
    with at_hand(run.folder, run.manifest, run.experiment, data_at):
        return _evaluated(run, request, again, device, Limits(request.memory_gib, progress, {} if kept is None else kept))


def _evaluated(run: Run, request: Request, again: bool, device: str, limits: Limits) -> list[Row]:
    ends = {row.seed: row for row in run.folder.rows() if row.split == "status"}
    if missing := [seed for seed in run.seeds if seed not in ends]:
        command = run.manifest.command or "the command that started it"
        raise SeedbedError(f"{run.folder} is not finished (seeds {missing}); continue it with: {command}")
    streams, task = run.experiment.streams(run.seeds[:1]), task_of(run)
    with streams[0].scoped("init"):
        way = _way(run, request, task)
    request = replace(request, options=looked_up(way, request.options, task.data))
    name = _name(request, way, task)
    table = run.folder.evaluation(name)
    if again or set(run.seeds) - {row.seed for row in table.read()}:
        with run.folder.working(name, f"evaluating {name} of {run.folder}", "evaluations") as (lock, now):
            if (now.created, now.hash) != (run.manifest.created, run.manifest.hash):
                raise SeedbedError(f"{run.folder} was started anew since it was opened; open it again")
            have = set() if again else {row.seed for row in table.read()}
            for group, stack in run.stacks(device):
                new = [seed not in have for seed in group]
                if not any(new):
                    continue
                rows, seconds = _measured(run, stack, group, new, ends, _part(task.data, request), way, request, limits)
                lock.check()
                # Rows without a note would be judged by what nobody declared: it comes first.
                _note(run, name, way, request, device, seconds, group)
                table.put([row for row in table.read() if row.seed not in group or row.seed in have] + rows)
    return [row for row in table.read() if row.seed in ends]


def task_of(run: Run) -> "Task":
    """The task of a run's first seed, with the data of all.

    Raises:
        SeedbedError: if they are not those that it was trained on.
    """
    task = run.experiment.task(run.experiment.streams(run.seeds[:1]))
    if (given := run.manifest.data.get("checksum")) not in (None, task.data.checksum()):
        raise SeedbedError(
            f"the data of {run.folder} are not those that it was trained on (checksum {str(given)[:12]}...); restore them"
        )
    return task


def _measured(
    run: Run,
    stack: "Stack",
    group: list[int],
    new: list[bool],
    ends: Mapping[int, Row],
    data: "Dataset",
    way: Estimator,
    request: Request,
    limits: Limits,
) -> tuple[list[Row], float]:
    import torch

    from seedbed.train.loop import keep_freed_memory, rows_of

    keep_freed_memory()
    started = time.perf_counter()
    stack = replace(stack, precision=request.precision or stack.precision)
    with nullcontext() if way in ESTIMATORS else told(f"estimator {way.name!r}"):
        measured = way.measure(stack, data, request.split, limits, **way.settings(request.options))
        way.check(measured, len(group))
    for name, arrays in limits.kept.pop(ARTEFACTS, {}).items():
        run.folder.save_arrays(name, group, arrays)
    steps, which = torch.tensor([ends[seed].step for seed in group]), torch.tensor(new)
    rows = []
    for name, found in measured.items():
        part, _, metric = name.rpartition("/")
        split = f"{request.split}/{part}" if part else request.split
        rows += rows_of({metric: found}, group, which, steps, split, 0.0)
    # The clock of a row is its training's: an evaluation takes no part of that.
    return [replace(row, wall_s=ends[row.seed].wall_s) for row in rows], time.perf_counter() - started


def _way(run: Run, request: Request, task: "Task") -> Estimator:
    """The estimator that measures this run's model, after refusing what cannot be asked of it."""
    from seedbed.core.noise import Streams
    from seedbed.core.stack import Stack

    data, precision = task.data, task.precision
    stack, x = Stack.of([task.build()], [Streams(0)]), data.splits[request.split][:1]
    if isinstance(request.estimator, str):
        known = offered(stack, x)
        if request.estimator not in known:
            raise no_estimator(run.manifest.experiment, request.estimator, known.values())
        way = known[request.estimator]
    else:
        way = request.estimator
        with told(f"`offers` of estimator {way.name!r}"):
            offers = way.offers(stack, x)
        if not offers:
            raise SeedbedError(f"{run.manifest.experiment} does not offer what {way.name} needs: {way.needs}")
    if "fp64" in (request.precision, precision) and request.precision not in ("", precision):
        raise SeedbedError(f"{run.folder} is in {precision} and is evaluated in that; leave --precision out")
    if request.examples and not data.shape:
        raise SeedbedError(f"{data.name} is one sequence, of which no part stands for the whole; leave --examples out")
    if way.full_precision and request.precision == "bf16":
        raise SeedbedError(f"{way.name} is measured in fp32: rounding would bias it; leave --precision out")
    return way


def _name(request: Request, way: Estimator, task: "Task") -> str:
    """The file's name: the estimator, the split, and whatever else sets its numbers apart."""
    parts = [way.name, request.split, *way.tags(request.options)]
    if 0 < request.examples < len(task.data.splits[request.split]):
        parts.append(f"n{request.examples}")
    if not way.full_precision and (request.precision or task.precision) == "bf16":
        parts.append("bf16")
    return "-".join(parts)


def _part(data: "Dataset", request: Request) -> "Dataset":
    """The data set with its split thinned out: a stride, since a split may be sorted by class.

    Of training images that are drawn anew for every batch, one draw, the same for every model.
    """
    import torch

    from seedbed.core.noise import EvalNoise, Streams
    from seedbed.data.source import Rows

    whole = data.splits[request.split]
    if 0 < request.examples < len(whole):
        rows = torch.arange(0, len(whole), len(whole) // request.examples)[: request.examples]
        labels = {name: labels[rows] if name == request.split else labels for name, labels in data.labels.items()}
        whole = Rows(whole, rows)
        data = replace(data, splits={**data.splits, request.split: whole}, labels=labels)
    if request.split != "train" or data.view is None:
        return data
    drawn, first = [], 0
    for some in whole.pieces():
        drawn.append(data.view(some, EvalNoise((Streams(0),), "view", data.name, first=first)))
        first += len(some)
    return replace(data, splits={**data.splits, "train": torch.cat(drawn)}, view=None)


def _note(run: Run, name: str, way: Estimator, request: Request, device: str, seconds: float, group: list[int]) -> None:
    """How the rows came about, beside them: one entry per group of seeds."""
    import torch

    entry = {
        "estimator": way.name,
        "split": request.split,
        **{key: getattr(value, "tag", value) for key, value in way.settings(request.options).items()},
        "examples": request.examples,
        "precision": request.precision,
        "memory_gib": request.memory_gib,
        "metrics": [asdict(metric) for metric in way.metrics if metric not in METRICS],
        "data": run.manifest.data.get("checksum", ""),
        "device": device,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
        "versions": versions(),
        "command": command_line(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    notes.add(run.folder.evaluation(name).path.with_suffix(".json"), group, entry)
