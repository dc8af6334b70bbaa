import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_digits

import seedbed.data
from seedbed.core.domain import BINARY, Domain
from seedbed.core.noise import Noise, Streams
from seedbed.data.digits import digits_binary_dataset, digits_dataset

SIZES = {"train": 1257, "valid": 270, "test": 270}


def test_digits_are_scikit_learns_in_another_order():
    data = digits_dataset()
    assert {name: len(x) for name, x in data.splits.items()} == SIZES
    assert (data.domain, data.shape, data.epoch_size) == (Domain("levels", 17), (1, 8, 8), 1257)
    assert all(x.dtype == torch.float32 for x in data.splits.values())
    images, labels = load_digits(return_X_y=True)
    rows = {name: zip(data.splits[name][:].flatten(1).tolist(), data.labels[name].tolist(), strict=True) for name in SIZES}
    ours = [(*x, y) for name in SIZES for x, y in rows[name]]
    theirs = [(*x, int(y)) for x, y in zip(images.tolist(), labels, strict=True)]
    assert ours != theirs
    assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize("load", [digits_dataset, digits_binary_dataset])
def test_split_follows_its_seed(load):
    before = torch.get_rng_state()
    assert load(0).checksum() == load(0).checksum() != load(1).checksum()
    assert torch.equal(before, torch.get_rng_state())


def test_binary_digits_share_the_split_of_the_grey_ones():
    grey, binary = digits_dataset(4), digits_binary_dataset(4)
    assert torch.equal(binary.splits["train"][:], grey.splits["train"][:] / 16)
    assert all(torch.equal(binary.labels[name], grey.labels[name]) for name in SIZES)
    # A pixel of value 0 is never lit, one of value 16 always.
    for name in ("valid", "test"):
        assert binary.splits[name][:][grey.splits[name][:] == 0].max() == 0
        assert binary.splits[name][:][grey.splits[name][:] == 16].min() == 1


@pytest.mark.parametrize("split", SIZES)
def test_binary_digits_are_bernoulli_draws_of_the_grey_ones(split):
    probs = digits_dataset(4).splits[split][:] / 16
    data = digits_binary_dataset(4)
    assert data.domain == BINARY
    assert data.view is not None
    noise = Noise((Streams(0),), "data", 1)
    draws = data.view(data.splits["train"][:], noise) if split == "train" else data.splits[split][:]
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    # Weighted too, so that draws of the right share at the wrong pixels fail.
    for weight in (torch.ones_like(probs), probs):
        error = ((draws - probs) * weight).double().sum()
        se = (probs * (1 - probs) * weight**2).double().sum().sqrt()
        assert abs(float(error / se)) < norm.isf(0.001 / 2 / 6)


def test_validation_and_test_are_drawn_apart():
    """Draws at one address would fall on the same side of their probabilities: independent ones have covariance 0."""
    grey, data = digits_dataset(4), digits_binary_dataset(4)
    p, q = (grey.splits[name][:].double() / 16 for name in ("valid", "test"))
    x, y = (data.splits[name][:].double() for name in ("valid", "test"))
    other = digits_binary_dataset(5)
    r, z = digits_dataset(5).splits["test"][:].double() / 16, other.splits["test"][:].double()
    for (mean_a, a), (mean_b, b) in (((p, x), (q, y)), ((p, x), (r, z)), ((q, y), (r, z))):
        se = (mean_a * (1 - mean_a) * mean_b * (1 - mean_b)).sum().sqrt()
        assert abs(float(((a - mean_a) * (b - mean_b)).sum() / se)) < norm.isf(0.001 / 2 / 3)


def test_training_draws_are_new_for_every_batch():
    data = digits_binary_dataset()
    assert data.view is not None
    batch = data.splits["train"][:32]
    first, second = (data.view(batch, Noise((Streams(0),), "data", step)) for step in (1, 2))
    assert not torch.equal(first, second)
    assert torch.equal(first, data.view(batch, Noise((Streams(0),), "data", 1)))


def test_digits_are_registered():
    assert seedbed.data.load("digits", seed=1).checksum() == digits_dataset(1).checksum()
    assert seedbed.data.load("digits-binary", seed=1).checksum() == digits_binary_dataset(1).checksum()
