"""The optimisers are torch.optim's to the last term, for every seed of a stack at its own step size."""

import pytest
import torch

from seedbed.train.optim import OPTIMIZERS, SGD, Adam, Adamax, AdamW, RMSProp
from seedbed.train.schedules import cosine

STEPS, SEEDS, SIZE = 50, 3, 7
RULES = {
    "adam": (Adam, torch.optim.Adam, {}, {}),
    "adam-betas": (Adam, torch.optim.Adam, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3}, {"betas": (0.5, 0.9), "eps": 1e-3}),
    "adam-no-momentum": (Adam, torch.optim.Adam, {"beta1": 0.0}, {"betas": (0.0, 0.999)}),
    "adamw": (AdamW, torch.optim.AdamW, {}, {}),
    "adamax": (Adamax, torch.optim.Adamax, {}, {}),
    "rmsprop": (RMSProp, torch.optim.RMSprop, {"alpha": 0.9}, {"alpha": 0.9}),
    "sgd": (SGD, torch.optim.SGD, {}, {}),
    "sgd-momentum": (SGD, torch.optim.SGD, {"momentum": 0.9}, {"momentum": 0.9}),
}


def problem(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(SEEDS, SIZE, generator=generator, dtype=torch.float64)
    noise = torch.randn(STEPS, SEEDS, SIZE, generator=generator, dtype=torch.float64)
    scale = 10.0 ** torch.linspace(-3, 2, SIZE, dtype=torch.float64)  # gradients of very different sizes
    return start.to(dtype), lambda x, step: scale.to(x) * noise[step].to(x) + 0.5 * x


def ours(rule, dtype=torch.float64, rows=slice(None)):
    """Parameters after each step, ``[steps, seeds, size]``."""
    start, gradient = problem(dtype)
    schedule, lrs = cosine(warmup=0.1), torch.tensor([[0.01], [0.03], [0.1]], dtype=dtype)
    params, path = start.clone()[rows], []
    state = rule.init(params)
    for step in range(STEPS):
        full = start.clone()
        full[rows] = params
        params, state = rule.update(params, gradient(full, step)[rows], state, lrs[rows] * schedule(step, STEPS))
        path.append(params)
    return torch.stack(path)


def theirs(make):
    start, gradient = problem()
    schedule, paths = cosine(warmup=0.1), []
    for seed, lr in enumerate((0.01, 0.03, 0.1)):
        x = torch.nn.Parameter(start[seed].clone())
        optimizer, path = make([x]), []
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = lr * schedule(step, STEPS)
            full = start.clone()
            full[seed] = x.detach()
            x.grad = gradient(full, step)[seed]
            optimizer.step()
            path.append(x.detach().clone())
        paths.append(torch.stack(path))
    return torch.stack(paths, 1)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", RULES)
def test_agrees_with_torch(name, decay):
    rule, reference, options, reference_options = RULES[name]
    path = ours(rule(weight_decay=decay, **options))
    expected = theirs(lambda params: reference(params, lr=1.0, weight_decay=decay, **reference_options))
    assert torch.allclose(path, expected, rtol=1e-10, atol=1e-10)
    moved = (path[-1] - path[0]).abs().amin(1)
    assert (moved > 0).all()


@pytest.mark.parametrize("name", RULES)
def test_seeds_do_not_see_each_other(name):
    rule, _, options, _ = RULES[name]
    stacked = ours(rule(weight_decay=0.1, **options), torch.float32)
    for seed in range(SEEDS):
        assert torch.equal(ours(rule(weight_decay=0.1, **options), torch.float32, [seed])[:, 0], stacked[:, seed])


def test_weight_decay_changes_every_rule():
    for rule, _, options, _ in RULES.values():
        assert not torch.allclose(ours(rule(weight_decay=0.1, **options)), ours(rule(weight_decay=0.0, **options)))


def test_defaults_are_torchs():
    params = [torch.nn.Parameter(torch.zeros(1))]
    for name, reference in (
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
        ("adamax", torch.optim.Adamax),
    ):
        rule, defaults = OPTIMIZERS[name](), reference(params).defaults
        pairs = {"eps": "eps", "weight_decay": "weight_decay", "alpha": "alpha", "momentum": "momentum"}
        for mine, his in pairs.items():
            if hasattr(rule, mine):
                assert getattr(rule, mine) == defaults[his], (name, mine)
        if hasattr(rule, "beta1"):
            assert (rule.beta1, rule.beta2) == defaults["betas"]
