"""What cannot fit in memory is refused before it is allocated; what fits is not."""

import numpy as np
import pytest

import seedbed
from seedbed.core.errors import SeedbedError
from seedbed.core.memory import available, check_memory
from seedbed.data import load
from seedbed.data.own import as_dataset
from seedbed.experiments import find
from seedbed.runs.memory import check_fits


def test_both_numbers_and_the_remedy_are_said():
    check_memory("a word", 1, "say less")
    with pytest.raises(SeedbedError, match=r"a book takes at least .* GiB, and .* GiB are free; write less"):
        check_memory("a book", available() * 2, "write less")


@pytest.mark.parametrize("settings", [{"hidden": 1_000_000_000}, {"latents": 1_000_000_000}])
def test_a_model_beyond_memory_leaves_no_folder(tmp_path, settings):
    with pytest.raises(SeedbedError, match=r"the model of one seed takes at least .* GiB"):
        seedbed.run("digits/digits-binary/vae", seeds=2, budget="smoke", out=tmp_path, **settings)
    assert not any(tmp_path.iterdir())


def test_usual_models_fit_and_ten_million_seeds_do_not():
    experiment = find("digits/digits-binary/vae")
    task = experiment.task(experiment.streams(range(2)))
    check_fits(task, 10, "cpu")
    with pytest.raises(SeedbedError, match="training 10000000 seeds at once takes at least"):
        check_fits(task, 10_000_000, "cpu")


def test_points_and_values_beyond_their_bounds_are_named():
    with pytest.raises(SeedbedError, match="examples of train must be at most"):
        load("8gaussians", train_size=10**12)
    values = np.random.default_rng(0).normal(size=(30, 3))
    values[4, 1] = 1e39
    with pytest.raises(SeedbedError, match=r"beyond fp32, whose largest is 3\.4e\+38 \(train, row 5, column 2\)"):
        as_dataset(values)
