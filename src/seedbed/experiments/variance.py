"""Study `toy-variance`: where the spread over seeds comes from. One source of randomness varies, the others are held."""

from seedbed.experiments.experiment import Experiment
from seedbed.experiments.models import CouplingFlow
from seedbed.experiments.toy import flow, lvae, vae

SOURCES = ("init", "order", "noise", "data", "all")
SETS = ("8gaussians", "checkerboard")
STEPS = 3_000  # a tenth of the toy study's: the spread shows long before the last tenth of a nat

DOC = "the first source's question: how much of the spread over seeds is the initialisation's, by model"


def _models(data: str) -> dict[str, Experiment]:
    return {
        "vae": vae(data).with_config({"warm_up": 0.08}),
        "lvae": lvae(data),
        "flow": flow(data, CouplingFlow()),
        "spline-flow": flow(data, CouplingFlow(coupling="spline")),
    }


EXPERIMENTS: dict[str, Experiment] = {
    f"toy-variance/{data}/{model}-{source}": experiment.with_config({"steps": STEPS, "eval_every": 250, "vary": source})
    for data in SETS
    for model, experiment in _models(data).items()
    for source in SOURCES
}
