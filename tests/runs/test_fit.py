"""``seedbed.fit``: any module, any data, a loss of one's own; what goes wrong is one line, and writes nothing."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import seedbed
from seedbed.cli.main import main
from seedbed.core.errors import SeedbedError
from seedbed.data.own import from_arrays
from seedbed.experiments.own import fitted, made
from seedbed.experiments.source import fingerprint

X = np.random.default_rng(0).normal(size=(200, 4)).astype("float32") @ np.diag([3, 1, 0.1, 0.1]).astype("float32")
FEW = {"seeds": 3, "steps": 6, "eval_every": 3, "batch_size": 20}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Coder(nn.Module):
    """Any module that knows nothing of Seedbed: batch norm, dropout, tied weights."""

    def __init__(self, features, width=2):
        super().__init__()
        self.into, self.norm, self.drop = nn.Linear(features, width), nn.BatchNorm1d(width), nn.Dropout(0.1)
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x):
        return F.linear(self.drop(torch.tanh(self.norm(self.into(x)))), self.into.weight.T, self.bias)


def error(net, x):
    return (net(x) - x).square().sum(-1)


def test_the_number_is_the_loss_of_what_was_trained():
    """The test metric is the mean, in evaluation mode, of the loss of the models that the run gives back."""
    run = seedbed.fit(Coder, X, loss=error, **FEW)
    data = run.experiment.data.load()
    test = run.table[(run.table["split"] == "test") & (run.table["metric"] == "loss")].set_index("seed")["value"]
    for seed, model in zip(run.seeds, run.models, strict=True):
        assert isinstance(model, Coder)
        with torch.no_grad():
            assert float(error(model, data.splits["test"][:]).mean()) == pytest.approx(test[seed], rel=1e-5)
    assert run.manifest.experiment == "Coder" and run.path.parent == Path("runs/Coder").absolute()


def test_it_learns_the_best_that_there_is():
    """A linear autoencoder comes to the principal subspace: what is left is the smallest singular values' share."""
    net = lambda: nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4))
    run = seedbed.fit(net, X, loss=error, name="pca", seeds=2, steps=300, lr=0.1, batch_size=160, eval_every=300)
    train = run.experiment.data.load().splits["train"][:]
    centred = train - train.mean(0)
    least = torch.linalg.svdvals(centred)[2:].square().sum() / len(train)
    for model in run.models:
        with torch.no_grad():
            assert float(error(model, train).mean()) == pytest.approx(float(least), rel=0.02)


def test_a_utility_is_the_other_way_round_and_may_be_named(capsys):
    one = seedbed.fit(Coder, X, utility=lambda net, x: -error(net, x), name="one", metric="error", **FEW)
    two = seedbed.fit(Coder, X, loss=error, name="two", metric="error", metrics={"abs": _absolute}, **FEW)
    values = [run.table.query("split == 'test' and metric == 'error'")["value"].tolist() for run in (one, two)]
    assert values[0] == values[1] and "abs" in set(two.table["metric"])
    with pytest.raises(SystemExit):
        main(["compare", "one", "two"])
    assert "by error (lower is better)" in capsys.readouterr().out


def _absolute(net, x):
    return (net(x) - x).abs().sum(-1)


def test_continued_bit_for_bit_and_joined():
    whole = seedbed.fit(Coder, X, loss=error, out="a", **FEW)
    seedbed.fit(Coder, X, loss=error, out="b", **FEW | {"seeds": [0, 1, 2]})
    again = seedbed.fit(Coder, X, loss=error, out="b", **FEW | {"seeds": 4})
    key = ["seed", "step", "split", "metric", "value"]
    kept = again.table[again.table["seed"] < 3]
    assert whole.table[key].to_numpy().tolist() == kept[key].to_numpy().tolist() and again.seeds == [0, 1, 2, 3]


def test_changed_code_is_refused():
    scale = 1.0
    run = lambda **more: seedbed.fit(Coder, X, loss=lambda net, x: scale * error(net, x), name="mine", **FEW | more)
    first = run()
    assert run().path == first.path and run(steps=9).path != first.path  # other settings are another run
    scale = 2.0
    with pytest.raises(SeedbedError, match=r"^loss changed since runs/mine/\w+ began; choose another --name, or --again"):
        run()
    assert run(again=True).path == first.path


def test_data_of_every_kind(tmp_path):
    given = from_arrays({"train": X})
    runs = [
        seedbed.fit(Coder, data, loss=error, name="any", **FEW) for data in (X, torch.from_numpy(X), {"train": X}, given)
    ]
    assert len({run.path for run in runs}) == 1  # the same examples are the same data
    assert re.fullmatch(r"own-[0-9a-f]{8}", runs[0].manifest.data["name"])
    other = seedbed.fit(Coder, X + 1, loss=error, name="any", **FEW)
    assert other.path != runs[0].path
    assert seedbed.fit(Coder, "8gaussians", loss=error, name="any", **FEW).manifest.data["name"] == "8gaussians"


def test_opened_again_without_its_code():
    path = seedbed.fit(Coder, X, loss=error, **FEW).path
    run = seedbed.load(path)
    assert "loss" in set(run.table["metric"])
    with pytest.raises(SeedbedError, match=r"a module given in Python, Coder; pass it: load\(path, build=...\)"):
        len(run.models)
    models = seedbed.load(path, build=Coder).models
    assert len(models) == 3 and not any(part.training for part in models[0].modules())


class Draws(Coder):
    """As anyone writes a model that draws."""

    def sample(self, count):
        return self(torch.randn(count, 4))


def test_what_a_module_draws_comes_from_the_streams():
    run = seedbed.fit(Draws, X, loss=error, name="draws", **FEW)
    state = torch.get_rng_state()
    one, again = run.sample(5), seedbed.load(run.path, build=Draws).sample(5)
    assert one.shape == (3, 5, 4) and torch.equal(one, again) and torch.equal(one[1], run.sample(5, seed=1))
    model = run.models[0]
    assert isinstance(model, Draws)
    assert torch.equal(model.sample(6), model.sample(6)) and not torch.equal(model.sample(6), model.sample(6, seed=3))
    assert not torch.equal(model.sample(6), run.models[1].sample(6))
    assert torch.equal(torch.get_rng_state(), state) and len({*one.flatten().tolist()}) == one.numel()
    with pytest.raises(SeedbedError, match=r"other has no `sample\(count\)`: its model draws no examples"):
        seedbed.fit(Coder, X, loss=error, name="other", **FEW).sample(3)


def test_two_fits_get_a_verdict_and_a_page():
    one, other = (seedbed.fit(Coder, X, loss=error, name=name, lr=lr, **FEW) for name, lr in (("one", 1e-3), ("two", 0.3)))
    assert "two" in str(one.compare(other)) and "loss" in str(seedbed.compare(one, other))
    assert "two" in one._repr_html_() and one.report().is_file()


def test_what_needs_no_gradient_is_frozen():
    run = seedbed.fit(lambda: _frozen(), X, loss=error, name="frozen", **FEW)
    assert run.manifest.config["frozen"] == ["0.weight", "0.bias"]
    assert torch.equal(run.models[0][0].weight, torch.ones(4, 4))


def _frozen():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.ones_(net[0].weight)
    return net[:1].requires_grad_(False).extend(net[1:])


class Holds(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts, self.own = [nn.Linear(4, 4)], nn.Linear(4, 4)

    def forward(self, x):
        return self.own(self.parts[0](x))


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.calls = nn.Linear(4, 4), 0

    def forward(self, x):
        self.calls += 1
        return self.own(x)


def _raises(net, x):
    raise KeyError("nope")


ELSEWHERE = torch.zeros(4, device="meta")

REFUSED = {
    "another device": (Coder, {"loss": lambda net, x: (net(x) - ELSEWHERE).sum(-1)}, r"meta.*test_fit.py, in <lambda>"),
    "no loss": (Coder, {}, r"expected loss=... or utility=..., \(module, batch\) -> \[batch\], got neither; pass one"),
    "both": (Coder, {"loss": error, "utility": error}, "got both; pass one"),
    "a mean": (
        Coder,
        {"loss": lambda net, x: error(net, x).mean()},
        r"the loss must return one value per example, \[20\], not their mean, got \[\]",
    ),
    "per value": (Coder, {"loss": lambda net, x: (net(x) - x).square()}, r"got \[20, 4\]: sum over all axes but the first"),
    "no tensor": (Coder, {"loss": lambda net, x: 1.0}, "must return a tensor of one value per example"),
    "raises": (Coder, {"loss": _raises}, r"KeyError: 'nope' \(line \d+ of .*test_fit.py, in _raises\)"),
    "no parameters": (nn.Identity, {"loss": error}, "Identity has no parameters"),
    "a list of parts": (
        Holds,
        {"loss": error},
        "Holds.parts holds a module that the model does not know of",
    ),
    "a count": (Counts, {"loss": error}, r"Counts.calls changes when"),
    "no module": (lambda: 3, {"loss": error}, "`build` must make an nn.Module, got int"),
    "one module": (
        nn.Linear(4, 4),
        {"loss": error},
        "build must make a module for each seed, got one Linear",
    ),
    "asks for more": (lambda depth: nn.Linear(4, 4), {"loss": error}, "asks for depth; only features, shape and channels"),
    "build raises": (lambda: nn.Linear("x", 2), {"loss": error}, r"does not run: TypeError.*test_fit.py"),
    "a typo": (Coder, {"loss": error, "step": 3}, "unknown setting 'step'; did you mean 'steps'"),
    "processes": (Coder, {"loss": error, "strategy": "processes"}, "put it in a file as experiment = fitted"),
    "a taken name": (Coder, {"loss": error, "name": "vae"}, "vae is a name of Seedbed's own"),
    "a path": (Coder, {"loss": error, "name": "a/b"}, "name must be one folder's name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_with_nothing_written(case):
    build, given, says = REFUSED[case]
    with pytest.raises(SeedbedError, match=says) as refusal:
        seedbed.fit(build, X, **{**FEW, **given})
    assert "\n" not in str(refusal.value) and not Path("runs").exists()


def test_declared_in_a_file_it_runs_from_the_shell(capsys):
    Path("mine.py").write_text(
        "import numpy as np\nfrom torch import nn\nfrom seedbed.experiments.own import fitted\n"
        "x = np.load('x.npy')\n"
        "def loss(net, x):\n    return (net(x) - x).square().sum(-1)\n"
        "experiment = fitted(lambda: nn.Linear(4, 4), x, loss=loss, steps=4, batch_size=20)\n"
    )
    np.save("x.npy", X)
    run = seedbed.run("mine.py:experiment", seeds=2, strategy="processes", threads=1, lr=1e-2)
    assert "loss" in set(run.table["metric"]) and run.manifest.config["lr"] == 1e-2
    assert len(seedbed.load(run.path).models) == 2
    assert json.loads((run.path / "run.json").read_text())["source"]["sha256"].keys() == {"mine.py"}


def test_what_a_class_is_given():
    data = from_arrays({"train": np.zeros((40, 3, 8, 8), "float32") + np.arange(40)[:, None, None, None] / 3.7})
    ask = lambda features, shape, channels, width=3: (features, shape, channels, width)
    assert made(ask, data) == (192, (3, 8, 8), 3, 3) and made(lambda: 1, data) == 1
    assert fitted(Coder, X, loss=error, data_seed=3).settings["data_seed"] == 3


# --- checksums of code ----------------------------------------------------------------------------------------------------


def _made_with(number):
    return lambda net, x: number * error(net, x)


def test_the_checksum_of_code_is_of_what_it_does():
    assert fingerprint(_made_with(1.0)) == fingerprint(_made_with(1.0)) != fingerprint(_made_with(2.0))
    one, other = lambda net, x: error(net, x) + 1, lambda net, x: error(net, x) + 2
    assert fingerprint(one) != fingerprint(other)  # two lambdas on one line
    assert fingerprint(error) != fingerprint(_absolute) and fingerprint(Coder) != fingerprint(Counts)
    scope = {}
    for layout in ("def f(a, b=1):\n    return a + b\n", "def f(a, b=2):\n    return a + b\n"):
        exec(compile(layout, "<nowhere>", "exec"), scope)  # of no file: what was compiled counts
        scope.setdefault("found", []).append(fingerprint(scope["f"]))
    assert scope["found"][0] == scope["found"][1]  # foreign code by its name alone


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def helper(x):  # said otherwise\n    return 2 * x\n", True),
        ("def helper(x):\n    return 3 * x\n", False),
        ("def helper(x):\n    return 2 * x\nother = 3\n", True),
    ],
)
def test_the_checksum_follows_what_is_used_and_not_the_layout(text, same):
    rest = "class Base:\n    size = 3\n\nclass Net(Base):\n    def forward(self, x):\n        return helper(x)\n"
    found = []
    for number, head in enumerate(("def helper(x):\n    return 2 * x\n", text)):
        Path(f"code{number}.py").write_text(head + rest)
        from seedbed.experiments.files import read_file

        found.append(fingerprint(read_file(f"code{number}.py").module.Net))
    assert (found[0] == found[1]) == same


def test_the_checksum_is_of_bases_methods_objects_and_arrays_too():
    """Two classes of one name in a file, an object's numbers behind its method, a tensor that a loss closes over."""

    def classes(factor):
        class Net(nn.Module):
            pass

        if factor == 2:

            class Net(nn.Module):
                def forward(self, x):
                    return 2 * x

        return Net

    def weighted(by):
        return lambda net, x: by * error(net, x)

    class Scaled:
        def __init__(self, by):
            self.by = by

        def loss(self, net, x):
            return self.by * error(net, x)

    assert fingerprint(classes(1)) != fingerprint(classes(2))
    for made_with in (
        Scaled,
        lambda by: weighted(torch.tensor(by)),
        lambda by: weighted(np.array(by)),
        lambda by: weighted(Scaled(by)),
    ):
        one, again, other = (getattr(made_with(by), "loss", made_with(by)) for by in (1.0, 1.0, 2.0))
        assert fingerprint(one) == fingerprint(again) != fingerprint(other)


ONE = nn.Linear(4, 4)


class Hooked(Coder):
    """A gradient that a hook changes, which a stack of seeds would not call."""

    def __init__(self, features):
        super().__init__(features)
        self.bias.register_hook(lambda gradient: 0 * gradient)


class OnLayer(Coder):
    """The same of a layer."""

    def __init__(self, features):
        super().__init__(features)
        self.into.register_full_backward_hook(lambda layer, into, out: None)


@pytest.mark.parametrize(
    ("build", "given", "says"),
    [
        (Hooked, {}, "Hooked.bias has a hook on its gradient"),
        (OnLayer, {}, "has a hook on its gradient"),
        (lambda: ONE, {}, "build gives every seed the same module"),
        (lambda: nn.Sequential(nn.LazyLinear(4)), {}, "0.weight of a lazy layer has no shape yet"),
        (Coder, {"metrics": {"l1": lambda net, x: error(net, x).mean()}}, "metric 'l1' must return one value per example"),
        (Coder, {"metrics": {"loss": error}}, "call one of them by another name"),
        (Coder, {"metric": ""}, "a metric is called by a word"),
        (Coder, {"frozen": "into"}, r"write frozen=\['into'\]"),
        (Coder, {"seeds": True}, "seeds must be how many"),
        (Coder, {"name": "a\0b"}, "one folder's name"),
        (Coder, {"name": "x" * 300}, "one folder's name"),
    ],
)
def test_further_refusals_write_nothing(build, given, says):
    with pytest.raises(SeedbedError, match=says):
        seedbed.fit(build, X, loss=error, **{**FEW, "name": "refused", **given})
    assert not Path("runs").exists()


def test_seeds_of_the_same_weights_are_named():
    def seeded(features):
        torch.manual_seed(0)
        return Coder(features)

    with pytest.warns(UserWarning, match="every seed the same weights"):
        seedbed.fit(seeded, X, loss=error, **FEW)


def test_a_metric_more_is_another_code():
    seedbed.fit(Coder, X, loss=error, **FEW)
    with pytest.raises(SeedbedError, match="metric l1 changed since"):
        seedbed.fit(Coder, X, loss=error, metrics={"l1": error}, **FEW)


class Counted(Coder):
    """A buffer that evaluation writes too."""

    def __init__(self, features):
        super().__init__(features)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def test_a_buffer_that_counts_calls_runs():
    assert len(seedbed.fit(Counted, X, loss=error, **FEW).models) == 3
