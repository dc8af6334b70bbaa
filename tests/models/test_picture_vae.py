"""VAEs of pictures: a latent as a vector and as a map is one model, layers are those of their nets, memory has a limit."""

import pytest
import torch
from passes import at
from torch import Tensor

from seedbed.core.domain import BINARY, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.distributions.likelihood import BERNOULLI, likelihood_of
from seedbed.distributions.scale import Scale
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.evaluate.memory import GIB, peak_bytes
from seedbed.experiments.picture_vae import HALVED
from seedbed.experiments.picture_vae import PictureVAE as Declared
from seedbed.models.iwae import BottomUpVAE
from seedbed.models.picture_vae import PictureVAE
from seedbed.nets.mlp import MLP
from seedbed.nets.pictures import GEOMETRY
from seedbed.objectives.bounds import elbo_kl, iwae

LEVELS = Domain("levels", 8)
SHAPE = (1, 8, 16)
FAMILIES = {
    "bernoulli": BERNOULLI,
    "logistic": likelihood_of(LEVELS),
    "shared gaussian": likelihood_of(LEVELS, "gaussian", scale=Scale("shared", start=0.4)),
    "mixture": likelihood_of(LEVELS, "logistic-mixture", mixtures=2),
    "categorical": likelihood_of(LEVELS, "categorical"),
    "grey": likelihood_of(LEVELS, "grey-bernoulli"),
}


def pictures(domain: Domain, count: int = 3, shape=SHAPE) -> Tensor:
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (x * (domain.size or 2)).floor()


def built(family: str = "logistic", latents=(3, 2), maps="none", **settings) -> PictureVAE:
    torch.manual_seed(0)
    return PictureVAE(SHAPE, FAMILIES[family], latents, maps=maps, hidden_above=(4,), **settings).double()


@pytest.mark.parametrize("latents", [(3,), (3, 2)])
@pytest.mark.parametrize("net", ["a", "b"])
def test_a_vector_and_a_map_of_one_pixel_weigh_the_same(net, latents):
    """The source's stumbling block: events of one axis and of three."""
    vector, pixel = (built(latents=latents, maps=maps, net=net) for maps in ("none", "1x1"))
    assert [*vector.state_dict()] == [*pixel.state_dict()]
    assert all(torch.equal(a, b) for a, b in zip(vector.parameters(), pixel.parameters(), strict=True))
    x = pictures(LEVELS)
    a, b = (model.proposal(x, at("w"), 4) for model in (vector, pixel))
    for name, z in a.z.items():
        assert b.z[name].shape == (*z.shape, 1, 1) and torch.equal(b.z[name].flatten(2), z)
    assert a.log_w.shape == (4, 3) and torch.equal(a.log_w, b.log_w) and torch.equal(a.log_q, b.log_q)
    for utility in (elbo_kl, iwae(3), iwae(3, "dreg")):
        one, other = utility(vector, x, at("u")), utility(pixel, x, at("u"))
        assert torch.allclose(one.value, other.value, rtol=1e-12)
        slopes = [torch.autograd.grad(t.value.sum(), [*m.parameters()]) for t, m in ((one, vector), (other, pixel))]
        assert all(torch.allclose(g, h, rtol=1e-9, atol=1e-12) for g, h in zip(*slopes, strict=True))


@pytest.mark.parametrize("maps", ["none", "1x1", "coarse"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gradient_reaches_every_parameter_and_draws_are_values_of_the_data(family, maps):
    model = built(family, maps=maps, net="a" if family != "mixture" else "b")
    x = pictures(model.domain)
    value = iwae(2)(model, x, at("a")).value.sum()
    for name, slope in zip(dict(model.named_parameters()), torch.autograd.grad(value, [*model.parameters()]), strict=True):
        assert bool(slope.isfinite().all()) and bool(slope.abs().sum() > 0), name
    drawn = model.sample(4, at("b"))
    assert drawn.shape == (4, *SHAPE) and set(drawn.unique().tolist()) <= set(range(model.domain.size or 2))


@pytest.mark.parametrize("maps", ["none", "coarse"])
def test_weights_are_those_of_the_joint_and_the_posterior(maps):
    model, x = built(maps=maps), pictures(LEVELS)
    proposal = model.proposal(x, at("w"), 3)
    assert [*proposal.layers] == ["z2", "z1"]
    said = model.joint(x, proposal.z, at("w")) - model.log_posterior(x, proposal.z, at("w"))
    assert torch.allclose(said, proposal.log_w, rtol=1e-12)
    assert set(elbo_kl(model, x, at("w")).parts) == {"elbo", "log_likelihood", "kl", "kl_z2", "kl_z1"}


def test_stochastic_layers_can_be_indexed():
    model, x = built(maps="coarse"), pictures(LEVELS)
    first, second = model.stochastic
    assert (first.name, second.name) == ("z1", "z2") and model.stochastic[-1].encoder is second.encoder
    q = first.posterior(model.likelihood.shown(x))
    assert q.rank == 3 and q.mean.shape == (3, 3, 1, 2) and second.posterior(q.mean).mean.shape == (3, 2, 1, 2)
    mlp = BottomUpVAE(4, (3, 2), ((5,), (4,)))
    assert isinstance(mlp.stochastic[0].encoder, MLP) and mlp.stochastic[1].posterior(torch.zeros(6, 3)).mean.shape == (6, 2)


def test_the_decoder_starts_at_the_mean_of_each_channel():
    splits = dict(zip(("train", "valid", "test"), pictures(LEVELS, 60, (3, 8, 8)).float().split([40, 10, 10]), strict=True))
    splits["train"][:, 0] = 2.0
    data = Dataset(name="grey", domain=LEVELS, protocol="", splits=splits)
    for settings in ({}, {"likelihood": "logistic-mixture", "mixtures": 2}, {"likelihood": "grey-bernoulli"}):
        model = Declared(latents=2, **settings).build(data)
        assert isinstance(model, PictureVAE)
        with torch.no_grad():
            for parameter in model.decoders[0].images.layers[-1].parameters():
                if parameter.ndim > 1:
                    parameter.zero_()
            mean = model.descend(at(), lambda layer: torch.zeros(1, 2))[2].mean[0]
        assert float(mean[0].mean()) == pytest.approx(2.0, abs=0.15)
        assert float(mean[2].mean()) == pytest.approx(3.5, abs=0.3)


def test_an_evaluation_of_many_samples_keeps_within_the_memory_that_is_given():
    torch.manual_seed(0)
    model = PictureVAE((1, 16, 16), FAMILIES["logistic"], (3,))
    stack = Stack.of([model], [Streams(0)])
    x = pictures(LEVELS, 2, (1, 16, 16)).float()
    limit = 0.02
    found = {}
    held = peak_bytes(lambda: found.update(importance_sampling(stack, x, "test", 5000, memory_gib=limit)))
    assert held < limit * GIB
    free = importance_sampling(stack, x, "test", 5000, memory_gib=4.0)
    assert torch.allclose(found["nll_nats"][0], free["nll_nats"][0], rtol=1e-5)
    with pytest.raises(SeedbedError, match="raise --memory-gib"):
        importance_sampling(stack, x, "test", 5000, memory_gib=1e-5)


def test_what_is_no_picture_of_the_net_s_is_refused():
    assert {name: one.shrink for name, one in GEOMETRY.items()} == HALVED
    assert Declared().misfit(LEVELS, (1, 28, 28)) == "with net a takes pictures with sides that are multiples of 8"
    assert not Declared(convolutions="b").misfit(LEVELS, (1, 28, 28)) and not Declared().misfit(BINARY, (1, 8, 8))
    with pytest.raises(SeedbedError, match=r"expects \[channels, height, width\] and a size of each latent"):
        PictureVAE(4, FAMILIES["logistic"])
