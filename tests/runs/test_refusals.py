"""What a user's own experiment does wrong is one line, before anything is trained, and leaves no run behind."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import seedbed
from seedbed.cli.main import main
from seedbed.core.capabilities import HasSample, HasState, LatentVariable, Layer
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.core.law import Drawn
from seedbed.core.noise import Noise, Streams
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.distributions.normal import DiagonalNormal, StandardNormal
from seedbed.experiments.data import Data, Points
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.model import Model
from seedbed.experiments.models import VAE as DeclaredVAE
from seedbed.experiments.objectives import Elbo, Objective
from seedbed.experiments.training import Training
from seedbed.objectives.bounds import elbo_kl
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.task import Task

POINTS = Noise([Streams(0)], "data", "refusals").normal((3,), batch=48)
DATA = Dataset(
    name="cloud",
    domain=REAL,
    protocol="normal",
    splits={"train": POINTS[:24], "valid": POINTS[24:36], "test": POINTS[36:]},
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x))).squeeze(-1)


def fit(model, x, ctx):
    return Terms(-model(x).square())


def task_of(build=Net, utility=fit, players=None, frozen=(), **changes):
    game = Game(players or (Player(utility=utility),), frozen=frozen)
    settings = {
        "build": build,
        "game": game,
        "data": DATA,
        "batches": Shuffled(DATA.splits["train"][:], 8),
        "steps": 2,
        "eval_every": 1,
        "measure": lambda stack, split: {"loss": (torch.zeros(len(stack.streams), 2), "nats")},
        "select": "loss",
    }
    return Task(**settings | changes)


@dataclass(frozen=True, kw_only=True)
class Own(Experiment):
    """Whose task has nothing to do with its parts."""

    data: Data = field(default_factory=Points)
    model: Model = field(default_factory=DeclaredVAE)
    objective: Objective = field(default_factory=Elbo)
    training: Training = field(default_factory=lambda: Training(steps=2, batch_size=24))
    made: Callable = task_of

    def task(self, streams):
        return self.made()

    def config(self):
        return {}


def value_of(make):
    return lambda: task_of(utility=lambda model, x, ctx: Terms(make(model(x))))


def part_of(make):
    return lambda: task_of(utility=lambda model, x, ctx: Terms(-model(x).square(), {"part": make(model(x))}))


def built(change):
    class Changed(Net):
        def __init__(self):
            super().__init__()
            change(self)

    return lambda: task_of(build=Changed)


class VAE(nn.Module, LatentVariable):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 4), nn.Linear(2, 6)

    @property
    def domain(self):
        return REAL

    def posterior(self, x):
        return None if x is None else DiagonalNormal.from_raw(self.encoder(x))

    def layers(self, x, ctx):
        z = yield Layer("z", StandardNormal(2), self.posterior(x))
        return DiagonalNormal.from_raw(self.decoder(z))


def latent(utility=elbo_kl, **methods):
    return lambda: task_of(build=type("Changed", (VAE,), methods), utility=utility)


def twice(self, x, ctx):
    for _ in range(2):
        z = yield Layer("z", StandardNormal(2), self.posterior(x))
    return DiagonalNormal.from_raw(self.decoder(z))


def nothing_returned(self, x, ctx):
    yield Layer("z", StandardNormal(2), self.posterior(x))


def nothing_yielded(self, x, ctx):
    return DiagonalNormal.from_raw(self.decoder(torch.zeros(8, 2)))


def no_posterior(self, x, ctx):
    z = yield Layer("z", StandardNormal(2))
    return DiagonalNormal.from_raw(self.decoder(z))


class OneForAll(DiagonalNormal):
    def draw(self, noise, samples=None, batch=None):
        value = self.mean[0] + noise.normal((2,))
        return Drawn(value, lambda: self.log_prob(value))


def one_draw(self, x, ctx):
    q = None if x is None else OneForAll(*self.encoder(x).chunk(2, -1))
    z = yield Layer("z", StandardNormal(2), q)
    return DiagonalNormal.from_raw(self.decoder(z).expand(8, 6))


def inferred(self, x, ctx):
    yield "y", self.posterior(x)


def scalar_kl(self, x, ctx, samples=None):
    given = VAE.proposal(self, x, ctx, samples)
    layer = given.layers["z"]
    return replace(given, layers={"z": replace(layer, kl=lambda: layer.log_ratio().mean())})


def other_names(self, x, ctx, samples=None):
    given = VAE.proposal(self, x, ctx, samples)
    return replace(given, layers={"q": given.layers["z"]})


class Wide(Net, HasSample):
    def sample(self, count, ctx):
        return ctx.noise.normal((5,), batch=count)


class Remembers(Net, HasState):
    given: ClassVar[dict] = {"chain": 3}

    def state(self):
        return self.given


class Starts:
    def __init__(self, start, change=lambda model, x, ctx: None):
        self.start, self.change = start, change

    def initial_state(self, model, batch):
        return self.start(model, batch)

    def __call__(self, model, x, ctx):
        self.change(model, x, ctx)
        return fit(model, x, ctx)


def writing(value):
    return Starts(lambda m, b: {"h": torch.zeros(3)}, lambda m, x, ctx: ctx.state.__setitem__("h", value))


def odd_sizes():
    sizes = iter(range(3, 99))
    return built(lambda m: setattr(m, "more", nn.Linear(3, next(sizes))))()


REFUSED = {
    "half a batch": (value_of(lambda v: v[:4]), r"one value per example, \[batch\], got \[4\] for a batch of 8"),
    "NaN": (value_of(lambda v: v * torch.nan), "is nan from the start"),
    "no gradient": (value_of(lambda v: v.detach()), "depends on none of its parameters"),
    "a gradient of some": (
        lambda: task_of(utility=lambda m, x, ctx: Terms(m.body(x).sum(-1))),
        "gives no gradient to head.weight, head.bias, which 'model' owns",
    ),
    "whole numbers": (value_of(lambda v: torch.ones(8, dtype=torch.int64)), "floating-point values, got torch.int64"),
    "no terms": (lambda: task_of(utility=lambda m, x, ctx: m(x)), "must give Terms.* got Tensor"),
    "an error of its own": (
        lambda: task_of(utility=lambda m, x, ctx: m.nope(x)),
        r"the utility of 'model' does not run: AttributeError: .* \(line \d+ of .*test_refusals.py, in <lambda>\)",
    ),
    "its batch in place": (
        lambda: task_of(utility=lambda m, x, ctx: fit(m, x.mul_(2), ctx)),
        "changes its batch in place",
    ),
    "part of two axes": (part_of(lambda v: v[:, None]), r"part 'part' .*, \[8\], or one, got \[8, 1\]"),
    "part of another batch": (part_of(lambda v: v[:4]), r"part 'part' .* got \[4\]"),
    "part of booleans": (part_of(lambda v: v > 0), "part 'part' .* got booleans"),
    "a state that is a list": (lambda: task_of(utility=Starts(lambda m, b: [torch.zeros(3)])), "tensors by name.* got list"),
    "a state of numbers": (lambda: task_of(utility=Starts(lambda m, b: {"h": 3.0})), "got float for 'h'"),
    "a state of another type": (lambda: task_of(utility=writing(torch.zeros(3, dtype=torch.int64))), "its type must stay"),
    "a model's state of numbers": (lambda: task_of(build=Remembers), "got int for 'chain'"),
    "a state called as a parameter": (
        lambda: task_of(build=type("Named", (Remembers,), {"given": {"head.bias": torch.zeros(1)}})),
        "'head.bias' has the name of a parameter",
    ),
    "a parameter that requires no gradient": (
        built(lambda m: m.body.requires_grad_(False)),
        "player 'model' owns body.weight, whose requires_grad is False; declare it frozen",
    ),
    "a size of 0": (built(lambda m: setattr(m, "more", nn.Parameter(torch.zeros(0, 3)))), "parameter more is empty"),
    "a tensor of one seed": (built(lambda m: setattr(m, "mask", torch.randn(3))), "mask differs between seeds"),
    "weights from numpy": (
        built(lambda m: setattr(m, "more", nn.Parameter(torch.tensor(np.random.rand(3))))),
        "`build` gives another more when called again",
    ),
    "a parameter within a law": (
        built(lambda m: setattr(m, "prior", DiagonalNormal(nn.Parameter(torch.zeros(2)), torch.zeros(2)))),
        "prior holds a parameter",
    ),
    "sizes that differ": (odd_sizes, "`build` gives another more.weight"),
    "no module": (lambda: task_of(build=lambda: 3), "must make an nn.Module, got int"),
    "no task": (lambda: None, "the task of VAE must return a Task, got NoneType"),
    "a prefix of nothing": (
        lambda: task_of(players=(Player(utility=fit, owns=("", "hed")),)),
        "player 'model' owns 'hed', which matches nothing",
    ),
    "frozen of nothing": (lambda: task_of(frozen=("hed",)), "frozen are 'hed', which matches nothing"),
    "a schedule of NaN": (
        lambda: task_of(players=(Player(utility=fit, schedule=lambda step, steps: torch.nan),)),
        "schedule of 'model' times its step size must be a finite number",
    ),
    "settings of another length": (lambda: task_of(settings={"theta": [1.0]}), "one number for each of 3 rows"),
    "data of fewer seeds": (
        lambda: task_of(batches=Shuffled(POINTS.expand(2, 48, 3), 8, per_seed=True)),
        "data of each of 3 seeds, got 2",
    ),
    "an unknown split": (lambda: task_of(splits=("tset",)), "did you mean 'test'"),
    "a latent twice": (latent(layers=twice), "yields 'z' twice"),
    "no likelihood": (latent(layers=nothing_returned), r"must return p\(x \| z\).* got NoneType"),
    "no latent": (latent(layers=nothing_yielded), "must yield each latent"),
    "no posterior": (latent(layers=no_posterior), "expected a posterior of 'z', got none"),
    "one draw for all examples": (latent(layers=one_draw), r"a draw of latent 'z' .* \[8, 2\], got \[2\]"),
    "other latents inferred": (latent(layers=no_posterior, inference=inferred), "`inference` must yield every latent"),
    "a KL of the whole batch": (latent(proposal=scalar_kl), r"kl of 'z' .* one number per draw, \[8\], got \[\]"),
    "layers of other names": (latent(proposal=other_names), r"must have the latents of `layers`, \['z'\]"),
    "draws unlike the data": (lambda: task_of(build=Wide), r"must draw examples \[3\] as the data are, got \[5\]"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_one_line_and_no_run(tmp_path, kind):
    made, message = REFUSED[kind]
    with pytest.raises(SeedbedError, match=message) as raised:
        seedbed.run(Own(made=made), seeds=3, out=tmp_path, threads=1)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.rglob("run.json"))


DECIDES = value_of(lambda v: v if v.mean() * 0 == 0 else 2 * v)
REASON = r"Net trains one seed after another: `if` on a tensor's value in <lambda> \(test_refusals.py:\d+\) cannot be mapped"


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_strategy_that_a_model_cannot_take(tmp_path, capsys, seeds):
    """Refused where it was asked for; ``auto`` takes another, and says why in one line, here and in the manifest."""
    with pytest.raises(SeedbedError, match=REASON + " over seeds; .* --strategy sequential$"):
        seedbed.run(Own(made=DECIDES), seeds=seeds, strategy="vectorized", out=tmp_path, threads=1)
    assert not list(tmp_path.rglob("*")) and not capsys.readouterr().err
    run = seedbed.run(Own(made=DECIDES), seeds=seeds, out=tmp_path, threads=1)
    said = capsys.readouterr().err
    assert re.fullmatch(REASON + " over seeds\n", said) and run.manifest.reason == said.strip()
    assert run.manifest.strategy == "sequential" and run.manifest.groups == [[seed] for seed in range(seeds)]
    more = seedbed.run(Own(made=DECIDES), seeds=seeds + 1, out=tmp_path, threads=1)
    assert more.manifest.groups[-1] == [seeds] and not capsys.readouterr().err
    alone = seedbed.run(Own(made=DECIDES), seeds=seeds, strategy="sequential", out=tmp_path / "asked", threads=1)
    assert not alone.manifest.reason and not capsys.readouterr().err
    mapped = seedbed.run(Own(made=task_of), seeds=seeds, out=tmp_path / "mapped", threads=1)
    assert (mapped.manifest.strategy, mapped.manifest.reason) == ("vectorized", "")


def test_what_cannot_be_mapped_outside_of_training_alone_is_seen_as_well(tmp_path, capsys):
    class Evaluated(Net):
        def forward(self, x):
            out = super().forward(x)
            return out if self.training else out + 0 * out.mean().item()

    run = seedbed.run(Own(made=lambda: task_of(build=Evaluated)), seeds=2, out=tmp_path, threads=1)
    assert run.manifest.strategy == "sequential" and "`.item()`" in capsys.readouterr().err


def test_what_is_refused_does_not_stand_in_the_way(tmp_path):
    with pytest.raises(SeedbedError, match="booleans"):
        seedbed.run(Own(made=part_of(lambda v: v > 0)), seeds=3, out=tmp_path, threads=1)
    seedbed.run(Own(made=task_of), seeds=1, strategy="sequential", out=tmp_path, threads=2)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda stack, split: {"other": (torch.zeros(3, 2), "nats")}, "unknown metric to select by 'loss'"),
        (lambda stack, split: {"loss": (torch.zeros(3), "nats")}, r"must give \(\[3, n\], unit\) of loss, got \[3\]"),
        (lambda stack, split: stack.nope, "`measure` does not run: AttributeError"),
    ],
)
def test_a_measure_of_another_shape(tmp_path, measure, message):
    with pytest.raises(SeedbedError, match=message):
        seedbed.run(Own(made=lambda: task_of(measure=measure)), seeds=3, out=tmp_path, threads=1)


def test_what_starts_at_random_starts_the_same_again(tmp_path):
    class Chain(Net, HasState):
        def state(self):
            return {"chain": torch.randn(3)}

    def tell(model, x, ctx):
        parts = {"model": ctx.state["chain"].mean(), "utility's": ctx.state["h"].mean()}
        return Terms(-model(x).square(), parts)

    class Told(Starts):
        def __call__(self, model, x, ctx):
            return tell(model, x, ctx)

    def made():
        return task_of(build=Chain, utility=Told(lambda m, b: {"h": torch.randn(3)}))

    one, two = (seedbed.run(Own(made=made), seeds=2, out=tmp_path / name, threads=1).table for name in "ab")
    for part in ("model", "utility's"):
        first, again = (t[t.metric == part].value.to_numpy() for t in (one, two))
        assert len(set(first)) == 2 and (first == again).all()


# What types forbid is refused without anybody to check them, as it is where a user runs: in a process of its own.
TYPES = """
import sys, tempfile
from dataclasses import dataclass
import torch
sys.path[:0] = [{tests!r}]
from test_refusals import *
from seedbed.train.controllers import Plateau

def law(self, x, ctx):
    z = yield Layer("z", torch.distributions.Normal(torch.zeros(2), 1.0), self.posterior(x))
    return DiagonalNormal.from_raw(self.decoder(z))

def player(**settings):
    return lambda: task_of(players=(Player(**{{"utility": fit, **settings}}),))

for made in (
    part_of(lambda v: 3.0),
    lambda: task_of(utility=writing(3.0)),
    lambda: task_of(settings={{"theta": ["a"] * 3}}),
    latent(layers=law),
    player(most_skips=1.5),
    player(owns="body"),
    player(schedule=None),
    player(utility="elbo"),
    player(optimizer=torch.optim.Adam),
    lambda: task_of(frozen="body"),
):
    try:
        with tempfile.TemporaryDirectory() as out:
            seedbed.run(Own(made=made), seeds=3, out=out, threads=1)
        print("accepted")
    except SeedbedError as error:
        print(error)
"""
SAID = (
    "part 'part' .* got float",
    "state 'h' is a tensor, got 3.0",
    "setting 'theta' must be one number for each of 3 rows",
    "the prior of layer 'z' must be a law .* got Normal",
    "most_skips of player 'model' must be a whole number",
    "owns of player 'model' must be a tuple of name prefixes.* got 'body'",
    "schedule of player 'model' must be one such as constant",
    "utility of player 'model' must be one such as elbo, got 'elbo'",
    "optimizer of player 'model' must be one such as Adam",
    "frozen must be a tuple of name prefixes.* got 'body'",
)


def test_what_types_forbid_is_refused_without_them():
    script = TYPES.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(SAID), done.stdout
    for line, said in zip(lines, SAID, strict=True):
        assert re.search(said, line), line


def test_the_command_line_says_it_in_one_line_and_exits_with_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        f"import sys\nsys.path[:0] = [{str(Path(__file__).parent)!r}]\nfrom test_refusals import *\n"
        "bad = Own(made=value_of(lambda v: v[:4]))\ngood = Own()\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["run", "own.py:bad", "--seeds", "3", "--threads", "1", "-q"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and "one value per example" in said and not Path("runs").exists()
