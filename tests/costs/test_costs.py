"""What a user adds is short, runs in every verb with its own flags, and is true: the examples beside this file."""

import ast
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from costs.adversarial_autoencoder import AAE, coding, judging
from costs.bound import renyi
from costs.data_set import Iris
from costs.estimator import ERROR, reconstruction
from costs.flow_layer import Householder
from passes import at
from torch import nn

import seedbed
from seedbed.cli.main import main
from seedbed.evaluate.pictures import points
from seedbed.experiments import find
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import iwae
from seedbed.runs.evaluate import Request, evaluate
from seedbed.store.folder import find_runs

HERE = Path(__file__).parent
# The most lines that a thing may cost, and the definitions that it takes; what stands beside them only shows it in use.
COSTS = {
    "bound": (25, ("renyi", "Renyi")),
    "flow_layer": (40, ("Householder", "Turned")),
    "data_set": (40, ("Iris",)),
    "adversarial_autoencoder": (60, ("AAE", "judging", "coding", "Autoencoder", "Judged")),
    "preset": (10, ("experiment", "tight")),
}
# A flag that the file declares, or changes the use of.
FLAGS = {
    "bound": ("--alpha", "0.1"),
    "flow_layer": ("--turn", "reverse"),
    "data_set": ("--data-seed", "1"),
    "adversarial_autoencoder": ("--latents", "3"),
    "preset": ("--warm-up", "0.9"),
}
FEW = ("--train-size", "64", "--eval-size", "32", "--valid-size", "32")


def cost(text: str, names: tuple[str, ...]) -> int:
    """Lines of the named definitions, decorators and docstrings included, blank ones not."""
    lines, found = text.splitlines(), 0
    for node in ast.parse(text).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node
        if getattr(target, "id", getattr(target, "name", "")) in names:
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
            found += sum(bool(line.strip()) for line in lines[first - 1 : node.end_lineno])
    return found


def test_how_lines_are_counted():
    assert cost("@a\nclass B:\n    x = 1\n\n    y = (\n        2\n    )\nC = 1\nD = (\n\n)\n", ("B", "D")) == 6 + 2


@pytest.mark.parametrize("name", COSTS)
def test_what_it_costs(name):
    most, names = COSTS[name]
    text = (HERE / f"{name}.py").read_text(encoding="utf-8")
    each = [cost(text, (one,)) for one in names]
    assert all(each) and sum(each) <= most


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Pictures of few points."""
    monkeypatch.setattr(points, "GRID", 6)
    monkeypatch.setattr(points.point_artefacts, "__defaults__", (20,))


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


@pytest.mark.parametrize("name", FLAGS)
def test_it_runs_and_its_flags_change_what_it_gives(name, tmp_path, capsys):
    target = f"{HERE / name}.py:experiment"
    few = () if name == "data_set" else FEW
    common = ("-n", "1", "--steps", "3", "--eval-every", "2", "--batch-size", "16", "--quiet", "--out", str(tmp_path), *few)
    assert call("run", target, *common) == 0, capsys.readouterr().err
    assert call("run", target, *common, *FLAGS[name], "--name", "changed") == 0, capsys.readouterr().err
    assert call("report", str(tmp_path), "--out-file", str(tmp_path / "report.html")) == 0, capsys.readouterr().err
    assert f"{name}.py" in (tmp_path / "report.html").read_text(encoding="utf-8")
    experiment = find(target)
    setting = FLAGS[name][0].removeprefix("--").replace("-", "_")
    settings, values = set(), set()
    for folder in find_runs(tmp_path):
        loaded = seedbed.load(folder, experiment)
        settings.add(str(loaded.experiment.settings[setting]))
        values.add(tuple(loaded.table.drop(columns="wall_s").query("split == 'test'")["value"]))
    assert len(settings) == len(values) == 2


def test_an_estimator_of_one_s_own_measures_a_run(tmp_path, capsys):
    small = {"steps": 2, "batch_size": 16, "train_size": 64, "eval_size": 32, "valid_size": 32}
    run = seedbed.run(find(f"{HERE / 'bound'}.py:experiment"), seeds=2, out=tmp_path, **small)
    rows = evaluate(run, Request(estimator=reconstruction))
    x = run.experiment.data.load().splits["test"][:]
    for row, model in zip(rows, run.models, strict=True):
        with torch.no_grad():  # by hand: the encoder's means, and the decoder's
            code = model.encoder(x)[:, :2]
            error = (x - model.decoder(code)[:, :2]).square().mean(1)
        assert (row.metric, row.unit, row.n, row.split) == (ERROR.name, ERROR.unit, 32, "test")
        assert row.value == pytest.approx(error.mean().item(), rel=1e-5)
        assert row.se == pytest.approx(error.std().item() / 32**0.5, rel=1e-5)
    assert call("report", str(run.path), "--out-file", str(tmp_path / "report.html")) == 0, capsys.readouterr().err
    assert ERROR.name in (tmp_path / "report.html").read_text(encoding="utf-8")


def value_and_gradient(bound, part=None):
    """Of a bound's mean over examples, or of one of its parts."""
    torch.manual_seed(0)
    model, x = VAE(2, 2, (4,), activation="tanh").double(), torch.randn(6, 2, dtype=torch.float64)
    terms = bound(model, x, at("x", training=True))
    value = terms.value if part is None else terms.parts[part]
    gradient = torch.autograd.grad(value.mean(), list(model.parameters()))
    return value.detach(), torch.cat([g.flatten() for g in gradient])


def close(one, two, tolerance=1e-10):
    return all(torch.allclose(a, b, rtol=0, atol=tolerance) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("k", [1, 5])
def test_renyi_lies_between_the_iwae_and_the_elbo(k):
    """Li & Turner 2016, theorem 1 and section 4: the IWAE at order 0, the ELBO as the order goes to 1, falling between."""
    tight, loose = value_and_gradient(iwae(k)), value_and_gradient(iwae(k), "elbo")
    assert close(value_and_gradient(renyi(0.0, k)), tight)
    assert close(value_and_gradient(renyi(1.0, k)), loose)
    assert close(value_and_gradient(renyi(1 - 1e-7, k)), loose, 1e-5)
    if k == 1:
        assert close(value_and_gradient(renyi(0.5, 1)), loose)  # one draw has no order
    else:
        values = [value_and_gradient(renyi(alpha, k))[0] for alpha in (0.0, 0.3, 0.6, 1.0)]
        assert all((low < high).all() for high, low in pairwise(values))


@pytest.mark.parametrize("features", [2, 5])
def test_householder_reflects(features):
    torch.manual_seed(0)
    layer, x = Householder(features).double(), torch.randn(20, features, dtype=torch.float64)
    y, log_det = layer(x)
    back, inverse_log_det = layer.inverse(y)
    assert torch.allclose(back, x) and not torch.allclose(y, x, atol=0.1)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: layer(v)[0]))(x)
    assert torch.allclose(jacobian.det().abs().log(), log_det.expand(20)) and log_det == -inverse_log_det
    # What stands on v turns round.
    assert torch.allclose(layer(layer.v.detach())[0], -layer.v)


def test_the_flowers_are_split_and_none_is_lost():
    from sklearn.datasets import load_iris

    data = Iris().load()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 90, "valid": 30, "test": 30}
    parts = torch.cat([split[:] for split in data.splits.values()])
    assert sorted(parts.tolist()) == sorted(torch.tensor(load_iris().data, dtype=torch.float32).tolist())
    assert Iris().load().checksum() == data.checksum() != Iris(data_seed=1).load().checksum()


class Line(nn.Module):
    """weight x + bias, of one number."""

    def __init__(self, weight: float, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.tensor(weight)), nn.Parameter(torch.tensor(bias))

    def forward(self, x):
        return x * self.weight + self.bias


def test_the_judge_is_at_its_best_at_the_ratio_of_the_densities():
    """Codes N(1, 1) and a prior N(0, 1): logit D(z) = log p(z) - log q(z) = 1/2 - z (Goodfellow et al. 2014, prop. 1)."""
    count = 40_000
    x = torch.randn(count, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def slopes(weight, bias):
        model = AAE(1, 1)
        model.encoder, model.judge = Line(1.0, 1.0), Line(weight, bias)
        value = judging(model.double(), x, at("judge")).value
        return torch.stack(torch.autograd.grad(value.mean(), list(model.judge.parameters()))).abs()

    # Each slope is a mean of numbers within a few of 0.
    assert (slopes(-1.0, 0.5) < 4 * 2 / count**0.5).all()
    assert (slopes(-0.5, 0.5) > 0.05).any() and (slopes(-1.0, 0.0) > 0.05).any()


def test_the_coder_is_paid_for_what_it_rebuilds_and_for_what_passes():
    model, x = AAE(1, 1), torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    model.encoder, model.decoder, model.judge = Line(1.0, 0.0), Line(1.0, 1.0), Line(0.0, 0.0)
    assert torch.allclose(coding(model.double(), x, at("x")).value, torch.tensor([-1.0, -1.0]).double() - math.log(2))
    own = find(f"{HERE / 'adversarial_autoencoder'}.py:experiment")
    judge, coder = own.objective.game(own.training, own.model).players
    assert (judge.owns, coder.owns) == (("judge",), ("encoder", "decoder"))
