"""Study `tables`: a Gaussian, a VAE and two flows on scikit-learn's tables, sized for hundreds of rows."""

from seedbed.experiments.data import Examples
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.model import Model
from seedbed.experiments.models import VAE, CouplingFlow, Gaussian

SETS = ("iris", "wine", "breast-cancer", "diabetes")
MODELS: dict[str, Model] = {
    "gaussian": Gaussian(),
    "vae": VAE(hidden=(64, 64), latents=4, activation="relu"),
    # Columns of a table go together in sums, which a learnt change of axes takes in and half-and-half couplings do not.
    "flow": CouplingFlow(couplings=6, hidden=(16, 16), mix=True),
    "spline-flow": CouplingFlow(coupling="spline", couplings=3, hidden=(16, 16), bins=6, mix=True),
}


def experiment(data: str, model: Model) -> Experiment:
    """A model with its usual objective and what trains it on a table, which stops before it overfits."""
    metric = "" if model.exact else "neg_elbo_nats"
    return Experiment(Examples(data), model, model.objective, model.training_on(data), ms_per_step=12.0, metric=metric)


DOC = "Gaussian, VAE and flows on scikit-learn's tables, in nats of the tables' own units"
EXPERIMENTS: dict[str, Experiment] = {
    f"tables/{data}/{name}": experiment(data, model) for data in SETS for name, model in MODELS.items()
}
GRID = tuple(EXPERIMENTS)
