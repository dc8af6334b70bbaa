"""Posteriors bent by maps against autodiff, quadrature, and a linear Gaussian model whose evidence is known."""

import pytest
import torch
from passes import at
from torch import Tensor
from torch.distributions import MultivariateNormal

from seedbed.core.errors import SeedbedError
from seedbed.core.law import kl, kl_per_unit
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.distributions.normal import StandardNormal
from seedbed.distributions.triangular import TriangularNormal, below_diagonal
from seedbed.evaluate.likelihood import importance_sampling
from seedbed.experiments import find
from seedbed.models.posterior_flows import FlowPosterior, FlowVAE, InverseAutoregressive, Planar
from seedbed.models.transforms import Reverse
from seedbed.models.vae import VAE
from seedbed.nets.masked import MaskedMLP
from seedbed.objectives.bounds import elbo, elbo_kl, iwae

Z = 4.5
FORMS = {
    "planar": {"posterior": "planar", "flows": 3},
    "planar-tied": {"posterior": "planar", "flows": 3, "tied": True},
    "planar-free": {"posterior": "planar", "flows": 2, "amortised": False},
    "iaf": {"posterior": "iaf", "flows": 2, "masked_hidden": (6,), "context": 3},
    "iaf-tied": {"posterior": "iaf", "flows": 3, "tied": True, "masked_hidden": (5, 4), "context": 2},
    "full": {"posterior": "full"},
}
each = pytest.mark.parametrize("form", FORMS)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(form: str, shape: int = 3, latents: int = 2, seed: int = 7, moved: float = 1.3) -> FlowVAE:
    with Streams(seed).scoped("init"):
        model = FlowVAE(shape, latents, (5,), activation="tanh", **FORMS[form]).double()
    with torch.no_grad():
        for p in model.parameters():  # far enough from where it starts that maps bend
            p.mul_(moved)
    return model


def jacobians(transform, x: Tensor, given: Tensor) -> Tensor:
    return torch.func.vmap(torch.func.jacrev(lambda v, g: transform(v, g)[0]))(x, given)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "full"])
def test_its_kl_is_that_of_its_weights_on_average(form):
    x = torch.tensor([[1, 0, 1], [0, 0, 1]]).double()
    layer = built(form).proposal(x, at(), 20_000).layers["z"]
    difference = layer.kl() + layer.log_ratio()
    assert (difference.mean(0).abs() < Z * difference.std(0) / len(difference) ** 0.5).all()


# --- maps ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [1, 2, 5])
def test_planar_log_determinant_and_its_inverse_exist(features):
    with Streams(1).scoped("init"):
        planar = Planar(features).double()
    x, given = 2 * draw(60, features), draw(60, 2 * features + 1, seed=1)
    _, log_det = planar(x, given)
    found = jacobians(planar, x, given).det()
    assert (found > 0).all() and torch.allclose(log_det, found.log(), atol=1e-9)
    w, u, b = planar.vectors(given)
    # u^ is where the map sends what tanh is 1 at, less that.
    far = 1e5 * w.sign()
    bent = planar(far, given)[0] - far
    assert ((w * far).sum(-1) + b[..., 0] > 20).all() and ((w * bent).sum(-1) > -1).all()
    wu = (w * u).sum(-1)
    assert torch.allclose((w * bent).sum(-1), torch.log1p(wu.exp()) - 1, atol=1e-9) and (wu < -1).any()
    # Across w nothing is pushed beyond what u is: the correction is along w.
    along = (w * (bent - u)).sum(-1, keepdim=True) * w / w.square().sum(-1, keepdim=True)
    assert torch.allclose(bent - u, along, atol=1e-9)
    # Along a line in the direction of w the map is monotone, so that it has an inverse.
    line = torch.linspace(-5, 5, 400, dtype=torch.float64)[:, None, None] * w
    assert ((planar(line, given)[0] * w).sum(-1).diff(dim=0) > 0).all()


def test_a_planar_map_starts_at_the_identity_and_stays_finite_in_single_precision():
    with Streams(1).scoped("init"):
        planar = Planar(4)
    x = draw(9, 4).float()
    y, log_det = planar(x)
    assert torch.allclose(y, x, atol=1e-6) and torch.allclose(log_det, torch.zeros(9), atol=1e-6)
    # w u of -200: u^ w is -1 to the last digit, and 1 + (1 - tanh^2) u^ w no positive number.
    strong = torch.cat((-planar.w.detach() + 1, -planar.u.detach() - 50, torch.zeros(1)))
    assert torch.isfinite(planar(x, strong)[1]).all() and (planar(torch.zeros(1, 4), strong)[1] < -60).all()


@pytest.mark.parametrize("hidden", [(7,), (3,), (9, 4)])
def test_an_autoregressive_map_is_triangular_whatever_it_is_told(hidden):
    with Streams(2).scoped("init"):
        iaf = InverseAutoregressive(5, hidden, 3, "tanh").double()
    x, given = 2 * draw(30, 5), 3 * draw(30, 3, seed=1)
    y, log_det = iaf(x, given)
    jacobian = jacobians(iaf, x, given)
    assert (jacobian.triu(1) == 0).all()  # to the last bit: masks, not small weights
    diagonal = jacobian.diagonal(dim1=-2, dim2=-1)
    assert (diagonal > 0).all() and (diagonal < 1).all()
    assert torch.allclose(log_det, diagonal.log().sum(-1), atol=1e-9)
    # Every feature is told by x and knows those before it, as far as the narrowest layer reaches.
    told = torch.func.vmap(torch.func.jacrev(lambda v, g: iaf(v, g)[0], argnums=1))(x, given)
    assert (told.abs().amax(0) > 0).all()
    if min(hidden) >= 5:
        assert (jacobian.abs().amax(0) > 0).sum() == 15
    back, inverse_log_det = iaf.inverse(y, given)
    assert torch.allclose(back, x, atol=1e-8) and torch.allclose(inverse_log_det, -log_det, atol=1e-8)


def test_masks_are_no_parameters_and_what_they_hide_never_learns():
    net = MaskedMLP(4, (6, 5), 2, 3, "tanh").double()
    assert not any("mask" in name for name, _ in net.named_parameters())
    before = {name: value.clone() for name, value in net.named_buffers()}
    m, s = net(draw(20, 4), draw(20, 3, seed=1))
    (m.sin() + s.cos()).sum().backward()
    for layer in net.layers:
        assert (layer.weight.grad[~layer.mask] == 0).all() and (layer.weight.grad[layer.mask] != 0).all()
    with torch.no_grad():  # nor does it matter what stands there
        for layer in net.layers:
            layer.weight[~layer.mask] = 1e6
    again = net(draw(20, 4), draw(20, 3, seed=1))
    assert torch.equal(again[0], m) and torch.equal(again[1], s)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())


@each
def test_an_example_is_its_own_whoever_else_is_in_the_batch(form):
    """The order that is turned is that of features: in a batch turned around, every example meets what it met."""
    model, x, z = built(form), 2 * draw(6, 3), draw(6, 2, seed=1)
    law = model.posterior(x)
    if not isinstance(law, FlowPosterior):
        return
    for (transform, given), (turned, given_turned) in zip(law.steps, model.posterior(x.flip(0)).steps, strict=True):
        assert type(transform) is type(turned)
        y, log_det = transform(z, given)
        y_turned, log_det_turned = turned(z.flip(0), given_turned)
        assert torch.allclose(y_turned.flip(0), y, atol=1e-12)
        assert torch.allclose(log_det_turned.expand(6).flip(0), log_det.expand(6), atol=1e-12)
        if isinstance(transform, Reverse):
            assert torch.equal(y, z[:, [1, 0]])
        z = y


def test_the_features_are_turned_between_maps_alone():
    kinds = [type(transform) for transform, _ in built("iaf-tied").posterior(draw(2, 3)).steps]
    assert kinds == [InverseAutoregressive, Reverse] * 2 + [InverseAutoregressive]
    # Two maps and the turn between: the first feature of z knows the last of z_0, and the last the first.
    law = built("iaf").posterior(draw(1, 3))

    def mapped(z: Tensor) -> Tensor:
        for transform, given in law.steps:
            z, _ = transform(z, None if given is None else given[0])
        return z

    assert (torch.func.jacrev(mapped)(draw(2, seed=3)).abs() > 0).sum() == 4


@each
def test_log_q_follows_the_map_and_agrees_with_the_way_back(form):
    model, x = built(form), 2 * draw(4, 3)
    law = model.posterior(x)
    drawn = law.draw(at().noise, 5)
    log_q = drawn.log_prob()
    assert drawn.value.shape == (5, 4, 2) and log_q.shape == (5, 4)
    if "planar" in form:
        with pytest.raises(SeedbedError, match="no closed form"):
            law.log_prob(drawn.value)
        assert model.proposal(x, at(), 5).log_q_at is None
        # By autodiff: the density of z_0 over the Jacobian of all maps.
        start = law.base.draw(at().noise, 5)
        for k, i in ((0, 0), (3, 2), (4, 3)):

            def mapped(z: Tensor, i: int = i) -> Tensor:
                for transform, given in law.steps:
                    z, _ = transform(z, None if given is None else given[i])
                return z

            jacobian = torch.func.jacrev(mapped)(start.value[k, i])
            assert torch.allclose(mapped(start.value[k, i]), drawn.value[k, i])
            assert torch.allclose(start.log_prob()[k, i] - jacobian.det().log(), log_q[k, i], atol=1e-9)
        return
    assert torch.allclose(law.log_prob(drawn.value), log_q, atol=1e-8)
    assert torch.allclose(model.proposal(x, at(), 5).log_q_at({"z": drawn.value}), log_q, atol=1e-8)
    axis = torch.linspace(-15, 15, 501, dtype=torch.float64)
    total = law.log_prob(torch.cartesian_prod(axis, axis)[:, None]).exp().sum(0) * (axis[1] - axis[0]) ** 2
    assert torch.allclose(total, torch.ones(4).double(), atol=1e-4)


# --- a full covariance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 6])
def test_every_number_has_its_own_place_below_the_diagonal(size):
    count = size * (size - 1) // 2
    found = below_diagonal(torch.arange(1.0, count + 1).expand(2, count), size)
    assert found.shape == (2, size, size) and torch.equal(found, found.tril(-1))
    rows, columns = torch.tril_indices(size, size, -1)
    assert sorted(found[1, rows, columns].tolist()) == list(range(1, count + 1))


def test_a_full_covariance_is_torch_s():
    mean, log_scale, below = draw(4, 3), 0.5 * draw(4, 3, seed=1), below_diagonal(draw(4, 3, seed=2), 3)
    ours = TriangularNormal(mean, log_scale, below)
    theirs = MultivariateNormal(mean, scale_tril=below + torch.diag_embed(log_scale.exp()))
    value = 3 * draw(7, 4, 3, seed=3)
    assert torch.allclose(ours.log_prob(value), theirs.log_prob(value), atol=1e-10)
    drawn = ours.draw(at().noise, 20_000)
    assert torch.allclose(drawn.log_prob(), theirs.log_prob(drawn.value), atol=1e-9)
    products = (drawn.value - mean).unsqueeze(-1) * (drawn.value - mean).unsqueeze(-2)
    off = (products.mean(0) - theirs.covariance_matrix).abs() / (products.std(0) / 20_000**0.5)
    assert (off < Z).all()
    prior = StandardNormal(3)
    exact = torch.distributions.kl_divergence(theirs, MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()))
    assert torch.allclose(kl(ours, prior), exact, atol=1e-12)
    assert torch.allclose(kl_per_unit(ours, prior).sum(-1), exact, atol=1e-12)


# --- a linear Gaussian model -----------------------------------------------------------------------------------------------


def linear_gaussian(form: str) -> tuple[FlowVAE, Tensor, Tensor, MultivariateNormal]:
    """x = A z + c + noise of known scale: its decoder, A and noise, and p(x)."""
    with Streams(5).scoped("init"):
        model = FlowVAE(3, 2, (), **FORMS[form]).double()
    weight, log_noise = draw(3, 2, seed=11), torch.tensor([-0.5, -0.2, -0.8], dtype=torch.float64)
    noise = torch.diag((2 * log_noise).exp())
    with torch.no_grad():
        out = model.decoder.layers[-1]
        out.weight.copy_(torch.cat((weight, torch.zeros(3, 2))))
        out.bias.copy_(torch.cat((draw(3, seed=12), 7 * torch.atanh(log_noise / 7))))
    return model, weight, noise, MultivariateNormal(out.bias[:3].detach(), weight @ weight.mT + noise)


@each
def test_weights_average_to_the_evidence(form):
    model, weight, noise, evidence = linear_gaussian(form)
    with torch.no_grad():  # q covers p(z | x): wide and about its mean, so that weights have a variance
        precision = torch.eye(2).double() + weight.mT @ noise.inverse() @ weight
        gain = precision.inverse() @ weight.mT @ noise.inverse()
        raw = model.encoder.layers[-1]
        raw.weight.mul_(0.3)
        raw.weight[:2] = gain
        raw.weight[2:4] = 0
        raw.bias[:2] = -gain @ evidence.mean
        raw.bias[2:4] = 0.3
    x = evidence.mean + draw(4, 3, seed=13)
    with torch.no_grad():
        w = (model.proposal(x, at(seed=1), 20_000).log_w - evidence.log_prob(x)).exp()
    error = w.std(0) / len(w) ** 0.5
    assert ((w.mean(0) - 1).abs() < Z * error).all() and (error < 0.1).all(), (w.mean(0), error)


def test_a_full_covariance_reaches_the_posterior_of_a_linear_model():
    """Then every weight is p(x), and every bound log p(x)."""
    model, weight, noise, evidence = linear_gaussian("full")
    covariance = (torch.eye(2).double() + weight.mT @ noise.inverse() @ weight).inverse()
    gain, factor = covariance @ weight.mT @ noise.inverse(), torch.linalg.cholesky(covariance)
    with torch.no_grad():
        raw = model.encoder.layers[-1]
        raw.weight.zero_()
        raw.weight[:2] = gain
        diagonal = 7 * torch.atanh(factor.diagonal().log() / 7)
        raw.bias.copy_(torch.cat((-gain @ evidence.mean, diagonal, factor[1, :1])))
    x = evidence.mean + 2 * draw(5, 3, seed=13)
    truth = evidence.log_prob(x)
    for bound in (elbo, iwae(4), iwae(4, "stl")):
        assert torch.allclose(bound(model, x, at()).value, truth, atol=1e-9)
    assert abs(factor[1, 0]) > 0.05  # which no diagonal Gaussian has
    many = elbo_kl(model, x.repeat(20_000, 1), at()).value.view(-1, 5).detach()
    assert ((many.mean(0) - truth).abs() < Z * many.std(0) / 20_000**0.5).all()


# --- as a VAE --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("posterior", ["planar", "iaf"])
@pytest.mark.parametrize("tied", [False, True])
def test_without_flows_it_is_the_vae(posterior, tied):
    with Streams(4).scoped("init"):
        plain = VAE(5, 2, (6,), BERNOULLI, "tanh").double()
    with Streams(4).scoped("init"):
        ours = FlowVAE(5, 2, (6,), BERNOULLI, "tanh", posterior=posterior, flows=0, tied=tied).double()
    own = dict(ours.named_parameters())
    assert all(torch.equal(p, own.pop(name)) for name, p in plain.named_parameters()) and not own
    x = (draw(7, 5) > 0).double()
    for bound in (elbo, elbo_kl, iwae(3), iwae(3, "dreg")):
        assert torch.equal(bound(plain, x, at()).value, bound(ours, x, at()).value)
    assert torch.equal(plain.sample(6, at()), ours.sample(6, at()))


def test_free_planar_flows_start_as_the_vae():
    """At the identity, with its networks and its draws."""
    with Streams(4).scoped("init"):
        plain = VAE(5, 2, (6,), BERNOULLI, "tanh").double()
    with Streams(4).scoped("init"):
        ours = FlowVAE(5, 2, (6,), BERNOULLI, "tanh", posterior="planar", amortised=False).double()
    x = (draw(7, 5) > 0).double()
    assert torch.allclose(iwae(3)(plain, x, at()).value, iwae(3)(ours, x, at()).value, atol=1e-6)


def test_tied_maps_are_one():
    assert len(built("planar-tied").maps) == len(built("iaf-tied").maps) == 1
    steps = built("planar-tied").posterior(draw(2, 3)).steps
    assert len(steps) == 3 and all(one is steps[0][0] and given is steps[0][1] for one, given in steps)
    steps = built("planar").posterior(draw(2, 3)).steps
    assert len({id(one) for one, _ in steps}) == 3 and not torch.equal(steps[0][1], steps[1][1])
    assert all(given is None for _, given in built("planar-free").posterior(draw(2, 3)).steps)


@pytest.mark.parametrize("form", ["planar", "iaf", "full"])
def test_nll_agrees_with_quadrature_and_a_stack_with_each_alone(form):
    models = [built(form, seed=seed, moved=1.0) for seed in (1, 2)]
    with torch.no_grad():
        for model in models:  # q wider than p(z | x), so that weights have a variance
            model.encoder.layers[-1].bias[2:4] += 0.7
    x = draw(3, 3, seed=2)
    streams = [Streams(1), Streams(2)]
    stack = Stack.of(models, streams, "fp64")
    found = importance_sampling(stack, x, "t", 3000)
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    z = {"z": torch.cartesian_prod(axis, axis)[:, None]}
    for row, model in enumerate(models):
        with torch.no_grad():
            exact = -model.joint(x, z, at()).logsumexp(0) - 2 * (axis[1] - axis[0]).log()
        error = (1 / found["ess"][0][row] - 1 / 3000).clamp(min=0).sqrt()
        assert ((found["nll_nats"][0][row] - exact).abs() < Z * error + 1e-4).all() and (error < 0.1).all()
        alone = importance_sampling(Stack.of([model], [streams[row]], "fp64"), x, "t", 3000)
        assert torch.allclose(alone["nll_nats"][0][0], found["nll_nats"][0][row], atol=1e-9)


@each
def test_every_parameter_is_learnt(form):
    """But for what a mask hides."""
    model = built(form)
    (-elbo(model, 2 * draw(16, 3), at()).value.mean()).backward()
    assert all(bool((p.grad != 0).any()) for p in model.parameters())


# --- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"posterior": "radial"}, "posterior 'radial'; known: full, iaf, planar"),
        ({"posterior": "iaf", "latents": 1}, "of 2 latents or more, got 1; use planar"),
        ({"posterior": "full", "latents": 1}, "of 2 latents or more, got 1"),
        ({"posterior": "planar", "flows": -1}, "0 flows or more, got flows=-1"),
        ({"masked_hidden": ()}, r"hidden layers.*masked_hidden=\(\)"),
        ({"context": 0}, "context of 1 or more.*context=0"),
    ],
)
def test_what_it_is_not_for_is_refused(options, says):
    with pytest.raises(SeedbedError, match=says):
        FlowVAE(3, **options)


def test_a_map_without_its_context_and_gradients_without_an_inverse_are_refused():
    with pytest.raises(SeedbedError, match="expected the encoder's context, got none"):
        InverseAutoregressive(3, (4,), 2)(torch.zeros(2, 3))
    with pytest.raises(SeedbedError, match="gradient='standard'"):
        iwae(3, "dreg")(built("planar"), draw(2, 3), at())


@pytest.mark.parametrize(
    "settings",
    [
        {"posterior_flow": "full", "flows": 2},
        {"posterior_flow": "full", "tied": True},
        {"posterior_flow": "iaf", "amortised": False},
        {"posterior_flow": "planar", "masked_hidden": (4,)},
        {"posterior_flow": "planar", "context": 3},
        {"flows": 1, "tied": True},
    ],
)
def test_a_setting_without_a_say_is_refused(settings):
    with pytest.raises(SeedbedError):
        find("toy/8gaussians/flow-vae").changed(settings)
