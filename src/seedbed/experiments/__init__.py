"""The registry of experiments: presets by study, every model on any data, and what one's own are declared with.

Importing it imports no torch.
"""

import os
from dataclasses import replace

from seedbed.core.errors import SeedbedError, unknown
from seedbed.data import is_own
from seedbed.experiments import (
    gaussian,
    hvae_mnist,
    image_convergence,
    images,
    iwae,
    observation_models,
    symmetric,
    tables,
    toy,
    vae_static,
    variance,
)
from seedbed.experiments.data import Data, Examples, Points
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import AtLeast, option
from seedbed.experiments.files import is_in_file, read_file, split_name
from seedbed.experiments.model import Model
from seedbed.experiments.models import (
    DRAW,
    MODELS,
    VAE,
    WGAN,
    BottomUpVAE,
    ConvVAE,
    CouplingFlow,
    Gaussian,
    ImageFlow,
    LadderVAE,
    PictureVAE,
    SymmetricVAE,
)
from seedbed.experiments.objectives import Adversarial, Elbo, Likelihood, Objective, OfBits, SampledElbo, Trained
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
    "Gaussian",
    "ImageFlow",
    "LadderVAE",
    "Likelihood",
    "Model",
    "Objective",
    "OfBits",
    "PictureVAE",
    "Points",
    "SampledElbo",
    "Study",
    "SymmetricVAE",
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
    "hvae-mnist": Study(
        "hvae-mnist",
        hvae_mnist.DOC,
        hvae_mnist.EXPERIMENTS,
        tuple(hvae_mnist.GRID),
        seeds=3,
        metric=_NLL,
        evaluated=(_NLL,),
        published=hvae_mnist.PUBLISHED,
    ),
    "observation-models": Study(
        "observation-models",
        observation_models.DOC,
        observation_models.EXPERIMENTS,
        observation_models.GRID,
        seeds=3,
        metric="bits_per_dim",
        evaluated=(_NLL, "nll_bits_per_dim"),
        published=observation_models.PUBLISHED,
    ),
    "tables": Study("tables", tables.DOC, tables.EXPERIMENTS, tables.GRID, metric=_NLL),
    "symmetric": Study(
        "symmetric",
        symmetric.DOC,
        symmetric.EXPERIMENTS,
        tuple(symmetric.GRID),
        seeds=5,
        metric="neg_elbo_nats",
        only_full=tuple(name for name in symmetric.EXPERIMENTS if name not in symmetric.GRID),
    ),
    "gaussian": Study("gaussian", gaussian.DOC, gaussian.EXPERIMENTS, gaussian.GRID, seeds=3, metric="sigma_error"),
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
    """Look up an experiment by its registered name, a model's name, or as ``file.py:variable``, an experiment or a class.

    A file is executed: name only files that you trust.

    Raises:
        SeedbedError: if there is none, with the nearest match.
    """
    if is_in_file(name):
        path, variable = split_name(name)
        found = read_file(path).find(variable)
        check_names({name: found})
        return found
    if name in MODELS:
        return usual(name)
    if name in STUDIES:
        raise SeedbedError(f"{name} is a study; name one of its experiments, e.g. {STUDIES[name].grid[0]}")
    if name not in EXPERIMENTS:
        stem, _, variable = name.rpartition(".")
        if os.path.isfile(f"{stem}.py"):
            raise SeedbedError(f"unknown experiment {name!r}; what is in the file is called {stem}.py:{variable}")
        raise unknown("experiment", name, [*EXPERIMENTS, *STUDIES, *MODELS])
    return EXPERIMENTS[name]


def find_on(name: str, data: str) -> Experiment:
    """``find`` on a data set that is named: a preset keeps to its own, which its name says, or takes data of one's own.

    Raises:
        SeedbedError: as ``find``, for an unknown data set, or a preset of another.
    """
    found = find(name)
    if (same := found.data.renamed(data)) is not None:  # of one kind, such as the Gaussian model in another dimension
        return replace(found, data=same)
    changed = found.on(data)
    if name in EXPERIMENTS and data != found.data.data and not is_own(data):
        raise SeedbedError(
            f"{name} is on {found.data.data}; for other data name a model: `seedbed run vae -d {data}` "
            f"(models: {', '.join(MODELS)})"
        )
    return replace(changed, training=MODELS[name].training_on(data)) if name in MODELS else changed


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
