"""A study: a table of presets that belong together."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seedbed.core.errors import SeedbedError, unknown
from seedbed.experiments.experiment import Experiment

# Settings that every hash of the first studies counts.
COMMON = (
    "steps",
    "batch_size",
    "lr",
    "optimizer",
    "schedule",
    "clip",
    "ema",
    "eval_every",
    "patience",
    "precision",
    "data",
    "data_seed",
    "vary",
)


@dataclass(frozen=True)
class Study:
    """A named grid of experiments.

    Args:
        name: first part of its experiments' names.
        doc: one line.
        experiments: every experiment by its full name.
        grid: the names that `run STUDY` trains when nothing is filtered.
        seeds: seeds of each experiment by default.
        elsewhere: models that are asked for here but belong elsewhere, with what to say.
        metric: the test metric that the study is about.
        evaluated: metrics that training does not measure, but `seedbed evaluate` after it.
        only_full: experiments that are others but for their ``full`` budget: there are no further numbers of ``laptop``.
        published: known values by (experiment, metric).
    """

    name: str
    doc: str
    experiments: Mapping[str, Experiment]
    grid: tuple[str, ...]
    seeds: int = 10
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    metric: str = "gap_nats"
    evaluated: tuple[str, ...] = ()
    only_full: tuple[str, ...] = ()
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def metric_of(self, name: str) -> str:
        """The test metric that one of its experiments is about."""
        return self.experiments[name].metric or self.metric

    def select(self, model: str | None = None, data: str | None = None) -> dict[str, Experiment]:
        """The experiments of one model and one data set; the whole grid where nothing is named.

        Raises:
            SeedbedError: for a model or data set that the study does not have.
        """
        parts = {name: name.split("/", 2) for name in self.experiments}
        models, sets = {p[2] for p in parts.values()}, {p[1] for p in parts.values()}
        if model is not None and model not in models:
            if model in self.elsewhere:
                raise SeedbedError(self.elsewhere[model])
            raise unknown(f"model of study {self.name}", model, models)
        if data is not None and data not in sets:
            raise unknown(f"data set of study {self.name}", data, sets)
        pool = self.grid if model is None else tuple(self.experiments)
        found = {
            name: self.experiments[name]
            for name in pool
            if (model is None or parts[name][2] == model) and (data is None or parts[name][1] == data)
        }
        if not found:
            there = [p[2] for p in parts.values() if p[1] == data] if model is None else []
            what = f"does not run {data} unless a model is named: -m {' or '.join(there)}"
            raise SeedbedError(f"study {self.name} {what if there else f'has no {model} on {data}'}")
        return found
