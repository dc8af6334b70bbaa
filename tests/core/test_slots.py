"""A module lent other numbers gives what a module that owns them gives, acts on the context, and is as it was afterwards."""

import copy

import pytest
import torch
from torch import Tensor, nn

from seedbed.core.context import Context, State
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Noise, Streams
from seedbed.core.slots import Slots, couples_examples
from seedbed.core.stack import Stack

SEEDS = [Streams(seed) for seed in range(3)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def modules(build, count: int = 3) -> list[nn.Module]:
    """Of every seed, each parameter and floating-point buffer away from where it starts."""
    built = [build().double() for _ in range(count)]
    with torch.no_grad():
        for row, module in enumerate(built):
            for number, tensor in enumerate(module.parameters()):
                tensor.copy_(draw(*tensor.shape, seed=100 * row + number))
    return built


def stacked(built: list[nn.Module]) -> Stack:
    return Stack.of(built, SEEDS[: len(built)], "fp64")


def contents(module: nn.Module) -> dict[str, object]:
    """Whatever the module and its parts hold, by place: the very objects."""
    found = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for held in (part._parameters, part._buffers, part._modules, part.__dict__):
            found |= {f"{path}/{id(held)}/{name}": value for name, value in held.items()}
        if isinstance(part, nn.RNNBase):
            found |= {f"{path}/flat/{i}": weight for i, weight in enumerate(part._flat_weights)}
    return found


def unchanged(before: dict[str, object], after: dict[str, object]) -> bool:
    return before.keys() == after.keys() and all(value is after[name] for name, value in before.items())


class Aliased(nn.Module):
    """One layer under three names, one of them of a container that is itself there twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.body = nn.Sequential(self.first, nn.Tanh(), nn.Linear(4, 4))
        self.again = self.body
        self.last = nn.ModuleDict({"out": self.first})

    def forward(self, x: Tensor) -> Tensor:
        return self.last["out"](self.again(x)) + self.first(self.body(x)).sin()


class Tied(nn.Module):
    """Two layers of their own with one weight, which a plain attribute of a list of parameters holds as well."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.out.weight = self.embed.weight
        self.extra = nn.ParameterList([self.embed.weight, nn.Parameter(torch.zeros(5))])

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.out(self.embed.weight[:3] * x[..., :4])) @ self.extra[0] * self.extra[1].sum()


class Shared(nn.Module):
    """A buffer in two places, and one that differs between the seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 1.0]))
        self.inner = nn.Linear(4, 4)
        self.inner.register_buffer("mask", self.mask)
        self.register_buffer("own", torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * self.mask) * self.inner.mask + self.own


@pytest.mark.parametrize("build", [Aliased, Tied, Shared])
@pytest.mark.parametrize("count", [1, 3])
def test_values_and_gradients_are_those_of_plain_calls(build, count):
    built, x = modules(build, count), draw(3, 4)
    many = stacked(copy.deepcopy(built))
    before = contents(many.module)
    trained = {name for name, _ in built[0].named_parameters()}
    params = {name: value.clone().requires_grad_(name in trained) for name, value in many.params.items()}
    out = many.replace(params).call(lambda model, x, ctx: model(x), noise=many.noise("noise"), shared=(x,))
    grads = torch.autograd.grad(out.square().sum(), [params[name] for name in sorted(trained)])
    for row, module in enumerate(built):
        expected = module(x)
        assert torch.allclose(out[row], expected, atol=1e-12)
        own = dict(module.named_parameters())
        truth = torch.autograd.grad(expected.square().sum(), [own[name] for name in sorted(trained)])
        for name, a, b in zip(sorted(trained), grads, truth, strict=True):
            assert torch.allclose(a[row], b, atol=1e-10), name
    assert unchanged(before, contents(many.module))


@pytest.mark.parametrize("build", [Aliased, Tied, Shared])
def test_a_nested_gradient_in_the_lent_numbers(build):
    """As a leapfrog takes it: a gradient in x of a model that is lent numbers, differentiated in those."""
    built, x = modules(build), draw(3, 4)
    many = stacked(copy.deepcopy(built))
    slope = lambda model, x, ctx: torch.func.grad(lambda at: model(at).square().sum())(x)
    params = {name: value.clone().requires_grad_() for name, value in many.params.items()}
    out = many.replace(params).call(slope, noise=many.noise("noise"), shared=(x,))
    grads = torch.autograd.grad(out.square().sum(), list(params.values()), allow_unused=True)
    for row, module in enumerate(built):
        at = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(module(at).square().sum(), at, create_graph=True)
        assert torch.allclose(out[row], expected, atol=1e-10)
        own = {**dict(module.named_parameters())}
        truth = torch.autograd.grad(expected.square().sum(), list(own.values()), allow_unused=True)
        for name, b in zip(own, truth, strict=True):
            a = dict(zip(params, grads, strict=True))[name]
            assert (a is None and b is None) or torch.allclose(a[row], b, rtol=1e-9, atol=1e-9), name


def test_every_name_of_a_tensor_is_known():
    assert Slots(Aliased()).aliases == {
        f"first.{kind}": [f"{path}.{kind}" for path in ("first", "body.0", "again.0", "last.out")]
        for kind in ("weight", "bias")
    } | {f"body.2.{kind}": [f"body.2.{kind}", f"again.2.{kind}"] for kind in ("weight", "bias")}
    aliases = Slots(Tied()).aliases
    assert aliases["embed.weight"] == ["embed.weight", "out.weight", "extra.0"]
    for build in (Aliased, Tied, Shared):
        module = build()
        assert set(Slots(module).aliases) == {name for name, _ in (*module.named_parameters(), *module.named_buffers())}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "build", [Aliased, Tied, lambda: nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 4))]
)
def test_nothing_is_left_behind_by_an_exception(build, count):
    many = stacked(modules(build, count))
    before = contents(many.module)

    def failing(model: nn.Module, x: Tensor, ctx: Context) -> Tensor:
        torch.func.grad(lambda at: model(at).sum())(x)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            many.step(failing, noise=many.noise("noise"), shared=(draw(3, 4),))
    assert unchanged(before, contents(many.module))
    assert not any(torch._C._functorch.is_batchedtensor(p) for p in many.module.parameters())
    copy.deepcopy(many.module)
    assert many.model(count - 1) is not many.module


def test_a_model_of_a_row_shares_nothing_and_keeps_what_is_shared_within_it():
    built = modules(Aliased)
    model = stacked(built).model(1)
    assert model.first is model.body[0] is model.again[0] is model.last["out"]
    assert torch.equal(model.first.weight, built[1].first.weight) and not model.training
    with torch.no_grad():
        model.first.weight.zero_()
    assert not torch.equal(built[1].first.weight, model.first.weight)
    assert modules(Tied)[0].out.weight is not stacked(modules(Tied)).model(0).embed.weight
    tied = stacked(modules(Tied)).model(2)
    assert tied.out.weight is tied.embed.weight is tied.extra[0]


# --- batch norm ------------------------------------------------------------------------------------------------------------

NORMS = {
    "1d": (lambda **o: nn.BatchNorm1d(4, **o), (6, 4)),
    "1d of series": (lambda **o: nn.BatchNorm1d(4, **o), (6, 4, 5)),
    "2d": (lambda **o: nn.BatchNorm2d(4, **o), (6, 4, 3, 2)),
    "3d": (lambda **o: nn.BatchNorm3d(4, **o), (6, 4, 3, 2, 2)),
}
OPTIONS = {
    "plain": {},
    "slow": {"momentum": 0.01, "eps": 1e-2},
    "average of all": {"momentum": None},
    "no affine": {"affine": False},
    "untracked": {"track_running_stats": False},
}


class Behind(nn.Module):
    """A norm behind a layer, so that there is always a parameter."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.scale, self.norm = nn.Parameter(torch.ones(1)), norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x * self.scale)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("count", [1, 3])
def test_batch_norm_is_torch_s_in_training_and_evaluation(kind, options, count):
    """Values, gradients and statistics over three batches, then in evaluation, of every seed."""
    make, shape = NORMS[kind]
    theirs = modules(lambda: Behind(make(**options)), count)
    many = stacked(copy.deepcopy(theirs))
    before = contents(many.module)
    call = lambda model, x, ctx: model(x)
    for step in range(3):
        x = 2 * draw(count, *shape, seed=step) + 1
        params = {name: value.clone().requires_grad_() for name, value in many.params.items()}
        out, state = many.replace(params).step(call, x, noise=many.noise("noise", step))
        grads = dict(zip(params, torch.autograd.grad(out.pow(3).sum(), list(params.values())), strict=True))
        many = many.replace(many.params, state)
        for row, module in enumerate(theirs):
            expected = module(x[row])
            assert torch.allclose(out[row], expected, atol=1e-12)
            own = dict(module.named_parameters())
            truth = torch.autograd.grad(expected.pow(3).sum(), list(own.values()))
            assert all(torch.allclose(grads[name][row], g, atol=1e-10) for name, g in zip(own, truth, strict=True))
            assert {name for name, _ in module.named_buffers()} == state.keys()
            for name, buffer in module.named_buffers():
                assert torch.allclose(state[name][row], buffer, atol=1e-12) and state[name].dtype == buffer.dtype, name
    x = draw(count, *shape, seed=9)
    out = many.call(call, x, noise=many.noise("eval"))
    _, state = many.step(call, x, noise=many.noise("eval"), training=False)
    for row, module in enumerate(theirs):
        assert torch.allclose(out[row], module.eval()(x[row]), atol=1e-12)
        assert torch.allclose(out[row], many.model(row)(x[row]), atol=1e-12)
    assert all(torch.equal(value, many.state[name]) for name, value in state.items())
    assert unchanged(before, contents(many.module))


@pytest.mark.parametrize("count", [1, 3])
def test_whoever_reads_a_norm_s_statistics_reads_his_seed_s(count):
    many = stacked(modules(lambda: Behind(nn.BatchNorm1d(4)), count))
    before = contents(many.module)
    _, state = many.step(lambda model, x, ctx: model(x), draw(count, 6, 4), noise=many.noise("noise"))
    many = many.replace(many.params, state)
    read = many.call(lambda model, ctx: model.norm.running_mean + 0 * model.scale, noise=many.noise("eval"))
    assert torch.equal(read, state["norm.running_mean"]) and not torch.equal(read[0], torch.zeros(4).double())
    assert unchanged(before, contents(many.module))


@pytest.mark.parametrize("count", [1, 3])
def test_a_second_batch_of_a_step_counts_too_and_one_norm_under_two_names_counts_once(count):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.alias = self.norm

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) + self.alias(2 * x + 1)

    theirs, x = modules(Twice, count), draw(6, 4)
    many = stacked(copy.deepcopy(theirs))
    out, state = many.step(lambda model, x, ctx: model(x), noise=many.noise("noise"), shared=(x,))
    for row, module in enumerate(theirs):
        assert torch.allclose(out[row], module(x), atol=1e-12)
        assert state["norm.num_batches_tracked"][row] == module.norm.num_batches_tracked == 2
        assert torch.allclose(state["norm.running_mean"][row], module.norm.running_mean, atol=1e-12)
        assert torch.allclose(state["norm.running_var"][row], module.norm.running_var, atol=1e-12)
    assert set(state) == {f"norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.parametrize("count", [1, 3])
def test_a_nested_gradient_sees_the_batch_and_writes_nothing(count):
    theirs, x = modules(lambda: Behind(nn.BatchNorm1d(4)), count), draw(6, 4)
    many = stacked(copy.deepcopy(theirs))

    def slope(model: nn.Module, x: Tensor, ctx: Context) -> Tensor:
        return torch.func.grad(lambda at: model(at).pow(3).sum())(x)

    out, state = many.step(slope, noise=many.noise("noise"), shared=(x,))
    for row, module in enumerate(theirs):
        at = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(module(at).pow(3).sum(), at)
        assert torch.allclose(out[row], expected, atol=1e-10)
    assert all(torch.equal(value, many.state[name]) for name, value in state.items())
    # What the same utility sees outside of it, it remembers.
    _, state = many.step(lambda model, x, ctx: slope(model, x, ctx) + model(x), noise=many.noise("noise"), shared=(x,))
    assert state["norm.num_batches_tracked"].tolist() == [1] * count


def test_statistics_of_a_bf16_forward_are_full_precision():
    module = Behind(nn.BatchNorm1d(4))
    x = draw(64, 4).bfloat16()
    slots = Slots(module)
    state = State(dict(module.named_buffers()))
    with slots.lent({}, Context(Noise(SEEDS[:1], "noise"), True, state)):
        module.norm(x)
    assert state["norm.running_mean"].dtype == torch.float32
    assert torch.allclose(state["norm.running_mean"], 0.1 * x.float().mean(0), atol=1e-6)
    assert torch.allclose(state["norm.running_var"], 0.9 + 0.1 * x.float().var(0), atol=1e-5)


def test_shapes_that_torch_refuses_are_refused():
    many = stacked(modules(lambda: Behind(nn.BatchNorm2d(4)), 1))
    with pytest.raises(ValueError, match="expected 4D input"):
        many.step(lambda model, x, ctx: model(x), noise=many.noise("noise"), shared=(draw(6, 4),))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        many.step(lambda model, x, ctx: model(x), noise=many.noise("noise"), shared=(draw(1, 4, 1, 1),))


def test_who_couples_examples():
    tracked, untracked = nn.Sequential(nn.BatchNorm1d(4)), nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False))
    plain = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout())
    assert [couples_examples(m) for m in (tracked, untracked, plain)] == [True, True, False]
    assert [couples_examples(m, training=False) for m in (tracked, untracked, plain)] == [False, True, False]


# --- dropout ---------------------------------------------------------------------------------------------------------------


class Dropping(nn.Module):
    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.scale, self.drop = nn.Parameter(torch.ones(())), drop

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.scale * x)


def dropped(drop: nn.Module, x: Tensor, noise: Noise, training: bool = True, count: int = 3) -> Tensor:
    many = Stack.of([Dropping(drop)] * count, SEEDS[:count])
    return many.step(lambda model, x, ctx: model(x), noise=noise, shared=(x,), training=training)[0].detach()


def training_noise(*address: int, stream: str = "noise", count: int = 3) -> Noise:
    return Noise(SEEDS[:count], stream, *address)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_keeps_its_share_and_the_mean(p):
    x = torch.full((400, 50), 3.0)
    out = dropped(nn.Dropout(p), x, training_noise(1))
    kept = out != 0
    n = kept[0].numel()
    assert ((kept.double().mean((1, 2)) - (1 - p)).abs() < 4.5 * (p * (1 - p) / n) ** 0.5).all()
    assert torch.allclose(out[kept], torch.tensor(3 / (1 - p)))
    # Independent between neighbours, in examples and in features.
    centred = kept.double() - (1 - p)
    for product in (centred[:, 1:] * centred[:, :-1], centred[..., 1:] * centred[..., :-1], centred[1:] * centred[:-1]):
        assert product.mean().abs() < 4.5 * p * (1 - p) / product.numel() ** 0.5


def test_a_mask_is_its_address_s_own():
    x, drop = torch.ones(40, 30), nn.Dropout(0.5)
    first = dropped(drop, x, training_noise(1))
    assert torch.equal(first, dropped(drop, x, training_noise(1)))
    assert not torch.equal(first, dropped(drop, x, training_noise(2)))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[1], first[2])
    for row in range(3):
        alone = Stack.of([Dropping(drop)], [SEEDS[row]])
        noise = Noise([SEEDS[row]], "noise", 1)
        one, _ = alone.step(lambda model, x, ctx: model(x), noise=noise, shared=(x,))
        assert torch.equal(one[0], first[row])
    # Of a stream of its own: whatever else a model draws, and on whichever stream, the mask stays.
    many = Stack.of([Dropping(drop)] * 3, SEEDS)
    beside = many.step(lambda model, x, ctx: (ctx.noise.normal((7,)), model(x))[1], noise=training_noise(1), shared=(x,))[0]
    assert torch.equal(beside, first)
    assert torch.equal(first[0], 2 * (Noise(SEEDS[:1], "dropout", 1).uniform((30,), batch=40) >= 0.5).float())


def test_layers_and_calls_have_masks_of_their_own():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.one, self.other = nn.Dropout(0.5), nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * torch.stack([self.one(x), self.other(x), self.one(x)])

    many = Stack.of([Two()] * 2, SEEDS[:2])
    masks, _ = many.step(lambda model, x, ctx: model(x), noise=many.noise("noise", 1), shared=(torch.ones(9, 30),))
    assert not any(torch.equal(masks[0, i], masks[0, j]) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.Dropout1d, (50, 8, 5)), (nn.Dropout2d, (50, 8, 3, 2)), (nn.Dropout3d, (50, 8, 3, 2, 2))]
)
def test_dropout_of_channels_drops_them_whole(kind, shape):
    out = dropped(kind(0.3), torch.ones(shape), training_noise(1)).flatten(3)
    assert bool(((out == 0).all(-1) | (out == 1 / 0.7).all(-1)).all())
    kept = (out != 0).all(-1).double()
    assert (kept.mean((1, 2)) - 0.7).abs().max() < 4.5 * (0.21 / 400) ** 0.5
    assert kept.mean(2).std() > 0 and kept.mean(1).std() > 0


@pytest.mark.parametrize("drop", [nn.Dropout(0.5), nn.Dropout2d(0.5)])
def test_nothing_is_dropped_in_evaluation_or_with_probability_0(drop):
    x = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dropped(drop, x, EvalNoise(SEEDS, "test"), training=False), x.expand(3, *x.shape))
    assert torch.equal(dropped(type(drop)(0.0), x, training_noise(1)), x.expand(3, *x.shape))
    assert torch.equal(dropped(type(drop)(1.0), x, training_noise(1)), torch.zeros(3, *x.shape))
    # The module's own mode has no say.
    assert not drop.eval().training and not torch.equal(dropped(drop, x, training_noise(1)), x.expand(3, *x.shape))
    drop.train()
    assert torch.equal(dropped(drop, x, training_noise(1), training=False), x.expand(3, *x.shape))


def test_gradients_and_nested_gradients_meet_the_mask():
    module, x = Dropping(nn.Dropout(0.5)), torch.ones(40, 30)
    many = Stack.of([module] * 2, SEEDS[:2])

    def both(model: nn.Module, x: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
        return model(x), torch.func.grad(lambda at: model(at).sum())(x)

    params = {name: value.clone().requires_grad_() for name, value in many.params.items()}
    (out, slope), _ = many.replace(params).step(both, noise=many.noise("noise", 1), shared=(x,))
    (gradient,) = torch.autograd.grad(out.sum(), list(params.values()), retain_graph=True)
    assert torch.allclose(gradient, out.detach().sum((1, 2)))
    assert set(slope.detach().unique().tolist()) == {0.0, 2.0} and not torch.equal(slope, out)


class Louder(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Quieter(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


def test_a_forward_pass_that_would_not_be_called_is_refused():
    with pytest.raises(SeedbedError, match=r"Louder changes the forward pass .* module of your own"):
        Slots(nn.Sequential(Louder(4)))
    for layer in (nn.BatchNorm1d(4), nn.SyncBatchNorm(4), nn.Dropout2d(0.5), nn.AlphaDropout(0.5)):
        Slots(nn.Sequential(layer))
    x = torch.ones(9, 4)
    halved = dropped(Quieter(0.5), x, training_noise(1))
    assert torch.equal(halved, dropped(nn.Dropout(0.5), x, training_noise(1)) / 2)


# --- recurrent layers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_a_recurrent_layer_of_one_seed_uses_the_lent_weights(kind, options):
    (theirs,), x = modules(lambda: kind(3, 4, batch_first=True, **options), 1), draw(2, 5, 3)
    many = stacked(copy.deepcopy([theirs]))
    with torch.no_grad():
        for p in many.module.parameters():
            p.zero_()  # its own, which are never used
    before = contents(many.module)
    params = {name: value.clone().requires_grad_() for name, value in many.params.items()}
    out = many.replace(params).call(lambda model, x, ctx: model(x)[0], noise=many.noise("noise"), shared=(x,))
    expected = theirs(x)[0]
    assert torch.allclose(out[0], expected, atol=1e-12)
    found = torch.autograd.grad(out.square().sum(), list(params.values()))
    truth = torch.autograd.grad(expected.square().sum(), list(theirs.parameters()))
    assert all(torch.allclose(a[0], b, atol=1e-10) for a, b in zip(found, truth, strict=True))
    assert unchanged(before, contents(many.module))
    assert torch.equal(many.module(x)[0], torch.zeros_like(expected))  # a plain call uses them
