"""The simplest models of a data set, against torch's own laws."""

import math

import pytest
import torch

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.core.units import Units
from seedbed.data.dataset import Dataset
from seedbed.distributions.likelihood import likelihood_of
from seedbed.distributions.logistic import DiscretisedLogistic
from seedbed.distributions.normal import DiagonalNormal
from seedbed.evaluate.baseline import baseline, training_output


def drawn(domain: Domain, *shape: int, scale: float = 3.0) -> Dataset:
    x = Noise([Streams(0)], "data", "baseline").normal(shape, batch=300)
    x = (x > 0.3).float() if domain == BINARY else scale * x + torch.arange(float(x[0].numel())).view(shape)
    splits = dict(zip(("train", "valid", "test"), x.split([200, 50, 50]), strict=True))
    return Dataset(name="drawn", domain=domain, protocol="", splits=splits)


@pytest.mark.parametrize("scale", [0.02, 3.0, 500.0])
@pytest.mark.parametrize("shape", [(4,), (2, 3, 5)])
def test_independent_normals_are_torchs(shape, scale):
    data = drawn(REAL, *shape, scale=scale)
    train, valid = data.splits["train"][:].double(), data.splits["valid"][:].double()
    theirs = torch.distributions.Normal(train.mean(0), train.std(0, correction=0))
    assert baseline(data) == pytest.approx(-theirs.log_prob(valid).flatten(1).sum(1).mean().item(), rel=1e-9)
    raw = training_output(data)
    assert raw.shape == (2 * shape[0], *shape[1:])
    law = DiagonalNormal.from_raw(raw, len(shape))  # through the soft clamp of a decoder's log-scale
    assert torch.allclose(law.mean.double(), theirs.mean, rtol=1e-5, atol=1e-5)
    assert torch.allclose(law.scale.double(), theirs.stddev, rtol=1e-4)
    assert training_output(data) is raw  # one pass over the data, whoever asks


def test_a_constant_component_has_a_density():
    data = drawn(REAL, 3)
    still = {name: torch.cat([source[:], torch.ones(len(source), 1)], 1) for name, source in data.splits.items()}
    of = Dataset(name="still", domain=REAL, protocol="", splits=still)
    found = baseline(of)
    assert found is not None and abs(found) < 100
    assert DiagonalNormal.from_raw(training_output(of)).scale[-1] == pytest.approx(math.exp(-0.99 * 7), rel=1e-3)


def test_levels_are_logistics_of_the_training_moments():
    x = Noise([Streams(0)], "data", "levels").uniform((2, 3), batch=300).mul(17).floor().clamp(max=16)
    x[:, 0, 0] = 4  # a component that never changes still has a density of other values
    splits = dict(zip(("train", "valid", "test"), x.split([200, 50, 50]), strict=True))
    data = Dataset(name="grey", domain=Domain("levels", 17), protocol="", splits=splits)
    law = likelihood_of(data.domain).build(training_output(data), 2)
    assert isinstance(law, DiscretisedLogistic)
    shown = splits["train"].double() / 8 - 1
    assert torch.allclose(law.location.double(), shown.mean(0), atol=1e-5)
    deviation = (shown.var(0, correction=0) + (1 / 8) ** 2).sqrt()
    assert torch.allclose(law.log_scale.exp().double() * math.pi / math.sqrt(3), deviation, rtol=1e-4)
    assert baseline(data) == pytest.approx(-law.log_prob(splits["valid"]).mean().item(), rel=1e-5)


def test_tokens_have_none():
    data = Dataset(
        name="text", domain=Domain("tokens", 4), protocol="", splits=dict.fromkeys(("train", "valid"), torch.ones(3, 2))
    )
    assert baseline(data) is None
    with pytest.raises(SeedbedError, match=r"text is tokens\[4\] data, which no likelihood scores; set --output-bias none"):
        training_output(data)


def test_of_data_with_units_it_is_that_of_the_data_as_they_are():
    """A deviation of 5000, which no network returns, is one of the units."""
    data = drawn(REAL, 4, scale=5000.0)
    location, scale = torch.tensor([3.0, -1.0, 0.0, 7.0]), torch.tensor([5000.0, 4000.0, 50.0, 6000.0])
    given = Dataset(name="", domain=REAL, protocol="", splits=dict(data.splits), units=Units(location, scale))
    train, valid = data.splits["train"][:].double(), data.splits["valid"][:].double()
    theirs = torch.distributions.Normal(train.mean(0), train.std(0, correction=0))
    found = baseline(given)
    assert found is not None and found == pytest.approx(-theirs.log_prob(valid).sum(1).mean().item(), abs=1e-3)
