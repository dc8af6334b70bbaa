"""Grey images in every binarisation, on levels made up here."""

import pytest
import torch

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.noise import Noise, Streams
from seedbed.data.images import grey_images

LEVELS = torch.arange(256.0).view(16, 1, 4, 4)
SPLITS = {"train": LEVELS, "valid": torch.full((600, 1, 4, 4), 102.0), "test": torch.full((600, 1, 4, 4), 102.0)}


def images(binarise, threshold=0.5, **changed):
    return grey_images("grey", "Levels", "levels", SPLITS | changed, "as made", binarise=binarise, threshold=threshold)


def test_levels_stay_levels():
    data = images("none")
    assert (data.domain, data.view, data.refresh) == (Domain("levels", 256), None, "batch")
    assert torch.equal(data.splits["train"][:], LEVELS) and data.protocol == "Levels, grey levels 0..255; as made"


@pytest.mark.parametrize(("threshold", "least"), [(0.5, 128), (0.4375, 112)])
def test_a_threshold_is_above_that_share_of_255(threshold, least):
    data = images("threshold", threshold=threshold)
    assert (data.domain, data.view, data.refresh) == (BINARY, None, "batch")
    assert data.splits["train"][:].flatten().tolist() == [0.0] * least + [1.0] * (256 - least)
    assert not data.splits["valid"][:].any() and f"grey > {least - 1}" in data.protocol


def test_shares_are_real_numbers_from_0_to_1():
    data = images("share")
    assert (data.domain, data.view, data.refresh) == (REAL, None, "batch")
    assert torch.equal(data.splits["train"][:], LEVELS / 255) and data.splits["valid"][:].unique().tolist() == [
        pytest.approx(0.4)
    ]


@pytest.mark.parametrize(("binarise", "refresh"), [("batch", "batch"), ("epoch", "epoch")])
def test_bernoulli_draws_have_the_levels_share_of_255(binarise, refresh):
    data = images(binarise)
    assert (data.domain, data.refresh, data.shape) == (BINARY, refresh, (1, 4, 4))
    assert torch.equal(data.splits["train"][:], LEVELS / 255) and data.splits["train"][:].max() == 1
    assert data.view is not None
    seen = torch.stack([data.view(data.splits["train"][:], Noise([Streams(0)], "order", step)) for step in range(400)])
    p = LEVELS / 255
    assert ((seen.mean(0) - p).abs() <= 4.5 * (p * (1 - p) / 400).sqrt()).all()


def test_held_out_draws_are_drawn_once_and_apart():
    by_batch, by_epoch = ({k: x[:] for k, x in images(how).splits.items()} for how in ("batch", "epoch"))
    for split in ("valid", "test"):
        assert torch.equal(by_batch[split], by_epoch[split]) and set(by_batch[split].unique().tolist()) == {0.0, 1.0}
        p = torch.full((600, 1, 4, 4), 102 / 255)
        assert torch.equal(by_batch[split], Noise([Streams(0)], "eval", "levels", split).bernoulli(p))  # in whatever pieces
        assert abs(by_batch[split].mean() - 0.4) < 4.5 * (0.24 / 9600) ** 0.5
    assert abs((by_batch["valid"] == by_batch["test"]).float().mean() - 0.52) < 4.5 * (0.25 / 9600) ** 0.5  # .4^2 + .6^2
