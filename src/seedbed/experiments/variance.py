"""Study `toy-variance`: where the spread over seeds comes from. One source of randomness varies, the others are held."""

from dataclasses import replace

from seedbed.experiments.base import Experiment
from seedbed.experiments.toy import ToyFlow, ToyLVAE, ToyVAE

SOURCES = ("init", "order", "noise", "data", "all")
SETS = ("8gaussians", "checkerboard")
STEPS = 3_000  # a tenth of the toy study's: the spread shows long before the last tenth of a nat

DOC = "the first source's question: how much of the spread over seeds is the initialisation's, by model"


def _short(experiment: Experiment) -> Experiment:
    return replace(experiment, steps=STEPS, eval_every=250)


def _models(data: str) -> dict[str, Experiment]:
    models = {
        "vae": ToyVAE(data=data),
        "lvae": ToyLVAE(data=data),
        "flow": ToyFlow(data=data),
        "spline-flow": ToyFlow(data=data, coupling="spline"),
    }
    return {name: _short(experiment) for name, experiment in models.items()}


EXPERIMENTS: dict[str, Experiment] = {
    f"toy-variance/{data}/{model}-{source}": replace(experiment, vary=source)
    for data in SETS
    for model, experiment in _models(data).items()
    for source in SOURCES
}
