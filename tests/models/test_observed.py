"""VAEs with an observation model that was chosen: what is shared, what is drawn, and what a fixed variance amounts to."""

import pytest
import torch
from passes import at
from torch import Tensor
from torch.func import functional_call, grad

from seedbed.core.domain import REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.distributions.likelihood import Likelihood, likelihood_of
from seedbed.distributions.scale import Scale
from seedbed.evaluate.baseline import start_of
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.experiments import find
from seedbed.experiments.models import VAE as DeclaredVAE
from seedbed.models.conv_vae import ConvVAE
from seedbed.models.iwae import BottomUpVAE
from seedbed.models.observed import Observed
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import beta, elbo, elbo_kl, iwae

LEVELS = Domain("levels", 8)
CHOICES = {
    "gaussian": likelihood_of(LEVELS, "gaussian"),
    "shared gaussian": likelihood_of(LEVELS, "gaussian", scale=Scale("shared", start=0.4)),
    "shared logistic": likelihood_of(LEVELS, "logistic", scale=Scale("shared", 0.1, 0.4)),
    "fixed logistic": likelihood_of(LEVELS, "logistic", scale=Scale("fixed", start=0.4)),
    "mixture": likelihood_of(LEVELS, "logistic-mixture", mixtures=2),
    "categorical": likelihood_of(LEVELS, "categorical"),
}
PAGE = (1, 28, 28)


def levels(*shape: int, count: int = 5) -> Tensor:
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (8 * x).floor()


def models(likelihood: Likelihood):
    torch.manual_seed(0)
    yield VAE((3, 2, 2), 2, (4,), likelihood).double(), levels(3, 2, 2)
    yield BottomUpVAE((1, 2, 3), (3, 2), ((4,), (4,)), likelihood).double(), levels(1, 2, 3)
    yield ConvVAE(PAGE, 2, likelihood).double(), levels(*PAGE, count=2)


@pytest.mark.parametrize("name", CHOICES)
def test_a_gradient_reaches_every_parameter_and_draws_are_levels(name):
    for model, x in models(CHOICES[name]):
        utility = iwae(2)(model, x, at("a")).value.sum()
        for parameter, slope in zip(
            dict(model.named_parameters()), torch.autograd.grad(utility, [*model.parameters()]), strict=True
        ):
            assert bool(slope.isfinite().all()) and bool(slope.abs().sum() > 0), parameter
        assert ("observed.log_scale" in dict(model.named_parameters())) == name.startswith("shared")
        drawn = model.sample(4, at("b"))
        assert drawn.shape == (4, *x.shape[1:]) and set(drawn.unique().tolist()) <= set(range(8))


def test_a_shared_scale_is_best_at_the_mean_squared_error():
    """d/ds sum log N(x; m, s^2) = 0 where s^2 is the mean of (x - m)^2 over examples and numbers."""
    mean, x = levels(6), levels(6).flip(0)
    s = (x - mean).square().mean().sqrt()
    for factor, sign in ((1.0, 0.0), (0.7, 1.0), (1.4, -1.0)):
        end = Observed(likelihood_of(REAL, scale=Scale("shared", start=float(factor * s)))).double()
        assert end.log_scale is not None
        law = end(mean, 1, at())
        assert float(law.scale.detach()) == pytest.approx(float(factor * s), rel=1e-6)
        (slope,) = torch.autograd.grad(law.log_prob(x).sum(), end.log_scale)
        assert float(slope.sign() if sign else slope.abs() < 1e-3) == (sign or 1.0)


@pytest.mark.parametrize("domain", [REAL, LEVELS], ids=str)
@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_a_fixed_variance_is_a_weight_on_the_kl(domain, sigma):
    """sigma^2 (log p(x | z; sigma) - KL) = log p(x | z; 1) - sigma^2 KL + const: beta = sigma^2, up to the scale of it all.

    So gradients point the same way at every point, and gradient ascent in steps of the sizes h and sigma^2 h comes to the
    same optimum along the same way.
    """
    torch.manual_seed(0)
    fixed, unit = (VAE(3, 2, (4,), likelihood_of(domain, "gaussian", scale=Scale("fixed", start=s))) for s in (sigma, 1.0))
    model, other = fixed.double(), unit.double()
    start = {name: value.detach() for name, value in model.named_parameters()}
    x = levels(3, count=16)

    def ascent(model, utility, params, step):
        return functional_call(_Utility(model, utility), {f"model.{k}": v for k, v in params.items()}, (x, step))

    ways = []
    for one, utility, h in ((model, elbo_kl, sigma**2), (other, beta(elbo_kl, sigma**2), 1.0)):
        params, way, slope = dict(start), [], grad(ascent, argnums=2)
        for step in range(30):
            slopes = slope(one, utility, params, step)
            params = {name: value + 0.05 * h * slopes[name] for name, value in params.items()}
            way.append(torch.cat([h * slopes[name].flatten() for name in params]))
        ways.append(torch.stack(way))
    assert torch.allclose(ways[0], ways[1], rtol=1e-8, atol=1e-11)
    assert float((ways[0][-1] - ways[0][0]).norm()) > 0.01  # they went somewhere
    half = grad(ascent, argnums=2)(other, beta(elbo_kl, 0.5 * sigma**2), start, 0)
    assert not torch.allclose(torch.cat([v.flatten() for v in half.values()]), ways[0][0], rtol=1e-2)


class _Utility(torch.nn.Module):
    """The mean of a utility as a module, so that its parameters can be lent."""

    def __init__(self, model, utility) -> None:
        super().__init__()
        self.model, self.utility = model, utility

    def forward(self, x: Tensor, step: int) -> Tensor:
        return self.utility(self.model, x, at(step)).value.mean()


def test_dequantisation_is_one_draw_for_all_samples_passes_and_chunks():
    model, x = next(models(CHOICES["gaussian"]))
    proposal = model.proposal(x, at("a"), 3)
    joint = model.joint(x, proposal.z, at("a")) - proposal.log_q
    assert torch.allclose(joint, proposal.log_w, rtol=1e-12)  # another pass at the address
    assert not torch.allclose(model.joint(x, proposal.z, at("b")) - proposal.log_q, proposal.log_w, rtol=1e-3)
    many = x.repeat(20, 1, 1, 1).float()
    stack = Stack.of([model.float(), model], [Streams(0), Streams(1)])
    whole = importance_sampling(stack, many, "test", 12)["nll_nats"][0]
    part = importance_sampling(stack, many, "test", 12, memory_gib=1e-4)["nll_nats"][0]
    assert torch.allclose(whole, part, rtol=1e-5) and not torch.allclose(whole[0], whole[1], rtol=1e-4)


def test_bounds_of_a_dequantised_gaussian_lie_above_the_masses_of_levels():
    """Its expected code length is no shorter than that of the masses: sum over all x of exp(E_u log p(x + u | z)) <= 1."""
    every = torch.cartesian_prod(*[torch.arange(8.0)] * 2).double()
    torch.manual_seed(0)
    model = VAE(2, 2, (4,), CHOICES["gaussian"]).double()
    with torch.no_grad():
        z = {"z": torch.zeros(64, 2, dtype=torch.float64)}
        law = lambda n: model.descend(at(n), lambda layer: z[layer.name])[2]
        mean = torch.stack([law(n).log_prob(every) for n in range(400)]).mean(0)
    assert 0 < float(mean.exp().sum()) < 1


# --- declarations ----------------------------------------------------------------------------------------------------------


def grey(*shape: int, top: int = 7) -> Dataset:
    x = levels(*shape, count=60).float().clamp(max=top)
    splits = dict(zip(("train", "valid", "test"), x.split([40, 10, 10]), strict=True))
    return Dataset(name="grey", domain=LEVELS, protocol="", splits=splits)


def test_a_declared_model_starts_at_the_moments_of_the_data():
    data = grey(3, 2, 2)
    for settings in (
        {"likelihood": "logistic-mixture", "mixtures": 3},
        {"likelihood": "categorical"},
        {"likelihood": "gaussian", "scale": "shared"},
        {"likelihood": "logistic", "least_scale": 0.2},
    ):
        model = DeclaredVAE(latents=2, hidden=(4,), **settings).build(data)
        with torch.no_grad():
            for layer in (model.decoder.layers[-1],):
                layer.weight.zero_()
            law = model.descend(at(), lambda layer: torch.zeros(1, 2))[2]
        shown = data.splits["train"][:].mean(0)
        assert torch.allclose(law.mean[0], shown, atol=0.5), settings
    shared = DeclaredVAE(latents=2, hidden=(4,), likelihood="gaussian", scale="shared").build(data)
    spread = (data.splits["train"][:] * (2 / 7) - 1).var(0, correction=0).mean().sqrt()
    assert float(shared.observed(torch.zeros(1, 3, 2, 2), 3, at()).normal.scale.detach()) == pytest.approx(
        float(spread), rel=0.2
    )
    splits = dict.fromkeys(("train", "valid", "test"), torch.full((9, 4), 3.0))
    still = Dataset(name="still", domain=LEVELS, protocol="", splits=splits)
    family = likelihood_of(LEVELS, "gaussian", scale=Scale("shared", least=0.5))
    assert start_of(still, family)[1].scale.start > 0.5


def test_what_cannot_be_observed_is_refused():
    with pytest.raises(SeedbedError, match=r"grey expects whole numbers 0\.\.7, got 8; say levels=9, or more"):
        DeclaredVAE().build(replace_levels(grey(4), 8.0))
    with pytest.raises(SeedbedError, match=r"got 0\.5; multiply fractions by 7 and round"):
        DeclaredVAE(likelihood="categorical").build(replace_levels(grey(4), 0.5))
    with pytest.raises(SeedbedError, match="VAE with likelihood logistic takes levels values, and 8gaussians is real"):
        find("vae").with_config({"data": "8gaussians", "likelihood": "logistic"}).task([Streams(0)])
    mixture = DeclaredVAE(likelihood="logistic-mixture")
    assert "pictures of 1 or 3 channels" in mixture.misfit(LEVELS, (4, 2, 2)) and not mixture.misfit(LEVELS, (4,))
    model, x = next(models(CHOICES["categorical"]))
    stack = Stack.of([model], [Streams(0)])
    with pytest.raises(SeedbedError, match=r"VAE expects whole numbers 0\.\.7, got 8; say levels=9, or more"):
        importance_sampling(stack, torch.full_like(x, 8.0), "test", 5)


def replace_levels(data: Dataset, value: float) -> Dataset:
    """One of them is something else."""
    x = data.splits["train"][:].clone()
    x[3, 0] = value
    splits = {**{name: source[:] for name, source in data.splits.items()}, "train": x}
    return Dataset(name=data.name, domain=data.domain, protocol="", splits=splits)


def test_a_family_without_room_for_the_baseline_is_not_judged_by_it():
    cases = [
        ({}, True),
        ({"likelihood": "categorical"}, True),
        ({"likelihood": "logistic-mixture"}, True),
        ({"likelihood": "gaussian"}, False),
        ({"likelihood": "logistic", "scale": "shared"}, False),
        ({"likelihood": "logistic-mixture", "least_scale": 0.1}, False),
    ]
    for settings, judged in cases:
        assert DeclaredVAE(**settings).judged_on(LEVELS) == judged, settings
    assert DeclaredVAE(likelihood="gaussian").judged_on(REAL)


def test_a_vamp_prior_starts_at_data_where_outputs_tell_where_they_lie():
    data = grey(4)
    for likelihood in ("logistic", "categorical", "logistic-mixture"):
        model = DeclaredVAE(latents=2, hidden=(4,), prior="vamp", pseudo_inputs=3, likelihood=likelihood).build(data)
        assert model.prior.inputs.shape == (3, 4)
        assert bool(elbo(model.double(), data.splits["train"][:5].double(), at()).value.isfinite().all())
