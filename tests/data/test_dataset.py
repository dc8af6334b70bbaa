"""A data set knows its own bits."""

import torch

from seedbed.core.domain import REAL
from seedbed.data.dataset import Dataset

SPLITS = {split: torch.arange(6.0).view(3, 2) + first for split, first in (("train", 0), ("valid", 10), ("test", 20))}


def checksum(**changed):
    return Dataset(name="numbers", domain=REAL, protocol="", splits=SPLITS | changed).checksum()


def test_a_checksum_is_of_every_number_of_every_split():
    found = {checksum(), checksum(valid=SPLITS["test"], test=SPLITS["valid"])}
    for split, values in SPLITS.items():
        for place in range(values.numel()):
            other = values.clone()
            other.view(-1)[place] += 1e-6 * (20 + place)
            found.add(checksum(**{split: other}))
    assert len(found) == 2 + 3 * 6
    assert checksum() == checksum(test=SPLITS["test"].mT.contiguous().mT)  # and not of how they lie in memory
