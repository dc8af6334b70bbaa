"""The registry of experiments. Importing it imports no torch."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from seedbed.core.errors import SeedbedError, unknown
from seedbed.experiments import image_convergence, images, iwae, toy, vae_static, variance
from seedbed.experiments.base import Experiment

__all__ = ["EXPERIMENTS", "STUDIES", "Experiment", "Study", "find"]


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


_NLL = "nll_nats"
STUDIES: dict[str, Study] = {
    "toy": Study("toy", toy.DOC, toy.EXPERIMENTS, toy.GRID, elsewhere=toy.ELSEWHERE, published=toy.PUBLISHED),
    "toy-variance": Study("toy-variance", variance.DOC, variance.EXPERIMENTS, tuple(variance.EXPERIMENTS)),
    "mnist": Study("mnist", images.DOC, images.MNIST, tuple(images.MNIST), seeds=3, metric=_NLL, evaluated=(_NLL,)),
    "mnist-convergence": Study(
        "mnist-convergence",
        image_convergence.DOC,
        image_convergence.MNIST,
        image_convergence.GRID,
        seeds=3,
        metric="neg_elbo_nats",
        published=image_convergence.PUBLISHED,
    ),
    "omniglot-convergence": Study(
        "omniglot-convergence",
        image_convergence.OMNIGLOT_DOC,
        image_convergence.OMNIGLOT,
        image_convergence.OMNIGLOT_GRID,
        seeds=3,
        metric="neg_elbo_nats",
        published=image_convergence.OMNIGLOT_PUBLISHED,
    ),
    "iwae": Study(
        "iwae",
        iwae.DOC,
        iwae.EXPERIMENTS,
        tuple(iwae.GRID),
        seeds=3,
        metric=_NLL,
        evaluated=(_NLL,),
        published=iwae.PUBLISHED,
    ),
    "vae-static": Study(
        "vae-static",
        vae_static.DOC,
        vae_static.EXPERIMENTS,
        tuple(vae_static.EXPERIMENTS),
        seeds=3,
        metric=_NLL,
        evaluated=(_NLL,),
        published=vae_static.PUBLISHED,
    ),
    "digits": Study("digits", images.DIGITS_DOC, images.DIGITS, tuple(images.DIGITS), metric=_NLL, evaluated=(_NLL,)),
}
EXPERIMENTS: dict[str, Experiment] = {name: e for study in STUDIES.values() for name, e in study.experiments.items()}


def find(name: str) -> Experiment:
    """Look up an experiment by its registered name or as ``file.py:variable``.

    A file is executed: name only files that you trust.

    Raises:
        SeedbedError: if there is none, with the nearest match.
    """
    if ".py:" in name:
        return _from_file(name)
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, [*EXPERIMENTS, *STUDIES])
    return EXPERIMENTS[name]


def _from_file(name: str) -> Experiment:
    path, _, variable = name.rpartition(":")
    if not Path(path).is_file():
        raise SeedbedError(f"no file {path}; name your experiment as path/to/file.py:variable")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SeedbedError(f"{path} does not run: {type(error).__name__}: {error}") from error
    found = getattr(module, variable, None)
    if not isinstance(found, Experiment):
        known = [key for key, value in vars(module).items() if isinstance(value, Experiment)]
        raise SeedbedError(f"{path} has no experiment {variable!r}; it has: {', '.join(known) or 'none'}")
    return found
