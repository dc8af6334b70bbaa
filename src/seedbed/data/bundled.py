"""Tables that ship with scikit-learn: real data without a download."""

import warnings

import numpy as np

from seedbed.data.dataset import Dataset
from seedbed.data.own import from_arrays

_LOADERS = {"iris": "load_iris", "wine": "load_wine", "breast-cancer": "load_breast_cancer", "diabetes": "load_diabetes"}


def table(name: str, *, seed: int = 0) -> Dataset:
    """Columns of real numbers in their own units, ``[rows, columns]``, split 80 / 10 / 10, without the classes.

    The protocol names columns of few distinct values (the sex of ``diabetes``), of which a density has no bound.

    Args:
        name: ``iris`` (Fisher 1936), ``wine``, ``breast-cancer`` (UCI), or ``diabetes`` (Efron et al. 2004), unscaled.
        seed: seed of the split.
    """
    from sklearn import datasets  # slow to import, and needed here alone

    raw = {"scaled": False} if name == "diabetes" else {}
    found = getattr(datasets, _LOADERS[name])(**raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say is in the protocol
        return from_arrays(
            {"train": np.asarray(found.data)},
            name=name,
            title=f"scikit-learn {name}",
            names=[str(column) for column in found.feature_names],
            table=True,
            seed=seed,
        )
