"""The seed-aware convolutions against torch's, one seed after another: values, gradients, precision."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from seedbed.nets.conv import Conv2d, ConvTranspose2d

SEEDS = 3
KINDS = {
    "plain": (Conv2d, nn.Conv2d, (2, 5, 3), {"padding": 1}),
    "strided": (Conv2d, nn.Conv2d, (2, 4, 3), {"stride": 2, "groups": 2}),
    "transposed": (ConvTranspose2d, nn.ConvTranspose2d, (2, 5, 3), {"stride": 2, "output_padding": 1}),
}


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.fixture(params=KINDS)
def pair(request):
    """Ours stacked as ``function(params, x)``, its parameters, and torch's modules with the same numbers."""
    ours, torchs, sizes, options = KINDS[request.param]
    modules = [ours(*sizes, **options).double() for _ in range(SEEDS)]
    for row, module in enumerate(modules):
        for parameter in module.parameters():
            parameter.data.copy_(draw(row + 1, *parameter.shape)[row])
    params, _ = stack_module_state(modules)
    singles = []
    for module in modules:
        single = torchs(*sizes, **options).double()
        single.load_state_dict(module.state_dict())
        singles.append(single)
    return lambda p, x: functional_call(modules[0], p, (x,)), params, singles


def test_value_and_gradient(pair):
    function, params, singles = pair
    x = draw(SEEDS, 4, 2, 7, 6).requires_grad_()
    out = vmap(function)(params, x)
    found = torch.autograd.grad(out.square().sum(), [x, params["weight"], params["bias"]])
    for row, single in enumerate(singles):
        own = x[row].detach().requires_grad_()
        expected = single(own)
        torch.testing.assert_close(out[row], expected, rtol=1e-12, atol=1e-12)
        truth = torch.autograd.grad(expected.square().sum(), [own, single.weight, single.bias])
        for a, b in zip(found, truth, strict=True):
            torch.testing.assert_close(a[row], b, rtol=1e-11, atol=1e-11)


def test_an_input_that_all_seeds_share(pair):
    function, params, singles = pair
    x = draw(4, 2, 7, 6)
    out = vmap(function, (0, None))(params, x)
    torch.testing.assert_close(out, torch.stack([single(x) for single in singles]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_autocast_reaches_a_stack(pair, shared):
    function, params, singles = pair
    params = {name: value.float() for name, value in params.items()}
    x = draw(SEEDS, 4, 2, 7, 6).float()
    x = x[:1].expand_as(x) if shared else x
    with torch.autocast("cpu", torch.bfloat16):
        out = vmap(function, (0, None))(params, x[0]) if shared else vmap(function)(params, x)
    assert out.dtype == torch.bfloat16
    exact = torch.stack([single(row.double()) for single, row in zip(singles, x, strict=True)])
    # Every number is rounded to 8 bits: products err by 2^-8 of their size, and there are at most 18 and a bias.
    assert (out - exact).abs().max() < 19 * 2**-8 * exact.abs().max()
    assert not torch.equal(out.double(), exact)
