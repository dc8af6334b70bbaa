"""Other people's models through two functions: closed forms, what a value depends on, wrong shapes."""

import pytest
import torch
from passes import at
from torch.distributions import Bernoulli, Independent, Normal

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.evaluate.estimators import no_estimator, offered
from seedbed.evaluate.foreign import Foreign, foreign_likelihood
from seedbed.evaluate.likelihood import importance_sampling, monte_carlo_error
from seedbed.models.flow import CouplingFlow
from seedbed.models.wgan import WGAN

Z = 4.0


def functions(model):
    """A linear Gaussian model as its owner would write it, in torch.distributions."""
    s = model.log_s.exp().detach()

    def joint(x, z):
        prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
        return prior + Normal(z @ model.weight.mT.detach(), s).log_prob(x).sum(-1)

    def posterior(x):
        q = next(model.layers(x, at())).posterior
        return Independent(Normal(q.mean.detach(), q.scale.detach()), 1)

    return joint, posterior


def examples(count=70):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_exact_posterior_gives_the_exact_likelihood(linear_gaussian):
    model, _ = linear_gaussian()
    found = foreign_likelihood(Foreign(*functions(model)), examples(), "test", 60)
    assert list(found) == ["neg_iw1_nats", "neg_iw5_nats", "neg_iw50_nats", "neg_iw60_nats", "nll_nats", "ess", "ess_min"]
    for name in ("neg_iw1_nats", "neg_iw50_nats", "nll_nats"):
        assert torch.allclose(found[name][0][0], -model.log_marginal(examples()), atol=1e-10), name
    assert found["ess_min"][0].shape == (1, 1) and found["ess_min"][0].item() == pytest.approx(60)


def test_it_agrees_with_the_same_model_of_ours_and_knows_its_error(linear_gaussian):
    model, stack = linear_gaussian(0.6, 0.3)
    x = examples(200)
    theirs = foreign_likelihood(Foreign(*functions(model)), x, "test", 80)
    ours = importance_sampling(stack, x, "test", 80)
    truth = -model.log_marginal(x)
    for found in (theirs, ours):
        error = monte_carlo_error(found["ess"][0], 80).item()
        assert 1e-3 < error < 0.05
        # -log of a mean is above its limit by half its variance: 200 errors' squares, over 2 x 200 examples.
        bias = 0.5 * 200 * error**2
        assert abs((found["nll_nats"][0][0] - truth).mean().item() - bias) < Z * error


def test_a_value_depends_on_its_example_alone_and_torch_s_generator_is_left_as_it_was(linear_gaussian):
    model, _ = linear_gaussian(0.4, 0.3)
    joint, posterior = functions(model)
    both = lambda x: lambda samples: (z := posterior(x).sample((samples,)), posterior(x).log_prob(z))
    before = torch.random.get_rng_state()
    whole = foreign_likelihood(Foreign(joint, posterior), examples(), "test", 30)["nll_nats"][0]
    part = foreign_likelihood(Foreign(joint, posterior), examples()[:66], "test", 30)["nll_nats"][0]
    pair = foreign_likelihood(Foreign(joint, both), examples(), "test", 30)["nll_nats"][0]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(whole[:, :66], part) and torch.equal(whole, pair)
    other = foreign_likelihood(Foreign(joint, posterior), examples(), "test", 30, seed=1)["nll_nats"][0]
    assert not torch.isclose(whole, other).any()


def test_wrong_shapes_say_expected_and_got(linear_gaussian):
    joint, posterior = functions(linear_gaussian()[0])
    normal = lambda x: Normal(x[:, :2], 1.0)
    for changed, says in (
        (Foreign(joint, normal), r"log q\(z \| x\) \[25, 64\] .*got \[25, 64, 2\]; sum .*Independent"),
        (Foreign(lambda x, z: joint(x, z).mean(0), posterior), r"joint: .* \[25, 64\] for 25 samples of 64 ex.*got \[64\]"),
        (Foreign(lambda x, z: Bernoulli(0.5).log_prob(x.round().clamp(0, 1)), posterior), r"got \[64, 3\]$"),
        (Foreign(lambda x, z: float(joint(x, z).sum()), posterior), "as a tensor .* got float"),
        (Foreign(joint, lambda x: lambda k: (x, x)), r"posterior: expected z \[25, 64, \*latent\] .* got \[64, 3\]"),
        (Foreign(joint, lambda x: (x, x)), r"got \[64, 3\]"),
        (Foreign(joint, lambda x: x), "a function samples -> .z, log q.; got Tensor$"),
        (Foreign(joint, lambda x: lambda k: x), "that returns Tensor"),
    ):
        with pytest.raises(SeedbedError, match=says) as caught:
            foreign_likelihood(changed, examples(), "test", 30)
        assert "\n" not in str(caught.value)
    with pytest.raises(SeedbedError, match="samples must be at least 1, got 0"):
        foreign_likelihood(Foreign(joint, posterior), examples(), "test", 0)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (CouplingFlow(2, "affine", 2, (4,)), "it has: nll (exact negative log-likelihood), sw ("),
        (WGAN(2, 2, (4, 4)), "it has: sw ("),
        (torch.nn.Linear(2, 2), "it has: none"),
    ],
)
def test_a_model_without_latents_says_what_it_has(module, says):
    stack, x = Stack.of([module], [Streams(0)]), torch.zeros(3, 2)
    with pytest.raises(SeedbedError) as caught:
        importance_sampling(stack, x, "test", 5)
    assert f"{type(module).__name__}, which has no latents" in str(caught.value) and "`offered`" in str(caught.value)
    assert says in str(no_estimator("it", "ais", offered(stack, x).values()))


def test_grey_images_are_refused_by_a_bernoulli_decoder(stack, binary):
    many = stack("vae", 2)
    with pytest.raises(SeedbedError, match=r"VAE expects binary data, got levels\[256\]; binarise them"):
        importance_sampling(many, (binary * 255), "test", 5)
    with pytest.raises(SeedbedError, match="expects binary data, got real"):
        importance_sampling(many, binary * 0.3, "test", 5)
