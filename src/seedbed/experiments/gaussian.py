"""Study `gaussian`: variational Bayes, flows and Hamiltonian VAEs on a model whose every answer is known.

After the third source (h-vae) and Caterini et al. 2018 (arXiv 1805.11328), section 5.1. One seed is one data set and one
initialisation, the same for every method.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from seedbed.core.errors import SeedbedError
from seedbed.experiments.data import Data
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.fields import AtLeast, option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import Objective, Trained
from seedbed.experiments.posteriors import Tempering
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seedbed.core.noise import Noise, Streams
    from seedbed.data.dataset import Dataset
    from seedbed.data.gaussian_sets import GaussianSets
    from seedbed.evaluate.pictures import Artefacts, Reference
    from seedbed.models.one_latent import OneLatent
    from seedbed.train.batches import Batches
    from seedbed.train.game import Game
    from seedbed.train.task import Measure

EXAMPLES = 10_000
NAMED = re.compile(r"gaussian-d([0-9]{1,5})")
DIMENSIONS = (25, 50, 100, 200, 300, 400)
MINIBATCH = 256  # examples of an update, as the source has it
EQUAL_TIME = 4_000  # updates by minibatches in the time of 6,000 by statistics: each takes 1.1 to 3.5 times one of these
METHODS = ("vb", "iaf", "planar", "hvae-prior", "hvae-learned")


@dataclass(frozen=True, kw_only=True)
class OneLatentSets(Data):
    """Data sets of the Gaussian model, every example of one with the same z; of each seed its own where data vary."""

    data: str = option("gaussian-d25", "gaussian-d<dimensions of z and x>")
    set_size: int = option(EXAMPLES, "examples of a data set, N", least=2, most=10_000_000)

    @property
    def epoch_examples(self) -> int:
        """All of a data set."""
        return self.set_size

    def renamed(self, name: str) -> "OneLatentSets | None":
        """In another dimension."""
        return replace(self, data=name) if NAMED.fullmatch(name) else None

    def load(self, seed: int | None = None) -> "GaussianSets":
        """The data sets of every seed; those of the declared data seed, or of another.

        Raises:
            SeedbedError: for less than two dimensions, or a name that says none.
        """
        from seedbed.data.gaussian_sets import gaussian_sets

        if (named := NAMED.fullmatch(self.data)) is None:
            raise SeedbedError(f"data of the Gaussian model are named gaussian-d25, by their dimensions, got {self.data}")
        return gaussian_sets(self.data, int(named[1]), self.set_size, self.data_seed if seed is None else seed)

    def batches(
        self, data: "Dataset", training: Training, streams: "Sequence[Streams]"
    ) -> "tuple[Batches, Callable[[Any, Noise], Any] | None]":
        """Sufficient statistics: of all examples, or of minibatches, scaled so that they stand for all."""
        import torch

        from seedbed.data.gaussian_sets import statistics_of
        from seedbed.train.batches import Reduced, Repeated, Shuffled

        sets = [_sets(data).set_of(each) for each in streams]
        if training.batch_size >= self.set_size:
            found = [one.statistics for one in sets]
            whole = {"mean": torch.stack([s.mean for s in found]), "scatter": torch.stack([s.scatter for s in found])}
            return Repeated({name: value[:, None] for name, value in whole.items()}), None

        def reduce(rows: torch.Tensor) -> dict[str, torch.Tensor]:
            part = statistics_of(rows, self.set_size)
            return {"mean": part.mean[:, None], "scatter": part.scatter[:, None]}

        rows = torch.stack([one.rows().float() for one in sets])
        return Reduced(Shuffled(rows, training.batch_size, per_seed=True), reduce), None

    def pictured(self, data: "Dataset", codes: bool) -> "tuple[Artefacts | None, Reference | None]":
        """Nothing: there is no more to see than parameters."""
        return None, None

    def baseline(self, data: "Dataset") -> float | None:
        """None: no bound is trivial."""
        return None


def _sets(data: "Dataset") -> "GaussianSets":
    from seedbed.data.gaussian_sets import GaussianSets

    if not isinstance(data, GaussianSets):
        raise SeedbedError(f"the Gaussian model of one latent is of the data sets of study gaussian, got {data.name}")
    return data


@dataclass(frozen=True, kw_only=True)
class OneLatentGaussian(Model):
    """The Gaussian model with one z for all examples, and the posterior that stands for p(z | D)."""

    set_posterior: Literal["vb", "iaf", "planar", "hvae"] = option(
        "vb", "a diagonal Gaussian, an inverse autoregressive flow, planar flows, or leapfrogs"
    )
    leapfrogs: int = option(1, "leapfrog steps", least=1, most=1_000, when={"set_posterior": ("hvae",)})
    start: Literal["learned", "prior"] = option(
        "learned", "where they start: from a Gaussian that is learnt, or from p(z)", when={"set_posterior": ("hvae",)}
    )
    tempering: Tempering = option(
        "fixed",
        "a factor of the momentum for each step, one temperature that falls quadratically, or 1",
        when={"set_posterior": ("hvae",)},
    )
    temperature: float = option(
        25.0,
        "of the first momentum, to start from; above 1",
        least=1.0,
        when={"set_posterior": ("hvae",), "tempering": ("fixed", "free")},
    )
    step_size: float = option(0.005, "of a leapfrog, to start from", least=1e-6, when={"set_posterior": ("hvae",)})
    step_size_most: float = option(0.5, "which it stays below", least=1e-6, when={"set_posterior": ("hvae",)})
    steps_vary: Literal["shared", "unit", "layer"] = option(
        "unit",
        "one step size for all, for each unit of z, or for each unit in each step",
        when={"set_posterior": ("hvae",)},
    )
    flows: int = option(1, "planar maps in a row", least=1, most=10_000, when={"set_posterior": ("planar",)})
    tied: bool = option(True, "apply one map again and again", when={"set_posterior": ("planar",), "flows": AtLeast(2)})
    masked_hidden: tuple[int, ...] = option(
        (), "widths of the net of iaf; d + 100 by default", least=1, when={"set_posterior": ("iaf",)}
    )
    compat: bool = option(
        False,
        "as the published flows had it: the likelihood's squares without their 1/2",
        when={"set_posterior": ("vb", "iaf", "planar")},
    )
    takes: ClassVar = ("real",)
    codes: ClassVar = False
    has_baseline: ClassVar = False
    in_units: ClassVar = False

    def build(self, data: "Dataset") -> "OneLatent":
        """Of any dimension."""
        from seedbed.models.one_latent import OneLatent
        from seedbed.models.tempered import TemperedLeapfrog

        size, count = data.features, len(data.splits["train"])
        leapfrog = None
        if self.set_posterior == "hvae":
            sizes = self.step_size, self.step_size_most, self.steps_vary
            leapfrog = TemperedLeapfrog(size, self.leapfrogs, self.tempering, self.temperature, *sizes)
        hidden = self.masked_hidden or (size + 100,)
        return OneLatent(size, count, self.set_posterior, leapfrog, self.start, self.flows, self.tied, hidden, self.compat)


@dataclass(frozen=True, kw_only=True)
class BoundOfSets(Objective):
    """The evidence lower bound of a whole data set, by draws of its one z; judged by the truth."""

    draws: int = option(10, "of z in each update", least=1, most=1_000_000)

    def game(self, training: Training, model: Trained) -> "Game":
        """One player."""
        from seedbed.objectives.one_latent import BoundOfSet
        from seedbed.train.game import Game

        return Game((training.player(BoundOfSet(self.draws)),))

    def select(self, model: Trained) -> str:
        """The bound."""
        return "neg_elbo_nats"

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """Errors of the parameters, and gaps to log p(D)."""
        from seedbed.evaluate.one_latent import SetMeasure

        return SetMeasure(_sets(data).set_of)


# Steps of ten leapfrogs begin small: sigma falls by e^5, and a step size that lags behind it turns once too often for good.
TRAINING = Training(steps=6_000, batch_size=EXAMPLES, lr=0.03, eval_every=500, vary="all")
MODELS: dict[str, OneLatentGaussian] = {
    "vb": OneLatentGaussian(),
    "iaf": OneLatentGaussian(set_posterior="iaf"),
    "planar": OneLatentGaussian(set_posterior="planar"),
    "planar-k30": OneLatentGaussian(set_posterior="planar", flows=30),
    "hvae-prior": OneLatentGaussian(set_posterior="hvae", start="prior"),
    "hvae-prior-k10": OneLatentGaussian(set_posterior="hvae", start="prior", leapfrogs=10, step_size=1e-4),
    "hvae-learned": OneLatentGaussian(set_posterior="hvae"),
    "hvae-learned-k10": OneLatentGaussian(set_posterior="hvae", leapfrogs=10, step_size=1e-4),
}


def _ms(settings: Mapping[str, Any]) -> float:
    """By the size of what is computed for every draw."""
    size = int(settings["data"].rpartition("-d")[2])
    if settings["set_posterior"] == "iaf":
        return 3.0 + 12.0 * (size / 100) ** 1.5
    steps = settings["leapfrogs"] if settings["set_posterior"] == "hvae" else settings["flows"]
    return 2.0 + 1.5 * steps


def experiment(size: int, method: str, **changed: Any) -> Experiment:
    """One method on data sets of one dimension.

    Args:
        size: d.
        method: a key of ``MODELS``.
        changed: settings with other values.
    """
    made = Experiment(OneLatentSets(data=f"gaussian-d{size}"), MODELS[method], BoundOfSets(), TRAINING, ms_per_step=_ms)
    return made.with_config(changed)


def _variants(size: int) -> dict[str, Experiment]:
    found = {method: experiment(size, method) for method in MODELS}
    for method, model in MODELS.items():
        if model.set_posterior == "hvae":
            found[f"{method}-untempered"] = experiment(size, method, tempering="none")
        elif method != "vb":
            found[f"{method}-compat"] = experiment(size, method, compat=True)
    for method in METHODS:
        found[f"{method}-minibatch"] = experiment(size, method, batch_size=MINIBATCH)
        found[f"{method}-minibatch-equal-time"] = experiment(size, method, batch_size=MINIBATCH, steps=EQUAL_TIME)
    return found


DOC = "variational Bayes, flows and Hamiltonian VAEs on a Gaussian model in 25 to 400 dimensions, against exact answers"
EXPERIMENTS: dict[str, Experiment] = {
    f"gaussian/d{size}/{name}": found for size in DIMENSIONS for name, found in _variants(size).items()
}
GRID = tuple(f"gaussian/d{size}/{method}" for size in DIMENSIONS for method in METHODS)
