"""What bits tell, against sums over every setting of every bit."""

import itertools
import math

import pytest
import torch

from seedbed.core.context import Context
from seedbed.core.domain import BINARY
from seedbed.core.metric import DEAD_BELOW
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.bits import BitsMeasure, bits_use, divergence, information
from seedbed.models.symmetric import SymmetricVAE
from seedbed.models.vae import VAE

EVERY_X = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
EVERY_Z = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)[:, None]
Z = {"z1": EVERY_Z[..., :1].expand(-1, 8, -1), "z2": EVERY_Z[..., 1:].expand(-1, 8, -1)}
DATA = torch.tensor([5, 1, 1, 3, 4, 1, 3, 2])  # how often each x is met, of 20
REPEATS = 100
each_encoder = pytest.mark.parametrize("encoder", ["ladder", "reverse"])


def small(encoder, seed=0):
    model = SymmetricVAE(3, (1, 2), encoder, (4,)).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1.5 * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return model


def stack(*models):
    return Stack.of(list(models), [Streams(seed) for seed in range(len(models))], "fp64")


def examples():
    return EVERY_X.repeat_interleave(DATA, 0).repeat(REPEATS, 1)


def entropy(p):
    return -(p * p.log()).sum()


def test_information_is_that_of_a_bit_and_the_example_it_is_drawn_for():
    p = torch.tensor([[0.9, 0.5, 1.0, 0.2], [0.2, 0.5, 0.0, 0.2]], dtype=torch.float64)
    joint = 0.5 * torch.stack([p, 1 - p])  # [bit, example, which]
    for unit in range(4):
        together = joint[:, :, unit].clamp(min=1e-300)
        expected = entropy(together.sum(1)) + entropy(together.sum(0)) - entropy(together)
        assert float(information(p)[unit]) == pytest.approx(float(expected), abs=1e-12)
    assert information(p)[1] == 0 == information(p)[3]
    assert float(information(p)[2]) == pytest.approx(math.log(2))


def test_divergence_of_bits():
    p, q = torch.tensor([0.3, 0.0, 1.0]), torch.tensor([0.6, 0.5, 0.25])
    expected = [0.3 * math.log(0.3 / 0.6) + 0.7 * math.log(0.7 / 0.4), math.log(2), math.log(4)]
    assert divergence(p, q).tolist() == pytest.approx(expected, rel=1e-6)


@each_encoder
def test_what_bits_tell_and_the_average_posterior_by_every_setting(encoder):
    first, second = small(encoder), small(encoder, 1)
    found = bits_use(stack(first, second), examples(), "test", 1000)
    share = DATA.double() / DATA.sum()
    for row, model in enumerate((first, second)):
        with torch.no_grad():
            log_q = model.log_posterior(EVERY_X, Z, Context.of(0))  # [z, x]
            log_p = model.joint(EVERY_X, Z, Context.of(0)).logsumexp(1)  # [z]
        q = (log_q.exp() * share).sum(1)
        truth = {
            "aggregate_kl_nats": (q * (q.log() - log_p)).sum(),
            "rate_nats": (log_q.exp() * share * (log_q - log_p[:, None])).sum(),
            "marginals_kl_nats": sum(
                divergence(q[one].sum(), log_p.exp()[one].sum()) for one in (EVERY_Z[:, 0] == 1).unbind(1)
            ),
        }
        for name, exact in truth.items():
            value = found.totals[name][0][row].double()
            # Of one number the draws of the bits are the error: 2,000 of them.
            error = value.std() / len(value) ** 0.5 if len(value) > 1 else 0.05 * exact
            assert abs(value.mean() - exact) < 5 * error + 0.004, name
    # The first layer that q draws depends on x alone: what its bits tell is exact, draws or none.
    name, first_bits = ("z1", slice(0, 1)) if encoder == "ladder" else ("z2", slice(1, 3))
    with torch.no_grad():
        q = first.log_posterior(EVERY_X, Z, Context.of(0)).exp()
    p = torch.stack([(q * EVERY_Z[..., bit]).sum(0) for bit in range(3)], 1)[:, first_bits]
    exact = information(p.repeat_interleave(DATA, 0))
    assert found.totals[f"information_{name}_nats"][0][0].tolist() == pytest.approx([float(exact.sum())])
    units = [found.units[f"information_{name}_{i}_nats"][0][0, 0] for i in range(len(exact))]
    assert torch.stack(units).tolist() == pytest.approx(exact.tolist())
    assert found.totals[f"dead_bits_{name}"][0][0].tolist() == [float((exact < DEAD_BELOW).sum())]


@each_encoder
def test_an_average_over_some_examples_is_of_all_parts_of_a_split(encoder):
    """It is the KL of their own average from the prior, by every setting; they are a sample of a split that is in order."""
    model = small(encoder)
    with torch.no_grad():
        log_q = model.log_posterior(EVERY_X, Z, Context.of(0))
        log_p = model.joint(EVERY_X, Z, Context.of(0)).logsumexp(1)
    kl = lambda share: float(((q := (log_q.exp() * share).sum(1)) * (q.log() - log_p)).sum())
    x = EVERY_X.repeat_interleave(50, 0)  # in order: the first examples are all alike
    for mixed in (7, 201, 399):
        found = bits_use(stack(model), x, "test", mixed).totals["aggregate_kl_nats"][0][0].double()
        rows = torch.arange(mixed) * 400 // mixed // 50
        exact = kl(torch.bincount(rows, minlength=8).double() / mixed)
        assert len(found) == mixed and abs(found.mean() - exact) < 5 * found.std() / mixed**0.5


def test_a_ladders_second_layer_tells_of_the_first_where_the_rate_is_none():
    model = small("ladder")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("encoder", "decoder.out")):
                parameter.zero_()
    found = bits_use(stack(model), examples(), "test", 100)
    assert float(found.totals["rate_nats"][0].abs().max()) == pytest.approx(0, abs=1e-9)
    assert float(found.totals["information_z1_nats"][0]) == pytest.approx(0, abs=1e-9)
    assert float(found.totals["information_z2_nats"][0]) > 0.1 and float(found.totals["dead_bits_z1"][0]) == 1


@each_encoder
def test_what_all_bits_tell_added_up_is_no_less_than_their_mutual_information(encoder):
    share = DATA.double() / DATA.sum()
    for seed in range(4):
        model = small(encoder, seed)
        with torch.no_grad():
            log_q = model.log_posterior(EVERY_X, Z, Context.of(0))
        weights = log_q.exp() * share
        exact = (weights * (log_q - weights.sum(1, keepdim=True).log())).sum()
        assert float(bits_use(stack(model), examples(), "test", 10).totals["information_nats"][0]) > exact - 0.01


def test_under_the_model_the_layers_above_feed_a_bit():
    model = small("ladder")
    found = bits_use(stack(model), examples(), "test", 50)
    with torch.no_grad():
        p = model.decoder.steps[0](torch.tensor([[0.0], [1.0]], dtype=torch.float64)).sigmoid()
    exact = information(p)  # z1 is a fair coin
    for bit in range(2):
        value = float(found.units[f"fed_z2_{bit}_nats"][0])
        assert value == pytest.approx(float(exact[bit]), abs=5 * 0.7 / 2000**0.5 * float(exact[bit]) + 1e-3)
    assert float(found.units["fed_z1_0_nats"][0]) == 0


def test_at_the_trivial_pair_no_bit_tells_anything():
    model = small("ladder")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("encoder", "decoder.out", "decoder.steps")):
                parameter.zero_()
    found = bits_use(stack(model), examples(), "test", 100)
    assert float(found.totals["information_nats"][0]) == pytest.approx(0, abs=1e-9)
    assert float(found.totals["rate_nats"][0].abs().max()) == pytest.approx(0, abs=1e-9)
    assert float(found.totals["aggregate_kl_nats"][0].abs().max()) == pytest.approx(0, abs=1e-9)
    assert [float(found.totals[f"dead_bits_{name}"][0]) for name in ("z1", "z2")] == [1, 2]


@each_encoder
def test_the_measure_has_the_bound_and_the_losses_of_both_players(encoder):
    model, x = small(encoder), examples()
    data = Dataset(name="x", domain=BINARY, protocol="", splits={"train": x, "valid": x, "test": x})
    found = BitsMeasure(data)(stack(model), "valid")
    share = DATA.double() / DATA.sum()
    with torch.no_grad():
        log_q, joint = model.log_posterior(EVERY_X, Z, Context.of(0)), model.joint(EVERY_X, Z, Context.of(0))
    exact = {
        "neg_elbo_nats": (log_q.exp() * share * (log_q - joint)).sum(),
        "encoder_loss_nats": -(joint.exp() * log_q).sum(),
    }
    for name, truth in exact.items():
        value = found[name][0][0].double()
        assert abs(value.mean() - truth) < 5 * value.std() / len(value) ** 0.5, name
    assert float(found["information_nats"][0]) == pytest.approx(
        sum(float(found[f"information_{name}_nats"][0]) for name in ("z1", "z2"))
    )


def test_of_latents_that_are_no_bits_there_is_nothing_to_measure():
    from seedbed.evaluate.estimators import offered

    real = Stack.of([VAE(3, 2, (4,))], [Streams(0)])
    assert "bits" not in offered(real, EVERY_X.float())
    assert "bits" in offered(stack(small("ladder")), EVERY_X)
