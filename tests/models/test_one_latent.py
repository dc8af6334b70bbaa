"""One latent for a whole data set: bounds of every posterior against their closed forms, weights against the evidence."""

import math

import pytest
import torch
from torch import Tensor

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.data.gaussian_sets import Statistics, gaussian_set
from seedbed.evaluate.gaussian_sets import hamiltonian_bound
from seedbed.models.gaussian_sets import log_evidence, posterior, variational_bound
from seedbed.models.one_latent import OneLatent
from seedbed.models.tempered import TemperedLeapfrog
from seedbed.objectives.one_latent import BoundOfSet

Z = 4.5  # standard errors
D, N = 3, 5
DATA = gaussian_set(Streams(2), D, N).statistics
CASES = {
    "vb": {},
    "iaf": {"masked_hidden": (8,)},
    "planar": {"flows": 2, "tied": False},
    "planar tied": {"flows": 3},
    "hvae": {"count": 1},
    "hvae prior": {"count": 3, "start": "prior", "tempering": "free"},
    "hvae untempered": {"count": 2, "tempering": "none"},
}


def model(case: str, compat: bool = False, scale: float = 0.2) -> OneLatent:
    """In float64, near the posterior of its parameters but at no special place."""
    options = dict(CASES[case])
    count, tempering = options.pop("count", 0), options.pop("tempering", "fixed")
    leapfrog = TemperedLeapfrog(D, count, tempering, 2.0, 0.15, 0.5, "layer") if count else None
    torch.manual_seed(0)
    found = OneLatent(D, N, case.split()[0], leapfrog, compat=compat, **options).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        found.log_sigma.fill_(0.1)
        found.centre.copy_(DATA.mean)
        if found.learned and found.name != "planar":
            found.log_scale.fill_(-0.7)
        for parameter in found.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return found


def context(address: str = "x") -> Context:
    return Context(Noise([Streams(0)], "eval", address, dtype=torch.float64))


def weights(found: OneLatent, samples: int) -> Tensor:
    with torch.no_grad():
        return found.log_weights(DATA, context(), samples)


@pytest.mark.parametrize("case", CASES)
def test_weights_average_to_the_evidence(case):
    found = model(case)
    w = (weights(found, 200_000) - log_evidence(DATA, found.delta, found.log_sigma).detach()).exp()
    error = w.std() / len(w) ** 0.5
    assert error < 0.03 and abs(w.mean() - 1) < Z * error


@pytest.mark.parametrize("compat", [False, True])
def test_variational_bayes_has_the_closed_bound(compat):
    found = model("vb", compat)
    log_w = weights(found, 40_000)
    law = found.start()
    exact = variational_bound(DATA, found.delta, found.log_sigma, law.mean, law.log_scale, compat=compat)
    assert abs(log_w.mean() - exact) < Z * log_w.std() / len(log_w) ** 0.5


@pytest.mark.parametrize("case", ["hvae", "hvae prior", "hvae untempered"])
def test_a_leapfrog_has_the_exact_bound_of_its_linear_map(case):
    found = model(case)
    log_w, law, walk = weights(found, 40_000), found.start(), found.leapfrog
    given = walk.step_sizes, walk.factors
    exact = hamiltonian_bound(DATA, found.delta, found.log_sigma, *given, mean=law.mean, log_scale=law.log_scale)
    assert abs(log_w.mean() - exact) < Z * log_w.std() / len(log_w) ** 0.5


def test_at_the_true_posterior_every_draw_weighs_the_evidence():
    found = model("vb")
    with torch.no_grad():
        truth = posterior(DATA, found.delta, found.log_sigma)
        delta = found.delta.clone()
        found.mean.copy_(truth.mean)
        found.centre.copy_(delta + truth.mean)
        found.log_scale.copy_(truth.log_scale)
    torch.testing.assert_close(weights(found, 50), log_evidence(DATA, found.delta, found.log_sigma).detach().expand(50))


def test_in_its_coordinates_the_mean_feels_the_prior_alone():
    found = model("vb")
    bound = variational_bound(DATA, found.delta, found.log_sigma, found.mean, found.log_scale)
    mean, centre = torch.autograd.grad(bound, [found.mean, found.centre])
    torch.testing.assert_close(mean, -found.mean)
    pull = N * (DATA.mean - found.centre) * (-2 * found.log_sigma).exp()
    torch.testing.assert_close(centre, pull)


def test_the_utility_is_the_mean_bound_of_an_example():
    found, batch = model("vb"), {"mean": DATA.mean[None], "scatter": DATA.scatter[None]}
    terms = BoundOfSet(7)(found, batch, context())
    torch.testing.assert_close(terms.value, found.log_weights(DATA, context(), 7).mean(0, keepdim=True) / N)
    assert terms.value.shape == (1,) and terms.parts["elbo"] is terms.value


def test_a_tied_map_is_applied_again_and_again():
    found = model("planar tied")
    (one,) = found.maps
    z = torch.randn(4, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    thrice = one(one(one(z)[0])[0])[0] + found.mean
    y = z
    for transform, given in found.steps():
        y = transform(y, given)[0]
    torch.testing.assert_close(y, thrice)
    back, log_det = found.shift.inverse(y, found.mean)
    torch.testing.assert_close(back + found.mean, y)
    assert log_det == 0 and found.shift(z)[0] is z and found.shift.inverse(z)[0] is z


def test_examples_of_one_draw_share_their_latent():
    found = model("vb")
    x = torch.stack([found.sample(400, context(str(i))) for i in range(400)])
    sigma, within = found.log_sigma.exp(), x.var(1)
    assert ((within.mean(0) / sigma**2 - 1).abs() < Z * math.sqrt(2 / (400 * 399))).all()
    between = x.mean(1).var(0) - sigma**2 / 400  # of z
    assert ((between - 1).abs() < Z * math.sqrt(2 / 399)).all()
    assert ((x.mean((0, 1)) - found.delta).abs() < Z / 20 * 1.1).all()


def test_what_it_starts_from():
    found = OneLatent(D, N)
    assert (found.delta == 0).all() and (found.log_sigma == 3).all() and (found.log_scale == 1).all()
    assert (OneLatent(D, N, "planar", flows=2).start().scale == 1).all()
    walk = TemperedLeapfrog(D, 1)
    assert not OneLatent(D, N, "hvae", walk, "prior").learned and OneLatent(D, N, "hvae", walk).learned


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"posterior": "mean-field"}, "unknown posterior"),
        ({"posterior": "hvae"}, "expected one leapfrog step or more in 3 dimensions, got none"),
        ({"posterior": "hvae", "leapfrog": TemperedLeapfrog(2, 1)}, "got 1 steps in 2 dimensions"),
        ({"posterior": "hvae", "leapfrog": TemperedLeapfrog(D, 0)}, "got 0 steps"),
        ({"start": "middle"}, "unknown start of a leapfrog"),
    ],
)
def test_what_does_not_go_together_is_refused(options, says):
    with pytest.raises(SeedbedError, match=says):
        OneLatent(D, N, **options)


def test_statistics_of_another_dimension_are_refused():
    with pytest.raises(SeedbedError, match="3"):
        model("vb").log_joint(Statistics(N, torch.zeros(2), torch.ones(2)), torch.zeros(D))
