"""The registry of experiments: presets by study, every model on any data, and what one's own are declared with.

Importing it imports no torch.
"""

import importlib.util
import sys
from pathlib import Path

from seedbed.core.errors import SeedbedError, unknown
from seedbed.data import is_own
from seedbed.experiments import image_convergence, images, iwae, toy, vae_static, variance
from seedbed.experiments.data import Data, Examples, Points
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import AtLeast, option
from seedbed.experiments.models import (
    DRAW,
    MODELS,
    VAE,
    WGAN,
    BottomUpVAE,
    ConvVAE,
    CouplingFlow,
    ImageFlow,
    LadderVAE,
    Model,
)
from seedbed.experiments.objectives import Adversarial, Elbo, Likelihood, Objective, SampledElbo, Trained
from seedbed.experiments.study import Study
from seedbed.experiments.training import Training

__all__ = [
    "DRAW",
    "EXPERIMENTS",
    "MODELS",
    "STUDIES",
    "VAE",
    "WGAN",
    "Adversarial",
    "AtLeast",
    "BottomUpVAE",
    "ConvVAE",
    "CouplingFlow",
    "Data",
    "Elbo",
    "Examples",
    "Experiment",
    "ImageFlow",
    "LadderVAE",
    "Likelihood",
    "Model",
    "Objective",
    "Points",
    "SampledElbo",
    "Study",
    "Trained",
    "Training",
    "check_names",
    "find",
    "find_on",
    "option",
    "usual",
]

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


def usual(model: str) -> Experiment:
    """A registered model with its usual objective and training; on which data, ``Experiment.on`` says.

    Raises:
        SeedbedError: if there is no such model.
    """
    if model not in MODELS:
        raise unknown("model", model, MODELS)
    declared = MODELS[model]
    return Experiment(Examples(), declared, declared.objective, declared.training)


def find(name: str) -> Experiment:
    """Look up an experiment by its registered name, a model's name, or as ``file.py:variable``.

    A file is executed: name only files that you trust.

    Raises:
        SeedbedError: if there is none, with the nearest match.
    """
    if ".py:" in name:
        found = _from_file(name)
        check_names({name: found})
        return found
    if name in MODELS:
        return usual(name)
    if name in STUDIES:
        raise SeedbedError(f"{name} is a study; name one of its experiments, e.g. {STUDIES[name].grid[0]}")
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, [*EXPERIMENTS, *STUDIES, *MODELS])
    return EXPERIMENTS[name]


def find_on(name: str, data: str) -> Experiment:
    """``find`` on a data set that is named: a preset keeps to its own, which its name says, or takes data of one's own.

    Raises:
        SeedbedError: as ``find``, for an unknown data set, or a preset of another.
    """
    found = find(name)
    changed = found.on(data)
    if name in EXPERIMENTS and data != found.data.data and not is_own(data):
        raise SeedbedError(
            f"{name} is on {found.data.data}; for other data name a model: `seedbed run vae -d {data}` "
            f"(models: {', '.join(MODELS)})"
        )
    return changed


def check_names(experiments: dict[str, Experiment]) -> None:
    """Refuse a setting whose name means something of another type in a registered experiment.

    Raises:
        SeedbedError: with both.
    """
    known: dict[str, tuple[object, str]] = {}
    for name, experiment in {**EXPERIMENTS, **{model: usual(model) for model in MODELS}, **experiments}.items():
        for setting, (kind, _) in experiment.described().items():
            flag, first = known.setdefault(setting, (kind.flag, name))
            if flag != kind.flag:
                raise SeedbedError(
                    f"{setting} of {name} is not of the type that it is in {first}; a name means one thing: choose another"
                )


def _from_file(name: str) -> Experiment:
    path, _, variable = name.rpartition(":")
    if not Path(path).is_file():
        raise SeedbedError(f"no file {path}; name your experiment as path/to/file.py:variable")
    spec = importlib.util.spec_from_file_location(f"{Path(path).stem} of {Path(path).resolve()}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where its classes look up the names in their annotations
    try:
        spec.loader.exec_module(module)
    except SeedbedError:
        raise
    except Exception as error:
        raise SeedbedError(f"{path} does not run: {type(error).__name__}: {error}") from error
    found = getattr(module, variable, None)
    if not isinstance(found, Experiment):
        known = [key for key, value in vars(module).items() if isinstance(value, Experiment)]
        raise SeedbedError(f"{path} has no experiment {variable!r}; it has: {', '.join(known) or 'none'}")
    return found
