"""The optimisers are torch.optim's to the last term, for every seed of a stack at its own step size."""

import math

import pytest
import torch

from seedbed.train.optim import OPTIMIZERS, SGD, Adam, Adamax, AdamW, Optimizer, RMSProp, Soap
from seedbed.train.schedules import cosine

STEPS, SEEDS, SIZE = 50, 3, 7
RULES = {
    "adam": (Adam, torch.optim.Adam, {}, {}),
    "adam-betas": (Adam, torch.optim.Adam, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3}, {"betas": (0.5, 0.9), "eps": 1e-3}),
    "adam-no-momentum": (Adam, torch.optim.Adam, {"beta1": 0.0}, {"betas": (0.0, 0.999)}),
    "adam-epsilon": (Adam, torch.optim.Adam, {"eps": 0.3}, {"eps": 0.3}),
    "adamw": (AdamW, torch.optim.AdamW, {}, {}),
    "adamw-epsilon": (AdamW, torch.optim.AdamW, {"beta2": 0.9, "eps": 0.3}, {"betas": (0.9, 0.9), "eps": 0.3}),
    "adamax": (Adamax, torch.optim.Adamax, {}, {}),
    "adamax-epsilon": (Adamax, torch.optim.Adamax, {"beta1": 0.5, "eps": 0.3}, {"betas": (0.5, 0.999), "eps": 0.3}),
    "rmsprop": (RMSProp, torch.optim.RMSprop, {"alpha": 0.9}, {"alpha": 0.9}),
    "rmsprop-epsilon": (RMSProp, torch.optim.RMSprop, {"eps": 0.3}, {"eps": 0.3}),
    "sgd": (SGD, torch.optim.SGD, {}, {}),
    "sgd-momentum": (SGD, torch.optim.SGD, {"momentum": 0.9}, {"momentum": 0.9}),
}


@pytest.fixture(params=["cpu", "accelerator"])
def either(request, monkeypatch):
    """Adam and what is made of it as a CPU runs it, in one fused pass, and as every other device does, by its rule."""
    if request.param == "accelerator":
        monkeypatch.delattr(Adam, "update")
        assert Adam.update is AdamW.update is Optimizer.update


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
@pytest.mark.usefixtures("either")
def test_agrees_with_torch(name, decay):
    rule, reference, options, reference_options = RULES[name]
    path = ours(rule(weight_decay=decay, **options))
    expected = theirs(lambda params: reference(params, lr=1.0, weight_decay=decay, **reference_options))
    assert torch.allclose(path, expected, rtol=1e-10, atol=1e-10)
    moved = (path[-1] - path[0]).abs().amin(1)
    assert (moved > 0).all()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.usefixtures("either")
def test_seeds_do_not_see_each_other(name):
    rule, _, options, _ = RULES[name]
    stacked = ours(rule(weight_decay=0.1, **options), torch.float32)
    for seed in range(SEEDS):
        assert torch.equal(ours(rule(weight_decay=0.1, **options), torch.float32, [seed])[:, 0], stacked[:, seed])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.usefixtures("either")
def test_every_seed_counts_its_own_steps(name):
    """One that joins late is corrected for its own first steps, not for those of the others."""
    rule, _, options, _ = RULES[name]
    rule, (start, gradient) = rule(weight_decay=0.1, **options), problem()
    lr, late = torch.full((1, 1), 0.01, dtype=torch.float64), 10

    def alone(seed, steps):
        params, state = start[[seed]], rule.init(start[[seed]])
        for step in range(steps):
            params, state = rule.update(params, gradient(start, step)[[seed]], state, lr)
        return params, state

    (first, old), (_, new) = alone(0, late), alone(1, 0)
    params, state = torch.cat((first, start[[1]])), {key: torch.cat((old[key], new[key])) for key in old}
    for step in range(5):
        grads = torch.stack((gradient(start, late + step)[0], gradient(start, step)[1]))
        params, state = rule.update(params, grads, state, lr.expand(2, 1))
    assert state["t"].flatten().tolist() == [late + 5, 5]
    torch.testing.assert_close(params, torch.cat((alone(0, late + 5)[0], alone(1, 5)[0])), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("either")
def test_the_first_step_of_adam_is_in_closed_form():
    """m / (1 - b1) = g and v / (1 - b2) = g^2, so that x - lr w x - lr g / (|g| + eps): all three terms on one line."""
    x, g = (torch.randn(2, 5, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1))
    lr = torch.tensor([[0.1], [0.4]], dtype=torch.float64)
    for rule, decay in ((AdamW(weight_decay=0.5, eps=0.2), 0.5), (Adam(eps=0.2), 0.0)):
        found, _ = rule.update(x, g, rule.init(x), lr)
        torch.testing.assert_close(found, x - lr * decay * x - lr * g / (g.abs() + 0.2), rtol=1e-12, atol=1e-12)
    g_decayed, rule = g + 0.5 * x, Adam(weight_decay=0.5, eps=0.2)
    found, _ = rule.update(x, g, rule.init(x), lr)
    torch.testing.assert_close(found, x - lr * g_decayed / (g_decayed.abs() + 0.2), rtol=1e-12, atol=1e-12)


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


SHAPES = ((4, 3), (5,), (6, 2, 2))  # a weight, a bias, filters


def quadratic(dtype=torch.float64):
    """The gradient of a badly scaled quadratic in every matrix, with noise: ``A W B`` plus a draw."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    sizes = [math.prod(shape) for shape in SHAPES]
    maps = [draw(size, size) for size in sizes]
    curvature = torch.block_diag(*(a @ torch.diag(10.0 ** torch.linspace(-2, 1, len(a)).double()) @ a.mT for a in maps))
    noise = draw(STEPS, SEEDS, sum(sizes))
    start = draw(SEEDS, sum(sizes)).to(dtype)
    return start, lambda x, step: x @ curvature.to(x) + 0.1 * noise[step].to(x)


def soap_path(rule, dtype=torch.float64, spoilt=None, shapes=SHAPES):
    start, gradient = quadratic(dtype)
    rule, params, path = rule.bind(shapes), start.clone(), []
    state = rule.init(params)
    for step in range(STEPS):
        grads = gradient(params, step)
        if spoilt is not None and step == STEPS // 2:
            grads[spoilt] = torch.nan
        params, state = rule.update(params, grads, state, torch.full((SEEDS, 1), 0.01, dtype=dtype))
        path.append(params)
    return torch.stack(path)


def reference_soap(seed, decay=0.0, every=4, memory=0.8, largest=5, beta1=0.9, beta2=0.99, eps=1e-8, lr=0.01):
    """One seed, each tensor on its own, every change of basis written as one Kronecker product of the flattened tensor."""
    start, gradient = quadratic()
    x, t = start[seed].clone(), 0
    kept = []
    for shape in SHAPES:
        rows, columns = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (math.prod(shape), 1)
        turned = [len(shape) > 1 and side <= largest for side in (rows, columns)]
        zeros = torch.zeros(rows * columns, dtype=torch.float64)
        outers = [torch.zeros(side, side, dtype=torch.float64) for side in (rows, columns)]
        bases = [torch.eye(side, dtype=torch.float64) for side in (rows, columns)]
        kept.append([rows, columns, turned, zeros.clone(), zeros.clone(), outers, bases])
    path = []
    for step in range(STEPS):
        full, t, place = gradient(start.index_put((torch.tensor(seed),), x), step)[seed] + decay * x, t + 1, 0
        new = []
        for tensor in kept:
            rows, columns, turned, m, v, outers, bases = tensor
            g = full[place : place + rows * columns]
            matrix = g.view(rows, columns)
            old = torch.kron(bases[0].contiguous(), bases[1].contiguous()).mT
            if (step + 1) % every == 0:
                for i, outer in enumerate((matrix @ matrix.mT, matrix.mT @ matrix)):
                    outers[i] = memory * outers[i] + (1 - memory) * outer
                    if turned[i]:
                        floor = 1e-4 * outers[i].trace() / len(outers[i]) * torch.eye(len(outers[i]), dtype=torch.float64)
                        bases[i] = torch.linalg.qr((outers[i] + floor) @ bases[i]).Q
            turn = torch.kron(bases[0].contiguous(), bases[1].contiguous()).mT
            v = (turn @ old.mT) ** 2 @ v
            if (step + 1) % every == 0 and step and any(turned):
                v = torch.maximum(v, (1 - beta2**step) / (1 - beta1**step) ** 2 * (turn @ m) ** 2)
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * (turn @ g) ** 2
            tensor[3], tensor[4] = m, v
            adam = (turn @ m) / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + eps)
            new.append(x[place : place + rows * columns] - lr * turn.mT @ adam)
            place += rows * columns
        x = torch.cat(new)
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize(("decay", "eps"), [(0.0, 1e-8), (0.1, 1e-8), (0.1, 0.3)])
@pytest.mark.usefixtures("either")
def test_soap_is_adam_in_a_basis_that_turns(decay, eps):
    path = soap_path(Soap(every=4, memory=0.8, largest=5, weight_decay=decay, eps=eps))
    for seed in range(SEEDS):
        torch.testing.assert_close(path[:, seed], reference_soap(seed, decay, eps=eps), rtol=1e-7, atol=1e-7)
    assert not torch.allclose(path, soap_path(Adam(beta2=0.99, weight_decay=decay, eps=eps)), atol=1e-3)


@pytest.mark.usefixtures("either")
def test_soap_without_matrices_is_adam():
    path = soap_path(Soap(largest=1))
    torch.testing.assert_close(path, soap_path(Adam(beta2=0.99)), rtol=1e-12, atol=1e-12)


def test_soaps_basis_becomes_the_eigenvectors():
    generator = torch.Generator().manual_seed(2)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q for n in (4, 3))
    scales = torch.tensor([[8.0, 4.0, 2.0, 1.0]]).double().mT * torch.tensor([[9.0, 3.0, 1.0]]).double()
    rule = Soap(every=1, memory=0.99).bind([(4, 3)])
    params = torch.zeros(1, 12, dtype=torch.float64)
    state = rule.init(params)
    for _ in range(2000):
        gradient = left @ (scales * torch.randn(4, 3, generator=generator, dtype=torch.float64)) @ right.mT
        _, state = rule.update(params, gradient.reshape(1, -1), state, torch.full((1, 1), 1e-3, dtype=torch.float64))
    for side, truth in (("left", left), ("right", right)):
        basis = state[f"0.{side}.basis"][0]
        torch.testing.assert_close(basis.mT @ basis, torch.eye(len(basis), dtype=torch.float64))
        # The outer products are means of about a hundred: eigenvectors err by a tenth at most.
        assert ((basis * truth).sum(0).abs() > 0.98).all()


def test_no_turn_of_soaps_basis_makes_a_step_longer_than_adams():
    """Adam's |m| / sqrt(v) is at most (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)), by Cauchy and Schwarz: turned, too."""
    generator = torch.Generator().manual_seed(3)
    axes = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q
    scales = 10.0 ** torch.linspace(0, -4, 8, dtype=torch.float64)
    rule = Soap(every=5).bind([(8, 6)])
    params, longest = torch.zeros(1, 48, dtype=torch.float64), 0.0
    state = rule.init(params)
    for step in range(400):
        gradient = axes @ (scales[:, None] * torch.randn(8, 6, generator=generator, dtype=torch.float64))
        gradient[:, -1] *= step % 50 == 0  # a rare input: nothing corrects what is done in the meantime
        scales = scales.flip(0) if step % 100 == 0 else scales
        params, state = rule.update(params, gradient.reshape(1, -1), state, torch.ones(1, 1, dtype=torch.float64))
        corrected = (1 - 0.99 ** (step + 1)) ** 0.5 / (1 - 0.9 ** (step + 1))
        longest = max(longest, float((state["m"].abs() / state["v"].sqrt()).max()) * corrected)
    assert longest < 0.1 / math.sqrt(0.01 * (1 - 0.81 / 0.99)), longest


def test_a_lost_seed_does_not_turn_the_others():
    sound, spoilt = soap_path(Soap(every=5)), soap_path(Soap(every=5), spoilt=1)
    assert torch.equal(sound[:, [0, 2]], spoilt[:, [0, 2]])
    assert not torch.isfinite(spoilt[-1, 1]).any()
