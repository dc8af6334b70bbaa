"""A data set: the iris flowers that come with scikit-learn, four lengths in centimetres."""

from dataclasses import dataclass

import torch

from seedbed.core.domain import REAL
from seedbed.core.noise import Streams
from seedbed.data.dataset import Dataset
from seedbed.experiments import CouplingFlow, Data, Experiment, Likelihood, Training, option


@dataclass(frozen=True, kw_only=True)
class Iris(Data):
    """Fisher 1936: 150 flowers, split at random."""

    data: str = option("iris", "data set")

    def load(self, seed: int | None = None) -> Dataset:
        from sklearn.datasets import load_iris

        seed = self.data_seed if seed is None else seed
        x = torch.tensor(load_iris(return_X_y=True)[0], dtype=torch.float32)
        order = torch.randperm(len(x), generator=Streams(seed).generator("split", "iris"))
        parts = dict(zip(("train", "valid", "test"), x[order].split([90, 30, 30]), strict=True))
        return Dataset(name="iris", domain=REAL, protocol=f"iris, 90/30/30, data seed {seed}", splits=parts)


experiment = Experiment(Iris(), CouplingFlow(couplings=2), Likelihood(), Training(steps=100, batch_size=30))
