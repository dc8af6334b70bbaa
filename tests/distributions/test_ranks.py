"""Events of any shape: a law of images is the law of their pixels in a row."""

import math

import pytest
import torch
from passes import at
from torch import Tensor

from seedbed.core.law import axes, kl, kl_per_unit
from seedbed.core.noise import EvalNoise, Streams
from seedbed.distributions.bernoulli import TILE, Bernoulli
from seedbed.distributions.likelihood import BERNOULLI, GAUSSIAN
from seedbed.distributions.normal import DiagonalNormal, StandardNormal

SHAPE = (2, 3, 5)
SIZE = math.prod(SHAPE)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flat(value: Tensor) -> Tensor:
    return value.flatten(-3)


def normals(*batch: int, seed: int = 0) -> tuple[DiagonalNormal, DiagonalNormal]:
    """Of images, and of their pixels in a row."""
    mean, log_scale = draw(*batch, *SHAPE, seed=seed), 0.5 * draw(*batch, *SHAPE, seed=seed + 1)
    return DiagonalNormal(mean, log_scale, 3), DiagonalNormal(flat(mean), flat(log_scale))


def coins(*batch: int, seed: int = 0) -> tuple[Bernoulli, Bernoulli]:
    logits = 3 * draw(*batch, *SHAPE, seed=seed)
    return Bernoulli(logits, 3), Bernoulli(flat(logits))


def standard(*batch: int, seed: int = 0) -> tuple[StandardNormal, StandardNormal]:
    return StandardNormal(SHAPE), StandardNormal(SIZE)


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("make", [normals, coins, standard])
@pytest.mark.parametrize("batch", [(), (4,), (3, 4)])
def test_log_probabilities_are_those_of_the_row(make, batch):
    image, row = make(*batch)
    value = draw(3, 4, *SHAPE, seed=9)
    value = (value > 0).double() if make is coins else value
    assert image.rank == 3 and row.rank == 1
    assert close(image.log_prob(value), row.log_prob(flat(value)))
    assert image.log_prob(value).shape == (3, 4)
    with torch.no_grad():
        assert close(image.log_prob(value), row.log_prob(flat(value)))
    assert torch.equal(flat(image.mean), row.mean)


@pytest.mark.parametrize("samples", [1, 2 * TILE // (2 * SIZE) + 3])  # and more than one tile of them
def test_many_samples_of_images_of_bits_are_scored_in_tiles(samples):
    image, row = coins(samples, 2)
    value = (draw(2, *SHAPE, seed=3) > 0).double()
    truth = row.log_prob(flat(value))
    with torch.no_grad():
        found = image.log_prob(value)
    assert found.shape == (samples, 2) and torch.allclose(found, truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("q", "p"), [(normals, normals), (normals, standard), (standard, normals), (coins, coins)], ids=lambda m: m.__name__
)
def test_divergences_are_those_of_the_row_and_have_a_summand_for_each_number(q, p):
    (image_q, row_q), (image_p, row_p) = q(4), p(4, seed=7)
    total, each = kl(image_q, image_p), kl_per_unit(image_q, image_p)
    assert close(total, kl(row_q, row_p)) and total.shape == (4,)
    assert each.shape == (4, *SHAPE) and close(flat(each), kl_per_unit(row_q, row_p))
    assert torch.allclose(each.sum((1, 2, 3)), total, atol=1e-12)


@pytest.mark.parametrize("make", [normals, coins])
def test_draws_are_those_of_the_row_whatever_their_axes(make):
    for batch, samples in (((4,), None), ((4,), 6), ((6, 4), None)):
        image, row = make(*batch)
        value, log_prob = image.draw(at().noise, samples)
        expected, log_expected = row.draw(at().noise, samples)
        assert value.shape == (*([] if samples is None else [samples]), *batch, *SHAPE)
        assert torch.equal(flat(value), expected)
        assert close(log_prob(), log_expected()) and torch.equal(log_prob(), image.log_prob(value))


@pytest.mark.parametrize("make", [normals, coins, standard])
def test_what_has_no_batch_draws_as_many_examples_as_are_asked_for(make):
    image, row = make()
    for batch, samples in ((None, None), (4, None), (None, 6), (4, 6)):
        value = image.draw(at().noise, samples, batch).value
        assert value.shape == (*(n for n in (samples, batch) if n is not None), *SHAPE)
        assert torch.equal(flat(value), row.draw(at().noise, samples, batch).value)


def test_an_event_of_one_number_has_no_axes():
    mean, log_scale, value = draw(4), 0.3 * draw(4, seed=1), draw(6, 4, seed=2)
    ones = [t.unsqueeze(-1) for t in (mean, log_scale, value)]
    assert close(DiagonalNormal(mean, log_scale, 0).log_prob(value), DiagonalNormal(*ones[:2]).log_prob(ones[2]))
    assert close(
        kl(DiagonalNormal(mean, log_scale, 0), StandardNormal(())), kl(DiagonalNormal(*ones[:2]), StandardNormal(1))
    )
    bits = (value > 0).double()
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert close(Bernoulli(mean, 0).log_prob(bits), Bernoulli(ones[0]).log_prob(bits.unsqueeze(-1)))
    drawn = DiagonalNormal(mean, log_scale, 0).draw(at().noise, 3).value
    assert torch.equal(drawn.unsqueeze(-1), DiagonalNormal(*ones[:2]).draw(at().noise, 3).value)


def test_products_keep_the_shape():
    (image_q, row_q), (image_p, row_p) = normals(4), normals(4, seed=7)
    image, row = image_q.product(image_p), row_q.product(row_p)
    assert image.rank == 3 and torch.equal(flat(image.mean), row.mean) and torch.equal(flat(image.scale), row.scale)


@pytest.mark.parametrize("likelihood", [GAUSSIAN, BERNOULLI])
def test_a_decoder_of_images_tells_the_parameters_apart_by_channel(likelihood):
    raw = draw(6, 4, 2 * likelihood.parameters, 3, 5)
    found = likelihood.build(raw, rank=3)
    value = (draw(4, *SHAPE, seed=1) > 0).double()
    parts = torch.cat([flat(part) for part in raw.chunk(likelihood.parameters, -3)], -1)
    assert found.mean.shape == (6, 4, *SHAPE) and found.log_prob(value).shape == (6, 4)
    assert close(found.log_prob(value), likelihood.build(parts).log_prob(flat(value)))


@pytest.mark.parametrize("make", [normals, coins, standard])
def test_draws_of_images_do_not_depend_on_the_chunk(make):
    """Cutting examples or samples, of parameters with a batch axis, with samples of their own, or with neither."""

    def drawn(law, first, first_sample, **asked) -> Tensor:
        return law.draw(EvalNoise([Streams(0)], "t", first=first, first_sample=first_sample), **asked).value

    prior = make()[0]
    own = {normals: DiagonalNormal, coins: Bernoulli}.get(make)
    whole = drawn(prior, 0, 0, samples=5, batch=100)
    assert torch.equal(drawn(prior, 50, 2, samples=2, batch=30), whole[2:4, 50:80])
    assert torch.equal(drawn(prior, 50, 0, batch=30), whole[0, 50:80])
    assert torch.equal(drawn(prior, 50, 3, samples=2), drawn(prior, 0, 0, samples=5)[3:])  # of no one example
    if own is None:
        return
    parameters = (prior.mean, prior.log_scale) if own is DiagonalNormal else (prior.logits,)

    def of(*lead: int):
        return own(*(parameter.expand(*lead, *SHAPE) for parameter in parameters), 3)

    assert torch.equal(drawn(of(100), 0, 0, samples=5), whole)
    assert torch.equal(drawn(of(30), 50, 1, samples=3), whole[1:4, 50:80])
    assert torch.equal(drawn(of(3, 30), 50, 1), whole[1:4, 50:80])


def test_axes_of_a_draw():
    assert axes((3, 4), 2, None, None) == ((3, 4), None, None)
    assert axes((3, 4), 2, 5, 6) == ((3, 4), 6, 5)
    assert axes((6, 3, 4), 2, 5, None) == ((3, 4), 6, 5)
    assert axes((6, 3, 4), 2, 5, 6) == ((3, 4), 6, 5)
    assert axes((5, 6, 3, 4), 2, None, None) == axes((5, 6, 3, 4), 2, 5, 6) == ((3, 4), 6, 5)
    assert axes((5, 6), 0, None, None) == ((), 6, 5)
    for shape, samples, batch in (((6, 3, 4), None, 7), ((5, 6, 3, 4), 2, None), ((5, 6, 3, 4), None, 7)):
        with pytest.raises(
            ValueError, match=f"asked for samples={samples}, batch={batch}; the parameters .* have"
        ) as caught:
            axes(shape, 2, samples, batch)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match=r"expected parameters \[samples, batch, \*event\] with 2 event axes, got \[9, 5, 6"
    ):
        axes((9, 5, 6, 3, 4), 2, None, None)
