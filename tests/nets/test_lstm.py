"""The recurrent cell against torch's own."""

import torch
from torch import nn
from torch.func import functional_call, vmap

from seedbed.nets.lstm import LSTMCell


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def pair() -> tuple[LSTMCell, nn.LSTMCell]:
    """Both with torch's weights."""
    theirs, ours = nn.LSTMCell(3, 4).double(), LSTMCell(3, 4).double()
    with torch.no_grad():
        ours.gates.weight.copy_(torch.cat([theirs.weight_ih, theirs.weight_hh], 1))
        ours.gates.bias.copy_(theirs.bias_ih + theirs.bias_hh)
    return ours, theirs


def test_it_is_torch_s_cell():
    ours, theirs = pair()
    a = b = (draw(5, 4), draw(5, 4))
    for t in range(3):
        x = draw(5, 3) + t
        a, b = ours(x, a), theirs(x, b)
    assert torch.allclose(a[0], b[0], atol=1e-12) and torch.allclose(a[1], b[1], atol=1e-12)
    grads = torch.autograd.grad(a[0].sum() + a[1].square().sum(), list(ours.parameters()))
    expected = torch.autograd.grad(b[0].sum() + b[1].square().sum(), [theirs.weight_ih, theirs.weight_hh, theirs.bias_ih])
    assert torch.allclose(grads[0], torch.cat(expected[:2], 1), atol=1e-12)
    assert torch.allclose(grads[1], expected[2], atol=1e-12)


def test_initialised_as_torch_s():
    torch.manual_seed(0)
    weight = LSTMCell(30, 64).gates.weight
    assert weight.abs().max() < 1 / 8
    assert abs(weight.std().item() * 8 * 3**0.5 - 1) < 0.02


def test_an_input_that_stays_may_be_given_as_a_shift():
    ours, _ = pair()
    x, state = draw(5, 3), (draw(5, 4), draw(5, 4))
    part = x * torch.tensor([0.0, 1.0, 1.0])
    shift = (x - part) @ ours.gates.weight[:, :3].T
    assert torch.allclose(ours(part, state, shift)[0], ours(x, state)[0], atol=1e-12)


def test_states_broadcast_with_inputs():
    ours, _ = pair()
    x, h, c = draw(2, 5, 3), draw(4), draw(5, 4)
    out = ours(x, (h, c))
    for k in range(2):
        assert torch.allclose(out[0][k], ours(x[k], (h.expand(5, 4), c))[0], atol=1e-12)


def test_a_stack_of_seeds_equals_the_loop():
    ours, _ = pair()
    params = {k: torch.stack([p, 2 * p, -p]).detach() for k, p in ours.named_parameters()}
    x, h = draw(3, 5, 3), draw(3, 5, 4)
    run = lambda p, x, h: functional_call(ours, p, (x, (h, h)))[1]
    out = vmap(run)(params, x, h)
    for s in range(3):
        assert torch.allclose(out[s], run({k: p[s] for k, p in params.items()}, x[s], h[s]), atol=1e-12)
