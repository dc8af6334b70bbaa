"""The gap to a known density in closed form, on whichever split and by whichever loss; pictures of densities."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from seedbed.core.capabilities import HasLogProb, HasSample
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.data.toy_densities import NoisyCurve
from seedbed.distributions.likelihood import likelihood_of
from seedbed.evaluate.density import DensityMeasure, elbo_loss, elbo_sample_loss, nll
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.evaluate.pictures.points import point_artefacts, point_reference
from seedbed.models.vae import VAE

Z = 4.0  # standard errors: about ten comparisons in this file
N = 4000
MEANS = torch.tensor([[0.0, 0.0], [0.7, -0.2], [-1.5, 1.0]], dtype=torch.float64)
SCALES = torch.tensor([[1.0, 1.0], [1.3, 0.6], [0.9, 2.0]], dtype=torch.float64)


class Gaussian(nn.Module, HasLogProb, HasSample):
    """N(mean, diag(scale)^2), by numbers of torch's own."""

    def __init__(self, mean, scale):
        super().__init__()
        self.mean, self.scale = nn.Parameter(mean.clone()), nn.Parameter(scale.clone())

    def log_prob(self, x, ctx):
        return torch.distributions.Normal(self.mean, self.scale, validate_args=False).log_prob(x).sum(-1)

    def sample(self, count, ctx):
        return self.mean + self.scale * ctx.noise.normal((2,), batch=count)


class Even(nn.Module, HasLogProb):
    """Every level as likely as any other, exactly."""

    domain = Domain("levels", 8)

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(8))

    def log_prob(self, x, ctx):
        return self.logits.log_softmax(0)[x.long()].sum(-1)


def gaussians():
    return Stack.of([Gaussian(m, s) for m, s in zip(MEANS, SCALES, strict=True)], [Streams(i) for i in range(3)], "fp64")


def dataset(log_density, **splits):
    splits = {"train": torch.zeros(1, *next(iter(splits.values())).shape[1:]), **splits}
    return Dataset(name="known", domain=REAL, protocol="drawn from it", splits=splits, log_density=log_density)


def standard(number, n=N, features=2):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


def log_standard(x):
    return torch.from_numpy(stats.norm.logpdf(x.numpy()).sum(-1))


def test_the_gap_is_the_kl_from_the_truth_to_the_model_and_nothing_for_the_truth_itself():
    data = dataset(log_standard, valid=standard(0), test=standard(1))
    gap, unit = DensityMeasure(data, nll, "nll_nats")(gaussians(), "test")["gap_nats"]
    assert gap.shape == (3, N) and gap.dtype == torch.float64 and unit == "nats"
    assert gap[0].abs().max() < 1e-12
    kl = (SCALES.log() + (1 + MEANS.square()) / (2 * SCALES.square()) - 0.5).sum(-1)
    se = gap.std(1) / N**0.5
    assert ((gap.mean(1) - kl).abs()[1:] < Z * se[1:]).all() and (se < 0.1).all()
    x = data.splits["test"][:].numpy()
    for row in range(3):
        theirs = stats.norm.logpdf(x, MEANS[row].numpy(), SCALES[row].numpy()).sum(-1)
        expected = stats.norm.logpdf(x).sum(-1) - theirs
        np.testing.assert_allclose(gap[row].numpy(), expected, rtol=0, atol=1e-10)


def test_the_gap_is_taken_on_the_points_of_its_split_by_the_loss_that_selects():
    data = dataset(log_standard, valid=standard(0), test=standard(1))

    def losses(model, x, ctx):
        exact = -model.log_prob(x, ctx)
        return {"other_nats": exact - 5.0, "nll_nats": exact}

    measure, stack = DensityMeasure(data, losses, "nll_nats"), gaussians()
    for split in ("valid", "test", "valid"):  # the second time from memory
        found = measure(stack, split)
        exact = log_standard(data.splits[split][:])
        assert torch.allclose(found["gap_nats"][0], exact + found["nll_nats"][0], atol=1e-12), split
        assert found["gap_nats"][0][0].abs().max() < 1e-12, split
    assert set(found) == {"other_nats", "nll_nats", "gap_nats"}
    assert set(DensityMeasure(dataset(None, test=standard(1)), nll, "nll_nats")(stack, "test")) == {"nll_nats"}


@pytest.mark.parametrize("estimator", [elbo_loss, elbo_sample_loss])
def test_the_gap_of_a_bound_is_the_kl_of_the_model_and_that_of_its_posterior(estimator, linear_gaussian):
    truth, _ = linear_gaussian()
    model, stack = linear_gaussian(0.4, 0.3)  # p(x) is the truth; q is not the posterior
    root = torch.linalg.cholesky(truth.weight @ truth.weight.mT + (2 * truth.log_s).exp() * torch.eye(3).double()).detach()
    data = dataset(truth.log_marginal, test=standard(2, features=3) @ root.mT)
    # KL(N(m + shift, (e^widen s)^2) || N(m, s^2)) of two units.
    precision = 1 + model.weight.detach().square().sum(0) * (-2 * model.log_s.detach()).exp()
    loose = 0.5 * (math.exp(0.6) + 0.4**2 * precision - 1 - 0.6).sum()
    found = DensityMeasure(data, estimator, "neg_elbo_nats")(stack, "test")
    gap, kl = found["gap_nats"][0][0], found["kl_nats"][0][0]
    se = gap.std() / N**0.5
    assert abs(gap.mean() - loose) < Z * se < 0.2 * loose
    # E KL(q || p(z)) of one unit, var m = 1 - 1 / precision: what the bound pays for its latents.
    mean = (1 - 1 / precision + 0.4**2 + math.exp(0.6) / precision - 1 - (0.6 - precision.log())).sum() / 2
    assert abs(kl.mean() - mean) < Z * kl.std() / N**0.5
    exact, (_, stack) = (-truth.log_marginal(data.splits["test"][:])), linear_gaussian()
    tight = DensityMeasure(data, elbo_sample_loss, "neg_elbo_nats")(stack, "test")
    assert tight["gap_nats"][0].abs().max() < 1e-10 and torch.allclose(tight["neg_elbo_nats"][0][0], exact)


def test_a_toy_sets_truth_is_the_mixture_that_it_is_drawn_from():
    """Through the data's own density, of single-precision points as they are stored, with a model in single precision."""
    curve = NoisyCurve(lambda u: torch.stack(((u < 0.5) * 4.0 - 2, 0 * u), -1), 0.5, 2)

    class Two(nn.Module, HasLogProb):
        def __init__(self):
            super().__init__()
            self.centre = nn.Parameter(torch.tensor([2.0, 0.0]))

        def log_prob(self, x, ctx):
            sides = [torch.distributions.Normal(s * self.centre, 0.5).log_prob(x).sum(-1) for s in (1, -1)]
            return torch.stack(sides).logsumexp(0) - math.log(2)

    data = dataset(curve.log_density, test=curve.sample(N, torch.Generator().manual_seed(0)))
    gap = DensityMeasure(data, nll, "nll_nats")(Stack.of([Two()], [Streams(0)]), "test")["gap_nats"][0]
    assert gap.dtype == torch.float64 and gap.abs().max() < 1e-4


def test_pictures_of_other_points_show_what_they_take_up():
    """Each axis has a scale of its own: dollars by the thousand beside shares of one."""
    x = standard(2)[:200] * torch.tensor([3e4, 0.2]) + torch.tensor([1e5, 0.5])
    splits = {"train": x[:150], "test": x[150:]}
    data = Dataset(name="far", domain=REAL, protocol="", splits=splits)
    extent = point_reference(data)["extent"]
    low, high = x.amin(0), x.amax(0)
    assert torch.allclose(torch.tensor(extent[:, 0]), low - 0.05 * (high - low))
    assert torch.allclose(torch.tensor(extent[:, 1]), high + 0.05 * (high - low))
    found = point_artefacts(data)(gaussians())["density"]["log_q"]
    axes = [np.linspace(*ends, 120) for ends in extent]
    each = [stats.norm.logpdf(axis, MEANS[0, i].item(), SCALES[0, i].item()) for i, axis in enumerate(axes)]
    np.testing.assert_allclose(found[0], each[1][:, None] + each[0], rtol=1e-4)


def test_pictures_of_densities_have_rows_of_y_from_below():
    stack, data = gaussians(), dataset(log_standard, test=standard(1))
    model, truth = point_artefacts(data)(stack), point_reference(data)
    axis = np.linspace(-4.5, 4.5, 120)
    for row in range(3):
        each = [stats.norm.logpdf(axis, MEANS[row, i].item(), SCALES[row, i].item()) for i in (0, 1)]
        np.testing.assert_allclose(model["density"]["log_q"][row], each[1][:, None] + each[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(truth["log_p"], model["density"]["log_q"][0], rtol=1e-5, atol=1e-5)
    assert truth["extent"].tolist() == [-4.5, 4.5] and model["samples"]["x"].shape == (3, 4000, 2)
    np.testing.assert_array_equal(truth["x"], standard(1)[:4000].numpy())


def test_losses_of_levels_are_also_bits_of_each_number():
    """Of an untrained model that says every level is as likely: log2 L. Of densities and of bits there are none."""
    data = Dataset(
        name="levels",
        domain=Domain("levels", 8),
        protocol="",
        splits={"train": torch.zeros(9, 3), "test": torch.ones(70, 3)},
    )
    uniform = VAE(3, 2, (4,), likelihood_of(data.domain, "categorical"))
    with torch.no_grad():
        for parameter in uniform.parameters():
            parameter.zero_()
    stack = Stack.of([uniform], [Streams(0)])
    found = DensityMeasure(data, elbo_loss, "neg_elbo_nats")(stack, "test")
    values, unit = found["bits_per_dim"]
    assert unit == "bits" and values.shape == (1, 70) and torch.allclose(values, torch.full((1, 70), 3.0))
    assert torch.allclose(found["neg_elbo_nats"][0], torch.full((1, 70), 3 * math.log(8)))
    sampled = importance_sampling(stack, data.splits["test"], "test", 7)
    assert torch.allclose(sampled["nll_bits_per_dim"][0].float(), torch.full((1, 70), 3.0)) and "bits_per_dim" not in sampled
    exact = DensityMeasure(data, nll, "nll_nats")(Stack.of([Even()], [Streams(0)]), "test")
    assert torch.allclose(exact["bits_per_dim"][0], torch.full((1, 70), 3.0))
    # A loss of somebody else's in nats need not be of masses, nor one that is no bound.
    other = DensityMeasure(data, lambda model, x, ctx: {"mine": x.sum(1), **elbo_loss(model, x, ctx)}, "mine")
    assert "bits_per_dim" not in other(stack, "test")
    bits = Dataset(name="bits", domain=BINARY, protocol="", splits=data.splits)
    coins = Stack.of([VAE(3, 2, (4,), likelihood_of(BINARY))], [Streams(0)])
    assert "bits_per_dim" not in DensityMeasure(bits, elbo_loss, "neg_elbo_nats")(coins, "test")
    assert "nll_bits_per_dim" not in importance_sampling(coins, bits.splits["test"], "test", 2)
