"""Images with latents that are images: every bound and estimator is that of the same model with all of it in a row."""

import pytest
import torch
from passes import at, log_posterior
from torch import Tensor, nn

from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.context import Context
from seedbed.core.domain import BINARY
from seedbed.core.noise import EvalNoise, Streams
from seedbed.core.stack import Stack
from seedbed.distributions.bernoulli import Bernoulli
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.evaluate.annealing import Annealing, annealed_importance_sampling
from seedbed.evaluate.latents import latent_use
from seedbed.evaluate.likelihood import Chunk, importance_sampling
from seedbed.nets.conv import Conv2d, ConvTranspose2d
from seedbed.objectives.bounds import beta, elbo, elbo_kl, free_bits, iwae

IMAGE, TOP, BELOW = (2, 4, 4), (2, 1, 2), (3, 2, 2)
SEEDS = [Streams(seed) for seed in range(3)]
BOUNDS = {
    "elbo": elbo,
    "elbo_kl": elbo_kl,
    "iwae": iwae(3),
    "dreg": iwae(3, "dreg"),
    "stl": iwae(3, "stl"),
    "beta": beta(elbo_kl, 3.0),
    "free bits": free_bits(elbo_kl, 2.0),
}


class Pictures(nn.Module, LatentVariable):
    """Two layers of latents ``[channels, height, width]`` between convolutions, or all numbers of an event in a row."""

    def __init__(self, row: bool) -> None:
        super().__init__()
        self.row = row
        self.see = Conv2d(2, 4, 2, stride=2)
        self.top = Conv2d(4, 4, (2, 1))
        self.merge = Conv2d(4 + 6, 6, 1)
        self.down = ConvTranspose2d(2, 6, (2, 1))
        self.out = ConvTranspose2d(3, 2, 2, stride=2)

    @property
    def domain(self):
        return BINARY

    def apply_to(self, net: nn.Module, x: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """A convolution, whatever leads the images, which come ``shape``d or in a row."""
        image = x.unflatten(-1, shape) if self.row and x.shape[-3:] != shape else x
        out = net(image.flatten(0, -4))
        return out.unflatten(0, image.shape[:-3])

    def normal(self, raw: Tensor) -> DiagonalNormal:
        q = DiagonalNormal.from_raw(raw, 3)
        return DiagonalNormal(q.mean.flatten(-3), q.log_scale.flatten(-3)) if self.row else q

    def layers(self, x, ctx):
        seen = None if x is None else torch.tanh(self.apply_to(self.see, x, IMAGE))
        z2 = yield Layer(
            "z2",
            StandardNormal(TOP if not self.row else 4),
            None if seen is None else self.normal(self.apply_to(self.top, seen, (4, 2, 2))),
        )
        down = self.apply_to(self.down, z2, TOP)
        posterior = None
        if seen is not None:
            both = torch.cat([seen.expand(*down.shape[:-3], 4, 2, 2), torch.tanh(down)], -3)
            posterior = self.normal(self.apply_to(self.merge, both, (10, 2, 2)))
        z1 = yield Layer("z1", self.normal(down), posterior)
        logits = self.apply_to(self.out, z1, BELOW)
        return Bernoulli(logits.flatten(-3)) if self.row else Bernoulli(logits, 3)


def modules(row: bool, count: int = 3) -> list[Pictures]:
    built = []
    for streams in SEEDS[:count]:
        with streams.scoped("init"):
            built.append(Pictures(row).double())
    return built


def stack(row: bool, count: int = 3) -> Stack:
    return Stack.of(modules(row, count), SEEDS[:count], "fp64")


def images(count: int = 7) -> Tensor:
    return (torch.rand(count, *IMAGE, generator=torch.Generator().manual_seed(0)) < 0.4).double()


def same(spatial: Tensor, row: Tensor) -> bool:
    return spatial.shape == row.shape and torch.allclose(spatial, row, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_and_its_gradient(name):
    results = []
    for row in (False, True):
        model = modules(row)[0]
        terms = BOUNDS[name](model, images().flatten(1) if row else images(), at(training=True))
        gradients = torch.autograd.grad(terms.value.sum(), list(model.parameters()))
        results.append([terms.value, *terms.parts.values(), *gradients])
        assert terms.value.shape == (7,)
    assert all(same(a, b) for a, b in zip(*results, strict=True))
    assert min(gradient.abs().max() for gradient in results[0][-10:]) > 0


@pytest.mark.parametrize("name", ["elbo_kl", "dreg"])
def test_a_bound_over_a_stack_of_seeds(name):
    values = []
    for row in (False, True):
        many = stack(row)
        x = images().flatten(1) if row else images()
        utility = BOUNDS[name]
        values.append(
            many.call(lambda model, x, ctx, u=utility: u(model, x, ctx).value, noise=many.noise("noise"), shared=(x,))
        )
    assert same(*values) and values[0].shape == (3, 7)


def test_proposals_keep_their_shapes():
    model, x = modules(False)[0], images()
    for samples in (None, 5):
        proposal = model.proposal(x, at(), samples)
        lead = (7,) if samples is None else (5, 7)
        assert proposal.z["z2"].shape == (*lead, *TOP) and proposal.z["z1"].shape == (*lead, *BELOW)
        assert proposal.log_w.shape == proposal.log_q.shape == lead
        assert torch.allclose(proposal.log_q, log_posterior(model, x, proposal.z, at()), atol=1e-12)
        assert torch.allclose(proposal.log_w, model.joint(x, proposal.z, at()) - proposal.log_q, atol=1e-12)
        each = proposal.layers["z1"].kl_per_unit()
        assert each.shape == (*lead, *BELOW) and torch.allclose(each.sum((-3, -2, -1)), proposal.layers["z1"].kl())
        assert proposal.layers["z1"].mean.shape == (*lead, *BELOW) and proposal.real and not proposal.fixed


def test_the_generative_pass():
    spatial, row = modules(False)[0], modules(True)[0]
    for samples in (None, 3):
        z, likelihood = spatial.generate(6, at(), samples)
        z_row, likelihood_row = row.generate(6, at(), samples)
        assert all(same(z[name].flatten(-3), z_row[name]) for name in ("z2", "z1"))
        assert same(likelihood.mean.flatten(-3), likelihood_row.mean)
    assert torch.equal(spatial.sample(6, at()).flatten(1), row.sample(6, at()))
    assert spatial.sample(6, at()).shape == (6, *IMAGE)


def test_importance_sampling_and_its_chunks():
    x, found = images(70), []
    for row, chunk in ((False, None), (False, Chunk(9, 2)), (True, None)):
        values = importance_sampling(stack(row), x.flatten(1) if row else x, "test", 6, chunk=chunk)
        found.append({name: value for name, (value, _) in values.items()})
    for name, value in found[0].items():
        assert same(value, found[2][name]) and torch.allclose(value, found[1][name], rtol=1e-10), name


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_annealing(start):
    how, found = Annealing(chains=3, temperatures=6, leapfrogs=1, start=start), []
    for row in (False, True):
        x = images().flatten(1) if row else images()
        values = annealed_importance_sampling(stack(row, 1), x, "test", how)
        found.append({name: value for name, (value, _) in values.items()})
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], rtol=1e-9, atol=1e-9), name
    assert found[0]["ais_accepted_share"].min() > 0.2


def test_what_latents_are_used_for():
    found = [latent_use(stack(row), images().flatten(1) if row else images(), "test", 4) for row in (False, True)]
    for kind in ("totals", "units"):
        spatial, row = (getattr(use, kind) for use in found)
        assert spatial.keys() == row.keys()
        assert all(same(value, row[name][0]) for name, (value, _) in spatial.items())
    assert len(found[0].units) == 2 * (4 + 12)


def test_samples_do_not_depend_on_the_chunk():
    model = modules(False)[0]
    whole, part = (
        model.sample(n, Context(EvalNoise(SEEDS[:1], "samples", first=first, dtype=torch.float64)))
        for n, first in ((100, 0), (30, 50))
    )
    assert torch.equal(part, whole[50:80])
