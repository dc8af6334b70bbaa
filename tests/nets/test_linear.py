"""The seed-aware Linear against a plain loop over seeds: values, gradients, double gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from seedbed.core import functorch
from seedbed.core.products import linear
from seedbed.nets.linear import Linear
from seedbed.nets.mlp import MLP

SEEDS = 3


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def per_seed(function, dims, *stacks) -> Tensor:
    rows = []
    for s in range(SEEDS):
        rows.append(function(*(t if d is None else t.select(d, s) for t, d in zip(stacks, dims, strict=True))))
    return torch.stack(rows)


@pytest.mark.parametrize("shape", [(), (7,), (2, 7), (0,)])
@pytest.mark.parametrize("bias", [True, False])
def test_value_and_gradient(shape, bias):
    stacks = [draw(SEEDS, *shape, 4), draw(SEEDS, 5, 4), draw(SEEDS, 5)]
    stacks = [t.requires_grad_() for t in stacks]

    def one(x, w, b):
        return linear(x, w, b if bias else None).tanh()

    def results(out: Tensor) -> tuple[Tensor | None, ...]:
        return out, *torch.autograd.grad(out.square().sum(), stacks, allow_unused=True)

    for a, b in zip(results(vmap(one)(*stacks)), results(per_seed(one, (0, 0, 0), *stacks)), strict=True):
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    "dims", [(1, 0, 0), (0, 1, 0), (0, 2, 1), (2, 2, 0), (None, 0, 0), (0, None, None), (0, 0, None), (0, None, 0)]
)
def test_any_batch_dimension(dims):
    def place(shape, d):
        return draw(*shape) if d is None else draw(SEEDS, *shape).movedim(0, d)

    stacks = [place(s, d) for s, d in zip(((7, 4), (5, 4), (5,)), dims, strict=True)]
    assert torch.allclose(vmap(linear, dims)(*stacks), per_seed(linear, dims, *stacks), atol=1e-12)


def test_the_fast_path_is_taken(monkeypatch):
    calls = []
    real = torch.baddbmm
    monkeypatch.setattr(torch, "baddbmm", lambda *a: calls.append(1) or real(*a))
    vmap(linear)(draw(SEEDS, 7, 4), draw(SEEDS, 5, 4), draw(SEEDS, 5))
    assert calls


def test_without_functorch_names(monkeypatch):
    monkeypatch.setattr(functorch, "AVAILABLE", False)
    stacks = draw(SEEDS, 7, 4), draw(SEEDS, 5, 4), draw(SEEDS, 5)
    assert torch.allclose(vmap(linear)(*stacks), per_seed(linear, (0, 0, 0), *stacks), atol=1e-12)


def penalised(module: nn.Module, params: dict[str, Tensor], x: Tensor) -> Tensor:
    """A function of the gradient in x (under a nested grad) and, beside it, of the plain output."""
    gradient = grad(lambda at: functional_call(module, params, (at,)).sum())(x)
    return gradient.square().sum(-1) + functional_call(module, params, (x,)).squeeze(-1)


def test_double_backward_under_vmap():
    modules = [MLP(4, (6, 6), 1, "tanh").double() for _ in range(SEEDS)]
    for s, module in enumerate(modules):
        generator = torch.Generator().manual_seed(s)
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    params = {
        k: torch.stack([dict(m.named_parameters())[k] for m in modules]).detach().requires_grad_()
        for k, _ in modules[0].named_parameters()
    }
    x = draw(SEEDS, 7, 4)
    out = vmap(lambda p, x: penalised(modules[0], p, x))(params, x)
    grads = torch.autograd.grad(out.sum(), list(params.values()))
    for s, module in enumerate(modules):
        own = dict(module.named_parameters())
        expected = penalised(module, own, x[s])
        assert torch.allclose(out[s], expected, atol=1e-10)
        for stacked, single in zip(
            grads, torch.autograd.grad(expected.sum(), list(own.values()), allow_unused=True), strict=True
        ):
            assert torch.allclose(stacked[s], single, atol=1e-10)


def test_gradient_of_gradient_outside_vmap():
    x, w, b = (t.requires_grad_() for t in (draw(SEEDS, 7, 4), draw(SEEDS, 5, 4), draw(SEEDS, 5)))

    def second(f) -> tuple[Tensor, ...]:
        (g,) = torch.autograd.grad(f().tanh().sum(), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), (w, b))

    ours = second(lambda: vmap(linear)(x, w, b))
    for a, e in zip(ours, second(lambda: per_seed(linear, (0, 0, 0), x, w, b)), strict=True):
        assert torch.allclose(a, e, atol=1e-12)


def test_under_nested_grad_on_parameters():
    x, w, b = draw(SEEDS, 7, 4), draw(SEEDS, 5, 4), draw(SEEDS, 5)

    def one(x, w, b):
        return grad(lambda w: linear(x, w, b).tanh().sum())(w)

    assert torch.allclose(vmap(one)(x, w, b), per_seed(one, (0, 0, 0), x, w, b), atol=1e-12)


def test_nested_vmap():
    x, w, b = draw(2, SEEDS, 7, 4), draw(2, SEEDS, 5, 4), draw(2, SEEDS, 5)
    both = vmap(vmap(linear))(x, w, b)
    inner_only = vmap(vmap(linear, (0, None, None)), (0, 0, 0))(x, w[:, 0], b[:, 0])
    assert torch.allclose(both, torch.einsum("snbi,snoi->snbo", x, w) + b[:, :, None], atol=1e-12)
    assert torch.allclose(inner_only, torch.einsum("snbi,soi->snbo", x, w[:, 0]) + b[:, None, None, 0], atol=1e-12)


def test_respects_autocast():
    stacks = [t.float() for t in (draw(SEEDS, 7, 4), draw(SEEDS, 5, 4), draw(SEEDS, 5))]
    with torch.autocast("cpu", torch.bfloat16):
        assert vmap(linear)(*stacks).dtype == torch.bfloat16


def test_same_parameters_as_torch():
    ours, theirs = Linear(4, 5), nn.Linear(4, 5)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
