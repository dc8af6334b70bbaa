"""``seedbed.fit``: a module, data and a loss of one's own, trained over many seeds as one run."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed.core.ambient import plain
from seedbed.core.errors import SeedbedError, told
from seedbed.experiments import EXPERIMENTS, MODELS, STUDIES
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.own import Loss, fitted
from seedbed.runs.execute import execute
from seedbed.runs.load import Run
from seedbed.runs.seeds import check_seeds

if TYPE_CHECKING:
    from torch import nn

    from seedbed.core.noise import Streams
    from seedbed.data.dataset import Dataset

LONGEST = 200  # bytes of a folder's name: systems take 255, and an old run's has a date behind it


@plain()
def fit(
    build: "Callable[..., nn.Module]",
    data: Any,
    *,
    loss: Loss | None = None,
    utility: Loss | None = None,
    seeds: Iterable[int] | int = 10,
    name: str | None = None,
    metric: str = "loss",
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    frozen: Sequence[str] = (),
    data_seed: int = 0,
    out: Path | str = "runs",
    strategy: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    quiet: bool = True,
    again: bool = False,
    **training: Any,
) -> Run:
    """Train any module on any data by a loss of your own, over many seeds as one run; or continue it where it stopped.

    ``seedbed.fit(MyNet, x, loss=lambda net, x: (net(x) - x).square().sum(-1), name="plain")`` writes
    ``runs/plain/<settings>``; ``seedbed compare plain wide`` says whether another one is better.

    Args:
        build: a class or a function that makes one seed's ``nn.Module``; torch's initialisation draws from the seed's own
            stream. It is called with those of ``features``, ``shape``, ``channels`` of the data that it asks for by name.
        data: the name of a data set (``8gaussians``, ``csv:table.csv``), an array, a tensor, splits ``{"train": ..., ...}``,
            a data frame, a ``torch.utils.data.Dataset``, or a ``Dataset``.
        loss: ``(module, batch) -> [batch]``, or ``(module, batch, ctx)``: less is better. Of a game one for each player,
            ``{"critic": ..., "generator": ...}``: each owns the parameters whose names begin with its own, all act in this
            order, each after the updates of those before it, and the first one's loss is what the run is judged by.
        utility: the same in its place, where more is better.
        seeds: how many, or which.
        name: of the run; by default that of ``build``.
        metric: what the loss is called on held-out examples, where less of it is better; of a utility its negative.
        metrics: more that is measured there, by name, ``(module, batch) -> [batch]``.
        frozen: beginnings of the names of parameters that are not trained; those with ``requires_grad`` False are not.
        data_seed: of the split, where the data have none of their own.
        out: folder of all runs.
        strategy: ``auto``, ``vectorized`` or ``sequential``: how seeds are executed, never what they compute.
        device: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
        threads: CPU threads; all by default.
        checkpoint_seconds: least time between checkpoints.
        quiet: no progress bar.
        again: train anew even what is finished, or was made by other code; the old run is moved aside.
        training: ``steps``, ``batch_size``, ``lr``, ``optimizer`` and all else of ``experiments.Training``.

    Raises:
        SeedbedError: for bad input, in one line that says what to do; nothing is written then.
    """
    if strategy == "processes":
        raise SeedbedError(
            "processes need code that they can import: put it in a file as experiment = fitted(build, data, loss=...), and "
            "run that with --strategy processes; or use strategy='vectorized'"
        )
    label = _label(build, name)
    chosen = check_seeds(seeds)
    experiment = fitted(
        build,
        data,
        loss=loss,
        utility=utility,
        metric=metric,
        metrics=metrics,
        frozen=frozen,
        data_seed=data_seed,
        **training,
    )
    experiment = _looked_over(experiment, chosen)
    folder = execute(
        label,
        experiment,
        chosen,
        out=out,
        strategy=strategy,
        device=device,
        threads=threads,
        checkpoint_seconds=checkpoint_seconds,
        quiet=quiet,
        again=again,
    )
    return Run(folder, experiment)


def _label(build: Callable[..., Any], name: str | None) -> str:
    """The name of the run's folder, and in every table."""
    label = name if name is not None else getattr(build, "__name__", "fit").strip("<>")
    odd = not isinstance(label, str) or not label or not label.isprintable() or len(label.encode()) > LONGEST
    if odd or label != Path(label).name or label.startswith(".") or ".py:" in label:
        raise SeedbedError(f"name must be one folder's name, got {label!r}; choose letters and digits")
    if label in MODELS or label in STUDIES or label in EXPERIMENTS:
        raise SeedbedError(f"{label} is a name of Seedbed's own; choose another name=...")
    return label


def _looked_over(experiment: Experiment, seeds: Sequence[int]) -> Experiment:
    """With what torch's own mark says is not trained declared so, once seeds have models of their own that can be measured.

    Raises:
        SeedbedError: if two seeds are given one module, or the loss or a metric does not run on held-out examples.
    """
    from torch import equal

    from seedbed.core.stack import Stack
    from seedbed.data.source import InMemory

    data, objective = experiment.data.load(), experiment.objective
    streams = experiment.streams([seeds[0], seeds[0] + 1])
    with told("`build`"):
        first, second = (_built(experiment, data, stream) for stream in streams)
    if first is second:
        raise SeedbedError("build gives every seed the same module; let it make a new one, lambda: MyNet()")
    pairs = [*zip(first.parameters(), second.parameters(), strict=False)]
    if any(one.unique().numel() > 1 for one, _ in pairs) and all(
        one.shape == two.shape and equal(one, two) for one, two in pairs
    ):
        warnings.warn(
            "build gives every seed the same weights, so that seeds differ by their batches and draws alone; leave out "
            "torch.manual_seed if that is not meant",
            stacklevel=3,
        )
    shown = InMemory(data.splits["train"][: experiment.training.batch_size])
    few = replace(data, splits=dict.fromkeys(data.splits, shown))
    objective.measure(few, experiment.model)(Stack.of([first], streams[:1], written=[*dict(first.named_buffers())]), "valid")
    still = tuple(name for name, parameter in first.named_parameters() if not parameter.requires_grad)
    if not still or getattr(objective, "frozen", ()):
        return experiment
    return replace(experiment, objective=replace(objective, frozen=still))


def _built(experiment: Experiment, data: "Dataset", stream: "Streams") -> "nn.Module":
    with stream.scoped("init"):
        return experiment.model.build(data)
