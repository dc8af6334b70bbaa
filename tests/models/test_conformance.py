"""What every model promises. A new model joins by one line in ``MODELS``."""

from dataclasses import replace

import pytest
import torch
from passes import at, log_posterior, whole_pass
from torch import Tensor

from seedbed.core.capabilities import HasDataInit, HasLogProb, HasSample, LatentVariable
from seedbed.core.context import Context, State
from seedbed.core.noise import EvalNoise, Noise, Streams
from seedbed.core.shapes import axes_of
from seedbed.core.stack import Stack
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.models import compat
from seedbed.models.conv_vae import ConvVAE
from seedbed.models.draw import DRAW
from seedbed.models.flow import CouplingFlow
from seedbed.models.image_flow import ImageFlow
from seedbed.models.iwae import BottomUpVAE
from seedbed.models.lvae import LadderVAE
from seedbed.models.vae import VAE
from seedbed.models.wgan import WGAN
from seedbed.objectives.adversarial import critic_utility, generator_utility
from seedbed.objectives.bounds import beta, elbo, elbo_kl, free_bits, iwae, warm_up
from seedbed.objectives.likelihood import log_likelihood

TINY = (1, 4, 4)
# name: (build, shape of an example, its utilities)
MODELS = {
    "vae": (lambda: VAE(3, 2, (8, 8), activation="tanh"), 3, (elbo, elbo_kl, iwae(3), warm_up(elbo_kl, 5))),
    "vae-images": (lambda: VAE((2, 2, 3), 2, (8,)), (2, 2, 3), (elbo, elbo_kl, iwae(3, "dreg"))),
    "vae-vamp-images": (lambda: VAE(TINY, 2, (8,), BERNOULLI, "tanh", None, "vamp", 4), TINY, (elbo, iwae(3))),
    "vae-paths": (lambda: VAE(3, 2, (8, 8), activation="elu"), 3, (iwae(3, "dreg"), iwae(3, "stl"))),
    "vae-bernoulli": (lambda: VAE(3, 2, (8,), BERNOULLI, "silu"), 3, (elbo, elbo_kl, iwae(3))),
    "vae-norm": (lambda: VAE(3, 2, (8,), BERNOULLI, "leaky_relu", norm=True), 3, (elbo_kl, iwae(3), iwae(3, "dreg"))),
    "vae-normal-prior": (lambda: VAE(3, 2, (8,), prior="normal"), 3, (elbo, elbo_kl, iwae(3), iwae(3, "dreg"))),
    "vae-vamp": (
        lambda: VAE(3, 2, (8,), BERNOULLI, "tanh", prior="vamp", pseudo_inputs=4),
        3,
        (elbo, elbo_kl, iwae(3), iwae(3, "dreg"), iwae(3, "stl"), warm_up(elbo_kl, 5)),
    ),
    "lvae": (lambda: LadderVAE(3, (2, 3, 2), (8, 7, 6), activation="elu"), 3, (elbo, elbo_kl, iwae(3))),
    "lvae-paths": (lambda: LadderVAE(3, (2, 3, 2), (8, 7, 6), activation="elu"), 3, (iwae(3, "dreg"), iwae(3, "stl"))),
    "lvae-5layer": (
        lambda: LadderVAE(3, (5, 4, 3, 2, 1), (9, 8, 7, 6, 5), BERNOULLI, "leaky_relu", norm=True),
        3,
        (elbo, elbo_kl, iwae(3), warm_up(free_bits(elbo_kl, 0.1), 5)),
    ),
    "lvae-images": (lambda: LadderVAE((2, 2, 3), (2, 2), (8, 7), activation="elu"), (2, 2, 3), (elbo_kl, iwae(3))),
    "draw": (
        lambda: DRAW(TINY, 2, 3, 5),
        TINY,
        (elbo, elbo_kl, iwae(3), iwae(3, "dreg"), iwae(3, "stl"), warm_up(elbo_kl, 5)),
    ),
    "draw-attention": (
        lambda: DRAW(TINY, 2, 3, 5, read=2, write=3),
        TINY,
        (elbo, elbo_kl, iwae(3), iwae(3, "dreg"), iwae(3, "stl")),
    ),
    "draw4-attention": (lambda: DRAW(TINY, 2, 3, 5, 2, 2, error_image=False, overwrite=True), TINY, (elbo_kl, iwae(3))),
    "iwae-1layer": (lambda: BottomUpVAE(3, (2,), ((8, 8),)), 3, (elbo, elbo_kl, iwae(3), iwae(3, "dreg"), iwae(3, "stl"))),
    "iwae-2layer": (
        lambda: BottomUpVAE(3, (3, 2), ((8, 8), (7,))),
        3,
        (elbo, elbo_kl, iwae(3), iwae(3, "dreg"), iwae(3, "stl"), warm_up(beta(free_bits(elbo_kl, 0.5), 2.0), 5)),
    ),
    "iwae-images": (lambda: BottomUpVAE(TINY, (3, 2), ((8,), (7,))), TINY, (elbo_kl, iwae(3, "dreg"))),
    "conv-vae": (lambda: ConvVAE((1, 28, 28), 3), (1, 28, 28), (elbo, elbo_kl, iwae(2), iwae(2, "dreg"))),
    "flow-affine": (lambda: CouplingFlow(2, "affine", 3, (8,), "tanh"), 2, (log_likelihood,)),
    "flow-spline": (lambda: CouplingFlow(2, "spline", 3, (8,), "tanh"), 2, (log_likelihood,)),
    "flow-mix": (lambda: CouplingFlow(2, "spline", 3, (8,), "tanh", mix=True), 2, (log_likelihood,)),
    "flow-spline-odd": (lambda: CouplingFlow(3, "spline", 3, (8,), "tanh", bins=5), 3, (log_likelihood,)),
    "flow-images": (lambda: CouplingFlow((2, 2, 3), "spline", 3, (8,), "tanh"), (2, 2, 3), (log_likelihood,)),
    "image-flow": (lambda: ImageFlow(TINY, 1, (1, 1), 3, 2, 2), TINY, (elbo, elbo_kl, iwae(3))),
    "image-flow-uniform": (lambda: ImageFlow(TINY, 1, (0, 2), 3, 1, 2, variational=False), TINY, (elbo, iwae(2))),
    "wgan": (lambda: WGAN(2, 2, (8, 8), "tanh"), 2, (critic_utility(), generator_utility)),
    "wgan-images": (lambda: WGAN((2, 2, 3), 2, (8, 8), "tanh"), (2, 2, 3), (critic_utility(), generator_utility)),
    "compat-vae-images": (lambda: compat.CompatVAE((2, 2, 3), hidden=(8, 8)), (2, 2, 3), (elbo,)),
    "compat-vae": (lambda: compat.CompatVAE(hidden=(8, 8)), 2, (elbo,)),
    "compat-lvae": (lambda: compat.CompatLVAE(latents=(2, 2, 2), hidden=(8, 8, 8)), 2, (elbo,)),
    "compat-flow": (lambda: compat.CompatFlow(couplings=2, hidden=(8,)), 2, (log_likelihood,)),
}
BINARY = {
    "vae-bernoulli",
    "vae-vamp",
    "vae-vamp-images",
    "iwae-images",
    "lvae-5layer",
    "draw",
    "draw-attention",
    "draw4-attention",
    "iwae-1layer",
    "iwae-2layer",
    "conv-vae",
    "image-flow",
    "image-flow-uniform",
}
SEEDS = tuple(Streams(s) for s in range(3))
each_model = pytest.mark.parametrize("name", MODELS)


def jitter(module: torch.nn.Module, seed: int) -> None:
    """Move every parameter: zero-initialised layers and identities hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))


def built(name: str) -> tuple[list[torch.nn.Module], Tensor]:
    build, shape, _ = MODELS[name]
    x = torch.randn(len(SEEDS), 7, *axes_of(shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (x > 0).double() if name in BINARY else x
    modules = []
    for streams, batch in zip(SEEDS, x, strict=True):
        with streams.scoped("init"):
            module = build().double()
        if isinstance(module, HasDataInit):
            module.data_init(batch, Context.of(0))
        jitter(module, streams.seed)
        modules.append(module)
    return modules, x


def terms_of(utility):
    def terms(model, x, ctx):
        if hasattr(utility, "initial_state"):
            ctx = replace(ctx, state=State(utility.initial_state(model, x)))
        out = utility(model, x, ctx)
        return out.value, dict(out.parts)

    return terms


@each_model
def test_a_stack_of_seeds_equals_the_loop(name):
    modules, x = built(name)
    stack = Stack.of(modules, SEEDS, "fp64")
    trained = {k for k, _ in modules[0].named_parameters()}  # a stack holds the buffers that differ, too
    params = {k: v.clone().requires_grad_() for k, v in stack.params.items() if k in trained}
    for number, utility in enumerate(MODELS[name][2]):
        terms = terms_of(utility)
        value, parts = stack.replace({**stack.params, **params}).call(terms, x, noise=stack.noise("noise", number))
        grads = torch.autograd.grad(value.sum(), list(params.values()), allow_unused=True)
        assert value.shape == x.shape[:2]
        for s, module in enumerate(modules):
            own = dict(module.named_parameters())
            expected, expected_parts = terms(module, x[s], at(number, seed=SEEDS[s].seed))
            assert torch.allclose(value[s], expected, atol=1e-10, rtol=1e-10)
            for part in parts:
                assert torch.allclose(parts[part][s], expected_parts[part], atol=1e-10, rtol=1e-10), part
            reference = torch.autograd.grad(expected.sum(), [own[k] for k in params], allow_unused=True)
            # Rounding is relative to the largest gradient: a bias in front of a batch norm has an exact gradient of 0.
            scale = max(1.0, *(g.abs().max().item() for g in reference if g is not None))
            for key, a, b in zip(params, grads, reference, strict=True):
                zero = torch.zeros_like(own[key])
                assert ((zero if a is None else a[s]) - (zero if b is None else b)).abs().max() < 1e-10 * scale, key


@each_model
def test_every_parameter_receives_a_gradient(name):
    modules, x = built(name)
    reached = set()
    for utility in MODELS[name][2]:
        own = dict(modules[0].named_parameters())
        value, _ = terms_of(utility)(modules[0], x[0], at(seed=0))
        grads = torch.autograd.grad(value.sum(), list(own.values()), allow_unused=True)
        assert all(g is None or torch.isfinite(g).all() for g in grads)
        reached |= {k for k, g in zip(own, grads, strict=True) if g is not None and g.abs().max() > 0}
    missing = sorted({k for k, _ in modules[0].named_parameters()} - reached)
    assert not missing, f"no gradient reaches {missing}"


@each_model
def test_samples(name):
    (model, *_), x = built(name)
    assert isinstance(model, HasSample)
    draws = model.sample(5, at(seed=0))
    assert draws.shape == (5, *x.shape[2:])
    assert torch.isfinite(draws).all()


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"compat-lvae"}))  # its batch norm lets examples see each other
def test_samples_do_not_depend_on_the_chunk(name):
    (model, *_), _ = built(name)
    whole = model.sample(100, Context(EvalNoise(SEEDS[:1], "samples", dtype=torch.float64)))
    part = model.sample(30, Context(EvalNoise(SEEDS[:1], "samples", first=50, dtype=torch.float64)))
    assert torch.allclose(part, whole[50:80], atol=1e-10)


@each_model
def test_bf16_networks_give_full_precision_densities(name):
    modules, x = built(name)
    modules, x = [module.float() for module in modules], x.float()
    stack = Stack.of(modules, SEEDS, "bf16")
    trained = {k for k, _ in modules[0].named_parameters()}
    params = {k: v.clone().requires_grad_() for k, v in stack.params.items() if k in trained}
    for number, utility in enumerate(MODELS[name][2]):
        terms = terms_of(utility)
        values, _ = stack.replace({**stack.params, **params}).call(terms, x, noise=stack.noise("noise", number))
        assert values.dtype == torch.float32
        grads = torch.autograd.grad(values.sum(), list(params.values()), allow_unused=True)
        assert torch.isfinite(values).all() and all(g is None or torch.isfinite(g).all() for g in grads)
        for s, module in enumerate(modules):
            with torch.autocast("cpu", torch.bfloat16):
                single, _ = terms(module, x[s], Context(Noise([SEEDS[s]], "noise", number)))
            assert single.dtype == torch.float32
            # The same products in another order; what is rounded to 8 bits on the way may fall to the other side.
            assert (values[s] - single).abs().median() < 0.1 * single.abs().median()


@each_model
def test_values_may_carry_a_samples_axis(name):
    (model, *_), x = built(name)
    if isinstance(model, LatentVariable):
        ctx = at(seed=0)
        z, layers, likelihood = whole_pass(model, x[0], ctx, samples=4)
        assert list(z) == [layer.name for layer in layers]
        assert all(value.shape[:2] == (4, 7) for value in z.values())
        assert likelihood.log_prob(x[0]).shape == model.joint(x[0], z, ctx).shape == (4, 7)
        assert log_posterior(model, x[0], z, ctx).shape == (4, 7)
    if isinstance(model, HasLogProb):
        assert model.log_prob(x, at()).shape == x.shape[:2]
