"""The one loop: steps, validation, records, checkpoints, early stopping and fates, for every game."""

import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.core.interrupts import interrupts
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.store import checkpoint
from seedbed.store.folder import Folder, ended
from seedbed.store.table import DamagedTable, LongTable, Row
from seedbed.train.learner import DIVERGED, RUNNING, STOPPED, WORSE_THAN_BASELINE, Learner, where
from seedbed.train.looks import look_at
from seedbed.train.task import Measurement, Task
from seedbed.train.weights import CONTINUED

FATES = {RUNNING: "finished", DIVERGED: "diverged", STOPPED: "stopped_early", WORSE_THAN_BASELINE: "worse_than_baseline"}

# Least seconds between two reports of progress; a validation is reported at once.
REPORT_SECONDS = 0.5

# (steps done, steps in all, the selected validation metric of each seed, or None between validations)
StepProgress = Callable[[int, int, Tensor | None], None]


@dataclass
class Best:
    """Early stopping: the best validation value of each seed, the parameters and state that gave it, and how long ago."""

    value: Tensor
    since: Tensor
    params: dict[str, Tensor]
    state: dict[str, Tensor]

    @classmethod
    def of(cls, learner: Learner) -> "Best":
        """Nothing seen yet."""
        seeds = len(learner.streams)
        infinite = torch.full((seeds,), torch.inf, dtype=torch.float64)
        weights = learner.weights
        params, state = ({k: v.clone() for k, v in kept.items()} for kept in (weights.kept, weights.kept_state))
        return cls(infinite, torch.zeros(seeds, dtype=torch.int64), params, state)

    def see(self, learner: Learner, value: Tensor, patience: int) -> None:
        """Take in one validation; stop the seeds that ran out of patience."""
        better = (value < self.value) & (learner.status == RUNNING)
        self.params = {k: where(better, v, self.params[k]) for k, v in learner.weights.kept.items()}
        self.state = {k: where(better, v, self.state[k]) for k, v in learner.weights.kept_state.items()}
        self.value = torch.where(better, value, self.value)
        self.since = torch.where(better, 0, self.since + 1)
        learner.end(self.since >= patience, STOPPED)


def train_group(
    task: Task,
    folder: Folder,
    seeds: Sequence[int],
    streams: Sequence[Streams],
    *,
    device: torch.device,
    threads: int,
    checkpoint_seconds: float = 30.0,
    progress: StepProgress | None = None,
    looked: bool = False,
) -> Learner:
    """Train one group of seeds to the end, continuing from its newest checkpoint.

    Args:
        task: what to train.
        folder: where rows, checkpoints and artefacts go.
        seeds: the seeds of the group.
        streams: their random streams.
        device: where to train.
        threads: CPU threads, part of what decides the last bits.
        checkpoint_seconds: least time between checkpoints, validations or not; 0 writes one at each validation.
        progress: called after every validation, and now and then between them.
        looked: whether the game has been looked at already.

    Raises:
        SeedbedError: if something cannot be written, or the game cannot be played (see ``looks.look_at``).
        Interrupted: after Ctrl-C, SIGTERM or SIGHUP, with a checkpoint of the present step written; at once in the
            evaluation at the end, which continuing repeats.
    """
    keep_freed_memory()
    table, checkpoints = folder.table(seeds), folder.checkpoints(seeds)
    with _threads(threads), interrupts() as stop:
        learner = Learner(task, streams, device)
        best = Best.of(learner) if task.patience else None
        before, done = _continue(learner, best, folder, table, seeds)
        started = saved = reported = time.perf_counter()

        def wall() -> float:
            return before + time.perf_counter() - started

        def save(done: bool = False) -> None:
            tree = learner.tree()
            if best is not None:
                tree |= {"best": vars(best)}
            meta = {**learner.meta(), "wall_s": wall(), "seeds": list(seeds), "done": done}
            table.sync()  # the checkpoint stands for these rows: a power failure must not keep it and lose them
            checkpoint.save(checkpoints, learner.step, tree, meta, table.written())

        if done:
            return learner
        begun = learner.step
        if begun == 0 and not looked:
            look_at(learner)
        while learner.step < task.steps and bool((learner.status == RUNNING).any()):
            learner.advance()
            last = learner.step == task.steps
            validated = learner.step % task.eval_every == 0 or last
            if validated:
                running = learner.status == RUNNING
                measured = _measured(task, learner.stack(), "valid")
                value = measured[task.select][0].double().mean(1).cpu()
                rows = _train_rows(learner, seeds, running, wall())
                rows += rows_of(measured, seeds, running, learner.steps, "valid", wall())
                table.append(rows)
                learner.see(value)
                if best is not None:
                    best.see(learner, value, task.patience)
                if progress is not None:
                    progress(learner.step, task.steps, torch.where(running, value, torch.nan))
            now = time.perf_counter()
            if validated:
                reported = now
            elif progress is not None and now - reported >= REPORT_SECONDS:
                progress(learner.step, task.steps, None)
                reported = now
            if not last and (validated if checkpoint_seconds <= 0 else now - saved >= checkpoint_seconds):
                save()
                saved = time.perf_counter()
            if stop.seen and not last:
                save()
                stop.interrupt()
        if learner.step > begun:
            save()  # what follows trains no more and may take long: interrupted, it alone is repeated
        stop.obey()
        if best is not None:
            learner.set_kept(best.params, best.state, torch.isfinite(best.value))
        _judge(task, learner)
        stack, everyone = learner.stack(), torch.ones(len(seeds), dtype=torch.bool)
        rows = [
            Row(seed, step, "status", FATES[fate], float(step), "steps", 1, 0.0, wall())
            for seed, fate, step in zip(seeds, learner.status.tolist(), learner.steps.tolist(), strict=True)
        ]
        for split in task.splits:
            rows += rows_of(_measured(task, stack, split), seeds, everyone, learner.steps, split, wall())
        if task.artefacts is not None:
            for name, arrays in task.artefacts(stack).items():
                folder.save_arrays(name, seeds, arrays)
        if task.reference is not None:
            folder.save_reference(task.reference())
        table.append(rows)
        save(done=True)
        return learner


def _continue(
    learner: Learner, best: Best | None, folder: Folder, table: LongTable, seeds: Sequence[int]
) -> tuple[float, bool]:
    """Restore the newest checkpoint and the table as it was then: seconds trained so far, and whether it was the end."""
    found = folder.latest(seeds)
    if found is None:
        table.put([])
        return 0.0, False
    tree, meta = found
    if meta.get("layout", 1) < CONTINUED and not meta["done"]:
        raise SeedbedError(
            f"{folder} was begun by an earlier version of Seedbed and is not finished; finish it with that version, or "
            "start anew with --again or another --name"
        )
    rows = folder.rows_at(seeds, meta["step"])
    again = meta.get("layout", 1) >= CONTINUED  # what an earlier version has trained is all that there is
    if rows is None and again and not _measured_until(table, seeds, meta, learner.task):
        said = f"the table {table.path} is lost, and no checkpoint has it: its seeds are trained anew"
        print(f"seedbed: {said}", file=sys.stderr)
        table.put([])
        return 0.0, False
    learner.restore(tree, meta)
    if best is not None:
        best.value, best.since = tree["best"]["value"], tree["best"]["since"]
        best.params = {k: v.to(learner.device) for k, v in tree["best"]["params"].items()}
        best.state |= {k: v.to(learner.device) for k, v in tree["best"].get("state", {}).items()}
    if rows is not None:
        table.restore(rows)
    elif not meta["done"]:
        table.cut(meta["step"])
    return float(meta["wall_s"]), bool(meta["done"])


def _measured_until(table: LongTable, seeds: Sequence[int], meta: Mapping[str, Any], task: Task) -> bool:
    """Whether a table has rows of each seed where, by its checkpoint, it must have some."""
    try:
        rows = table.read()
    except DamagedTable:
        return False
    if meta["done"]:
        return ended(rows, seeds)
    return meta["step"] < task.eval_every or {row.seed for row in rows if row.step <= meta["step"]} >= set(seeds)


def _measured(task: Task, stack: Stack, split: str) -> Measurement:
    """The task's metrics on a split.

    Raises:
        SeedbedError: if they cannot be measured, are not ``[seeds, n]``, or lack the selected one.
    """
    with told("`measure`"):
        measured = task.measure(stack, split)
    if task.select not in measured:
        raise unknown("metric to select by", task.select, measured)
    for metric, found in measured.items():
        values = found[0] if isinstance(found, tuple) and len(found) == 2 else None
        if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != len(stack.streams):
            got = f"{list(values.shape)}" if isinstance(values, Tensor) else type(found).__name__
            raise SeedbedError(f"`measure` must give ([{len(stack.streams)}, n], unit) of {metric}, got {got}")
    return measured


def _judge(task: Task, learner: Learner) -> None:
    """Mark seeds that ended worse than the trivial model, beyond three standard errors of the validation value.

    A value that is one number of a seed, not a mean over examples, has no such error.
    """
    if task.baseline is None:
        return
    values = _measured(task, learner.stack(), "valid")[task.select][0].double().cpu()
    low = values.mean(1) - 3 * _standard_errors(values)
    worse = ~(low <= task.baseline) & (learner.status != DIVERGED)
    learner.status_step = torch.where(worse, learner.steps, learner.status_step)
    learner.status = torch.where(worse, WORSE_THAN_BASELINE, learner.status)


def rows_of(measured: Measurement, seeds: Sequence[int], which: Tensor, steps: Tensor, split: str, wall: float) -> list[Row]:
    """Means over examples with their standard errors, for the chosen seeds (a mask)."""
    out = []
    for metric, (values, unit) in measured.items():
        values = values.double().cpu()
        n = values.shape[1]
        means = values.mean(1).tolist()
        errors = _standard_errors(values).tolist()
        out += [
            Row(seed, step, split, metric, mean, unit, n, se, wall)
            for seed, step, mean, se, keep in zip(seeds, steps.tolist(), means, errors, which.tolist(), strict=True)
            if keep
        ]
    return out


def _standard_errors(values: Tensor) -> Tensor:
    """Of the means of ``[seeds, n]`` over n; 0 of a single value."""
    n = values.shape[1]
    return values.std(1) / n**0.5 if n > 1 else torch.zeros_like(values[:, 0])


def _train_rows(learner: Learner, seeds: Sequence[int], which: Tensor, wall: float) -> list[Row]:
    several = len(learner.tally) > 1
    counts = {name: tally.count for name, tally in learner.tally.items()}
    return [
        Row(seed, learner.step, "train", f"{player}/{part}" if several else part, value, "mean", counts[player], 0.0, wall)
        for player, parts in learner.averages().items()
        for part, values in parts.items()
        for seed, value, keep in zip(seeds, values.tolist(), which.tolist(), strict=True)
        if keep
    ]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed arrays instead of returning them: page faults cost a third of a small model's step."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            trim_threshold, top_pad, mmap_threshold = -1, -2, -3
            libc.mallopt(mmap_threshold, 1 << 30)
            libc.mallopt(trim_threshold, (1 << 31) - 1)
            libc.mallopt(top_pad, 1 << 26)
